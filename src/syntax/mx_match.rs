//! Whether a policy lists an MX host: whole labels, without regard to case (RFC 8461 section 4.1).

use super::domain::check_policy_name;
use super::{DomainError, MxHost};
use smol_str::SmolStr;
use std::fmt;

/// One `mx` value of a policy: a host name, or `*.` and a domain. Kept in lower case, and where it is short, without a
/// further walk to memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxPattern(SmolStr);

impl MxPattern {
    /// Reads `["*."] Domain` (RFC 8461 section 3.2): A-labels, no final dot, no other star.
    pub fn parse(value: &[u8]) -> Result<Self, DomainError> {
        // The limit of a name counts what stands behind the star.
        check_policy_name(value.strip_prefix(b"*.").unwrap_or(value))?;
        Ok(Self(SmolStr::from(String::from_utf8_lossy(value).to_ascii_lowercase())))
    }

    /// The pattern in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this pattern covers the host. `*` stands for exactly one whole leftmost label (RFC 8461 section 4.1).
    pub fn matches(&self, host: &MxHost) -> bool {
        match self.0.strip_prefix("*.") {
            None => *self.0 == *host.as_str(),
            Some(base) => host.as_str().split_once('.').is_some_and(|(_, rest)| rest == base),
        }
    }

    /// Whether no host can ever match, because the name ends in a number as only an address does.
    pub fn is_dead(&self) -> bool {
        self.0.rsplit('.').next().is_some_and(|top| top.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether one of the patterns covers the host.
pub fn any_match(patterns: &[MxPattern], host: &MxHost) -> bool {
    patterns.iter().any(|pattern| pattern.matches(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> MxPattern {
        MxPattern::parse(text.as_bytes()).unwrap()
    }

    // Conformance: S4.1-2.
    #[test]
    fn a_star_stands_for_one_label_of_any_kind() {
        let host = |text: &str| MxHost::parse(text.as_bytes()).unwrap();
        assert!(pattern("*.example.com").matches(&host("mx_1.example.com")));
        assert!(!pattern("*.example.com").matches(&host("a.b.example.com")));
        assert!(!pattern("*.com").matches(&host("com")));
        assert!(pattern("*.com").matches(&host("example.com")));
    }

    // Conformance: S3.2-8.
    #[test]
    fn malformed_patterns_are_refused() {
        for text in [
            "*",
            "*.",
            "",
            ".",
            "*..a",
            "*.*.a",
            "a.*",
            "a*.b",
            "*a.b",
            "a.b.",
            ".a.b",
            "a b",
            "[192.0.2.1]",
            "a_b.c",
            "ü.c",
        ] {
            assert!(MxPattern::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        let longest = format!("*.{}a", "a.".repeat(126));
        assert!(MxPattern::parse(longest.as_bytes()).is_ok(), "253 bytes behind the star");
        assert!(MxPattern::parse(format!("{longest}a").as_bytes()).is_err(), "254 bytes behind the star");
    }

    #[test]
    fn an_address_as_pattern_is_dead() {
        assert!(pattern("192.0.2.1").is_dead());
        assert!(!pattern("192.0.2.example").is_dead());
    }
}
