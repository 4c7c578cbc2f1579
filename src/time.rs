//! Time: a wall clock that is handed in wherever a stored time is judged, and the deadline of one call.
//!
//! Wall-clock times are seconds since 1970 in UTC. Deadlines run on the monotonic clock and never on the wall clock,
//! so that a clock step neither hangs a call nor cuts it short.

use crate::sys::clock;
pub use crate::sys::clock::is_synchronised as is_clock_synchronised;
use std::fmt;
use std::time::Duration;

const SECONDS_OF_DAY: i64 = 86_400;

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

    /// A moment of the Gregorian calendar in UTC; none for a date or a time of day that does not exist.
    pub fn from_utc(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        let date = (i64::from(year), i64::from(month), i64::from(day));
        let days = days_of_date(date);
        // A 30 February comes back as a day in March.
        if date_of_days(days) != date || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let minutes = i64::from(hour).saturating_mul(60).saturating_add(i64::from(minute));
        let seconds = minutes.saturating_mul(60).saturating_add(i64::from(second));
        Some(Self(days.saturating_mul(SECONDS_OF_DAY).saturating_add(seconds)))
    }

    /// The moment as `2026-11-22 16:05:00 UTC`.
    pub fn to_utc_string(self) -> String {
        let (year, month, day) = date_of_days(self.0.div_euclid(SECONDS_OF_DAY));
        let second = self.0.rem_euclid(SECONDS_OF_DAY);
        format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
    }
}

// Years that begin on 1 March put the leap day last; eras of 400 such years are all equally long.
const DAYS_OF_ERA: i64 = 146_097;
/// The days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// The days from 1970-01-01 to a year, month and day.
fn days_of_date((year, month, day): (i64, i64, i64)) -> i64 {
    let year = year.saturating_sub(i64::from(month <= 2));
    let era = year.div_euclid(400);
    let month_from_march = month.saturating_sub(3).rem_euclid(12);
    era.saturating_mul(DAYS_OF_ERA)
        .saturating_add(days_before_year(year.rem_euclid(400)))
        .saturating_add(days_before_month(month_from_march))
        .saturating_add(day.saturating_sub(1))
        .saturating_sub(DAYS_TO_1970)
}

/// The year, month and day that lie so many days after 1970-01-01.
fn date_of_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(DAYS_TO_1970);
    let era = days.div_euclid(DAYS_OF_ERA);
    let day_of_era = days.rem_euclid(DAYS_OF_ERA);
    // Without the leap days of the era so far, all years have 365 days.
    let leap_days = (day_of_era / 1_460).saturating_sub(day_of_era / 36_524).saturating_add(day_of_era / 146_096);
    let year_of_era = day_of_era.saturating_sub(leap_days) / 365;
    let day_of_year = day_of_era.saturating_sub(days_before_year(year_of_era));
    let month_from_march = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = day_of_year.saturating_sub(days_before_month(month_from_march)).saturating_add(1);
    let month = month_from_march.saturating_add(2).rem_euclid(12).saturating_add(1);
    let year = era.saturating_mul(400).saturating_add(year_of_era).saturating_add(i64::from(month <= 2));
    (year, month, day)
}

fn days_before_year(year_of_era: i64) -> i64 {
    year_of_era.saturating_mul(365).saturating_add(year_of_era / 4).saturating_sub(year_of_era / 100)
}

/// From March on, five months have 153 days.
fn days_before_month(month_from_march: i64) -> i64 {
    month_from_march.saturating_mul(153).saturating_add(2) / 5
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
        UnixTime(clock::seconds_since_1970())
    }
}

/// The moment at which a call must have its answer, whatever it waits for; good to a few milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Duration);

impl Deadline {
    /// A deadline that lies this far ahead.
    pub fn after(limit: Duration) -> Self {
        // Nobody waits for longer than a day.
        const LONGEST: Duration = Duration::from_secs(86_400);
        Self(clock::monotonic().saturating_add(limit.min(LONGEST)))
    }

    /// The earlier of this deadline and one that lies `limit` ahead.
    pub fn at_most(self, limit: Duration) -> Self {
        Self(self.0.min(Self::after(limit).0))
    }

    /// What is left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(clock::monotonic())
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
    fn moments_are_told_in_utc_and_read_back() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (-62_167_219_200, "0000-01-01 00:00:00 UTC"),
        ] {
            assert_eq!(UnixTime(seconds).to_utc_string(), text);
            let part = |from: usize, to: usize| text[from..to].parse::<u8>().unwrap();
            let year = text[..4].parse().unwrap();
            let read = UnixTime::from_utc(year, part(5, 7), part(8, 10), part(11, 13), part(14, 16), part(17, 19));
            assert_eq!(read, Some(UnixTime(seconds)), "{text}");
        }
        for seconds in [i64::MIN, i64::MAX] {
            assert!(UnixTime(seconds).to_utc_string().ends_with(" UTC"));
        }
    }

    #[test]
    fn every_day_of_two_eras_is_read_back_and_follows_the_day_before() {
        let mut before = (1599, 12, 31);
        for days in -135_140..(2 * DAYS_OF_ERA - 135_140) {
            let date = date_of_days(days);
            assert_eq!(days_of_date(date), days);
            let next_day = (before.0, before.1, before.2 + 1);
            let next_month = (before.0, before.1 + 1, 1);
            assert!(date == next_day || date == next_month || date == (before.0 + 1, 1, 1), "{before:?} {date:?}");
            before = date;
        }
        assert_eq!(before, (2399, 12, 31));
    }

    #[test]
    fn dates_and_times_that_do_not_exist_are_none() {
        for (year, month, day) in
            [(2026, 2, 29), (2026, 2, 30), (2100, 2, 29), (2026, 4, 31), (2026, 13, 1), (2026, 0, 1), (2026, 1, 0)]
        {
            assert_eq!(UnixTime::from_utc(year, month, day, 0, 0, 0), None, "{year}-{month}-{day}");
        }
        assert_eq!(UnixTime::from_utc(u16::MAX, u8::MAX, u8::MAX, 0, 0, 0), None);
        for (hour, minute, second) in [(24, 0, 0), (0, 60, 0), (0, 0, 60)] {
            assert_eq!(UnixTime::from_utc(2026, 1, 1, hour, minute, second), None, "{hour}:{minute}:{second}");
        }
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_still_a_deadline() {
        assert!(!Deadline::after(Duration::MAX).has_passed());
        assert!(Deadline::after(Duration::MAX).at_most(Duration::ZERO).has_passed());
    }
}
