//! A directory and a small internet in which command lines of the documents are run.

use super::harness::{Host, library, root};
use mtasts_world::policy_body;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Absolute paths below these are taken as paths in the sandbox.
pub const KEPT_IN: [&str; 5] = ["/usr/share/", "/var/lib/prometheus/", "/run/mtasts/", "/opt/", "/etc/exim/"];

/// The domains of the documents.
const DOMAINS: [&str; 4] = ["example.com", "example.net", "example.org", "gmail.com"];

/// A directory like the one that the sources are in, a world with the domains of the documents, and stand-ins for what
/// would leave it.
pub struct Sandbox {
    host: Host,
    directory: PathBuf,
}

impl Sandbox {
    pub fn new() -> Self {
        let host = Host::new();
        let day = 86_400;
        for domain in DOMAINS {
            let mx = [format!("mx.{domain}"), format!("mx1.{domain}"), format!("mx2.{domain}")];
            let mx: Vec<&str> = mx.iter().map(String::as_str).collect();
            host.world.publish(domain, "1", policy_body("enforce", &mx, day));
        }
        let directory = host.path("sources");
        let programs = host.path("programs");
        let release = host.path("built/release");
        for made in [&directory, &programs, &release] {
            fs::create_dir_all(made).unwrap();
        }
        for entry in fs::read_dir(root()).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "target" && name != ".git" {
                symlink(root().join(&name), directory.join(&name)).unwrap();
            }
        }
        for kind in ["so", "a"] {
            symlink(library().with_extension(kind), release.join("libmtasts").with_extension(kind)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_mtasts"), release.join("mtasts")).unwrap();
        symlink(env!("CARGO_BIN_EXE_mtasts-socketmap"), release.join("mtasts-socketmap")).unwrap();
        symlink(env!("CARGO_BIN_EXE_mtasts"), programs.join("mtasts")).unwrap();
        let policy = policy_body("enforce", &["mx.example.com"], 604_800);
        for name in ["domains", "domains.txt"] {
            fs::write(directory.join(name), "example.com\nexample.org\n").unwrap();
        }
        fs::write(directory.join("mta-sts.txt"), policy).unwrap();
        fs::copy(host.configuration(), directory.join("mtasts.toml.new")).unwrap();
        let stand_in = |name: &str, script: &str| {
            let path = programs.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        stand_in("sudo", "exec \"$@\"");
        // The policy that is asked for, and the other host, are here.
        stand_in("curl", "exec cat mta-sts.txt");
        stand_in("ssh", "shift; exec \"$@\"");
        stand_in("sponge", "exec cat > \"$1\"");
        // Root does not do the command's work: another user must get to all of this.
        for (open, mode) in
            [(host.path("").as_path(), 0o755), (directory.as_path(), 0o777), (host.world.directory(), 0o755)]
        {
            fs::set_permissions(open, fs::Permissions::from_mode(mode)).unwrap();
        }
        host.gives_the_cache_away();
        Self { host, directory }
    }

    /// Brings the domains of the documents into the cache.
    pub fn remember(&self) {
        let output = self.run(&format!("mtasts lookup {} && mtasts cache export > policies.jsonl", DOMAINS.join(" ")));
        assert!(output.status.success(), "{output:?}");
    }

    /// The line with its absolute paths in a place of the sandbox's own, which everybody may write to.
    fn kept_in(&self, text: &str) -> String {
        let place = self.host.path("machine");
        let words = text.split(' ').map(|word| {
            if !KEPT_IN.iter().any(|kept| word.starts_with(kept)) {
                return word.to_owned();
            }
            let path = place.join(word.trim_start_matches('/'));
            let directory = path.parent().unwrap();
            fs::create_dir_all(directory).unwrap();
            fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
            path.display().to_string()
        });
        words.collect::<Vec<_>>().join(" ")
    }

    pub fn run(&self, text: &str) -> Output {
        let path = std::env::var("PATH").unwrap();
        let prefix = self.host.path("installed");
        Command::new("timeout")
            .args(["120", "sh", "-euc", &self.kept_in(text)])
            .env("PATH", format!("{}:{path}", self.host.path("programs").display()))
            .env("MTASTS_CONFIG", self.host.configuration())
            // Nothing is compiled again, and what is installed is found where it was put.
            .env("CARGO", "true")
            .env("CARGO_TARGET_DIR", self.host.path("built"))
            .env("DESTDIR", &prefix)
            .env("CPATH", prefix.join("usr/local/include"))
            .env("LIBRARY_PATH", prefix.join("usr/local/lib"))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("timeout: {error}"))
    }
}
