//! Several processes: the command `mtasts` shares a cache, keeps to what it may read, and heeds no proxy.

use crate::stage::*;
use mtasts::reason::Reason;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

/// `mtasts lookup --json DOMAINS` with the settings of a stage.
pub fn lookup(stage: &Stage, domains: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
    command
        .args(["lookup", "--json", "--cache"])
        .arg(stage.cache())
        .args(["--nameserver", &stage.world.dns_addr().to_string()])
        .args(["--https-port", &stage.world.https_addr().port().to_string()])
        .arg("--ca-file")
        .arg(stage.world.ca_file())
        .args(["--set", "allow_private_addresses=true"])
        .args(domains)
        .env_remove("MTASTS_CONFIG")
        .stdin(Stdio::null());
    command
}

/// The JSON objects that a process printed.
fn answers(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check(answer: &Value, domain: &str, source: &str) {
    let is = ["domain", "mode", "source"].map(|key| answer[key].as_str().unwrap());
    assert_eq!(is, [domain, "enforce", source], "{answer}");
}

#[test]
fn what_one_process_has_learnt_another_knows() {
    let stage = Stage::new();
    stage.publish("a.test");
    stage.publish("b.test");
    check(&answers(&lookup(&stage, &["a.test"]).output().unwrap())[0], "a.test", "https");
    let context = stage.context();
    POLICY.check("b.test", &ask(&context, "b.test"));
    stage.network_off(true);
    kept(Reason::Cached, "").check("a.test", &ask(&context, "a.test"));
    check(&answers(&lookup(&stage, &["b.test"]).output().unwrap())[0], "b.test", "cache");
}

#[test]
fn processes_that_ask_at_once_share_one_cache() {
    let stage = Stage::new();
    let domains: Vec<String> = (0..10).map(|number| format!("d{number}.test")).collect();
    domains.iter().for_each(|domain| stage.publish(domain));
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    let start = || lookup(&stage, &domains).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for process in [start(), start(), start()] {
        let output = process.wait_with_output().unwrap();
        assert_eq!(answers(&output).len(), domains.len());
        assert!(answers(&output).iter().all(|answer| answer["mode"] == "enforce"), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    stage.network_off(true);
    for (answer, domain) in answers(&lookup(&stage, &domains).output().unwrap()).iter().zip(domains) {
        check(answer, domain, "cache");
    }
}

// Conformance: S10-5.
#[test]
fn a_process_that_is_killed_takes_no_policy_along_and_leaves_a_cache_that_works() {
    let stage = Stage::new();
    let domains: Vec<String> = (0..24).map(|number| format!("d{number}.test")).collect();
    domains.iter().for_each(|domain| stage.publish(domain));
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    // Each process ends by SIGKILL while it works for the domain after those whose answers were read.
    for (round, some) in domains.chunks(4).enumerate() {
        let mut process = lookup(&stage, some).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let told = round % some.len() + 1;
        for domain in &some[..told] {
            let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            check(&answer, domain, "https");
        }
        process.kill().unwrap();
        process.wait().unwrap();
        stage.network_off(true);
        let output = lookup(&stage, &some[..told]).output().unwrap();
        stage.network_off(false);
        for (answer, domain) in answers(&output).iter().zip(some) {
            check(answer, domain, "cache");
        }
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    assert_eq!(answers(&lookup(&stage, &domains).output().unwrap()).len(), domains.len());
}

#[test]
fn a_cache_that_may_only_be_read_still_answers() {
    let stage = Stage::new();
    stage.publish("known.test");
    stage.publish("new.test");
    POLICY.check("known.test", &ask(&stage.context(), "known.test"));
    let names = || {
        let entries = fs::read_dir(stage.directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for name in &before {
        fs::set_permissions(stage.directory.path().join(name), Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(stage.directory.path(), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(stage.world.directory(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(stage.world.ca_file(), Permissions::from_mode(0o644)).unwrap();
    let mut command = lookup(&stage, &["known.test", "new.test"]);
    command.current_dir("/");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Modes do not stop root: somebody else asks.
        command.uid(65534).gid(65534);
    }
    let output = match command.output() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return println!("SKIPPED: another user may not start {}", env!("CARGO_BIN_EXE_mtasts"));
        }
        output => output.unwrap(),
    };
    fs::set_permissions(stage.directory.path(), Permissions::from_mode(0o750)).unwrap();
    let answers = answers(&output);
    check(&answers[0], "known.test", "cache");
    check(&answers[1], "new.test", "https");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains(&*stage.cache().to_string_lossy()), "{log}");
    assert_eq!(names(), before, "nothing was created");
}

// Conformance: S3.3-17.
#[test]
fn proxies_of_the_environment_are_ignored() {
    let stage = Stage::new();
    stage.publish("good.test");
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut command = lookup(&stage, &["good.test"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, &url);
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    check(&answers(&command.output().unwrap())[0], "good.test", "https");
    assert_eq!(proxy.accept().map(|(_, from)| from).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(stage.requests("good.test").len(), 1);
}
