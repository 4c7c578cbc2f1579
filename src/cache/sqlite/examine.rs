//! A look at the database that changes nothing: no file is made, renewed or moved aside.

use super::{Trouble, open, schema};
use crate::time::UnixTime;
use rusqlite::{Connection, MAIN_DB, OpenFlags};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// What a database holds, and whether it can be used by whoever looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Whether this process may only read it.
    pub is_read_only: bool,
    /// The first damage that SQLite finds; none also where there was no time to look at all of it.
    pub damage: Option<String>,
    /// Whether there was time to look at all of it.
    pub is_complete: bool,
    /// Policies that have not expired.
    pub policies: u64,
    /// When a policy was last fetched.
    pub last_fetch: Option<UnixTime>,
    /// The policies that should have been fetched anew before the moment that was asked about.
    pub overdue: u64,
    /// A domain with a policy: the one that was fetched last.
    pub domain: Option<String>,
}

/// Examines the database at `path`. `overdue_since`: what should have been fetched anew before that is overdue. `limit`:
/// after so long the search for damage is given up; nobody can write meanwhile. The error says why it cannot be used.
pub fn examine(path: &Path, now: UnixTime, overdue_since: UnixTime, limit: Duration) -> Result<Examined, String> {
    look(path, now, overdue_since, limit).map_err(|trouble| match trouble {
        Trouble::Busy => "another program holds it locked".to_owned(),
        Trouble::Damaged(problem) => format!("is damaged: {problem}"),
        Trouble::Unfit(problem) => format!("has not the tables of a cache: {problem}"),
        Trouble::Other(problem) => problem,
    })
}

fn look(path: &Path, now: UnixTime, overdue_since: UnixTime, limit: Duration) -> Result<Examined, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // No host forks here meanwhile.
    connection.busy_timeout(limit)?;
    open::distrust(&connection)?;
    let has_tables = schema::has_tables(&connection)?;
    let is_read_only = connection.is_readonly(MAIN_DB)?;
    if !has_tables {
        return Ok(Examined { is_read_only, is_complete: true, ..Examined::default() });
    }
    let number = |sql: &str, values: &[i64]| -> rusqlite::Result<Option<i64>> {
        connection.query_row(sql, rusqlite::params_from_iter(values), |row| row.get(0))
    };
    let count = |found: Option<i64>| found.and_then(|found| u64::try_from(found).ok()).unwrap_or(0);
    let alive = "FROM domain WHERE body IS NOT NULL AND expires_at >= ?1";
    let policies = count(number(&format!("SELECT count(*) {alive}"), &[now.0])?);
    let late = format!("SELECT count(*) {alive} AND refresh_at < ?2");
    let overdue = count(number(&late, &[now.0, overdue_since.0])?);
    let last_fetch = number("SELECT max(fetched_at) FROM domain WHERE body IS NOT NULL", &[])?.map(UnixTime);
    let newest = "SELECT name FROM domain WHERE body IS NOT NULL ORDER BY fetched_at DESC LIMIT 1";
    let domain = connection.query_row(newest, [], |row| row.get(0)).ok();
    let (damage, is_complete) = match damage(&connection, limit) {
        Ok(damage) => (damage, true),
        Err(_) => (None, false),
    };
    Ok(Examined { is_read_only, damage, is_complete, policies, last_fetch, overdue, domain })
}

/// The first damage that SQLite finds. An error if it takes longer than `limit`.
fn damage(connection: &Connection, limit: Duration) -> rusqlite::Result<Option<String>> {
    let interrupt = connection.get_interrupt_handle();
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                interrupt.interrupt();
            }
        });
        let found: rusqlite::Result<String> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        drop(done);
        found.map(|found| Some(found).filter(|found| found != "ok"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Database;
    use super::*;
    use crate::sys::log::{Level, Sink};
    use crate::time::Deadline;
    use std::fs;

    const SECOND: Duration = Duration::from_secs(1);

    fn examined(path: &Path) -> Result<Examined, String> {
        examine(path, UnixTime(1_000), UnixTime(500), SECOND)
    }

    #[test]
    fn policies_are_counted_and_nothing_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        fs::write(&path, "").unwrap();
        assert_eq!(examined(&path).unwrap(), Examined { is_complete: true, ..Examined::default() });
        assert_eq!(fs::metadata(&path).unwrap().len(), 0, "no tables are made");
        fs::remove_file(&path).unwrap();

        let database = Database::new(path.clone(), 10);
        let deadline = Deadline::after(SECOND * 10);
        database.look_for_changes(deadline, &Silent).unwrap();
        let connection = Connection::open(&path).unwrap();
        for (name, fetched, expires, refresh) in
            [("old.test", 10, 999, 20), ("late.test", 20, 1_000, 499), ("new.test", 30, 2_000, 500)]
        {
            let row = format!(
                "INSERT INTO domain VALUES ('{name}', 'a', x'00', {fetched}, {expires}, 2, 0, 0, 0, {refresh}, '', NULL)"
            );
            connection.execute(&row, []).unwrap();
        }
        let found = examined(&path).unwrap();
        assert_eq!((found.policies, found.overdue, found.last_fetch), (2, 1, Some(UnixTime(30))));
        assert_eq!((found.domain.as_deref(), found.damage, found.is_complete), (Some("new.test"), None, true));
        assert!(!found.is_read_only);
    }

    #[test]
    fn what_is_no_cache_is_said_and_left_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        fs::write(&path, vec![b'x'; 4096]).unwrap();
        assert!(examined(&path).unwrap_err().contains("is damaged"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
        assert!(examined(&path).unwrap_err().contains("of another program"));
        assert!(examined(&directory.path().join("none.db")).is_err());
        assert!(!directory.path().join("none.db").exists());
    }

    struct Silent;

    impl Sink for Silent {
        fn line(&self, _: Level, _: &str) {}
    }
}
