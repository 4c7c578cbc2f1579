//! A configuration as text, and as single keys with values.

use mtasts::config::{ConfigError, Rule, Settings};
use mtasts::syntax::{Mode, Policy};
use std::path::Path;

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (settings, faults) = Settings::parse(&text, Path::new("/etc/mtasts.toml"));
    check(&settings);
    faults.iter().for_each(one_line);
    let lines = text.split('\n').count();
    assert!(faults.iter().all(|fault| fault.line.is_none_or(|line| (1..=lines).contains(&line))), "{faults:?}");
    assert_eq!(Settings::parse(&text, Path::new("/etc/mtasts.toml")), (settings, faults), "not the same again");

    let mut settings = Settings::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let before = settings.clone();
        if let Err(fault) = settings.set(key.trim(), value) {
            one_line(&fault);
            assert_eq!(settings, before, "a fault has changed something: {line:?}");
        }
    }
    check(&settings);
}

/// What no configuration may bring about.
fn check(settings: &Settings) {
    assert!(settings.cache.is_absolute() && settings.ca_file.as_ref().is_none_or(|file| file.is_absolute()));
    assert!(settings.https_port > 0 && settings.cache_entries > 0);
    assert!(settings.nameservers.iter().all(|server| server.port() > 0), "{:?}", settings.nameservers);
    for limit in [settings.deadline, settings.timeout, settings.dns_timeout] {
        assert!((1..=3600).contains(&limit.as_secs()), "{limit:?}");
    }
    let is_root = |user: &String| user == "root" || user.parse() == Ok(0_u32) || user.is_empty();
    assert!(!settings.user.as_ref().is_some_and(is_root), "{:?}", settings.user);
    for (domain, decision) in &*settings.domains {
        assert!(!decision.why.chars().any(char::is_control), "{domain}: {:?}", decision.why);
        match &decision.rule {
            Rule::Exempt => assert!(decision.until.is_some() && !decision.why.is_empty(), "{domain}: {decision:?}"),
            Rule::Pinned { policy, body } => {
                assert!(policy.mode() != Mode::None && !policy.mx().is_empty(), "{domain}: {decision:?}");
                assert_eq!(Policy::parse(body).as_ref(), Ok(policy), "{domain}");
            }
        }
    }
}

/// A fault goes into a log and onto a terminal.
fn one_line(fault: &ConfigError) {
    let text = fault.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
