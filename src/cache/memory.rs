//! The rows that this process has seen, bounded in number and in bytes.

use super::row::Row;
use crate::syntax::PolicyDomain;
use crate::sys::clock;
use crate::sys::fork::{ForkSafe, Work};
use crate::time::UnixTime;
use std::collections::HashMap;

/// What a row may take on average. Policies of a few hundred bytes stay far below; made-up ones of 64 KiB do not fill
/// the memory of a host.
const BYTES_PER_ENTRY: usize = 2048;

#[derive(Debug)]
pub struct Memory {
    capacity: usize,
    shelf: ForkSafe<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    entries: HashMap<PolicyDomain, Entry>,
    bytes: usize,
}

/// One remembered row. It lies in the table itself: each pointer on the way to an answer costs a walk to main memory.
#[derive(Clone, Debug)]
pub struct Entry {
    pub row: Row,
    /// When it was read from or written to the database, in milliseconds of the monotonic clock.
    pub loaded: u64,
    /// Of which state of the database it is part.
    pub edition: u64,
    /// Which database it is known to be in; none if it is nowhere but here.
    pub stored_in: Option<u64>,
}

impl Memory {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, shelf: ForkSafe::new(Work::Memory, Shelf::default) }
    }

    pub fn get(&self, domain: &PolicyDomain) -> Option<Entry> {
        self.look(domain, Entry::clone)
    }

    /// Lets `look` see an entry where it lies. It must be brief, and must not come back here.
    pub fn look<R>(&self, domain: &PolicyDomain, look: impl FnOnce(&Entry) -> R) -> Option<R> {
        self.shelf.read(|shelf| shelf.entries.get(domain).map(look)).flatten()
    }

    /// Remembers a row. A later policy that nothing else has stays: another thread has just learnt it.
    pub fn put(&self, domain: &PolicyDomain, row: &Row, edition: u64, stored_in: Option<u64>, now: UnixTime) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry { row: row.clone(), loaded: clock::monotonic_milliseconds(), edition, stored_in };
        let most_bytes = self.capacity.saturating_mul(BYTES_PER_ENTRY);
        self.shelf.with(|shelf| {
            let known = shelf.entries.get(domain);
            if known.is_some_and(|known| known.stored_in.is_none() && known.row.has_later_policy_than(row, now)) {
                return;
            }
            shelf.remove(domain);
            if shelf.entries.len() >= self.capacity || shelf.bytes.saturating_add(row.size()) > most_bytes {
                shelf.make_room();
            }
            shelf.bytes = shelf.bytes.saturating_add(row.size());
            shelf.entries.insert(domain.clone(), entry);
        });
    }

    #[cfg(test)]
    pub fn age(&self) {
        self.shelf.with(|shelf| shelf.entries.values_mut().for_each(|entry| entry.loaded = 0));
    }

    /// Forgets a row that a database has or had. What is only here stays.
    pub fn forget(&self, domain: &PolicyDomain) {
        self.shelf.with(|shelf| {
            if shelf.entries.get(domain).is_some_and(|entry| entry.stored_in.is_some()) {
                shelf.remove(domain);
            }
        });
    }
}

impl Shelf {
    fn remove(&mut self, domain: &PolicyDomain) {
        if let Some(entry) = self.entries.remove(domain) {
            self.bytes = self.bytes.saturating_sub(entry.row.size());
        }
    }

    /// Drops an eighth of entries and bytes: first what the database has or what holds no policy.
    fn make_room(&mut self) {
        let most_entries = self.entries.len().saturating_sub((self.entries.len() / 8).max(1));
        let most_bytes = self.bytes.saturating_sub(self.bytes / 8);
        let mut count = self.entries.len();
        let mut bytes = self.bytes;
        for is_dispensable in [Entry::is_found_elsewhere as fn(&Entry) -> bool, |_| true] {
            self.entries.retain(|_, entry| {
                let goes = (count > most_entries || bytes > most_bytes) && is_dispensable(entry);
                if goes {
                    count = count.saturating_sub(1);
                    bytes = bytes.saturating_sub(entry.row.size());
                }
                !goes
            });
        }
        self.bytes = bytes;
    }
}

impl Entry {
    fn is_found_elsewhere(&self) -> bool {
        self.stored_in.is_some() || self.row.policy.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{Check, StoredPolicy};
    use super::*;
    use crate::reason::Reason;
    use std::sync::Arc;

    fn domain(n: usize) -> PolicyDomain {
        PolicyDomain::parse(format!("d{n}.example").as_bytes()).unwrap()
    }

    fn row(lines: usize) -> Row {
        let check = Check { at: UnixTime(1), until: UnixTime(2), reason: Reason::NoRecord };
        let body = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{}", "mx:a\n".repeat(lines));
        let policy = (lines > 0).then(|| Arc::new(StoredPolicy::new("a1", body.as_bytes(), UnixTime(1)).unwrap()));
        Row { policy, check, refresh_at: UnixTime(0), failures: Vec::new() }
    }

    #[test]
    fn memory_stays_within_its_number_of_entries() {
        let memory = Memory::new(16);
        for n in 0..1000 {
            memory.put(&domain(n), &row(0), 0, (n % 2 == 0).then_some(1), UnixTime(1));
        }
        let count = memory.shelf.with(|shelf| shelf.entries.len()).unwrap();
        assert!((8..=16).contains(&count), "{count}");
    }

    #[test]
    fn memory_stays_within_its_bytes_and_counts_them_right() {
        let memory = Memory::new(1000);
        let large = row(13_000);
        for n in 0..100 {
            memory.put(&domain(n), &large, 0, Some(1), UnixTime(1));
            memory.put(&domain(n), &row(1), 0, Some(1), UnixTime(1));
            memory.put(&domain(n), &large, 0, Some(1), UnixTime(1));
        }
        let (counted, summed) = memory
            .shelf
            .with(|shelf| (shelf.bytes, shelf.entries.values().map(|entry| entry.row.size()).sum::<usize>()))
            .unwrap();
        assert_eq!(counted, summed);
        assert!(counted <= 1000 * BYTES_PER_ENTRY && counted > 0, "{counted}");
    }

    #[test]
    fn what_only_memory_has_goes_last() {
        let memory = Memory::new(16);
        memory.put(&domain(0), &row(1), 0, None, UnixTime(1));
        for n in 1..1000 {
            memory.put(&domain(n), &row(1), 0, Some(1), UnixTime(1));
        }
        assert!(memory.get(&domain(0)).is_some());
    }
}
