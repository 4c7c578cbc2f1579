//! A host for C programs: compiles them against the header and the shared library, and runs them in a small world.

use mtasts_world::{Answer, Certificate, Response, Site, World, policy_body};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A program that runs longer than this hangs.
const LONGEST_RUN_SECONDS: &str = "300";

/// A user that the machine does not know, and its group.
pub const MAIL: u32 = 54_321;

/// A world, a directory for a configuration, a cache and programs.
pub struct Host {
    pub world: World,
    directory: TempDir,
}

/// How a program ended and what it said.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Host {
    /// A host with a configuration for its world, and the library under the names that compilers and loaders want.
    pub fn new() -> Self {
        let host = Self { world: World::start(), directory: tempfile::tempdir().unwrap() };
        publish_all(&host.world);
        fs::DirBuilder::new().mode(0o750).create(host.path("cache")).unwrap();
        let configuration = format!(
            "cache = \"{}\"\nnameservers = [\"{}\"]\nhttps_port = {}\nca_file = \"{}\"\n\
             allow_private_addresses = true\n",
            host.path("cache/cache.db").display(),
            host.world.dns_addr(),
            host.world.https_addr().port(),
            host.world.ca_file().display(),
        );
        fs::write(host.configuration(), configuration).unwrap();
        for name in ["libmtasts.so", "libmtasts.so.0"] {
            symlink(library(), host.path(name)).unwrap();
        }
        host
    }

    /// A path in the directory of this host.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration that fits the world.
    pub fn configuration(&self) -> PathBuf {
        self.path("mtasts.toml")
    }

    /// Gives the cache to a user who is not root: where Exim runs as root, its questions are answered by that user.
    pub fn gives_the_cache_away(&self) {
        let directory = self.path("cache");
        if fs::metadata(&directory).unwrap().uid() == 0 {
            let files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
            files.chain([directory]).for_each(|path| chown(path, Some(MAIL), Some(MAIL)).unwrap());
        }
    }

    /// Compiles one of the repository's C files and links it with the shared library.
    pub fn compile(&self, source: &str) -> PathBuf {
        let directory = self.directory.path().display().to_string();
        self.compile_with(source, &["-L", &directory, "-lmtasts", &format!("-Wl,-rpath,{directory}")])
    }

    /// Compiles one of the repository's C files with further options, and those of `tests/sanitizers.sh`.
    pub fn compile_with(&self, source: &str, options: &[&str]) -> PathBuf {
        let sanitizer = std::env::var("MTASTS_SANITIZER_CFLAGS").unwrap_or_default();
        let program = self.directory.path().join(Path::new(source).file_stem().unwrap());
        let output = Command::new("cc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread", "-o"])
            .arg(&program)
            .arg(root().join(source))
            .arg("-I")
            .arg(root().join("include"))
            .args(options)
            .args(sanitizer.split_whitespace())
            .output()
            .unwrap_or_else(|error| panic!("cc: {error}"));
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && messages.is_empty(), "{source}: {messages}");
        program
    }

    /// Runs a program with nothing in its environment but the configuration's path and the options of a sanitizer.
    pub fn run(&self, command: &[&str]) -> Run {
        let output = Command::new("timeout")
            .arg(LONGEST_RUN_SECONDS)
            .args(command)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("MTASTS_CONFIG", self.configuration())
            .envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().ends_with("SAN_OPTIONS")))
            .current_dir("/")
            .output()
            .unwrap_or_else(|error| panic!("timeout: {error}"));
        Run {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs one situation of a test program.
    pub fn run_situation(&self, source: &str, situation: &str, more: &[&str]) -> Run {
        self.run_behind(&[], source, situation, more)
    }

    /// Runs one situation of a test program, behind a wrapper if one is given. It has nothing to say if all is well,
    /// and neither has the library.
    pub fn passes(&self, wrapper: &[&str], source: &str, situation: &str, more: &[&str]) {
        let run = self.run_behind(wrapper, source, situation, more);
        let silent = Run { status: Some(0), stdout: String::new(), stderr: String::new() };
        assert!(run == silent, "{situation}: status {:?}\n{}{}", run.status, run.stdout, run.stderr);
    }

    fn run_behind(&self, wrapper: &[&str], source: &str, situation: &str, more: &[&str]) -> Run {
        let program = self.compile(source);
        let configuration = self.configuration();
        let mut command = wrapper.to_vec();
        command.extend([program.to_str().unwrap(), configuration.to_str().unwrap(), situation]);
        command.extend(more);
        self.run(&command)
    }
}

/// The domains that the programs ask about. `absent.test` is none of them.
fn publish_all(world: &World) {
    let day = 86_400;
    world.publish("good.test", "20260101", policy_body("enforce", &["mx.good.test", "*.backup.test"], day));
    world.publish("fresh.test", "1", policy_body("enforce", &["mx.fresh.test"], day));
    world.publish("testing.test", "1", policy_body("testing", &["mx.testing.test"], day));
    world.publish("none.test", "1", policy_body("none", &[], day));
    world.publish("xn--bcher-kva.test", "1", policy_body("enforce", &["mx.xn--bcher-kva.test"], day));
    world.publish("malformed.test", "1", "version: STSv1\r\nmode: strict\r\nmax_age: 86400\r\n");
    world.publish("wrong-certificate.test", "1", policy_body("enforce", &["mx.wrong-certificate.test"], day));
    let body = policy_body("enforce", &["mx.wrong-certificate.test"], day);
    world
        .site("mta-sts.wrong-certificate.test", Site::new(Certificate::WrongName, Response::Policy(body.into_bytes())));
    world.publish("mute.test", "1", "");
    world.site("mta-sts.mute.test", Site::new(Certificate::Good, Response::Silent));
    world.publish("drip.test", "1", "");
    let body = policy_body("enforce", &["mx.drip.test"], day);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let drip = Response::Drip { bytes: answer.into_bytes(), pause: Duration::from_millis(3) };
    world.site("mta-sts.drip.test", Site::new(Certificate::Good, drip));
    world.dns("_mta-sts.silent.test", Answer::Silent);
    world.dns("_mta-sts.servfail.test", Answer::ServFail);
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library that cargo built together with this test.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let beside = test.parent().unwrap();
    [beside, beside.parent().unwrap()]
        .into_iter()
        .map(|directory| directory.join("libmtasts.so"))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no libmtasts.so beside {}", test.display()))
}

/// What a tool prints about the shared library.
pub fn inspect(tool: &str, options: &[&str]) -> String {
    let output = Command::new(tool)
        .args(options)
        .arg(library())
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{tool}: {error}"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
