//! The C header is the one that the sources make, and any C or C++ compiler takes it without a word.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("include/cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in [
        "capi/status.rs",
        "capi/lookup.rs",
        "capi/context.rs",
        "capi/policy.rs",
        "capi/decision.rs",
        "capi/record.rs",
        "capi/socketmap.rs",
        "exim.rs",
        "decision.rs",
        "reason.rs",
    ] {
        builder = builder.with_src(root().join("src").join(source));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    for_c_readers(&String::from_utf8(header).unwrap())
}

/// What C readers need otherwise: no section on Rust's notion of safety, no Markdown, short comments on one line.
fn for_c_readers(header: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut source = header.lines().peekable();
    while let Some(line) = source.next() {
        let text = line.trim_start();
        if text == "* # Safety" {
            while source.peek().is_some_and(|line| line.trim_start() != "*/") {
                source.next();
            }
            lines.pop();
            continue;
        }
        let is_short = lines.len() > 1 && lines[lines.len() - 2].trim_start() == "/**";
        match lines.last() {
            Some(only) if text == "*/" && is_short => {
                let short = only.replacen("* ", "/** ", 1).replacen(" /**", "/**", 1) + " */";
                lines.truncate(lines.len() - 2);
                lines.push(short);
            }
            _ => lines.push(line.trim_end().to_owned()),
        }
    }
    lines.join("\n").replace('`', "") + "\n"
}

#[test]
fn the_checked_in_header_is_the_one_that_the_sources_make() {
    let path = root().join("include/mtasts.h");
    let generated = generated();
    if std::env::var_os("MTASTS_WRITE_HEADER").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "include/mtasts.h is stale; `make header` rewrites it");
}

#[test]
fn c_and_cpp_compilers_take_the_header_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    for (compiler, standard, name) in [
        ("cc", "c99", "header.c"),
        ("cc", "c11", "header.c"),
        ("cc", "c17", "header.c"),
        ("c++", "c++11", "header.cc"),
        ("c++", "c++20", "header.cc"),
    ] {
        let source: PathBuf = directory.path().join(name);
        std::fs::write(&source, "#include <mtasts.h>\nint main(void) { return mtasts_version() == 0; }\n").unwrap();
        let output = Command::new(compiler)
            .arg(format!("-std={standard}"))
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I"])
            .arg(root().join("include"))
            .arg(&source)
            .output()
            .unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(output.status.success(), "{compiler} -std={standard}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
