//! The command `mtasts` against a small internet of its own.

#[path = "command/config.rs"]
mod config;
#[path = "command/help.rs"]
mod help;
#[path = "command/mx.rs"]
mod mx;
#[path = "command/root.rs"]
mod root;
#[path = "command/terminal.rs"]
mod terminal;

use mtasts_world::{Answer, Certificate, Response, Site, World, policy_body};
use serde_json::Value;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

struct Stage {
    world: World,
    cache: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let world = World::start();
        let cache = world.make_cache();
        world.publish_modes();
        world.publish("malformed.test", "a1", "version: STSv1\r\nmode: Enforce\r\n");
        world.publish("wrong.test", "a1", policy_body("enforce", &["mx.wrong.test"], 604_800));
        let body = policy_body("enforce", &["mx.wrong.test"], 604_800).into_bytes();
        world.site("mta-sts.wrong.test", Site::new(Certificate::WrongName, Response::Policy(body)));
        world.dns("_mta-sts.servfail.test", Answer::ServFail);
        Self { cache, world }
    }

    /// The command with the options that lead it into this world. They may stand before or behind the subcommand.
    fn command(&self, arguments: &[&str]) -> Command {
        let config = self.world.directory().join("mtasts.toml");
        std::fs::write(&config, "allow_private_addresses = true\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
        command.args(arguments).env_remove("MTASTS_CONFIG").arg("--config").arg(config);
        command.arg("--cache").arg(&self.cache).arg("--ca-file").arg(self.world.ca_file());
        command.args(["--nameserver", &self.world.dns_addr().to_string()]);
        command.args(["--https-port", &self.world.https_addr().port().to_string()]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(arguments);
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn lookup_shows_the_policy_and_why() {
    let stage = Stage::new();
    let output = stage.run(&["lookup", "GOOD.test."]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(shown.starts_with("good.test: enforce\n  mx       mx.good.test\n  mx       *.good.test\n"), "{shown}");
    assert!(shown.contains("  max_age  604800 (7 days)\n  id       a1\n  fetched  2"), "{shown}");
    assert!(shown.ends_with("fetched now\n"), "{shown}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn an_error_that_nobody_can_read_changes_no_answer_and_no_status() {
    let stage = Stage::new();
    let run = |arguments: &[&str]| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        stage.command(arguments).stderr(full).stdout(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    let output = run(&["--verbose", "lookup", "good.test"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).starts_with("good.test: enforce\n"), "{output:?}");
    assert_eq!(run(&["--set", "nonsense=1", "lookup", "good.test"]).status.code(), Some(2));
    assert_eq!(run(&["parse", "/dev/null"]).status.code(), Some(1));
}

#[test]
fn json_has_every_field_and_null_for_what_does_not_exist() {
    let stage = Stage::new();
    let rows = stage.json(&["lookup", "--json", "good.test", "absent.test"]);
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    let wanted = [
        "domain",
        "mode",
        "mx",
        "max_age",
        "id",
        "source",
        "fetched_at",
        "expires_at",
        "reason",
        "reason_text",
        "result_type",
        "lints",
    ];
    assert_eq!(keys, wanted);
    assert_eq!(rows[0]["mode"], "enforce");
    assert_eq!(rows[0]["mx"], serde_json::json!(["mx.good.test", "*.good.test"]));
    assert_eq!(rows[0]["source"], "https");
    let life = rows[0]["expires_at"].as_i64().unwrap() - rows[0]["fetched_at"].as_i64().unwrap();
    assert_eq!(life, 604_800);
    assert_eq!(rows[1]["mode"], "none");
    assert_eq!(rows[1]["reason"], "no-record");
    assert_eq!(
        (&rows[1]["max_age"], &rows[1]["id"], &rows[1]["fetched_at"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[test]
fn domains_come_from_standard_input_in_their_order() {
    let stage = Stage::new();
    let mut child =
        stage.command(&["lookup", "--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let names =
        "good.test\r\n\n testing.test \nnone.test\nwrong.test\nmalformed.test\n192.0.2.1\na b\nm\u{fc}ller.test";
    child.stdin.take().unwrap().write_all(names.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let seen: Vec<(String, String, String)> = text(&output.stdout)
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| row[name].as_str().unwrap().to_owned();
            (field("domain"), field("mode"), field("reason"))
        })
        .collect();
    let wanted = [
        ("good.test", "enforce", "fetched"),
        ("testing.test", "testing", "fetched"),
        ("none.test", "none", "fetched"),
        ("wrong.test", "none", "policy-host-certificate-host-mismatch"),
        ("malformed.test", "none", "policy-invalid"),
        ("192.0.2.1", "none", "address-literal"),
        ("a b", "none", "invalid-domain"),
        ("xn--mller-kva.test", "none", "no-record"),
    ];
    let seen: Vec<_> = seen.iter().map(|(domain, mode, reason)| (&**domain, &**mode, &**reason)).collect();
    assert_eq!(seen, wanted);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_second_process_answers_from_the_cache_without_dns_and_https() {
    let stage = Stage::new();
    stage.run(&["lookup", "good.test"]);
    stage.world.dns_off(true);
    stage.world.https_off(true);
    let rows = stage.json(&["lookup", "--json", "good.test"]);
    assert_eq!((&rows[0]["mode"], &rows[0]["source"]), (&"enforce".into(), &"cache".into()));
    let rows = stage.json(&["lookup", "--json", "--cache-only", "good.test", "other.test"]);
    assert_eq!((&rows[0]["mode"], &rows[1]["reason"]), (&"enforce".into(), &"not-cached".into()));
}

#[test]
fn dns_that_does_not_answer_is_exit_status_3_and_a_line_on_standard_error() {
    let stage = Stage::new();
    let output = stage.run(&["lookup", "servfail.test", "good.test"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("good.test: enforce"), "the others are answered");
    assert!(text(&output.stderr).contains("servfail.test"), "{output:?}");
    let rows = stage.json(&["lookup", "--json", "--set", "on_dns_error=defer", "servfail.test"]);
    assert_eq!(rows[0]["mode"], "unknown");
}

#[test]
fn a_missing_cache_directory_costs_a_line_and_no_answer() {
    let stage = Stage::new();
    let output = stage.run(&["lookup", "good.test", "--set", "cache=/nonexistent/cache.db"]);
    assert!(text(&output.stdout).starts_with("good.test: enforce"), "{output:?}");
    assert!(text(&output.stderr).contains("install -d -m 0750"), "{output:?}");
}

#[test]
fn the_environment_names_a_configuration_which_must_then_exist() {
    let stage = Stage::new();
    let config = stage.world.directory().join("other.toml");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
        command.args(["lookup", "--cache-only", "--json", "a.test"]).env("MTASTS_CONFIG", &config).output().unwrap()
    };
    let output = run();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("other.toml: cannot be read"), "{output:?}");
    std::fs::write(&config, format!("cache = \"{}\"\n", stage.cache.display())).unwrap();
    assert_eq!(run().status.code(), Some(0));
    assert!(stage.cache.exists(), "the cache is where that configuration says");
}

#[test]
fn wrong_usage_and_a_broken_configuration_are_exit_status_2_and_name_the_fault() {
    let stage = Stage::new();
    let broken = stage.world.directory().join("broken.toml");
    std::fs::write(&broken, "syslog = true\ntimeout_second = 3\n").unwrap();
    let run = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_mtasts")).args(arguments).output().unwrap();
    for (arguments, want) in [
        (&["--config", broken.to_str().unwrap(), "lookup", "a.test"][..], "line 2: key `timeout_second`"),
        (&["lookup"], "DOMAIN"),
        (&["lookup", "--json", "--cache-only", "--refresh", "a.test"], "cannot be used with"),
        (&["lookup", "--https-port", "x", "a.test"], "https_port"),
        (&["lookup", "--nameserver", "resolver.test", "a.test"], "nameservers"),
        (&["lookup", "--set", "dane_wins", "a.test"], "KEY=VALUE"),
        (&["lookup", "--set", "domain.a.test={ mode = 'none' }", "a.test"], "`domain.\"a.test\".until` is missing"),
        (&["parse", "/nonexistent/policy"], "/nonexistent/policy"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(want), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn what_is_wrong_with_a_command_line_is_told_without_what_acts_on_a_terminal() {
    for hostile in ["--x\u{9b}31m", "--x\u{1b}]0;title\u{7}", "--x\u{202e}", "--x\rmtasts: fine"] {
        let output = Command::new(env!("CARGO_BIN_EXE_mtasts")).args(["lookup", hostile]).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("unexpected argument '--x"), "{said:?}");
        assert!(!said.replace('\n', "").contains(|c: char| c.is_control() || c == '\u{202e}'), "{said:?}");
    }
}

#[test]
fn a_path_that_is_not_text_is_refused_and_not_changed_into_another() {
    let odd = std::ffi::OsStr::from_bytes(b"/nonexistent/\xff");
    for option in ["--cache", "--ca-file"] {
        let output = Command::new(env!("CARGO_BIN_EXE_mtasts")).args(["config", option]).arg(odd).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(option) && said.contains("UTF-8"), "{output:?}");
    }
}

#[test]
fn of_a_line_that_no_name_fills_only_the_beginning_is_read() {
    let stage = Stage::new();
    let names = stage.world.directory().join("names");
    std::fs::write(&names, format!("{}\ngood.test\n{}", "a".repeat(1 << 20), "b".repeat(1 << 20))).unwrap();
    let file = std::fs::File::open(&names).unwrap();
    let output = stage.command(&["lookup", "--json", "-"]).stdin(file).output().unwrap();
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<&str> = lines.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(found, ["invalid-domain", "fetched", "invalid-domain"]);
    assert!(output.stdout.len() < 20_000, "{}", output.stdout.len());
}

#[test]
fn a_stream_that_fails_is_named() {
    let stage = Stage::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = stage.command(&["lookup", "good.test"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("mtasts: standard output: No space left"), "{output:?}");
    let directory = std::fs::File::open(stage.world.directory()).unwrap();
    let output = stage.command(&["lookup", "-"]).stdin(directory).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("mtasts: standard input: Is a directory"), "{output:?}");
}

#[test]
fn parse_prints_a_policy_or_the_line_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mta-sts.txt");
    let parse = |body: &[u8], arguments: &[&str]| {
        std::fs::write(&path, body).unwrap();
        Command::new(env!("CARGO_BIN_EXE_mtasts")).arg("parse").arg(&path).args(arguments).output().unwrap()
    };
    let good = policy_body("enforce", &["mx.good.test"], 60).into_bytes();
    let output = parse(&good, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).contains("enforce\n  mx       mx.good.test\n  max_age  60 (1 minute)\n  lint "),
        "{output:?}"
    );
    let row: Value = serde_json::from_slice(&parse(&good, &["--json"]).stdout).unwrap();
    assert_eq!((&row["mode"], &row["max_age"], &row["source"]), (&"enforce".into(), &60.into(), &"caller".into()));

    for (body, want) in [
        (&b"version: STSv1\nmode: Enforce\n"[..], "line 2: mode `Enforce`, want enforce, testing or none"),
        (b"", "there is no `version` line"),
        (b"version: STSv1\nmode: none\nmax_age: 1\nx: \xff\n", "line 4"),
        (&vec![b'x'; 65_537], "more than 65536 bytes"),
    ] {
        let output = parse(body, &[]);
        assert_eq!(output.status.code(), Some(1), "{want}");
        assert!(text(&output.stderr).contains(want), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let stage = Stage::new();
    let mut child = stage
        .command(&["lookup", "good.test", "testing.test", "none.test"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

/// The lines that begin with a word of the story, without the blanks between.
fn story(output: &Output) -> Vec<(String, String)> {
    let words = ["cached", "dns", "https", "decided", "change", "report"];
    let shown = text(&output.stdout);
    let lines = shown.lines().filter_map(|line| line.trim_start().split_once(' '));
    lines.filter(|(word, _)| words.contains(word)).map(|(word, rest)| (word.into(), rest.trim().into())).collect()
}

#[test]
fn explain_tells_the_story_in_order() {
    let stage = Stage::new();
    let told = |domain: &str, want: &[(&str, &str)]| {
        let output = stage.run(&["lookup", "--explain", domain]);
        let story = story(&output);
        assert_eq!(story.len(), want.len(), "{story:?}");
        for ((word, line), (want_word, part)) in story.iter().zip(want) {
            assert!(word == want_word && line.contains(part), "{want_word} {part}: {story:?}");
        }
    };
    told(
        "good.test",
        &[
            ("cached", "nothing"),
            ("dns", "_mta-sts.good.test: id a1"),
            ("https", "mode enforce for 7 days"),
            ("decided", "enforce: policy of good.test (mode enforce, id a1, 0 seconds old), fetched now"),
            ("change", "a new id at _mta-sts.good.test"),
        ],
    );
    told(
        "good.test",
        &[
            ("cached", "policy of mode enforce, id a1"),
            ("dns", "not asked: nothing is due"),
            ("https", "not asked: nothing is due"),
            ("decided", "enforce: policy of good.test"),
            ("change", "its end on "),
        ],
    );
    told(
        "wrong.test",
        &[
            ("cached", "nothing"),
            ("dns", "id a1"),
            ("https", "its certificate is for another name"),
            ("decided", "none: no policy for wrong.test"),
            ("change", "a good answer of mta-sts.wrong.test"),
            ("report", "sts-webpki-invalid"),
        ],
    );
    told(
        "servfail.test",
        &[
            ("cached", "nothing"),
            ("dns", "Server Failure"),
            ("https", "not asked"),
            ("decided", "none: no policy known for servfail.test"),
            ("change", "an answer from DNS"),
        ],
    );
    let no_domain = ("dns", "not asked: this is no domain that could have a policy");
    let decided = ("decided", "none: no policy: an IP address");
    told(
        "192.0.2.1",
        &[("cached", "not looked at"), no_domain, ("https", "not asked"), decided, ("change", "nothing")],
    );
    let empty = stage.world.directory().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let without_roots =
        stage.run(&["lookup", "--explain", "testing.test", "--set", &format!("ca_file={}", empty.display())]);
    assert!(text(&without_roots.stdout).contains("  change   trusted roots on this machine"), "{without_roots:?}");
    let json = stage.json(&["lookup", "--explain", "--json", "none.test", "good.test"]);
    assert_eq!(json[0]["story"]["cached"], "nothing");
    assert_eq!(json[1]["story"]["https"], "not asked: nothing is due");
    assert!(stage.json(&["lookup", "--json", "good.test"])[0].get("story").is_none());
}

#[test]
fn refresh_fetches_what_is_due_and_counts_what_fails() {
    let stage = Stage::new();
    let refresh = |more: &[&str]| {
        let output = stage.run(&[&["refresh"], more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(refresh(&[]), (Some(0), "0 refreshed, 0 failed\n".into(), String::new()));
    assert_eq!(refresh(&["--json"]).1, "{\"refreshed\":0,\"failed\":0}\n");
    stage.run(&["lookup", "good.test", "testing.test", "none.test"]);
    let due = || {
        let cache = rusqlite::Connection::open(&stage.cache).unwrap();
        let aged =
            "UPDATE domain SET fetched_at = unixepoch() - 500000, refresh_at = 0, checked_until = 0, failures = ''";
        cache.execute(aged, []).unwrap();
    };
    due();
    assert_eq!(refresh(&["--max", "2"]).1, "2 refreshed, 0 failed\n");
    assert_eq!(refresh(&[]).1, "1 refreshed, 0 failed\n");
    due();
    for name in ["good.test", "none.test"] {
        stage.world.remove_site(&format!("mta-sts.{name}"));
    }
    let (status, counts, log) = refresh(&["--timeout", "60"]);
    assert_eq!((status, &*counts), (Some(0), "1 refreshed, 2 failed\n"));
    // Two thirds of its life are over: that is a warning. Nobody is told about mode none.
    assert!(log.contains("good.test") && log.contains("stays in force") && !log.contains("none.test"), "{log}");
    assert_eq!(stage.json(&["lookup", "--json", "--cache-only", "good.test"])[0]["mode"], "enforce");
    due();
    let journal = std::fs::File::create(stage.world.directory().join("journal")).unwrap();
    let place = journal.metadata().map(|found| format!("{}:{}", found.dev(), found.ino())).unwrap();
    let mut logged = stage.command(&["refresh"]);
    assert!(logged.env("JOURNAL_STREAM", &place).stderr(journal).stdout(Stdio::null()).status().unwrap().success());
    let said = std::fs::read_to_string(stage.world.directory().join("journal")).unwrap();
    assert!(said.lines().any(|line| line.starts_with("<4>mtasts: good.test: ")), "{said}");
    due();
    let elsewhere = stage.command(&["refresh"]).env("JOURNAL_STREAM", &place).output().unwrap();
    assert!(text(&elsewhere.stderr).lines().any(|line| line.starts_with("mtasts: good.test: ")), "{elsewhere:?}");
    std::fs::remove_dir_all(stage.cache.parent().unwrap()).unwrap();
    let (status, _, log) = refresh(&[]);
    assert!(status == Some(2) && log.contains("install -d -m 0750"), "{log}");
}

#[test]
fn the_units_of_systemd_are_valid_and_start_a_command_that_there_is() {
    let stage = Stage::new();
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let service = std::fs::read_to_string(units.join("mtasts-refresh.service")).unwrap();
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart=mtasts ")).unwrap();
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(text(&stage.run(&words).stdout), "0 refreshed, 0 failed\n");

    // Only what is installed passes: the command by its path, a user that every machine has.
    let copies = stage.world.directory().join("units");
    std::fs::create_dir(&copies).unwrap();
    let here = service.replace("ExecStart=mtasts", concat!("ExecStart=", env!("CARGO_BIN_EXE_mtasts")));
    let here = here.replace("User=Debian-exim", "User=root");
    std::fs::write(copies.join("mtasts-refresh.service"), here).unwrap();
    std::fs::copy(units.join("mtasts-refresh.timer"), copies.join("mtasts-refresh.timer")).unwrap();
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "./mtasts-refresh.service", "./mtasts-refresh.timer"])
        .current_dir(&copies)
        .output();
    match verify {
        Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
        Err(error) => {
            assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "systemd-analyze: {error}");
            println!("SKIPPED: systemd-analyze is not installed");
        }
    }
}
