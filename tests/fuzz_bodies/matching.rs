//! Patterns and a host, one a line, the host last: names are normalised once and for all, and a pattern matches as
//! RFC 8461 section 4.1 says.

use mtasts::capi::mtasts_match_mx;
use mtasts::syntax::{MxHost, MxPattern, PolicyDomain, any_match};
use std::ffi::CString;

pub fn run(bytes: &[u8]) {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let host = lines.pop().unwrap_or_default();
    if let Ok(domain) = PolicyDomain::parse(host) {
        let name = domain.as_str();
        assert!(is_clean(name, "") && domain.record_name().len() <= 253, "{name:?}");
        assert_eq!(PolicyDomain::parse(name.as_bytes()), Ok(domain.clone()), "not a fixed point");
        assert_eq!(PolicyDomain::parse(format!("{name}.").to_uppercase().as_bytes()), Ok(domain.clone()));
        assert!(MxHost::parse(host).is_ok_and(|host| host.as_str() == name), "{name:?}");
    }
    let patterns: Vec<MxPattern> = lines.iter().filter_map(|line| MxPattern::parse(line).ok()).collect();
    assert!(patterns.iter().all(|pattern| is_clean(pattern.as_str().trim_start_matches("*."), "")));
    let parsed = MxHost::parse(host);
    if let Ok(host) = &parsed {
        assert!(is_clean(host.as_str(), "_"), "{host}");
        assert_eq!(MxHost::parse(host.as_str().as_bytes()).as_ref(), Ok(host), "not a fixed point");
        let wanted = patterns.iter().any(|pattern| covers(pattern.as_str(), host.as_str()));
        assert_eq!(any_match(&patterns, host), wanted, "{patterns:?} {host}");
    }
    // The C face says the same.
    let joined = lines.join(&b':');
    if let (Ok(joined), Ok(text)) = (CString::new(joined), CString::new(host)) {
        let wanted = parsed.is_ok_and(|host| {
            let all = joined.as_bytes().split(|&byte| byte == b':');
            all.filter_map(|text| MxPattern::parse(text).ok()).any(|pattern| covers(pattern.as_str(), host.as_str()))
        });
        // SAFETY: both texts live during the call.
        assert_eq!(
            unsafe { mtasts_match_mx(joined.as_ptr(), text.as_ptr()) },
            i32::from(wanted),
            "{joined:?} {text:?}"
        );
    }
}

/// Label by label from the right, the star for one label.
fn covers(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len()
        && pattern.iter().zip(&host).enumerate().all(|(at, (want, is))| (at == 0 && *want == "*") || want == is)
}

/// Whether a name can do no harm in a URL, a query or a host list.
fn is_clean(name: &str, more: &str) -> bool {
    let fits = |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || more.contains(c);
    name.len() <= 253 && name.split('.').all(|label| fits(label) && label.chars().all(is_letter))
}
