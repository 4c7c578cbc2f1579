//! Who the process is, and whether its environment may be believed.

use std::ffi::OsString;

/// Whether the process runs with the effective user id 0.
pub fn is_root() -> bool {
    user() == 0
}

/// The effective user id.
pub fn user() -> u32 {
    // SAFETY: takes nothing, changes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// The effective group id.
pub fn group() -> u32 {
    // SAFETY: as above.
    unsafe { libc::getegid() }
}

/// An environment variable, unless the process has gained privileges by being started (setuid, capabilities): then
/// its environment is another user's word.
pub fn trusted_env(name: &str) -> Option<OsString> {
    if is_secure_execution() { None } else { std::env::var_os(name).filter(|value| !value.is_empty()) }
}

#[cfg(target_os = "linux")]
fn is_secure_execution() -> bool {
    // SAFETY: reads the vector that the kernel handed to the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(any(
    target_os = "freebsd",
    target_os = "macos",
    target_os = "openbsd",
    target_os = "netbsd",
    target_os = "dragonfly"
))]
fn is_secure_execution() -> bool {
    unsafe extern "C" {
        fn issetugid() -> std::os::raw::c_int;
    }
    // SAFETY: takes nothing, changes nothing, cannot fail.
    unsafe { issetugid() != 0 }
}
