//! Which policy applies to a domain now: what is cached, what DNS says, whether to fetch, when to look again.
//!
//! Implements RFC 8461 sections 3.1, 3.3 and 5.1. A missing or broken record and a failing fetch never remove a cached
//! policy: only its expiry, or a policy of mode none that was fetched, ends it. Whoever asks gets an [`Answer`] that
//! says where it comes from and why; trouble is a reason in it, not an error.

mod answer;

pub use crate::sys::log::Sink;
pub use answer::{Answer, Source};

use crate::cache::{Cache, Check, Failure, Known, Row, StoredPolicy};
use crate::config::OnTrouble;
use crate::dns;
use crate::https::FetchError;
use crate::reason::Reason;
use crate::syntax::{Mode, PolicyDomain, RecordChoice, RecordFault, select_record};
use crate::sys::log::Level;
use crate::time::{Clock, Deadline, UnixTime, describe_seconds};
use std::sync::Arc;
use std::time::Duration;

/// Shortest and longest time in seconds for which the answer "same id" counts.
const CONFIRMED: (u64, u64) = (60, Check::LONGEST);
/// The same for "no record", whatever the SOA says.
const NEGATIVE: (u64, u64) = (60, 300);
/// After a failure under a cached policy nothing is tried for this long, so that trouble delays one message a minute.
const PAUSE_AFTER_FAILURE: u64 = 60;
/// A failed fetch is not repeated for the same id within this time (RFC 8461 section 3.3).
const BACK_OFF: u64 = 300;
/// While a policy is cached, at most so many fetches may fail within [`BACK_OFF`], whatever ids DNS shows.
const MAX_FAILURES: usize = 3;
/// Callers with little time leave a due refresh to others for so long.
const REFRESH_PRECEDENCE: u64 = 3_600;
/// A policy is fetched anew about daily (RFC 8461 section 10.2).
const REFRESH: u64 = 86_400;

/// What discovery needs from the network.
pub trait Network {
    /// The TXT records of a name, the character-strings of each joined.
    fn txt(&self, name: &str, deadline: Deadline) -> dns::Answer<Vec<u8>>;
    /// The policy body of a domain.
    fn policy_body(&self, domain: &PolicyDomain, deadline: Deadline) -> Result<Vec<u8>, FetchError>;
}

/// How far to go for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Use the cache only: no DNS, no HTTPS.
    pub cache_only: bool,
    /// Ask DNS and fetch the policy now, even if nothing is due or a fetch has just failed.
    pub refresh: bool,
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
    /// What a domain without a cached policy gets when DNS does not answer.
    pub on_dns_error: OnTrouble,
    /// Whether a cached policy is fetched anew about daily.
    pub refreshes: bool,
    /// Whoever gives a policy host less time than this cannot say that it did not answer.
    pub fair_time: Duration,
}

/// What DNS says about the STS record, as far as it matters here.
enum RecordState {
    Id(String, u64),
    /// None that can be used; until when that counts, and why.
    Unusable(u64, Reason, String),
    Failed(String),
}

impl Discovery<'_> {
    /// Finds the policy that applies to a domain now.
    pub fn discover(&self, domain: &PolicyDomain, effort: Effort, deadline: Deadline) -> Answer {
        let now = self.clock.now();
        let known = self.cache.read(domain, now, deadline, self.log);
        let kept = known.as_ref().and_then(|known| applicable(&known.row, now));
        let is_fair = deadline.remaining() >= self.fair_time;
        let is_aged = || kept.is_some() && known.as_ref().is_some_and(|known| is_aged(&known.row, now, is_fair));
        let is_refresh_due = effort.refresh || (self.refreshes && is_aged());
        if let Some(known) = &known
            && check_counts(&known.row, kept.is_some(), now)
            && !is_refresh_due
        {
            return self.remembered(domain, &known.row, kept, now);
        }
        let mut visit = Visit { discovery: self, domain, now, deadline, effort, is_fair, is_refresh_due, known, kept };
        if effort.cache_only {
            return visit.stop_at_cache();
        }
        visit.claim();
        visit.ask()
    }

    /// A current check answers without any I/O.
    fn remembered(&self, domain: &PolicyDomain, row: &Row, kept: Option<Arc<StoredPolicy>>, now: UnixTime) -> Answer {
        match kept {
            Some(stored) => {
                let reason = match row.check.reason {
                    Reason::Fetched | Reason::Confirmed => Reason::Cached,
                    trouble => trouble,
                };
                let note = if reason == Reason::Cached { "" } else { reason.as_str() };
                Answer::kept(domain, stored, reason, note, now)
            }
            None => {
                let again = describe_seconds(u64::try_from(row.check.until.0.saturating_sub(now.0)).unwrap_or(0));
                let text = format!(
                    "no policy for {domain}: {} {} ago, looked up again in {again}",
                    row.check.reason.as_str(),
                    describe_seconds(now.seconds_since(row.check.at))
                );
                Answer::none(domain.to_string(), row.check.reason, text)
            }
        }
    }
}

/// Whether a refresh of the policy is due. One that lies further ahead than any may was planned under a wrong clock.
fn is_aged(row: &Row, now: UnixTime, is_fair: bool) -> bool {
    // Of a short life a quarter, so that another quarter is left for the refresh.
    let max_age = row.policy.as_ref().map_or(0, |stored| stored.policy.max_age());
    let precedence = if is_fair { 0 } else { REFRESH_PRECEDENCE.min(max_age / 4) };
    now >= row.refresh_at.plus(precedence) || row.refresh_at > now.plus(REFRESH)
}

/// Whether the last check still answers. What was found beside a policy says nothing once that is gone.
fn check_counts(row: &Row, has_policy: bool, now: UnixTime) -> bool {
    let needs_policy =
        matches!(row.check.reason, Reason::Cached | Reason::Confirmed | Reason::Fetched | Reason::DnsFailed);
    row.check.is_current(now) && (has_policy || !needs_policy)
}

/// The policy of a row that applies now: kept to the last second of its life (RFC 8461 section 5.1).
fn applicable(row: &Row, now: UnixTime) -> Option<Arc<StoredPolicy>> {
    row.policy.as_ref().filter(|stored| stored.is_unexpired(now)).cloned()
}

/// One question on its way through DNS and HTTPS.
struct Visit<'a> {
    discovery: &'a Discovery<'a>,
    domain: &'a PolicyDomain,
    now: UnixTime,
    deadline: Deadline,
    effort: Effort,
    is_fair: bool,
    is_refresh_due: bool,
    known: Option<Known>,
    kept: Option<Arc<StoredPolicy>>,
}

impl Visit<'_> {
    fn stop_at_cache(self) -> Answer {
        match self.kept {
            Some(stored) => Answer::kept(self.domain, stored, Reason::Cached, "not checked, as asked", self.now),
            None => {
                let text = format!("no policy for {} is cached, and nothing else was asked", self.domain);
                let is_unknown = self.discovery.on_dns_error == OnTrouble::Defer;
                Answer { is_unknown, ..Answer::none(self.domain.to_string(), Reason::NotCached, text) }
            }
        }
    }

    /// Whoever has a valid policy does not wait: while this visit asks for a newer one, others answer from the cache.
    fn claim(&mut self) {
        if self.kept.is_some() {
            let mut row = self.draft();
            row.check = self.check(Reason::Cached, PAUSE_AFTER_FAILURE);
            if self.is_refresh_due {
                row.refresh_at = self.now.plus(PAUSE_AFTER_FAILURE);
            }
            self.store(row);
        }
    }

    fn ask(&mut self) -> Answer {
        match self.record_state() {
            RecordState::Id(id, ttl) => match &self.kept {
                Some(kept) if *kept.id == *id && !self.is_refresh_due => self.confirmed(ttl),
                _ => self.fetch(&id, ttl, None),
            },
            RecordState::Unusable(ttl, reason, text) => match &self.kept {
                // An attacker who drops the record must not age a policy out: a due refresh comes all the same.
                Some(kept) if self.is_refresh_due => {
                    let id = kept.id.clone();
                    self.fetch(&id, ttl, Some((reason, text)))
                }
                Some(_) => self.keep_after(reason, &text, ttl),
                None => self.without_record(reason, text, ttl),
            },
            RecordState::Failed(text) => match &self.kept {
                Some(kept) if self.is_refresh_due => {
                    let id = kept.id.clone();
                    self.fetch(&id, PAUSE_AFTER_FAILURE, Some((Reason::DnsFailed, text)))
                }
                Some(_) => self.keep_after(Reason::DnsFailed, &text, PAUSE_AFTER_FAILURE),
                None => self.without_dns(text),
            },
        }
    }

    fn record_state(&self) -> RecordState {
        let name = self.domain.record_name();
        match self.discovery.network.txt(&name, self.deadline) {
            dns::Answer::Failed(problem) => RecordState::Failed(format!("{name}: {problem}")),
            dns::Answer::Absent { ttl } => {
                RecordState::Unusable(clamp(ttl, NEGATIVE), Reason::NoRecord, format!("{name}: no TXT record"))
            }
            dns::Answer::Found { records, ttl } => match select_record(records.iter().map(Vec::as_slice)) {
                RecordChoice::Found(record) => RecordState::Id(record.id().to_owned(), clamp(Some(ttl), CONFIRMED)),
                RecordChoice::None => {
                    let text = format!("{name}: no STS record among {} TXT record(s)", records.len());
                    RecordState::Unusable(clamp(Some(ttl), NEGATIVE), Reason::NoRecord, text)
                }
                RecordChoice::Invalid(fault) => {
                    let reason = match fault {
                        RecordFault::Several => Reason::SeveralRecords,
                        _ => Reason::MalformedRecord,
                    };
                    RecordState::Unusable(clamp(Some(ttl), NEGATIVE), reason, format!("{name}: {fault}"))
                }
            },
        }
    }

    /// DNS shows the id of the cached policy: it stays, and its life is not prolonged (RFC 8461 section 5.1).
    fn confirmed(&mut self, ttl: u64) -> Answer {
        self.store_check(Reason::Confirmed, ttl);
        self.keep(Reason::Confirmed, "")
    }

    /// The cached policy stays although something is wrong.
    fn keep_after(&mut self, reason: Reason, text: &str, pause: u64) -> Answer {
        self.store_check(reason, pause);
        self.keep(reason, text)
    }

    /// No usable record and nothing cached: the domain has no policy, which may be remembered for a while.
    fn without_record(&mut self, reason: Reason, text: String, ttl: u64) -> Answer {
        self.store_check(reason, ttl);
        Answer::none(self.domain.to_string(), reason, format!("no policy for {}: {text}", self.domain))
    }

    /// Nothing is known. That is never remembered as "no policy".
    fn without_dns(&self, text: String) -> Answer {
        let is_unknown = self.discovery.on_dns_error == OnTrouble::Defer;
        let outcome = if is_unknown { "policy unknown" } else { "no policy known" };
        self.discovery.log.line(Level::Warning, &format!("{outcome} for {}: {text}", self.domain));
        let text = format!("{outcome} for {}: {text}", self.domain);
        Answer { is_unknown, ..Answer::none(self.domain.to_string(), Reason::DnsFailed, text) }
    }

    /// Fetches the policy for an id. `trouble` is what was wrong with the record when a refresh comes all the same.
    fn fetch(&mut self, id: &str, ttl: u64, trouble: Option<(Reason, String)>) -> Answer {
        if let Some(blocking) = self.back_off(id) {
            let ago = describe_seconds(self.now.seconds_since(blocking.at));
            let failed = format!("the fetch for id {} failed {ago} ago ({})", blocking.id, blocking.reason.as_str());
            let (reason, note) = trouble.unwrap_or((Reason::BackingOff, failed));
            return Answer { cause: blocking.reason, ..self.after_failed_fetch(reason, &note) };
        }
        let fetched = self.discovery.network.policy_body(self.domain, self.deadline).and_then(|body| {
            // The life of the policy begins when it has arrived.
            StoredPolicy::new(id, &body, self.discovery.clock.now()).map_err(|error| FetchError {
                reason: Reason::PolicyInvalid,
                text: format!("policy host {}: the policy is malformed: {error}", self.domain.policy_host()),
            })
        });
        match fetched {
            Ok(stored) => self.learn(stored, ttl, trouble),
            Err(error) => {
                if is_fault_of_host(error.reason, self.is_fair) {
                    let mut row = self.draft();
                    row.add_failure(Failure { id: id.into(), at: self.now, reason: error.reason });
                    self.know(row);
                }
                self.report_failed_fetch(&error);
                self.after_failed_fetch(error.reason, &error.text)
            }
        }
    }

    fn learn(&self, stored: StoredPolicy, ttl: u64, trouble: Option<(Reason, String)>) -> Answer {
        let now = stored.fetched_at;
        let refresh_in = (stored.policy.max_age() / 2).min(REFRESH);
        // Up to a tenth earlier, so that policies learnt together are not refreshed together.
        let jitter = jitter(self.domain, now).checked_rem(refresh_in / 10).unwrap_or(0);
        let check_reason = trouble.as_ref().map_or(Reason::Fetched, |(reason, _)| *reason);
        let row = Row {
            check: Check { at: now, until: now.plus(ttl).min(stored.expires_at().plus(1)), reason: check_reason },
            refresh_at: now.plus(refresh_in.saturating_sub(jitter)),
            failures: self.known.as_ref().map_or_else(Vec::new, |known| known.row.failures.clone()),
            policy: Some(Arc::new(stored)),
        };
        let (row, note) = (Arc::new(row), trouble.map_or_else(String::new, |(_, note)| note));
        let stored_at = self.discovery.clock.now();
        self.discovery.cache.store_policy(self.domain, Arc::clone(&row), stored_at, self.deadline, self.discovery.log);
        match &row.policy {
            Some(stored) => Answer::fetched(self.domain, Arc::clone(stored), &note, now),
            None => Answer::none(self.domain.to_string(), Reason::Fetched, note),
        }
    }

    /// A fetch that failed, or was not tried because one has just failed: what is cached stays.
    fn after_failed_fetch(&mut self, reason: Reason, text: &str) -> Answer {
        if self.kept.is_some() {
            self.store_check(reason, PAUSE_AFTER_FAILURE);
            return self.keep(reason, text);
        }
        // Only the failure is remembered: a new id may be tried at once, so that DNS is asked again.
        if reason != Reason::BackingOff {
            self.store_check(reason, 0);
        }
        Answer::none(self.domain.to_string(), reason, format!("no policy for {}: {text}", self.domain))
    }

    /// The failure that forbids a fetch for this id now, if one does.
    fn back_off(&self, id: &str) -> Option<Failure> {
        if self.effort.refresh {
            return None;
        }
        let row = &self.known.as_ref()?.row;
        let is_recent = |failure: &&Failure| failure.at <= self.now && self.now.seconds_since(failure.at) < BACK_OFF;
        let recent: Vec<&Failure> = row.failures.iter().filter(is_recent).collect();
        let same = recent.iter().find(|failure| *failure.id == *id);
        let too_many = self.kept.is_some() && recent.len() >= MAX_FAILURES;
        same.or(recent.last().filter(|_| too_many)).map(|failure| (*failure).clone())
    }

    fn report_failed_fetch(&self, error: &FetchError) {
        let (level, outcome) = match &self.kept {
            // RFC 8461 section 3.3: a domain that has opted out owes nobody a policy.
            Some(kept) if kept.policy.mode() == Mode::None => return,
            Some(_) => (Level::Warning, "the cached policy stays in force"),
            None => (Level::Notice, "mail goes as if there were no policy"),
        };
        self.discovery.log.line(level, &format!("{}: {}; {outcome}", self.domain, error.text));
    }

    fn keep(&self, reason: Reason, note: &str) -> Answer {
        match &self.kept {
            Some(stored) => Answer::kept(self.domain, Arc::clone(stored), reason, note, self.now),
            None => Answer::none(self.domain.to_string(), reason, note.to_owned()),
        }
    }

    fn draft(&self) -> Row {
        self.known.as_ref().map(|known| (*known.row).clone()).unwrap_or(Row {
            policy: None,
            check: Check { at: self.now, until: self.now, reason: Reason::NoRecord },
            refresh_at: self.now,
            failures: Vec::new(),
        })
    }

    fn store_check(&mut self, reason: Reason, seconds: u64) {
        let mut row = self.draft();
        row.check = self.check(reason, seconds);
        if self.is_refresh_due && self.is_fair && self.kept.is_some() {
            // A refresh that did not come about is tried again when the failed id may be fetched again.
            row.refresh_at = self.now.plus(BACK_OFF);
        }
        self.store(row);
    }

    /// A check that counts from now, for some seconds, but not beyond the end of the policy.
    fn check(&self, reason: Reason, seconds: u64) -> Check {
        let until = self.now.plus(seconds);
        let until = self.kept.as_ref().map_or(until, |stored| until.min(stored.expires_at().plus(1)));
        Check { at: self.now, until, reason }
    }

    fn store(&mut self, row: Row) {
        let known = self.know(row);
        let (cache, log, now) = (self.discovery.cache, self.discovery.log, self.discovery.clock.now());
        cache.store_check(self.domain, &known, now, self.deadline, log);
    }

    fn know(&mut self, row: Row) -> Known {
        let stored_in = self.known.as_ref().and_then(|known| known.stored_in);
        self.known.insert(Known { row: Arc::new(row), stored_in }).clone()
    }
}

/// Whether a failed fetch speaks against the policy host. What is our own fault must not keep others, or the next call
/// with more time, from fetching.
fn is_fault_of_host(reason: Reason, is_fair: bool) -> bool {
    match reason {
        Reason::NoTrustedRoots => false,
        Reason::PolicyHostTimedOut | Reason::PolicyHostNotFound => is_fair,
        _ => true,
    }
}

fn clamp(ttl: Option<u32>, (least, most): (u64, u64)) -> u64 {
    u64::from(ttl.unwrap_or(0)).clamp(least, most)
}

/// A number that differs from domain to domain and from time to time; it need not be unforeseeable.
fn jitter(domain: &PolicyDomain, now: UnixTime) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (domain, now).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
