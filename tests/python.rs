//! The module for Python, installed by pip as its README says, against the installed library in a small world:
//! `tests/python/test_*.py`.

#[path = "c/chains.rs"]
mod chains;
#[allow(dead_code)]
#[path = "c/harness.rs"]
mod harness;
#[path = "c/installed.rs"]
mod installed;

use chains::write_chains;
use harness::{Host, root};
use installed::{is_there, library_directory, succeeds};
use mtasts_world::{Certificate, Smtp, Starttls, policy_body};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = "examples/python/README.md";

/// A Python of the machine, which the test calls python3 then.
struct Python {
    host: Host,
    interpreter: PathBuf,
}

impl Python {
    /// The first Python that has the modules.
    fn with(modules: &str) -> Option<Self> {
        let has_modules = |python: &&&str| {
            Command::new(python)
                .args(["-c", &format!("import {modules}")])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let pythons = ["python3", "/usr/bin/python3"];
        let python = pythons.iter().find(has_modules).copied().unwrap_or("python3");
        is_there(&[python, "-c", &format!("import {modules}")], &format!("a python3 with {modules}")).then(|| {
            let found = succeeds(Command::new(python).args(["-c", "import sys; print(sys.executable)"]));
            Self { host: Host::new(), interpreter: found.trim().into() }
        })
    }

    /// A command in a directory of its own, which has a copy of the module's sources.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let sources = self.host.path("sources/examples/python");
        let programs = self.host.path("programs");
        if !sources.exists() {
            fs::create_dir_all(&sources).unwrap();
            fs::create_dir_all(&programs).unwrap();
            for entry in fs::read_dir(root().join("examples/python")).unwrap().map(Result::unwrap) {
                if entry.path().is_file() {
                    fs::copy(entry.path(), sources.join(entry.file_name())).unwrap();
                }
            }
            let script = format!("#!/bin/sh\nexec {} \"$@\"\n", self.interpreter.display());
            fs::write(programs.join("python3"), script).unwrap();
            fs::set_permissions(programs.join("python3"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("timeout");
        let path = std::env::var("PATH").unwrap();
        command.arg("300").arg(program).env_clear().current_dir(self.host.path("sources"));
        command.env("PATH", format!("{}:{path}", programs.display())).env("HOME", self.host.path(""));
        command.env("MTASTS_CONFIG", self.host.configuration()).env("LD_LIBRARY_PATH", library_directory());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONFAULTHANDLER", "1").env("PYTHONWARNINGS", "error");
        command
    }

    /// Installs the module by the two lines of the README, and tells where it is.
    fn install(&self) -> PathBuf {
        let readme = fs::read_to_string(root().join(README)).unwrap();
        let lines: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        let lines: Vec<&str> = lines.into_iter().take_while(|line| !line.starts_with(' ')).take(2).collect();
        assert_eq!(lines, ["python3 -m venv mail", "mail/bin/pip install --no-index ./examples/python"]);
        for line in lines {
            succeeds(self.command("sh").env_remove("PYTHONWARNINGS").args(["-euc", line]));
        }
        let tell = "import sysconfig; print(sysconfig.get_path('purelib'))";
        succeeds(self.command("mail/bin/python3").args(["-c", tell])).trim().into()
    }
}

/// Starts the receivers of the tests, and tells where each host listens.
fn receivers(host: &Host) -> String {
    let world = &host.world;
    for domain in ["example.com", "example.org"] {
        let mx = [format!("mx.{domain}"), format!("mx1.{domain}")];
        world.publish(domain, "1", policy_body("enforce", &[&mx[0], &mx[1]], 86_400));
    }
    let good = |name: &'static str| Smtp::new(name);
    let with = |name, certificate| Smtp { certificate, ..Smtp::new(name) };
    let moods = |name, starttls| Smtp { starttls, ..Smtp::new(name) };
    let all = [
        good("mx.example.com"),
        with("mx1.example.com", Certificate::WrongName),
        good("mx.good.test"),
        good("evil.test"),
        with("expired.backup.test", Certificate::Expired),
        with("self-signed.backup.test", Certificate::SelfSigned),
        with("mx.testing.test", Certificate::UnknownCa),
        moods("clear.backup.test", Starttls::NotOffered),
        moods("broken.backup.test", Starttls::Broken),
    ];
    let start = |smtp: Smtp| {
        let name = smtp.default_name.clone();
        let address = world.smtp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), smtp).unwrap();
        format!("{name}={}", address.port())
    };
    all.map(start).join(",")
}

#[test]
fn pip_installs_the_module_without_network_and_it_does_what_it_should() {
    let Some(python) = Python::with("venv, ensurepip, pytest, mypy") else { return };
    let modules = python.install();
    let files = |directory: &Path| -> BTreeSet<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| name != "__pycache__").collect()
    };
    assert_eq!(files(&modules.join("mtasts")), ["__init__.py", "py.typed"].map(str::to_owned).into());
    let about = succeeds(python.command("mail/bin/pip").env_remove("PYTHONWARNINGS").args(["show", "-f", "mtasts"]));
    for line in [&format!("Version: {}", env!("CARGO_PKG_VERSION")), "License: MIT", "Requires: ", "  mtasts/py.typed"]
    {
        assert!(about.lines().any(|real| real.trim_end() == line.trim_end()), "no `{line}` in\n{about}");
    }
    let (directory, _) = write_chains(&python.host);
    let said = succeeds(
        python
            .command("python3")
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"])
            .arg(root().join("tests/python"))
            .env("PYTHONPATH", &modules)
            .env("TEST_ROOT", root())
            .env("TEST_CHAINS", directory)
            .env("TEST_SMTP", receivers(&python.host))
            .env("SSL_CERT_FILE", python.host.world.ca_file()),
    );
    assert!(said.contains(" passed") && !said.contains("skipped"), "{said}");
}

#[test]
fn two_builds_of_the_module_are_the_same_and_the_source_distribution_installs_as_well() {
    let Some(python) = Python::with("venv, ensurepip") else { return };
    let build = "import sys; sys.path.insert(0, 'examples/python'); import build_mtasts as build, os\n\
                 for place in ('one', 'two'): os.mkdir(place); build.build_wheel(place); build.build_sdist(place)";
    succeeds(python.command("python3").args(["-c", build]));
    let wheel = format!("mtasts-{}-py3-none-any.whl", env!("CARGO_PKG_VERSION"));
    let read = |place: &str| fs::read(python.host.path("sources").join(place).join(&wheel)).unwrap();
    assert_eq!(read("one"), read("two"));
    let sources = format!("one/mtasts-{}.tar.gz", env!("CARGO_PKG_VERSION"));
    let install = format!("python3 -m venv other && other/bin/pip install --no-index {sources}");
    succeeds(python.command("sh").env_remove("PYTHONWARNINGS").args(["-euc", &install]));
    let ask = "import mtasts; print(mtasts.lookup('good.test').mode.name)";
    assert_eq!(succeeds(python.command("other/bin/python3").args(["-c", ask])), "ENFORCE\n");
}
