//! Copies of rows that several threads ask for. Each thread reads copies of its own, and counts their users, so that
//! processors do not take the same cache lines from each other with each answer.

use super::{Entry, share};
use crate::syntax::PolicyDomain;
use std::sync::Arc;

/// So many copies of rows that fall on one spot are kept.
const WAYS: usize = 4;
/// So many altogether at most, however many are allowed: they are to stay near the processor.
const MOST: usize = 4096;

/// How many copies are kept where so many are allowed.
pub fn at_most(allowed: usize) -> usize {
    if allowed < WAYS { 0 } else { allowed.min(MOST) }
}

/// The copies of one thread, or of the few that share its place.
#[derive(Debug, Default)]
pub struct Copies {
    sets: Vec<Set>,
}

/// The copies on one spot.
#[derive(Debug, Default)]
struct Set {
    /// Those of the names, which tell most of them apart without a look.
    hashes: [u32; WAYS],
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
        hash: u32,
        domain: &PolicyDomain,
        changes: u64,
        look: impl FnOnce(&Entry) -> R,
    ) -> Result<R, bool> {
        let Some(set) = self.set(hash) else { return Err(true) };
        let is_it = |copied: &Copied| copied.changes == changes && copied.domain == *domain;
        let ways = set.hashes.iter().zip(&set.ways).filter(|(its, _)| **its == hash);
        match ways.filter_map(|(_, way)| way.as_ref()).find(|copied| is_it(copied)) {
            Some(copied) => Ok(look(&copied.entry)),
            None => Err(std::mem::replace(&mut set.missed, hash) == hash),
        }
    }

    /// Keeps a copy, of at most `most` altogether. What it replaces is handed out, to be taken down elsewhere.
    pub fn put(
        &mut self,
        hash: u32,
        domain: PolicyDomain,
        entry: Entry,
        changes: u64,
        most: usize,
    ) -> Option<impl Sized + use<>> {
        if self.sets.is_empty() {
            self.sets.resize_with(most / WAYS, Set::default);
        }
        let set = self.set(hash)?;
        let older = |way: &Option<Box<Copied>>| way.as_ref().is_some_and(|copied| copied.domain == domain);
        let free = set.ways.iter().position(older).or_else(|| set.ways.iter().position(Option::is_none));
        let place = free.unwrap_or_else(|| {
            set.next = set.next.wrapping_add(1);
            usize::from(set.next) % WAYS
        });
        *set.hashes.get_mut(place)? = hash;
        set.ways.get_mut(place)?.replace(Box::new(Copied { domain, entry, changes }))
    }

    /// How many there are, and the size of the largest.
    #[cfg(test)]
    pub fn extent(&self) -> (usize, usize) {
        let sizes = self.sets.iter().flat_map(|set| &set.ways).flatten().map(|copied| copied.entry.row.size());
        (sizes.clone().count(), sizes.max().unwrap_or(0))
    }

    fn set(&mut self, hash: u32) -> Option<&mut Set> {
        let spot = share(hash, self.sets.len());
        self.sets.get_mut(spot)
    }
}

impl Entry {
    /// The same, with a policy whose users are counted apart.
    pub fn apart(mut self) -> Self {
        self.row.policy = self.row.policy.map(|policy| Arc::new((*policy).clone()));
        self
    }
}
