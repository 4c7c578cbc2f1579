//! The timer that keeps policies alive for which nobody asks.

use super::directory::LATE_SECONDS;
use super::finding::{Finding, excerpt};
use super::owner::MailUser;
use super::program::{self, Said};
use mtasts::cache::Examined;
use mtasts::config::{Settings, user_and_group, user_name};
use mtasts::time::UnixTime;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
const TIMER: &str = "mtasts-refresh.timer";
const SERVICE: &str = "mtasts-refresh.service";
const ENABLE: &str = "systemctl enable --now mtasts-refresh.timer";

/// What systemd says about the timer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// As `systemctl is-enabled` says it.
    enabled: String,
    /// As `systemctl is-active` says it.
    active: String,
    /// Who the service works as.
    user: String,
    /// How its last run ended.
    result: String,
}

/// Asks systemd; the error says why that is not possible. `given`: the program to ask, whatever runs this machine.
pub fn ask(given: Option<&Path>) -> Result<Units, String> {
    let runs_here = Path::new("/run/systemd/system").is_dir();
    let installed = || ["/usr/bin/systemctl", "/bin/systemctl"].iter().map(PathBuf::from).find(|path| path.exists());
    let systemctl = match given {
        Some(given) => given.to_owned(),
        None if !runs_here => return Err("systemd does not run this machine".to_owned()),
        None => installed().ok_or("there is no systemctl")?,
    };
    let ask = |arguments: &[&str]| program::run(&systemctl, arguments, LIMIT);
    let word = |said: Said| said.out.lines().next().unwrap_or_default().trim().to_owned();
    let enabled = ask(&["is-enabled", TIMER])?;
    let is_unheard = enabled.error.contains("onnect to bus") || enabled.error.contains("not been booted");
    if is_unheard {
        return Err(excerpt(&enabled.error));
    }
    let active = ask(&["is-active", TIMER])?;
    let service = ask(&["show", SERVICE, "--property=User,Result"])?.out;
    let property = |name: &str| {
        let value = service.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().to_owned()
    };
    Ok(Units { enabled: word(enabled), active: word(active), user: property("User"), result: property("Result") })
}

pub fn check(
    units: Result<Units, String>,
    known: Option<&Examined>,
    settings: &Settings,
    user: &MailUser,
    now: UnixTime,
) -> Vec<Finding> {
    let mut findings = match units {
        Ok(units) => judge_units(&units, user),
        Err(problem) => {
            let text = format!("whether `mtasts refresh` runs now and then is not known: {}", excerpt(&problem));
            let cron = format!(
                "echo '17 * * * * {} mtasts refresh' > /etc/cron.d/mtasts-refresh   # without systemd",
                user.name()
            );
            vec![Finding::unknown(text).mend(cron)]
        }
    };
    findings.extend(known.and_then(|known| judge_cache(known, settings.refresh, now)));
    findings
}

fn judge_units(units: &Units, user: &MailUser) -> Vec<Finding> {
    let mut findings = Vec::new();
    match (&*units.enabled, &*units.active) {
        ("enabled" | "enabled-runtime" | "static" | "linked", "active") => {
            findings.push(Finding::ok(format!("{TIMER} is enabled and runs")));
        }
        ("", _) | ("not-found", _) => {
            let text = format!("systemd knows no {TIMER}: policies of domains that get no mail end one day");
            findings.push(Finding::warning(text).mend("make install   # puts the units there").mend(ENABLE));
            return findings;
        }
        (enabled, active) => {
            let text = format!("{TIMER} is {enabled} and {active}: policies of domains that get no mail end one day");
            let unmask =
                (enabled == "masked").then(|| Finding::warning(text.clone()).mend(format!("systemctl unmask {TIMER}")));
            findings.push(unmask.unwrap_or_else(|| Finding::warning(text)).mend(ENABLE));
        }
    }
    if !matches!(&*units.result, "" | "success") {
        let text = format!("the last run of {SERVICE} ended with {}", units.result);
        findings.push(Finding::warning(text).mend(format!("journalctl -u {SERVICE}")));
    }
    if let (Some((uid, _)), Some((other, _))) = (user.ids, user_and_group(&units.user))
        && uid != other
    {
        let text = format!("{SERVICE} works as {}, and the cache is {}'s", units.user, user_name(uid));
        let drop_in = format!("systemctl edit {SERVICE}   # [Service] and below it User={}", user_name(uid));
        findings.push(Finding::fault(text).mend(drop_in));
    }
    findings
}

fn judge_cache(known: &Examined, refreshes: bool, now: UnixTime) -> Option<Finding> {
    let days = LATE_SECONDS / 86_400;
    if known.overdue > 0 && refreshes {
        let text = format!(
            "{} of {} policies wait for more than {days} days to be fetched anew, and protect nobody once they end",
            known.overdue, known.policies
        );
        return Some(Finding::warning(text).mend("mtasts refresh --verbose   # tells which fail and why"));
    }
    let last = known.last_fetch.filter(|last| *last <= now)?;
    Some(Finding::ok(format!("the last policy was fetched {}, and none waits for long", last.to_utc_string())))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn told(enabled: &str, active: &str, user: &str, result: &str) -> Vec<(Level, String)> {
        let units = Units { enabled: enabled.into(), active: active.into(), user: user.into(), result: result.into() };
        let mail = MailUser { ids: Some((54_321, 54_321)), exim: None };
        let findings = judge_units(&units, &mail);
        findings.into_iter().map(|finding| (finding.level, finding.mend.join("; "))).collect()
    }

    #[test]
    fn a_timer_that_does_not_run_is_told_with_the_command_that_starts_it() {
        assert_eq!(told("enabled", "active", "54321", "success"), [(Level::Ok, String::new())]);
        // Started as root, the service becomes the owner of the cache.
        assert_eq!(told("enabled", "active", "", "success"), [(Level::Ok, String::new())]);
        assert_eq!(told("disabled", "inactive", "", ""), [(Level::Warning, ENABLE.into())]);
        assert_eq!(told("enabled", "inactive", "", "")[0].0, Level::Warning);
        assert!(told("", "inactive", "", "")[0].1.starts_with("make install"));
        assert!(told("masked", "inactive", "", "")[0].1.starts_with("systemctl unmask"));
        assert!(told("enabled", "active", "", "exit-code")[1].1.contains("journalctl"));
        let other = &told("enabled", "active", "54322", "success")[1];
        assert!(other.0 == Level::Fault && other.1.contains("User=54321"), "{other:?}");
    }

    #[test]
    fn policies_that_wait_for_days_are_told() {
        let known = Examined { policies: 3, overdue: 2, last_fetch: Some(UnixTime(5)), ..Examined::default() };
        assert_eq!(judge_cache(&known, true, UnixTime(10)).unwrap().level, Level::Warning);
        assert_eq!(judge_cache(&known, false, UnixTime(10)).unwrap().level, Level::Ok);
        let fresh = Examined { overdue: 0, ..known };
        assert!(judge_cache(&fresh, true, UnixTime(10)).unwrap().text.contains("1970-01-01 00:00:05"));
        assert_eq!(judge_cache(&fresh, true, UnixTime(1)), None);
    }
}
