//! What is known about domains: in memory in front, in SQLite behind.
//!
//! Memory is asked first. Every five seconds of use one look tells whether another process has changed the database; only
//! then is a row read again, when it is next asked for. A database that cannot be used costs a log line and never an
//! answer: memory then stands alone. Nothing here decides whether a policy applies; it keeps what discovery says and
//! gives it back unchanged.

mod census;
mod lock;
mod memory;
mod row;
mod sqlite;
mod upkeep;

pub use crate::sys::files::{Space, space};
pub use census::Census;
pub use lock::{Turn, Whose};
pub use row::{Check, Failure, Row, StoredPolicy};
pub use sqlite::{Examined, Unread, examine};
pub use upkeep::{Filter, Imported, Order, Upkeep};

use crate::config::Settings;
use crate::syntax::PolicyDomain;
use crate::sys::clock;
use crate::sys::log::{Level, Sink};
use crate::time::{Deadline, UnixTime};
use lock::Turns;
use memory::{Entry, Memory, State};
use sqlite::{Database, Stamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long memory answers without a look at the database, in milliseconds.
const MEMORY_TRUST: u64 = 5_000;
/// How long until the next look where one has failed.
const LOOK_AGAIN: u64 = 500;

/// At most so many domains are found due at once.
const MOST_DUE: u32 = 10_000;

/// A row, and where it is kept.
#[derive(Clone, Debug)]
pub struct Known {
    /// What is known.
    pub row: Arc<Row>,
    /// Which database file has it; none if it is in memory only.
    pub stored_in: Option<u64>,
}

/// The memory of one context.
#[derive(Debug)]
pub struct Cache {
    memory: Memory,
    database: Database,
    /// When the database was last looked at for changes, in milliseconds of the monotonic clock.
    looked_at: AtomicU64,
    turns: Turns,
}

impl Cache {
    /// A cache as the settings describe it. Opens nothing yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            memory: Memory::new(settings.memory_entries),
            database: Database::new(settings.cache.clone(), settings.cache_entries),
            looked_at: AtomicU64::new(0),
            turns: Turns::new(&settings.cache),
        }
    }

    /// Lets `look` see the row of a domain that memory has, if it is known to be what the database has: without
    /// a system call. It must be brief, and must not come back here.
    pub fn glance<R>(&self, domain: &PolicyDomain, look: impl Fn(&Row) -> R) -> Option<R> {
        let now = clock::monotonic_milliseconds();
        let is_recent = |moment: u64| now.saturating_sub(moment) < MEMORY_TRUST;
        let known_edition = is_recent(self.looked_at.load(Ordering::Acquire)).then(|| self.database.edition());
        let is_current = |entry: &Entry| {
            is_recent(entry.loaded) || entry.stored_in.is_some() && known_edition == Some(entry.edition)
        };
        self.memory.look(domain, |entry| is_current(entry).then(|| look(&entry.row))).flatten()
    }

    /// What is known about a domain, expired or not. What another process has just stored may be missing.
    pub fn read(&self, domain: &PolicyDomain, now: UnixTime, deadline: Deadline, log: &dyn Sink) -> Option<Known> {
        self.try_read(domain, now, deadline, log).unwrap_or_default()
    }

    /// The same; the error says why that cannot be told.
    pub fn try_read(
        &self,
        domain: &PolicyDomain,
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<Option<Known>, Unread> {
        self.read_within(MEMORY_TRUST, domain, now, deadline, log)
    }

    /// The same, with all that other processes have stored.
    pub fn read_afresh(
        &self,
        domain: &PolicyDomain,
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<Option<Known>, Unread> {
        self.read_within(0, domain, now, deadline, log)
    }

    fn read_within(
        &self,
        memory_trust: u64,
        domain: &PolicyDomain,
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<Option<Known>, Unread> {
        let remembered = self.memory.get(domain);
        let is_current = remembered
            .as_ref()
            .is_some_and(|entry| memory_trust > 0 && self.is_current(entry, memory_trust, deadline, log));
        let remembered = remembered.map(|entry| Known { row: Arc::new(entry.row), stored_in: entry.stored_in });
        if is_current {
            return Ok(remembered);
        }
        let (found, stamp) = match self.database.read(domain, deadline, log) {
            Ok((found, stamp)) => (found.map(Arc::new), stamp),
            Err(problem) => {
                tell_trouble(&problem, log);
                // Before anything counts as not cached, the file is read as it lies there.
                let known = match remembered {
                    Some(known) => known,
                    None => {
                        let row = Arc::new(self.database.read_as_it_lies(domain)?.ok_or(Unread::Other)?);
                        Known { row, stored_in: self.database.number() }
                    }
                };
                self.memory.put(domain, &known.row, known.stored_in, now, || State::Unknown);
                return Ok(Some(known));
            }
        };
        let stored_in = Some(stamp.file);
        // What memory has and this very database once had, but has no longer, was purged.
        let only_here = remembered.filter(|known| known.stored_in != stored_in && known.row.policy.is_some());
        Ok(match (found, only_here) {
            (Some(found), Some(only_here)) if only_here.row.has_later_policy_than(&found, now) => {
                Some(self.store_policy(domain, only_here.row, now, deadline, log))
            }
            (Some(row), _) => {
                self.memory.put(domain, &row, stored_in, now, || self.state_read(stamp));
                Some(Known { row, stored_in })
            }
            (None, Some(only_here)) => Some(self.store_policy(domain, only_here.row, now, deadline, log)),
            (None, None) => {
                self.memory.forget(domain);
                None
            }
        })
    }

    /// Whether a row in memory is what the database has, as far as that must be known.
    fn is_current(&self, entry: &Entry, trust: u64, deadline: Deadline, log: &dyn Sink) -> bool {
        let now = clock::monotonic_milliseconds();
        if now.saturating_sub(entry.loaded) < trust {
            return true;
        }
        // What is nowhere but here is to be stored.
        entry.stored_in.is_some() && entry.edition == self.recent_edition(now, trust, deadline, log)
    }

    /// The state of the database, as it was at most `trust` before `now`.
    fn recent_edition(&self, now: u64, trust: u64, deadline: Deadline, log: &dyn Sink) -> u64 {
        if now.saturating_sub(self.looked_at.load(Ordering::Acquire)) >= trust {
            let looked = self.database.look_for_changes(deadline, log);
            let looked_at = if looked.is_ok() { now } else { now.saturating_sub(trust).saturating_add(LOOK_AGAIN) };
            if let Err(problem) = looked {
                tell_trouble(&problem, log);
            }
            self.looked_at.store(looked_at, Ordering::Release);
        }
        self.database.edition()
    }

    /// Keeps a row whose policy is to be in the database, and returns what is known then: another process may have
    /// stored a later policy meanwhile, which stays.
    pub fn store_policy(
        &self,
        domain: &PolicyDomain,
        row: Arc<Row>,
        now: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Known {
        let stored = self.database.store_policy(domain, &row, now, deadline, log);
        match stored {
            Ok((true, stamp)) => {
                let stored_in = Some(stamp.file);
                self.memory.put(domain, &row, stored_in, now, || self.state_written(stamp));
                Known { row, stored_in }
            }
            Ok((false, stamp)) => {
                let later = self.database.read(domain, deadline, log).ok();
                let (row, stamp, is_read) = match later {
                    Some((Some(later), stamp)) => (Arc::new(later), stamp, true),
                    _ => (row, stamp, false),
                };
                let stored_in = Some(stamp.file);
                let state = || if is_read { self.state_read(stamp) } else { State::Unknown };
                self.memory.put(domain, &row, stored_in, now, state);
                Known { row, stored_in }
            }
            Err(problem) => {
                self.memory.put(domain, &row, None, now, || State::Unknown);
                tell_trouble(&problem, log);
                Known { row, stored_in: None }
            }
        }
    }

    /// Keeps what a check of `known` has found. It concerns the policy of `known` and touches no other; with a policy
    /// that was purged meanwhile the check is forgotten.
    pub fn store_check(&self, domain: &PolicyDomain, known: &Known, now: UnixTime, deadline: Deadline, log: &dyn Sink) {
        let stored = self.database.store_check(domain, &known.row, now, deadline, log);
        match stored {
            Ok((true, stamp)) => {
                self.memory.put(domain, &known.row, Some(stamp.file), now, || self.state_written(stamp));
            }
            // The policy was purged; or there is one although none was known, which is read when it is next asked for.
            Ok((false, stamp)) if known.stored_in == Some(stamp.file) || known.row.policy.is_none() => {
                self.memory.forget(domain);
            }
            // The file is another one than that which had the policy, or none ever had it.
            Ok((false, _)) => drop(self.store_policy(domain, Arc::clone(&known.row), now, deadline, log)),
            Err(problem) => {
                self.memory.put(domain, &known.row, known.stored_in, now, || State::Unknown);
                tell_trouble(&problem, log);
            }
        }
    }

    /// The state of a row that was read: older, perhaps, than what another thread has written meanwhile.
    fn state_read(&self, stamp: Stamp) -> State {
        if self.database.is_latest(stamp) { State::Of(stamp.edition) } else { State::Overtaken }
    }

    /// The state of a row that was written: no longer, perhaps, what the database has.
    fn state_written(&self, stamp: Stamp) -> State {
        if self.database.is_latest(stamp) { State::Of(stamp.edition) } else { State::Unknown }
    }

    /// Queues up for being the one who asks about a domain. `None` where that cannot be arranged.
    pub fn queue(&self, domain: &PolicyDomain) -> Option<Turn> {
        self.turns.queue(domain)
    }

    /// The domains whose policy is due to be fetched anew, the least recently tried first. `latest`: no plan reaches
    /// further. The error says why the database cannot be read.
    pub fn due(
        &self,
        now: UnixTime,
        latest: UnixTime,
        deadline: Deadline,
        log: &dyn Sink,
    ) -> Result<Vec<PolicyDomain>, String> {
        self.database.due(now, latest, MOST_DUE, deadline, log)
    }

    /// Closes the database; the next use opens it again.
    pub fn close(&self) {
        self.database.close();
    }
}

fn tell_trouble(problem: &str, log: &dyn Sink) {
    log.line(Level::Error, &format!("{problem}; policies are kept in memory only"));
}

#[cfg(test)]
mod tests;
