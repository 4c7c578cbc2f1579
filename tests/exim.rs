//! Mail through a real Exim that asks the library just built: `tests/exim/run.sh`, case by case.
//!
//! It needs root, Debian's Exim 4 and a kernel that allows namespaces; without them it says `SKIPPED` and why. With
//! `MTASTS_NO_SKIP=1` in the environment a skip is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The exit status of `run.sh` when something that it needs is missing.
const SKIPPED: i32 = 77;

#[test]
fn a_real_exim_enforces_the_policies_that_the_library_finds() {
    let profile_dir = profile_dir();
    let library = library(&profile_dir);
    let world = world(&profile_dir);
    // The output is inherited, not captured: a run of a minute shows where it is, and a skip is always seen.
    let status = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exim/run.sh"))
        .args([&library, &world])
        .status();
    let code = match status {
        Ok(status) => status.code(),
        Err(error) => {
            println!("SKIPPED: bash: {error}");
            Some(SKIPPED)
        }
    };
    let may_skip = std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1");
    match code {
        Some(0) => {}
        Some(SKIPPED) if may_skip => {}
        Some(SKIPPED) => panic!("skipped, and MTASTS_NO_SKIP=1 forbids that"),
        code => panic!("tests/exim/run.sh ended with {code:?}, want 0"),
    }
}

/// `target/debug` or `target/release`: this test lies in its folder `deps`.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("a test within target/PROFILE/deps").to_path_buf()
}

/// `cargo test` leaves the library in `deps`; `cargo build` puts a link to it one folder up.
fn library(profile_dir: &Path) -> PathBuf {
    let candidates = [profile_dir.join("deps/libmtasts.so"), profile_dir.join("libmtasts.so")];
    let found = candidates.iter().find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("no library at {candidates:?}")).clone()
}

/// Builds the world's program into the same target directory: cargo builds only the library of a dev-dependency.
fn world(profile_dir: &Path) -> PathBuf {
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--package", "mtasts-world"]);
    cargo.args(["--profile", profile]).arg("--target-dir").arg(profile_dir.parent().expect("a target directory"));
    let status = cargo.status().expect("cargo");
    assert!(status.success(), "cargo build --package mtasts-world: {status}");
    profile_dir.join("mtasts-world")
}
