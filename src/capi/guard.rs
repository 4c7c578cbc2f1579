//! What surrounds every exported function: no panic gets out, and the host's thread is left as it was.

use super::status::{Failure, MTASTS_INTERNAL, MTASTS_INVALID_ARGUMENT};
use crate::sys::panic::catch;
use crate::sys::thread::CallGuard;
use std::ffi::{CStr, c_char, c_int};

/// Runs a call that may block or fail and returns its status: errno is kept, `pthread_cancel` waits.
pub(super) fn guarded(call: impl FnOnce() -> Result<c_int, Failure>) -> c_int {
    let _thread = CallGuard::enter();
    match catch(call) {
        Some(Ok(status)) => status,
        Some(Err(failure)) => failure.report(),
        None => Failure::new(MTASTS_INTERNAL, "a fault inside libmtasts; please report it").report(),
    }
}

/// The same for functions that return a value, or a status as a negative number.
pub(super) fn guarded_value(call: impl FnOnce() -> Result<c_int, Failure>) -> c_int {
    let mut is_value = false;
    let number = guarded(|| {
        let value = call()?;
        is_value = true;
        Ok(value)
    });
    if is_value { number } else { number.saturating_neg() }
}

/// Runs a call that neither blocks nor fails; a panic, which nothing in it should raise, gives the fallback.
pub(super) fn pure<T>(fallback: T, call: impl FnOnce() -> T) -> T {
    catch(call).unwrap_or(fallback)
}

/// The bytes of a C string argument.
pub(super) fn bytes<'a>(text: *const c_char, argument: &str) -> Result<&'a [u8], Failure> {
    if text.is_null() {
        return Err(Failure::null(argument));
    }
    // SAFETY: not NULL; that it points to a NUL-terminated string that lives during the call is the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// An array argument with its length. A NULL array is an empty one if its length is 0.
pub(super) fn slice<'a, T>(array: *const T, count: usize, argument: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if array.is_null() {
        return Err(Failure::null(argument));
    }
    // No object is larger: a length beyond it is a negative number in disguise.
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::new(
            MTASTS_INVALID_ARGUMENT,
            format!("argument `{argument}` has the impossible length {count}"),
        ));
    }
    // SAFETY: not NULL; that it points to `count` values that live during the call is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(array, count) })
}

/// An object argument.
pub(super) fn object<'a, T>(object: *const T, argument: &str) -> Result<&'a T, Failure> {
    // SAFETY: NULL is refused; else it points to an object of this library that nobody frees during the call, which is
    // the caller's promise.
    unsafe { object.as_ref() }.ok_or_else(|| Failure::null(argument))
}

/// An out-pointer, set to NULL at once, so that no caller ever uses what a failed call left there.
pub(super) fn out<'a, T>(out: *mut *mut T, argument: &str) -> Result<&'a mut *mut T, Failure> {
    if out.is_null() {
        return Err(Failure::null(argument));
    }
    // SAFETY: not NULL; that it may be written to is the caller's promise. It may be uninitialised, hence the raw write
    // before there is a reference.
    unsafe {
        out.write(std::ptr::null_mut());
        Ok(&mut *out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_and_prints_nothing() {
        assert_eq!(guarded(|| panic!("a test")), MTASTS_INTERNAL);
        assert_eq!(guarded_value(|| panic!("a test")), -MTASTS_INTERNAL);
        assert_eq!(pure(7, || panic!("a test")), 7);
    }
}
