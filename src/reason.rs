//! Why an answer is what it is: one vocabulary for every face, and the RFC 8460 result type of each failure.
//!
//! A code is frozen once released. The text beside it in an answer names the very thing; the text here is its kind.

/// Failure types of TLS reports (RFC 8460 section 4.3). 0 stands for "nothing to report".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub enum ResultType {
    /// Nothing went wrong, or nothing that is to be reported.
    None = 0,
    /// `starttls-not-supported`.
    StarttlsNotSupported = 1,
    /// `certificate-host-mismatch`.
    CertificateHostMismatch = 2,
    /// `certificate-expired`.
    CertificateExpired = 3,
    /// `certificate-not-trusted`.
    CertificateNotTrusted = 4,
    /// `validation-failure`.
    ValidationFailure = 5,
    /// `tlsa-invalid`.
    TlsaInvalid = 6,
    /// `dnssec-invalid`.
    DnssecInvalid = 7,
    /// `dane-required`.
    DaneRequired = 8,
    /// `sts-policy-fetch-error`.
    StsPolicyFetchError = 9,
    /// `sts-policy-invalid`.
    StsPolicyInvalid = 10,
    /// `sts-webpki-invalid`.
    StsWebpkiInvalid = 11,
}

impl ResultType {
    /// The name in a TLS report; none where there is nothing to report.
    pub fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        })
    }
}

/// Why an answer or a decision is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub enum Reason {
    /// The cached policy is in force and its next check is not due.
    Cached = 1,
    /// DNS still shows the id of the cached policy.
    Confirmed = 2,
    /// The policy has just been fetched.
    Fetched = 3,
    /// The caller handed in the policy body.
    Parsed = 4,
    /// The cached policy is in force, and another asker looks for a newer one.
    BeingChecked = 5,
    /// The cached policy is in force, and the caller asked not to go further.
    NotChecked = 6,
    /// The cached policy listed none of the message's MX hosts, and was fetched anew for that.
    Healed = 7,
    /// The configuration exempts the domain from its policy.
    Exempted = 8,
    /// The configuration has a policy for the domain.
    Pinned = 9,

    /// The domain publishes no STS record.
    NoRecord = 10,
    /// The domain publishes more than one STS record, which counts as none.
    SeveralRecords = 11,
    /// The STS record is malformed, which counts as none.
    MalformedRecord = 12,
    /// DNS gave no answer about the STS record.
    DnsFailed = 13,
    /// An IP address has no policy.
    AddressLiteral = 14,
    /// The text cannot be the name of a domain.
    InvalidDomain = 15,
    /// Nothing is cached, and the caller asked not to go further.
    NotCached = 16,
    /// Another asker was waited for, and then there was not enough time left to find out.
    WaitedInVain = 17,
    /// The cached policy lists none of the message's MX hosts, and was fetched too recently to be fetched again for that.
    FetchedRecently = 18,

    /// The last fetch for this id failed less than five minutes ago.
    BackingOff = 30,
    /// The policy host has no address.
    PolicyHostNotFound = 31,
    /// No address of the policy host takes a connection.
    PolicyHostUnreachable = 32,
    /// The policy host did not answer in time.
    PolicyHostTimedOut = 33,
    /// The policy host points into a private network.
    PolicyHostPrivateAddress = 34,
    /// The TLS handshake with the policy host failed.
    PolicyHostTlsFailed = 35,
    /// The certificate of the policy host has expired or is not valid yet.
    PolicyHostCertificateExpired = 36,
    /// The certificate of the policy host does not lead to a trusted root.
    PolicyHostCertificateNotTrusted = 37,
    /// The certificate of the policy host is for another name.
    PolicyHostCertificateHostMismatch = 38,
    /// The policy host answered with a status other than 200.
    PolicyHostStatus = 39,
    /// The policy host answered with a media type other than text/plain.
    PolicyHostMediaType = 40,
    /// The policy host answered in a content coding that was not asked for.
    PolicyHostContentEncoding = 41,
    /// The policy host closed the connection before the end of the policy.
    PolicyHostIncompleteBody = 42,
    /// The answer of the policy host is not HTTP.
    PolicyHostProtocol = 43,
    /// The policy is larger than 65536 bytes.
    PolicyTooLarge = 44,
    /// The policy is malformed.
    PolicyInvalid = 45,
    /// This machine has no trusted root certificates to verify with.
    NoTrustedRoots = 46,
    /// DNS gave no answer about the address of the policy host.
    PolicyHostDnsFailed = 47,

    /// No policy applies: the recipient's domain sets no constraint.
    NoPolicy = 60,
    /// The policy has mode none.
    ModeNone = 61,
    /// The policy has mode testing: deliver, and report failures.
    Testing = 62,
    /// The enforced policy lists the MX host.
    MxListed = 63,
    /// The policy does not list the MX host.
    MxNotListed = 64,
    /// It is not known whether a policy applies.
    PolicyUnknown = 65,
    /// A usable TLSA set governs the connection.
    DaneGoverns = 66,
    /// TLSA records exist but none is usable: TLS is needed, without authentication by DANE.
    DaneUnusable = 67,
    /// DANE failed for the MX host, which no policy can mend.
    DaneFailed = 68,
    /// The TLS session meets what the policy asks for.
    TlsVerified = 70,
    /// The MX host offers no STARTTLS.
    StarttlsNotOffered = 71,
    /// The TLS handshake with the MX host failed.
    TlsFailed = 72,
    /// The certificate of the MX host is for another name.
    MxCertificateHostMismatch = 73,
    /// The certificate of the MX host does not lead to a trusted root.
    MxCertificateNotTrusted = 74,
    /// The certificate of the MX host has expired or is not valid yet.
    MxCertificateExpired = 75,
    /// The certificate of the MX host is malformed, missing, or not made for a server.
    MxCertificateInvalid = 76,
}

impl Reason {
    /// The failure type for a TLS report (RFC 8460 section 4.3).
    pub fn result_type(self) -> ResultType {
        match self {
            Self::PolicyHostNotFound
            | Self::PolicyHostDnsFailed
            | Self::PolicyHostUnreachable
            | Self::PolicyHostTimedOut
            | Self::PolicyHostPrivateAddress
            | Self::PolicyHostStatus
            | Self::PolicyHostMediaType
            | Self::PolicyHostContentEncoding
            | Self::PolicyHostIncompleteBody
            | Self::PolicyHostProtocol => ResultType::StsPolicyFetchError,
            Self::PolicyHostTlsFailed
            | Self::PolicyHostCertificateExpired
            | Self::PolicyHostCertificateNotTrusted
            | Self::PolicyHostCertificateHostMismatch => ResultType::StsWebpkiInvalid,
            Self::PolicyTooLarge | Self::PolicyInvalid => ResultType::StsPolicyInvalid,
            // RFC 8460 has no type of its own for an unlisted host.
            Self::MxNotListed | Self::DaneFailed | Self::TlsFailed | Self::MxCertificateInvalid => {
                ResultType::ValidationFailure
            }
            Self::StarttlsNotOffered => ResultType::StarttlsNotSupported,
            Self::MxCertificateHostMismatch => ResultType::CertificateHostMismatch,
            Self::MxCertificateNotTrusted => ResultType::CertificateNotTrusted,
            Self::MxCertificateExpired => ResultType::CertificateExpired,
            _ => ResultType::None,
        }
    }

    /// Whether more time might have brought an answer.
    pub(crate) fn is_want_of_time(self) -> bool {
        matches!(self, Self::DnsFailed | Self::PolicyHostTimedOut | Self::PolicyHostDnsFailed)
    }

    /// Whether it tells of a fetch that failed, or was not repeated.
    pub(crate) fn is_of_fetch(self) -> bool {
        (Self::BackingOff as i32..=Self::PolicyHostDnsFailed as i32).contains(&(self as i32))
    }

    /// The word for this reason in machine-readable output and logs.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(reason, _)| *reason == self).map_or("unknown", |(_, name)| name)
    }

    /// The reason that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        NAMES.iter().find(|(_, name)| *name == word).map(|(reason, _)| *reason)
    }

    /// The reason of a code that was stored earlier.
    pub fn from_code(code: i64) -> Option<Self> {
        NAMES.iter().map(|(reason, _)| *reason).find(|reason| i64::from(*reason as i32) == code)
    }
}

const NAMES: &[(Reason, &str)] = &[
    (Reason::Cached, "cached"),
    (Reason::Confirmed, "confirmed"),
    (Reason::Fetched, "fetched"),
    (Reason::Parsed, "parsed"),
    (Reason::BeingChecked, "being-checked"),
    (Reason::NotChecked, "not-checked"),
    (Reason::Healed, "healed"),
    (Reason::Exempted, "exempted"),
    (Reason::Pinned, "pinned"),
    (Reason::NoRecord, "no-record"),
    (Reason::SeveralRecords, "several-records"),
    (Reason::MalformedRecord, "malformed-record"),
    (Reason::DnsFailed, "dns-failed"),
    (Reason::AddressLiteral, "address-literal"),
    (Reason::InvalidDomain, "invalid-domain"),
    (Reason::NotCached, "not-cached"),
    (Reason::WaitedInVain, "waited-in-vain"),
    (Reason::FetchedRecently, "fetched-recently"),
    (Reason::BackingOff, "backing-off"),
    (Reason::PolicyHostNotFound, "policy-host-not-found"),
    (Reason::PolicyHostUnreachable, "policy-host-unreachable"),
    (Reason::PolicyHostTimedOut, "policy-host-timed-out"),
    (Reason::PolicyHostPrivateAddress, "policy-host-private-address"),
    (Reason::PolicyHostTlsFailed, "policy-host-tls-failed"),
    (Reason::PolicyHostCertificateExpired, "policy-host-certificate-expired"),
    (Reason::PolicyHostCertificateNotTrusted, "policy-host-certificate-not-trusted"),
    (Reason::PolicyHostCertificateHostMismatch, "policy-host-certificate-host-mismatch"),
    (Reason::PolicyHostStatus, "policy-host-status"),
    (Reason::PolicyHostMediaType, "policy-host-media-type"),
    (Reason::PolicyHostContentEncoding, "policy-host-content-encoding"),
    (Reason::PolicyHostIncompleteBody, "policy-host-incomplete-body"),
    (Reason::PolicyHostProtocol, "policy-host-protocol"),
    (Reason::PolicyTooLarge, "policy-too-large"),
    (Reason::PolicyInvalid, "policy-invalid"),
    (Reason::NoTrustedRoots, "no-trusted-roots"),
    (Reason::PolicyHostDnsFailed, "policy-host-dns-failed"),
    (Reason::NoPolicy, "no-policy"),
    (Reason::ModeNone, "mode-none"),
    (Reason::Testing, "testing"),
    (Reason::MxListed, "mx-listed"),
    (Reason::MxNotListed, "mx-not-in-policy"),
    (Reason::PolicyUnknown, "policy-unknown"),
    (Reason::DaneGoverns, "dane-governs"),
    (Reason::DaneUnusable, "dane-unusable"),
    (Reason::DaneFailed, "dane-failed"),
    (Reason::TlsVerified, "tls-verified"),
    (Reason::StarttlsNotOffered, "starttls-not-offered"),
    (Reason::TlsFailed, "tls-failed"),
    (Reason::MxCertificateHostMismatch, "mx-certificate-host-mismatch"),
    (Reason::MxCertificateNotTrusted, "mx-certificate-not-trusted"),
    (Reason::MxCertificateExpired, "mx-certificate-expired"),
    (Reason::MxCertificateInvalid, "mx-certificate-invalid"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_and_each_name_stands_for_one_reason() {
        for (at, (reason, name)) in NAMES.iter().enumerate() {
            assert_eq!(Reason::from_code(i64::from(*reason as i32)), Some(*reason));
            assert_eq!(reason.as_str(), *name);
            assert_eq!(Reason::from_word(name), Some(*reason));
            assert!(NAMES[at + 1..].iter().all(|(other, twin)| other != reason && twin != name), "{name}");
        }
        assert_eq!((Reason::from_code(0), Reason::from_word("unknown")), (None, None));
    }
}
