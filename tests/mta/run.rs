//! Plays the cases of a mail server with what cargo has built: `tests/NAME/run.sh`, case by case.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The exit status of `run.sh` when something that it needs is missing.
const SKIPPED: i32 = 77;

/// `tests/NAME/run.sh LIBRARY WORLD` must end well. What is missing is told as `SKIPPED`, and with `MTASTS_NO_SKIP=1` in the
/// environment that is a failure.
pub fn play(name: &str) {
    let profile_dir = profile_dir();
    let library = library(&profile_dir);
    let world = world(&profile_dir);
    let script = format!("tests/{name}/run.sh");
    // The output is inherited, not captured: a run of a minute shows where it is, and a skip is always seen.
    let status =
        Command::new("bash").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(&script)).args([&library, &world]).status();
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
        code => panic!("{script} ended with {code:?}, want 0"),
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
