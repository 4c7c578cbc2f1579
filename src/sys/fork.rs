//! The host may fork at any moment, from any thread, while other threads are inside the library.
//!
//! State that a forked child can reach lives in [`ForkSafe`]. A fork waits until no thread is inside such state, so
//! that the child finds every lock open and every value whole. No code sleeps, waits for the network, or calls the
//! host while it is inside; a fork therefore waits for microseconds. Should a slow disk hold a thread inside for
//! longer than [`LONGEST_WAIT`], the fork goes ahead and the child does without that state.
//!
//! The child must not use what belongs to its parent's side, such as a database connection: [`generation`] tells.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest that the host's fork() waits for us.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How long a thread pauses before it looks again.
const PAUSE: Duration = Duration::from_micros(50);

/// Threads inside guarded state in the low half, forks under way in the high half.
static GATE: AtomicU64 = AtomicU64::new(0);
const ONE_FORK: u64 = 1 << 32;
const INSIDE: u64 = ONE_FORK - 1;

/// Counts the forks that lie between this process and the one that loaded the library.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Set in a child that was forked while a thread was inside: what that thread held stays locked for ever.
static IS_TORN: AtomicBool = AtomicBool::new(false);
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
    GATE.fetch_add(ONE_FORK, Ordering::SeqCst);
    if GATE.load(Ordering::SeqCst) & INSIDE == 0 {
        return;
    }
    let began = Instant::now();
    while GATE.load(Ordering::SeqCst) & INSIDE != 0 && began.elapsed() < LONGEST_WAIT {
        std::thread::sleep(PAUSE);
    }
}

extern "C" fn after_fork_in_parent() {
    GATE.fetch_sub(ONE_FORK, Ordering::SeqCst);
}

extern "C" fn after_fork_in_child() {
    if GATE.swap(0, Ordering::SeqCst) & INSIDE != 0 {
        IS_TORN.store(true, Ordering::SeqCst);
    }
    GENERATION.fetch_add(1, Ordering::SeqCst);
}

/// A value behind a lock that no fork catches in a thread's hands.
#[derive(Debug, Default)]
pub struct ForkSafe<T>(Mutex<T>);

impl<T> ForkSafe<T> {
    /// Puts a value under guard.
    pub fn new(value: T) -> Self {
        watch();
        Self(Mutex::new(value))
    }

    /// Lets `work` use the value. It must be short, must not wait, and must not call `with` again or the host.
    ///
    /// `None` in a child that was forked while another thread was inside for longer than a fork may wait.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        if IS_TORN.load(Ordering::Relaxed) {
            return None;
        }
        let _inside = Inside::enter();
        Some(work(&mut self.0.lock()))
    }
}

struct Inside;

impl Inside {
    fn enter() -> Self {
        loop {
            let entered = GATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |gate| {
                (gate < ONE_FORK).then_some(gate.wrapping_add(1))
            });
            if entered.is_ok() {
                return Self;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        GATE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn children_of_a_busy_process_find_the_value_whole_and_unlocked() {
        let guarded = Arc::new(ForkSafe::new((0_u64, 0_u64)));
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
