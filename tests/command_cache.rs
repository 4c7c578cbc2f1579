//! `mtasts cache`: lists, shows, purges, carries over and counts what is remembered.

#[path = "command_cache/stats.rs"]
mod stats;
#[path = "command_cache/transfer.rs"]
mod transfer;

use mtasts::time::{Clock, SystemClock};
use mtasts_world::policy_body;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const DAY: i64 = 86_400;

/// Who delivers mail where a test runs as root.
const MAIL: u32 = 54_321;

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Gives a file or a directory to the user who delivers mail.
fn own(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(MAIL), Some(MAIL)).unwrap();
    }
}

/// A directory with the cache of one host.
struct Host {
    base: tempfile::TempDir,
    directory: PathBuf,
}

impl Host {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("cache");
        std::fs::DirBuilder::new().mode(0o750).create(&directory).unwrap();
        std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o711)).unwrap();
        own(&directory);
        std::fs::write(base.path().join("mtasts.toml"), "").unwrap();
        Self { base, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("cache.db")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
        command.arg("cache").args(arguments).env_remove("MTASTS_CONFIG").env_remove("JOURNAL_STREAM");
        // Nothing is asked of the machine's own configuration.
        command.arg("--config").arg(self.base.path().join("mtasts.toml")).arg("--cache").arg(self.cache());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }

    fn feed(&self, arguments: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that stops early does not read to the end.
        let _ = child.stdin.take().unwrap().write_all(input);
        Done::of(child.wait_with_output().unwrap())
    }

    /// Fills the cache with these lines, which all must be right.
    fn with(self, lines: &[Value]) -> Self {
        let done = self.feed(&["import"], &jsonl(lines));
        assert_eq!((done.status, &*done.err), (0, ""), "{}", done.out);
        self
    }

    /// Puts something else in the place of the cache.
    fn damage(&self) {
        std::fs::write(self.cache(), "no database at all".repeat(500)).unwrap();
        own(&self.cache());
    }

    fn sql(&self, statement: &str) {
        rusqlite::Connection::open(self.cache()).unwrap().execute_batch(statement).unwrap();
        own(&self.cache());
    }
}

/// What a command has come to.
#[derive(Debug)]
struct Done {
    status: i32,
    out: String,
    err: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first word of each line.
    fn names(&self) -> Vec<&str> {
        self.out.lines().map(|line| line.split(['\t', ' ', ':']).next().unwrap()).collect()
    }
}

fn now() -> i64 {
    SystemClock.now().0
}

fn jsonl(lines: &[Value]) -> Vec<u8> {
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

/// A line of an export: a policy that was fetched so many seconds ago and lives for seven days.
fn line(domain: &str, mode: &str, seconds_ago: i64) -> Value {
    let at = now() - seconds_ago;
    let hosts: &[&str] = if mode == "none" { &[] } else { &["mx.good.test", "*.good.test"] };
    json!({
        "version": 1,
        "domain": domain,
        "policy": {
            "id": "a1", "fetched_at": at, "expires_at": at + 7 * DAY, "body": policy_body(mode, hosts, 604_800),
        },
        "check": { "at": at, "until": at + 3_600, "reason": "confirmed" },
        "refresh_at": at + DAY / 2,
        "failures": [],
    })
}

fn absent(domain: &str, seconds_ago: i64) -> Value {
    let at = now() - seconds_ago;
    let check = json!({ "at": at, "until": at + 300, "reason": "no-record" });
    json!({ "version": 1, "domain": domain, "policy": null, "check": check, "refresh_at": at, "failures": [] })
}

fn five() -> [Value; 5] {
    let failed = json!([{ "id": "b2", "at": now() - 40, "reason": "policy-host-timed-out" }]);
    let mut failing = line("failing.test", "enforce", 2 * DAY);
    failing["failures"] = failed;
    [
        failing,
        line("expired.test", "enforce", 9 * DAY),
        line("testing.test", "testing", 3_600),
        line("none.test", "none", 60),
        absent("absent.test", 10),
    ]
}

#[test]
fn a_list_through_a_pipe_is_whole_and_between_tabs() {
    let host = Host::new().with(&five());
    let done = host.run(&["list"]);
    assert_eq!(done.names(), ["absent.test", "expired.test", "failing.test", "none.test", "testing.test"]);
    let lines: Vec<Vec<&str>> = done.out.lines().map(|line| line.split('\t').collect()).collect();
    assert!(lines.iter().all(|fields| fields.len() == 6), "{}", done.out);
    assert_eq!((lines[0][1], lines[0][2], lines[0][5]), ("absent", "-", "no-record"));
    assert!(lines[4][1] == "testing" && lines[4][2].ends_with(" UTC") && lines[4][5] == "confirmed");

    let rows = host.run(&["list", "--json", "--mode", "enforce", "--sort", "age"]).json();
    let wanted = [
        "domain",
        "mode",
        "id",
        "fetched_at",
        "expires_at",
        "is_expired",
        "checked_at",
        "checked_until",
        "check_reason",
        "refresh_at",
        "is_failing",
    ];
    assert_eq!(rows[0].as_object().unwrap().keys().collect::<Vec<_>>(), wanted);
    let field = |at: usize, name: &str| rows[at][name].clone();
    assert_eq!(
        (field(0, "domain"), field(0, "is_expired"), field(0, "is_failing")),
        (json!("failing.test"), json!(false), json!(true))
    );
    assert_eq!(
        (field(1, "domain"), field(1, "is_expired"), field(1, "is_failing")),
        (json!("expired.test"), json!(true), json!(false))
    );
}

#[test]
fn a_list_is_sorted_turned_round_and_filtered() {
    let host = Host::new().with(&five());
    for (arguments, want) in [
        (&["--sort", "age"][..], "absent none testing failing expired"),
        (&["--sort", "age", "--reverse"], "expired failing testing none absent"),
        (&["--sort", "mode"], "absent none testing expired failing"),
        (&["--sort", "domain", "-r"], "testing none failing expired absent"),
        (&["--sort", "expires"], "expired absent failing testing none"),
        (&["--sort", "checked"], "absent none testing failing expired"),
        (&["--mode", "absent"], "absent"),
        (&["--mode", "none"], "none"),
        (&["--older-than", "7d"], "expired"),
        (&["--newer-than", "2h"], "absent none testing"),
        (&["--newer-than", "2h", "--older-than", "30s"], "none testing"),
        (&["--expired"], "expired"),
        (&["--mode", "testing", "--expired"], ""),
    ] {
        let done = host.run(&[&["list"], arguments].concat());
        assert_eq!(done.names().join(" ").replace(".test", ""), want, "{arguments:?} {}", done.err);
    }
    for wrong in [&["--older-than", "7"][..], &["--sort", "size"], &["--mode", "unknown"]] {
        assert_eq!(host.run(&[&["list"], wrong].concat()).status, 2);
    }
}

#[test]
fn a_table_on_a_terminal_has_its_width() {
    let long = format!("{}.test", ["a".repeat(60), "b".repeat(60)].join("."));
    let mut failing = line("good.test", "testing", 60);
    failing["check"] = json!({ "at": now() - 60, "until": now(), "reason": "policy-host-certificate-host-mismatch" });
    let host = Host::new().with(&[line(&long, "enforce", 60), failing]);
    let command = host.command(&["list"]);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    for (columns, width) in [(80, 80), (160, 160), (0, 80)] {
        let mut script = Command::new("script");
        let line = format!("stty rows 24 cols {columns}; {}", words.join(" "));
        script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
        match script.output() {
            Ok(output) => {
                let shown = String::from_utf8(output.stdout).unwrap();
                let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
                assert_eq!(lines.len(), 3, "{shown}");
                assert!(lines[0].starts_with("DOMAIN ") && lines[0].contains(" EXPIRES "), "{shown}");
                assert!(lines[1].starts_with("aaaa") && lines[1].contains("...  enforce    1m       6d"), "{shown}");
                let end = if width == 80 { "  policy-host-..." } else { "  policy-host-certificate-host-mismatch" };
                assert!(lines[2].starts_with("good.test ") && lines[2].ends_with(end), "{shown}");
                assert_eq!(lines.iter().map(|line| line.len()).max(), Some(width), "{shown}");
            }
            Err(error) => {
                assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "script: {error}");
                println!("SKIPPED: script is not installed");
                return;
            }
        }
    }
}

#[test]
fn show_tells_all_that_is_stored_and_says_what_is_not() {
    let host = Host::new().with(&five());
    let shown = host.run(&["show", "FAILING.test."]);
    assert_eq!(shown.status, 0);
    for part in [
        "failing.test: enforce\n",
        "  mx       mx.good.test\n  mx       *.good.test\n",
        "  max_age  604800 (7 days)\n",
        "  id       a1\n",
        " UTC (2 days ago)\n",
        " UTC (in ",
        "  refresh  due since ",
        ": confirmed\n",
        " counted until ",
        "seconds ago): policy-host-timed-out, id b2\n",
        "  | version: STSv1\n  | mode: enforce\n",
    ] {
        assert!(shown.out.contains(part), "{part:?}: {}", shown.out);
    }
    let shown = host.run(&["show", "expired.test", "absent.test", "missing.test", "testing.test"]);
    assert_eq!(shown.status, 1);
    assert!(shown.out.starts_with("expired.test: enforce, expired and not applied\n"), "{}", shown.out);
    assert!(shown.out.contains("\nabsent.test: no policy\n"), "{}", shown.out);
    assert!(shown.out.contains("\nmissing.test: not in the cache\ntesting.test: testing\n"), "{}", shown.out);

    let rows = host.run(&["show", "--json", "failing.test", "missing.test"]).json();
    assert_eq!(rows[0]["failures"][0]["reason"], "policy-host-timed-out");
    assert_eq!((&rows[0]["is_cached"], &rows[0]["max_age"]), (&json!(true), &json!(604_800)));
    assert!(rows[0]["body"].as_str().unwrap().contains("mode: enforce"));
    assert_eq!(rows[1], json!({ "domain": "missing.test", "is_cached": false }));
    let wrong = host.run(&["show", "a\u{1b} b"]);
    assert!(wrong.status == 2 && wrong.err.contains("a\\u{1b} b: the name has"), "{wrong:?}");
}

#[test]
fn purge_takes_what_it_is_told_and_says_what_that_costs() {
    let host = Host::new().with(&five());
    let left = || host.run(&["list"]).names().join(" ").replace(".test", "");
    for wrong in
        [&["purge"][..], &["purge", "--all", "--expired"], &["purge", "a.test", "--all"], &["purge", "--dry-run"]]
    {
        assert_eq!(host.run(wrong).status, 2, "{wrong:?}");
    }
    let dry = host.run(&["purge", "--all", "--dry-run"]);
    assert!(
        dry.out.contains("testing.test: testing, until ") && dry.out.ends_with("\n5 row(s) would be purged\n"),
        "{}",
        dry.out
    );
    assert!(dry.err.contains("enforced policies in force among them: 1;"), "{}", dry.err);
    assert_eq!(left(), "absent expired failing none testing");

    let done = host.run(&["purge", "--mode", "none"]);
    assert_eq!((done.status, &*done.out, &*done.err), (0, "1 row(s) purged\n", ""));
    let done = host.run(&["purge", "--expired"]);
    assert_eq!((&*done.out, &*done.err), ("1 row(s) purged\n", ""), "an expired policy protects nobody");
    assert_eq!(left(), "absent failing testing");
    let done = host.run(&["purge", "failing.test", "missing.test", "failing.test"]);
    assert_eq!((done.status, &*done.out), (1, "1 row(s) purged\n"));
    assert!(
        done.err.contains("missing.test: not in the cache")
            && done.err.contains("mail to their domains is not protected")
    );
    assert_eq!(host.run(&["purge", "testing.test", "--dry-run"]).out.lines().last(), Some("1 row(s) would be purged"));
    assert_eq!(host.run(&["purge", "--older-than", "30m"]).out, "1 row(s) purged\n");
    assert_eq!((&*left(), &*host.run(&["purge", "--all"]).out, &*left()), ("absent", "1 row(s) purged\n", ""));
}

#[test]
fn purge_says_what_it_costs_even_if_its_output_goes_nowhere() {
    let host = Host::new().with(&[line("a.test", "enforce", 60), line("b.test", "enforce", 60)]);
    let cost = "enforced policies in force among them: 1;";
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = Done::of(host.command(&["purge", "a.test"]).stdout(full).output().unwrap());
    assert!(done.status == 2 && done.err.contains(cost), "{done:?}");
    let mut command = host.command(&["purge", "--all"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = Done::of(child.wait_with_output().unwrap());
    assert!(done.status == 0 && done.err.contains(cost), "{done:?}");
}

#[test]
fn a_cache_that_cannot_be_used_is_named_with_what_helps_and_left_as_it_is() {
    let host = Host::new();
    let all: [&[&str]; 6] =
        [&["list"], &["show", "a.test"], &["purge", "--all"], &["export"], &["stats"], &["stats", "--prometheus"]];
    let check = |host: &Host, want: &str| {
        for arguments in all {
            let done = host.run(arguments);
            let is_named = done.err.contains(host.cache().to_str().unwrap());
            assert!(
                done.status == 2 && done.out.is_empty() && is_named && done.err.contains(want),
                "{arguments:?} {done:?}"
            );
        }
    };
    check(&host, "does not exist; the first lookup makes it");
    assert_eq!(std::fs::read_dir(&host.directory).unwrap().count(), 0, "nothing is made");

    host.damage();
    check(&host, "the next lookup moves it aside");
    let refused = host.feed(&["import"], &jsonl(&five()));
    assert!(
        refused.status == 2
            && refused.err.contains("is damaged")
            && refused.err.contains("at least: 0 row(s) imported"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(host.cache()).unwrap(), "no database at all".repeat(500).as_bytes());
    assert!(
        std::fs::read_dir(&host.directory)
            .unwrap()
            .flatten()
            .all(|entry| !entry.file_name().to_string_lossy().contains("damaged"))
    );

    std::fs::remove_file(host.cache()).unwrap();
    host.sql("CREATE TABLE other (x)");
    check(&host, "a database of another program");

    let elsewhere = Host::new();
    std::fs::remove_dir(&elsewhere.directory).unwrap();
    let done = elsewhere.run(&["list"]);
    assert!(done.status == 2 && done.err.contains("install -d -m 0750"), "{done:?}");
}

#[test]
fn a_cache_of_another_user_says_who_may_read_it() {
    let host = Host::new().with(&five());
    std::fs::set_permissions(&host.directory, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(host.cache(), PermissionsExt::from_mode(0o600)).unwrap();
    if !is_root() {
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "want root");
        println!("SKIPPED: only root becomes another user");
        return;
    }
    let command = host.command(&["list"]);
    let copy = host.path("mtasts");
    std::fs::copy(command.get_program(), &copy).unwrap();
    let as_nobody = |command: &Command| {
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(command.get_args());
        Done::of(other.output().unwrap())
    };
    let done = as_nobody(&command);
    assert!(done.status == 2 && done.err.contains("cache.db: "), "{done:?}");
    assert!(done.err.ends_with("; run this as 54321 or as root\n"), "{done:?}");

    // Root itself is told what helps, and not to be root.
    for path in [&host.directory, &host.cache()] {
        std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
    }
    let done = host.run(&["list"]);
    assert!(done.status == 2 && done.err.contains("; mend it with `") && !done.err.contains("run this as"), "{done:?}");
    own(&host.directory);
    own(&host.cache());

    // Who may only read sees all, and changes nothing.
    std::fs::set_permissions(host.cache(), PermissionsExt::from_mode(0o644)).unwrap();
    let done = as_nobody(&command);
    assert_eq!((done.status, done.out.lines().count(), &*done.err), (0, 5, ""));
    let done = as_nobody(&host.command(&["purge", "--all"]));
    assert!(done.status == 2 && done.err.contains("cannot write there") && done.out.is_empty(), "{done:?}");
    assert_eq!(host.run(&["list"]).out.lines().count(), 5);
}

#[test]
fn a_reader_that_goes_away_ends_every_list_quietly() {
    let lines: Vec<Value> = (0..2_000).map(|n| line(&format!("d{n}.test"), "enforce", 60)).collect();
    let host = Host::new().with(&lines);
    for arguments in
        [&["list"][..], &["list", "--sort", "age", "--json"], &["export"], &["stats"], &["show", "d1.test"]]
    {
        let mut child = host.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!((done.status, &*done.err), (0, ""), "{arguments:?}");
    }
    assert_eq!(host.run(&["purge", "--all"]).out, "2000 row(s) purged\n");
}

#[test]
fn rows_that_no_lookup_can_find_are_counted_and_not_shown() {
    let host = Host::new().with(&five());
    host.sql("UPDATE domain SET name = char(27) || '[31mred' WHERE name = 'none.test'");
    for arguments in [&["list"][..], &["list", "--sort", "mode"], &["export"]] {
        let done = host.run(arguments);
        assert_eq!(
            (done.status, done.out.lines().count(), &*done.err),
            (0, 4, "mtasts: 1 row(s) passed over, since their key is not a domain\n")
        );
    }
    let dry = host.run(&["purge", "--mode", "none", "--dry-run"]).out;
    assert!(dry.starts_with("(a key that is not a domain): none, until "), "{dry}");
}

#[test]
fn every_subcommand_explains_itself_with_examples_that_work() {
    for subcommand in ["list", "show", "purge", "export", "import", "stats"] {
        let host = Host::new().with(&[line("example.com", "enforce", 60), line("example.net", "none", 60)]);
        std::fs::write(host.path("policies.jsonl"), host.run(&["export"]).out).unwrap();
        let help = host.run(&[subcommand, "--help"]);
        let examples: Vec<&str> = help.out.lines().filter_map(|line| line.strip_prefix("  mtasts cache ")).collect();
        assert!(help.out.contains("\nExit status: 0 "), "{}", help.out);
        assert!(help.status == 0 && help.out.contains("\nExamples:\n") && examples.len() >= 2, "{}", help.out);
        for example in examples {
            let words = example.split(['|', '>']).next().unwrap().split_whitespace();
            // Nothing is written outside of the test's own directory.
            let words: Vec<&str> = words.map(|word| word.rsplit('/').next().unwrap()).collect();
            let mut command = host.command(&words);
            let done = Done::of(command.current_dir(&host.directory).stdin(Stdio::null()).output().unwrap());
            assert_eq!(done.status, 0, "{example}: {done:?}");
        }
    }
    let all = Host::new().run(&["--help"]).out;
    assert!(all.contains("Exit status: 0 done, 1 ") && all.contains("mtasts cache export > policies.jsonl"), "{all}");
}
