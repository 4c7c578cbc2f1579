//! Opens the database file: normally, or as it lies there when that is all that can be done.

use super::{Trouble, Unread, fork, schema};
use crate::sys::files::{self, Identity, identity};
use crate::sys::sqlite;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use std::cell::Cell;
use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// More bytes than any row of ours has: the memory of a host is not for whoever makes up a larger one.
const LARGEST_ROW: i32 = 1 << 20;

/// An open database and what tells whether it may still be used.
#[derive(Debug)]
pub struct Opened {
    connection: Connection,
    /// Whether the connection has the settings that matter when it writes.
    is_ready_to_write: Cell<bool>,
    generation: u64,
    identity: Identity,
    /// Whether the file had a write-ahead log when it was opened.
    had_log: bool,
    /// SQLite's count of the changes by others, when it was last asked for.
    data_version: Cell<Option<i64>>,
    is_used: Cell<bool>,
}

impl Opened {
    /// The connection for one who only reads.
    pub fn for_reading(&self) -> &Connection {
        &self.connection
    }

    /// The connection for one who writes. Most processes never do.
    pub fn for_writing(&self) -> Result<&Connection, Trouble> {
        if !self.is_ready_to_write.get() {
            prepare_to_write(&self.connection)?;
            self.is_ready_to_write.set(true);
        }
        Ok(&self.connection)
    }

    /// Tells this file from others.
    pub fn number(&self) -> u64 {
        self.identity.number()
    }

    /// Whether nothing has been asked through this connection yet.
    pub fn is_first_use(&self) -> bool {
        !self.is_used.replace(true)
    }

    /// Counts a new edition if others have changed the file since the last look through this connection; returns which
    /// one it is. To be called where a lock keeps others from changing it.
    pub fn count_changes(&self, edition: &AtomicU64) -> rusqlite::Result<u64> {
        let version = self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.data_version.get() != Some(version) {
            // First, so that no failure on the way loses it.
            edition.fetch_add(1, Ordering::AcqRel);
            self.data_version.set(Some(version));
        }
        self.is_used.set(true);
        Ok(edition.load(Ordering::Acquire))
    }

    /// Closes the connection. One of the process that forked this one was idle at the fork: a child that caught it at work
    /// does not come here. With a rollback journal it then holds no lock and nothing to be written, and closing it closes
    /// its descriptor and frees memory. With a write-ahead log it would write to the file behind the parent's back, so
    /// that the child lets it lie.
    pub fn dispose(self, path: &Path) {
        let is_own = self.generation == fork::generation();
        if is_own || !(self.had_log || files::has_write_ahead_log(path)) {
            drop(self.connection);
        } else {
            std::mem::forget(self.connection);
        }
    }
}

/// The file that lies at `path` now, opened by this process. `seen` takes which file that is, also
/// when it cannot be opened.
pub fn ensure<'a>(
    opened: &'a mut Option<Opened>,
    path: &Path,
    seen: &mut Option<Identity>,
) -> Result<&'a Opened, Trouble> {
    *seen = identity(path);
    let has_log = files::has_write_ahead_log(path);
    let is_usable = |opened: &Opened| opened.generation == fork::generation() && Some(opened.identity) == *seen;
    if has_log || !opened.as_ref().is_some_and(is_usable) {
        if let Some(stale) = opened.take() {
            stale.dispose(path);
        }
        files::prepare(path).map_err(Trouble::Other)?;
        *seen = identity(path);
        // Another process is just moving a damaged file away: it is done in a moment.
        let identity = seen.ok_or(Trouble::Busy)?;
        *opened = Some(open(path, has_log, identity)?);
    }
    opened.as_ref().ok_or_else(|| Trouble::Other("is not open".to_owned()))
}

/// Runs one query on the file without locks and without its journal.
pub fn read_immutable<T>(path: &Path, query: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Unread> {
    // The same conditions hold as for normal use: no link, no directory that others may write to.
    files::prepare(path).map_err(|_| Unread::Other)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let name = CString::new(uri(path)).map_err(|_| Unread::Other)?;
    let connection = sqlite::open(&name, flags)?;
    distrust(&connection).and_then(|()| query(&connection)).map_err(|error| sqlite::refusal(&connection, &error).into())
}

/// A connection of its own to the file at `path`, for one step of upkeep; none where there is no file. It must be gone
/// before the step ends.
pub fn open_existing(path: &Path) -> Result<Option<Connection>, Trouble> {
    if !files::is_there(path).map_err(Trouble::Other)? {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    distrust(&connection)?;
    // Should the file be in WAL mode, nothing of it is mapped into memory.
    set(&connection, "locking_mode", "EXCLUSIVE")?;
    Ok(Some(connection))
}

/// `has_log`: a program has switched the file to WAL.
fn open(path: &Path, has_log: bool, identity: Identity) -> Result<Opened, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    distrust(&connection)?;
    if has_log {
        // Without this SQLite maps the -shm file, and the host dies of SIGBUS when somebody truncates that.
        set(&connection, "locking_mode", "EXCLUSIVE")?;
    }
    let has_rollback_journal = schema::check_with_journal(&connection)?;
    connection.set_prepared_statement_cache_capacity(16);
    let opened = Opened {
        connection,
        is_ready_to_write: Cell::new(false),
        generation: fork::generation(),
        identity,
        had_log: has_log,
        data_version: Cell::new(None),
        is_used: Cell::new(false),
    };
    if has_log || !has_rollback_journal {
        opened.for_writing()?;
    }
    if has_log {
        set(&opened.connection, "locking_mode", "NORMAL")?;
        // The next access is what gives the lock back.
        schema::check(&opened.connection)?;
    }
    Ok(opened)
}

/// Chooses the journal, and that a commit waits for the disk.
pub fn prepare_to_write(connection: &Connection) -> rusqlite::Result<()> {
    // TRUNCATE keeps the journal file, which saves creating and deleting it with every write. FULL waits for the
    // disk: a policy that was learnt is the memory that an attacker cannot forge, so that it outlives a power cut.
    set(connection, "journal_mode", "TRUNCATE")?;
    connection.pragma_update(None, "synchronous", "FULL")
}

fn set(connection: &Connection, pragma: &str, value: &str) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, pragma, value, |_| Ok(()))
}

/// The file belongs to the mail user, and the host may be root: nothing that stands in it is executed or taken for true
/// without need.
pub fn distrust(connection: &Connection) -> rusqlite::Result<()> {
    // Triggers and indexes of the file call no function that could do harm, and no statement rewrites the schema.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST_ROW)?;
    // A mapped file that somebody truncates ends the host with SIGBUS; some systems build SQLite to map files.
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(())).or_else(no_row_is_no_error)?;
    // No file in /tmp.
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// A SQLite that was built without mapping says nothing of it.
fn no_row_is_no_error(error: rusqlite::Error) -> rusqlite::Result<()> {
    if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) }
}

/// A file URI with every byte escaped that SQLite would read as something else.
fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_smuggle_parameters_into_the_uri() {
        assert_eq!(uri(Path::new("/a b?c=1#%/d.db")), "file:/a%20b%3fc%3d1%23%25/d.db?mode=ro&immutable=1");
    }

    #[test]
    fn an_open_file_is_distrusted_and_a_commit_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        files::prepare(&path).unwrap();
        let pragma = |connection: &Connection, name: &str| {
            connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap()
        };
        let distrusts = |connection: &Connection| {
            assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).unwrap());
            for (name, want) in [("trusted_schema", 0), ("cell_size_check", 1), ("mmap_size", 0), ("temp_store", 2)] {
                assert_eq!(pragma(connection, name), want.into(), "{name}");
            }
            assert!(connection.limit(Limit::SQLITE_LIMIT_LENGTH).unwrap() < 10_000_000);
        };
        // The first one begins the file, the second one finds it.
        for _ in 0..2 {
            let opened = open(&path, false, identity(&path).unwrap()).unwrap_or_else(|_| panic!("it opens"));
            distrusts(opened.for_reading());
            let connection = opened.for_writing().unwrap_or_else(|_| panic!("it can be written"));
            assert_eq!(pragma(connection, "synchronous"), 2.into());
            assert_eq!(pragma(connection, "journal_mode"), "truncate".to_owned().into());
        }
        read_immutable(&path, |connection| {
            distrusts(connection);
            Ok(())
        })
        .unwrap();
    }
}
