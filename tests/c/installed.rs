//! The library as `make install` puts it on a machine, and the examples in C built against that.

#[allow(dead_code, reason = "looks closer at what is installed than these tests need")]
#[path = "../install/place.rs"]
mod place;

use place::Place;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Says whether a program answers. Without it a test is skipped, which `MTASTS_NO_SKIP=1` forbids.
pub fn is_there(command: &[&str], what: &str) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let is_there = output.is_ok_and(|output| output.status.success());
    if !is_there {
        println!("SKIPPED: {what} not installed");
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "{what} is not installed");
    }
    is_there
}

/// Runs a command and wants it to succeed.
#[track_caller]
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A root directory with the library, its header and `mtasts.pc` below `usr`, as `make install` leaves it. All tests of
/// a file share it; it lies in the target directory and is made anew by each run.
pub fn installed() -> &'static Path {
    static INSTALLED: LazyLock<Place> = LazyLock::new(|| Place::lasting(&["PREFIX=/usr"]));
    INSTALLED.root()
}

/// The directory that a loader is told of.
pub fn library_directory() -> PathBuf {
    installed().join("usr/lib")
}
