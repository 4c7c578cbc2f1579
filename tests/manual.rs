//! The manuals say what the header, the command and the configuration have, all of it and nothing else.

use mtasts::config::{KEYS, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page: its file name and its source.
fn pages() -> Vec<(String, String)> {
    let mut pages: Vec<(String, String)> = fs::read_dir(root().join("doc/man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| (name.clone(), read(&format!("doc/man/{name}"))))
        .collect();
    pages.sort();
    assert!(pages.len() > 10, "the manuals are found");
    pages
}

fn library_pages() -> Vec<(String, String)> {
    pages().into_iter().filter(|(name, _)| name.ends_with(".3")).collect()
}

/// The lines of a section, `.Sh` or `.Ss`, up to the next one of its kind.
fn section<'t>(page: &'t str, kind: &str, title: &str) -> Vec<&'t str> {
    let lines = page.lines().skip_while(|line| *line != format!("{kind} {title}")).skip(1);
    lines.take_while(|line| !(line.starts_with(".Sh ") || line.starts_with(&format!("{kind} ")))).collect()
}

/// The words of a macro line; what stands in double quotes is one.
fn words(line: &str) -> Vec<String> {
    let pieces = line.split('"').enumerate();
    pieces
        .flat_map(|(at, piece)| match at % 2 {
            1 => vec![piece.to_owned()],
            _ => piece.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// Blanks where C does not need any are no difference, nor is the word `struct` before a name that has a typedef.
fn as_c(text: &str) -> String {
    let text = text.replace("struct ", "").split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("( ", "(").replace("* ", "*").replace(" ,", ",")
}

/// The declarations in a SYNOPSIS.
fn synopsis(page: &str) -> Vec<String> {
    let mut declarations = Vec::new();
    let mut kind = String::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in section(page, ".Sh", "SYNOPSIS") {
        let words = words(line);
        match words[0].as_str() {
            ".Ft" => kind = words[1..].join(" "),
            ".Fn" => declarations.push(format!("{kind} {}({})", words[1], words[2..].join(", "))),
            ".Fo" => open = Some((words[1].clone(), Vec::new())),
            ".Fa" => open.as_mut().unwrap().1.push(words[1].clone()),
            ".Fc" => {
                let (name, arguments) = open.take().unwrap();
                declarations.push(format!("{kind} {name}({})", arguments.join(", ")));
            }
            _ => {}
        }
    }
    declarations.iter().map(|declaration| as_c(declaration)).collect()
}

/// The header without comments and preprocessor lines.
fn header_code() -> String {
    let header = read("include/mtasts.h");
    let behind_comments = header.split("/*").enumerate().map(|(at, piece)| match at {
        0 => piece,
        _ => piece.split_once("*/").expect("an end of each comment").1,
    });
    let code: String = behind_comments.collect();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// The declarations of functions in the header, and the type of the log function.
fn declared() -> Vec<String> {
    let code = header_code().replace("extern \"C\" {", "");
    code.split(';').map(as_c).filter(|statement| statement.contains('(')).collect()
}

fn name_of(declaration: &str) -> &str {
    let before = declaration.trim_start_matches("typedef void (*").split(['(', ')']).next().unwrap();
    before.rsplit([' ', '*']).next().unwrap()
}

#[test]
fn every_declaration_of_the_header_stands_in_the_synopsis_of_one_page() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, page) in library_pages() {
        for declaration in synopsis(&page) {
            places.entry(declaration).or_default().push(name.clone());
        }
    }
    let declared: BTreeSet<String> = declared().into_iter().collect();
    assert!(declared.len() > 40, "the header is read: {declared:?}");
    let shown: BTreeSet<String> = places.keys().cloned().collect();
    let missing: Vec<_> = declared.difference(&shown).collect();
    let invented: Vec<_> = shown.difference(&declared).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not in the manuals: {missing:#?}\nonly there: {invented:#?}");
    let twice: Vec<_> = places.iter().filter(|(_, pages)| pages.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn a_page_is_named_after_all_that_its_synopsis_declares() {
    for (file, page) in library_pages() {
        let stem = file.trim_end_matches(".3");
        let names: Vec<String> = section(&page, ".Sh", "NAME")
            .iter()
            .filter(|line| line.starts_with(".Nm "))
            .map(|line| words(line)[1].clone())
            .collect();
        assert_eq!(names[0], stem, "{file}: the first name");
        let declarations = synopsis(&page);
        let declared = declarations.iter().map(|text| name_of(text));
        let functions: Vec<&str> = declared.filter(|name| *name != "mtasts_log_function").collect();
        assert!(functions.is_empty() || names == functions, "{file}: NAME {names:?}, SYNOPSIS {functions:?}");
    }
}

#[test]
fn every_constant_of_the_header_is_explained_with_its_number() {
    let code = header_code();
    let enumerators = code.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" = "));
    let header = read("include/mtasts.h");
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    let constants: Vec<(&str, &str)> = enumerators.chain(defines).collect();
    assert!(constants.len() > 100, "the header is read");
    let text: String = library_pages().into_iter().map(|(_, page)| page).collect();
    for (name, number) in constants {
        let is_named = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name);
        assert!(is_named, "{name} is in no manual");
        let numbers = text.lines().filter_map(|line| line.strip_prefix(&format!(".It Dv {name} Pq ")));
        numbers.for_each(|shown| assert_eq!(shown, number, "{name}"));
    }
}

#[test]
fn every_name_of_the_library_in_a_manual_is_in_the_header() {
    /// The environment.
    const OTHERS: [&str; 1] = ["MTASTS_CONFIG"];
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let header = read("include/mtasts.h");
    let known: BTreeSet<&str> = header.split(|c| !is_part(c)).collect();
    let mut seen = 0;
    for (file, page) in pages() {
        let page = page.lines().filter(|line| !line.starts_with(".Dt ")).collect::<Vec<_>>().join("\n");
        let names =
            page.split(|c| !is_part(c)).filter(|name| name.starts_with("MTASTS_") || name.starts_with("mtasts_"));
        // Several at once end in `_*`.
        for name in names.filter(|name| !OTHERS.contains(name)) {
            seen += 1;
            let is_known = known.contains(name)
                || name.ends_with('_') && known.iter().any(|known| known.starts_with(name))
                || page.contains(&format!(".Fa \"{name}"));
            assert!(is_known, "{file}: the header has no {name}");
        }
    }
    assert!(seen > 300, "{seen} names are found");
}

fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).current_dir(root()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "{program}: {error}");
            println!("SKIPPED: {program} is not installed");
            None
        }
    }
}

#[test]
fn mandoc_has_nothing_to_say_about_any_page() {
    let names: Vec<String> = pages().into_iter().map(|(name, _)| format!("doc/man/{name}")).collect();
    let arguments: Vec<&str> = ["-Tlint", "-Wstyle"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let Some(output) = run("mandoc", &arguments) else { return };
    // Which other manuals are installed is the matter of the machine.
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let faults: Vec<&str> = said.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pages_refer_to_pages_of_ours_that_there_are() {
    let own: BTreeSet<String> = pages().into_iter().map(|(name, _)| name).collect();
    for (file, page) in pages() {
        for line in page.lines().filter(|line| line.contains("Xr ")) {
            let words = words(line);
            let at = words.iter().position(|word| word.ends_with("Xr")).unwrap();
            let (name, number) = (&words[at + 1], &words[at + 2]);
            let is_ours = name.contains("mtasts");
            assert!(!is_ours || own.contains(&format!("{name}.{number}")), "{file} refers to {name}({number})");
        }
    }
}

/// The literal displays of a page, as a reader sees them.
fn displays(page: &str) -> Vec<String> {
    let parts = page.split(".Bd -literal").skip(1).map(|part| part.split("\n.Ed").next().unwrap());
    parts.map(|part| part.split_once('\n').unwrap().1.replace("\\e", "\\").replace("\\-", "-") + "\n").collect()
}

#[test]
fn the_examples_in_c_compile_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (file, page) in library_pages() {
        for example in displays(&page) {
            seen += 1;
            let source = directory.path().join("example.c");
            fs::write(&source, &example).unwrap();
            let output = Command::new("cc")
                .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", "include"])
                .arg(&source)
                .current_dir(root())
                .output()
                .unwrap_or_else(|error| panic!("cc: {error}"));
            assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert!(seen > 8, "the examples are found");
}

// ---- mtasts.toml(5) and the sample ----

/// The keys that a section explains: the first word behind `.It Ic`.
fn explained(title: &str) -> Vec<String> {
    let page = read("doc/man/mtasts.toml.5");
    let items = section(&page, ".Sh", title);
    items.iter().filter_map(|line| line.strip_prefix(".It Ic ")).map(|rest| words(rest)[0].clone()).collect()
}

/// The keys of a table for a domain, as the library names them to who uses another.
fn table_keys() -> BTreeSet<String> {
    let (_, faults) = Settings::parse("[domain.\"a.test\"]\nx = 1\n", Path::new("x"));
    let known = faults[0].problem.split("want one of ").nth(1).unwrap().to_owned();
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn mtasts_toml_has_the_keys_of_the_code_in_their_order() {
    assert_eq!(explained("KEYS"), KEYS);
    let explained: BTreeSet<String> = explained("TABLES FOR SINGLE DOMAINS").into_iter().collect();
    assert_eq!(explained, table_keys());
}

/// What the page says about each key, as one line of source behind another.
fn texts_of_keys() -> Vec<(String, String)> {
    let page = read("doc/man/mtasts.toml.5");
    let text = section(&page, ".Sh", "KEYS").join("\n");
    let items = text.split(".It Ic ").skip(1);
    items
        .map(|item| (item.split(' ').next().unwrap().to_owned(), item.split_once('\n').unwrap().1.to_owned()))
        .collect()
}

#[test]
fn mtasts_toml_tells_the_defaults_of_the_code() {
    let mut defaults = String::new();
    for (key, text) in texts_of_keys() {
        let (_, default) = text.split_once("Default:").unwrap_or_else(|| panic!("{key} has no default"));
        match default.trim_start_matches('\n').strip_prefix(".Li ") {
            Some(value) => {
                let value = value.lines().next().unwrap().trim_end_matches(" .").replace("\\(dq", "\"");
                defaults.push_str(&format!("{key} = {value}\n"));
            }
            None => assert!(WITHOUT_DEFAULT.contains(&&*key), "{key}: {default}"),
        }
    }
    assert_eq!(defaults.lines().count(), KEYS.len() - WITHOUT_DEFAULT.len());
    assert_eq!(settings_of(&defaults), Settings::default());
}

#[test]
fn mtasts_toml_tells_the_bounds_of_the_code() {
    let mut seen = 0;
    for (key, text) in texts_of_keys() {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let words: Vec<&str> = text.split([' ', '.', ',']).collect();
        let number = |word: &str| word.parse::<i64>().ok();
        let bounds = words.windows(4).find_map(|words| match words {
            ["from", least, "to", most] => Some((number(least)?, number(most)?)),
            _ => None,
        });
        let Some((least, most)) = bounds else { continue };
        for (number, is_right) in [(least, true), (most, true), (least - 1, false), (most + 1, false)] {
            let (_, faults) = Settings::parse(&format!("{key} = {number}"), Path::new("x"));
            assert_eq!(faults.is_empty(), is_right, "{key} = {number}: {faults:?}");
        }
        seen += 1;
    }
    assert!(seen > 4, "{seen} bounds are found");
}

/// A commented-out line of the sample: the key or the table behind the `#`.
fn uncommented(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
}

fn settings_of(text: &str) -> Settings {
    let (settings, faults) = Settings::parse(text, Path::new("examples/mtasts.toml"));
    assert!(faults.is_empty(), "{faults:?}");
    settings
}

/// Keys of the sample that have no default to show, and what the code has in its place.
const WITHOUT_DEFAULT: [&str; 3] = ["user", "nameservers", "ca_file"];

#[test]
fn the_sample_configuration_changes_nothing_as_it_is_shipped() {
    let sample = read("examples/mtasts.toml");
    assert_eq!(settings_of(&sample), Settings::default());
    assert!(sample.lines().all(|line| line.is_empty() || line.starts_with('#')), "every line is a comment");
    assert!(sample.lines().all(|line| line.len() <= 80), "it fits a terminal");
}

#[test]
fn the_sample_configuration_shows_every_key_with_its_default() {
    let sample = read("examples/mtasts.toml");
    let lines: Vec<&str> = sample.lines().filter_map(uncommented).collect();
    let (top, tables) = lines.split_at(lines.iter().position(|line| line.starts_with('[')).unwrap());
    let keys: Vec<&str> = top.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(keys, KEYS);
    let defaults: Vec<&str> =
        top.iter().filter(|line| !WITHOUT_DEFAULT.contains(&line.split(' ').next().unwrap())).copied().collect();
    // A default that is not the code's would show as a difference; so would a key that says nothing.
    assert_eq!(settings_of(&defaults.join("\n")), Settings::default());
    for line in &defaults {
        let others = ["\"/x\"", "7", "true", "false", "\"defer\"", "\"proceed\""];
        let key = line.split(' ').next().unwrap();
        let differs = |value: &&str| {
            let (settings, faults) = Settings::parse(&format!("{key} = {value}"), Path::new("x"));
            faults.is_empty() && settings != Settings::default()
        };
        assert!(others.iter().any(differs), "{key} takes effect");
    }
    let in_tables: BTreeSet<String> = tables
        .iter()
        .filter(|line| !line.starts_with('['))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(in_tables, table_keys());
}

#[test]
fn the_sample_configuration_is_right_when_all_its_lines_count() {
    let sample = read("examples/mtasts.toml");
    let all: Vec<&str> = sample.lines().filter_map(uncommented).collect();
    let settings = settings_of(&all.join("\n"));
    assert_eq!(settings.domains.len(), 2);
    let defaults = Settings::default();
    assert!(settings.user != defaults.user && settings.nameservers != defaults.nameservers);
    assert_ne!(settings.ca_file, defaults.ca_file);
}

#[test]
fn every_toml_example_in_the_documents_is_right() {
    let mut examples = displays(&read("doc/man/mtasts.toml.5"));
    for file in ["README.md", "examples/exim/README.md"] {
        let text = read(file);
        let blocks: Vec<String> =
            text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
        assert!(!blocks.is_empty(), "{file}");
        examples.extend(blocks);
    }
    for example in examples {
        assert_ne!(settings_of(&example), Settings::default(), "{example}");
    }
}

#[test]
fn the_readme_shows_keys_with_their_defaults() {
    let readme = read("README.md");
    let rows: Vec<(&str, &str)> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"))
        .map(|(key, rest)| (key, rest.split('`').next().unwrap()))
        .collect();
    assert!(rows.len() > 3, "the table is found");
    let text: String = rows.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    assert_eq!(settings_of(&text), Settings::default());
}

// ---- mtasts(1) ----

fn help(path: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mtasts")).args(path).arg("--help").output().unwrap();
    assert!(output.status.success(), "{path:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

/// The options that a help text lists, `-x` and `--long` alike.
fn options_in_help(help: &str) -> BTreeSet<String> {
    let listed = help.lines().filter(|line| line.trim_start().starts_with('-') && line.starts_with("  "));
    let words = listed.flat_map(|line| line.trim_start().split("  ").next().unwrap().split([' ', ',']));
    let options = words.filter(|word| word.starts_with('-') && word.len() > 1);
    options.map(|word| word.split(['=', '[']).next().unwrap().to_owned()).collect()
}

/// Every subcommand that has an action of its own, as a list of words, with its help; first the command itself.
fn commands() -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let help = help(&path);
        let below = subcommands(&help);
        if below.is_empty() || path.is_empty() {
            found.push((path.clone(), help));
        }
        open.extend(below.into_iter().map(|name| [&path[..], &[name]].concat()));
    }
    found
}

/// The options that a part of mtasts(1) explains.
fn options_in_page(lines: &[&str]) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for line in lines.iter().filter(|line| line.starts_with(".It Fl ")) {
        for word in words(&line.replace(".It Fl ", "").replace(" Fl ", " ")) {
            // `.Fl v , -verbose` has two options; an argument begins with Ar.
            match word.as_str() {
                "," => {}
                "Ar" | "Oo" | "Op" | "Ns" | "Cm" => break,
                word => {
                    options.insert(format!("-{word}"));
                }
            }
        }
    }
    options
}

#[test]
fn mtasts_1_has_the_subcommands_and_options_of_the_help() {
    let page = read("doc/man/mtasts.1");
    let settings = options_in_page(&section(&page, ".Sh", "SETTINGS"));
    let commands = commands();
    assert!(commands.len() > 3, "the help is read");
    let mut of_all: Vec<String> = Vec::new();
    for (path, help) in &commands {
        let shown = options_in_help(help);
        if path.is_empty() {
            assert_eq!(settings, shown, "the settings");
            continue;
        }
        let title = path.join(" ");
        assert!(page.lines().any(|line| line == format!(".Ss {title}")), "mtasts(1) has no part on `{title}`");
        let own: BTreeSet<String> = shown.difference(&settings).cloned().collect();
        assert_eq!(options_in_page(&section(&page, ".Ss", &title)), own, "mtasts {title}");
        of_all.push(title);
    }
    let description = section(&page, ".Sh", "DESCRIPTION");
    let parts = description.iter().filter_map(|line| line.strip_prefix(".Ss "));
    for part in parts {
        let is_group = of_all.iter().any(|title| title.starts_with(&format!("{part} ")));
        assert!(is_group || of_all.iter().any(|title| title == part), "there is no subcommand `{part}`");
    }
}

#[test]
fn the_synopsis_of_mtasts_1_names_every_option_of_each_subcommand_and_no_other() {
    let page = read("doc/man/mtasts.1");
    let lines = section(&page, ".Sh", "SYNOPSIS").join("\n");
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for part in lines.split(".Nm\n").skip(1) {
        let words: Vec<&str> = part.split_whitespace().collect();
        let at = words.iter().position(|word| *word == ".Cm" || *word == "Cm").unwrap();
        let path: Vec<&str> = words[at + 1..].iter().take_while(|word| !word.starts_with('.')).copied().collect();
        // Behind `Fl` stands an option, and behind a bar another one.
        let mut options = Vec::new();
        let mut may_follow = false;
        for word in words[at..].iter().map(|word| word.trim_start_matches('.')) {
            may_follow = match word {
                "Fl" | "|" if word == "Fl" || may_follow => true,
                option if may_follow && (option.starts_with('-') || option.len() == 1) => {
                    options.push(format!("-{option}"));
                    true
                }
                _ => false,
            };
        }
        shown.entry(path.join(" ")).or_default().extend(options);
    }
    for (path, _) in commands().into_iter().filter(|(path, _)| !path.is_empty()) {
        let title = path.join(" ");
        let explained = options_in_page(&section(&page, ".Ss", &title));
        assert_eq!(shown.remove(&title).as_ref(), Some(&explained), "the synopsis of `mtasts {title}`");
    }
    assert!(shown.is_empty(), "{shown:?}");
}

#[test]
fn mtasts_1_explains_every_exit_status_of_the_help() {
    let page = read("doc/man/mtasts.1");
    let explained: BTreeSet<String> = section(&page, ".Sh", "EXIT STATUS")
        .iter()
        .filter_map(|line| line.strip_prefix(".It "))
        .map(str::to_owned)
        .collect();
    let help = help(&[]);
    let part = help.split("Exit status").nth(1).unwrap().split("\n\n").next().unwrap();
    let digits =
        part.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() == 1 && word.parse::<u8>().is_ok());
    let told: BTreeSet<String> = digits.map(str::to_owned).collect();
    assert!(told.len() > 3, "{part}");
    assert_eq!(explained, told);
}

#[test]
fn mtasts_1_explains_every_field_of_an_answer_in_json() {
    let page = read("doc/man/mtasts.1");
    let items = section(&page, ".Sh", "JSON");
    let explained = items.iter().filter_map(|line| line.strip_prefix(".It Ic "));
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("mtasts.toml");
    fs::write(&config, "").unwrap();
    let json = |arguments: &[&str], file: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_mtasts"))
            .args(arguments)
            .arg(file)
            .env("MTASTS_CONFIG", &config)
            .arg("--cache")
            .arg(directory.path().join("cache.db"))
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&output.stdout).unwrap()
    };
    // What has no policy has all fields too, and an address is asked about nowhere.
    let object = json(&["lookup", "--json", "--explain", "--mx", "mx.example.com"], "192.0.2.1");
    let fields: Vec<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(explained.collect::<Vec<_>>(), fields);
    let policy = directory.path().join("policy");
    fs::write(&policy, "version: STSv1\nmode: none\nmax_age: 86400\n").unwrap();
    let parsed = json(&["parse", "--json"], policy.to_str().unwrap());
    assert!(parsed.keys().all(|field| fields.contains(&field.as_str())));
}

// ---- make install ----

/// Runs the part of `make install` that needs nothing built, into a directory of its own.
fn install() -> Option<(tempfile::TempDir, PathBuf)> {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("root");
    let output = run("make", &[&format!("DESTDIR={}", place.display()), "install-manuals"])?;
    assert!(output.status.success(), "{output:?}");
    Some((directory, place))
}

#[test]
fn make_install_puts_a_page_under_every_name_that_it_has() {
    let Some((_directory, place)) = install() else { return };
    let man = place.join("usr/local/share/man");
    for (file, page) in pages() {
        let (stem, number) = file.rsplit_once('.').unwrap();
        let installed = man.join(format!("man{number}/{file}"));
        assert_eq!(fs::read_to_string(&installed).unwrap(), page, "{}", installed.display());
        for name in section(&page, ".Sh", "NAME").iter().filter_map(|line| line.strip_prefix(".Nm ")) {
            let name = name.trim_end_matches(" ,");
            if name != stem {
                let alias = fs::read_to_string(man.join(format!("man{number}/{name}.{number}")));
                assert_eq!(alias.unwrap(), format!(".so man{number}/{file}\n"), "{name}");
            }
        }
    }
    let sample = place.join("usr/local/share/doc/libmtasts/mtasts.toml");
    assert_eq!(fs::read_to_string(sample).unwrap(), read("examples/mtasts.toml"));
    assert!(!place.join("etc").exists(), "nobody's configuration is overwritten");
}

// ---- the header ----

#[test]
fn every_item_of_the_header_stands_below_a_comment() {
    let header = read("include/mtasts.h");
    let body = header.split("#define MTASTS_H").nth(1).unwrap();
    let lines: Vec<&str> = body.lines().collect();
    let mut items = 0;
    for (at, line) in lines.iter().enumerate() {
        let is_constant =
            line.starts_with("#define MTASTS_") || line.trim_start().starts_with("MTASTS_") && line.contains(" = ");
        let is_code = line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.starts_with("extern");
        if !is_constant && !is_code {
            continue;
        }
        items += 1;
        let above = lines[at - 1].trim_end();
        assert!(above.ends_with("*/") && !above.is_empty(), "no comment above `{line}`, but `{above}`");
    }
    assert!(items > 150, "{items} items of the header are found");
}

// ---- mtasts-socketmap(8) ----

fn server_help() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mtasts-socketmap")).arg("--help").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn mtasts_socketmap_8_has_the_options_exit_statuses_and_examples_of_the_help() {
    let page = read("doc/man/mtasts-socketmap.8");
    let help = server_help();
    let shown = options_in_help(&help);
    assert!(shown.len() > 8, "the help is read");
    assert_eq!(options_in_page(&section(&page, ".Sh", "DESCRIPTION")), shown);
    let synopsis: BTreeSet<String> = section(&page, ".Sh", "SYNOPSIS")
        .iter()
        .filter_map(|line| line.split_once("Fl "))
        .flat_map(|(_, rest)| rest.split(" | ").map(|option| format!("-{}", option.split(' ').next().unwrap())))
        .collect();
    assert_eq!(synopsis, shown, "the synopsis");

    let statuses = |lines: Vec<&str>, start: &str| -> BTreeSet<String> {
        let numbers = lines.into_iter().filter_map(|line| line.strip_prefix(start)?.split(' ').next());
        numbers.filter(|word| word.parse::<u8>().is_ok()).map(str::to_owned).collect()
    };
    let in_help = help.lines().skip_while(|line| *line != "Exit status:").take_while(|line| !line.is_empty());
    assert_eq!(statuses(section(&page, ".Sh", "EXIT STATUS"), ".It "), statuses(in_help.collect(), "  "));
    let examples = help.split_once("Examples:\n").unwrap().1.lines().map(|line| line.trim().replace('-', "\\-"));
    for example in examples {
        assert!(page.contains(&format!(".Dl {example}\n")), "{example}");
    }
    for map in ["sts", "postfix", "postfix-tlsrpt"] {
        assert!(page.contains(&format!(".It Cm {map}\n")) && help.contains(&format!("`{map}`")), "{map}");
    }
    assert!(help.contains("[default: 1000]") && page.contains("by default 1000"));
    assert!(help.contains("[default: 666]") && page.contains("By default it is 666"));
}
