//! Which policy applies to a domain now: what is cached, what DNS says, whether to fetch, when to look again.
//!
//! Implements RFC 8461 sections 3.1, 3.3 and 5.1. A missing or broken record and a failing fetch never remove a cached
//! policy: only its expiry, or a policy of mode none that was fetched, ends it. Whoever asks gets an [`Answer`] that
//! says where it comes from and why; trouble is a reason in it, not an error.

use crate::cache::{Cache, Check, Failure, Row, StoredPolicy};
use crate::config::OnTrouble;
use crate::dns;
use crate::https::FetchError;
use crate::reason::{Reason, ResultType};
use crate::syntax::{DomainError, Mode, PolicyDomain, PolicyError, RecordChoice, RecordFault, select_record};
use crate::sys::log::{Level, Sink};
use crate::time::{Clock, Deadline, UnixTime, describe_seconds};
use std::sync::Arc;

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
    /// The same in one line for a person.
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
            _ => self.reason.result_type(),
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
            text,
        })
    }

    fn none(domain: String, reason: Reason, text: String) -> Self {
        Self { domain, policy: None, source: Source::None, is_unknown: false, reason, text }
    }
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
        let row = self.cache.read(domain, deadline, self.log);
        let kept = row.as_ref().and_then(|row| applicable(row, now));
        let is_refresh_due =
            effort.refresh || (kept.is_some() && row.as_ref().is_some_and(|row| now >= row.refresh_at));
        if let Some(row) = &row
            && row.check.is_current(now)
            && !is_refresh_due
        {
            return self.remembered(domain, row, kept, now);
        }
        let mut visit = Visit { discovery: self, domain, now, deadline, effort, is_refresh_due, row, kept };
        if effort.cache_only { visit.stop_at_cache() } else { visit.ask() }
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
                keep(domain, stored, reason, note, now)
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
    is_refresh_due: bool,
    row: Option<Arc<Row>>,
    kept: Option<Arc<StoredPolicy>>,
}

impl Visit<'_> {
    fn stop_at_cache(self) -> Answer {
        match self.kept {
            Some(stored) => keep(self.domain, stored, Reason::Cached, "not checked, as asked", self.now),
            None => {
                let text = format!("no policy for {} is cached, and nothing else was asked", self.domain);
                Answer::none(self.domain.to_string(), Reason::NotCached, text)
            }
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
            let (reason, note) = trouble.unwrap_or_else(|| {
                let ago = describe_seconds(self.now.seconds_since(blocking.at));
                (Reason::BackingOff, format!("the fetch for id {id} failed {ago} ago ({})", blocking.reason.as_str()))
            });
            return self.after_failed_fetch(reason, &note);
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
                let mut row = self.draft();
                row.add_failure(Failure { id: id.into(), at: self.now, reason: error.reason });
                self.row = Some(Arc::new(row));
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
            check: Check { at: now, until: now.plus(ttl).min(stored.expires_at()), reason: check_reason },
            refresh_at: now.plus(refresh_in.saturating_sub(jitter)),
            failures: self.row.as_ref().map_or_else(Vec::new, |row| row.failures.clone()),
            policy: Some(Arc::new(stored)),
        };
        let policy = row.policy.clone();
        self.discovery.cache.store_policy(self.domain, row, now, self.deadline, self.discovery.log);
        let described = policy.as_deref().map_or_else(String::new, |stored| describe(self.domain, stored, now));
        let text = match &trouble {
            None => format!("{described}, fetched now"),
            Some((_, note)) => format!("{described}, fetched now because a refresh was due; {note}"),
        };
        Answer {
            domain: self.domain.to_string(),
            policy,
            source: Source::Https,
            is_unknown: false,
            reason: Reason::Fetched,
            text,
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
        let row = self.row.as_ref()?;
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
            Some(stored) => keep(self.domain, Arc::clone(stored), reason, note, self.now),
            None => Answer::none(self.domain.to_string(), reason, note.to_owned()),
        }
    }

    fn draft(&self) -> Row {
        self.row.as_deref().cloned().unwrap_or(Row {
            policy: None,
            check: Check { at: self.now, until: self.now, reason: Reason::NoRecord },
            refresh_at: self.now,
            failures: Vec::new(),
        })
    }

    fn store_check(&mut self, reason: Reason, seconds: u64) {
        let mut row = self.draft();
        let until = self.now.plus(seconds);
        let until = self.kept.as_ref().map_or(until, |stored| until.min(stored.expires_at()));
        row.check = Check { at: self.now, until, reason };
        if self.is_refresh_due && self.kept.is_some() {
            // A refresh that did not come about is tried again when the failed id may be fetched again.
            row.refresh_at = self.now.plus(BACK_OFF);
        }
        let row = self.row.insert(Arc::new(row));
        let (cache, log) = (self.discovery.cache, self.discovery.log);
        cache.store_check(self.domain, (**row).clone(), self.now, self.deadline, log);
    }
}

fn keep(domain: &PolicyDomain, stored: Arc<StoredPolicy>, reason: Reason, note: &str, now: UnixTime) -> Answer {
    let described = describe(domain, &stored, now);
    let text = if note.is_empty() { described } else { format!("{described}; {note}") };
    Answer { domain: domain.to_string(), policy: Some(stored), source: Source::Cache, is_unknown: false, reason, text }
}

fn describe(domain: &PolicyDomain, stored: &StoredPolicy, now: UnixTime) -> String {
    format!(
        "policy of {domain} (mode {}, id {}, {} old)",
        stored.policy.mode(),
        stored.id,
        describe_seconds(now.seconds_since(stored.fetched_at))
    )
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
