//! Locks on single bytes of a file, which the kernel takes back when their holder dies.
//!
//! Open file description locks: they exclude threads as well as processes, and closing another descriptor of the file
//! does not drop them. A forked child closes its copy of the descriptor at once, so that no lock outlives its holder in
//! a child. Where the system has no such locks, every try succeeds: the work is then done more often, never less.

use super::fork::ClosedInChild;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// One byte of an open file, to be locked and, at the latest when dropped, unlocked.
#[derive(Debug)]
pub struct ByteLock {
    file: ClosedInChild<File>,
    at: u32,
}

impl ByteLock {
    /// Opens an existing file; locks nothing yet.
    pub fn open(path: &Path, at: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        Ok(Self { file: ClosedInChild::open(|| options.open(path))?, at })
    }

    /// Locks the byte unless somebody else has it; returns whether it is ours now.
    pub fn try_lock(&self) -> io::Result<bool> {
        // In a child of the process that opened the file there is nothing left to lock.
        let Some(file) = self.file.get() else { return Err(io::ErrorKind::NotFound.into()) };
        set(file, self.at, Kind::Exclusive)
    }
}

impl Drop for ByteLock {
    fn drop(&mut self) {
        // A child that is being forked may still have the descriptor for a moment: closing alone would not do.
        if let Some(file) = self.file.get() {
            let _ = set(file, self.at, Kind::Unlocked);
        }
    }
}

enum Kind {
    Exclusive,
    Unlocked,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set(file: &File, at: u32, kind: Kind) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    let kind = match kind {
        Kind::Exclusive => libc::F_WRLCK,
        Kind::Unlocked => libc::F_UNLCK,
    };
    // SAFETY: all zeroes is a value of this C structure.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    range.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    range.l_start = libc::off_t::from(i32::try_from(at >> 1).unwrap_or_default());
    range.l_len = 1;
    loop {
        // SAFETY: the descriptor is open, and the command takes a pointer to this structure and does not block.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut range) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set(_: &File, _: u32, kind: Kind) -> io::Result<bool> {
    match kind {
        Kind::Exclusive | Kind::Unlocked => Ok(true),
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    use super::*;
    use crate::sys::fork;

    #[test]
    fn a_byte_has_one_holder_and_other_bytes_are_free() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |at| ByteLock::open(file.path(), at).unwrap();
        let first = open(8);
        assert!(first.try_lock().unwrap());
        let second = open(8);
        assert!(!second.try_lock().unwrap(), "in the same process");
        assert!(open(80).try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn a_child_neither_keeps_a_lock_alive_nor_takes_its_descriptor() {
        fork::watch();
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = ByteLock::open(file.path(), 8).unwrap();
        assert!(held.try_lock().unwrap());
        let (mut ready, mut end) = ([0; 2], [0; 2]);
        // SAFETY: the child waits for a pipe to end, and leaves by _exit; alarm ends it should it hang.
        let child = unsafe {
            assert_eq!((libc::pipe(ready.as_mut_ptr()), libc::pipe(end.as_mut_ptr())), (0, 0));
            libc::fork()
        };
        let mut byte = [0_u8];
        if child == 0 {
            unsafe {
                libc::alarm(20);
                libc::close(end[1]);
                let is_gone = held.try_lock().is_err();
                drop(held);
                libc::write(ready[1], byte.as_ptr().cast(), 1);
                libc::read(end[0], byte.as_mut_ptr().cast(), 1);
                libc::_exit(i32::from(!is_gone));
            }
        }
        // SAFETY: reads one byte into an array of one.
        assert_eq!(unsafe { libc::read(ready[0], byte.as_mut_ptr().cast(), 1) }, 1);
        let other = ByteLock::open(file.path(), 8).unwrap();
        assert!(!other.try_lock().unwrap(), "the child has not unlocked what is not its own");
        // As if this process died: its only descriptor is closed without the lock being given back.
        let mut held = std::mem::ManuallyDrop::new(held);
        held.file.abandon();
        // Children of other tests, which are just being forked, may have the descriptor for a moment.
        let died = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            other.try_lock().unwrap()
        });
        assert!(died, "the lock has died although the child lives");
        let mut status = -1;
        // SAFETY: the child is ours.
        unsafe {
            libc::close(end[1]);
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            for descriptor in [ready[0], ready[1], end[0]] {
                libc::close(descriptor);
            }
        }
        assert_eq!(status, 0);
    }
}
