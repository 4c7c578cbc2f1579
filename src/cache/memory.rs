//! The rows that this process has seen, bounded in number and in bytes.

mod copies;

use super::row::Row;
use crate::syntax::PolicyDomain;
use crate::sys::clock;
use crate::sys::fork::{ForkSafe, Work};
use crate::sys::stripe::{self, Apart};
use crate::time::UnixTime;
use copies::Copies;
use once_cell::race::OnceBox;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// What no database ever is at.
pub const NO_EDITION: u64 = 0;
/// What a row may take on average. Policies of a few hundred bytes stay far below; made-up ones of 64 KiB do not fill
/// the memory of a host.
const BYTES_PER_ENTRY: usize = 2048;

/// So many shelves at most, each with a lock of its own: two threads seldom meet.
const SHELVES: usize = 64;
/// Fewer entries than this are not worth a shelf, and the largest of policies would not lie on it.
const FEW: usize = 512;

#[derive(Debug)]
pub struct Memory {
    shelves: Box<[Shelf]>,
    /// So many rows on each of them at most, of [`BYTES_PER_ENTRY`] on average.
    rows_per_shelf: usize,
    /// What threads have for themselves where several ask, each in a place of its own.
    copies: OnceBox<[ForkSafe<Copies>; stripe::COUNT]>,
    /// So many rows each of these at most: altogether half as many as there may be on the shelves.
    most_copies: usize,
}

#[derive(Debug)]
struct Shelf {
    rows: ForkSafe<Rows>,
    /// Counts the changes of rows: copies from before the last one are out of date.
    changes: Apart<AtomicU64>,
}

#[derive(Debug, Default)]
struct Rows {
    entries: HashMap<PolicyDomain, Entry>,
    /// What they take together.
    bytes: usize,
    /// The place of the thread that was here last.
    last_reader: Option<usize>,
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
            rows_per_shelf: capacity.checked_div(shelves).unwrap_or(0),
            shelves: (0..shelves).map(|_| Shelf::new()).collect(),
            copies: OnceBox::new(),
            most_copies: copies::at_most(capacity / 2 / stripe::COUNT),
        }
    }

    pub fn get(&self, domain: &PolicyDomain) -> Option<Entry> {
        let (shelf, _) = self.shelf(domain)?;
        shelf.rows.with(|rows| rows.entries.get(domain).cloned()).flatten()
    }

    /// Lets `look` see an entry where it lies, or this thread's copy of it. It must be brief, and must not come back
    /// here.
    pub fn look<R>(&self, domain: &PolicyDomain, look: impl Fn(&Entry) -> R) -> Option<R> {
        let (shelf, hash) = self.shelf(domain)?;
        if let Some(copies) = self.copies.get() {
            return self.look_at_copy(stripe::of_this_thread(copies), shelf, hash, domain, look);
        }
        let (seen, is_shared) = shelf.rows.with(|rows| {
            let is_shared = rows.has_other_reader();
            (rows.entries.get(domain).map(look), is_shared)
        })?;
        if is_shared && self.most_copies > 0 {
            let copies = std::array::from_fn(|_| ForkSafe::new(Work::Memory, Copies::default));
            // Another thread may be faster.
            drop(self.copies.set(Box::new(copies)));
        }
        seen
    }

    #[inline(never)]
    fn look_at_copy<R>(
        &self,
        copies: &ForkSafe<Copies>,
        shelf: &Shelf,
        hash: u32,
        domain: &PolicyDomain,
        look: impl Fn(&Entry) -> R,
    ) -> Option<R> {
        let changes = shelf.changes.0.load(Ordering::Acquire);
        let wants_copy = match copies.with(|copies| copies.look(hash, domain, changes, &look))? {
            Ok(seen) => return Some(seen),
            Err(wants_copy) => wants_copy,
        };
        let (seen, copy) = shelf.rows.with(|rows| {
            let entry = rows.entries.get(domain)?;
            let wants_copy = wants_copy && entry.row.size() <= BYTES_PER_ENTRY;
            // Changes are counted while nobody else is at the rows.
            let copy = wants_copy.then(|| (entry.clone(), shelf.changes.0.load(Ordering::Relaxed)));
            Some((look(entry), copy))
        })??;
        if let Some((entry, changes)) = copy {
            let entry = entry.apart();
            // What it replaces is taken down beyond the lock.
            drop(copies.with(|copies| copies.put(hash, domain.clone(), entry, changes, self.most_copies)));
        }
        Some(seen)
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
        let Some((shelf, _)) = self.shelf(domain) else { return };
        shelf.change(|rows| {
            let known = rows.entries.get(domain);
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
            rows.remove(domain);
            if rows.make_room(self.rows_per_shelf, row.size()) {
                let entry = Entry { row: row.clone(), loaded: clock::monotonic_milliseconds(), edition, stored_in };
                rows.bytes = rows.bytes.saturating_add(row.size());
                rows.entries.insert(domain.clone(), entry);
            }
        });
    }

    #[cfg(test)]
    pub fn age(&self) {
        for shelf in &self.shelves {
            shelf.change(|rows| rows.entries.values_mut().for_each(|entry| entry.loaded = 0));
        }
    }

    /// Forgets a row that a database has or had. What is only here stays.
    pub fn forget(&self, domain: &PolicyDomain) {
        let Some((shelf, _)) = self.shelf(domain) else { return };
        shelf.change(|rows| {
            if rows.entries.get(domain).is_some_and(|entry| entry.stored_in.is_some()) {
                rows.remove(domain);
            }
        });
    }

    /// Where a domain belongs, and its hash. Names that meet suffer nothing but time.
    fn shelf(&self, domain: &PolicyDomain) -> Option<(&Shelf, u32)> {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |sum: u64, byte: &u8| sum.rotate_left(5) ^ u64::from(*byte);
        let sum = domain.as_str().as_bytes().iter().fold(0, mix).wrapping_mul(ODD);
        // The upper the bit, the more of the name has a part in it.
        let hash = u32::try_from(sum >> 32).ok()?;
        Some((self.shelves.get(share(hash, self.shelves.len()))?, hash))
    }
}

impl Rows {
    /// Notes the calling thread as the last reader, and tells whether that was another.
    fn has_other_reader(&mut self) -> bool {
        let reader = stripe::mine();
        self.last_reader.replace(reader).is_some_and(|last| last != reader)
    }

    fn remove(&mut self, domain: &PolicyDomain) {
        if let Some(entry) = self.entries.remove(domain) {
            self.bytes = self.bytes.saturating_sub(entry.row.size());
        }
    }

    /// Makes room for a row of this size where at most so many rows lie, if that can be. Drops an eighth of them if it
    /// must, more if that is not enough: first what the database has or what holds no policy.
    fn make_room(&mut self, most: usize, size: usize) -> bool {
        let most_bytes = most.saturating_mul(BYTES_PER_ENTRY);
        if size > most_bytes {
            return false;
        }
        let has_room = |count: usize, bytes: usize| count < most && bytes.saturating_add(size) <= most_bytes;
        let (mut count, mut bytes) = (self.entries.len(), self.bytes);
        let mut surplus = if has_room(count, bytes) { 0 } else { (count / 8).max(1) };
        for is_dispensable in [Entry::is_found_elsewhere as fn(&Entry) -> bool, |_| true] {
            if has_room(count, bytes) {
                break;
            }
            self.entries.retain(|_, entry| {
                let goes = (surplus > 0 || !has_room(count, bytes)) && is_dispensable(entry);
                if goes {
                    surplus = surplus.saturating_sub(1);
                    count = count.saturating_sub(1);
                    bytes = bytes.saturating_sub(entry.row.size());
                }
                !goes
            });
            // What nothing else has goes only where it must.
            surplus = 0;
        }
        self.bytes = bytes;
        has_room(count, bytes)
    }
}

/// The hash as a share of `count` places.
fn share(hash: u32, count: usize) -> usize {
    usize::try_from(u64::from(hash).wrapping_mul(u64::try_from(count).unwrap_or(0)) >> 32).unwrap_or(0)
}

impl Shelf {
    fn new() -> Self {
        Self { rows: ForkSafe::new(Work::Memory, Rows::default), changes: Apart(AtomicU64::new(0)) }
    }

    /// Lets `change` work on the rows; copies that were made before are out of date when it has.
    fn change(&self, change: impl FnOnce(&mut Rows)) {
        self.rows.with(|rows| {
            change(rows);
            self.changes.0.fetch_add(1, Ordering::Release);
        });
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
        let sum = |(count, bytes): (usize, usize), shelf: &Shelf| {
            let sizes = |rows: &mut Rows| rows.entries.values().map(|entry| entry.row.size()).sum::<usize>();
            (count + shelf.rows.with(|rows| rows.entries.len()).unwrap(), bytes + shelf.rows.with(sizes).unwrap())
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
            let (_, bytes) = sums(&memory);
            let counted: usize = memory.shelves.iter().filter_map(|shelf| shelf.rows.with(|rows| rows.bytes)).sum();
            assert_eq!(counted, bytes);
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

    /// Runs on a thread that has another place than this one.
    fn elsewhere<R: Send>(work: impl Fn() -> R + Sync) -> R {
        let mine = stripe::mine();
        let on_thread = || (stripe::mine() != mine).then(&work);
        loop {
            if let Some(done) = std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap()) {
                return done;
            }
        }
    }

    fn policy_seen(memory: &Memory, domain: &PolicyDomain) -> Option<Arc<StoredPolicy>> {
        memory.look(domain, |entry| entry.row.policy.clone()).flatten()
    }

    #[test]
    fn names_that_are_alike_spread_over_the_shelves() {
        let memory = Memory::new(100_000);
        for form in ["d{}.example", "d00{}.example", "{}.services", "mail{}.example.com", "x.y{}.onmicrosoft.com"] {
            let mut on_shelf = [0; SHELVES];
            for n in 1000..7400 {
                let domain = PolicyDomain::parse(form.replace("{}", &n.to_string()).as_bytes()).unwrap();
                let (shelf, _) = memory.shelf(&domain).unwrap();
                on_shelf[memory.shelves.iter().position(|other| std::ptr::eq(other, shelf)).unwrap()] += 1;
            }
            assert!(on_shelf.iter().all(|count| (25..=300).contains(count)), "{form}: {on_shelf:?}");
        }
    }

    #[test]
    fn threads_that_ask_for_the_same_rows_have_copies_of_their_own() {
        let memory = Memory::new(1000);
        memory.put(&domain(0), &row(1), Some(1), UnixTime(1), || State::Of(1));
        let ours = policy_seen(&memory, &domain(0)).unwrap();
        assert!(Arc::ptr_eq(&ours, &policy_seen(&memory, &domain(0)).unwrap()), "one thread needs no copy");
        let theirs = || (0..4).filter_map(|_| policy_seen(&memory, &domain(0))).last().unwrap();
        let copied = elsewhere(theirs);
        assert!(*copied == *ours && !Arc::ptr_eq(&copied, &ours));
        let copy_of_ours = theirs();
        assert!(*copy_of_ours == *ours && !Arc::ptr_eq(&copy_of_ours, &copied) && !Arc::ptr_eq(&copy_of_ours, &ours));
    }

    #[test]
    fn copies_show_what_was_put_or_forgotten_since() {
        let memory = Memory::new(1000);
        let put = |lines| memory.put(&domain(0), &row(lines), Some(1), UnixTime(1), || State::Of(1));
        let patterns = || policy_seen(&memory, &domain(0)).map(|stored| stored.policy.mx().len());
        for lines in 1..20 {
            put(lines);
            for _ in 0..3 {
                assert_eq!((patterns(), elsewhere(patterns)), (Some(lines), Some(lines)));
            }
        }
        memory.forget(&domain(0));
        assert_eq!((patterns(), elsewhere(patterns)), (None, None));
    }

    #[test]
    fn no_thread_sees_an_older_row_than_was_put_before_it_looked() {
        let memory = Memory::new(1000);
        let published = std::sync::atomic::AtomicUsize::new(1);
        memory.put(&domain(0), &row(1), Some(1), UnixTime(1), || State::Of(1));
        let watch = || {
            let mut looks = 0_u64;
            while published.load(Ordering::SeqCst) < 500 || looks < 1000 {
                let at_least = published.load(Ordering::SeqCst);
                let seen = policy_seen(&memory, &domain(0)).unwrap().policy.mx().len();
                assert!(seen >= at_least, "{seen} lines, {at_least} were put");
                looks += 1;
            }
        };
        std::thread::scope(|scope| {
            (0..3).for_each(|_| drop(scope.spawn(watch)));
            for lines in 2..=500 {
                memory.put(&domain(0), &row(lines), Some(1), UnixTime(1), || State::Of(1));
                published.store(lines, Ordering::SeqCst);
                std::thread::yield_now();
            }
        });
        assert!(memory.copies.get().is_some(), "copies were used");
    }

    #[test]
    fn copies_of_a_thread_are_few_and_small() {
        const CAPACITY: usize = 4096;
        let memory = Memory::new(CAPACITY);
        for n in 0..CAPACITY / 2 {
            memory.put(&domain(n), &row(if n % 2 == 0 { 1 } else { 1000 }), Some(1), UnixTime(1), || State::Of(1));
        }
        let look_at_all =
            || (0..CAPACITY / 2).for_each(|n| (0..3).for_each(|_| drop(policy_seen(&memory, &domain(n)))));
        look_at_all();
        elsewhere(look_at_all);
        look_at_all();
        let all = memory.copies.get().unwrap();
        for copies in all {
            let (count, largest) = copies.with(|copies| copies.extent()).unwrap();
            assert!(count <= memory.most_copies && largest <= BYTES_PER_ENTRY, "{count} of {largest} bytes");
        }
        let used = all.iter().filter(|copies| copies.with(|copies| copies.extent().0).unwrap() > 0).count();
        assert_eq!(used, 2);
    }
}
