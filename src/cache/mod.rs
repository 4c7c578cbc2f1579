//! What is known about domains: in memory in front, in SQLite behind.
//!
//! Memory is asked first and believed for five seconds, so that what another process stores is seen soon. A
//! database that cannot be used costs a log line and never an answer: memory then stands alone. Nothing here decides
//! whether a policy applies; it keeps what discovery says and gives it back unchanged.

mod memory;
mod row;
mod sqlite;

pub use row::{Check, Failure, Row, StoredPolicy};

use crate::config::Settings;
use crate::syntax::PolicyDomain;
use crate::sys::log::{Level, Sink};
use crate::time::{Deadline, UnixTime};
use memory::Memory;
use sqlite::Database;
use std::sync::Arc;
use std::time::Duration;

/// How long memory answers without a look at the database.
const MEMORY_TRUST: Duration = Duration::from_secs(5);

/// The memory of one context.
#[derive(Debug)]
pub struct Cache {
    memory: Memory,
    database: Database,
}

impl Cache {
    /// A cache as the settings describe it. Opens nothing yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            memory: Memory::new(settings.memory_entries),
            database: Database::new(settings.cache.clone(), settings.cache_entries),
        }
    }

    /// What is known about a domain, expired or not.
    pub fn read(&self, domain: &PolicyDomain, now: UnixTime, deadline: Deadline, log: &dyn Sink) -> Option<Arc<Row>> {
        let remembered = self.memory.get(domain);
        if let Some(entry) = &remembered
            && entry.loaded.elapsed() < MEMORY_TRUST
        {
            return Some(Arc::clone(&entry.row));
        }
        let found = match self.database.read(domain, deadline, log) {
            Ok(found) => found.map(Arc::new),
            Err(problem) => {
                log.line(Level::Error, &format!("{problem}; policies are kept in memory only"));
                // Before anything counts as not cached, the file is read as it lies there.
                let as_it_lies = || self.database.read_as_it_lies(domain).map(Arc::new);
                let (row, stored_in) = match remembered {
                    Some(entry) => (entry.row, entry.stored_in),
                    None => (as_it_lies()?, self.database.number()),
                };
                self.memory.put(domain, &row, stored_in);
                return Some(row);
            }
        };
        let database = self.database.number();
        // What memory has and this very database once had, but has no longer, was purged.
        let only_here = remembered.filter(|entry| entry.stored_in != database).map(|entry| entry.row);
        match (found, only_here) {
            (Some(found), Some(only_here)) if only_here.is_newer_than(&found) => {
                self.store_policy(domain, only_here, now, deadline, log)
            }
            (Some(found), _) => {
                self.memory.put(domain, &found, database);
                Some(found)
            }
            (None, Some(only_here)) => self.store_policy(domain, only_here, now, deadline, log),
            (None, None) => {
                self.memory.remove(domain);
                None
            }
        }
    }

    /// Keeps a row whose policy is to be in the database, and returns what is known then: another process may have
    /// stored a newer policy meanwhile, which stays.
    pub fn store_policy(
        &self,
        domain: &PolicyDomain,
        row: Arc<Row>,
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Option<Arc<Row>> {
        match self.database.store_policy(domain, &row, now, deadline, log) {
            Ok(true) => self.memory.put(domain, &row, self.database.number()),
            Ok(false) => {
                self.memory.remove(domain);
                return self.database.read(domain, deadline, log).ok().flatten().map(Arc::new).or(Some(row));
            }
            Err(problem) => {
                self.memory.put(domain, &row, None);
                log.line(Level::Error, &format!("{problem}; policies are kept in memory only"));
            }
        }
        Some(row)
    }

    /// Keeps what a check has found, next to whatever policy the database has meanwhile.
    pub fn store_check(&self, domain: &PolicyDomain, row: Arc<Row>, now: UnixTime, deadline: Deadline, log: &dyn Sink) {
        let stored = self.database.store_check(domain, &row, now, deadline, log);
        let database = self.database.number();
        // A policy that this database has not must not be left behind by a check that it does take.
        let is_only_here = self.memory.get(domain).is_some_and(|entry| entry.stored_in != database);
        if stored.is_ok() && is_only_here && row.policy.is_some() {
            self.store_policy(domain, row, now, deadline, log);
            return;
        }
        self.memory.put(domain, &row, database.filter(|_| stored.is_ok()));
        if let Err(problem) = stored {
            log.line(Level::Error, &format!("{problem}; policies are kept in memory only"));
        }
    }

    /// Closes the database; the next use opens it again.
    pub fn close(&self) {
        self.database.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use std::path::Path;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Sink for Lines {
        fn line(&self, _: Level, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    fn domain(name: &str) -> PolicyDomain {
        PolicyDomain::parse(name.as_bytes()).unwrap()
    }

    fn deadline() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn row(mode: Option<&str>, max_age: u64) -> Row {
        let body = mode.map(|mode| format!("version: STSv1\nmode: {mode}\nmx: mx.example\nmax_age: {max_age}\n"));
        let stored = body.map(|body| Arc::new(StoredPolicy::new("a1", body.as_bytes(), NOW).unwrap()));
        let check = Check { at: NOW, until: NOW.plus(60), reason: Reason::Fetched };
        Row { policy: stored, check, refresh_at: NOW.plus(1000), failures: Vec::new() }
    }

    fn cache(path: &Path, entries: u64) -> Cache {
        Cache::new(&Settings { cache: path.to_owned(), cache_entries: entries, ..Settings::default() })
    }

    #[test]
    fn a_row_survives_a_restart_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        let lines = Lines::default();
        cache(&path, 100).store_policy(
            &domain("a.example"),
            Arc::new(row(Some("enforce"), 500)),
            NOW,
            deadline(),
            &lines,
        );
        cache(&path, 100).store_check(&domain("b.example"), Arc::new(row(None, 0)), NOW, deadline(), &lines);
        let fresh = cache(&path, 100);
        let read = |name: &str| fresh.read(&domain(name), NOW, deadline(), &lines).map(|row| (*row).clone());
        assert_eq!(read("a.example"), Some(row(Some("enforce"), 500)));
        assert_eq!(read("b.example"), Some(row(None, 0)));
        assert_eq!(read("c.example"), None);
        assert!(lines.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_check_leaves_the_policy_that_another_process_has_stored_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        let lines = Lines::default();
        let (mine, other) = (cache(&path, 100), cache(&path, 100));
        other.store_policy(&domain("a.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        mine.store_check(&domain("a.example"), Arc::new(row(None, 0)), NOW, deadline(), &lines);
        let found = cache(&path, 100).read(&domain("a.example"), NOW, deadline(), &lines).unwrap();
        assert!(found.policy.is_some());
    }

    #[test]
    fn what_the_disk_did_not_take_is_kept_in_memory_and_stored_when_the_disk_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later").join("cache.db");
        let lines = Lines::default();
        let cache = cache(&path, 100);
        cache.store_policy(&domain("a.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        assert!(cache.read(&domain("a.example"), NOW, deadline(), &lines).unwrap().policy.is_some());
        assert!(lines.0.lock().unwrap().iter().any(|line| line.contains("install -d -m 0750")));
        std::fs::create_dir(directory.path().join("later")).unwrap();
        cache.store_check(&domain("a.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        let fresh = super::tests::cache(&path, 100);
        assert!(fresh.read(&domain("a.example"), NOW, deadline(), &lines).unwrap().policy.is_some());
    }

    #[test]
    fn made_up_domains_push_out_each_other_and_never_an_enforced_policy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        let lines = Lines::default();
        let cache = cache(&path, 20);
        for n in 0..15 {
            let name = domain(&format!("enforce{n}.example"));
            cache.store_policy(&name, Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        }
        cache.store_policy(&domain("testing.example"), Arc::new(row(Some("testing"), 500)), NOW, deadline(), &lines);
        for n in 0..50 {
            cache.store_check(&domain(&format!("made-up{n}.example")), Arc::new(row(None, 0)), NOW, deadline(), &lines);
        }
        let count = || {
            let connection = rusqlite::Connection::open(&path).unwrap();
            let count = |which: &str| {
                let sql = format!("SELECT count(*) FROM domain WHERE {which}");
                connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
            };
            (count("mode = 2"), count("mode = 1"), count("1"))
        };
        assert_eq!(count(), (15, 1, 20));
        assert!(lines.0.lock().unwrap().is_empty());
        for n in 0..10 {
            let name = domain(&format!("more{n}.example"));
            cache.store_policy(&name, Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        }
        assert_eq!(count(), (20, 0, 20));
        assert!(lines.0.lock().unwrap().iter().any(|line| line.contains("raise cache_entries")), "loudly");
    }

    #[test]
    fn garbage_is_moved_aside_and_the_files_of_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        let lines = Lines::default();
        std::fs::write(&path, "no database at all, but long enough to look at".repeat(50)).unwrap();
        cache(&path, 100).store_policy(
            &domain("a.example"),
            Arc::new(row(Some("enforce"), 500)),
            NOW,
            deadline(),
            &lines,
        );
        assert!(cache(&path, 100).read(&domain("a.example"), NOW, deadline(), &lines).is_some());
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().any(|name| name.to_string_lossy().starts_with("cache.db.damaged-")), "{names:?}");
        assert_eq!(lines.0.lock().unwrap().len(), 1);

        let foreign = directory.path().join("foreign.db");
        let newer = directory.path().join("newer.db");
        rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        std::fs::copy(&path, &newer).unwrap();
        rusqlite::Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        for (path, want) in [(foreign, "another program"), (newer, "newer libmtasts")] {
            let before = std::fs::read(&path).unwrap();
            let cache = cache(&path, 100);
            cache.store_policy(&domain("a.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
            assert!(cache.read(&domain("a.example"), NOW, deadline(), &lines).is_some(), "memory has it");
            assert_eq!(std::fs::read(&path).unwrap(), before);
            assert!(lines.0.lock().unwrap().iter().any(|line| line.contains(want)), "{want}");
        }
    }

    fn damage(path: &Path) {
        std::fs::write(path, "no database at all".repeat(500)).unwrap();
    }

    /// As if the process had not looked at the database for a while.
    fn let_memory_age(cache: &Cache, name: &str) {
        let entry = cache.memory.get(&domain(name)).unwrap();
        cache.memory.put_loaded(&domain(name), entry, std::time::Instant::now().checked_sub(MEMORY_TRUST * 2).unwrap());
    }

    #[test]
    fn damage_to_the_file_takes_nothing_from_memory_which_fills_the_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        let lines = Lines::default();
        let mine = cache(&path, 100);
        mine.store_policy(&domain("a.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        mine.store_policy(&domain("b.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        damage(&path);
        mine.store_check(&domain("b.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        let_memory_age(&mine, "a.example");
        assert!(mine.read(&domain("a.example"), NOW, deadline(), &lines).unwrap().policy.is_some());
        for name in ["a.example", "b.example"] {
            let found = cache(&path, 100).read(&domain(name), NOW, deadline(), &lines).unwrap();
            assert!(found.policy.is_some(), "{name}");
        }
    }

    #[test]
    fn what_another_process_purges_is_gone_here_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        let lines = Lines::default();
        let mine = cache(&path, 100);
        mine.store_policy(&domain("a.example"), Arc::new(row(Some("enforce"), 500)), NOW, deadline(), &lines);
        rusqlite::Connection::open(&path).unwrap().execute_batch("DELETE FROM domain").unwrap();
        let_memory_age(&mine, "a.example");
        assert_eq!(mine.read(&domain("a.example"), NOW, deadline(), &lines), None);
    }

    #[test]
    fn an_unsaved_answer_gives_way_to_the_policy_of_another_process_and_never_replaces_a_later_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        let lines = Lines::default();
        let other = cache(&path, 100);
        other.store_check(&domain("z.example"), Arc::new(row(None, 0)), NOW, deadline(), &lines);
        let mine = cache(&path, 100);
        let lock = rusqlite::Connection::open(&path).unwrap();
        lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let soon = Deadline::after(Duration::from_millis(20));
        mine.store_policy(&domain("a.example"), Arc::new(row(Some("none"), 500)), NOW, soon, &lines);
        lock.execute_batch("COMMIT").unwrap();
        let later = NOW.plus(100);
        let mut newer = row(Some("enforce"), 500);
        let body = newer.policy.as_ref().unwrap().body.to_vec();
        newer.policy = Some(Arc::new(StoredPolicy::new("a2", &body, later).unwrap()));
        other.store_policy(&domain("a.example"), Arc::new(newer), later, deadline(), &lines);
        mine.store_check(&domain("a.example"), Arc::new(row(Some("none"), 500)), later, deadline(), &lines);
        let id = |cache: &Cache| cache.read(&domain("a.example"), later, deadline(), &lines).unwrap().policy.clone();
        assert_eq!(&*id(&mine).unwrap().id, "a2");
        assert_eq!(&*id(&super::tests::cache(&path, 100)).unwrap().id, "a2");
    }

    #[test]
    fn many_processes_on_one_damaged_file_move_it_aside_once_and_create_one_database() {
        for _ in 0..10 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("cache.db");
            damage(&path);
            let lines = Lines::default();
            std::thread::scope(|scope| {
                for n in 0..4 {
                    let (path, lines) = (&path, &lines);
                    scope.spawn(move || {
                        let cache = cache(path, 100);
                        let name = domain(&format!("d{n}.example"));
                        cache.store_policy(&name, Arc::new(row(Some("enforce"), 500)), NOW, deadline(), lines);
                    });
                }
            });
            let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let aside = names.filter(|name| name.to_string_lossy().contains("damaged")).count();
            assert_eq!(aside, 1, "{:?}", lines.0.lock().unwrap());
            for n in 0..4 {
                let found = cache(&path, 100).read(&domain(&format!("d{n}.example")), NOW, deadline(), &lines);
                assert!(found.is_some(), "{n}: {:?}", lines.0.lock().unwrap());
            }
        }
    }
}
