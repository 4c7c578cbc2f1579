//! When to ask again, when to fetch anew, and how loud trouble is: rules on stored times, without any I/O.
//!
//! A stored time counts only if it was written not later than now and reaches no further than its kind may.

use crate::cache::{Check, Failure, Row, StoredPolicy};
use crate::reason::Reason;
use crate::syntax::Mode;
use crate::sys::log::Level;
use crate::time::UnixTime;

/// Shortest and longest time in seconds for which the answer "same id" counts.
pub(super) const CONFIRMED: (u64, u64) = (60, Check::LONGEST);
/// The same for "no record", whatever the SOA says.
pub(super) const NEGATIVE: (u64, u64) = (60, Check::LONGEST_NEGATIVE);
/// After a failure under a cached policy nothing is tried for this long, so that trouble delays one message a minute.
pub(super) const PAUSE_AFTER_FAILURE: u64 = Check::LONGEST_FAILED;
/// A failed fetch is not repeated for the same id within this time (RFC 8461 section 3.3).
pub(super) const BACK_OFF: u64 = 300;
/// While a policy is cached, at most so many fetches may fail within [`BACK_OFF`], whatever ids DNS shows.
const MAX_FAILURES: usize = 3;
/// Callers with little time leave a due refresh to others for so long.
const REFRESH_PRECEDENCE: u64 = 3_600;
/// A policy is fetched anew about daily (RFC 8461 section 10.2).
const REFRESH: u64 = 86_400;
/// That a policy has expired unrenewed is news for so long.
const EXPIRY_NEWS: u64 = 7 * 86_400;
/// Stands in place of the id for a fetch that no id has asked for, and that failed for want of time.
pub(super) const NO_ID: &str = "";

/// A plan for a refresh that lies later than this was made under a wrong clock.
pub fn due_before(now: UnixTime) -> UnixTime {
    now.plus(REFRESH)
}

/// The longest time from a fetch to the next: about a day, and never later than half of max_age.
fn refresh_interval(stored: &StoredPolicy) -> u64 {
    (stored.policy.max_age() / 2).min(REFRESH)
}

/// When a policy that has just been fetched is to be fetched again.
pub(super) fn plan_refresh(stored: &StoredPolicy, jitter: u64) -> UnixTime {
    let interval = refresh_interval(stored);
    // Up to a tenth earlier, so that policies learnt together are not refreshed together.
    let earlier = jitter.checked_rem(interval / 10).unwrap_or(0);
    stored.fetched_at.plus(interval.saturating_sub(earlier))
}

/// Whether a refresh of the policy is due.
pub(super) fn is_refresh_due(row: &Row, kept: &StoredPolicy, now: UnixTime, is_fair: bool) -> bool {
    // Of a short life a quarter, so that another quarter is left for the refresh.
    let precedence = if is_fair { 0 } else { REFRESH_PRECEDENCE.min(kept.policy.max_age() / 4) };
    // What has been fetched in this very second is new, however short its life is.
    let is_new = kept.fetched_at == now;
    !is_new && !is_paused(row, now) && (now >= row.refresh_at.plus(precedence) || is_misplanned(row, kept, now))
}

/// Whether somebody has just tried in vain to fetch, or is trying where nobody can take turns: trouble delays one message
/// a minute. That DNS has failed is no reason to leave out a refresh.
fn is_paused(row: &Row, now: UnixTime) -> bool {
    let is_try = row.check.reason == Reason::BeingChecked || row.check.reason.is_of_fetch();
    is_try && row.check.is_current(now)
}

/// Whether DNS has just failed, and is not asked again for a while.
pub(super) fn is_dns_down(row: &Row, now: UnixTime) -> bool {
    row.check.reason == Reason::DnsFailed && row.check.is_current(now)
}

/// Whether the plan for the next refresh was made under a wrong clock, or for a policy that was fetched under one.
fn is_misplanned(row: &Row, kept: &StoredPolicy, now: UnixTime) -> bool {
    let longest = if kept.is_from_the_future(now) { BACK_OFF } else { refresh_interval(kept).max(BACK_OFF) };
    row.refresh_at > now.plus(longest)
}

/// Whether the last check still answers. What was found beside a policy says nothing once that is gone.
pub(super) fn check_counts(row: &Row, has_policy: bool, now: UnixTime) -> bool {
    row.check.is_current(now)
        && (has_policy || !is_about_policy(row.check.reason) && row.check.reason != Reason::DnsFailed)
}

/// Whether a check with this outcome has found the policy to be in order.
pub(super) fn is_about_policy(reason: Reason) -> bool {
    matches!(reason, Reason::Cached | Reason::Confirmed | Reason::Fetched | Reason::BeingChecked)
}

/// The failures of the last five minutes, the newest last.
pub(super) fn recent_failures(row: &Row, now: UnixTime) -> Vec<&Failure> {
    let is_recent = |failure: &&Failure| failure.at <= now && now.seconds_since(failure.at) < BACK_OFF;
    row.failures.iter().filter(is_recent).collect()
}

/// The failure that forbids a fetch for this id now, if one does.
pub(super) fn back_off<'a>(row: &'a Row, id: &str, has_policy: bool, now: UnixTime) -> Option<&'a Failure> {
    let recent = recent_failures(row, now);
    let same = recent.iter().find(|failure| *failure.id == *id).copied();
    same.or_else(|| recent.last().copied().filter(|_| has_policy && recent.len() >= MAX_FAILURES))
}

/// Whether the policy was fetched so recently that a mismatch is no reason to fetch it again.
pub(super) fn is_fresh(kept: &StoredPolicy, now: UnixTime) -> bool {
    kept.fetched_at <= now && now.seconds_since(kept.fetched_at) < BACK_OFF
}

/// Whether a failed fetch speaks against the policy host. What is our own fault must not keep others, or the next call
/// with more time, from fetching.
pub(super) fn is_fault_of_host(reason: Reason, is_fair: bool) -> bool {
    match reason {
        Reason::NoTrustedRoots => false,
        _ => is_fair || !reason.is_want_of_time(),
    }
}

/// How grave it is that a policy could not be fetched (RFC 8461 section 10.2): the nearer its end, the graver.
/// `stored`: what the cache has, whether it still applies or not. Nobody is told about mode none (section 3.3).
pub(super) fn severity(stored: Option<&StoredPolicy>, now: UnixTime) -> Option<Level> {
    let Some(stored) = stored else { return Some(Level::Notice) };
    let left = stored.expires_at.seconds_since(now);
    let max_age = stored.policy.max_age();
    match stored.policy.mode() {
        Mode::None => None,
        Mode::Testing if now > stored.expires_at => Some(Level::Notice),
        Mode::Enforce if now > stored.expires_at.plus(EXPIRY_NEWS) => Some(Level::Notice),
        _ if left <= max_age / 8 => Some(Level::Error),
        _ if left <= max_age / 2 => Some(Level::Warning),
        _ => Some(Level::Notice),
    }
}

/// A TTL within bounds.
pub(super) fn clamp(ttl: Option<u32>, (least, most): (u64, u64)) -> u64 {
    u64::from(ttl.unwrap_or(0)).clamp(least, most)
}
