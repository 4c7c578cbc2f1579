//! No panic reaches a host.
//!
//! Nothing that panics on request is built into the library. What does panic is a thread that drives an async runtime of
//! tokio, as the Rust API says: DNS needs one of its own. On such a thread each face is called here, and this panic is
//! raised inside the library, below everything that a call goes through.

mod fuzz_bodies;

use fuzz_bodies::exim::{call, configure};
use mtasts::capi::*;
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::Effort;
use mtasts::exim::{mtasts_exim, mtasts_exim_mode};
use std::ffi::{CStr, c_int};
use std::fs;
use std::path::Path;
use std::ptr;

/// Runs a call on a thread that drives a runtime.
fn in_a_runtime<T>(call: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { call() })
}

fn last_error() -> String {
    // SAFETY: the library's text, copied at once.
    unsafe { CStr::from_ptr(mtasts_last_error()) }.to_str().unwrap().to_owned()
}

#[test]
fn a_panic_inside_the_library_is_an_internal_fault_for_c_and_the_context_goes_on() {
    configure();
    // SAFETY: each call gets what its comment asks for.
    unsafe {
        let mut context = ptr::null_mut();
        assert_eq!(mtasts_context_new(ptr::null(), &raw mut context), MTASTS_OK, "{}", last_error());
        for domain in [c"one.test", c"two.test"] {
            let mut policy = ptr::dangling_mut();
            let status = in_a_runtime(|| mtasts_query(context, domain.as_ptr(), 0, 0, &raw mut policy));
            assert_eq!(status, MTASTS_INTERNAL);
            assert!(policy.is_null() && last_error().starts_with("a fault inside libmtasts"), "{}", last_error());
            let hosts = [c"mx.test".as_ptr()];
            let ask_for = || mtasts_query_for(context, domain.as_ptr(), hosts.as_ptr(), 1, 0, 0, &raw mut policy);
            assert_eq!(in_a_runtime(ask_for), MTASTS_INTERNAL);
            let mut patterns = [1; 100];
            let lookup = || mtasts_lookup(domain.as_ptr(), patterns.as_mut_ptr(), patterns.len());
            assert_eq!((in_a_runtime(lookup), patterns[0]), (-MTASTS_INTERNAL, 0), "never a mode");
            // Elsewhere the same domain is answered, by the same context: nothing was left locked or half done.
            assert_eq!(mtasts_query(context, domain.as_ptr(), 0, 0, &raw mut policy), MTASTS_OK, "{}", last_error());
            assert_eq!(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
            mtasts_policy_free(policy);
        }
        mtasts_context_free(context);
    }
}

/// Under root the panic is raised in the child that answers, else in the host itself.
#[test]
fn a_panic_inside_the_library_holds_the_message_for_exim() {
    configure();
    for (function, arguments) in [
        (mtasts_exim as fuzz_bodies::exim::Function, &[c"three.test", c"10 mx.three.test"][..]),
        (mtasts_exim_mode, &[c"four.test"]),
    ] {
        let (status, text) = in_a_runtime(|| call(function, arguments));
        const EXIM_FAIL: c_int = 2;
        assert_eq!(status, EXIM_FAIL, "{}", text.escape_ascii());
        assert!(text.starts_with(b"MTA-STS: "), "{}", text.escape_ascii());
    }
    let (status, mode) = call(mtasts_exim_mode, &[c"five.test"]);
    assert_eq!((status, &*mode), (0, &b"none"[..]), "and the next is answered");
}

/// A Rust program sees it as what it is, and can go on.
#[test]
fn a_panic_inside_the_library_unwinds_for_rust_and_the_context_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let resolver = fuzz_bodies::responder::Responder::start();
    let cache = directory.path().join("cache.db");
    let settings = Settings { cache, nameservers: vec![resolver.address], ..Settings::default() };
    let context = Context::with_settings(settings);
    let ask = || context.query(b"six.test", Effort::Usual, None).mode_str().to_owned();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| in_a_runtime(ask))).is_err());
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
