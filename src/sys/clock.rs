//! The clocks of the machine, read without a system call and to a few milliseconds.
//!
//! The kernel's coarse clocks cost a quarter of the precise ones, which is most of what a remembered answer costs.

use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod ids {
    pub const MONOTONIC: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    pub const REALTIME: libc::clockid_t = libc::CLOCK_REALTIME_COARSE;
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod ids {
    pub const MONOTONIC: libc::clockid_t = libc::CLOCK_MONOTONIC;
    pub const REALTIME: libc::clockid_t = libc::CLOCK_REALTIME;
}

/// The time since some fixed moment, by a clock that all processes share and nobody sets. It lags by a few milliseconds.
pub fn monotonic() -> Duration {
    let now = read(ids::MONOTONIC);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The same in whole milliseconds.
pub fn monotonic_milliseconds() -> u64 {
    u64::try_from(monotonic().as_millis()).unwrap_or(u64::MAX)
}

/// Whole seconds since 1970-01-01 00:00:00 UTC.
pub fn seconds_since_1970() -> i64 {
    #[allow(clippy::useless_conversion, reason = "some systems count seconds in 32 bits")]
    i64::from(read(ids::REALTIME).tv_sec)
}

/// Whether somebody keeps the clock right, as a daemon for NTP does; none where the system does not tell.
#[cfg(target_os = "linux")]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: a structure of numbers, in which no bit asks for a change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes to that structure alone.
    match unsafe { libc::adjtimex(&raw mut state) } {
        libc::TIME_ERROR => Some(false),
        state if state >= 0 => Some(true),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
pub fn is_synchronised() -> Option<bool> {
    None
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to that structure alone. These clocks exist, so that it does not fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    #[test]
    fn whether_the_clock_is_kept_right_is_told_without_privileges() {
        assert_eq!(is_synchronised().is_some(), cfg!(target_os = "linux"));
    }

    #[test]
    fn the_clocks_agree_with_those_of_the_standard_library() {
        let (before, precise) = (monotonic(), Instant::now());
        std::thread::sleep(Duration::from_millis(100));
        let passed = monotonic().saturating_sub(before);
        assert!(passed >= Duration::from_millis(50) && passed <= precise.elapsed() + Duration::from_millis(50));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(seconds_since_1970().abs_diff(i64::try_from(since_1970).unwrap()) <= 1);
    }
}
