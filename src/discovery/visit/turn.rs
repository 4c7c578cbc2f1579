//! Of many askers for one domain one goes to the network: whose turn it is, who waits for it, and what is shared.

use super::Visit;
use crate::cache::{Known, Turn, Whose};
use crate::discovery::timing::{PAUSE_AFTER_FAILURE, is_about_policy};
use crate::discovery::{Answer, Effort};
use crate::reason::Reason;
use std::sync::Arc;
use std::time::Duration;

/// How often a waiting asker looks whether its turn has come: soon at first, then more rarely.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

impl Visit<'_> {
    /// One asker for each domain goes to the network. `Ok`: this one may, and others have to wait until the turn is
    /// dropped, if there is one. `Err`: another one is on its way or has just been, and this is the answer.
    pub(super) fn take_turn(&mut self) -> Result<Option<Turn>, Answer> {
        let turn = self.discovery.cache.queue(self.domain);
        let mut whose = turn.as_ref().map_or(Whose::Stuck, Turn::take);
        if matches!(whose, Whose::Others(_)) && self.effort != Effort::Refresh {
            if let Some(kept) = &self.kept {
                return Err(self.keep(kept, Reason::BeingChecked, "another asker looks for a newer one"));
            }
            self.has_waited = true;
            whose = turn.as_ref().map_or(whose, |turn| self.wait_for(turn));
        }
        // Somebody may have been here between our look at the cache and our turn.
        let before = self.known.take();
        let now = self.discovery.clock.now();
        let known = self.discovery.cache.read_afresh(self.domain, now, self.deadline, self.discovery.log);
        if known.is_ok() {
            self.blindness = None;
        }
        // What cannot be read any more is still known.
        self.judge(now, known.unwrap_or_else(|_| before.clone()));
        if let Some(answer) = self.remembered() {
            return Err(answer);
        }
        if self.has_waited
            && self.kept.is_none()
            && let Some(answer) = self.shared(before.as_ref())
        {
            return Err(answer);
        }
        if whose == Whose::Stuck {
            self.claim();
        }
        Ok(turn)
    }

    /// What the asker that was waited for has found, even if that is not to be remembered.
    fn shared(&self, before: Option<&Known>) -> Option<Answer> {
        let row = &self.known.as_ref().filter(|known| before.is_none_or(|before| before.row != known.row))?.row;
        match &row.policy {
            // Its life was shorter than our wait: it applies to the messages for which it was fetched.
            Some(stored) if row.check.reason == Reason::Fetched && stored.fetched_at >= self.began => {
                let note = "fetched now by another asker";
                Some(Answer::fetched(self.domain, Arc::clone(stored), Reason::Fetched, note, self.now))
            }
            _ => (!is_about_policy(row.check.reason)).then(|| self.as_found_before(row)),
        }
    }

    /// Waits for the turn while enough time is left to do what the askers before have not done. If the second of them has
    /// left nothing to share either, nobody waits for a third.
    fn wait_for(&self, turn: &Turn) -> Whose {
        const MOST_ASKERS: u32 = 2;
        let reserve = self.discovery.fair_time.min(self.deadline.remaining().mul_f32(0.5));
        let (mut pause, longest) = LOOKS;
        let (mut askers, mut last_age) = (1_u32, Duration::ZERO);
        loop {
            let left = self.deadline.remaining().saturating_sub(reserve);
            if left.is_zero() {
                return Whose::Others(last_age);
            }
            std::thread::sleep(pause.min(left));
            pause = pause.saturating_mul(2).min(longest);
            let whose = turn.take();
            let Whose::Others(age) = whose else { return whose };
            askers = askers.saturating_add(u32::from(age < last_age));
            last_age = age;
            if askers > MOST_ASKERS {
                return whose;
            }
        }
    }

    /// Where nobody can take turns, whoever has a valid policy is kept from asking while this visit does.
    fn claim(&mut self) {
        if self.kept.is_some() {
            self.store_check(Reason::BeingChecked, PAUSE_AFTER_FAILURE);
        }
    }
}
