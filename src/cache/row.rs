//! One row: all that is known about one domain.

use crate::reason::Reason;
use crate::syntax::{Mode, Policy, PolicyError};
use crate::time::UnixTime;
use std::sync::Arc;

/// A policy as it was fetched. What each answer needs stands first, on one line of the processor's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StoredPolicy {
    /// When it was fetched. Its life runs from here (RFC 8461 section 3.2).
    pub fetched_at: UnixTime,
    /// The last second in which it applies: `fetched_at` and `max_age`; earlier if `fetched_at` lies in the future.
    pub expires_at: UnixTime,
    /// The body, understood.
    pub policy: Policy,
    /// The id that the STS record showed when the policy was fetched.
    pub id: Box<str>,
    /// The body as served: a TLS report wants it unchanged (RFC 8460 section 4.4).
    pub body: Arc<[u8]>,
}

impl StoredPolicy {
    /// A policy that was fetched at a time.
    pub fn new(id: &str, body: &[u8], fetched_at: UnixTime) -> Result<Self, PolicyError> {
        let policy = Policy::parse(body)?;
        let expires_at = fetched_at.plus(policy.max_age());
        Ok(Self { id: id.into(), body: body.into(), policy, fetched_at, expires_at })
    }

    /// The policy if it applies now, with the end that its life has by this clock. An age of exactly max_age is still
    /// valid (RFC 8461 section 5.1).
    ///
    /// A fetch that seems to lie in the future tells of a clock that was wrong then or is wrong now. It must neither
    /// cost the policy nor make it eternal: it lives for max_age from when that was first seen, and by its fetch again
    /// once the clock has caught up.
    pub fn in_force(self: &Arc<Self>, now: UnixTime) -> Option<Arc<Self>> {
        // Counted before it is looked at: its line of the processor's cache is fetched once, for writing.
        let kept = Arc::clone(self);
        let expires_at = if kept.is_from_the_future(now) {
            kept.expires_at.min(now.plus(kept.policy.max_age()))
        } else {
            kept.natural_end()
        };
        if now > expires_at {
            return None;
        }
        Some(if expires_at == kept.expires_at { kept } else { Arc::new(Self { expires_at, ..(*kept).clone() }) })
    }

    /// The end by `fetched_at` and `max_age`.
    pub(super) fn natural_end(&self) -> UnixTime {
        self.fetched_at.plus(self.policy.max_age())
    }

    /// The earlier end, if there is one.
    pub(super) fn shortened_to(&self) -> Option<UnixTime> {
        Some(self.expires_at).filter(|end| *end != self.natural_end())
    }

    /// Whether the clock was set back since the policy was fetched.
    pub fn is_from_the_future(&self, now: UnixTime) -> bool {
        self.fetched_at > now.plus(SLACK)
    }
}

/// A clock may be put right by some seconds.
const SLACK: u64 = 5;

/// Whether one fetch came after another. One that lies in the future was made under a wrong clock and came before all.
pub(super) fn is_later(fetched_at: UnixTime, other: UnixTime, now: UnixTime) -> bool {
    trusted_time(fetched_at, now) > trusted_time(other, now)
}

/// A stored time, or the beginning of time if it lies in the future.
pub(super) fn trusted_time(time: UnixTime, now: UnixTime) -> UnixTime {
    if time <= now { time } else { UnixTime(i64::MIN) }
}

fn in_order(what: &str, time: UnixTime, latest: UnixTime, why: &str) -> Result<(), String> {
    match time.0 {
        ..0 => Err(format!("{what} is {time}, want a time since 1970")),
        _ if time > latest => Err(format!("{what} is {time}, {why}: want at most {latest}")),
        _ => Ok(()),
    }
}

fn check_id(id: &str) -> Result<(), String> {
    let shown = id.escape_debug();
    if is_id(id) { Ok(()) } else { Err(format!("id `{shown}`, want at most 32 letters and digits")) }
}

/// Whether a text that was read back may be a policy id: 1 to 32 letters and digits (RFC 8461 section 3.1), or nothing
/// for a fetch without a record.
pub(super) fn is_id(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The last look at the STS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// When DNS was asked.
    pub at: UnixTime,
    /// Until when its answer counts.
    pub until: UnixTime,
    /// What it amounted to.
    pub reason: Reason,
}

impl Check {
    /// The longest time for which DNS's word that a policy is the current one counts, in seconds.
    pub const LONGEST: u64 = 3_600;
    /// The same for its word that there is no record.
    pub const LONGEST_NEGATIVE: u64 = 300;
    /// The same for a look that brought nothing.
    pub const LONGEST_FAILED: u64 = 60;

    /// Whether the answer still counts. A check from the future, or one that reaches further than its kind may, was
    /// written under a wrong clock.
    pub fn is_current(&self, now: UnixTime) -> bool {
        self.at <= now && now < self.until && self.until <= self.latest_end()
    }

    /// The end that it may have at most.
    fn latest_end(&self) -> UnixTime {
        self.at.plus(match self.reason {
            Reason::Cached | Reason::Confirmed | Reason::Fetched => Self::LONGEST,
            Reason::NoRecord | Reason::SeveralRecords | Reason::MalformedRecord => Self::LONGEST_NEGATIVE,
            _ => Self::LONGEST_FAILED,
        })
    }
}

/// A fetch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The id for which the policy was to be fetched.
    pub id: Box<str>,
    /// When it failed.
    pub at: UnixTime,
    /// How it failed.
    pub reason: Reason,
}

/// All that is known about one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The last good policy, expired or not.
    pub policy: Option<Arc<StoredPolicy>>,
    /// The last check.
    pub check: Check,
    /// When the policy is to be fetched again whatever DNS says.
    pub refresh_at: UnixTime,
    /// The most recent failures, the newest last, at most [`Row::MAX_FAILURES`].
    pub failures: Vec<Failure>,
}

impl Row {
    /// More failures than back-off ever looks at.
    pub const MAX_FAILURES: usize = 8;

    /// About how many bytes of memory the row takes.
    pub(super) fn size(&self) -> usize {
        const ROW: usize = 256;
        const PATTERN: usize = 48;
        let policy = self.policy.as_ref().map_or(0, |stored| {
            let lints: usize = stored.policy.lints().iter().map(String::len).sum();
            stored.body.len().saturating_add(stored.policy.mx().len().saturating_mul(PATTERN)).saturating_add(lints)
        });
        policy.saturating_add(ROW)
    }

    /// Whether the policy of this row was fetched later than that of `other`.
    pub(super) fn has_later_policy_than(&self, other: &Self, now: UnixTime) -> bool {
        let fetched_at = |row: &Self| row.policy.as_ref().map(|stored| stored.fetched_at);
        fetched_at(self).is_some_and(|ours| fetched_at(other).is_none_or(|theirs| is_later(ours, theirs, now)))
    }

    /// The mode of the policy, in force or not; none without one.
    pub fn mode(&self) -> Option<Mode> {
        self.policy.as_ref().map(|stored| stored.policy.mode())
    }

    /// Whether its last fetch failed.
    pub fn is_failing(&self) -> bool {
        let fetched_at = self.policy.as_ref().map(|stored| stored.fetched_at);
        self.failures.last().is_some_and(|failure| fetched_at.is_none_or(|fetched_at| failure.at > fetched_at))
    }

    /// Whether the policy is in force and is to be fetched anew. `latest`: no plan reaches further.
    pub fn is_due(&self, now: UnixTime, latest: UnixTime) -> bool {
        let is_in_force = self.policy.as_ref().is_some_and(|stored| stored.in_force(now).is_some());
        is_in_force && (self.refresh_at <= now || self.refresh_at > latest)
    }

    /// Since when it is known: when the policy was fetched, or DNS asked where there is none.
    pub fn since(&self) -> UnixTime {
        self.policy.as_ref().map_or(self.check.at, |stored| stored.fetched_at)
    }

    /// Until when it counts: the end of the policy, or of the check where there is none.
    pub fn until(&self, now: UnixTime) -> UnixTime {
        let end = |stored: &Arc<StoredPolicy>| stored.in_force(now).map_or(stored.expires_at, |kept| kept.expires_at);
        self.policy.as_ref().map_or(self.check.until, end)
    }

    /// Whether nothing in it counts any more.
    pub fn is_over(&self, now: UnixTime) -> bool {
        match &self.policy {
            Some(stored) => stored.in_force(now).is_none(),
            None => !self.check.is_current(now),
        }
    }

    /// Whether a row that comes from elsewhere could have been stored here. `latest`: no plan for a refresh reaches
    /// further. The error names the value, and what would be right.
    pub fn vet(&self, now: UnixTime, latest: UnixTime) -> Result<(), String> {
        let past = |what: &str, time: UnixTime| in_order(what, time, now.plus(SLACK), "which lies in the future");
        past("check.at", self.check.at)?;
        in_order(
            "check.until",
            self.check.until,
            self.check.latest_end(),
            "which is beyond what such a check is good for",
        )?;
        in_order("refresh_at", self.refresh_at, latest.plus(SLACK), "which is further ahead than any plan")?;
        if self.failures.len() > Self::MAX_FAILURES {
            return Err(format!("{} failures, want at most {}", self.failures.len(), Self::MAX_FAILURES));
        }
        for failure in &self.failures {
            past("a failure's at", failure.at)?;
            check_id(&failure.id)?;
        }
        let Some(stored) = &self.policy else { return Ok(()) };
        check_id(&stored.id)?;
        past("fetched_at", stored.fetched_at)?;
        in_order("expires_at", stored.expires_at, stored.natural_end(), "which is beyond fetched_at and max_age")
    }

    /// Adds a failure and forgets the oldest of too many.
    pub fn add_failure(&mut self, failure: Failure) {
        self.failures.retain(|known| known.id != failure.id);
        self.failures.push(failure);
        let surplus = self.failures.len().saturating_sub(Self::MAX_FAILURES);
        self.failures.drain(..surplus);
    }

    /// The failures as one column: a line `id time code` each.
    pub(super) fn failures_to_text(&self) -> String {
        let lines =
            self.failures.iter().map(|failure| format!("{} {} {}\n", failure.id, failure.at, failure.reason as i32));
        lines.collect()
    }

    /// Reads the column back; a line that makes no sense is no failure.
    pub(super) fn failures_from_text(text: &str) -> Vec<Failure> {
        let failure = |line: &str| {
            let mut words = line.split(' ');
            let id = words.next().filter(|id| is_id(id))?.into();
            let at = UnixTime(words.next()?.parse().ok()?);
            let reason = Reason::from_code(words.next()?.parse().ok()?)?;
            Some(Failure { id, at, reason })
        };
        text.lines().filter_map(failure).take(Self::MAX_FAILURES).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let check = Check { at: UnixTime(100), until: UnixTime(160), reason: Reason::NoRecord };
        Row { policy: None, check, refresh_at: UnixTime(0), failures: Vec::new() }
    }

    #[test]
    fn a_check_counts_from_when_it_was_made_until_it_ends() {
        let check = row().check;
        assert!(!check.is_current(UnixTime(99)), "the clock was set back");
        assert!(check.is_current(UnixTime(100)) && check.is_current(UnixTime(159)));
        assert!(!check.is_current(UnixTime(160)));
        let endless = Check { until: UnixTime(1_000_000), ..check };
        assert!(!endless.is_current(UnixTime(101)), "no check reaches so far");
    }

    #[test]
    fn failures_survive_their_column_and_stay_few() {
        let mut row = row();
        for n in 0..20 {
            row.add_failure(Failure { id: format!("id{n}").into(), at: UnixTime(n), reason: Reason::PolicyHostStatus });
        }
        row.add_failure(Failure { id: "id19".into(), at: UnixTime(50), reason: Reason::PolicyInvalid });
        assert_eq!(row.failures.len(), Row::MAX_FAILURES);
        assert_eq!(Row::failures_from_text(&row.failures_to_text()), row.failures);
        assert_eq!(Row::failures_from_text("x\ny z 1\n\nid 5 99999\nid 5 39 rest\ni\u{1b}d 5 39\n").len(), 1);
    }

    #[test]
    fn a_policy_lives_to_the_last_second_of_its_max_age() {
        let body = b"version: STSv1\nmode: none\nmax_age: 10\n";
        let policy = Arc::new(StoredPolicy::new("a1", body, UnixTime(100)).unwrap());
        assert!(policy.in_force(UnixTime(110)).is_some() && policy.in_force(UnixTime(111)).is_none());
        let noticed = policy.in_force(UnixTime(0)).unwrap();
        assert_eq!(noticed.expires_at, UnixTime(10), "a clock that was set back");
        assert_eq!(noticed.in_force(UnixTime(8)).unwrap().expires_at, UnixTime(10), "and goes on");
        assert!(noticed.in_force(UnixTime(11)).is_none(), "not for ever");
        assert_eq!(noticed.in_force(UnixTime(105)).unwrap().expires_at, UnixTime(110), "and was set right");
    }
}
