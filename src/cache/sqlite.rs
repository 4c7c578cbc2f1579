//! The persistent cache: one SQLite file, shared by processes, usable in any state that it may be found in.
//!
//! A rollback journal, not WAL: a WAL file cannot be read on a full or read-only disk, and a truncated -shm file kills
//! the host with SIGBUS (figures in doc/cache.md). SQLite itself never waits for a lock: that would hold up the host's
//! fork(); we wait outside, against the deadline.

mod examine;
mod open;
mod rows;
mod schema;
mod upkeep;

use super::memory::NO_EDITION;
use super::row::Row;
use crate::syntax::PolicyDomain;
use crate::sys::files::{self, Identity};
use crate::sys::fork::{self, ForkSafe, Work};
use crate::sys::log::{Level, Sink};
use crate::sys::sqlite::Refusal;
use crate::time::{Clock, Deadline, SystemClock, UnixTime};
pub use examine::{Examined, examine};
use open::Opened;
pub use rows::Name;
use rows::{has_later_policy, select, select_due, update_check, upsert_check, upsert_policy};
use rusqlite::{ErrorCode, Transaction, TransactionBehavior};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest wait for another program that holds the database.
const BUSY_LIMIT: Duration = Duration::from_millis(1500);
/// So often another file may take the place of ours before we give up.
const FEW: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// The database file of one context.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    max_rows: u64,
    opened: ForkSafe<Option<Opened>>,
    /// The number of the file that was last in use; 0 before the first.
    number: AtomicU64,
    /// Counts how often the content was found changed by others, from 1.
    edition: AtomicU64,
    /// Counts what this process has written.
    writes: AtomicU64,
}

/// The moment of the file to which a row belongs.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Which file it was.
    pub file: u64,
    /// By what others have written; [`NO_EDITION`] if that is not known.
    pub edition: u64,
    writes: u64,
}

/// Why an operation on the database did not come about.
enum Trouble {
    /// Another program holds a lock.
    Busy,
    /// The file is not a database, or is damaged.
    Damaged(String),
    /// The statements do not fit the tables: the file has been replaced or emptied in place, or its schema is damaged.
    Unfit(String),
    /// All else, in a sentence.
    Other(String),
}

/// Why it cannot be told whether the database has a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// A thread that is gone was at work on the disk when this process was forked: there is no database here.
    Torn,
    /// There is a file, and no descriptor or memory to read it with.
    Starved,
    /// It is broken, forbidden or not there. That lasts, and no stranger brings it about.
    Other,
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Starved => Self::Starved,
            Refusal::Other => Self::Other,
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        // A fault in SQL has a variant of its own with some versions of SQLite, and the code beneath it with all of them.
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<rusqlite::ffi::Error>());
        match cause.map(|cause| cause.code) {
            // No file is to blame for a SQLite that does not understand us.
            _ if error.to_string().contains("syntax error") => Self::Other(error.to_string()),
            Some(ErrorCode::Unknown | ErrorCode::ConstraintViolation) => Self::Unfit(error.to_string()),
            None if matches!(error, rusqlite::Error::QueryReturnedNoRows) => Self::Unfit(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Database {
    pub fn new(path: PathBuf, max_rows: u64) -> Self {
        Self {
            path,
            max_rows,
            opened: ForkSafe::new(Work::Disk, || None),
            number: AtomicU64::new(0),
            edition: AtomicU64::new(1),
            writes: AtomicU64::new(0),
        }
    }

    /// Tells one file from another that has taken its place; none before the first use.
    pub fn number(&self) -> Option<u64> {
        Some(self.number.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }

    /// Which state of the content was last looked at.
    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// Whether this process has written nothing since the moment of a stamp.
    pub fn is_latest(&self, stamp: Stamp) -> bool {
        self.writes.load(Ordering::Acquire) == stamp.writes
    }

    /// Counts a new edition if others have changed the content since the last look, or if that cannot be told.
    pub fn look_for_changes(&self, deadline: Deadline, log: &dyn Sink) -> Result<(), String> {
        self.run(deadline, log, |opened| {
            schema::read(opened.for_reading(), || opened.count_changes(&self.edition))?;
            Ok(())
        })
    }

    pub fn read(
        &self,
        domain: &PolicyDomain,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<(Option<Row>, Stamp), String> {
        self.run(deadline, log, |opened| {
            let connection = opened.for_reading();
            schema::read(connection, || {
                // A process that asks a single question need not know of changes.
                let edition = match opened.is_first_use() {
                    true => NO_EDITION,
                    false => opened.count_changes(&self.edition)?,
                };
                let stamp = Stamp { file: opened.number(), edition, writes: self.writes.load(Ordering::Acquire) };
                Ok((select(connection, domain)?, stamp))
            })
        })
    }

    /// The domains whose policy is to be fetched anew, the least recently tried first; at most `limit` of those that
    /// have been due longest. `latest`: a plan for a later time than this was made under a wrong clock.
    pub fn due(
        &self,
        now: UnixTime,
        latest: UnixTime,
        limit: u32,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<Vec<PolicyDomain>, String> {
        let mut due = self.run(deadline, log, |opened| {
            let connection = opened.for_reading();
            schema::read(connection, || select_due(connection, now, latest, limit))
        })?;
        due.sort_by_key(|(tried_at, _)| *tried_at);
        Ok(due.into_iter().map(|(_, domain)| domain).collect())
    }

    /// Reads a row without locks and without the journal, for when nothing else works.
    pub fn read_as_it_lies(&self, domain: &PolicyDomain) -> Result<Option<Row>, Unread> {
        let read = || open::read_immutable(&self.path, |connection| select(connection, domain));
        let unread = match self.opened.with(|_| read()) {
            Some(Ok(found)) => return Ok(found),
            Some(Err(Unread::Other)) if !files::can_open() => Unread::Starved,
            Some(Err(unread)) => unread,
            None => Unread::Torn,
        };
        // Where there is no file, nothing is hidden.
        Err(if files::identity(&self.path).is_some() { unread } else { Unread::Other })
    }

    /// Stores the policy unless the database has one that was fetched later; returns whether it was stored.
    pub fn store_policy(
        &self,
        domain: &PolicyDomain,
        row: &Row,
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<(bool, Stamp), String> {
        let ((is_stored, has_room), stamp) = self.write(deadline, log, |transaction| {
            let count = schema::row_count(transaction)?;
            let is_newest = !has_later_policy(transaction, domain, row, now)?;
            if is_newest {
                upsert_policy(transaction, domain, row)?;
            }
            Ok((is_newest, schema::make_room(transaction, domain.as_str(), count, self.max_rows, now)?))
        })?;
        if has_room { Ok((is_stored, stamp)) } else { Err(self.full()) }
    }

    /// Stores a check beside the policy that it concerns; returns whether the file has that policy, or none if there is to
    /// be none.
    pub fn store_check(
        &self,
        domain: &PolicyDomain,
        row: &Row,
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<(bool, Stamp), String> {
        self.write(deadline, log, |transaction| match &row.policy {
            Some(stored) => update_check(transaction, domain, row, stored),
            None => {
                let count = schema::row_count(transaction)?;
                upsert_check(transaction, domain, row)?;
                // Should another process have stored a policy, that stays.
                let has_policy = select(transaction, domain)?.is_some_and(|row| row.policy.is_some());
                schema::make_room(transaction, domain.as_str(), count, self.max_rows, now)?;
                Ok(!has_policy)
            }
        })
    }

    pub fn close(&self) {
        let opened = self.opened.with(Option::take).flatten();
        if let Some(opened) = opened {
            self.opened.with(|_| opened.dispose(&self.path));
        }
    }

    fn full(&self) -> String {
        format!(
            "cache {}: full with {} enforced policies that have not expired; raise cache_entries",
            self.path.display(),
            self.max_rows
        )
    }

    fn write<T>(
        &self,
        deadline: Deadline,
        log: &dyn Sink,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Stamp), String> {
        self.run(deadline, log, |opened| {
            let transaction = Transaction::new_unchecked(opened.for_writing()?, TransactionBehavior::Immediate)?;
            let edition = opened.count_changes(&self.edition)?;
            let value = schema::read(&transaction, || work(&transaction))?;
            transaction.commit()?;
            let writes = self.writes.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
            Ok((value, Stamp { file: opened.number(), edition, writes }))
        })
    }

    /// Runs one short piece of work on the open database. A lock of another program is waited for outside of all
    /// guards; a damaged file is moved aside, once, and the work is done on a new one.
    fn run<T>(
        &self,
        deadline: Deadline,
        log: &dyn Sink,
        work: impl Fn(&Opened) -> Result<T, Trouble>,
    ) -> Result<T, String> {
        let began = Instant::now();
        let mut has_moved = false;
        let mut has_reopened = false;
        let mut replaced: u32 = 0;
        loop {
            let outcome = self.opened.with(|opened| {
                let mut seen = None;
                let done = open::ensure(opened, &self.path, &mut seen).and_then(&work);
                if let Some(identity) = &seen {
                    self.number.store(identity.number(), Ordering::Relaxed);
                }
                done.map_err(|trouble| (trouble, seen))
            });
            match outcome {
                None => return Err(self.say("not usable in a process that was forked in the middle of a call")),
                Some(Ok(value)) => return Ok(value),
                Some(Err((Trouble::Busy, _))) => {
                    if began.elapsed() >= BUSY_LIMIT || deadline.has_passed() {
                        return Err(self.say("another program holds it locked"));
                    }
                    std::thread::sleep(BUSY_PAUSE.min(deadline.remaining()));
                }
                Some(Err((Trouble::Unfit(_), Some(_)))) if !has_reopened => {
                    has_reopened = true;
                    self.close();
                }
                Some(Err((Trouble::Damaged(problem) | Trouble::Unfit(problem), Some(seen)))) if !has_moved => {
                    has_moved = self.move_aside(seen, &problem, log)?;
                    if !has_moved && (began.elapsed() >= BUSY_LIMIT || deadline.has_passed()) {
                        return Err(
                            self.say(&format!("is damaged ({problem}), and another program holds its directory"))
                        );
                    }
                    std::thread::sleep(BUSY_PAUSE.min(deadline.remaining()));
                }
                // The file was replaced under our hands: what went wrong says nothing of the new one.
                Some(Err((_, seen))) if seen.is_some() && files::identity(&self.path) != seen && replaced < FEW => {
                    replaced = replaced.saturating_add(1);
                }
                Some(Err((Trouble::Damaged(problem) | Trouble::Unfit(problem) | Trouble::Other(problem), _))) => {
                    return Err(self.say(&problem));
                }
            }
        }
    }

    /// Returns false if another process is just at it.
    fn move_aside(&self, damaged: Identity, problem: &str, log: &dyn Sink) -> Result<bool, String> {
        let stamp = SystemClock.now().0;
        let moved = self.opened.with(|opened| {
            if let Some(opened) = opened.take() {
                opened.dispose(&self.path);
            }
            files::move_aside(&self.path, damaged, stamp)
        });
        match moved {
            None | Some(Ok(None)) => Ok(true),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Some(Ok(Some(aside))) => {
                let line = self.say(&format!("is damaged ({problem}); it is kept as {}", aside.display()));
                log.line(Level::Error, &format!("{line}, remembered policies are lost"));
                Ok(true)
            }
            Some(Err(error)) => Err(self.say(&format!("is damaged ({problem}) and cannot be moved aside: {error}"))),
        }
    }

    fn say(&self, problem: &str) -> String {
        if problem.starts_with("cache ") { problem.to_owned() } else { files::describe(&self.path, problem) }
    }
}
