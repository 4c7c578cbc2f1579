//! Opens the database file: normally, or as it lies there when that is all that can be done.

use super::{Trouble, fork, schema};
use crate::sys::files::{self, Identity, identity};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// An open database and what tells whether it may still be used.
#[derive(Debug)]
pub struct Opened {
    connection: Connection,
    generation: u64,
    identity: Identity,
}

impl Opened {
    /// Closes the connection, unless it belongs to the process that forked this one: closing it here would undo what
    /// the parent still relies on, so that the child lets it lie.
    pub fn dispose(self) {
        if self.generation == fork::generation() {
            drop(self.connection);
        } else {
            std::mem::forget(self.connection);
        }
    }
}

/// The connection to the file that lies at `path` now, opened by this process. `seen` takes which file that is, also
/// when it cannot be opened.
pub fn ensure<'a>(
    opened: &'a mut Option<Opened>,
    path: &Path,
    seen: &mut Option<Identity>,
) -> Result<&'a Connection, Trouble> {
    *seen = identity(path);
    let is_usable = |opened: &Opened| opened.generation == fork::generation() && Some(opened.identity) == *seen;
    if !opened.as_ref().is_some_and(is_usable) {
        if let Some(stale) = opened.take() {
            stale.dispose();
        }
        files::prepare(path).map_err(Trouble::Other)?;
        *seen = identity(path);
        // Another process is just moving a damaged file away: it is done in a moment.
        let identity = seen.ok_or(Trouble::Busy)?;
        *opened = Some(Opened { connection: open(path)?, generation: fork::generation(), identity });
    }
    opened.as_ref().map(|opened| &opened.connection).ok_or_else(|| Trouble::Other("is not open".to_owned()))
}

/// Runs one query on the file without locks and without its journal.
pub fn read_immutable<T>(path: &Path, query: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, String> {
    // The same conditions hold as for normal use: no link, no directory that others may write to.
    files::prepare(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(path), flags).map_err(|error| error.to_string())?;
    query(&connection).map_err(|error| error.to_string())
}

fn open(path: &Path) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    schema::check(&connection)?;
    // TRUNCATE keeps the journal file, which saves creating and deleting it with every write. FULL waits for the
    // disk: a policy that was learnt is the memory that an attacker cannot forge, so that it outlives a power cut.
    connection.pragma_update_and_check(None, "journal_mode", "TRUNCATE", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
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
}
