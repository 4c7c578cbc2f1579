//! The clock: certificates and policies are judged by it.

use super::finding::Finding;
use mtasts::cache::Examined;
use mtasts::time::{UnixTime, is_clock_synchronised};

/// 2026-11-01: this version is younger.
const BEFORE_THIS_VERSION: UnixTime = UnixTime(1_793_491_200);
/// A clock that shows a time so far ahead of this version, 30 years, is wrong.
const LONGEST_LIFE: u64 = 30 * 365 * 86_400;
const NTP: &str = "timedatectl set-ntp true   # or: apt-get install chrony";

pub fn check(now: UnixTime, known: Option<&Examined>) -> Vec<Finding> {
    judge(now, known.and_then(|known| known.last_fetch), is_clock_synchronised())
}

fn judge(now: UnixTime, last_fetch: Option<UnixTime>, is_synchronised: Option<bool>) -> Vec<Finding> {
    let shown = now.to_utc_string();
    let mut findings = Vec::new();
    if now < BEFORE_THIS_VERSION || now > BEFORE_THIS_VERSION.plus(LONGEST_LIFE) {
        let text = format!("the clock shows {shown}: certificates and policies are judged by a wrong time");
        findings.push(Finding::fault(text).mend(NTP));
    } else if let Some(last) = last_fetch.filter(|last| *last > now) {
        let text = format!("the clock shows {shown}, and the cache has a policy fetched {}", last.to_utc_string());
        findings.push(Finding::warning(text).mend(NTP));
    }
    match is_synchronised {
        Some(false) => {
            let text = format!("the clock shows {shown}, and nothing keeps it right (NTP)");
            findings.push(Finding::warning(text).mend(NTP));
        }
        Some(true) => findings.push(Finding::ok(format!("the clock shows {shown} and is kept right"))),
        None => findings
            .push(Finding::unknown(format!("the clock shows {shown}; this system does not tell what keeps it right"))),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn levels(now: i64, last: Option<i64>, is_synchronised: Option<bool>) -> Vec<Level> {
        judge(UnixTime(now), last.map(UnixTime), is_synchronised).into_iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_time_before_this_version_or_before_what_was_fetched_is_told() {
        assert_eq!(UnixTime::from_utc(2026, 11, 1, 0, 0, 0), Some(BEFORE_THIS_VERSION));
        let now = BEFORE_THIS_VERSION.0 + 86_400;
        assert_eq!(levels(now, Some(now), Some(true)), [Level::Ok]);
        assert_eq!(levels(0, None, Some(true)), [Level::Fault, Level::Ok]);
        assert_eq!(levels(now + 40 * 365 * 86_400, None, Some(true)), [Level::Fault, Level::Ok]);
        assert_eq!(levels(now, Some(now + 1), Some(true)), [Level::Warning, Level::Ok]);
        assert_eq!(levels(now, None, Some(false)), [Level::Warning]);
        assert_eq!(levels(now, None, None), [Level::Unknown]);
    }
}
