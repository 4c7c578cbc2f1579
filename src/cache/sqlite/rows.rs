//! The statements on rows: what is read, what is written, and what a column may be found to hold.

use super::super::row::{Check, Row, StoredPolicy, is_id, is_later, trusted_time};
use crate::reason::Reason;
use crate::syntax::{Mode, PolicyDomain};
use crate::time::UnixTime;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Transaction, ffi, params};
use std::sync::Arc;

macro_rules! select_row {
    ($shortened_to:literal, $which:literal) => {
        concat!(
            "SELECT id, body, fetched_at, ",
            $shortened_to,
            ", checked_at, checked_until, check_reason, refresh_at, failures, name FROM domain WHERE ",
            $which
        )
    };
}

/// A statement that reads rows.
macro_rules! prepare_select {
    ($connection:expr, $which:literal) => {
        // A file of version 1 that cannot be written, and so cannot be renewed, is still read.
        $connection
            .prepare_cached(select_row!("shortened_to", $which))
            .or_else(|error| $connection.prepare_cached(select_row!("NULL", $which)).map_err(|_| error))
    };
}

/// The row of a domain.
pub fn select(connection: &Connection, domain: &PolicyDomain) -> rusqlite::Result<Option<Row>> {
    select_named(connection, &domain.as_str())
}

/// The row under a name, whatever that is.
pub fn select_named(connection: &Connection, name: &dyn ToSql) -> rusqlite::Result<Option<Row>> {
    let mut statement = prepare_select!(connection, "name = ?1")?;
    statement.query_row([name], |columns| Ok(to_row(columns))).optional()
}

/// The next rows by name, from the first one or from behind `after`, and each with its name: at most `limit`, and no more
/// once they have `bytes` bytes.
pub fn select_page(
    connection: &Connection,
    after: Option<&Name>,
    is_backward: bool,
    (limit, bytes): (usize, usize),
) -> rusqlite::Result<Vec<(Name, Row)>> {
    let mut statement = match (after, is_backward) {
        (None, false) => prepare_select!(connection, "?1 IS NULL ORDER BY name"),
        (None, true) => prepare_select!(connection, "?1 IS NULL ORDER BY name DESC"),
        (Some(_), false) => prepare_select!(connection, "name > ?1 ORDER BY name"),
        (Some(_), true) => prepare_select!(connection, "name < ?1 ORDER BY name DESC"),
    }?;
    let mut rows = statement.query([after])?;
    let mut page: Vec<(Name, Row)> = Vec::new();
    let mut size: usize = 0;
    while page.len() < limit && size < bytes {
        let Some(columns) = rows.next()? else { break };
        let name = Name::of(columns.get_ref(9)?)?;
        let before = page.last().map(|(name, _)| name).or(after);
        // A damaged tree may lead in circles.
        if before.is_some_and(|before| if is_backward { name >= *before } else { name <= *before }) {
            return Err(damaged());
        }
        let row = to_row(columns);
        size = size.saturating_add(row.size());
        page.push((name, row));
    }
    Ok(page)
}

/// Removes the row under a name.
pub fn delete(transaction: &Transaction<'_>, name: &Name) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM domain WHERE name = ?1")?.execute([name]).map(drop)
}

/// The key of a row as it stands in the file, which anybody may have written who has the mail user's rights. In the order
/// in which SQLite has such keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// What libmtasts writes.
    Text(Vec<u8>),
    /// What it does not.
    Blob(Vec<u8>),
}

impl Name {
    fn of(value: ValueRef<'_>) -> rusqlite::Result<Self> {
        match value {
            ValueRef::Text(text) => Ok(Self::Text(text.to_vec())),
            ValueRef::Blob(blob) => Ok(Self::Blob(blob.to_vec())),
            _ => Err(damaged()),
        }
    }

    /// The domain, if it is the name of one in the only form in which a lookup finds it.
    pub fn domain(&self) -> Option<PolicyDomain> {
        let Self::Text(text) = self else { return None };
        PolicyDomain::parse(text).ok().filter(|domain| domain.as_str().as_bytes() == text)
    }
}

impl From<&PolicyDomain> for Name {
    fn from(domain: &PolicyDomain) -> Self {
        Self::Text(domain.as_str().into())
    }
}

impl ToSql for Name {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

fn damaged() -> rusqlite::Error {
    let text = "the keys of its rows are not in order".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(text))
}

/// Damage that SQLite cannot see costs no more than the value that it hit: a column that holds nothing of its kind counts
/// as 0 or as empty, which makes the policy be fetched again.
fn to_row(columns: &rusqlite::Row<'_>) -> Row {
    let value = |at: usize| columns.get_ref(at).unwrap_or(ValueRef::Null);
    let number = |at: usize| value(at).as_i64().ok();
    let text = |at: usize| value(at).as_str().ok();
    let body = value(1).as_bytes_or_null().ok().flatten();
    let policy = body.zip(number(2)).and_then(|(body, fetched_at)| {
        let id = text(0).filter(|id| is_id(id)).unwrap_or_default();
        let stored = StoredPolicy::new(id, body, UnixTime(fetched_at)).ok()?;
        let expires_at = number(3).map_or(stored.expires_at, UnixTime);
        Some(Arc::new(StoredPolicy { expires_at, ..stored }))
    });
    // Where there is no policy to be read although there was one, no check counts.
    let is_damaged = policy.is_none() && [0, 1, 2].into_iter().any(|at| value(at) != ValueRef::Null);
    let check = Check {
        at: UnixTime(number(4).unwrap_or_default()),
        until: UnixTime(number(5).filter(|_| !is_damaged).unwrap_or_default()),
        reason: number(6).and_then(Reason::from_code).unwrap_or(Reason::NoRecord),
    };
    Row {
        policy,
        check,
        refresh_at: UnixTime(number(7).unwrap_or_default()),
        failures: Row::failures_from_text(text(8).unwrap_or_default()),
    }
}

/// The policies that are due for a refresh, each with the time of the last try.
pub fn select_due(
    connection: &Connection,
    now: UnixTime,
    latest: UnixTime,
    limit: u32,
) -> rusqlite::Result<Vec<(UnixTime, PolicyDomain)>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, fetched_at, failures FROM domain
         WHERE body IS NOT NULL AND expires_at >= ?1 AND (refresh_at <= ?1 OR refresh_at > ?2)
         ORDER BY refresh_at LIMIT ?3",
    )?;
    let rows = statement.query_map(params![now.0, latest.0, limit], |columns| {
        let name = columns.get_ref(0)?.as_bytes().unwrap_or_default();
        let fetched_at = columns.get_ref(1)?.as_i64().unwrap_or_default();
        let failures = Row::failures_from_text(columns.get_ref(2)?.as_str().unwrap_or_default());
        let failed_at = failures.into_iter().map(|failure| failure.at);
        let tries = failed_at.chain([UnixTime(fetched_at)]).map(|at| trusted_time(at, now));
        let tried_at = tries.max().unwrap_or(now);
        // The file may have been written by anybody who has the mail user's rights: a name is looked at again.
        Ok(PolicyDomain::parse(name).ok().map(|domain| (tried_at, domain)))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// Whether another process has stored a policy that was fetched later. One from the future was written under a wrong
/// clock and does not count.
pub fn has_later_policy(
    transaction: &Transaction<'_>,
    domain: &PolicyDomain,
    row: &Row,
    now: UnixTime,
) -> rusqlite::Result<bool> {
    let Some(stored) = &row.policy else { return Ok(false) };
    let mut statement = transaction.prepare_cached("SELECT fetched_at FROM domain WHERE name = ?1")?;
    let known: Option<Option<i64>> =
        statement.query_row(params![domain.as_str()], |columns| Ok(columns.get_ref(0)?.as_i64().ok())).optional()?;
    Ok(known.flatten().is_some_and(|at| is_later(UnixTime(at), stored.fetched_at, now)))
}

/// Writes a row with its policy, in place of what the file has about the domain.
pub fn upsert_policy(transaction: &Transaction<'_>, domain: &PolicyDomain, row: &Row) -> rusqlite::Result<()> {
    let Some(stored) = &row.policy else { return upsert_check(transaction, domain, row) };
    let mode = match stored.policy.mode() {
        Mode::None => 0,
        Mode::Testing => 1,
        Mode::Enforce => 2,
    };
    transaction
        .prepare_cached(
            "INSERT INTO domain (name, id, body, fetched_at, expires_at, mode,
                                 checked_at, checked_until, check_reason, refresh_at, failures, shortened_to)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (name) DO UPDATE SET
                 id = excluded.id, body = excluded.body, fetched_at = excluded.fetched_at,
                 expires_at = excluded.expires_at, mode = excluded.mode, checked_at = excluded.checked_at,
                 checked_until = excluded.checked_until, check_reason = excluded.check_reason,
                 refresh_at = excluded.refresh_at, failures = excluded.failures,
                 shortened_to = excluded.shortened_to",
        )?
        .execute(params![
            domain.as_str(),
            &*stored.id,
            &*stored.body,
            stored.fetched_at.0,
            stored.natural_end().0,
            mode,
            row.check.at.0,
            row.check.until.0,
            row.check.reason as i32,
            row.refresh_at.0,
            row.failures_to_text(),
            stored.shortened_to().map(|end| end.0),
        ])?;
    Ok(())
}

/// For a domain that is not known to have a policy; should another process have stored one, that stays.
pub fn upsert_check(transaction: &Transaction<'_>, domain: &PolicyDomain, row: &Row) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO domain (name, checked_at, checked_until, check_reason, refresh_at, failures)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (name) DO UPDATE SET
                 checked_at = excluded.checked_at, checked_until = excluded.checked_until,
                 check_reason = excluded.check_reason, refresh_at = excluded.refresh_at, failures = excluded.failures",
        )?
        .execute(params![
            domain.as_str(),
            row.check.at.0,
            row.check.until.0,
            row.check.reason as i32,
            row.refresh_at.0,
            row.failures_to_text(),
        ])?;
    Ok(())
}

/// For a domain whose policy was checked; returns whether just that policy is still there.
pub fn update_check(
    transaction: &Transaction<'_>,
    domain: &PolicyDomain,
    row: &Row,
    stored: &StoredPolicy,
) -> rusqlite::Result<bool> {
    let changed = transaction
        .prepare_cached(
            "UPDATE domain SET checked_at = ?4, checked_until = ?5, check_reason = ?6, refresh_at = ?7, failures = ?8,
                               expires_at = ?9, shortened_to = ?10
             WHERE name = ?1 AND id = ?2 AND fetched_at = ?3",
        )?
        .execute(params![
            domain.as_str(),
            &*stored.id,
            stored.fetched_at.0,
            row.check.at.0,
            row.check.until.0,
            row.check.reason as i32,
            row.refresh_at.0,
            row.failures_to_text(),
            stored.natural_end().0,
            stored.shortened_to().map(|end| end.0),
        ])?;
    Ok(changed > 0)
}
