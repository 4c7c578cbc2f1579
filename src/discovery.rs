//! Which policy applies to a domain now: what is cached, what DNS says, whether to fetch, when to look again.
//!
//! Implements RFC 8461 sections 3.1, 3.3, 5 and 5.1. A missing or broken record and a failing fetch never remove a
//! cached policy: only its expiry, or a policy of mode none that was fetched, ends it. Whoever asks gets an [`Answer`]
//! that says where it comes from and why; trouble is a reason in it, not an error.
//!
//! Of many askers for one domain, in this and in other processes, one goes to the network. Who has a valid policy never
//! waits for that one; who has none does, and shares what comes of it.

mod answer;
mod local;
mod standing;
mod story;
mod timing;
mod visit;

pub use crate::sys::log::Sink;
pub use answer::{Answer, Source, Text};
pub use story::Story;
pub use timing::due_before;

use crate::cache::Cache;
use crate::config::{OnTrouble, Overrides};
use crate::dns;
use crate::https::FetchError;
use crate::syntax::PolicyDomain;
use crate::sys::log::Level;
use crate::time::{Clock, Deadline};
use std::cell::RefCell;
use std::time::Duration;
use visit::Visit;

/// What discovery needs from the network.
pub trait Network {
    /// The TXT records of a name, the character-strings of each joined.
    fn txt(&self, name: &str, deadline: Deadline) -> dns::Answer<Vec<u8>>;
    /// The policy body of a domain.
    fn policy_body(&self, domain: &PolicyDomain, deadline: Deadline) -> Result<Vec<u8>, FetchError>;
}

/// How far to go for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Whatever is due.
    #[default]
    Usual,
    /// Use the cache only: no DNS, no HTTPS.
    CacheOnly,
    /// Fetch the policy even if its id is unchanged, since the cached one stops a message; at most every five minutes.
    Heal,
    /// Ask DNS and fetch the policy now, even if nothing is due or a fetch has just failed.
    Refresh,
}

/// One context's way to an answer.
pub struct Discovery<'a> {
    /// What is remembered.
    pub cache: &'a Cache,
    /// The way out.
    pub network: &'a dyn Network,
    /// Judges stored times.
    pub clock: &'a dyn Clock,
    /// Takes what an administrator should know.
    pub log: &'a dyn Sink,
    /// What the administrator has decided for single domains.
    pub overrides: &'a Overrides,
    /// What a domain without a cached policy gets when DNS does not answer.
    pub on_dns_error: OnTrouble,
    /// Whether a cached policy is fetched anew about daily.
    pub refreshes: bool,
    /// Whoever gives a policy host less time than this cannot say that it did not answer.
    pub fair_time: Duration,
    /// Whether the answer is to tell how it came about.
    pub tells: bool,
}

impl Discovery<'_> {
    /// Finds the policy that applies to a domain now.
    pub fn discover(&self, domain: &PolicyDomain, effort: Effort, deadline: Deadline) -> Answer {
        if let Some(answer) = self.settled(domain, effort, deadline) {
            return answer;
        }
        self.visit(domain, effort, deadline, |mut visit| {
            let answer = visit.answer();
            visit.finish(answer)
        })
    }

    /// The same, if nothing is due: from memory or the cache file, and without a word to the network or another asker.
    /// What is due is so whatever the deadline, since it is left to somebody who has the time.
    pub fn recall(&self, domain: &PolicyDomain, deadline: Deadline) -> Option<Answer> {
        let patient = Discovery { fair_time: Duration::ZERO, ..*self };
        let settled = patient.settled(domain, Effort::Usual, deadline);
        settled.or_else(|| patient.visit(domain, Effort::Usual, deadline, |visit| visit.remembered()))
    }

    /// The answer of the configuration or of memory, without any I/O.
    fn settled(&self, domain: &PolicyDomain, effort: Effort, deadline: Deadline) -> Option<Answer> {
        if let Some(answer) = local::decide(self.overrides, domain, self.clock, self.log) {
            let story = self.tells.then(|| Box::new(local::story(&answer)));
            return Some(Answer { story, ..answer });
        }
        let is_plain = effort == Effort::Usual && !self.tells;
        is_plain.then(|| standing::answer_at_once(self, domain, deadline)).flatten()
    }

    fn visit<T>(
        &self,
        domain: &PolicyDomain,
        effort: Effort,
        deadline: Deadline,
        ask: impl FnOnce(Visit<'_>) -> T,
    ) -> T {
        let lines = HeldLines::default();
        let quiet = Discovery { log: &lines, ..*self };
        let found = ask(Visit::begin(&quiet, domain, effort, deadline));
        for (level, line) in lines.0.into_inner() {
            self.log.line(level, &line);
        }
        found
    }
}

/// Keeps lines until no lock is held any more: who takes them may do what it likes.
#[derive(Default)]
struct HeldLines(RefCell<Vec<(Level, String)>>);

impl Sink for HeldLines {
    fn line(&self, level: Level, line: &str) {
        self.0.borrow_mut().push((level, line.to_owned()));
    }
}

#[cfg(test)]
mod tests;
