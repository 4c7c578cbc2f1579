//! What programs that are linked with the library rely on: the SONAME, the functions, the constants. `abi/` has them as they
//! are frozen, `doc/abi.md` says what may change.

#[allow(dead_code)]
#[path = "c/harness.rs"]
mod harness;

use harness::{inspect, root};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines of a frozen list by their first word. They are sorted, so that two additions do not clash for no reason.
fn frozen(text: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.windows(2).all(|pair| pair[0] < pair[1]), "the list is not sorted with LC_ALL=C");
    lines.into_iter().map(|line| line.split_once(' ').unwrap_or((line, ""))).map(owned).collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// How what is found differs from what is frozen, and what is to be done about it.
fn differences(frozen: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let gone_or_changed = frozen.iter().filter_map(|(name, value)| match found.get(name) {
        None => Some(format!("{name} is frozen and not there any more")),
        Some(other) if other != value => Some(format!("{name} is frozen as `{value}` and has become `{other}`")),
        Some(_) => None,
    });
    let added = found.iter().filter(|(name, _)| !frozen.contains_key(*name));
    let added = added.map(|(name, value)| format!("add the line `{}`", format!("{name} {value}").trim()));
    gone_or_changed.chain(added).collect()
}

fn is_as_frozen(list: &str, found: &BTreeMap<String, String>) {
    let differences = differences(&frozen(&read(list)), found);
    assert!(differences.is_empty(), "{list}: {}", differences.join("\n"));
}

#[test]
fn what_is_gone_changed_or_new_is_told() {
    let frozen = frozen("A 1\nB 2\nC 3\nd\n");
    let found = [("A", "1"), ("B", "4"), ("E", "5"), ("d", ""), ("f", "")].map(owned).into();
    let told = [
        "B is frozen as `2` and has become `4`",
        "C is frozen and not there any more",
        "add the line `E 5`",
        "add the line `f`",
    ];
    assert_eq!(differences(&frozen, &found), told);
}

// ---- the library ----

#[test]
fn the_library_exports_the_frozen_functions_and_nothing_else() {
    let symbols = inspect("nm", &["-D", "--defined-only", "--format=posix"]);
    let found = symbols.lines().map(|line| owned((line.split(' ').next().unwrap(), ""))).collect();
    is_as_frozen("abi/symbols.txt", &found);
}

#[test]
fn the_number_in_the_soname_is_the_major_version() {
    let soname = format!("Library soname: [libmtasts.so.{}]", env!("CARGO_PKG_VERSION_MAJOR"));
    let dynamic = inspect("readelf", &["--dynamic", "--wide"]);
    assert!(dynamic.contains(&soname), "want {soname} in\n{dynamic}");
}

// ---- the header ----

fn code_of_the_header() -> String {
    let header = read("include/mtasts.h");
    let mut parts = header.split("/*");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |code, part| code + part.split_once("*/").unwrap().1)
}

/// The version of the header is what each release changes.
fn is_version(name: &str) -> bool {
    name.starts_with("MTASTS_VERSION_")
}

fn constants_of_the_header() -> BTreeMap<String, String> {
    let code = code_of_the_header();
    let of_line = |line: &str| {
        let line = line.trim();
        let pair = match line.strip_prefix("#define ") {
            Some(definition) => definition.split_once(' '),
            None => line.trim_end_matches(',').split_once(" = "),
        };
        pair.map(owned)
    };
    code.lines().filter_map(of_line).filter(|(name, _)| name.starts_with("MTASTS_")).collect()
}

#[test]
fn the_constants_of_the_header_are_the_frozen_ones() {
    let mut constants = constants_of_the_header();
    constants.retain(|name, _| !is_version(name));
    assert!(constants.len() > 100, "the header is read");
    is_as_frozen("abi/constants.txt", &constants);
}

#[test]
fn a_c_compiler_sees_the_frozen_constants() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("constants.c");
    let claims: String = frozen(&read("abi/constants.txt"))
        .into_iter()
        .map(|(name, value)| format!("_Static_assert({name} == {value}, \"{name}\");\n"))
        .collect();
    fs::write(&source, format!("#include <mtasts.h>\n{claims}")).unwrap();
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I"])
        .arg(root().join("include"))
        .arg(&source)
        .output()
        .unwrap_or_else(|error| panic!("cc: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_header_has_the_version_of_the_library() {
    let constants = constants_of_the_header();
    for (name, value) in [
        ("MTASTS_VERSION_MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MTASTS_VERSION_MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("MTASTS_VERSION_PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        assert_eq!(constants[name], value, "{name}");
    }
}

/// A declaration without the names of its parameters: the function's name, then what it takes and returns.
fn signature(declaration: &str) -> (String, String) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (head, parameters) = declaration.trim_end_matches(')').split_once('(').unwrap();
    let name = head.rsplit(|c| !is_word(c)).next().unwrap();
    let returned = head.strip_suffix(name).unwrap().trim();
    let types = parameters.split(", ").map(|parameter| match parameter.rfind(|c| !is_word(c)) {
        Some(at) => parameter[..=at].trim(),
        None => parameter,
    });
    (name.to_owned(), format!("({}) -> {returned}", types.collect::<Vec<_>>().join(", ")))
}

fn functions_of_the_header() -> BTreeMap<String, String> {
    let code: String =
        code_of_the_header().lines().filter(|line| !line.starts_with('#')).map(|l| l.to_owned() + " ").collect();
    let statements = code.split(';').map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let declarations = statements.filter(|text| text.contains('(') && !text.starts_with("typedef"));
    declarations.map(|text| signature(text.trim_start_matches("extern \"C\" { "))).collect()
}

#[test]
fn the_functions_of_the_header_take_and_return_what_is_frozen() {
    let functions = functions_of_the_header();
    is_as_frozen("abi/functions.txt", &functions);
    let names: Vec<String> = functions.into_keys().collect();
    assert_eq!(names, read("abi/symbols.txt").lines().collect::<Vec<_>>());
    assert!(
        code_of_the_header().contains("typedef void (*mtasts_log_function)(void *user, int level, const char *line);")
    );
}

#[test]
fn a_declaration_is_read_without_the_names_of_parameters() {
    let read = |text: &str| signature(text);
    assert_eq!(read("int f(void)"), owned(("f", "(void) -> int")));
    assert_eq!(
        read("const char *g(const struct s *a, const uint8_t *const *b, size_t c)"),
        owned(("g", "(const struct s *, const uint8_t *const *, size_t) -> const char *")),
    );
}

// ---- the last release ----

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Nothing is taken out of the lists, unless the SONAME has changed.
#[test]
fn nothing_that_was_released_under_this_soname_is_gone_from_the_lists() {
    let releases = format!("v{}.*", env!("CARGO_PKG_VERSION_MAJOR"));
    let Some(tag) = git(&["describe", "--tags", "--abbrev=0", "--match", &releases]) else {
        println!("nothing to compare with: there is no release, or its tag is not here");
        return;
    };
    for list in ["abi/symbols.txt", "abi/functions.txt", "abi/constants.txt"] {
        let released = git(&["show", &format!("{}:{list}", tag.trim())]).unwrap_or_default();
        let now = frozen(&read(list));
        let lost: Vec<_> = frozen(&released).into_iter().filter(|(name, value)| now.get(name) != Some(value)).collect();
        assert!(lost.is_empty(), "{list} of {}: {lost:?}", tag.trim());
    }
}
