//! What a question about a domain brings, and where it comes from.

use crate::cache::StoredPolicy;
use crate::reason::{Reason, ResultType};
use crate::syntax::{DomainError, Mode, PolicyDomain, PolicyError};
use crate::time::{UnixTime, describe_seconds};
use std::sync::Arc;

/// Where the policy of an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There is no policy.
    None,
    /// It was remembered.
    Cache,
    /// It has just been fetched.
    Https,
    /// The caller handed it in.
    Caller,
}

impl Source {
    /// The word for it in machine-readable output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cache => "cache",
            Self::Https => "https",
            Self::Caller => "caller",
        }
    }
}

/// What is known about a domain's policy now.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The policy domain in A-label form; empty where the question named none.
    pub domain: String,
    /// The policy that applies, if one does.
    pub policy: Option<Arc<StoredPolicy>>,
    /// Where it comes from.
    pub source: Source,
    /// Whether the question stays open: there may be a policy, and the administrator wants mail to wait.
    pub is_unknown: bool,
    /// Why the answer is what it is.
    pub reason: Reason,
    /// The failure behind it: while a fetch is not repeated, the one that failed; else the reason itself.
    pub cause: Reason,
    /// The reason in one line for a person.
    pub text: String,
}

impl Answer {
    /// The mode that applies; none where there is no policy.
    pub fn mode(&self) -> Mode {
        self.policy.as_ref().map_or(Mode::None, |stored| stored.policy.mode())
    }

    /// The word for the mode, `unknown` included.
    pub fn mode_str(&self) -> &'static str {
        if self.is_unknown { "unknown" } else { self.mode().as_str() }
    }

    /// What a TLS report would say of how the answer came about (RFC 8460 section 4.3). A failure under a cached
    /// policy of mode none is nobody's concern (RFC 8461 section 6).
    pub fn result_type(&self) -> ResultType {
        match &self.policy {
            Some(stored) if stored.policy.mode() == Mode::None => ResultType::None,
            _ => self.cause.result_type(),
        }
    }

    /// The answer for a text that is not a domain which could have a policy (RFC 8461 section 3.4).
    pub fn impossible(error: DomainError) -> Self {
        let reason = if error == DomainError::AddressLiteral { Reason::AddressLiteral } else { Reason::InvalidDomain };
        Self::none(String::new(), reason, format!("no policy: {error}"))
    }

    /// The answer for a body that the caller has.
    pub fn parsed(body: &[u8], now: UnixTime) -> Result<Self, PolicyError> {
        let stored = StoredPolicy::new("", body, now)?;
        let text = format!("policy of mode {}, handed in by the caller", stored.policy.mode());
        Ok(Self {
            domain: String::new(),
            policy: Some(Arc::new(stored)),
            source: Source::Caller,
            is_unknown: false,
            reason: Reason::Parsed,
            cause: Reason::Parsed,
            text,
        })
    }

    /// No policy applies.
    pub(super) fn none(domain: String, reason: Reason, text: String) -> Self {
        Self { domain, policy: None, source: Source::None, is_unknown: false, reason, cause: reason, text }
    }

    /// The cached policy stays in force; `note` says what is wrong, if something is.
    pub(super) fn kept(
        domain: &PolicyDomain,
        stored: Arc<StoredPolicy>,
        reason: Reason,
        note: &str,
        now: UnixTime,
    ) -> Self {
        let described = describe(domain, &stored, now);
        let text = if note.is_empty() { described } else { format!("{described}; {note}") };
        let policy = Some(stored);
        Self {
            domain: domain.to_string(),
            policy,
            source: Source::Cache,
            is_unknown: false,
            reason,
            cause: reason,
            text,
        }
    }

    /// The policy has just been fetched; `note` says what was wrong with the record, if something was.
    pub(super) fn fetched(domain: &PolicyDomain, stored: Arc<StoredPolicy>, note: &str, now: UnixTime) -> Self {
        let described = describe(domain, &stored, now);
        let text = match note {
            "" => format!("{described}, fetched now"),
            note => format!("{described}, fetched now because a refresh was due; {note}"),
        };
        Self { source: Source::Https, text, ..Self::kept(domain, stored, Reason::Fetched, "", now) }
    }
}

fn describe(domain: &PolicyDomain, stored: &StoredPolicy, now: UnixTime) -> String {
    format!(
        "policy of {domain} (mode {}, id {}, {} old)",
        stored.policy.mode(),
        stored.id,
        describe_seconds(now.seconds_since(stored.fetched_at))
    )
}
