//! No panic reaches a host.
//!
//! Nothing that panics on request is built into the library. What surrounds the functions for C and for Exim is tested with
//! panics where it stands, `src/capi/guard.rs` and `src/exim.rs`; here it is seen that nothing goes without. What surrounds
//! the command is tested in `src/bin/mtasts/main.rs`. A Rust program may bring a panic of its own into the library, by the
//! function that takes the log.

use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::Effort;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A Rust program sees its panic as what it is, and can go on with the same context.
#[test]
fn a_panic_in_the_log_function_unwinds_through_the_library_and_the_context_goes_on() {
    let cache = "/nonexistent/cache.db".into();
    // Nobody answers there, and nobody needs to: the cache alone is asked.
    let settings = Settings { cache, nameservers: vec![([127, 0, 0, 1], 9).into()], ..Settings::default() };
    let context = Context::with_settings(settings);
    let ask = || context.query(b"six.test", Effort::CacheOnly, None).mode_str().to_owned();
    context.set_log(Some(Box::new(|_, line| panic!("a test: {line}"))));
    assert!(catch_unwind(AssertUnwindSafe(ask)).is_err());
    context.set_log(None);
    assert_eq!(ask(), "none");
}

/// What surrounds a call and stops its panic; each of them is tested with a panic where it stands.
const GUARDS: [&str; 5] = ["guarded(", "guarded_value(", "pure(", "get(", "answer("];
/// These give a constant or a pointer that is there already.
const TRIVIAL: [&str; 2] = ["mtasts_version", "mtasts_last_error"];

/// The exported functions of a source file, with their code.
fn exported(text: &str) -> Vec<(String, String)> {
    let heads = text.split("#[unsafe(no_mangle)]\n").skip(1);
    heads
        .map(|rest| {
            let name = rest.split("extern \"C\" fn ").nth(1).unwrap().split('(').next().unwrap();
            // Functions end where a brace stands at the beginning of a line.
            let code = rest.split("\n}\n").next().unwrap();
            (name.to_owned(), code.to_owned())
        })
        .collect()
}

fn is_guarded(code: &str) -> bool {
    GUARDS.iter().any(|guard| code.contains(guard))
}

#[test]
fn every_exported_function_stops_panics() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("exim.rs")];
    files.extend(fs::read_dir(source.join("capi")).unwrap().map(|entry| entry.unwrap().path()));
    let mut count = 0;
    for file in files {
        for (name, code) in exported(&fs::read_to_string(&file).unwrap()) {
            count += 1;
            assert!(is_guarded(&code) || TRIVIAL.contains(&&*name), "{name} lets a panic through");
        }
    }
    assert!(count > 35, "{count} exported functions");
    let bare = "#[unsafe(no_mangle)]\npub extern \"C\" fn f(a: int) {\n    work(a)\n}\n";
    assert!(!is_guarded(&exported(bare)[0].1), "one without would be noticed");
}

/// There is nothing in the library that a host could make panic, and nothing that is there for tests only.
#[test]
fn the_library_has_no_feature_for_tests() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let features = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<&str> = features.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
    assert_eq!(names, ["default", "cli", "capi", "quiet", "bundled-sqlite"]);
}
