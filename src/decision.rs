//! What a mail server may do with one MX host: policy, host name, DANE state and TLS outcome to a decision.
//!
//! Pure: one policy snapshot, no I/O, no clock; only [`Decision::verify`] may have to read the trusted roots. Implements
//! RFC 8461 sections 4 and 5 and, where both apply, the precedence of RFC 7672. A DANE failure is never rescued by a
//! policy (RFC 8461 section 2). Enforcement is always a temporary failure (RFC 8461 section 5).

use crate::discovery::Answer;
use crate::reason::{Reason, ResultType};
use crate::syntax::{Mode, MxHost, any_match};
use crate::time::UnixTime;
use crate::tls::{Trust, Unverified};
use smol_str::SmolStr;
use std::borrow::Cow;
use std::ffi::CStr;

/// What the mail server knows from DANE about an MX host (RFC 7672 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Dane {
    /// The mail server does not do DANE.
    NotChecked = 0,
    /// The answer is insecure, or there is no TLSA record.
    Absent = 1,
    /// There is a secure TLSA set in which no record can be used.
    Unusable = 2,
    /// A usable TLSA set governs the connection; the mail server verifies by it, in place of PKIX. What does not match
    /// is `Failed`, before the handshake or as the outcome of it.
    Usable = 3,
    /// No TLSA record matches, or the lookup was bogus, failed or timed out.
    Failed = 4,
}

impl Dane {
    /// The state of a number that came from elsewhere.
    pub fn from_code(code: i32) -> Option<Self> {
        [Self::NotChecked, Self::Absent, Self::Unusable, Self::Usable, Self::Failed]
            .into_iter()
            .find(|state| *state as i32 == code)
    }
}

/// How the TLS handshake with the MX host went, as the mail server's TLS library names it.
///
/// The certificate states are the verdict of PKIX. Under a usable TLSA set PKIX has no say: a handshake whose
/// certificate matches no TLSA record is `Failed`, whatever else is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum TlsState {
    /// The session stands, and the certificate is valid for the MX host.
    Ok = 1,
    /// The host does not offer STARTTLS, or refuses it.
    NoStarttls = 2,
    /// The handshake failed for another reason than the certificate.
    Failed = 3,
    /// The certificate is for another name.
    HostMismatch = 4,
    /// The certificate does not lead to a trusted root.
    NotTrusted = 5,
    /// The certificate has expired or is not valid yet.
    Expired = 6,
    /// The certificate is unusable for another reason: malformed, missing, or not made for a server.
    CertificateInvalid = 7,
}

impl TlsState {
    /// The state of a number that came from elsewhere.
    pub fn from_code(code: i32) -> Option<Self> {
        [
            Self::Ok,
            Self::NoStarttls,
            Self::Failed,
            Self::HostMismatch,
            Self::NotTrusted,
            Self::Expired,
            Self::CertificateInvalid,
        ]
        .into_iter()
        .find(|state| *state as i32 == code)
    }

    fn reason(self) -> Reason {
        match self {
            Self::Ok => Reason::TlsVerified,
            Self::NoStarttls => Reason::StarttlsNotOffered,
            Self::Failed => Reason::TlsFailed,
            Self::HostMismatch => Reason::MxCertificateHostMismatch,
            Self::NotTrusted => Reason::MxCertificateNotTrusted,
            Self::Expired => Reason::MxCertificateExpired,
            Self::CertificateInvalid => Reason::MxCertificateInvalid,
        }
    }

    /// Whether there is an encrypted session, whoever is at its other end.
    fn is_encrypted(self) -> bool {
        !matches!(self, Self::NoStarttls | Self::Failed)
    }
}

/// What the mail server may do. Never 0, so that no forgotten or failed call reads as permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Action {
    /// Deliver: there is no constraint, or every one is met.
    Deliver = 1,
    /// Deliver; failures are to be reported (mode testing).
    DeliverReport = 2,
    /// Deliver only over TLS; the certificate need not be verified by PKIX.
    RequireEncryption = 3,
    /// Deliver only over TLS with a certificate that is valid for the MX host; send its name as SNI.
    RequireTls = 4,
    /// Do not use this host; try the next one, and keep the message if there is none.
    SkipHost = 5,
    /// Keep the message and try later.
    Defer = 6,
}

impl Action {
    /// The word for it in machine-readable output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::DeliverReport => "deliver-report",
            Self::RequireEncryption => "require-encryption",
            Self::RequireTls => "require-tls",
            Self::SkipHost => "skip-host",
            Self::Defer => "defer",
        }
    }

    /// Whether mail may go to the host, if TLS is as it has to be.
    pub fn lets_go(self) -> bool {
        !matches!(self, Self::SkipHost | Self::Defer)
    }
}

/// A decision about one MX host.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the mail server may do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The name to send as SNI and to verify against, if the MX host has a usable name.
    pub sni: Option<MxHost>,
    /// The failure so far, for a TLS report.
    pub result_type: ResultType,
    text: Text,
    /// The policy domain, empty if it is not known.
    domain: SmolStr,
    /// The MX host as it is shown to a person if it has no usable name.
    unusable: String,
    /// Whether a TLS failure is reported rather than acted upon.
    is_testing: bool,
    /// Whether the policy is enforced, and the administrator wants it to be observed only.
    is_observed: bool,
}

/// The reason in words, or how to find them: most decisions are never shown to a person.
#[derive(Clone, Debug)]
enum Text {
    Said(String),
    Told(fn(&Decision) -> String),
}

impl Decision {
    /// Decides about one MX host before a connection is made. `dane_wins`: a usable TLSA set frees a host from being
    /// listed.
    pub fn of(answer: &Answer, mx_host: &[u8], dane: Dane, dane_wins: bool) -> Self {
        let host = MxHost::parse(mx_host).ok();
        let mode = answer.mode();
        let patterns = answer.policy.as_ref().map_or(&[][..], |stored| stored.policy.mx());
        let is_listed = host.as_ref().is_some_and(|host| any_match(patterns, host));
        let must_be_listed = !(dane == Dane::Usable && dane_wins);

        let (action, reason, tell): (Action, Reason, fn(&Self) -> String) = match (dane, mode) {
            // RFC 7672 section 2.2, RFC 8461 section 2.
            (Dane::Failed, _) => {
                (Action::SkipHost, Reason::DaneFailed, |this| format!("DANE failed for {}", this.shown()))
            }
            _ if answer.is_unknown && must_be_listed => (Action::Defer, Reason::PolicyUnknown, |this| {
                format!("whether {} may be used is not known", this.shown())
            }),
            (_, Mode::Enforce) if must_be_listed && !is_listed => (Action::SkipHost, Reason::MxNotListed, |this| {
                format!("{} is not listed in the enforced policy{}", this.shown(), this.of_domain())
            }),
            // A match replaces the PKIX check; the mail server verifies by its TLSA records.
            (Dane::Usable, _) => (Action::RequireEncryption, Reason::DaneGoverns, |this| {
                format!("DANE governs the connection to {}", this.shown())
            }),
            (_, Mode::Enforce) => (Action::RequireTls, Reason::MxListed, |this| {
                let (shown, of_domain) = (this.shown(), this.of_domain());
                format!("{shown} is listed in the enforced policy{of_domain}: verified TLS is needed")
            }),
            (Dane::Unusable, _) => (Action::RequireEncryption, Reason::DaneUnusable, |this| {
                format!("{} has TLSA records that cannot be used: TLS is needed, unauthenticated", this.shown())
            }),
            (_, Mode::Testing) if !is_listed => (Action::DeliverReport, Reason::MxNotListed, |this| {
                let (shown, of_domain, testing) = (this.shown(), this.of_domain(), this.testing());
                format!("{shown} is not listed in the policy{of_domain}, which is {testing}")
            }),
            (_, Mode::Testing) => (Action::DeliverReport, Reason::Testing, |this| {
                format!("the policy{} is {}", this.of_domain(), this.testing())
            }),
            (_, Mode::None) if answer.policy.is_some() => {
                (Action::Deliver, Reason::ModeNone, |this| format!("the policy{} has mode none", this.of_domain()))
            }
            (_, Mode::None) => {
                (Action::Deliver, Reason::NoPolicy, |this| format!("there is no policy{}", this.of_domain()))
            }
        };
        let is_testing = mode == Mode::Testing;
        // RFC 8461 section 6: where mail goes to an unlisted host all the same, that is a failure to report.
        let is_unlisted = mode != Mode::None && !is_listed && reason.result_type() == ResultType::None;
        let result_type = if is_unlisted { Reason::MxNotListed.result_type() } else { reason.result_type() };
        let unusable = if host.is_some() { String::new() } else { mx_host.escape_ascii().to_string() };
        let decision = Self {
            action,
            reason,
            sni: host,
            result_type,
            text: Text::Told(tell),
            domain: answer.domain.clone(),
            unusable,
            is_testing,
            is_observed: answer.is_observed,
        };
        match reason {
            Reason::PolicyUnknown => decision.because(&answer.text()),
            _ => decision,
        }
    }

    /// The reason in one line for a person.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.text {
            Text::Said(text) => Cow::Borrowed(text),
            Text::Told(tell) => Cow::Owned(tell(self)),
        }
    }

    fn because(self, why: &str) -> Self {
        let text = Text::Said(format!("{}: {why}", self.text()));
        Self { text, ..self }
    }

    /// The MX host as it is shown to a person.
    fn shown(&self) -> &str {
        self.sni.as_ref().map_or(&self.unusable, MxHost::as_str)
    }

    fn of_domain(&self) -> String {
        if self.domain.is_empty() { String::new() } else { format!(" of {}", self.domain) }
    }

    fn testing(&self) -> &'static str {
        if self.is_observed { "enforced but only observed" } else { "in testing" }
    }

    /// Why the host would have been refused, were the policy not merely observed.
    pub fn observed_refusal(&self) -> Option<Cow<'_, str>> {
        (self.is_observed && self.action.lets_go() && self.result_type != ResultType::None).then(|| self.text())
    }

    /// The decision after STARTTLS and the handshake.
    pub fn after_tls(&self, tls: TlsState) -> Self {
        let shown = self.shown();
        let failure = tls.reason();
        match self.action {
            Action::Deliver | Action::SkipHost | Action::Defer => self.clone(),
            Action::RequireTls if tls == TlsState::Ok => {
                self.then(Action::Deliver, failure, format!("TLS with {shown} is verified"))
            }
            Action::RequireEncryption if tls.is_encrypted() && (tls == TlsState::Ok || !self.is_pkix_reported()) => {
                self.then(self.delivery(), self.reason, format!("the connection to {shown} is encrypted"))
            }
            Action::RequireEncryption if tls.is_encrypted() => {
                self.reported(failure, format!("{shown}: {}, which is reported only", describe(tls)))
            }
            Action::RequireTls | Action::RequireEncryption => {
                self.then(Action::SkipHost, failure, format!("{shown}: {}", describe(tls)))
            }
            // An unlisted host stays the failure to report, whatever its certificate says.
            Action::DeliverReport if self.reason == Reason::MxNotListed => self.clone(),
            Action::DeliverReport if tls == TlsState::Ok => {
                self.then(Action::Deliver, failure, format!("TLS with {shown} is verified"))
            }
            Action::DeliverReport => {
                self.reported(failure, format!("{shown}: {}, which is reported only", describe(tls)))
            }
        }
    }

    /// Judges the chain of certificates that the MX host showed, its own first, each in DER (RFC 8461 section 4.2).
    /// Nothing verifies for a host that is not to be used. Reads the trusted roots if that is due; holds no lock
    /// meanwhile.
    pub fn verify(&self, trust: &Trust, chain: &[&[u8]], now: UnixTime) -> Result<(), Unverified> {
        if !self.action.lets_go() {
            let text = format!("no certificate makes up for this: {}", self.text());
            return Err(Unverified { reason: self.reason, result_type: self.result_type, text });
        }
        match &self.sni {
            Some(host) => trust.verify(chain, host, now),
            None => Err(Unverified::because(
                Reason::MxCertificateInvalid,
                format!("{} is not a name that a certificate could be for", self.shown()),
            )),
        }
    }

    /// The enhanced status code for the mail server's log or reply (RFC 3463 section 3.8, RFC 8461 section 5): always
    /// temporary. Empty where mail may go.
    pub fn enhanced_status(&self) -> &'static CStr {
        match self.action {
            Action::SkipHost => match self.reason {
                Reason::StarttlsNotOffered => c"4.7.4", // security features not supported
                Reason::MxNotListed => c"4.7.0",        // other security status
                _ => c"4.7.5",                          // cryptographic failure
            },
            Action::Defer => c"4.7.0",
            Action::Deliver | Action::DeliverReport | Action::RequireEncryption | Action::RequireTls => c"",
        }
    }

    /// Under unusable TLSA records a policy in testing still wants PKIX failures reported.
    fn is_pkix_reported(&self) -> bool {
        self.is_testing && self.reason == Reason::DaneUnusable
    }

    fn delivery(&self) -> Action {
        if self.result_type == ResultType::None { Action::Deliver } else { Action::DeliverReport }
    }

    fn reported(&self, failure: Reason, text: String) -> Self {
        Self { result_type: failure.result_type(), ..self.then(Action::DeliverReport, failure, text) }
    }

    fn then(&self, action: Action, reason: Reason, text: String) -> Self {
        let result_type = if action == Action::SkipHost { reason.result_type() } else { self.result_type };
        Self { action, reason, text: Text::Said(text), result_type, ..self.clone() }
    }
}

fn describe(tls: TlsState) -> &'static str {
    match tls {
        TlsState::Ok => "TLS is verified",
        TlsState::NoStarttls => "STARTTLS is not offered",
        TlsState::Failed => "the TLS handshake failed",
        TlsState::HostMismatch => "the certificate is for another name",
        TlsState::NotTrusted => "the certificate does not lead to a trusted root",
        TlsState::Expired => "the certificate has expired or is not valid yet",
        TlsState::CertificateInvalid => "the certificate is unusable",
    }
}

#[cfg(test)]
mod tests;
