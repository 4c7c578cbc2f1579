//! Names: the policy domain that a lookup is keyed by, and the MX host that a decision is about.
//!
//! Both are kept as A-labels in lower case without a final dot, so that four spellings of a name are one key
//! (RFC 8461 sections 3.2 and 3.4). No name that passes here can change the meaning of a URL, a DNS query or a line
//! of a mail server's configuration.

use smol_str::SmolStr;
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// The longest name in its text form without a final dot (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// The longest label (RFC 1035 section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// `_mta-sts.` stands before a policy domain and must still fit into a name.
const MAX_POLICY_DOMAIN_BYTES: usize = MAX_NAME_BYTES - "_mta-sts.".len();
/// No name in any encoding is longer than this, and nothing longer is worth an IDNA conversion.
const MAX_INPUT_BYTES: usize = 4 * 1024;

/// Why a text is not a name that could have a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainError {
    /// An IP address, in brackets or bare: it has no policy (RFC 8461 section 3.4).
    AddressLiteral,
    /// The text is empty or only a dot.
    Empty,
    /// Two dots in a row, or a dot at the beginning.
    EmptyLabel,
    /// A label of more than 63 bytes.
    LabelTooLong,
    /// The whole name does not fit into DNS.
    TooLong,
    /// A byte or character that no host name has.
    BadCharacter,
    /// A label begins or ends with a hyphen.
    BadHyphen,
    /// The last label is a number, as in no name that exists.
    NumericTopLabel,
    /// The text is not UTF-8, or IDNA has no A-label for it.
    NoALabel,
}

impl fmt::Display for DomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressLiteral => "an IP address has no policy domain",
            Self::Empty => "the name is empty",
            Self::EmptyLabel => "the name has an empty label, want no dot at the beginning and no two in a row",
            Self::LabelTooLong => "the name has a label of more than 63 bytes",
            Self::TooLong => "the name is longer than a DNS name can be",
            Self::BadCharacter => "the name has a character other than letters, digits, hyphens and dots",
            Self::BadHyphen => "the name has a label that begins or ends with a hyphen",
            Self::NumericTopLabel => "the name ends in a number, which no domain does",
            Self::NoALabel => "the name is not valid UTF-8 or has no A-label form",
        })
    }
}

impl std::error::Error for DomainError {}

/// A domain that may publish a policy: the recipient's, or that of the next hop (RFC 8461 section 3.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyDomain(SmolStr);

impl PolicyDomain {
    /// Reads a domain as a mail server has it: any case, one final dot or none, U-labels or A-labels.
    pub fn parse(input: &[u8]) -> Result<Self, DomainError> {
        let name = normalise(input, Alphabet::Hostname)?;
        if name.len() > MAX_POLICY_DOMAIN_BYTES {
            return Err(DomainError::TooLong);
        }
        Ok(Self(name))
    }

    /// The domain in A-label form, lower case, no final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, to keep. A short name is copied without an allocation.
    pub fn name(&self) -> SmolStr {
        self.0.clone()
    }

    /// Where the STS record lives: `_mta-sts.` and the domain (RFC 8461 section 3.1).
    pub fn record_name(&self) -> String {
        format!("_mta-sts.{}", self.0)
    }

    /// The policy host: `mta-sts.` and the domain (RFC 8461 section 3.3).
    pub fn policy_host(&self) -> String {
        format!("mta-sts.{}", self.0)
    }
}

impl fmt::Display for PolicyDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a mail server as an MX record gives it. Other than a policy domain it may hold an underscore.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MxHost(SmolStr);

impl MxHost {
    /// Reads a host as DNS or a mail server has it: any case, one final dot or none, U-labels or A-labels.
    pub fn parse(input: &[u8]) -> Result<Self, DomainError> {
        Ok(Self(normalise(input, Alphabet::Underscore)?))
    }

    /// The host in A-label form, lower case, no final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MxHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which characters a label may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// Letters, digits, inner hyphens (RFC 5321 section 4.1.2, `Domain`).
    Hostname,
    /// The same and underscores, which DNS allows and some MX records have.
    Underscore,
}

fn normalise(input: &[u8], alphabet: Alphabet) -> Result<SmolStr, DomainError> {
    if input.len() > MAX_INPUT_BYTES {
        return Err(DomainError::TooLong);
    }
    if is_ipv6_or_bracketed(input) {
        return Err(DomainError::AddressLiteral);
    }
    let name: Cow<'_, str> = match std::str::from_utf8(input) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        // UTS 46, non-transitional, as browsers and mail servers do; the rules for host names follow below.
        _ => idna::domain_to_ascii_cow(input, idna::AsciiDenyList::EMPTY).map_err(|_| DomainError::NoALabel)?,
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    check_name(name.as_bytes(), alphabet)?;
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if is_lower { SmolStr::new(name) } else { SmolStr::new(name.to_ascii_lowercase()) })
}

fn is_ipv6_or_bracketed(input: &[u8]) -> bool {
    let is_ipv6 = || std::str::from_utf8(input).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    input.starts_with(b"[") || input.contains(&b':') && is_ipv6()
}

fn check_name(name: &[u8], alphabet: Alphabet) -> Result<(), DomainError> {
    if name.is_empty() {
        return Err(DomainError::Empty);
    }
    let mut top: &[u8] = &[];
    for label in name.split(|&byte| byte == b'.') {
        check_label(label, alphabet)?;
        top = label;
    }
    // RFC 3696 section 2: no top-level domain is all digits. This also catches every form of an IPv4 address.
    if top.iter().all(u8::is_ascii_digit) {
        let is_ipv4 = std::str::from_utf8(name).is_ok_and(|text| text.parse::<std::net::Ipv4Addr>().is_ok());
        return Err(if is_ipv4 { DomainError::AddressLiteral } else { DomainError::NumericTopLabel });
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(DomainError::TooLong);
    }
    Ok(())
}

fn check_label(label: &[u8], alphabet: Alphabet) -> Result<(), DomainError> {
    if label.is_empty() {
        return Err(DomainError::EmptyLabel);
    }
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric() || *byte == b'-' || (*byte == b'_' && alphabet == Alphabet::Underscore)
    };
    if !label.iter().all(allowed) {
        return Err(DomainError::BadCharacter);
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(DomainError::LabelTooLong);
    }
    if label.starts_with(b"-") || label.ends_with(b"-") {
        return Err(DomainError::BadHyphen);
    }
    Ok(())
}

/// The rule of [`PolicyDomain`] for a name inside a policy: letters, digits, hyphens and dots, no final dot,
/// A-labels only (RFC 8461 section 3.2). Numbers are let through, since the grammar of RFC 5321 has them.
pub(super) fn check_policy_name(name: &[u8]) -> Result<(), DomainError> {
    for label in name.split(|&byte| byte == b'.') {
        check_label(label, Alphabet::Hostname)?;
    }
    if name.len() > MAX_NAME_BYTES { Err(DomainError::TooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(input: &str, want: &str) {
        assert_eq!(PolicyDomain::parse(input.as_bytes()).unwrap().as_str(), want, "{input:?}");
    }

    fn bad(input: impl AsRef<[u8]>, want: DomainError) {
        let input = input.as_ref();
        assert_eq!(PolicyDomain::parse(input).unwrap_err(), want, "{:?}", String::from_utf8_lossy(input));
    }

    // Conformance: S3.4-4.
    #[test]
    fn spellings_of_one_name_are_one_key() {
        for spelling in ["müller.example", "MÜLLER.example.", "xn--mller-kva.example", "XN--MLLER-KVA.EXAMPLE."] {
            good(spelling, "xn--mller-kva.example");
        }
        good("Example.COM", "example.com");
        good("example。com", "example.com");
        good("a--b.example", "a--b.example");
    }

    // Conformance: S3.4-5.
    #[test]
    fn names_that_could_be_injected_into_a_url_or_a_query_are_refused() {
        for input in ["a b", "a/b", "a@b", "a%b", "a:b", "a\0b", "a?b", "a#b", "a\\b", "a\nb", "a_b.example", "*.a.b"] {
            bad(input, DomainError::BadCharacter);
        }
        bad("", DomainError::Empty);
        bad(".", DomainError::Empty);
        bad(".example.com", DomainError::EmptyLabel);
        bad("a..example", DomainError::EmptyLabel);
        bad("example.com..", DomainError::EmptyLabel);
        bad("-a.example", DomainError::BadHyphen);
        bad("a-.example", DomainError::BadHyphen);
        bad([0xff, 0xfe, b'.', b'a'], DomainError::NoALabel);
    }

    // Conformance: S3.4-2.
    #[test]
    fn addresses_have_no_policy_domain() {
        for input in
            ["192.0.2.1", "192.0.2.1.", "[192.0.2.1]", "[IPv6:2001:db8::1]", "2001:db8::1", "::", "１.２.３.４"]
        {
            bad(input, DomainError::AddressLiteral);
        }
        bad("1.2.3.4.5", DomainError::NumericTopLabel);
        bad("example.123", DomainError::NumericTopLabel);
    }

    // Conformance: S3.4-5.
    #[test]
    fn lengths_are_those_of_dns() {
        let label = "a".repeat(63);
        good(&format!("{label}.example"), &format!("{label}.example"));
        bad(format!("{label}a.example"), DomainError::LabelTooLong);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(MAX_POLICY_DOMAIN_BYTES - 3 * 64));
        good(&longest, &longest);
        bad(format!("{longest}a"), DomainError::TooLong);
        bad("a.".repeat(150), DomainError::TooLong);
        bad("ü".repeat(5000), DomainError::TooLong);
    }

    #[test]
    fn an_mx_host_may_hold_an_underscore() {
        assert_eq!(MxHost::parse(b"MX_1.Example.com.").unwrap().as_str(), "mx_1.example.com");
        assert_eq!(MxHost::parse(b"mx.example.com..").unwrap_err(), DomainError::EmptyLabel);
        assert_eq!(MxHost::parse(b"192.0.2.1").unwrap_err(), DomainError::AddressLiteral);
    }
}
