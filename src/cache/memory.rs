//! The rows that this process has seen, bounded in number.

use super::row::Row;
use crate::syntax::PolicyDomain;
use crate::sys::fork::ForkSafe;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
pub struct Memory {
    capacity: usize,
    entries: ForkSafe<HashMap<PolicyDomain, Entry>>,
}

/// One remembered row.
#[derive(Clone, Debug)]
pub struct Entry {
    pub row: Arc<Row>,
    /// When it was read from or written to the database.
    pub loaded: Instant,
    /// The database did not take it: memory is the only place where it is.
    pub is_unsaved: bool,
}

impl Memory {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: ForkSafe::new(HashMap::new()) }
    }

    pub fn get(&self, domain: &PolicyDomain) -> Option<Entry> {
        self.entries.with(|entries| entries.get(domain).cloned()).flatten()
    }

    pub fn put(&self, domain: &PolicyDomain, row: &Arc<Row>, is_unsaved: bool) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry { row: Arc::clone(row), loaded: Instant::now(), is_unsaved };
        self.entries.with(|entries| {
            if entries.len() >= self.capacity && !entries.contains_key(domain) {
                make_room(entries);
            }
            entries.insert(domain.clone(), entry);
        });
    }

    pub fn remove(&self, domain: &PolicyDomain) {
        self.entries.with(|entries| entries.remove(domain));
    }
}

/// Drops an eighth of the entries: first such as the database has or as hold no policy.
fn make_room(entries: &mut HashMap<PolicyDomain, Entry>) {
    let mut surplus = (entries.len() / 8).max(1);
    let mut drop_where = |is_dispensable: fn(&Entry) -> bool| {
        entries.retain(|_, entry| {
            let goes = surplus > 0 && is_dispensable(entry);
            surplus = surplus.saturating_sub(usize::from(goes));
            !goes
        });
    };
    drop_where(|entry| !entry.is_unsaved || entry.row.policy.is_none());
    drop_where(|_| true);
}

#[cfg(test)]
mod tests {
    use super::super::row::Check;
    use super::*;
    use crate::reason::Reason;
    use crate::time::UnixTime;

    #[test]
    fn memory_stays_within_its_bound() {
        let memory = Memory::new(16);
        let check = Check { at: UnixTime(1), until: UnixTime(2), reason: Reason::NoRecord };
        let row = Arc::new(Row { policy: None, check, refresh_at: UnixTime(0), failures: Vec::new() });
        for n in 0..1000 {
            memory.put(&PolicyDomain::parse(format!("d{n}.example").as_bytes()).unwrap(), &row, n % 2 == 0);
        }
        let count = memory.entries.with(|entries| entries.len()).unwrap();
        assert!((8..=16).contains(&count), "{count}");
    }
}
