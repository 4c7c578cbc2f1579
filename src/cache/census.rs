//! What is in the cache, in numbers.

use super::row::Row;
use crate::syntax::Mode;
use crate::time::UnixTime;

/// The rows by kind, and what is to be known about the file. The first five make up all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Policies of mode enforce that are in force.
    pub enforce: u64,
    /// Policies of mode testing that are in force.
    pub testing: u64,
    /// Policies of mode none that are in force.
    pub none: u64,
    /// Policies that have expired, and are kept in case that the clock is wrong.
    pub expired: u64,
    /// Domains of which no policy is known.
    pub without_policy: u64,
    /// Policies in force that are to be fetched anew.
    pub due: u64,
    /// Domains whose last fetch failed.
    pub failing: u64,
    /// Rows whose key is no domain. No lookup finds them.
    pub unreadable: u64,
    /// When the policy was fetched that was fetched first.
    pub oldest_fetch: Option<UnixTime>,
    /// When the policy was fetched that was fetched last.
    pub newest_fetch: Option<UnixTime>,
    /// The size of the file.
    pub file_bytes: u64,
}

impl Census {
    /// All rows of domains.
    pub fn rows(&self) -> u64 {
        [self.enforce, self.testing, self.none, self.expired, self.without_policy].into_iter().sum()
    }

    /// What a row takes of the file, on average; none without rows.
    pub fn bytes_a_row(&self) -> Option<u64> {
        self.file_bytes.checked_div(self.rows())
    }

    /// Adds a row. `latest`: no plan for a refresh reaches further.
    pub(super) fn count(&mut self, row: &Row, now: UnixTime, latest: UnixTime) {
        let in_force = row.policy.as_ref().and_then(|stored| stored.in_force(now));
        let kind = match (&row.policy, in_force.map(|stored| stored.policy.mode())) {
            (None, _) => &mut self.without_policy,
            (_, None) => &mut self.expired,
            (_, Some(Mode::Enforce)) => &mut self.enforce,
            (_, Some(Mode::Testing)) => &mut self.testing,
            (_, Some(Mode::None)) => &mut self.none,
        };
        for (count, is_one) in
            [(kind, true), (&mut self.due, row.is_due(now, latest)), (&mut self.failing, row.is_failing())]
        {
            *count = count.saturating_add(u64::from(is_one));
        }
        if let Some(stored) = &row.policy {
            let at = stored.fetched_at;
            self.oldest_fetch = Some(self.oldest_fetch.map_or(at, |oldest| oldest.min(at)));
            self.newest_fetch = Some(self.newest_fetch.map_or(at, |newest| newest.max(at)));
        }
    }
}
