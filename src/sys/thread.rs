//! The calling thread belongs to the host: a call leaves its errno and its cancellability as they were.

use std::io;
use std::os::raw::c_int;

/// Keeps the host's errno, and keeps `pthread_cancel` away while the guard lives.
///
/// A thread that is cancelled inside Rust frames takes the process down, so that cancellation waits until the call
/// has ended.
#[must_use]
#[derive(Debug)]
pub struct CallGuard {
    cancel_state: c_int,
    // Dropped after the body of `drop`, so that the host's errno comes back last.
    _errno: ErrnoGuard,
}

impl CallGuard {
    /// Begins a call.
    pub fn enter() -> Self {
        let errno = ErrnoGuard::enter();
        Self { cancel_state: disable_cancellation(), _errno: errno }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        restore_cancellation(self.cancel_state);
    }
}

/// Keeps the host's errno. Enough for a call that only gives memory back, where nothing can be cancelled.
#[must_use]
#[derive(Debug)]
pub struct ErrnoGuard(c_int);

impl ErrnoGuard {
    /// Begins a call.
    pub fn enter() -> Self {
        Self(errno())
    }
}

impl Drop for ErrnoGuard {
    fn drop(&mut self) {
        set_errno(self.0);
    }
}

/// Does work on a thread of its own, which none of the host's signal handlers interrupts, and waits for its end. The
/// error says why there can be no thread.
pub fn beside<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<R> {
    std::thread::scope(|scope| {
        let blocked = SignalsBlocked::begin();
        let thread = std::thread::Builder::new().spawn_scoped(scope, work);
        drop(blocked);
        thread?.join().map_err(|_| io::Error::other("the thread has panicked"))
    })
}

/// The time in which the calling thread takes no signal, and hands that on to the threads that it starts.
struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    fn begin() -> Self {
        // SAFETY: all zeroes is a value of this C type; the functions write to places that live here.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: reads what `begin` has written; the old value is not wanted.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old_state: *mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_DISABLE` of glibc and musl; FreeBSD numbers it the same.
const CANCEL_DISABLE: c_int = 1;

fn disable_cancellation() -> c_int {
    let mut old_state = 0;
    // SAFETY: the function writes one int to the address it is given and touches the calling thread only.
    unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut old_state) };
    old_state
}

fn restore_cancellation(state: c_int) {
    // SAFETY: as above; the old state is not wanted, for which the C libraries take a null pointer.
    unsafe { pthread_setcancelstate(state, std::ptr::null_mut()) };
}

fn errno() -> c_int {
    // SAFETY: the C library hands out the address of the calling thread's own errno.
    unsafe { *errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *errno_location() = value };
}

#[cfg(any(target_os = "linux", target_os = "emscripten"))]
fn errno_location() -> *mut c_int {
    // SAFETY: takes nothing and returns the thread's errno address.
    unsafe { libc::__errno_location() }
}

#[cfg(any(target_os = "freebsd", target_os = "macos", target_os = "dragonfly"))]
fn errno_location() -> *mut c_int {
    // SAFETY: takes nothing and returns the thread's errno address.
    unsafe { libc::__error() }
}

#[cfg(any(target_os = "openbsd", target_os = "netbsd", target_os = "android"))]
fn errno_location() -> *mut c_int {
    // SAFETY: takes nothing and returns the thread's errno address.
    unsafe { libc::__errno() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_survives_a_call() {
        set_errno(libc::ENOTTY);
        let guard = CallGuard::enter();
        set_errno(libc::EIO);
        drop(guard);
        assert_eq!(errno(), libc::ENOTTY);
    }

    #[test]
    fn work_beside_takes_no_signal_and_its_end_is_waited_for() {
        let is_blocked = || {
            // SAFETY: all zeroes is a value of this C type; the mask is written to it.
            let mut mask = unsafe { std::mem::zeroed() };
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask) };
            unsafe { libc::sigismember(&raw const mask, libc::SIGUSR1) == 1 }
        };
        assert!(beside(is_blocked).unwrap());
        assert!(!is_blocked(), "here it is as it was");
        assert!(beside(|| -> () { panic!("inside") }).is_err());
    }
}
