//! What is known about domains: in memory in front, in SQLite behind.
//!
//! Memory is asked first and believed for [`MEMORY_TRUST`], so that what another process stores is seen soon. A
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
    pub fn read(&self, domain: &PolicyDomain, deadline: Deadline, log: &dyn Sink) -> Option<Arc<Row>> {
        let remembered = self.memory.get(domain);
        if let Some(entry) = &remembered
            && (entry.is_unsaved || entry.loaded.elapsed() < MEMORY_TRUST)
        {
            return Some(Arc::clone(&entry.row));
        }
        match self.database.read(domain, deadline, log) {
            Ok(Some(row)) => {
                let row = Arc::new(row);
                self.memory.put(domain, &row, false);
                Some(row)
            }
            Ok(None) => {
                self.memory.remove(domain);
                None
            }
            Err(problem) => {
                log.line(Level::Error, &format!("{problem}; policies are kept in memory only"));
                remembered.map(|entry| entry.row)
            }
        }
    }

    /// Keeps a row whose policy has just been fetched.
    pub fn store_policy(&self, domain: &PolicyDomain, row: Row, now: UnixTime, deadline: Deadline, log: &dyn Sink) {
        let outcome = self.database.store_policy(domain, &row, now, deadline, log);
        self.remember(domain, row, outcome, log);
    }

    /// Keeps what a check has found, next to whatever policy the database has meanwhile.
    pub fn store_check(&self, domain: &PolicyDomain, row: Row, now: UnixTime, deadline: Deadline, log: &dyn Sink) {
        let outcome = self.database.store_check(domain, &row, now, deadline, log);
        self.remember(domain, row, outcome, log);
    }

    /// Closes the database; the next use opens it again.
    pub fn close(&self) {
        self.database.close();
    }

    fn remember(&self, domain: &PolicyDomain, row: Row, outcome: Result<(), String>, log: &dyn Sink) {
        let is_unsaved = outcome.is_err();
        self.memory.put(domain, &Arc::new(row), is_unsaved);
        if let Err(problem) = outcome {
            log.line(Level::Error, &format!("{problem}; what is known about {domain} is kept in memory only"));
        }
    }
}
