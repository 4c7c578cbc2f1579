//! A module uses only what stands above it in the drawing of `src/lib.rs`, and `unsafe` stays where it belongs.

use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom, as in `src/lib.rs`. The two faces stand side by side.
const LAYERS: &[&str] = &[
    "sys",
    "time",
    "syntax",
    "reason",
    "config",
    "tls",
    "dns",
    "https",
    "cache",
    "discovery",
    "decision",
    "context",
    "socketmap",
    "capi",
    "exim",
];

const MAY_BE_UNSAFE: &[&str] = &["sys/", "capi/", "exim.rs"];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open: Vec<PathBuf> = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 20, "the sources are found");
    found
}

/// The code without comments and without unit tests, which stand last in a file.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The modules of this crate that a text names after `crate::`, also in `use crate::{...}`.
fn used_modules(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name = name.trim().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap();
            used.push(name.to_owned());
        }
    }
    used
}

#[test]
fn no_module_uses_one_below_it() {
    let mut seen = 0;
    for (file, text) in sources() {
        let Some(own) = LAYERS.iter().position(|layer| *layer == module(&file)) else { continue };
        seen += 1;
        for name in used_modules(&code(&text)) {
            let Some(other) = LAYERS.iter().position(|layer| *layer == name) else {
                panic!("src/{file} uses crate::{name}, which the drawing in src/lib.rs does not have");
            };
            assert!(other <= own, "src/{file} uses crate::{name}, which stands below it");
            assert!(name != "capi" || own == other, "src/{file}: faces do not import each other");
        }
    }
    assert!(seen > 20, "the layers are found");
}

#[test]
fn a_use_of_a_lower_layer_would_be_noticed() {
    assert_eq!(used_modules("use crate::{dns, tls::x};\nlet a = crate::context::Context;"), ["dns", "tls", "context"]);
    assert_eq!(code("a // crate::x\n#[cfg(test)]\nmod tests { crate::y }"), "a ");
}

#[test]
fn the_drawing_in_lib_rs_shows_the_layers_in_their_order() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let drawing = text.split("```text").nth(1).unwrap().split("```").next().unwrap();
    let drawn: Vec<&str> = drawing
        .lines()
        .flat_map(|line| line.trim_start_matches("//!").trim().split("  ").next().unwrap().split(", "))
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(drawn, LAYERS);
    let declared: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("mod "))
        .map(|name| name.trim_end_matches(';'))
        .collect();
    assert_eq!(declared, LAYERS);
}

#[test]
fn unsafe_code_stays_in_sys_and_the_c_faces_and_says_why_it_is_sound() {
    for (file, text) in sources() {
        let uses_unsafe = code(&text).contains("unsafe");
        assert!(
            !uses_unsafe || MAY_BE_UNSAFE.iter().any(|place| file.starts_with(place)),
            "src/{file} has unsafe code"
        );
        let lines: Vec<&str> = text.split("#[cfg(test)]").next().unwrap().lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let is_block = line.contains("unsafe {") || line.trim_start().starts_with("unsafe impl");
            let above = &lines[at.saturating_sub(6)..at];
            let is_explained = above.iter().any(|line| line.contains("SAFETY:"));
            assert!(!is_block || is_explained, "src/{file}:{}: an unsafe block without a SAFETY comment", at + 1);
        }
    }
}
