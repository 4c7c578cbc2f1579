//! A directory that `make install` has filled with what the tests have built.

use crate::harness::{library, root};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

/// A directory of cargo's that is as good as new. It is not removed, since statics are not dropped.
fn kept(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Where `make` finds what the tests have built, and puts the rest.
static TARGET: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = kept("target");
    let release = target.join("release");
    fs::create_dir(&release).unwrap();
    for kind in ["so", "a"] {
        symlink(library().with_extension(kind), release.join("libmtasts").with_extension(kind)).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_mtasts"), release.join("mtasts")).unwrap();
    symlink(env!("CARGO_BIN_EXE_mtasts-socketmap"), release.join("mtasts-socketmap")).unwrap();
    make(&target, &[], "all");
    target
});

/// Runs `make` with nothing in place of a compiler, as somebody whose new files nobody else may read.
fn make(target: &Path, variables: &[String], goal: &str) {
    let output = Command::new("sh")
        .args(["-euc", "umask 077; exec make \"$@\"", "make", "CARGO=true", goal])
        .args(variables)
        .env("CARGO_TARGET_DIR", target)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "make {goal}: {output:?}");
}

/// A directory that takes the place of the root directory, and the variables that say where in it files go.
pub struct Place {
    root: PathBuf,
    _temporary: Option<TempDir>,
    variables: Vec<String>,
}

impl Place {
    /// For a static.
    pub fn lasting(variables: &[&str]) -> Self {
        Self::of(kept("root"), None, variables)
    }

    pub fn installed(variables: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::of(directory.path().join("root"), Some(directory), variables)
    }

    fn of(root: PathBuf, temporary: Option<TempDir>, variables: &[&str]) -> Self {
        let destination = format!("DESTDIR={}", root.display());
        let variables = variables.iter().map(|&variable| variable.to_owned()).chain([destination]).collect();
        let place = Self { root, _temporary: temporary, variables };
        place.make("install");
        place
    }

    /// Runs a target that has to do with this place.
    pub fn make(&self, goal: &str) {
        make(&TARGET, &self.variables, goal);
    }

    /// What the files take for the root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path as the files know it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// All files and links, each with its mode or with what it leads to.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut open = vec![self.root.clone()];
        let mut found = BTreeMap::new();
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap();
                if kind.is_dir() {
                    assert_eq!(kind.permissions().mode() & 0o777, 0o755, "{}", path.display());
                    open.push(path);
                    continue;
                }
                let about = match fs::read_link(&path) {
                    Ok(target) => format!("-> {}", target.display()),
                    Err(_) => format!("{:o}", kind.permissions().mode() & 0o7777),
                };
                found.insert(format!("/{}", path.strip_prefix(self.root()).unwrap().display()), about);
            }
        }
        found
    }

    /// What pkg-config says about the library here.
    pub fn pkg_config(&self, arguments: &[&str]) -> String {
        let directory = self.files().into_keys().find_map(|file| file.strip_suffix("/mtasts.pc").map(str::to_owned));
        let output = Command::new("pkg-config")
            .args(arguments)
            .env("PKG_CONFIG_PATH", self.path(&directory.expect("mtasts.pc is installed")))
            .env("PKG_CONFIG_SYSROOT_DIR", self.root())
            .output()
            .unwrap_or_else(|error| panic!("pkg-config: {error}"));
        assert!(output.status.success(), "pkg-config {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Compiles a C program of the repository, strictly, with these options behind it.
pub fn compile(source: &str, program: &Path, options: &str) {
    let output = compiler(source, program, options);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && messages.is_empty(), "{source}: {messages}");
}

fn compiler(source: &str, program: &Path, options: &str) -> Output {
    Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
        .arg(program)
        .arg(root().join(source))
        .args(options.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("cc: {error}"))
}
