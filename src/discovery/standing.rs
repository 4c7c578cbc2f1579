//! What a row says at a moment, by itself: whether its policy applies, whether anything is due, and the answer if not.

use super::timing::{check_counts, is_refresh_due};
use super::{Answer, Discovery};
use crate::cache::{Row, StoredPolicy};
use crate::reason::Reason;
use crate::syntax::PolicyDomain;
use crate::time::{Deadline, UnixTime};
use std::sync::Arc;

/// How a row stands at a moment.
pub(super) struct Standing {
    /// Its policy, if that applies.
    pub kept: Option<Arc<StoredPolicy>>,
    /// Whether the policy is due to be fetched anew.
    pub is_due: bool,
}

impl Standing {
    pub fn of(row: &Row, discovery: &Discovery<'_>, now: UnixTime, is_fair: bool) -> Self {
        let kept = row.policy.as_ref().and_then(|policy| policy.in_force(now));
        let is_due = discovery.refreshes && kept.as_ref().is_some_and(|kept| is_refresh_due(row, kept, now, is_fair));
        Self { kept, is_due }
    }
}

/// The answer to most questions: a row in memory for which nothing is due, and with which nothing is wrong.
pub(super) fn answer_at_once(discovery: &Discovery<'_>, domain: &PolicyDomain, deadline: Deadline) -> Option<Answer> {
    let now = discovery.clock.now();
    let is_fair = deadline.remaining() >= discovery.fair_time;
    let settled = discovery.cache.glance(domain, |row| {
        let Standing { kept, is_due } = Standing::of(row, discovery, now, is_fair);
        if is_due || !check_counts(row, kept.is_some(), now) {
            return None;
        }
        match kept {
            Some(kept) if has_found_policy(row) => Some(Answer::cached(domain, kept, now)),
            Some(_) => None,
            None => Some(Answer::found_before(domain, row.check, now)),
        }
    });
    settled.flatten()
}

/// Whether the last check has found the policy in order.
pub(super) fn has_found_policy(row: &Row) -> bool {
    matches!(row.check.reason, Reason::Cached | Reason::Fetched | Reason::Confirmed)
}
