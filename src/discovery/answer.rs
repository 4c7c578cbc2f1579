//! What a question about a domain brings, and where it comes from.

use super::Story;
use crate::cache::{Check, StoredPolicy};
use crate::reason::{Reason, ResultType};
use crate::syntax::{DomainError, Mode, MxHost, MxPattern, PolicyDomain, PolicyError, any_match};
use crate::time::{UnixTime, describe_seconds};
use smol_str::SmolStr;
use std::borrow::Cow;
use std::ffi::CStr;
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
    /// The configuration says so.
    Configuration,
}

impl Source {
    /// The word for it in machine-readable output.
    pub fn as_str(self) -> &'static str {
        self.as_c_str().to_str().unwrap_or_default()
    }

    /// The same word as C sees it.
    pub fn as_c_str(self) -> &'static CStr {
        match self {
            Self::None => c"none",
            Self::Cache => c"cache",
            Self::Https => c"https",
            Self::Caller => c"caller",
            Self::Configuration => c"configuration",
        }
    }
}

/// The reason of an answer, in words or as what they are made of: most answers are never shown to a person.
#[derive(Clone, Debug)]
pub enum Text {
    /// The words.
    Said(String),
    /// The cached policy stays in force.
    Kept {
        /// What is wrong, if something is.
        note: Cow<'static, str>,
        /// When that was so.
        now: UnixTime,
    },
    /// An earlier check has found no policy.
    Found {
        /// That check.
        check: Check,
        /// When it was looked at.
        now: UnixTime,
    },
}

/// What is known about a domain's policy now.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The policy domain in A-label form; empty where the question named none.
    pub domain: SmolStr,
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
    /// What [`Answer::text`] is made of.
    pub text: Text,
    /// Whether an enforced policy is applied as one in testing, as the key `observe` says.
    pub is_observed: bool,
    /// How the answer came about, if the question wanted to know.
    pub story: Option<Box<Story>>,
}

impl Answer {
    /// The mode that applies; none where there is no policy.
    pub fn mode(&self) -> Mode {
        match self.published_mode() {
            Mode::Enforce if self.is_observed => Mode::Testing,
            mode => mode,
        }
    }

    /// The mode that the policy itself has, observed or not.
    pub fn published_mode(&self) -> Mode {
        self.policy.as_ref().map_or(Mode::None, |stored| stored.policy.mode())
    }

    /// The reason in one line for a person.
    pub fn text(&self) -> Cow<'_, str> {
        let text = match (&self.text, &self.policy) {
            (Text::Kept { note, now }, Some(stored)) => {
                let described = describe(&self.domain, stored, *now);
                if note.is_empty() { described } else { format!("{described}; {note}") }
            }
            (Text::Found { check, now }, _) => {
                let left = u64::try_from(check.until.0.saturating_sub(now.0)).unwrap_or(0);
                let again =
                    if left == 0 { String::new() } else { format!(", looked up again in {}", describe_seconds(left)) };
                let ago = describe_seconds(now.seconds_since(check.at));
                let why = check.reason.as_str();
                format!("{} for {}: {why} {ago} ago{again}", without_policy(self.is_unknown, self.reason), self.domain)
            }
            (Text::Said(text), _) if !self.is_observed => return Cow::Borrowed(text),
            (Text::Said(text), _) => text.clone(),
            (Text::Kept { note, .. }, None) => note.clone().into_owned(),
        };
        let observed = if self.is_observed { "; it is only observed, as the configuration says" } else { "" };
        Cow::Owned(text + observed)
    }

    /// The word for the mode, `unknown` included.
    pub fn mode_str(&self) -> &'static str {
        if self.is_unknown { "unknown" } else { self.mode().as_str() }
    }

    /// Whether an enforced policy leaves no host to which a message could go. Of no hosts nothing is known.
    pub fn refuses_all(&self, mx_hosts: &[&[u8]]) -> bool {
        let patterns = self.policy.as_ref().map_or(&[][..], |stored| stored.policy.mx());
        let is_listed = |host: &&[u8]| MxHost::parse(host).is_ok_and(|host| any_match(patterns, &host));
        self.published_mode() == Mode::Enforce && !mx_hosts.is_empty() && !mx_hosts.iter().any(is_listed)
    }

    /// Says in one line why the policy refuses all of a message's MX hosts.
    pub fn describe_refusal(&self, mx_hosts: &[&[u8]], now: UnixTime) -> String {
        const SHOWN: usize = 4;
        let hosts: Vec<String> = mx_hosts.iter().take(SHOWN).map(|host| host.escape_ascii().to_string()).collect();
        let more = if mx_hosts.len() > SHOWN { ", ..." } else { "" };
        let (patterns, age) = self.policy.as_ref().map_or_else(Default::default, |stored| {
            let patterns: Vec<&str> = stored.policy.mx().iter().take(SHOWN).map(MxPattern::as_str).collect();
            let age = match self.source {
                Source::Configuration => "stands in the configuration".to_owned(),
                _ => format!("is {} old", describe_seconds(now.seconds_since(stored.fetched_at))),
            };
            (patterns.join(", "), age)
        });
        format!(
            "no MX of {} is listed in its enforced policy: MX {}{more}; policy allows {patterns}; policy {age}",
            self.domain,
            hosts.join(", ")
        )
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
        Self::none(SmolStr::default(), reason, format!("no policy: {error}"))
    }

    /// The same, with its story if the question wants to know that.
    pub(crate) fn of_no_domain(error: DomainError, tells: bool) -> Self {
        Self { story: tells.then(|| Box::new(Story::of_no_domain())), ..Self::impossible(error) }
    }

    /// The answer for a body that the caller has.
    pub fn parsed(body: &[u8], now: UnixTime) -> Result<Self, PolicyError> {
        let stored = StoredPolicy::new("", body, now)?;
        let text = format!("policy of mode {}, handed in by the caller", stored.policy.mode());
        let policy = Some(Arc::new(stored));
        Ok(Self { policy, source: Source::Caller, ..Self::none(SmolStr::default(), Reason::Parsed, text) })
    }

    /// No policy applies.
    pub(crate) fn none(domain: SmolStr, reason: Reason, text: String) -> Self {
        Self {
            domain,
            policy: None,
            source: Source::None,
            is_unknown: false,
            reason,
            cause: reason,
            text: Text::Said(text),
            is_observed: false,
            story: None,
        }
    }

    /// The cached policy is in force, and nothing is wrong with it.
    pub(super) fn cached(domain: &PolicyDomain, stored: Arc<StoredPolicy>, now: UnixTime) -> Self {
        Self::kept(domain, stored, Reason::Cached, Cow::Borrowed(""), now)
    }

    /// An earlier check has found no policy.
    pub(super) fn found_before(domain: &PolicyDomain, check: Check, now: UnixTime) -> Self {
        let none = Self::none(domain.name(), check.reason, String::new());
        Self { text: Text::Found { check, now }, ..none }
    }

    /// The cached policy stays in force; `note` says what is wrong, if something is.
    pub(super) fn kept(
        domain: &PolicyDomain,
        stored: Arc<StoredPolicy>,
        reason: Reason,
        note: Cow<'static, str>,
        now: UnixTime,
    ) -> Self {
        let text = Text::Kept { note, now };
        let none = Self::none(domain.name(), reason, String::new());
        Self { policy: Some(stored), source: Source::Cache, text, ..none }
    }

    /// The policy has just been fetched; `note` says so, and why.
    pub(super) fn fetched(
        domain: &PolicyDomain,
        stored: Arc<StoredPolicy>,
        reason: Reason,
        note: &str,
        now: UnixTime,
    ) -> Self {
        let text = format!("{}, {note}", describe(domain.as_str(), &stored, now));
        Self { policy: Some(stored), source: Source::Https, ..Self::none(domain.name(), reason, text) }
    }
}

/// What it means that an answer has no policy.
pub(super) fn without_policy(is_unknown: bool, reason: Reason) -> &'static str {
    match (is_unknown, reason) {
        (true, _) => "policy unknown",
        (_, Reason::DnsFailed) => "no policy known",
        _ => "no policy",
    }
}

fn describe(domain: &str, stored: &StoredPolicy, now: UnixTime) -> String {
    format!(
        "policy of {domain} (mode {}, id {}, {} old)",
        stored.policy.mode(),
        stored.id,
        describe_seconds(now.seconds_since(stored.fetched_at))
    )
}
