//! What a host's user, its environment and its own log may expect: the environment of a privileged process counts for
//! nothing, and the host's syslog identity and descriptors stay as they are.

#[allow(dead_code)]
#[path = "c/harness.rs"]
mod harness;

use harness::{Host, MAIL};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "skipped, and MTASTS_NO_SKIP=1 forbids that");
}

/// A host that a stranger may start: everything of it can be read, and nothing is in the way of its setuid bit.
fn host() -> Option<Host> {
    let host = Host::new();
    if fs::metadata(host.path("cache")).unwrap().uid() != 0 {
        skip("not root");
        return None;
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount_of = |path: &Path| {
        let points = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let over = points.filter(|words| path.starts_with(words[1]));
        over.max_by_key(|words| words[1].len())
            .is_some_and(|words| words[3].split(',').any(|option| option == "nosuid"))
    };
    if mount_of(&host.path("")) {
        skip("the temporary directory is mounted nosuid");
        return None;
    }
    for directory in [host.path(""), host.world.directory().to_owned()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // The library must be found where it was built.
    let mut library = harness::library();
    while library.pop() {
        if fs::metadata(&library).unwrap().mode() & 0o001 == 0 {
            skip(&format!("{} is closed to other users", library.display()));
            return None;
        }
    }
    Some(host)
}

/// The same program twice: one that anybody may run, and one that makes root of whoever runs it.
fn programs(host: &Host) -> (PathBuf, PathBuf) {
    let plain = host.compile("tests/trust/ask.c");
    let setuid = host.path("ask-as-root");
    fs::copy(&plain, &setuid).unwrap();
    chown(&setuid, Some(0), Some(0)).unwrap();
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
    (plain, setuid)
}

/// Runs a program as a user who is nobody here.
fn run(program: &Path, arguments: &[&str], environment: &[(&str, String)]) -> String {
    let user = MAIL.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "timeout", "60"])
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .output()
        .unwrap_or_else(|error| panic!("setpriv: {error}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A configuration for the world, with a cache of its own and with these lines more.
fn configuration(host: &Host, name: &str, owner: u32, lines: &str) -> String {
    let directory = host.path(&format!("{name}-cache"));
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
    chown(&directory, Some(owner), Some(owner)).unwrap();
    let text = format!(
        "cache = \"{}/cache.db\"\nnameservers = [\"{}\"]\nhttps_port = {}\nallow_private_addresses = true\n{lines}\n",
        directory.display(),
        host.world.dns_addr(),
        host.world.https_addr().port()
    );
    let path = host.path(&format!("{name}.toml"));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn says(told: &str, secure: bool, want: &str) {
    let start = if secure { format!("{MAIL} 0 1 ") } else { format!("{MAIL} {MAIL} 0 ") };
    assert!(told.starts_with(&start) && told[start.len()..].starts_with(want), "{told:?}, want {start}{want}");
}

#[test]
fn a_setuid_program_takes_no_configuration_from_its_environment() {
    let Some(host) = host() else { return };
    let (plain, setuid) = programs(&host);
    let broken = host.path("broken.toml");
    fs::write(&broken, "nonsense = 1\n").unwrap();
    let environment = [("MTASTS_CONFIG", broken.to_str().unwrap().to_owned())];
    says(&run(&plain, &["-"], &environment), false, "status 3: ");
    says(&run(&setuid, &["-"], &environment), true, "no question");
}

#[test]
fn a_setuid_program_takes_no_trusted_roots_from_its_environment() {
    let Some(host) = host() else { return };
    let (plain, setuid) = programs(&host);
    let ca_file = host.world.ca_file().to_str().unwrap().to_owned();
    let of_user = configuration(&host, "user", MAIL, "");
    let of_root = configuration(&host, "root", 0, "");
    let environment = [("SSL_CERT_FILE", ca_file)];
    says(&run(&plain, &[&of_user, "good.test"], &environment), false, "mode 2: ");
    let told = run(&setuid, &[&of_root, "good.test"], &environment);
    says(&told, true, "mode 0: ");
    // With the roots in its configuration the same program has the policy.
    let trusting = format!("ca_file = \"{}\"", host.world.ca_file().display());
    let of_root = configuration(&host, "trusting", 0, &trusting);
    says(&run(&setuid, &[&of_root, "good.test"], &[]), true, "mode 2: ");
}

#[test]
fn no_program_takes_a_proxy_from_its_environment() {
    let Some(host) = host() else { return };
    let (plain, setuid) = programs(&host);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let names = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    let environment = names.map(|name| (name, address.clone()));
    let trusting = format!("ca_file = \"{}\"", host.world.ca_file().display());
    for (program, secure, owner) in [(plain, false, MAIL), (setuid, true, 0)] {
        let path = configuration(&host, if secure { "root" } else { "user" }, owner, &trusting);
        says(&run(&program, &[&path, "good.test"], &environment), secure, "mode 2: ");
    }
    assert_eq!(proxy.accept().map(|_| ()).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
    assert!(host.world.https_connections() >= 2);
}

#[test]
fn a_host_keeps_its_name_in_the_log_and_its_descriptors() {
    let host = Host::new();
    host.gives_the_cache_away();
    let program = host.compile("tests/trust/identity.c");
    for (case, mx_list, line, told) in [
        ("answers", "10 mx.good.test", "", "exim 0, mode 2\n"),
        ("warns of a refusal", "10 mx.evil.test", "observe = true", "exim 0, mode 1\n"),
        ("warns of its cache", "10 mx.good.test", "cache = \"/nonexistent/cache.db\"", "exim 0, mode 2\n"),
    ] {
        let text = fs::read_to_string(host.configuration()).unwrap();
        let is_kept = |kept: &&str| !(line.starts_with("cache =") && kept.starts_with("cache ="));
        let lines: Vec<&str> = text.lines().filter(is_kept).chain([line]).collect();
        let path = host.path("identity.toml");
        fs::write(&path, lines.join("\n")).unwrap();
        let run = host.run(&[program.to_str().unwrap(), path.to_str().unwrap(), mx_list]);
        assert_eq!((run.status, &*run.stderr), (Some(0), "myname: before\nmyname: after\n"), "{case}: {}", run.stdout);
        assert_eq!(run.stdout, told, "{case}");
    }
}

/// Every file of tests and sources, as one text.
fn tests_and_sources(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.extension().and_then(|kind| kind.to_str()) {
        _ if path.is_dir() => tests_and_sources(&path),
        Some("rs" | "sh") => fs::read_to_string(path).unwrap(),
        Some("scene") => path.display().to_string() + "\n",
        _ => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn every_test_that_security_md_names_exists() {
    let root = harness::root();
    let all: String = ["tests", "src", "examples"].iter().map(|part| tests_and_sources(&root.join(part))).collect();
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted.filter(|text| text.ends_with(".scene") || text.matches('_').count() > 2).collect();
    assert!(names.len() > 50, "{} names", names.len());
    for name in names {
        let stands = [format!("fn {name}("), format!("\n{name}() "), format!("/{name}\n"), format!("    {name} ")];
        assert!(stands.iter().any(|text| all.contains(text)), "SECURITY.md names {name}, which is no test");
    }
}
