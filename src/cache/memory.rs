//! The rows that this process has seen, bounded in number and in bytes.

use super::row::Row;
use crate::syntax::PolicyDomain;
use crate::sys::clock;
use crate::sys::fork::{self, ForkSafe, Work};
use crate::time::UnixTime;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What no database ever is at.
pub const NO_EDITION: u64 = 0;
/// What a row may take on average. Policies of a few hundred bytes stay far below; made-up ones of 64 KiB do not fill
/// the memory of a host.
const BYTES_PER_ENTRY: usize = 2048;

/// So many shelves at most, each with a lock of its own: two threads seldom meet.
const SHELVES: usize = 64;
/// Fewer entries than this for each are not worth a shelf.
const FEW: usize = 64;

#[derive(Debug)]
pub struct Memory {
    capacity: usize,
    shelves: Box<[ForkSafe<Shelf>]>,
    /// What is on all shelves together.
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// In which generation counting began.
    counted_from: AtomicU64,
}

#[derive(Debug, Default)]
struct Shelf {
    entries: HashMap<PolicyDomain, Entry>,
}

/// One remembered row. It lies in the table itself: each pointer on the way to an answer costs a walk to main memory.
#[derive(Clone, Debug)]
pub struct Entry {
    pub row: Row,
    /// When it was read from or written to the database, in milliseconds of the monotonic clock.
    pub loaded: u64,
    /// Of which state of the database it is; [`NO_EDITION`] if that is not known.
    pub edition: u64,
    /// Which database it is known to be in; none if it is nowhere but here.
    pub stored_in: Option<u64>,
}

/// Of which state of the database a row is that is to be remembered.
pub enum State {
    /// Of this edition.
    Of(u64),
    /// Nobody knows.
    Unknown,
    /// Perhaps of an older one than what is remembered already, which stays.
    Overtaken,
}

impl Memory {
    pub fn new(capacity: usize) -> Self {
        let shelves = (capacity / FEW).clamp(1, SHELVES);
        Self {
            capacity,
            shelves: (0..shelves).map(|_| ForkSafe::new(Work::Memory, Shelf::default)).collect(),
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            counted_from: AtomicU64::new(fork::memory_torn_in()),
        }
    }

    pub fn get(&self, domain: &PolicyDomain) -> Option<Entry> {
        self.look(domain, Entry::clone)
    }

    /// Lets `look` see an entry where it lies. It must be brief, and must not come back here.
    pub fn look<R>(&self, domain: &PolicyDomain, look: impl FnOnce(&Entry) -> R) -> Option<R> {
        self.shelf(domain)?.with(|shelf| shelf.entries.get(domain).map(look)).flatten()
    }

    /// Remembers a row. A later policy that nothing else has stays: another thread has just learnt it. `state` is asked
    /// while nobody else is at the entry.
    pub fn put(
        &self,
        domain: &PolicyDomain,
        row: &Row,
        stored_in: Option<u64>,
        now: UnixTime,
        state: impl FnOnce() -> State,
    ) {
        if row.size() > self.capacity.saturating_mul(BYTES_PER_ENTRY) {
            return self.forget(domain);
        }
        self.count_anew_if_torn();
        let Some(shelf) = self.shelf(domain) else { return };
        shelf.with(|shelf| {
            let known = shelf.entries.get(domain);
            let has_later = known.is_some_and(|known| known.row.has_later_policy_than(row, now));
            if has_later && known.is_some_and(|known| known.stored_in.is_none()) {
                return;
            }
            let edition = match (state(), known) {
                (State::Of(edition), _) => edition,
                (State::Overtaken, Some(_)) => return,
                (State::Unknown, _) if has_later => return,
                (State::Overtaken | State::Unknown, _) => NO_EDITION,
            };
            self.remove(shelf, domain);
            self.make_room(shelf, row.size());
            if self.has_room(row.size()) {
                self.count.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(row.size(), Ordering::Relaxed);
                let entry = Entry { row: row.clone(), loaded: clock::monotonic_milliseconds(), edition, stored_in };
                shelf.entries.insert(domain.clone(), entry);
            }
        });
    }

    #[cfg(test)]
    pub fn age(&self) {
        for shelf in &self.shelves {
            shelf.with(|shelf| shelf.entries.values_mut().for_each(|entry| entry.loaded = 0));
        }
    }

    /// Forgets a row that a database has or had. What is only here stays.
    pub fn forget(&self, domain: &PolicyDomain) {
        let Some(shelf) = self.shelf(domain) else { return };
        shelf.with(|shelf| {
            if shelf.entries.get(domain).is_some_and(|entry| entry.stored_in.is_some()) {
                self.remove(shelf, domain);
            }
        });
    }

    /// Where a domain belongs. Names that meet on one shelf wait for each other and suffer nothing else.
    fn shelf(&self, domain: &PolicyDomain) -> Option<&ForkSafe<Shelf>> {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |sum: u64, byte: &u8| sum.rotate_left(5) ^ u64::from(*byte);
        let sum = domain.as_str().as_bytes().iter().fold(0, mix).wrapping_mul(ODD);
        self.shelves.get(usize::try_from(sum >> 32).unwrap_or(0).checked_rem(self.shelves.len())?)
    }

    fn has_room(&self, size: usize) -> bool {
        let most_bytes = self.capacity.saturating_mul(BYTES_PER_ENTRY);
        self.count.load(Ordering::Relaxed) < self.capacity
            && self.bytes.load(Ordering::Relaxed).saturating_add(size) <= most_bytes
    }

    fn remove(&self, shelf: &mut Shelf, domain: &PolicyDomain) {
        if let Some(entry) = shelf.entries.remove(domain) {
            self.uncount(&entry);
        }
    }

    fn uncount(&self, entry: &Entry) {
        let less = |by: usize| move |count: usize| Some(count.saturating_sub(by));
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(1));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(entry.row.size()));
    }

    /// Drops an eighth of a shelf if there is no room, more if that is not enough: first what the database has or what
    /// holds no policy.
    fn make_room(&self, shelf: &mut Shelf, size: usize) {
        if self.has_room(size) {
            return;
        }
        let mut surplus = (shelf.entries.len() / 8).max(1);
        for is_dispensable in [Entry::is_found_elsewhere as fn(&Entry) -> bool, |_| true] {
            shelf.entries.retain(|_, entry| {
                let goes = (surplus > 0 || !self.has_room(size)) && is_dispensable(entry);
                if goes {
                    surplus = surplus.saturating_sub(1);
                    self.uncount(entry);
                }
                !goes
            });
            // What nothing else has goes only where it must.
            surplus = 0;
        }
    }

    /// In a child whose memory began anew nothing is on the shelves that was counted.
    fn count_anew_if_torn(&self) {
        let torn_in = fork::memory_torn_in();
        if self.counted_from.swap(torn_in, Ordering::Relaxed) != torn_in {
            self.count.store(0, Ordering::Relaxed);
            self.bytes.store(0, Ordering::Relaxed);
        }
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

    /// Number and bytes of what is on the shelves.
    fn sums(memory: &Memory) -> (usize, usize) {
        let sum = |(count, bytes): (usize, usize), shelf: &ForkSafe<Shelf>| {
            let more = shelf.with(|shelf| shelf.entries.values().map(|entry| entry.row.size()).sum::<usize>()).unwrap();
            (count + shelf.with(|shelf| shelf.entries.len()).unwrap(), bytes + more)
        };
        memory.shelves.iter().fold((0, 0), sum)
    }

    #[test]
    fn memory_stays_within_its_number_of_entries() {
        for capacity in [0, 1, 16, 1000, 5000] {
            let memory = Memory::new(capacity);
            for n in 0..3 * capacity {
                memory.put(&domain(n), &row(0), (n % 2 == 0).then_some(1), UnixTime(1), || State::Of(1));
            }
            let (count, _) = sums(&memory);
            assert!((capacity / 2..=capacity).contains(&count), "{count} of {capacity}");
        }
    }

    #[test]
    fn memory_stays_within_its_bytes_and_counts_them_right() {
        for capacity in [1000, 5000] {
            let memory = Memory::new(capacity);
            let large = row(13_000);
            for n in 0..capacity / 10 {
                memory.put(&domain(n), &large, Some(1), UnixTime(1), || State::Of(1));
                memory.put(&domain(n), &row(1), Some(1), UnixTime(1), || State::Of(1));
                memory.put(&domain(n), &large, Some(1), UnixTime(1), || State::Of(1));
            }
            let (count, bytes) = sums(&memory);
            assert_eq!((memory.count.into_inner(), memory.bytes.into_inner()), (count, bytes));
            assert!(bytes <= capacity * BYTES_PER_ENTRY && bytes > 0, "{bytes}");
        }
    }

    #[test]
    fn what_only_memory_has_goes_last() {
        let memory = Memory::new(16);
        memory.put(&domain(0), &row(1), None, UnixTime(1), || State::Of(1));
        for n in 1..1000 {
            memory.put(&domain(n), &row(1), Some(1), UnixTime(1), || State::Of(1));
        }
        assert!(memory.get(&domain(0)).is_some());
    }
}
