//! Copies of rows that several threads ask for. Each thread reads copies of its own, and counts their users, so that
//! processors do not take the same cache lines from each other with each answer.

use super::Entry;
use crate::syntax::PolicyDomain;
use std::sync::Arc;

/// So many copies of rows that fall on one spot are kept.
pub const WAYS: usize = 4;

/// The copies of one thread, or of the few that share its place.
#[derive(Debug, Default)]
pub struct Copies {
    sets: Vec<Set>,
}

/// The copies on one spot.
#[derive(Debug, Default)]
struct Set {
    /// Parts of the hashes, which tell most names apart without a look at them.
    tags: [u32; WAYS],
    /// That of the name which was missed last.
    missed: u32,
    /// The copy that goes next.
    next: u8,
    /// Elsewhere, so that empty places take no room in the processor's cache.
    ways: [Option<Box<Copied>>; WAYS],
}

#[derive(Debug)]
struct Copied {
    domain: PolicyDomain,
    entry: Entry,
    /// How often the row's shelf had been changed.
    changes: u64,
}

impl Copies {
    /// Lets `look` see the copy of an entry that was made since its shelf was changed last. The error says whether one
    /// is worth making: for a name that was missed twice in a row here.
    pub fn look<R>(
        &mut self,
        hash: u64,
        domain: &PolicyDomain,
        changes: u64,
        look: impl FnOnce(&Entry) -> R,
    ) -> Result<R, bool> {
        let tag = tag(hash);
        let Some(set) = self.set(hash) else { return Err(true) };
        let is_it = |copied: &Copied| copied.changes == changes && copied.domain == *domain;
        let ways = set.tags.iter().zip(&set.ways).filter(|(its, _)| **its == tag);
        match ways.filter_map(|(_, way)| way.as_ref()).find(|copied| is_it(copied)) {
            Some(copied) => Ok(look(&copied.entry)),
            None => Err(std::mem::replace(&mut set.missed, tag) == tag),
        }
    }

    /// Keeps a copy, of at most `most` altogether, which are [`WAYS`] at least. What it replaces is handed out, to be taken down elsewhere.
    pub fn put(
        &mut self,
        hash: u64,
        domain: PolicyDomain,
        entry: Entry,
        changes: u64,
        most: usize,
    ) -> Option<impl Sized + use<>> {
        if self.sets.is_empty() {
            self.sets.resize_with(most / WAYS, Set::default);
        }
        let tag = tag(hash);
        let set = self.set(hash)?;
        let older = |way: &Option<Box<Copied>>| way.as_ref().is_some_and(|copied| copied.domain == domain);
        let free = set.ways.iter().position(older).or_else(|| set.ways.iter().position(Option::is_none));
        let place = free.unwrap_or_else(|| {
            set.next = set.next.wrapping_add(1);
            usize::from(set.next) % WAYS
        });
        *set.tags.get_mut(place)? = tag;
        set.ways.get_mut(place)?.replace(Box::new(Copied { domain, entry, changes }))
    }

    /// How many there are, and the size of the largest.
    #[cfg(test)]
    pub fn extent(&self) -> (usize, usize) {
        let sizes = self.sets.iter().flat_map(|set| &set.ways).flatten().map(|copied| copied.entry.row.size());
        (sizes.clone().count(), sizes.max().unwrap_or(0))
    }

    fn set(&mut self, hash: u64) -> Option<&mut Set> {
        // The upper half of the hash as a share of all sets.
        let sets = u64::try_from(self.sets.len()).ok()?;
        self.sets.get_mut(usize::try_from((hash >> 32).wrapping_mul(sets) >> 32).ok()?)
    }
}

/// From the better mixed half of the hash; never that of an empty place.
fn tag(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0) | 1
}

impl Entry {
    /// The same, with a policy whose users are counted apart.
    pub fn apart(mut self) -> Self {
        self.row.policy = self.row.policy.map(|policy| Arc::new((*policy).clone()));
        self
    }
}
