//! Status numbers, and what went wrong in the last call of this thread.

use super::guard;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};

/// Success.
pub const MTASTS_OK: c_int = 0;
/// An argument that must not be NULL is NULL.
pub const MTASTS_NULL_ARGUMENT: c_int = 1;
/// An argument has a value that it cannot have: an unknown flag or state, a negative timeout.
pub const MTASTS_INVALID_ARGUMENT: c_int = 2;
/// The configuration has a fault; `mtasts_last_error` names file, line and key.
pub const MTASTS_INVALID_CONFIG: c_int = 3;
/// The buffer does not hold the whole text and its final NUL.
pub const MTASTS_BUFFER_TOO_SMALL: c_int = 4;
/// The policy is malformed; `mtasts_last_error` names the line.
pub const MTASTS_INVALID_POLICY: c_int = 5;
/// There is no STS record.
pub const MTASTS_NO_RECORD: c_int = 6;
/// There is more than one STS record, or the one is malformed.
pub const MTASTS_INVALID_RECORD: c_int = 7;
/// The certificate chain does not verify; `mtasts_last_error` says what is wrong with it.
pub const MTASTS_NOT_VERIFIED: c_int = 8;
/// A fault inside libmtasts. Nothing may be concluded from the call.
pub const MTASTS_INTERNAL: c_int = 9;
/// The cache cannot be read; `mtasts_last_error` says why and what would mend it.
pub const MTASTS_CACHE_UNAVAILABLE: c_int = 10;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::new(CString::default());
}

/// Says what was wrong with the last call of this thread that failed, and what would be right.
///
/// Returns one line of text, never NULL, empty before the first failure. It belongs to the library and is valid until
/// the next failing call of the same thread. Successful calls leave it as it is, so that it means something after a
/// failed call only. Any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_last_error() -> *const c_char {
    LAST_ERROR.try_with(|text| text.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Names a status in a few words.
///
/// status: a status as `mtasts_` functions return it, or its negative. Returns static text, never NULL; for an unknown
/// number text that says so. Any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_status_text(status: c_int) -> *const c_char {
    guard::pure(c"".as_ptr(), || {
        let text: &CStr = match status.saturating_abs() {
            MTASTS_OK => c"success",
            MTASTS_NULL_ARGUMENT => c"an argument is NULL",
            MTASTS_INVALID_ARGUMENT => c"an argument has an impossible value",
            MTASTS_INVALID_CONFIG => c"the configuration has a fault",
            MTASTS_BUFFER_TOO_SMALL => c"the buffer is too small",
            MTASTS_INVALID_POLICY => c"the policy is malformed",
            MTASTS_NO_RECORD => c"there is no STS record",
            MTASTS_INVALID_RECORD => c"the STS record is malformed or not the only one",
            MTASTS_NOT_VERIFIED => c"the certificate chain does not verify",
            MTASTS_INTERNAL => c"internal fault",
            MTASTS_CACHE_UNAVAILABLE => c"the cache cannot be read",
            _ => c"unknown status",
        };
        text.as_ptr()
    })
}

/// A call that cannot do what it was asked for.
pub(crate) struct Failure {
    status: c_int,
    text: String,
}

impl Failure {
    pub(crate) fn new(status: c_int, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn null(argument: &str) -> Self {
        Self::new(MTASTS_NULL_ARGUMENT, format!("argument `{argument}` is NULL"))
    }

    /// Remembers the text for `mtasts_last_error` and gives the status.
    pub(crate) fn report(self) -> c_int {
        let text = c_text(&self.text);
        let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = text);
        self.status
    }
}

/// Text as C sees it. Ours has no NUL inside; should a stranger's get in, it ends there.
pub(crate) fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}
