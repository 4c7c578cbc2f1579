//! Memory follows the file: what others do with it is seen within five seconds, whatever has gone wrong in between.

use crate::stage::Stage;
use mtasts::cache::{Cache, Check, Known, Row, StoredPolicy};
use mtasts::config::Settings;
use mtasts::context::Level;
use mtasts::discovery::{Effort, Sink};
use mtasts::reason::Reason;
use mtasts::syntax::PolicyDomain;
use mtasts::time::{Clock, Deadline, SystemClock, UnixTime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than memory is believed.
const A_WHILE: Duration = Duration::from_millis(5_200);

struct Nobody;

impl Sink for Nobody {
    fn line(&self, _: Level, _: &str) {}
}

fn domain(name: &str) -> PolicyDomain {
    PolicyDomain::parse(name.as_bytes()).unwrap()
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn now() -> UnixTime {
    SystemClock.now()
}

fn row(id: &str) -> Row {
    let body = b"version: STSv1\nmode: enforce\nmx: mx.example\nmax_age: 604800\n";
    let stored = StoredPolicy::new(id, body, now()).unwrap();
    let check = Check { at: now(), until: now().plus(3_000), reason: Reason::Fetched };
    Row { policy: Some(Arc::new(stored)), check, refresh_at: now().plus(80_000), failures: Vec::new() }
}

fn without_policy() -> Row {
    let check = Check { at: now(), until: now().plus(300), reason: Reason::NoRecord };
    Row { policy: None, check, refresh_at: UnixTime(0), failures: Vec::new() }
}

/// What one process has.
struct Process(Cache);

impl Process {
    fn of(settings: &Settings) -> Self {
        Self(Cache::new(settings))
    }

    fn learn(&self, name: &str, id: &str) {
        self.0.store_policy(&domain(name), Arc::new(row(id)), now(), deadline(), &Nobody);
    }

    fn read(&self, name: &str) -> Option<Known> {
        self.0.read(&domain(name), now(), deadline(), &Nobody)
    }

    /// The id of the policy that is known.
    fn id(&self, name: &str) -> Option<String> {
        self.read(name).and_then(|known| known.row.policy.as_ref().map(|stored| stored.id.to_string()))
    }

    /// Reads often enough for the changes by others to be counted.
    fn settle(&self, names: &[&str]) {
        ["x.example", "y.example"].iter().chain(names).for_each(|name| drop(self.read(name)));
    }
}

fn file(stage: &Stage) -> rusqlite::Connection {
    let file = rusqlite::Connection::open(stage.cache()).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    file
}

#[test]
fn a_read_that_fails_when_changes_begin_to_be_counted_hides_no_change() {
    let stage = Stage::new();
    let (mine, other) = (Process::of(&stage.settings()), Process::of(&stage.settings()));
    other.learn("a.example", "1");
    assert_eq!(mine.id("a.example").as_deref(), Some("1"));
    other.learn("a.example", "2");
    let large =
        "INSERT INTO domain (name, id, body, fetched_at, checked_at, checked_until, check_reason, refresh_at, failures)
                 VALUES ('large.example', '1', zeroblob(2000000), 1, 1, 1, 1, 1, '')";
    file(&stage).execute(large, []).unwrap();
    assert!(mine.0.try_read(&domain("large.example"), now(), deadline(), &Nobody).is_err(), "cannot be read");
    for _ in 0..2 {
        thread::sleep(A_WHILE);
        mine.id("a.example");
    }
    assert_eq!(mine.id("a.example").as_deref(), Some("2"));
}

#[test]
fn a_purge_is_seen_although_the_file_was_locked_when_the_row_was_to_be_read_again() {
    let stage = Stage::new();
    let mine = Process::of(&stage.settings());
    mine.learn("purged.example", "1");
    mine.learn("other.example", "1");
    mine.settle(&["purged.example", "other.example"]);
    thread::sleep(A_WHILE);
    let file = file(&stage);
    file.execute("DELETE FROM domain WHERE name = 'purged.example'", []).unwrap();
    assert!(mine.id("other.example").is_some());
    file.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let soon = Deadline::after(Duration::from_millis(50));
    assert!(mine.0.read(&domain("purged.example"), now(), soon, &Nobody).is_some(), "as long as nothing else is known");
    file.execute_batch("COMMIT").unwrap();
    for _ in 0..2 {
        thread::sleep(A_WHILE);
        mine.id("other.example");
    }
    assert_eq!(mine.id("purged.example"), None);
}

#[test]
fn a_policy_that_was_imported_during_a_visit_is_seen_although_the_visit_has_found_none() {
    let stage = Stage::new();
    let (mine, other) = (Process::of(&stage.settings()), Process::of(&stage.settings()));
    mine.learn("other.example", "1");
    mine.settle(&["other.example"]);
    thread::sleep(A_WHILE);
    // A thread begins a visit and asks DNS.
    assert!(matches!(mine.0.read_afresh(&domain("late.example"), now(), deadline(), &Nobody), Ok(None)));
    other.learn("late.example", "1");
    // Another thread asks about another domain.
    assert!(mine.id("other.example").is_some());
    // The first one gets its answer.
    let found = Known { row: Arc::new(without_policy()), stored_in: None };
    mine.0.store_check(&domain("late.example"), &found, now(), deadline(), &Nobody);
    for _ in 0..2 {
        thread::sleep(A_WHILE);
        mine.id("other.example");
    }
    assert_eq!(Process::of(&stage.settings()).id("late.example").as_deref(), Some("1"), "the file has it");
    assert_eq!(mine.id("late.example").as_deref(), Some("1"));
}

#[test]
fn a_thread_that_read_a_row_just_before_another_has_stored_a_newer_one_does_not_bring_the_old_one_back_for_long() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    let settings = Settings { cache: directory.path().join("cache.db"), ..Settings::default() };
    let mine = Process::of(&settings);
    let names: Vec<String> = (0..1_000).map(|n| format!("d{n}.example")).collect();
    names.iter().for_each(|name| mine.learn(name, "1"));
    mine.settle(&[]);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let n = usize::try_from(next.load(Ordering::Relaxed)).unwrap().min(names.len() - 1);
                    let _ = mine.0.read_afresh(&domain(&names[n]), now(), deadline(), &Nobody);
                }
            });
        }
        for name in &names {
            thread::sleep(Duration::from_micros(300));
            mine.learn(name, "2");
            next.fetch_add(1, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
    });
    thread::sleep(A_WHILE);
    let stale = names.iter().filter(|name| mine.id(name).as_deref() != Some("2")).count();
    assert_eq!(stale, 0, "of {}", names.len());
}

#[test]
fn a_question_without_end_is_answered() {
    let stage = Stage::new();
    stage.publish("good.test");
    let answer = stage.context().query(b"good.test", Effort::Usual, Some(Duration::MAX));
    assert_eq!(answer.reason, Reason::Fetched);
}

const FORKS: usize = 20;

/// Many threads have warm answers; one reads the file; the process forks. Returns the longest read and fork, and how
/// many children could not read the file.
fn with_readers(count: usize) -> (Duration, Duration, usize) {
    let stage = Stage::new();
    let warm = Process::of(&Settings { cache: stage.directory.path().join("warm.db"), ..stage.settings() });
    let mine = Process::of(&Settings { memory_entries: 0, ..stage.settings() });
    warm.learn("warm.example", "1");
    mine.learn("a.example", "1");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                let name = domain("warm.example");
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..1000 {
                        let _ = warm.0.glance(&name, |row| row.check.until);
                    }
                }
            });
        }
        let reader = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert!(mine.id("a.example").is_some());
                longest = longest.max(began.elapsed());
            }
            longest
        });
        let (mut longest, mut blind) = (Duration::ZERO, 0);
        for _ in 0..FORKS {
            thread::sleep(Duration::from_millis(20));
            let began = Instant::now();
            // SAFETY: the child only reads the cache and leaves by _exit; alarm ends it should it hang.
            let child = unsafe { libc::fork() };
            if child == 0 {
                unsafe {
                    libc::alarm(20);
                    let read = mine.0.try_read(&domain("a.example"), now(), deadline(), &Nobody);
                    libc::_exit(i32::from(!matches!(read, Ok(Some(_)))));
                }
            }
            longest = longest.max(began.elapsed());
            let mut status = -1;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            blind += usize::from(status != 0);
        }
        stop.store(true, Ordering::Relaxed);
        (reader.join().unwrap(), longest, blind)
    })
}

#[test]
fn readers_of_memory_keep_nobody_from_the_disk_and_no_child_from_its_file() {
    let (read, fork, blind) = with_readers(24);
    println!("longest read {read:?}, longest fork {fork:?}, children that cannot read the file: {blind} of {FORKS}");
    // A busy machine may stop the one who reads the file for longer than a fork waits.
    assert!(blind <= FORKS / 4 && read < Duration::from_secs(2), "{blind} of {FORKS}, {read:?}");
}
