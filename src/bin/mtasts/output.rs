//! Answers as text for people and as JSON for programs.

use mtasts::discovery::{Answer, Source};
use mtasts::time::{UnixTime, describe_seconds};
use serde_json::json;
use std::fmt::Write;

/// One JSON object on one line. Times are seconds since 1970 UTC; what does not exist is null.
pub fn json(domain: &str, answer: &Answer) -> String {
    let stored = answer.policy.as_deref();
    let mx: Vec<&str> = stored.iter().flat_map(|stored| stored.policy.mx()).map(|pattern| pattern.as_str()).collect();
    let lints: Vec<&String> = stored.iter().flat_map(|stored| stored.policy.lints()).collect();
    let fetched = stored.filter(|_| answer.source != Source::Caller);
    json!({
        "domain": domain,
        "mode": answer.mode_str(),
        "mx": mx,
        "max_age": stored.map(|stored| stored.policy.max_age()),
        "id": fetched.map(|stored| &*stored.id),
        "source": answer.source.as_str(),
        "fetched_at": fetched.map(|stored| stored.fetched_at.0),
        "expires_at": fetched.map(|stored| stored.expires_at().0),
        "reason": answer.reason.as_str(),
        "reason_text": answer.text,
        "lints": lints,
    })
    .to_string()
}

/// A headline and indented lines, without the last line end.
pub fn human(title: &str, answer: &Answer) -> String {
    let mut text = format!("{title}: {}", answer.mode_str());
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {name:<8} {value}");
    };
    if let Some(stored) = answer.policy.as_deref() {
        for pattern in stored.policy.mx() {
            line("mx", pattern.as_str());
        }
        let max_age = stored.policy.max_age();
        line("max_age", &format!("{max_age} ({})", describe_seconds(max_age)));
        if answer.source != Source::Caller {
            line("id", &stored.id);
            line("fetched", &utc(stored.fetched_at));
            line("expires", &utc(stored.expires_at()));
        }
        for lint in stored.policy.lints() {
            line("lint", lint);
        }
    }
    if answer.source != Source::Caller {
        line("why", &answer.text);
    }
    text
}

/// A moment as `2026-11-22 16:05:00 UTC`.
fn utc(time: UnixTime) -> String {
    let days = time.0.div_euclid(86_400);
    let second = time.0.rem_euclid(86_400);
    // Years that begin on 1 March put the leap day last; 719468 days lie between 0000-03-01 and 1970-01-01.
    let day_of_eras = days + 719_468;
    let era = day_of_eras.div_euclid(146_097);
    let day_of_era = day_of_eras.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(UnixTime(seconds)), text);
        }
    }
}
