//! One question on its way: the cache, the turn among those who ask, DNS, the policy host, and back to the cache.

mod turn;

use super::standing::{Standing, has_found_policy};
use super::timing::{
    BACK_OFF, CONFIRMED, NEGATIVE, NO_ID, PAUSE_AFTER_FAILURE, back_off, check_counts, clamp, is_dns_down,
    is_fault_of_host, is_fresh, plan_refresh, recent_failures, severity,
};
use super::{Answer, Discovery, Effort, Story, answer, story};
use crate::cache::{Check, Failure, Known, Row, StoredPolicy, Unread};
use crate::config::OnTrouble;
use crate::dns;
use crate::https::FetchError;
use crate::reason::Reason;
use crate::syntax::{Mode, PolicyDomain, RecordChoice, RecordFault, select_record};
use crate::sys::log::Level;
use crate::time::{Deadline, UnixTime, describe_seconds};
use std::borrow::Cow;
use std::sync::Arc;

/// What DNS says about the STS record, as far as it matters here.
enum RecordState {
    Id(String, u64),
    /// None that can be used; until when that counts, and why.
    Unusable(u64, Reason, String),
    Failed(String),
}

/// One question on its way.
pub(super) struct Visit<'a> {
    discovery: &'a Discovery<'a>,
    domain: &'a PolicyDomain,
    effort: Effort,
    deadline: Deadline,
    story: Option<Box<Story>>,
    /// When the cache was last looked at; judges what was found there.
    now: UnixTime,
    known: Option<Known>,
    /// The cached policy, if it applies.
    kept: Option<Arc<StoredPolicy>>,
    is_due: bool,
    /// Whether there is time enough to blame others for their silence.
    is_fair: bool,
    /// When the question came.
    began: UnixTime,
    /// Whether another asker was waited for.
    has_waited: bool,
    /// Why the cache may hold a policy that cannot be read, because the host has no descriptor left or has forked at a
    /// bad moment. Whoever brings a host to that must not get rid of a policy by it, so that nothing but a policy is an
    /// answer then.
    blindness: Option<Unread>,
}

impl<'a> Visit<'a> {
    /// Looks at the cache.
    pub fn begin(discovery: &'a Discovery<'a>, domain: &'a PolicyDomain, effort: Effort, deadline: Deadline) -> Self {
        let now = discovery.clock.now();
        let known = discovery.cache.try_read(domain, now, deadline, discovery.log);
        let blindness = known.as_ref().err().copied().filter(|unread| *unread != Unread::Other);
        let story = discovery.tells.then(Box::default);
        let mut visit = Self {
            discovery,
            domain,
            effort,
            deadline,
            story,
            now,
            known: None,
            kept: None,
            is_due: false,
            is_fair: false,
            began: now,
            has_waited: false,
            blindness,
        };
        visit.judge(now, known.unwrap_or_default());
        visit
    }

    /// Goes as far as it must.
    pub fn answer(&mut self) -> Answer {
        if let Some(answer) = self.remembered() {
            return answer;
        }
        if self.effort == Effort::CacheOnly {
            return self.stop_at_cache();
        }
        match self.take_turn() {
            Ok(_turn) => self.ask(),
            Err(answer) => answer,
        }
    }

    /// The answer with its story, if that is wanted.
    pub fn finish(mut self, answer: Answer) -> Answer {
        let Some(mut story) = self.story.take() else { return answer };
        let row = self.known.as_ref().map(|known| &*known.row);
        story.end(self.domain, &answer, row, self.discovery.clock.now(), self.discovery.refreshes);
        Answer { story: Some(story), ..answer }
    }

    fn tell(&mut self, part: impl FnOnce(&mut Story)) {
        if let Some(story) = &mut self.story {
            part(story);
        }
    }

    fn judge(&mut self, now: UnixTime, known: Option<Known>) {
        self.now = now;
        self.is_fair = self.has_fair_time();
        let standing = known.as_ref().map(|known| Standing::of(&known.row, self.discovery, now, self.is_fair));
        (self.kept, self.is_due) = standing.map_or((None, false), |standing| (standing.kept, standing.is_due));
        self.known = known;
        if self.story.is_some() {
            let cached = story::cached(self.known.as_ref().map(|known| &*known.row), self.kept.as_deref(), now);
            self.tell(|story| story.cached = cached);
        }
    }

    fn has_fair_time(&self) -> bool {
        self.deadline.remaining() >= self.discovery.fair_time
    }

    /// Whether the policy is to be fetched although its id is the cached one.
    fn must_fetch(&self) -> bool {
        self.is_due || matches!(self.effort, Effort::Heal | Effort::Refresh)
    }

    /// The answer without any I/O, if nothing is due.
    pub fn remembered(&self) -> Option<Answer> {
        let row = &self.known.as_ref()?.row;
        match (self.effort, &self.kept) {
            (Effort::Refresh, _) => None,
            (Effort::Heal, Some(kept)) => self.healed_before(row, kept),
            (_, kept) if check_counts(row, kept.is_some(), self.now) && !self.must_fetch() => Some(match kept {
                Some(kept) => self.kept_as_checked(row, kept),
                None => self.as_found_before(row),
            }),
            _ => None,
        }
    }

    fn kept_as_checked(&self, row: &Row, kept: &Arc<StoredPolicy>) -> Answer {
        match row.check.reason {
            _ if has_found_policy(row) => Answer::cached(self.domain, Arc::clone(kept), self.now),
            Reason::BeingChecked => self.keep(kept, Reason::BeingChecked, "another asker looks for a newer one"),
            trouble => match row.failures.last() {
                Some(failed) if trouble == Reason::BackingOff => self.backing_off(failed, None),
                _ => self.keep(kept, trouble, trouble.as_str()),
            },
        }
    }

    /// What the last look, by this or another asker, has found where there is no policy.
    fn as_found_before(&self, row: &Row) -> Answer {
        let answer = Answer::found_before(self.domain, row.check, self.now);
        Answer { is_unknown: self.is_unknown_for(row.check.reason), ..answer }
    }

    /// Healing is tried at most every five minutes, whether it has brought a policy or not.
    fn healed_before(&self, row: &Row, kept: &Arc<StoredPolicy>) -> Option<Answer> {
        if is_fresh(kept, self.now) {
            let note = "too new to be fetched again for hosts that it does not list";
            return Some(self.keep(kept, Reason::FetchedRecently, note));
        }
        let failed = recent_failures(row, self.now).pop()?;
        Some(self.backing_off(failed, None))
    }

    fn stop_at_cache(&self) -> Answer {
        match &self.kept {
            Some(kept) => self.keep(kept, Reason::NotChecked, "not checked, as asked"),
            None => {
                if self.blindness.is_some() {
                    return self.none(Reason::NotCached, "nothing else was asked");
                }
                let text = format!("no policy for {} is cached, and nothing else was asked", self.domain);
                let is_unknown = self.discovery.on_dns_error == OnTrouble::Defer;
                Answer { is_unknown, ..Answer::none(self.domain.name(), Reason::NotCached, text) }
            }
        }
    }

    fn ask(&mut self) -> Answer {
        let state = self.record_state();
        match (state, self.kept.clone()) {
            (RecordState::Id(id, ttl), Some(kept)) if *kept.id == *id && !self.must_fetch() => {
                // It stays, and its life is not prolonged (RFC 8461 section 5.1).
                self.store_check(Reason::Confirmed, ttl);
                self.keep(&kept, Reason::Confirmed, "")
            }
            (RecordState::Id(id, ttl), _) => self.fetch(&id, ttl, None),
            // An attacker who drops the record must not age a policy out: a due refresh comes all the same.
            (RecordState::Unusable(ttl, reason, text), Some(kept)) if self.must_fetch() => {
                self.fetch(&kept.id, ttl, Some((reason, text)))
            }
            (RecordState::Failed(text), Some(kept)) if self.must_fetch() => {
                self.fetch(&kept.id, PAUSE_AFTER_FAILURE, Some((Reason::DnsFailed, text)))
            }
            (RecordState::Unusable(ttl, reason, text), kept) => {
                self.tell_expiry();
                self.store_check(reason, ttl);
                match kept {
                    Some(kept) => self.keep(&kept, reason, text),
                    None => self.none(reason, &text),
                }
            }
            (RecordState::Failed(text), Some(kept)) => {
                self.store_check(Reason::DnsFailed, PAUSE_AFTER_FAILURE);
                self.keep(&kept, Reason::DnsFailed, text)
            }
            (RecordState::Failed(text), None) => self.without_dns(&text),
        }
    }

    fn record_state(&mut self) -> RecordState {
        let name = self.domain.record_name();
        if self.is_due && self.known.as_ref().is_some_and(|known| is_dns_down(&known.row, self.now)) {
            return RecordState::Failed(format!("{name}: DNS has just failed"));
        }
        // Where the policy is fetched whatever DNS says, silence of DNS leaves time for that.
        let share = if self.kept.is_some() && self.must_fetch() { 0.4 } else { 1.0 };
        let deadline = self.deadline.at_most(self.deadline.remaining().mul_f32(share));
        let state = match self.discovery.network.txt(&name, deadline) {
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
        };
        self.tell(|story| {
            story.dns = match &state {
                RecordState::Id(id, ttl) => format!("{name}: id {id}, good for {}", describe_seconds(*ttl)),
                RecordState::Unusable(_, _, text) | RecordState::Failed(text) => text.clone(),
            }
        });
        state
    }

    /// Nothing is known. That is never remembered as "no policy", but who has waited for this answer shares it.
    fn without_dns(&mut self, text: &str) -> Answer {
        if self.is_fair {
            self.store_check(Reason::DnsFailed, 0);
        }
        let answer = self.failed(Reason::DnsFailed, text);
        self.discovery.log.line(Level::Warning, &answer.text());
        answer
    }

    /// Fetches the policy for an id. `trouble` is what was wrong with the record when the fetch comes all the same.
    fn fetch(&mut self, id: &str, ttl: u64, trouble: Option<(Reason, String)>) -> Answer {
        if self.effort != Effort::Refresh
            && let Some(known) = &self.known
            && let Some(failed) = back_off(&known.row, id, self.kept.is_some(), self.now).cloned()
        {
            let answer = self.backing_off(&failed, trouble);
            self.tell(|story| story.https = story::not_repeated(&failed));
            if self.kept.is_some() {
                self.store_check(Reason::BackingOff, PAUSE_AFTER_FAILURE);
            }
            return answer;
        }
        self.is_fair = self.has_fair_time();
        let fetched = self.discovery.network.policy_body(self.domain, self.deadline).and_then(|body| {
            // The life of the policy begins when it has arrived.
            StoredPolicy::new(id, &body, self.discovery.clock.now()).map_err(|error| FetchError {
                reason: Reason::PolicyInvalid,
                text: format!("policy host {}: the policy is malformed: {error}", self.domain.policy_host()),
            })
        });
        match fetched {
            Ok(stored) => {
                self.tell(|story| story.https = story::fetched(&stored));
                self.learn(Arc::new(stored), ttl, trouble)
            }
            Err(error) => {
                self.tell(|story| story.https.clone_from(&error.text));
                self.regret(id, &error)
            }
        }
    }

    fn learn(&mut self, stored: Arc<StoredPolicy>, ttl: u64, trouble: Option<(Reason, String)>) -> Answer {
        let now = stored.fetched_at;
        let check_reason = trouble.as_ref().map_or(Reason::Fetched, |(reason, _)| *reason);
        let row = Arc::new(Row {
            check: Check { at: now, until: now.plus(ttl).min(stored.expires_at.plus(1)), reason: check_reason },
            refresh_at: plan_refresh(&stored, jitter(self.domain, now)),
            failures: self.known.as_ref().map_or_else(Vec::new, |known| known.row.failures.clone()),
            policy: Some(Arc::clone(&stored)),
        });
        let (cache, log, stored_at) = (self.discovery.cache, self.discovery.log, self.discovery.clock.now());
        cache.store_policy(self.domain, Arc::clone(&row), stored_at, self.deadline, log);
        self.known = Some(Known { row, stored_in: None });
        let (reason, mut note) = match (self.effort, self.is_due) {
            (Effort::Heal, _) => (Reason::Healed, "fetched now because the cached one listed no MX host".to_owned()),
            (_, true) => (Reason::Fetched, "fetched now because a refresh was due".to_owned()),
            _ => (Reason::Fetched, "fetched now".to_owned()),
        };
        if let Some((_, trouble)) = trouble {
            note.push_str("; ");
            note.push_str(&trouble);
        }
        Answer::fetched(self.domain, stored, reason, &note, now)
    }

    /// A fetch that failed: what is cached stays.
    fn regret(&mut self, id: &str, error: &FetchError) -> Answer {
        let is_counted = is_fault_of_host(error.reason, self.is_fair);
        // Healing is not tried with each message, even if there was not enough time to blame the host.
        if is_counted || self.effort == Effort::Heal {
            let id = if is_counted { id } else { NO_ID };
            let mut row = self.draft();
            row.add_failure(Failure { id: id.into(), at: self.discovery.clock.now(), reason: error.reason });
            self.know(row);
        }
        self.report(error);
        match self.kept.clone() {
            Some(kept) => {
                self.store_check(error.reason, PAUSE_AFTER_FAILURE);
                self.keep(&kept, error.reason, error.text.clone())
            }
            None => {
                // Only the failure is remembered: a new id may be tried at once, so that DNS is asked again.
                if is_counted {
                    self.store_check(error.reason, 0);
                }
                self.failed(error.reason, &error.text)
            }
        }
    }

    fn report(&self, error: &FetchError) {
        let stored = self.known.as_ref().and_then(|known| known.row.policy.as_deref());
        let stored = self.kept.as_deref().or(stored);
        let level = match error.reason {
            Reason::NoTrustedRoots => Some(Level::Error),
            _ => severity(stored, self.now),
        };
        let Some(level) = level else { return };
        let outcome = match (&self.kept, stored) {
            (Some(kept), _) => {
                let left = describe_seconds(kept.expires_at.seconds_since(self.now));
                format!("the cached policy stays in force, and ends in {left} unless it can be fetched")
            }
            (None, Some(expired)) => {
                let ago = describe_seconds(self.now.seconds_since(expired.expires_at));
                format!("its policy has expired {ago} ago; mail goes as if there were none")
            }
            (None, None) => "mail goes as if there were no policy".to_owned(),
        };
        self.discovery.log.line(level, &format!("{}: {}; {outcome}", self.domain, error.text));
    }

    /// Says once that a domain is no longer protected.
    fn tell_expiry(&self) {
        let row = self.known.as_ref().filter(|_| self.kept.is_none()).map(|known| &known.row);
        if let Some(row) = row
            && let Some(stored) = &row.policy
            && stored.policy.mode() == Mode::Enforce
            && row.check.at <= stored.expires_at
        {
            let ago = describe_seconds(self.now.seconds_since(stored.expires_at));
            let line = format!("{}: its enforced policy has expired {ago} ago, and there is no record", self.domain);
            self.discovery.log.line(Level::Warning, &format!("{line}; mail goes as if there were no policy"));
        }
    }

    /// A fetch that is not tried because one has just failed: what is cached stays.
    fn backing_off(&self, failed: &Failure, trouble: Option<(Reason, String)>) -> Answer {
        let note =
            format!("{}, {} ago", story::not_repeated(failed), describe_seconds(self.now.seconds_since(failed.at)));
        let (reason, note) = trouble.unwrap_or((Reason::BackingOff, note));
        let answer = match &self.kept {
            Some(kept) => self.keep(kept, reason, note),
            None => self.none(reason, &note),
        };
        Answer { cause: failed.reason, ..answer }
    }

    fn keep(&self, kept: &Arc<StoredPolicy>, reason: Reason, note: impl Into<Cow<'static, str>>) -> Answer {
        Answer::kept(self.domain, Arc::clone(kept), reason, note.into(), self.now)
    }

    fn none(&self, reason: Reason, why: &str) -> Answer {
        let is_unknown = self.is_unknown_for(reason);
        let blind = match self.blindness {
            Some(Unread::Torn) => ", and a process that was forked amid work on the cache cannot read it",
            Some(_) => ", and no descriptor or memory is free to read the cache with",
            None => "",
        };
        let text = format!("{} for {}: {why}{blind}", answer::without_policy(is_unknown, reason), self.domain);
        Answer { is_unknown, ..Answer::none(self.domain.name(), reason, text) }
    }

    fn is_unknown_for(&self, reason: Reason) -> bool {
        self.blindness.is_some() || reason == Reason::DnsFailed && self.discovery.on_dns_error == OnTrouble::Defer
    }

    /// Nothing is cached, and nothing was learnt. Who has waited for another asker, and then had not enough time, does
    /// not know whether there is a policy.
    fn failed(&self, reason: Reason, why: &str) -> Answer {
        if !self.has_waited || self.is_fair || !reason.is_want_of_time() {
            return self.none(reason, why);
        }
        let text = format!("policy unknown for {}: another asker was waited for, and then: {why}", self.domain);
        let answer = Answer::none(self.domain.name(), Reason::WaitedInVain, text);
        Answer { is_unknown: true, cause: reason, ..answer }
    }

    fn draft(&self) -> Row {
        let now = self.discovery.clock.now();
        let mut row = self.known.as_ref().map(|known| (*known.row).clone()).unwrap_or(Row {
            policy: None,
            check: Check { at: now, until: now, reason: Reason::NoRecord },
            refresh_at: now,
            failures: Vec::new(),
        });
        // With the end that its life has by this clock.
        row.policy = self.kept.clone().or(row.policy);
        row
    }

    /// Remembers what a look has brought: it counts from now for some seconds, but not beyond the end of the policy.
    fn store_check(&mut self, reason: Reason, seconds: u64) {
        if self.blindness.is_some() && self.kept.is_none() {
            return; // memory would have it for the cache's word
        }
        let now = self.discovery.clock.now();
        let until = now.plus(seconds);
        let until = self.kept.as_ref().map_or(until, |kept| until.min(kept.expires_at.plus(1)));
        let mut row = self.draft();
        row.check = Check { at: now, until, reason };
        if self.is_due && self.is_fair {
            // A refresh that did not come about is tried again when the failed id may be fetched again.
            row.refresh_at = now.plus(BACK_OFF);
        }
        let known = self.know(row);
        let (cache, log) = (self.discovery.cache, self.discovery.log);
        cache.store_check(self.domain, &known, now, self.deadline, log);
    }

    fn know(&mut self, row: Row) -> Known {
        let stored_in = self.known.as_ref().and_then(|known| known.stored_in);
        self.known.insert(Known { row: Arc::new(row), stored_in }).clone()
    }
}

/// A number that differs from domain to domain and from time to time; it need not be unforeseeable.
fn jitter(domain: &PolicyDomain, now: UnixTime) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (domain, now).hash(&mut hasher);
    hasher.finish()
}
