//! What is done to the file as a whole, in steps that each hold its lock for some milliseconds.
//!
//! Each step has a connection of its own and takes the file as it is: none is created, renewed, moved aside or begun anew
//! because somebody has looked at it. Only an import creates the file, and renews one of an older version.

use super::open::{open_existing, prepare_to_write};
use super::rows::{Name, delete, select, select_named, select_page, upsert_policy};
use super::{BUSY_PAUSE, Database, Trouble, schema};
use crate::cache::row::Row;
use crate::syntax::PolicyDomain;
use crate::sys::files;
use crate::sys::log::Sink;
use crate::time::{Deadline, UnixTime};
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// A page has at most so many rows, and about so many bytes.
const PAGE: (usize, usize) = (256, 1 << 20);

impl Database {
    /// The next rows by name, or by name backward; an empty page is the end.
    pub fn page(
        &self,
        after: Option<&Name>,
        is_backward: bool,
        deadline: Deadline,
    ) -> Result<Vec<(Name, Row)>, String> {
        self.look(deadline, |connection| select_page(connection, after, is_backward, PAGE))
            .map(Option::unwrap_or_default)
    }

    /// The rows of some domains, at one moment of the file.
    pub fn find(&self, domains: &[PolicyDomain], deadline: Deadline) -> Result<Vec<Option<Row>>, String> {
        let found = self.look(deadline, |connection| {
            domains.iter().map(|domain| select(connection, domain)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(found.unwrap_or_else(|| vec![None; domains.len()]))
    }

    /// Removes the rows with these names that still are as they should be to go; returns those that went.
    pub fn remove(
        &self,
        names: &[Name],
        goes: impl Fn(&Row) -> bool,
        deadline: Deadline,
    ) -> Result<Vec<(Name, Row)>, String> {
        let removed = self.step(deadline, |connection| {
            prepare_to_write(connection)?;
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            let mut removed = Vec::new();
            let work = || {
                for name in names {
                    if let Some(row) = select_named(&transaction, name)?.filter(&goes) {
                        delete(&transaction, name)?;
                        removed.push((name.clone(), row));
                    }
                }
                Ok(())
            };
            schema::read_any(&transaction, work)?;
            // A file that is still empty stays so.
            if !removed.is_empty() {
                transaction.commit()?;
            }
            Ok(removed)
        })?;
        removed.ok_or_else(|| self.missing())
    }

    /// Stores the rows that `takes` lets pass when it sees what the file has about the domain. Returns for each whether it
    /// was taken, and whether there was room for it.
    pub fn insert<V>(
        &self,
        rows: &[(PolicyDomain, Row)],
        takes: impl Fn(Option<&Row>, &Row) -> (bool, V),
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<Vec<(V, bool)>, String> {
        if !files::is_there(&self.path)? {
            self.look_for_changes(deadline, log)?;
        }
        let done = self.step(deadline, |connection| {
            prepare_to_write(connection)?;
            schema::check(connection)?;
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            let mut done = Vec::new();
            for (domain, row) in rows {
                let (is_taken, verdict) = takes(select(&transaction, domain)?.as_ref(), row);
                let has_room = !is_taken || self.insert_one(&transaction, domain, row, now)?;
                done.push((verdict, has_room));
            }
            transaction.commit()?;
            Ok(done)
        })?;
        done.ok_or_else(|| self.missing())
    }

    fn insert_one(
        &self,
        transaction: &Transaction<'_>,
        domain: &PolicyDomain,
        row: &Row,
        now: UnixTime,
    ) -> rusqlite::Result<bool> {
        let count = schema::row_count(transaction)?;
        upsert_policy(transaction, domain, row)?;
        schema::make_room(transaction, domain.as_str(), count, self.max_rows, now)
    }

    /// Whether there is a file, which is not opened.
    pub fn is_there(&self) -> Result<bool, String> {
        files::is_there(&self.path)
    }

    /// How many bytes the file has.
    pub fn size(&self) -> Option<u64> {
        files::size(&self.path)
    }

    /// Reads at one moment of the file; none where that has no tables yet.
    fn look<T>(
        &self,
        deadline: Deadline,
        work: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, String> {
        let looked = self.step(deadline, |connection| schema::read_any(connection, || work(connection)))?;
        looked.ok_or_else(|| self.missing())
    }

    /// Runs one short piece of work on the file that is there; none where there is no file. A lock of another program is
    /// waited for outside of all guards.
    fn step<T>(
        &self,
        deadline: Deadline,
        work: impl Fn(&Connection) -> Result<T, Trouble>,
    ) -> Result<Option<T>, String> {
        loop {
            let outcome = self.opened.with(|_| match open_existing(&self.path)? {
                Some(connection) => work(&connection).map(Some),
                None => Ok(None),
            });
            match outcome {
                None => return Err(self.say("not usable in a process that was forked in the middle of a call")),
                Some(Ok(done)) => return Ok(done),
                Some(Err(Trouble::Busy)) if !deadline.has_passed() => {
                    std::thread::sleep(BUSY_PAUSE.min(deadline.remaining()));
                }
                Some(Err(trouble)) => return Err(self.advise(trouble)),
            }
        }
    }

    fn missing(&self) -> String {
        self.say("does not exist; the first lookup makes it, or `mtasts cache import`")
    }

    /// The trouble, and what helps.
    fn advise(&self, trouble: Trouble) -> String {
        let problem = match trouble {
            Trouble::Busy => "another program holds it locked; try again when that has ended".to_owned(),
            Trouble::Damaged(problem) | Trouble::Unfit(problem) => format!(
                "is damaged ({problem}); the next lookup moves it aside and begins a new one, which `mtasts cache import` \
                 fills from an export"
            ),
            Trouble::Other(problem) => problem,
        };
        let problem = self.say(&problem);
        match files::other_owner(&self.path) {
            Some(owner) if owner == "root" => format!("{problem}; run this as root"),
            Some(owner) => format!("{problem}; run this as {owner} or as root"),
            None => problem,
        }
    }
}
