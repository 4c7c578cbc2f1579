//! A cache that cannot be used costs a log line, never an answer.

use crate::stage::*;
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::Effort;
use mtasts::reason::Reason;
use mtasts::syntax::Mode;
use rusqlite::Connection;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

// Conformance: S10-8.
#[test]
fn an_unusable_cache_costs_a_log_line_and_no_answer() {
    type Prepare = fn(&Path) -> PathBuf;
    // The last text is a part of the line that tells the administrator.
    let rows: Vec<(&str, Prepare, &str)> = vec![
        ("missing directory", |root| root.join("missing/cache.db"), "install -d -m 0750"),
        (
            "world-writable directory",
            |root| {
                fs::create_dir(root.join("open")).unwrap();
                set_mode(&root.join("open"), 0o777);
                root.join("open/cache.db")
            },
            "mend it with `install -d -m 0750",
        ),
        (
            "a directory in place of the file",
            |root| {
                fs::create_dir(root.join("directory.db")).unwrap();
                root.join("directory.db")
            },
            "is a directory, want a regular file",
        ),
        (
            "a file in place of the directory",
            |root| {
                fs::write(root.join("file"), "").unwrap();
                root.join("file/cache.db")
            },
            "is not a directory",
        ),
        (
            "a symbolic link",
            |root| {
                std::os::unix::fs::symlink(root.join("elsewhere.db"), root.join("link.db")).unwrap();
                root.join("link.db")
            },
            "is a symbolic link",
        ),
        // Not even root creates a file there.
        ("a directory that takes no file", |_| PathBuf::from("/proc/mtasts-cache.db"), "/proc/mtasts-cache.db"),
        (
            "garbage",
            |root| {
                fs::write(root.join("garbage.db"), "no database ".repeat(1000)).unwrap();
                root.join("garbage.db")
            },
            "is damaged",
        ),
        (
            "the database of another program",
            |root| {
                let path = root.join("foreign.db");
                Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipe (name TEXT)").unwrap();
                path
            },
            "another program",
        ),
        (
            "a database of a newer version",
            |root| {
                let path = root.join("newer.db");
                let connection = Connection::open(&path).unwrap();
                connection.execute_batch("PRAGMA application_id = 0x53545331; PRAGMA user_version = 99").unwrap();
                path
            },
            "newer",
        ),
    ];
    let stage = Stage::new();
    play(&rows, |number, (scene, prepare, line)| {
        let domain = format!("scene-{number}.test");
        stage.publish(&domain);
        let cache = prepare(stage.directory.path());
        let context = Context::with_settings(Settings { cache: cache.clone(), ..stage.settings() });
        let log = log_of(&context);
        let mut faults = POLICY.faults(scene, &ask(&context, &domain));
        faults.extend(kept(Reason::Cached, "").faults(&format!("{scene}, from memory"), &ask(&context, &domain)));
        let none = nothing(Reason::NoRecord, "");
        faults.extend(none.faults(scene, &ask(&context, &format!("none-{number}.test"))));
        let lines = log.lock().unwrap();
        let directory = cache.parent().unwrap().to_string_lossy();
        if !lines.iter().any(|logged| logged.contains(line) && logged.contains(&*directory)) {
            faults.push(format!("{scene}: no line with `{line}` and {directory} in {lines:#?}"));
        }
        faults
    });
    let foreign = Connection::open(stage.directory.path().join("foreign.db")).unwrap();
    let tables: i64 = foreign.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1, "what belongs to another program is left alone");
    assert!(!stage.directory.path().join("elsewhere.db").exists(), "nothing is created behind a link");
}

#[test]
fn garbage_is_moved_aside_and_the_next_process_finds_a_new_cache() {
    let stage = Stage::new();
    stage.publish("good.test");
    fs::write(stage.cache(), "no database ".repeat(1000)).unwrap();
    POLICY.check("over garbage", &ask(&stage.context(), "good.test"));
    stage.network_off(true);
    kept(Reason::Cached, "").check("afterwards", &ask(&stage.context(), "good.test"));
    let names: Vec<String> = fs::read_dir(stage.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("damaged"))
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let aside = fs::read(stage.directory.path().join(&names[0])).unwrap();
    assert!(aside.starts_with(b"no database"), "nothing is lost");
}

#[test]
fn a_truncated_database_is_no_policy_and_no_crash() {
    let stage = Stage::new();
    stage.publish("good.test");
    POLICY.check("before", &ask(&stage.context(), "good.test"));
    let whole = fs::read(stage.cache()).unwrap();
    for length in [0, 1, 50, 100, 512, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(stage.cache(), &whole[..length]).unwrap();
        let answer = ask(&stage.context(), "good.test");
        assert_eq!(answer.mode(), Mode::Enforce, "{length} bytes: {}", answer.text());
    }
}

// Conformance: S10-5.
#[test]
fn a_bit_that_flips_anywhere_in_the_database_is_no_crash_and_no_lost_policy() {
    let stage = Stage::new();
    stage.publish("good.test");
    POLICY.check("before", &ask(&stage.context(), "good.test"));
    let whole = fs::read(stage.cache()).unwrap();
    // Pages are mostly empty: of equal neighbours one is enough.
    let places: Vec<usize> = (0..whole.len()).filter(|&at| at == 0 || whole[at] != whole[at - 1]).collect();
    let step = places.len() / 150 + 1;
    for (number, at) in places.into_iter().step_by(step).enumerate() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (number % 8);
        fs::write(stage.cache(), damaged).unwrap();
        let context = stage.context();
        let answer = ask(&context, "good.test");
        assert_eq!(answer.mode(), Mode::Enforce, "byte {at}: {}", answer.text());
        POLICY.check(&format!("byte {at}, refreshed"), &context.query(b"good.test", REFRESH, None));
    }
}

#[test]
fn a_cache_that_vanishes_under_an_open_context_is_made_again() {
    let stage = Stage::new();
    stage.publish("first.test");
    stage.publish("second.test");
    let context = stage.context();
    POLICY.check("before", &ask(&context, "first.test"));
    fs::remove_file(stage.cache()).unwrap();
    POLICY.check("after", &ask(&context, "second.test"));
    stage.network_off(true);
    kept(Reason::Cached, "").check("in the new file", &ask(&stage.context(), "second.test"));
}

#[test]
fn a_locked_database_delays_within_the_deadline_and_its_policy_applies() {
    let stage = Stage::new();
    stage.publish("known.test");
    stage.publish("new.test");
    POLICY.check("before", &ask(&stage.context(), "known.test"));
    let other = Connection::open(stage.cache()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let limit = Duration::from_secs(6);
    let context = stage.context();
    let log = log_of(&context);
    let query = |domain: &str| {
        let (answer, faults) =
            timed(domain, limit, || context.query(domain.as_bytes(), Effort::default(), Some(limit)));
        report(faults);
        answer
    };
    kept(Reason::Cached, "").check("known", &query("known.test"));
    POLICY.check("new", &query("new.test"));
    kept(Reason::Cached, "").check("new, from memory", &query("new.test"));
    let lines = log.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("locked")), "{lines:#?}");

    stage.network_off(true);
    let short = Duration::from_millis(500);
    let (answer, faults) =
        timed("known", short, || stage.context().query(b"known.test", Effort::default(), Some(short)));
    report(faults);
    kept(Reason::Cached, "").check("known, in half a second and without network", &answer);
}

// Conformance: S10-6.
#[test]
fn a_cache_of_no_rows_and_no_memory_still_answers() {
    let stage = Stage::new();
    stage.publish("good.test");
    let settings = Settings { cache_entries: 1, memory_entries: 0, ..stage.settings() };
    let context = Context::with_settings(settings);
    POLICY.check("first", &ask(&context, "good.test"));
    for number in 0..10 {
        nothing(Reason::NoRecord, "").check("made up", &ask(&context, &format!("n{number}.test")));
    }
    kept(Reason::Cached, "").check("made-up domains push out no enforced policy", &ask(&context, "good.test"));
}
