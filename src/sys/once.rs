//! Work that is done once in a process, and that no forked child finds half done.
//!
//! Other people's code makes values on first use behind cells that wait for whoever is at it. In a child that was forked
//! meanwhile nobody is. Here a fork waits until such values are made, and a child for which it has waited in vain can tell.

use super::fork::{self, Work};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One such piece of work.
#[derive(Debug)]
pub struct Once(AtomicU64);

const NOT_YET: u64 = 0;
const DONE: u64 = 1;
/// While a process is at it: this and its generation.
const ON_THE_WAY: u64 = 2;

const PAUSE: Duration = Duration::from_micros(50);

impl Once {
    /// Nothing is done yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(NOT_YET))
    }

    /// Sees to it that the work is done, which must be brief and must not fail. Returns whether it is: not in a child
    /// that was forked while another thread was at it, nor in the children of that one.
    pub fn ensure(&self, work: impl FnOnce()) -> bool {
        self.is_done() || self.finish(work)
    }

    fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == DONE
    }

    #[cold]
    fn finish(&self, work: impl FnOnce()) -> bool {
        let is_mine = fork::held_off(Work::Memory, || {
            let own = ON_THE_WAY.saturating_add(fork::generation());
            if self.0.compare_exchange(NOT_YET, own, Ordering::AcqRel, Ordering::Acquire).is_err() {
                return false;
            }
            let mut outcome = Outcome { of: self, state: NOT_YET };
            work();
            outcome.state = DONE;
            true
        });
        // Another thread is at it, as long as that is one of this process.
        while !is_mine && self.0.load(Ordering::Acquire) == ON_THE_WAY.saturating_add(fork::generation()) {
            std::thread::sleep(PAUSE);
        }
        self.is_done()
    }
}

/// What has become of a piece of work, also if that panics.
struct Outcome<'a> {
    of: &'a Once,
    state: u64,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        self.of.0.store(self.state, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn of_many_threads_one_does_it_and_the_others_find_it_done() {
        static ONCE: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let work = || {
            std::thread::sleep(Duration::from_millis(5));
            COUNT.fetch_add(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert!(ONCE.ensure(work));
                    assert_eq!(COUNT.load(Ordering::SeqCst), 1);
                });
            }
        });
    }

    #[test]
    fn a_child_of_a_process_that_is_at_it_for_long_does_not_wait_for_it() {
        let once = Once::new();
        let has_forked = Once::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                once.ensure(|| {
                    while !has_forked.is_done() {
                        std::thread::sleep(PAUSE);
                    }
                })
            });
            while once.0.load(Ordering::SeqCst) == NOT_YET {
                std::thread::sleep(PAUSE);
            }
            // SAFETY: the child only looks at an atomic and leaves by _exit; alarm ends it should it hang.
            let child = unsafe { libc::fork() };
            if child == 0 {
                unsafe { libc::alarm(20) };
                let is_done = once.ensure(|| ());
                unsafe { libc::_exit(i32::from(is_done)) };
            }
            has_forked.0.store(DONE, Ordering::SeqCst);
            let mut status = -1;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child is told and exits");
        });
        assert!(once.is_done(), "in the parent it is");
    }
}
