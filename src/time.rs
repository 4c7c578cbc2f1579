//! Time: a wall clock that is handed in wherever a stored time is judged, and the deadline of one call.
//!
//! Wall-clock times are seconds since 1970 in UTC. Deadlines run on the monotonic clock and never on the wall clock,
//! so that a clock step neither hangs a call nor cuts it short.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// The moment that lies the given number of seconds later.
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add_unsigned(seconds))
    }

    /// Whole seconds from `earlier` to this moment; zero if `earlier` is in fact later.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Tells the wall-clock time.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> UnixTime;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX))
    }
}

/// The moment at which a call must have its answer, whatever it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline that lies this far ahead.
    pub fn after(limit: Duration) -> Self {
        let now = Instant::now();
        // A limit that the clock cannot express is as good as a day.
        Self(now.checked_add(limit).or_else(|| now.checked_add(Duration::from_secs(86_400))).unwrap_or(now))
    }

    /// The earlier of this deadline and one that lies `limit` ahead.
    pub fn at_most(self, limit: Duration) -> Self {
        Self(self.0.min(Self::after(limit).0))
    }

    /// What is left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// An age or a span for people, by its largest unit: `3 days`, `1 hour`, `0 seconds`.
pub fn describe_seconds(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let (size, unit) = units.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "second"));
    let count = seconds.checked_div(size).unwrap_or(0);
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_by_their_largest_unit() {
        for (seconds, text) in
            [(0, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7_200, "2 hours"), (200_000, "2 days")]
        {
            assert_eq!(describe_seconds(seconds), text);
        }
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_still_a_deadline() {
        assert!(!Deadline::after(Duration::MAX).has_passed());
        assert!(Deadline::after(Duration::MAX).at_most(Duration::ZERO).has_passed());
    }
}
