//! The host may fork at any moment, from any thread, while other threads are inside the library.
//!
//! State that a forked child can reach lives in [`ForkSafe`]. A fork waits until no thread is inside such state, so
//! that the child finds every lock open and every value whole. Nobody waits for the network or calls the host while
//! inside. Work on memory takes microseconds; work on the disk may take longer. Should either hold a thread inside for
//! more than [`LONGEST_WAIT`], the fork goes ahead, and the child begins with empty memory or does without the disk for
//! as long as it lives.
//!
//! The child must not use what belongs to its parent's side, such as a database connection: [`generation`] tells.

use super::stripe::{self, Apart};
use super::thread::CallGuard;
use parking_lot::Mutex;
use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest that the host's fork() waits for us.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How long a thread pauses before it looks again.
const PAUSE: Duration = Duration::from_micros(50);
/// So often it does, for a second at least, while a fork is under way.
const MOST_WAITS: u32 = 20_000;

/// What the guarded work waits for at most. Each kind has a gate of its own, so that a slow disk hides no memory.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Memory only.
    Memory,
    /// The disk.
    Disk,
}

static MEMORY_GATE: Gate = Gate::new(Work::Memory);
static DISK_GATE: Gate = Gate::new(Work::Disk);

fn gate(work: Work) -> &'static Gate {
    match work {
        Work::Memory => &MEMORY_GATE,
        Work::Disk => &DISK_GATE,
    }
}

/// Lets threads in and forks through, but not both at once.
#[derive(Debug)]
struct Gate {
    work: Work,
    /// In as many places as there are stripes, of which a thread uses one: threads inside in the low half, forks under
    /// way in the high half.
    places: [Apart<AtomicU64>; stripe::COUNT],
    /// The generation of the last child on the way here that was forked while a thread was inside: what is older than
    /// that may be half done and stays locked for ever.
    torn_in: AtomicU64,
}

const ONE_FORK: u64 = 1 << 32;
const INSIDE: u64 = ONE_FORK - 1;

impl Gate {
    const fn new(work: Work) -> Self {
        let places = [const { Apart(AtomicU64::new(0)) }; stripe::COUNT];
        Self { work, places, torn_in: AtomicU64::new(0) }
    }

    fn close(&self) {
        for place in &self.places {
            place.0.fetch_add(ONE_FORK, Ordering::SeqCst);
        }
    }

    /// Whether another thread is inside. The calling one is if a signal handler forks that has interrupted it: nobody
    /// can wait for that.
    fn has_others_inside(&self) -> bool {
        let inside = |place: &Apart<AtomicU64>| place.0.load(Ordering::SeqCst) & INSIDE;
        let inside: u64 = self.places.iter().map(inside).sum();
        inside != 0 && inside > self.with_own_stays(Cell::get)
    }

    fn open(&self) {
        for place in &self.places {
            // In a child that a signal handler has forked meanwhile it is open already.
            let opened = |state: u64| state.checked_sub(ONE_FORK);
            let _ = place.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, opened);
        }
    }

    fn open_in_child(&self, generation: u64) {
        let mut is_torn = false;
        for place in &self.places {
            is_torn |= place.0.swap(0, Ordering::SeqCst) & INSIDE != 0;
        }
        if is_torn {
            self.torn_in.store(generation, Ordering::SeqCst);
            self.with_own_stays(|stays| stays.set(0));
        }
    }

    fn enter(&'static self) -> Inside {
        let place = &stripe::of_this_thread(&self.places).0;
        let mut waits: u32 = 0;
        loop {
            // The fork may wait for the host, and the host for this thread: nobody waits for ever. The child can tell.
            let is_weary = waits >= MOST_WAITS;
            let entered = place.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
                (state < ONE_FORK || is_weary).then_some(state.wrapping_add(1))
            });
            if entered.is_ok() {
                self.with_own_stays(|stays| stays.set(stays.get().saturating_add(1)));
                return Inside { gate: self, place, generation: generation() };
            }
            waits = waits.saturating_add(1);
            std::thread::sleep(PAUSE);
        }
    }

    /// How often the calling thread is inside; never more than it is counted for. Fork handlers ask only where somebody
    /// is inside: the first use of thread-local data may allocate.
    fn with_own_stays<R>(&self, work: impl FnOnce(&Cell<u64>) -> R) -> R {
        thread_local! {
            static IN_MEMORY: Cell<u64> = const { Cell::new(0) };
            static ON_DISK: Cell<u64> = const { Cell::new(0) };
        }
        match self.work {
            Work::Memory => IN_MEMORY.with(work),
            Work::Disk => ON_DISK.with(work),
        }
    }
}

/// A thread's stay inside a gate.
struct Inside {
    gate: &'static Gate,
    place: &'static AtomicU64,
    generation: u64,
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Nobody is counted any more in a child that a signal handler has forked meanwhile, here or just below.
        if self.generation == generation() {
            self.gate.with_own_stays(|stays| stays.set(stays.get().saturating_sub(1)));
            let left = |state: u64| (state & INSIDE != 0).then(|| state.wrapping_sub(1));
            let _ = self.place.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        }
    }
}

/// Counts the forks that lie between this process and the one that loaded the library.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Whether the fork handlers are registered: `NOT_YET`, `ON_THE_WAY` or `DONE`.
static REGISTRATION: AtomicU8 = AtomicU8::new(NOT_YET);
const NOT_YET: u8 = 0;
const ON_THE_WAY: u8 = 1;
const DONE: u8 = 2;

/// Makes the library notice forks. Must come before the first [`ForkSafe::with`]; further calls do nothing, unless there
/// was no memory for the first.
pub fn watch() {
    if REGISTRATION.load(Ordering::SeqCst) != DONE {
        register();
    }
}

#[cold]
fn register() {
    let began = Instant::now();
    while let Err(state) = REGISTRATION.compare_exchange(NOT_YET, ON_THE_WAY, Ordering::SeqCst, Ordering::SeqCst) {
        if state == DONE {
            return;
        }
        // In a child whose parent was at it there may be nobody to wait for. Handlers that run twice do no harm.
        if began.elapsed() >= LONGEST_WAIT {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    // SAFETY: the three handlers are functions of this library, which is linked with `-z nodelete` and so is never
    // unmapped; they touch atomics, what the calling thread has for itself, and descriptors that are ours.
    let outcome =
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    REGISTRATION.store(if outcome == 0 { DONE } else { NOT_YET }, Ordering::SeqCst);
}

/// Which process this is, counted by forks. A value made under another generation belongs to another process.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

// fork() is no cancellation point, so that the handlers must not be one either: a thread that ended in them would leave
// the gates closed.

extern "C" fn before_fork() {
    let _guard = CallGuard::enter();
    MEMORY_GATE.close();
    DISK_GATE.close();
    let began = Instant::now();
    while (MEMORY_GATE.has_others_inside() || DISK_GATE.has_others_inside()) && began.elapsed() < LONGEST_WAIT {
        std::thread::sleep(PAUSE);
    }
}

extern "C" fn after_fork_in_parent() {
    MEMORY_GATE.open();
    DISK_GATE.open();
}

extern "C" fn after_fork_in_child() {
    let _guard = CallGuard::enter();
    let generation = GENERATION.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
    MEMORY_GATE.open_in_child(generation);
    DISK_GATE.open_in_child(generation);
    for place in &NOT_FOR_CHILDREN {
        let descriptor = place.swap(NO_DESCRIPTOR, Ordering::SeqCst);
        if descriptor != NO_DESCRIPTOR {
            // SAFETY: the child's own copy of a descriptor whose owner, in this process, knows that it is gone.
            unsafe { libc::close(descriptor) };
        }
    }
}

const NO_DESCRIPTOR: i32 = -1;
/// Descriptors that a child closes. Beyond that many at once a child keeps them until it calls exec.
static NOT_FOR_CHILDREN: [AtomicI32; 1024] = [const { AtomicI32::new(NO_DESCRIPTOR) }; 1024];

/// An open file that a forked child does not share: its copy of the descriptor is closed before fork() returns there.
#[derive(Debug)]
pub struct ClosedInChild<F: AsRawFd> {
    file: ManuallyDrop<F>,
    place: Option<&'static AtomicI32>,
    generation: u64,
}

impl<F: AsRawFd> ClosedInChild<F> {
    /// Opens the file while no fork is under way.
    pub fn open(open: impl FnOnce() -> io::Result<F>) -> io::Result<Self> {
        watch();
        let _inside = DISK_GATE.enter();
        let file = ManuallyDrop::new(open()?);
        let descriptor = file.as_raw_fd();
        let takes = |place: &&AtomicI32| {
            place.compare_exchange(NO_DESCRIPTOR, descriptor, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        };
        Ok(Self { file, place: NOT_FOR_CHILDREN.iter().find(takes), generation: generation() })
    }

    /// The file; none in a child of the process that opened it.
    pub fn get(&self) -> Option<&F> {
        (self.generation == generation()).then_some(&*self.file)
    }

    /// The file, or for a child the error that it would get from a connection that is gone.
    pub fn own(&self) -> io::Result<&F> {
        self.get().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<F: AsRawFd> ClosedInChild<F> {
    #[cfg(test)]
    pub fn abandon(&mut self) {
        self.close();
    }

    fn close(&mut self) {
        let _inside = DISK_GATE.enter();
        if let Some(place) = self.place {
            place.store(NO_DESCRIPTOR, Ordering::SeqCst);
        }
        // SAFETY: this is reached once, at the end of the value's life.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

impl<F: AsRawFd> Drop for ClosedInChild<F> {
    fn drop(&mut self) {
        // In a child it is closed already, and the number may be another file's by now.
        if self.generation == generation() {
            self.close();
        }
    }
}

/// Does what a child must not find half done, such as the use of descriptors of its own, and soon, while no fork is under
/// way.
pub fn held_off<R>(kind: Work, work: impl FnOnce() -> R) -> R {
    watch();
    let _inside = gate(kind).enter();
    work()
}

/// A value behind a lock that no fork catches in a thread's hands.
#[derive(Debug)]
pub struct ForkSafe<T> {
    work: Work,
    /// Never null. A child may put a new value in place of one that it cannot use, which it then lets lie.
    current: AtomicPtr<Guarded<T>>,
    make: fn() -> T,
}

/// The value, on lines of the processor's cache of its own: what is only read is not taken away by who locks.
#[derive(Debug)]
struct Guarded<T> {
    generation: u64,
    value: Apart<Mutex<T>>,
}

// SAFETY: the value is handed out under its lock only, to one thread at a time, which is sound for `T: Send`.
unsafe impl<T: Send> Sync for ForkSafe<T> {}
// SAFETY: it owns its value.
unsafe impl<T: Send> Send for ForkSafe<T> {}

impl<T> ForkSafe<T> {
    /// Puts a new value under guard, with the kind of work that is done on it.
    pub fn new(work: Work, make: fn() -> T) -> Self {
        watch();
        Self { work, current: AtomicPtr::new(Self::guard(make)), make }
    }

    fn guard(make: fn() -> T) -> *mut Guarded<T> {
        Box::into_raw(Box::new(Guarded { generation: generation(), value: Apart(Mutex::new(make())) }))
    }

    /// Lets `work` use the value. It must not wait for the network, and must not call `with` again or the host.
    ///
    /// In a child that was forked while another thread was inside for longer than a fork may wait, what is in memory
    /// begins anew, and there is nothing on the disk, nor will there be: `None`. SQLite would wait for a thread that is
    /// gone, or for the end of a lock that it believes to be its own.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let guarded = self.usable()?;
        let _inside = gate(self.work).enter();
        let mut value = guarded.value.0.lock();
        Some(work(&mut value))
    }

    /// The value, or a new one if a thread which is gone has it in its hands. On the disk there is none then: what was
    /// caught is not this value alone, but whatever the process knows of its files.
    fn usable(&self) -> Option<&Guarded<T>> {
        let torn_in = gate(self.work).torn_in.load(Ordering::Relaxed);
        if torn_in != 0 && matches!(self.work, Work::Disk) {
            return None;
        }
        let mut guarded = self.current.load(Ordering::Acquire);
        // SAFETY: never null, and what was published is freed by `drop` alone, which has `self` to itself.
        if unsafe { (*guarded).generation } < torn_in {
            guarded = self.renew(guarded);
        }
        // SAFETY: as above.
        Some(unsafe { &*guarded })
    }

    /// Takes a new value in place of one that a thread which is gone has in its hands.
    fn renew(&self, torn: *mut Guarded<T>) -> *mut Guarded<T> {
        let new = Self::guard(self.make);
        match self.current.compare_exchange(torn, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(others) => {
                // SAFETY: made above and not published: another thread of this child was faster.
                drop(unsafe { Box::from_raw(new) });
                others
            }
        }
    }
}

impl<T> Drop for ForkSafe<T> {
    fn drop(&mut self) {
        let guarded = *self.current.get_mut();
        // SAFETY: never null, and nobody else has `self` any more.
        let is_whole = unsafe { (*guarded).generation } >= gate(self.work).torn_in.load(Ordering::Relaxed);
        if is_whole {
            // SAFETY: as above; it came from a box.
            drop(unsafe { Box::from_raw(guarded) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn children_of_a_busy_process_find_the_value_whole_and_unlocked() {
        let guarded = Arc::new(ForkSafe::new(Work::Memory, || (0_u64, 0_u64)));
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (guarded, stop) = (Arc::clone(&guarded), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        guarded.with(|pair| {
                            pair.0 += 1;
                            std::hint::spin_loop();
                            pair.1 += 1;
                        });
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            let mine = generation();
            // SAFETY: the child only uses the guarded value and leaves by _exit; alarm ends it should it hang.
            let child = unsafe { libc::fork() };
            if child == 0 {
                unsafe { libc::alarm(20) };
                let whole = guarded.with(|pair| pair.0 == pair.1);
                let is_good = whole == Some(true) && generation() == mine + 1;
                unsafe { libc::_exit(i32::from(!is_good)) };
            }
            let mut status = -1;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child exits with 0");
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
    }

    /// Forks while a thread stays inside; returns what the child makes of the value.
    fn child_of_one_who_stays_inside(work: Work) -> i32 {
        let guarded = ForkSafe::new(work, || 7);
        let is_inside = AtomicBool::new(false);
        let has_forked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                guarded.with(|value| {
                    *value = 8;
                    is_inside.store(true, Ordering::SeqCst);
                    while !has_forked.load(Ordering::SeqCst) {
                        std::thread::sleep(PAUSE);
                    }
                });
            });
            while !is_inside.load(Ordering::SeqCst) {
                std::thread::sleep(PAUSE);
            }
            // SAFETY: the child only uses the guarded value and leaves by _exit; alarm ends it should it hang.
            let child = unsafe { libc::fork() };
            if child == 0 {
                unsafe { libc::alarm(20) };
                let seen = guarded.with(|value| *value).unwrap_or(1) + guarded.with(|value| *value).unwrap_or(1);
                let of_new = ForkSafe::new(work, || 20).with(|value| *value).unwrap_or(2);
                unsafe { libc::_exit(seen + of_new) };
            }
            has_forked.store(true, Ordering::SeqCst);
            let mut status = -1;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(libc::WTERMSIG(status), 0, "the child does not hang");
            libc::WEXITSTATUS(status)
        })
    }

    #[test]
    fn a_child_whose_memory_is_in_a_threads_hands_begins_anew_and_one_whose_disk_is_does_without() {
        assert_eq!(child_of_one_who_stays_inside(Work::Memory), 7 + 7 + 20);
        assert_eq!(child_of_one_who_stays_inside(Work::Disk), 1 + 1 + 2);
    }
}
