//! How rows and times are shown.

use mtasts::cache::Row;
use mtasts::time::UnixTime;
use serde_json::{Map, Value, json};

/// The word for the mode of a row's policy, also where there is no policy.
pub fn mode(row: &Row) -> &'static str {
    row.mode().map_or("absent", |mode| mode.as_str())
}

/// A span by its largest unit, in at most four characters: `3d`, `12m`.
pub fn short(seconds: u64) -> String {
    let units = [(31_557_600, 'y'), (86_400, 'd'), (3_600, 'h'), (60, 'm')];
    match units.into_iter().find(|(size, _)| seconds >= *size) {
        Some((size, _)) if seconds / size > 999 => ">999".to_owned(),
        Some((size, unit)) => format!("{}{unit}", seconds / size),
        None => format!("{seconds}s"),
    }
}

/// What a line of a list says, as an object. Times are seconds since 1970 UTC; what does not exist is null.
pub fn summary(domain: &str, row: &Row, now: UnixTime) -> Map<String, Value> {
    let stored = row.policy.as_ref();
    let fields = [
        ("domain", json!(domain)),
        ("mode", json!(row.mode().map(|mode| mode.as_str()))),
        ("id", json!(stored.map(|stored| &*stored.id))),
        ("fetched_at", json!(stored.map(|stored| stored.fetched_at.0))),
        ("expires_at", json!(stored.map(|_| row.until(now).0))),
        ("is_expired", json!(stored.map(|_| row.is_over(now)))),
        ("checked_at", json!(row.check.at.0)),
        ("checked_until", json!(row.check.until.0)),
        ("check_reason", json!(row.check.reason.as_str())),
        ("refresh_at", json!(stored.map(|_| row.refresh_at.0))),
        ("is_failing", json!(row.is_failing())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_take_at_most_four_characters() {
        for (seconds, want) in [(0, "0s"), (59, "59s"), (60, "1m"), (7_300, "2h"), (86_400, "1d"), (31_557_600, "1y")] {
            assert_eq!(short(seconds), want);
        }
        assert_eq!(short(u64::MAX), ">999");
    }
}
