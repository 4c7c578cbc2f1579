//! The command on a terminal of 80 columns, and through a pipe. The terminal is tmux's.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// What takes longer has failed.
const LONGEST: Duration = Duration::from_secs(30);

/// A terminal of 80 columns and 50 lines; none, told aloud, without tmux. It has a server of its own.
struct Terminal {
    directory: tempfile::TempDir,
}

impl Terminal {
    fn open() -> Option<Self> {
        let is_there = Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success());
        if !is_there {
            println!("SKIPPED: tmux is not installed");
            assert_ne!(
                std::env::var("MTASTS_NO_SKIP").as_deref(),
                Ok("1"),
                "skipped, and MTASTS_NO_SKIP=1 forbids that"
            );
            return None;
        }
        Some(Self { directory: tempfile::tempdir().unwrap() })
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.path().join("socket")).args(["-f", "/dev/null"]).args(arguments);
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8").output().unwrap()
    }

    /// Runs a command line in a shell of its own, where `mtasts` is the command with the options that lead it into the
    /// world. The terminal stays when it ends.
    fn run(&self, stage: &Stage, line: &str) {
        let options = stage.command(&[]);
        let options: Vec<String> = options.get_args().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let command = format!("#!/bin/sh\nexec {} \"$@\" {}\n", env!("CARGO_BIN_EXE_mtasts"), options.join(" "));
        let (here, script) = (self.directory.path(), self.directory.path().join("script"));
        std::fs::write(here.join("mtasts"), command).unwrap();
        std::fs::set_permissions(here.join("mtasts"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let setting = format!("unset NO_COLOR MTASTS_CONFIG\nPATH={}:$PATH", here.display());
        std::fs::write(&script, format!("{setting}\n{line}\nprintf 'status %s\\n' $?\nsleep 600\n")).unwrap();
        let started = self.tmux(&["new-session", "-d", "-x", "80", "-y", "50", &format!("sh {}", script.display())]);
        assert!(started.status.success(), "{started:?}");
    }

    /// The lines of the screen, and with `-e` the colours.
    fn screen(&self, more: &[&str]) -> String {
        text(&self.tmux(&[&["capture-pane", "-p", "-t", "0"], more].concat()).stdout)
    }

    /// The screen once it is as wanted.
    fn wait_for(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen(&[]);
            if is_wanted(&screen) {
                return screen;
            }
            assert!(began.elapsed() < LONGEST, "{what}: {screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// A stage with a domain whose DNS is silent for so many seconds.
fn slow_stage() -> Stage {
    let stage = Stage::new();
    stage.world.dns("_mta-sts.slow.test", Answer::Silent);
    stage
}

const BRIEFEST: &str = "--set dns_timeout_seconds=1 --set deadline_seconds=1";
const BRIEF: &str = "--set dns_timeout_seconds=3 --set deadline_seconds=3";

#[test]
fn a_line_of_progress_comes_stands_aside_and_goes() {
    let Some(terminal) = Terminal::open() else { return };
    let stage = slow_stage();
    terminal.run(&stage, &format!("mtasts lookup good.test none.test slow.test testing.test {BRIEF}"));
    let screen = terminal.wait_for("progress", |screen| screen.contains("2 of 4 done, slow.test"));
    assert!(screen.contains("\ngood.test: enforce\n") || screen.starts_with("good.test: enforce\n"), "{screen}");
    assert!(screen.contains("\nnone.test: none\n") && !screen.contains("testing.test"), "{screen}");
    terminal.wait_for("the time that is waited for", |screen| screen.contains("2 of 4 done, slow.test (2 s)"));
    let screen = terminal.wait_for("the end", |screen| screen.contains("\nstatus "));
    assert!(!screen.contains(" done, "), "{screen}");
    for line in ["good.test: enforce", "none.test: none", "slow.test: none", "testing.test: testing", "status 3"] {
        assert!(screen.lines().any(|shown| shown == line), "{line}: {screen}");
    }
    // What is logged stands on lines of its own.
    assert!(screen.lines().any(|line| line.starts_with("mtasts: no policy known for slow.test: ")), "{screen}");
}

#[test]
fn names_from_a_file_are_counted_while_they_come() {
    let Some(terminal) = Terminal::open() else { return };
    let stage = slow_stage();
    let long = format!("{}.{}.slow.test", "a".repeat(60), "b".repeat(60));
    stage.world.dns(&format!("_mta-sts.{long}"), Answer::Silent);
    let names = stage.world.directory().join("names");
    std::fs::write(&names, format!("good.test\n{long}\n")).unwrap();
    terminal.run(&stage, &format!("mtasts lookup {BRIEF} - < {} >/dev/null", names.display()));
    let screen = terminal.wait_for("progress", |screen| screen.contains("1 done, aaa"));
    let line = screen.lines().find(|line| line.contains("done, ")).unwrap();
    assert!(line.len() < 80 && (line.ends_with("...") || line.ends_with(" s)")), "it is cut to one line: {screen}");
    let screen = terminal.wait_for("the end", |screen| screen.contains("\nstatus 3"));
    assert!(!screen.contains(" done, "), "{screen}");
}

#[test]
fn without_a_terminal_many_domains_or_a_clever_terminal_there_is_no_progress() {
    let stage = slow_stage();
    let brief: Vec<&str> = BRIEFEST.split(' ').collect();
    let output = stage.run(&[&["lookup", "slow.test", "good.test"], &brief[..]].concat());
    let said = text(&output.stderr);
    assert!(!said.contains(['\r', '\u{1b}']) && !said.contains("done"), "{said:?}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let Some(terminal) = Terminal::open() else { return };
    let log = stage.world.directory().join("said");
    let lines = [
        format!("mtasts lookup slow.test good.test {BRIEFEST} 2>{}", log.display()),
        format!("mtasts lookup slow.test {BRIEFEST}"),
        format!("TERM=dumb mtasts lookup slow.test good.test {BRIEFEST}"),
        format!("mtasts lookup slow.test good.test {BRIEFEST} | grep ': enforce$'"),
    ];
    terminal.run(&stage, &lines.join("\n"));
    terminal.wait_for("the end", |screen| {
        assert!(!screen.contains(" done, "), "{screen}");
        screen.contains("\nstatus ")
    });
    let said = std::fs::read_to_string(log).unwrap();
    assert!(!said.is_empty() && !said.contains(['\r', '\u{1b}']), "{said:?}");
}

#[test]
fn colours_are_on_the_terminal_and_nowhere_else() {
    let stage = Stage::new();
    for (choice, has_colors) in [("auto", false), ("never", false), ("always", true)] {
        for arguments in [&["lookup", "good.test"][..], &["config"]] {
            let output = stage.run(&[arguments, &["--color", choice]].concat());
            assert_eq!(text(&output.stdout).contains("\u{1b}["), has_colors, "{choice}: {output:?}");
        }
    }
    let Some(terminal) = Terminal::open() else { return };
    let lines = [
        "mtasts lookup good.test --mx mx.evil.test",
        "NO_COLOR=1 mtasts lookup testing.test",
        "TERM=dumb mtasts lookup none.test",
        "mtasts lookup absent.test --color never",
    ];
    terminal.run(&stage, &lines.join("\n"));
    terminal.wait_for("the end", |screen| screen.contains("\nstatus "));
    let colored = terminal.screen(&["-e"]);
    let line = |start: &str| colored.lines().find(|line| line.contains(start)).unwrap_or_else(|| panic!("{colored}"));
    assert!(line("good.test").contains("\u{1b}[32menforce"), "{colored}");
    assert!(line("do not deliver").contains("\u{1b}[31mdo not deliver"), "{colored}");
    // Here no colour stands between the domain and its mode.
    for plain in ["testing.test: testing", "none.test: none", "absent.test: none"] {
        line(plain);
    }
}

#[test]
fn lines_are_fitted_to_80_columns_and_through_a_pipe_they_are_whole() {
    let Some(terminal) = Terminal::open() else { return };
    let stage = Stage::new();
    let whole = text(&stage.run(&["lookup", "wrong.test", "--explain"]).stdout);
    assert!(whole.lines().any(|line| line.len() > 100), "{whole}");
    terminal.run(
        &stage,
        "mtasts lookup wrong.test --cache-only --explain; mtasts lookup wrong.test --cache-only --explain | cat",
    );
    let screen = terminal.wait_for("the end", |screen| screen.contains("\nstatus "));
    // tmux joins with -J what it had to break itself: nothing of the first answer, and the long lines of the second.
    let joined = terminal.screen(&["-J"]);
    let answers: Vec<&str> = joined.split("wrong.test: none").collect();
    assert_eq!(answers.len(), 3, "{screen}");
    assert!(answers[1].lines().all(|line| line.trim_end().len() <= 80), "{screen}");
    assert!(answers[1].contains("\n           "), "long lines go on below their beginning: {screen}");
    assert!(answers[2].lines().any(|line| line.trim_end().len() > 80), "{joined}");
    assert!(!answers[2].contains("\n           "), "{joined}");
    let words = |answer: &str| answer.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (fitted, piped) = (words(answers[1]), words(answers[2]));
    assert_eq!(fitted.len() + 2, piped.len(), "no word is lost but the status line's: {screen}");
}

#[test]
fn remarks_on_settings_stand_above_them_where_both_do_not_fit() {
    let Some(terminal) = Terminal::open() else { return };
    let stage = Stage::new();
    terminal.run(&stage, "mtasts config");
    terminal.wait_for("the end", |screen| screen.contains("\nstatus "));
    let screen = terminal.screen(&["-J"]);
    assert!(screen.lines().all(|line| line.trim_end().len() <= 80), "{screen}");
    let config = stage.world.directory().join("mtasts.toml");
    let above = format!("\n# {}, line 1\nallow_private_addresses = true\n", config.display());
    assert!(screen.contains(&above), "{above}: {screen}");
    assert!(
        screen.lines().any(|line| line.starts_with("observe = false ") && line.ends_with(" # default")),
        "{screen}"
    );
}

#[test]
fn a_refresh_says_that_it_is_at_work() {
    let Some(terminal) = Terminal::open() else { return };
    let stage = Stage::new();
    stage.run(&["lookup", "good.test"]);
    let cache = rusqlite::Connection::open(&stage.cache).unwrap();
    cache
        .execute("UPDATE domain SET fetched_at = unixepoch() - 500000, refresh_at = 0, checked_until = 0", [])
        .unwrap();
    drop(cache);
    stage.world.dns("_mta-sts.good.test", Answer::Silent);
    terminal.run(&stage, &format!("mtasts refresh {BRIEF}"));
    terminal.wait_for("progress", |screen| screen.contains("fetching what is due"));
    let screen = terminal.wait_for("the end", |screen| screen.contains("\nstatus 0"));
    assert!(!screen.contains("fetching"), "{screen}");
    assert!(screen.lines().any(|line| line == "1 refreshed, 0 failed"), "{screen}");
}
