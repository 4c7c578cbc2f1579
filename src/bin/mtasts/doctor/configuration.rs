//! The configuration: where it is, who may read and write it, what is wrong in it and what is unusual.

use super::finding::{Finding, word};
use super::owner::{Hand, MailUser, READ, stranger};
use mtasts::config::{ConfigError, DEFAULT_PATH, Rule, Settings, user_and_group, user_name};
use mtasts::time::UnixTime;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const WRITABLE_BY_GROUP: u32 = 0o020;

/// `file`: where the configuration is; none where there is none.
pub fn check(
    settings: &Settings,
    faults: &[ConfigError],
    file: Option<&Path>,
    user: &MailUser,
    now: UnixTime,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let editor = format!("editor {}", file.map_or_else(|| DEFAULT_PATH.to_owned(), word));
    for fault in faults {
        findings.push(Finding::fault(fault.to_string()).mend(editor.clone()));
    }
    match file {
        Some(file) => findings.extend(rights(file, user)),
        None => findings.push(Finding::ok(format!("there is no {DEFAULT_PATH}: every key has its default"))),
    }
    if let (Some(file), true) = (file, findings.is_empty()) {
        findings.push(Finding::ok(format!("{} is well-formed", file.display())));
    }
    findings.extend(settings.user.as_deref().and_then(|user| wrong_user(user, &editor)));
    findings.extend(unusual(settings, &editor));
    findings.extend(ended(settings, now, &editor));
    findings
}

fn rights(file: &Path, user: &MailUser) -> Vec<Finding> {
    let Ok(found) = fs::metadata(file) else { return Vec::new() };
    let (shown, quoted) = (file.display(), word(file));
    let mut findings = Vec::new();
    match stranger(file, 0) {
        Some((place, Hand::Everybody)) => {
            let text =
                format!("{} may be written by everybody, so that nothing in {shown} can be believed", place.display());
            findings.push(Finding::fault(text).mend(format!("chmod go-w {}", word(&place))));
        }
        Some((place, Hand::Owner(owner))) => {
            let text = format!(
                "{} belongs to {}: read by root, as in Exim, nothing in {shown} is in force",
                place.display(),
                user_name(owner)
            );
            findings.push(Finding::warning(text).mend(format!("chown root:root {}", word(&place))));
        }
        None => {}
    }
    if found.mode() & WRITABLE_BY_GROUP != 0 {
        let text = format!("{shown} may be written by its group: read by root, as in Exim, nothing in it is in force");
        findings.push(Finding::fault(text).mend(format!("chmod 0644 {quoted}")));
    }
    if !user.may(READ, &found) {
        let text = format!("{shown} cannot be read by {}, who refreshes the cache", user.name());
        findings.push(Finding::fault(text).mend(format!("chmod 0644 {quoted}")));
    } else if let Some(closed) = user.is_kept_out_by(file) {
        let text = format!("{} cannot enter {}, which leads to {shown}", user.name(), closed.display());
        findings.push(Finding::fault(text).mend(format!("chmod o+x {}", word(closed))));
    }
    findings
}

fn wrong_user(user: &str, editor: &str) -> Option<Finding> {
    let problem = match user_and_group(user) {
        None => "is not in /etc/passwd",
        Some((0, _)) => "is root",
        Some(_) => return None,
    };
    Some(Finding::fault(format!("key `user`: {user} {problem}, want the user that delivers mail")).mend(editor))
}

/// Settings that protect less than the default, or that are for tests.
fn unusual(settings: &Settings, editor: &str) -> Vec<Finding> {
    let default = Settings::default();
    let mut findings = Vec::new();
    let mut warn = |is_so: bool, text: &str| {
        if is_so {
            findings.push(Finding::warning(text).mend(editor));
        }
    };
    warn(settings.observe, "`observe = true`: nothing is enforced, what would be refused is logged");
    warn(!settings.refresh, "`refresh = false`: a policy that no mail asks about is forgotten at its end");
    warn(
        settings.allow_private_addresses,
        "`allow_private_addresses = true`: whoever publishes a policy can have this machine connect to hosts inside",
    );
    warn(settings.https_port != default.https_port, "`https_port` is not 443: no policy host is found there");
    warn(!settings.syslog, "`syslog = false`: in Exim nobody is told about a policy that cannot be fetched");
    warn(
        settings.timeout > settings.deadline || settings.dns_timeout > settings.deadline,
        "`deadline_seconds` is shorter than the time for one fetch or one question to DNS, and ends it",
    );
    findings
}

/// Tables for single domains that do not count any more.
fn ended(settings: &Settings, now: UnixTime, editor: &str) -> Vec<Finding> {
    let over = settings.domains.iter().filter(|(_, decision)| !decision.is_in_force(now));
    over.map(|(domain, decision)| {
        let what = match decision.rule {
            Rule::Exempt => "exception",
            Rule::Pinned { .. } => "pinned policy",
        };
        let until = decision.until.map(UnixTime::to_utc_string).unwrap_or_default();
        Finding::warning(format!("the {what} for {domain} has ended at {until} and is ignored")).mend(editor)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn levels(text: &str, now: i64) -> Vec<(Level, String)> {
        let (settings, faults) = Settings::parse(text, Path::new("/etc/mtasts.toml"));
        let user = MailUser { ids: Some((1, 1)), exim: None };
        let findings = check(&settings, &faults, None, &user, UnixTime(now));
        findings.into_iter().filter(|finding| finding.level != Level::Ok).map(|is| (is.level, is.text)).collect()
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let found = levels("observ = true\nhttps_port = \"x\"\n", 0);
        assert_eq!(found.len(), 2);
        assert!(found[0].1.contains("line 1: key `observ` is not known"), "{found:?}");
        assert!(found.iter().all(|(level, _)| *level == Level::Fault));
    }

    #[test]
    fn what_protects_less_is_a_warning() {
        for (text, want) in [
            ("observe = true", "nothing is enforced"),
            ("refresh = false", "forgotten"),
            ("allow_private_addresses = true", "hosts inside"),
            ("https_port = 8443", "not 443"),
            ("syslog = false", "nobody is told"),
            ("deadline_seconds = 5", "shorter"),
            ("[domain.\"a.test\"]\nmode = \"none\"\nuntil = 2020-01-31\nwhy = \"x\"", "a.test has ended at 2020-01-31"),
        ] {
            let found = levels(text, 2_000_000_000);
            assert!(found.len() == 1 && found[0].0 == Level::Warning && found[0].1.contains(want), "{text}: {found:?}");
        }
        assert_eq!(levels("", 0), []);
        assert_eq!(levels("user = \"no-such-user\"", 0)[0].0, Level::Fault);
    }

    #[test]
    fn a_file_that_others_may_write_or_that_the_mail_user_cannot_read_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let file = directory.path().join("mtasts.toml");
        fs::write(&file, "").unwrap();
        let told = |mode| {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let faults = rights(&file, &MailUser { ids: Some((54_321, 54_321)), exim: None });
            faults.into_iter().filter(|is| is.level == Level::Fault).map(|is| is.text).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(told(0o644), "");
        assert!(told(0o666).contains("may be written by everybody"));
        assert!(told(0o664).contains("may be written by its group"));
        assert!(told(0o600).contains("cannot be read by 54321"));
    }
}
