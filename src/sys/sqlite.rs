//! SQLite's connections, where it matters what the system said when one failed.
//!
//! rusqlite closes a connection that cannot be opened, and with it goes the only trace of the reason.

use super::files;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::ffi::CStr;
use std::os::raw::c_int;
use std::ptr;

/// Why SQLite did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There was no descriptor or no memory for it.
    Starved,
    /// All else.
    Other,
}

/// Opens a file; `flags` as rusqlite has them.
pub fn open(name: &CStr, flags: OpenFlags) -> Result<Connection, Refusal> {
    // SAFETY: takes nothing and touches nothing.
    if unsafe { ffi::sqlite3_threadsafe() } == 0 {
        return Err(Refusal::Other);
    }
    let mut handle = ptr::null_mut();
    // SAFETY: the name ends with a zero, and the handle is written to a place that lives here.
    let code = unsafe { ffi::sqlite3_open_v2(name.as_ptr(), &raw mut handle, flags.bits(), ptr::null()) };
    if code == ffi::SQLITE_OK {
        // SAFETY: the handle was opened just now, and nobody else has it.
        return unsafe { Connection::from_handle_owned(handle) }.map_err(|_| Refusal::Other);
    }
    // Without memory for it there is no handle; all functions take a null pointer.
    // SAFETY: a handle that failed to open may be asked for the reason, and is to be closed.
    let (extended, errno) = unsafe { (ffi::sqlite3_extended_errcode(handle), ffi::sqlite3_system_errno(handle)) };
    // SAFETY: as above.
    unsafe { ffi::sqlite3_close(handle) };
    Err(judge(extended, errno))
}

/// What an error of a connection says that was the last to use it.
pub fn refusal(connection: &Connection, error: &rusqlite::Error) -> Refusal {
    let Some(failure) = error.sqlite_error() else { return Refusal::Other };
    // SAFETY: the handle of a connection that lives is only asked.
    let errno = unsafe { ffi::sqlite3_system_errno(connection.handle()) };
    judge(failure.extended_code, errno)
}

fn judge(extended: c_int, errno: c_int) -> Refusal {
    let is_starved = match ffi::Error::new(extended).code {
        ErrorCode::OutOfMemory => true,
        ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => {
            extended == ffi::SQLITE_IOERR_NOMEM || files::is_starvation(errno)
        }
        _ => false,
    };
    if is_starved { Refusal::Starved } else { Refusal::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_said_decides_whether_it_was_for_want() {
        assert_eq!(judge(ffi::SQLITE_CANTOPEN, libc::EMFILE), Refusal::Starved);
        assert_eq!(judge(ffi::SQLITE_CANTOPEN, libc::EACCES), Refusal::Other);
        assert_eq!(judge(ffi::SQLITE_IOERR_READ, libc::ENOMEM), Refusal::Starved);
        assert_eq!(judge(ffi::SQLITE_IOERR_NOMEM, 0), Refusal::Starved);
        assert_eq!(judge(ffi::SQLITE_NOMEM, 0), Refusal::Starved);
        // An errno is left over from earlier where the code has nothing to do with the system.
        assert_eq!(judge(ffi::SQLITE_CORRUPT, libc::EMFILE), Refusal::Other);
    }

    #[test]
    fn a_file_opens_or_its_failure_is_judged() {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        assert_eq!(open(c"/nonexistent/cache.db", flags).map(drop), Err(Refusal::Other));
        let connection = open(c":memory:", flags).unwrap();
        let error = connection.execute("SELECT nothing", []).unwrap_err();
        assert_eq!(refusal(&connection, &error), Refusal::Other);
    }
}
