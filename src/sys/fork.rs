//! The host may fork at any moment, from any thread, while other threads are inside the library.
//!
//! State that a forked child can reach lives in [`ForkSafe`]. A fork waits until no thread is inside such state, so
//! that the child finds every lock open and every value whole. Nobody waits for the network or calls the host while
//! inside. Work on memory takes microseconds; work on the disk may take longer, and should it hold a thread inside for
//! more than [`LONGEST_WAIT`], the fork goes ahead and the child does without the state on the disk.
//!
//! The child must not use what belongs to its parent's side, such as a database connection: [`generation`] tells.

use parking_lot::Mutex;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest that the host's fork() waits for us.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How long a thread pauses before it looks again.
const PAUSE: Duration = Duration::from_micros(50);

/// What the guarded work waits for at most. Each kind has a gate of its own, so that a slow disk hides no memory.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Memory only.
    Memory,
    /// The disk.
    Disk,
}

static MEMORY_GATE: Gate = Gate::new();
static DISK_GATE: Gate = Gate::new();

fn gate(work: Work) -> &'static Gate {
    match work {
        Work::Memory => &MEMORY_GATE,
        Work::Disk => &DISK_GATE,
    }
}

/// Lets threads in and forks through, but not both at once.
#[derive(Debug)]
struct Gate {
    /// Threads inside in the low half, forks under way in the high half.
    state: AtomicU64,
    /// Set in a child that was forked while a thread was inside: what that thread held stays locked for ever.
    is_torn: AtomicBool,
}

const ONE_FORK: u64 = 1 << 32;
const INSIDE: u64 = ONE_FORK - 1;

impl Gate {
    const fn new() -> Self {
        Self { state: AtomicU64::new(0), is_torn: AtomicBool::new(false) }
    }

    fn close(&self) {
        self.state.fetch_add(ONE_FORK, Ordering::SeqCst);
    }

    fn is_occupied(&self) -> bool {
        self.state.load(Ordering::SeqCst) & INSIDE != 0
    }

    fn open(&self) {
        self.state.fetch_sub(ONE_FORK, Ordering::SeqCst);
    }

    fn open_in_child(&self) {
        if self.state.swap(0, Ordering::SeqCst) & INSIDE != 0 {
            self.is_torn.store(true, Ordering::SeqCst);
        }
    }

    fn enter(&'static self) -> Inside {
        loop {
            let entered = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
                (state < ONE_FORK).then_some(state.wrapping_add(1))
            });
            if entered.is_ok() {
                return Inside(self);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A thread's stay inside a gate.
struct Inside(&'static Gate);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts the forks that lie between this process and the one that loaded the library.
static GENERATION: AtomicU64 = AtomicU64::new(0);
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// Makes the library notice forks. Must come before the first [`ForkSafe::with`]; further calls do nothing.
pub fn watch() {
    if IS_REGISTERED.swap(true, Ordering::SeqCst) {
        return;
    }
    // SAFETY: the three handlers are functions of this library, which is linked with `-z nodelete` and so is never
    // unmapped; they touch atomics only.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
}

/// Which process this is, counted by forks. A value made under another generation belongs to another process.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

extern "C" fn before_fork() {
    MEMORY_GATE.close();
    DISK_GATE.close();
    let began = Instant::now();
    while (MEMORY_GATE.is_occupied() || DISK_GATE.is_occupied()) && began.elapsed() < LONGEST_WAIT {
        std::thread::sleep(PAUSE);
    }
}

extern "C" fn after_fork_in_parent() {
    MEMORY_GATE.open();
    DISK_GATE.open();
}

extern "C" fn after_fork_in_child() {
    MEMORY_GATE.open_in_child();
    DISK_GATE.open_in_child();
    GENERATION.fetch_add(1, Ordering::SeqCst);
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

/// Does what opens and closes descriptors on its own, and soon, while no fork is under way.
pub fn held_off<R>(work: impl FnOnce() -> R) -> R {
    watch();
    let _inside = DISK_GATE.enter();
    work()
}

/// A value behind a lock that no fork catches in a thread's hands.
#[derive(Debug)]
pub struct ForkSafe<T> {
    work: Work,
    value: Mutex<T>,
}

impl<T> ForkSafe<T> {
    /// Puts a value under guard, with the kind of work that is done on it.
    pub fn new(work: Work, value: T) -> Self {
        watch();
        Self { work, value: Mutex::new(value) }
    }

    /// Lets `work` use the value. It must not wait for the network, and must not call `with` again or the host.
    ///
    /// `None` in a child that was forked while another thread was inside for longer than a fork may wait.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let gate = gate(self.work);
        if gate.is_torn.load(Ordering::Relaxed) {
            return None;
        }
        let _inside = gate.enter();
        Some(work(&mut self.value.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn children_of_a_busy_process_find_the_value_whole_and_unlocked() {
        let guarded = Arc::new(ForkSafe::new(Work::Memory, (0_u64, 0_u64)));
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
}
