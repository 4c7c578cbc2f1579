//! Locks in a file that the kernel takes back when their holder dies, and that tell how long they have been held.
//!
//! Open file description locks: they exclude threads as well as processes, and closing another descriptor of the file
//! does not drop them. A forked child closes its copy of the descriptor at once, so that no lock outlives its holder in
//! a child. Where the system has no such locks, every try succeeds: the work is then done more often, never less.

use super::clock;
use super::fork::ClosedInChild;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// Each lock has a stretch of the file to itself. It begins at the first byte and is the longer the later it was taken,
/// in ticks, which is how others learn its age. A stretch is good for three days.
const STRETCH_BITS: u32 = 24;
const STRETCH: u64 = 1 << STRETCH_BITS;
/// So many locks have room below the largest offset.
const NUMBER_BITS: u32 = 38;
const TICK_MILLISECONDS: u64 = 16;

/// One lock of an open file, to be taken and, at the latest when dropped, given back.
#[derive(Debug)]
pub struct FileLock {
    file: ClosedInChild<File>,
    start: u64,
}

/// What a try to take a lock has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// The lock is ours.
    Taken,
    /// Somebody else has had it for so long.
    Held(Duration),
}

impl FileLock {
    /// Opens an existing file; locks nothing yet. `number` gets the inode and gives the lock's number, of which the low
    /// bits count.
    pub fn open(path: &Path, number: impl FnOnce(u64) -> u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let file = ClosedInChild::open(|| options.open(path))?;
        let inode = file.get().map(File::metadata).transpose()?.map_or(0, |facts| facts.ino());
        let number = number(inode) & (1_u64 << NUMBER_BITS).wrapping_sub(1);
        Ok(Self { file, start: number << STRETCH_BITS })
    }

    /// Takes the lock unless somebody else has it.
    pub fn try_lock(&self) -> io::Result<Try> {
        self.try_lock_as_of(Duration::ZERO)
    }

    /// Takes it as if that had been some time ago.
    pub(crate) fn try_lock_as_of(&self, age: Duration) -> io::Result<Try> {
        // In a child of the process that opened the file there is nothing left to lock.
        let Some(file) = self.file.get() else { return Err(io::ErrorKind::NotFound.into()) };
        let since = ticks().wrapping_sub(in_ticks(age)) % STRETCH;
        loop {
            if system::lock(file, self.start, since.saturating_add(1))? {
                return Ok(Try::Taken);
            }
            match system::held(file, self.start)? {
                // A lock of a stranger, on more than is his.
                Some((start, length)) if start != self.start || !(1..=STRETCH).contains(&length) => {
                    return Ok(Try::Held(Duration::MAX));
                }
                Some((_, length)) => {
                    let age = ticks().wrapping_sub(length.saturating_sub(1)) % STRETCH;
                    return Ok(Try::Held(Duration::from_millis(age.saturating_mul(TICK_MILLISECONDS))));
                }
                None => {} // given back just now
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // A child that is being forked may still have the descriptor for a moment: closing alone would not do.
        if let Some(file) = self.file.get() {
            let _ = system::unlock(file, self.start, STRETCH);
        }
    }
}

/// Ticks of a clock that all processes of the machine share and nobody sets.
fn ticks() -> u64 {
    in_ticks(clock::monotonic())
}

fn in_ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / TICK_MILLISECONDS
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::raw::{c_int, c_short};

    /// Locks a range; returns whether that could be done.
    pub fn lock(file: &File, start: u64, length: u64) -> io::Result<bool> {
        match call(file, libc::F_OFD_SETLK, libc::F_WRLCK, start, length) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn unlock(file: &File, start: u64, length: u64) -> io::Result<()> {
        call(file, libc::F_OFD_SETLK, libc::F_UNLCK, start, length).map(drop)
    }

    /// Start and length of the lock that others have at `start`; length 0 stands for the rest of the file.
    pub fn held(file: &File, start: u64) -> io::Result<Option<(u64, u64)>> {
        let range = call(file, libc::F_OFD_GETLK, libc::F_WRLCK, start, 1)?;
        let is_free = c_int::from(range.l_type) == libc::F_UNLCK;
        let found = (u64::try_from(range.l_start).unwrap_or(0), u64::try_from(range.l_len).unwrap_or(0));
        Ok((!is_free).then_some(found))
    }

    fn call(file: &File, command: c_int, kind: c_int, start: u64, length: u64) -> io::Result<libc::flock> {
        let offset =
            |number: u64| libc::off_t::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        // SAFETY: all zeroes is a value of this C structure.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = c_short::try_from(kind).unwrap_or_default();
        range.l_whence = c_short::try_from(libc::SEEK_SET).unwrap_or_default();
        (range.l_start, range.l_len) = (offset(start)?, offset(length)?);
        loop {
            // SAFETY: the descriptor is open, and these commands take a pointer to this structure and do not block.
            if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut range) } == 0 {
                return Ok(range);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::fs::File;
    use std::io;

    pub fn lock(_: &File, _: u64, _: u64) -> io::Result<bool> {
        Ok(true)
    }

    pub fn unlock(_: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    pub fn held(_: &File, _: u64) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    use super::*;
    use crate::sys::fork;

    fn open(path: &Path, number: u64) -> FileLock {
        FileLock::open(path, |_| number).unwrap()
    }

    fn is_taken(lock: &FileLock) -> bool {
        lock.try_lock().unwrap() == Try::Taken
    }

    #[test]
    fn a_lock_has_one_holder_and_other_locks_are_free() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = open(file.path(), 8);
        assert!(is_taken(&first));
        let second = open(file.path(), 8);
        assert!(!is_taken(&second), "in the same process");
        for number in [7, 9, 0, u64::MAX] {
            assert!(is_taken(&open(file.path(), number)), "{number}");
        }
        drop(first);
        assert!(is_taken(&second));
    }

    #[test]
    fn a_lock_tells_for_how_long_it_has_been_held() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for age in [0, 1, 300, 200_000] {
            let (first, second) = (open(file.path(), 8), open(file.path(), 8));
            assert_eq!(first.try_lock_as_of(Duration::from_secs(age)).unwrap(), Try::Taken);
            let Try::Held(told) = second.try_lock().unwrap() else { panic!("it is held") };
            assert!((age..=age + 60).contains(&(told.as_secs() + 1)), "{age}: {told:?}");
        }
        let stranger = open(file.path(), 0);
        assert!(system::lock(stranger.file.get().unwrap(), 0, 0).unwrap(), "all of the file");
        assert_eq!(open(file.path(), 8).try_lock().unwrap(), Try::Held(Duration::MAX));
    }

    #[test]
    fn a_child_neither_keeps_a_lock_alive_nor_takes_its_descriptor() {
        fork::watch();
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = open(file.path(), 8);
        assert!(is_taken(&held));
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
        let other = open(file.path(), 8);
        assert!(!is_taken(&other), "the child has not unlocked what is not its own");
        // As if this process died: its only descriptor is closed without the lock being given back.
        let mut held = std::mem::ManuallyDrop::new(held);
        held.file.abandon();
        // Children of other tests, which are just being forked, may have the descriptor for a moment.
        let died = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            is_taken(&other)
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
