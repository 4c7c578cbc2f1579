//! The shared library as a file: `cargo bench --bench host -- library [build]`. With `build` it is built anew in a directory
//! of its own, which takes minutes.

use crate::field::library;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

pub fn measure() {
    println!("## The library\n");
    let path = library();
    let path = path.to_str().unwrap();
    println!("| what | figure |");
    println!("|---|---|");
    println!("| size in bytes | {} |", fs::metadata(path).unwrap().len());
    let Some(relocations) = read_elf(&["-rW", path]) else {
        println!("\nreadelf is missing.\n");
        return;
    };
    let mut kinds = BTreeMap::new();
    for kind in relocations.lines().filter_map(|line| line.split_whitespace().nth(2)) {
        if kind.starts_with("R_") {
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    println!("| relocations | {} |", kinds.values().sum::<i32>());
    for (kind, count) in kinds {
        println!("| {kind} | {count} |");
    }
    let sections = read_elf(&["-SW", path]).unwrap();
    for wanted in [".text", ".rodata", ".eh_frame", ".gcc_except_table", ".rela.dyn", ".data.rel.ro", ".data", ".bss"] {
        let line = sections.lines().find(|line| line.split_whitespace().any(|word| word == wanted));
        let size = line.and_then(|line| line.split_once(wanted)).and_then(|(_, rest)| rest.split_whitespace().nth(3));
        println!("| {wanted} | {} |", size.map_or(0, |size| u64::from_str_radix(size, 16).unwrap()));
    }
    let dynamic = read_elf(&["-dW", path]).unwrap();
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let needed: Vec<&str> = needed.filter_map(|line| line.split(['[', ']']).nth(1)).collect();
    println!("| needs | {} |", needed.join(", "));
    if std::env::args().any(|argument| argument == "build") {
        println!("| time to build it | {:.0} s |", build_anew());
    }
    println!();
}

fn read_elf(arguments: &[&str]) -> Option<String> {
    let output = Command::new("readelf").args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn build_anew() -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--release", "--lib", "--quiet"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", directory.path())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed().as_secs_f64()
}
