//! What the administrator has decided for a domain, which comes before anything that the domain says.

use super::{Answer, Source, Story};
use crate::cache::StoredPolicy;
use crate::config::{Override, Overrides, Rule};
use crate::reason::Reason;
use crate::syntax::PolicyDomain;
use crate::sys::log::{Level, Sink};
use crate::time::Clock;
use std::sync::Arc;

/// The answer for a domain with an exception or a pinned policy. One that has ended is logged, and is none.
pub fn decide(overrides: &Overrides, domain: &PolicyDomain, clock: &dyn Clock, log: &dyn Sink) -> Option<Answer> {
    let decision = overrides.get(domain)?;
    let now = clock.now();
    let origin = Origin { domain, decision };
    if !decision.is_in_force(now) {
        log.line(Level::Warning, &format!("{}; it is ignored", origin.describe("ended on")));
        return None;
    }
    let text = origin.describe("counts until");
    let answer = match &decision.rule {
        Rule::Exempt => Answer::none(domain.name(), Reason::Exempted, format!("no policy for {domain}: {text}")),
        Rule::Pinned { policy, body } => {
            let stored = StoredPolicy {
                id: "".into(),
                body: Arc::clone(body),
                policy: policy.clone(),
                fetched_at: now,
                expires_at: decision.until.unwrap_or(now.plus(policy.max_age())),
            };
            let text = format!("policy of {domain} (mode {}): {text}", policy.mode());
            Answer {
                policy: Some(Arc::new(stored)),
                source: Source::Configuration,
                ..Answer::none(domain.name(), Reason::Pinned, text)
            }
        }
    };
    Some(answer)
}

/// How such an answer came about.
pub fn story(answer: &Answer) -> Story {
    let not_asked = "not asked: the configuration decides";
    Story {
        cached: "not looked at: the configuration decides".to_owned(),
        dns: not_asked.to_owned(),
        https: not_asked.to_owned(),
        change: format!("the table [domain.\"{}\"] of the configuration, or its end if it has one", answer.domain),
    }
}

struct Origin<'a> {
    domain: &'a PolicyDomain,
    decision: &'a Override,
}

impl Origin<'_> {
    /// One line with kind, place, end and reason.
    fn describe(&self, until: &str) -> String {
        let kind = match self.decision.rule {
            Rule::Exempt => "exception",
            Rule::Pinned { .. } => "pinned policy",
        };
        let line = self.decision.line.map_or_else(String::new, |line| format!(" (line {line})"));
        let until = self.decision.until.map_or_else(String::new, |time| format!(" {until} {}", time.to_utc_string()));
        let why = if self.decision.why.is_empty() { String::new() } else { format!(" ({})", self.decision.why) };
        format!("the {kind} for {} in the configuration{line}{until}{why}", self.domain)
    }
}
