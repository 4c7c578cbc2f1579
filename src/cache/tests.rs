//! Memory and file together: what is kept, what gives way, what is never lost.

mod crash;
mod damage;
mod pressure;
mod upkeep;

use super::*;
use crate::reason::Reason;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const NOW: UnixTime = UnixTime(1_800_000_000);

/// A directory for a cache file, and the log lines of all who use it.
struct Place {
    directory: tempfile::TempDir,
    lines: Mutex<Vec<String>>,
}

impl Sink for Place {
    fn line(&self, _: Level, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), lines: Mutex::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What one process has.
    fn process(&self) -> Process<'_> {
        self.process_with("cache.db", 100, 100)
    }

    fn process_with(&self, file: &str, rows: u64, memory: usize) -> Process<'_> {
        let cache = self.path(file);
        let settings = Settings { cache, cache_entries: rows, memory_entries: memory, ..Settings::default() };
        Process { place: self, cache: Cache::new(&settings) }
    }

    fn sql(&self, file: &str, statement: &str) {
        rusqlite::Connection::open(self.path(file)).unwrap().execute_batch(statement).unwrap();
    }

    fn count(&self, which: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.path("cache.db")).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM domain WHERE {which}"), [], |row| row.get(0)).unwrap()
    }

    fn damage(&self) {
        std::fs::write(self.path("cache.db"), "no database at all".repeat(500)).unwrap();
    }

    fn files_moved_aside(&self) -> usize {
        let names = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.contains("damaged") && !name.ends_with("-journal"))
            .count()
    }

    fn has_logged(&self, what: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(what))
    }
}

struct Process<'a> {
    place: &'a Place,
    cache: Cache,
}

impl Process<'_> {
    fn read(&self, name: &str) -> Option<Known> {
        self.cache.read(&domain(name), NOW, deadline(), self.place)
    }

    /// The id of the policy that is known.
    fn id(&self, name: &str) -> Option<String> {
        self.read(name).and_then(|known| known.row.policy.as_ref().map(|stored| stored.id.to_string()))
    }

    fn learn(&self, name: &str, row: Row) {
        self.cache.store_policy(&domain(name), Arc::new(row), NOW, deadline(), self.place);
    }

    /// Stores a check of what was known.
    fn check(&self, name: &str, known: &Known) {
        self.cache.store_check(&domain(name), known, NOW, deadline(), self.place);
    }

    /// Stores a row about a domain of which nothing was known.
    fn note(&self, name: &str, row: Row) {
        self.check(name, &Known { row: Arc::new(row), stored_in: None });
    }

    /// As if the process had not looked at the file for a while.
    fn let_memory_age(&self) {
        self.cache.memory.age();
        self.cache.looked_at.store(0, Ordering::Relaxed);
    }
}

fn domain(name: &str) -> PolicyDomain {
    PolicyDomain::parse(name.as_bytes()).unwrap()
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn no_policy() -> Row {
    let check = Check { at: NOW, until: NOW.plus(60), reason: Reason::NoRecord };
    Row { policy: None, check, refresh_at: NOW.plus(1000), failures: Vec::new() }
}

/// A row with a policy that was fetched some seconds before now.
fn policy(mode: &str, id: &str, age: i64) -> Row {
    let body = format!("version: STSv1\nmode: {mode}\nmx: mx.example\nmax_age: 500\n");
    let stored = StoredPolicy::new(id, body.as_bytes(), UnixTime(NOW.0 - age)).unwrap();
    let check = Check { reason: Reason::Fetched, ..no_policy().check };
    Row { policy: Some(Arc::new(stored)), check, ..no_policy() }
}

fn enforce() -> Row {
    policy("enforce", "a1", 0)
}

#[test]
fn a_row_survives_a_restart_unchanged() {
    let place = Place::new();
    place.process().learn("a.example", enforce());
    place.process().note("b.example", no_policy());
    let read = |name: &str| place.process().read(name).map(|known| (*known.row).clone());
    assert_eq!(read("a.example"), Some(enforce()));
    assert_eq!(read("b.example"), Some(no_policy()));
    assert_eq!(read("c.example"), None);
    assert!(place.lines.lock().unwrap().is_empty());
}

// Conformance: S10-7.
#[test]
fn a_check_leaves_the_policy_that_another_process_has_stored_meanwhile() {
    let place = Place::new();
    let mine = place.process();
    place.process().learn("a.example", enforce());
    mine.note("a.example", no_policy());
    assert!(place.process().id("a.example").is_some());

    let known = place.process().read("a.example").unwrap();
    place.process().learn("a.example", policy("testing", "a2", 0));
    let mut row = (*known.row).clone();
    row.check.until = NOW.plus(3_000);
    mine.check("a.example", &Known { row: Arc::new(row), ..known });
    let found = place.process().read("a.example").unwrap();
    assert_eq!(&*found.row.policy.as_ref().unwrap().id, "a2");
    assert_eq!(found.row.check.until, NOW.plus(60), "a check concerns the policy that was checked");
}

#[test]
fn a_policy_that_is_purged_during_a_visit_leaves_no_row_that_reads_as_no_policy() {
    for memory in [0, 100] {
        let place = Place::new();
        let mine = place.process_with("cache.db", 100, memory);
        mine.learn("a.example", enforce());
        let known = mine.read("a.example").unwrap();
        place.sql("cache.db", "DELETE FROM domain");
        mine.check("a.example", &known);
        assert!(place.process().read("a.example").is_none());
        assert!(mine.read("a.example").is_none());
    }
}

#[test]
fn what_another_process_purges_is_gone_here_too_also_after_a_check_that_failed() {
    let place = Place::new();
    let mine = place.process();
    mine.learn("a.example", enforce());
    let known = mine.read("a.example").unwrap();
    let lock = rusqlite::Connection::open(place.path("cache.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let soon = Deadline::after(Duration::from_millis(20));
    mine.cache.store_check(&domain("a.example"), &known, NOW, soon, &place);
    assert!(place.has_logged("locked"));
    lock.execute_batch("COMMIT; DELETE FROM domain").unwrap();
    mine.let_memory_age();
    assert!(mine.read("a.example").is_none());
    assert_eq!(place.count("1"), 0);
}

#[test]
fn what_the_disk_did_not_take_is_kept_in_memory_and_stored_when_the_disk_is_back() {
    let place = Place::new();
    let mine = place.process_with("later/cache.db", 100, 100);
    mine.learn("a.example", enforce());
    assert!(mine.id("a.example").is_some());
    assert!(place.has_logged("install -d -m 0750"));
    std::fs::create_dir(place.path("later")).unwrap();
    let known = mine.read("a.example").unwrap();
    mine.check("a.example", &known);
    assert!(place.process_with("later/cache.db", 100, 100).id("a.example").is_some());
}

#[test]
fn a_policy_that_only_memory_has_outlives_a_visit_that_began_before_it() {
    let place = Place::new();
    let mine = place.process_with("missing/cache.db", 100, 100);
    mine.learn("a.example", enforce());
    mine.note("a.example", no_policy());
    assert_eq!(mine.id("a.example").as_deref(), Some("a1"));
    mine.note("a.example", policy("none", "a0", 100));
    assert_eq!(mine.id("a.example").as_deref(), Some("a1"));
}

#[test]
fn the_policy_that_was_fetched_later_wins_in_memory_and_in_the_file() {
    let place = Place::new();
    place.process().note("z.example", no_policy());
    let mine = place.process();
    let lock = rusqlite::Connection::open(place.path("cache.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let soon = Deadline::after(Duration::from_millis(20));
    mine.cache.store_policy(&domain("a.example"), Arc::new(policy("none", "a1", 100)), NOW, soon, &place);
    lock.execute_batch("COMMIT").unwrap();
    place.process().learn("a.example", policy("enforce", "a2", 2));
    let known = mine.read("a.example").unwrap();
    mine.check("a.example", &known);
    place.process().learn("a.example", policy("none", "a0", 3));
    mine.let_memory_age();
    assert_eq!(mine.id("a.example").as_deref(), Some("a2"));
    assert_eq!(place.process().id("a.example").as_deref(), Some("a2"));
}

// Conformance: S10-4.
#[test]
fn a_policy_from_the_future_was_fetched_under_a_wrong_clock_and_gives_way() {
    let place = Place::new();
    place.process().learn("a.example", policy("none", "wrong", -100_000));
    place.process().learn("a.example", policy("enforce", "right", 0));
    assert_eq!(place.process().id("a.example").as_deref(), Some("right"));
    let mine = place.process_with("missing/cache.db", 100, 100);
    mine.learn("a.example", policy("none", "wrong", -100_000));
    mine.learn("a.example", policy("enforce", "right", 0));
    assert_eq!(mine.id("a.example").as_deref(), Some("right"));
}

// Conformance: S10-6.
#[test]
fn made_up_domains_push_out_each_other_and_never_an_enforced_policy() {
    let place = Place::new();
    let mine = place.process_with("cache.db", 20, 100);
    for n in 0..15 {
        mine.learn(&format!("enforce{n}.example"), enforce());
    }
    mine.learn("testing.example", policy("testing", "a1", 0));
    for n in 0..50 {
        mine.note(&format!("made-up{n}.example"), no_policy());
    }
    assert_eq!((place.count("mode = 2"), place.count("mode = 1"), place.count("1")), (15, 1, 20));
    assert!(place.lines.lock().unwrap().is_empty());
    for n in 0..10 {
        mine.learn(&format!("more{n}.example"), enforce());
    }
    assert_eq!((place.count("mode = 2"), place.count("1")), (20, 20));
    assert!(place.has_logged("raise cache_entries"), "loudly");
    let kept = (0..15).all(|n| place.count(&format!("name = 'enforce{n}.example'")) == 1);
    assert!(kept, "the new ones had to give way");
}

// Conformance: S10-5.
#[test]
fn garbage_is_moved_aside_and_the_files_of_others_are_left_alone() {
    let place = Place::new();
    place.damage();
    place.process().learn("a.example", enforce());
    assert!(place.process().id("a.example").is_some());
    assert_eq!((place.files_moved_aside(), place.lines.lock().unwrap().len()), (1, 1));

    std::fs::copy(place.path("cache.db"), place.path("newer.db")).unwrap();
    place.sql("newer.db", "PRAGMA user_version = 99");
    place.sql("foreign.db", "CREATE TABLE x (y)");
    for (file, want) in [("foreign.db", "another program"), ("newer.db", "newer libmtasts")] {
        let before = std::fs::read(place.path(file)).unwrap();
        let mine = place.process_with(file, 100, 100);
        mine.learn("a.example", enforce());
        assert!(mine.id("a.example").is_some(), "memory has it");
        assert_eq!(std::fs::read(place.path(file)).unwrap(), before);
        assert!(place.has_logged(want), "{want}");
    }
}

#[test]
fn damage_to_the_file_takes_nothing_from_memory_which_fills_the_new_file() {
    let place = Place::new();
    let mine = place.process();
    let known = |name: &str| {
        mine.learn(name, enforce());
        mine.read(name).unwrap()
    };
    let (_, b) = (known("a.example"), known("b.example"));
    place.damage();
    mine.check("b.example", &b);
    mine.let_memory_age();
    assert!(mine.id("a.example").is_some());
    assert!(place.process().id("a.example").is_some() && place.process().id("b.example").is_some());
}

#[test]
fn many_processes_on_one_damaged_file_move_it_aside_once_and_create_one_database() {
    for _ in 0..10 {
        let place = Place::new();
        place.damage();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let place = &place;
                scope.spawn(move || place.process().learn(&format!("d{n}.example"), enforce()));
            }
        });
        assert_eq!(place.files_moved_aside(), 1, "{:?}", place.lines.lock().unwrap());
        for n in 0..4 {
            assert!(place.process().id(&format!("d{n}.example")).is_some(), "{n}: {:?}", place.lines.lock().unwrap());
        }
    }
}

#[test]
fn a_directory_that_another_program_holds_locked_costs_no_more_than_the_deadline() {
    let place = Place::new();
    place.damage();
    let directory = std::fs::File::open(place.directory.path()).unwrap();
    directory.lock().unwrap();
    let began = Instant::now();
    let soon = Deadline::after(Duration::from_millis(50));
    place.process().cache.store_policy(&domain("a.example"), Arc::new(enforce()), NOW, soon, &place);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(place.has_logged("another program holds its directory"));
}

/// The tables of version 1, with a policy that has been in the file since [`NOW`].
fn file_of_version_1(place: &Place) {
    std::fs::set_permissions(place.directory.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
    let tables = "
    CREATE TABLE domain (
        name          TEXT NOT NULL PRIMARY KEY,
        id            TEXT,
        body          BLOB,
        fetched_at    INTEGER,
        expires_at    INTEGER,
        mode          INTEGER,
        checked_at    INTEGER NOT NULL,
        checked_until INTEGER NOT NULL,
        check_reason  INTEGER NOT NULL,
        refresh_at    INTEGER NOT NULL,
        failures      TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX domain_without_policy ON domain (checked_until) WHERE body IS NULL;
    CREATE INDEX domain_with_policy ON domain (expires_at) WHERE body IS NOT NULL;
    CREATE INDEX domain_not_enforced ON domain (expires_at) WHERE body IS NOT NULL AND mode < 2;
    CREATE TABLE size (row_count INTEGER NOT NULL);
    INSERT INTO size VALUES (0);
    CREATE TRIGGER domain_added AFTER INSERT ON domain BEGIN UPDATE size SET row_count = row_count + 1; END;
    CREATE TRIGGER domain_removed AFTER DELETE ON domain BEGIN UPDATE size SET row_count = row_count - 1; END;
        PRAGMA application_id = 1398035249;
        PRAGMA user_version = 1;";
    place.sql("cache.db", tables);
    let insert =
        "INSERT INTO domain VALUES ('a.example', 'a1', ?1, ?2, ?2 + 604800, 2, ?2, ?2 + 60, 1, ?2 + 80000, '')";
    let body = b"version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 604800\n".as_slice();
    let connection = rusqlite::Connection::open(place.path("cache.db")).unwrap();
    connection.execute(insert, rusqlite::params![body, NOW.0]).unwrap();
    std::fs::set_permissions(place.path("cache.db"), std::fs::Permissions::from_mode(0o640)).unwrap();
}

#[test]
fn a_file_of_an_older_version_is_renewed_by_many_processes_at_once() {
    let place = Place::new();
    file_of_version_1(&place);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(place.process().id("a.example").as_deref(), Some("a1")));
        }
    });
    assert!(place.lines.lock().unwrap().is_empty(), "{:?}", place.lines.lock().unwrap());
    assert_eq!(place.count("shortened_to IS NULL"), 1);
}

#[test]
fn a_file_of_an_older_version_that_cannot_be_written_is_read() {
    let place = Place::new();
    file_of_version_1(&place);
    let lock = rusqlite::Connection::open(place.path("cache.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(place.process().id("a.example").as_deref(), Some("a1"));
}

#[test]
fn an_end_that_an_older_version_has_shortened_is_mended_by_the_next_check() {
    let place = Place::new();
    file_of_version_1(&place);
    place.sql("cache.db", "UPDATE domain SET expires_at = expires_at - 31536000, refresh_at = 0");
    let mine = place.process();
    let known = mine.read("a.example").unwrap();
    mine.check("a.example", &known);
    let due = mine.cache.due(NOW, NOW.plus(86_400), deadline(), &place).unwrap();
    assert_eq!(due, [domain("a.example")]);
}

#[test]
fn rows_are_read_again_when_another_process_has_changed_the_file_and_not_before() {
    let place = Place::new();
    let (mine, other) = (place.process(), place.process());
    for name in ["a.example", "b.example"] {
        other.learn(name, policy("enforce", "a1", 10));
    }
    let policy_of = |name: &str| mine.read(name).unwrap().row.policy.clone().unwrap();
    // The first read does not count the changes by others; the row that it has brought is read once more.
    assert!(mine.read("c.example").is_none());
    assert!(mine.read("d.example").is_none());
    let (a, b) = (policy_of("a.example"), policy_of("b.example"));
    for _ in 0..3 {
        mine.let_memory_age();
        mine.note("mine.example", no_policy());
        assert!(Arc::ptr_eq(&policy_of("a.example"), &a), "nobody else has changed anything");
    }
    other.learn("b.example", policy("enforce", "b2", 0));
    assert!(Arc::ptr_eq(&policy_of("b.example"), &b), "until it is time to look");
    mine.let_memory_age();
    assert_eq!(mine.id("b.example").as_deref(), Some("b2"));
    assert!(mine.id("a.example").is_some());
    place.sql("cache.db", "DELETE FROM domain WHERE name = 'a.example'");
    mine.let_memory_age();
    assert!(mine.read("a.example").is_none(), "purged");
    assert_eq!(mine.id("b.example").as_deref(), Some("b2"));
}

#[test]
fn a_file_that_was_removed_and_begun_anew_is_filled_from_memory_although_it_has_the_old_inode() {
    let place = Place::new();
    let mine = place.process();
    mine.learn("a.example", enforce());
    mine.learn("b.example", enforce());
    std::fs::remove_file(place.path("cache.db")).unwrap();
    mine.let_memory_age();
    assert!(mine.id("b.example").is_some());
    mine.let_memory_age();
    assert!(mine.id("a.example").is_some());
    assert_eq!(place.count("body IS NOT NULL"), 2, "both are in the new file");
}
