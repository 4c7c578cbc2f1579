//! The tables, their version, and what goes when there are too many rows.

use super::Trouble;
use crate::time::UnixTime;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

/// Marks a file as ours: "STS1" in ASCII.
const APPLICATION_ID: i64 = 0x5354_5331;
/// Counts changes of the tables. A file with a higher one belongs to a newer libmtasts and is left alone.
const VERSION: i64 = 2;

const TABLES: &str = "
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
        failures      TEXT NOT NULL,
        shortened_to  INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX domain_without_policy ON domain (checked_until) WHERE body IS NULL;
    CREATE INDEX domain_with_policy ON domain (expires_at) WHERE body IS NOT NULL;
    CREATE INDEX domain_not_enforced ON domain (expires_at) WHERE body IS NOT NULL AND mode < 2;
    CREATE INDEX domain_to_refresh ON domain (refresh_at) WHERE body IS NOT NULL;
    CREATE TABLE size (row_count INTEGER NOT NULL);
    INSERT INTO size VALUES (0);
    CREATE TRIGGER domain_added AFTER INSERT ON domain BEGIN UPDATE size SET row_count = row_count + 1; END;
    CREATE TRIGGER domain_removed AFTER DELETE ON domain BEGIN UPDATE size SET row_count = row_count - 1; END;
";

/// What makes version 2 of version 1.
const FROM_VERSION_1: &str = "
    ALTER TABLE domain ADD COLUMN shortened_to INTEGER;
    CREATE INDEX IF NOT EXISTS domain_to_refresh ON domain (refresh_at) WHERE body IS NOT NULL;
";

/// What a file is.
#[derive(PartialEq, Eq)]
enum Kind {
    Current,
    /// The same, but another program has switched it to a write-ahead log.
    Logging,
    Old,
    Empty,
}

/// Creates the tables in an empty file and renews those of an older version; refuses a file that is not ours or too new.
pub fn check(connection: &Connection) -> Result<(), Trouble> {
    if matches!(kind(connection)?, Kind::Current | Kind::Logging) {
        return Ok(());
    }
    renew(connection)
}

/// The same; returns whether the file has a rollback journal already.
pub fn check_with_journal(connection: &Connection) -> Result<bool, Trouble> {
    let kind = kind(connection)?;
    if matches!(kind, Kind::Old | Kind::Empty) {
        renew(connection)?;
    }
    Ok(kind == Kind::Current)
}

/// Whether the file has tables of ours, of whatever version; refuses a file that is not ours or too new.
pub fn has_tables(connection: &Connection) -> Result<bool, Trouble> {
    Ok(kind(connection)? != Kind::Empty)
}

fn renew(connection: &Connection) -> Result<(), Trouble> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    match kind(&transaction)? {
        // Another process was faster.
        Kind::Current | Kind::Logging => return Ok(()),
        Kind::Old => transaction.execute_batch(FROM_VERSION_1)?,
        Kind::Empty => transaction.execute_batch(TABLES)?,
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Reads from an open file if it still is what it was when it was opened: it may have been emptied, replaced in place,
/// or renewed by a newer libmtasts. Both looks are at one moment of the file.
pub fn read<T>(connection: &Connection, work: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, Trouble> {
    let mut statement = connection.prepare_cached("PRAGMA user_version")?;
    // As long as these rows are not dropped, their lock stands.
    let mut rows = statement.query([])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    match row.get::<_, i64>(0)? {
        VERSION => Ok(work()?),
        version if version > VERSION => Err(too_new(version)),
        _ => Err(Trouble::Unfit("has lost its tables".to_owned())),
    }
}

/// Reads from a file of any version of ours at one moment of it, and changes nothing; none where it has no tables yet.
pub fn read_any<T>(connection: &Connection, work: impl FnOnce() -> rusqlite::Result<T>) -> Result<Option<T>, Trouble> {
    let _moment = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
    if kind_now(connection)? == Kind::Empty { Ok(None) } else { Ok(Some(work()?)) }
}

fn too_new(version: i64) -> Trouble {
    Trouble::Other(format!(
        "was written by a newer libmtasts (version {version}, this one knows {VERSION}) and is left alone"
    ))
}

/// Looks at one moment of the file: another process may be creating the tables.
fn kind(connection: &Connection) -> Result<Kind, Trouble> {
    let moment = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
    let outcome = kind_now(connection);
    drop(moment);
    outcome
}

fn kind_now(connection: &Connection) -> Result<Kind, Trouble> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION_ID, VERSION) => {
            // Reads the schema too, which the next statement needs: both under one lock.
            let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            return Ok(if journal == "wal" { Kind::Logging } else { Kind::Current });
        }
        (APPLICATION_ID, 1) => return Ok(Kind::Old),
        (APPLICATION_ID, version) if version > VERSION => return Err(too_new(version)),
        (0, 0) => {}
        _ => return Err(Trouble::Other("is a database of another program and is left alone".to_owned())),
    }
    let is_empty: bool = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if is_empty {
        Ok(Kind::Empty)
    } else {
        Err(Trouble::Other("is a database of another program and is left alone".to_owned()))
    }
}

/// Counts the rows without reading them.
pub fn row_count(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    transaction.prepare_cached("SELECT row_count FROM size")?.query_row([], |row| row.get(0))
}

/// An expired policy is kept for so many seconds, lest a clock that was set forward cost it.
const EXPIRED_LIFE: i64 = 7 * 86_400;
/// At most so many rows go at once: a fork of the host waits meanwhile.
const BATCH: i64 = 64;

/// Makes room after the row `written` when there are more than `max_rows`. A few rows go, in this order: rows without a
/// policy, long expired policies, policies that are not enforced, expired ones. When only enforced policies are left, the row just added
/// goes, so that made-up domains never push one out. `count_before`: how many there were before it. Returns whether
/// the row is still there.
pub fn make_room(
    transaction: &Transaction<'_>,
    written: &str,
    count_before: i64,
    max_rows: u64,
    now: UnixTime,
) -> rusqlite::Result<bool> {
    let max_rows = i64::try_from(max_rows).unwrap_or(i64::MAX);
    let count = row_count(transaction)?;
    let surplus = count.saturating_sub(max_rows);
    if surplus <= 0 {
        return Ok(true);
    }
    // A little more than needed, so that not every new row costs a deletion; live policies only as needed.
    let few = surplus.max(max_rows.checked_div(100).unwrap_or(0)).min(BATCH);
    let long_ago = now.0.saturating_sub(EXPIRED_LIFE);
    for (which, limit) in [
        ("body IS NULL ORDER BY checked_until".to_owned(), few),
        (format!("body IS NOT NULL AND expires_at < {long_ago} ORDER BY expires_at"), few),
        ("body IS NOT NULL AND mode < 2 ORDER BY expires_at".to_owned(), surplus.min(BATCH)),
        (format!("body IS NOT NULL AND expires_at < {} ORDER BY expires_at", now.0), surplus.min(BATCH)),
    ] {
        let rows = format!("SELECT name FROM domain WHERE name <> ?1 AND {which} LIMIT {limit}");
        let deleted = transaction.execute(&format!("DELETE FROM domain WHERE name IN ({rows})"), params![written])?;
        if deleted > 0 {
            return Ok(true);
        }
    }
    if count > count_before {
        transaction.execute("DELETE FROM domain WHERE name = ?1", params![written])?;
        return Ok(false);
    }
    Ok(true)
}
