//! The library as `make install` puts it on a machine, and the examples in C built against that.

use super::harness::{library, root};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        // What cargo has built for this test stands in for a release.
        let release = place.join("built/release");
        fs::create_dir_all(&release).unwrap();
        for built in [library(), library().with_extension("a"), env!("CARGO_BIN_EXE_mtasts").into()] {
            if built.exists() {
                symlink(&built, release.join(built.file_name().unwrap())).unwrap();
            }
        }
        let image = place.join("image");
        for target in ["all", "install"] {
            succeeds(
                Command::new("make")
                    .args([target, "CARGO=true", "PREFIX=/usr"])
                    .env("CARGO_TARGET_DIR", place.join("built"))
                    .env("DESTDIR", &image)
                    .current_dir(root()),
            );
        }
        image
    })
}

/// The directory that a loader is told of.
pub fn library_directory() -> PathBuf {
    installed().join("usr/lib")
}
