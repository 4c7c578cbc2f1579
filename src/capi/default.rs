//! The process's default context: made by the first lookup, closed by `mtasts_cleanup`.
//!
//! Threads find it without waiting for each other.

use super::status::{Failure, MTASTS_INVALID_CONFIG};
use crate::context::Context;
use crate::sys::fork::{ForkSafe, Work};
use crate::sys::stripe::{self, Hold, Shared};
use once_cell::race::OnceBox;
use std::sync::atomic::{AtomicU64, Ordering};

/// The default context, made if there is none.
pub(super) fn context() -> Result<Hold<Context>, Failure> {
    DefaultContext::get().context()
}

/// Closes it; the next lookup makes a new one.
pub(super) fn close() {
    if let Some(default) = DEFAULT.get() {
        default.close();
    }
}

/// The box is published by a race and never waits, so that no forked child can find it half made.
static DEFAULT: OnceBox<DefaultContext> = OnceBox::new();

struct DefaultContext {
    current: ForkSafe<Option<Shared<Context>>>,
    /// Counts how often it was closed.
    era: AtomicU64,
    /// What threads use of it, each in a place of its own, and the era of that.
    places: [ForkSafe<Held>; stripe::COUNT],
}

type Held = Option<(u64, Hold<Context>)>;

impl DefaultContext {
    fn get() -> &'static Self {
        DEFAULT.get_or_init(|| {
            Box::new(Self {
                current: ForkSafe::new(Work::Memory, || None),
                era: AtomicU64::new(0),
                places: std::array::from_fn(|_| ForkSafe::new(Work::Memory, || None)),
            })
        })
    }

    fn context(&self) -> Result<Hold<Context>, Failure> {
        let era = self.era.load(Ordering::Acquire);
        let place = stripe::of_this_thread(&self.places);
        let of_era =
            |held: &mut Held| held.as_ref().filter(|(its_era, _)| *its_era == era).map(|(_, context)| context.clone());
        if let Some(context) = place.with(of_era).flatten() {
            return Ok(context);
        }
        let known = self.current.with(|current| current.as_ref().map(Shared::hold)).flatten();
        let context = known.map_or_else(|| self.make(era), Ok)?;
        // What a thread does not keep, or has kept, is taken down beyond the lock.
        drop(place.with(|held| {
            let own = Some((era, context.clone()));
            if self.era.load(Ordering::Acquire) == era { std::mem::replace(held, own) } else { own }
        }));
        Ok(context)
    }

    /// Makes a context, which becomes the default one unless that was closed since.
    fn make(&self, era: u64) -> Result<Hold<Context>, Failure> {
        let made = Context::new(None).map_err(|fault| Failure::new(MTASTS_INVALID_CONFIG, fault.to_string()))?;
        let made = Shared::new(made);
        // Held beyond the lock, lest one that comes too late be taken down under it.
        let own = made.hold();
        let published = self.current.with(|current| {
            let is_of_era = self.era.load(Ordering::Acquire) == era;
            is_of_era.then(|| current.get_or_insert(made).hold())
        });
        Ok(published.flatten().unwrap_or(own))
    }

    fn close(&self) {
        let current = self.current.with(|current| {
            self.era.fetch_add(1, Ordering::AcqRel);
            current.take()
        });
        let current = current.flatten();
        for place in &self.places {
            drop(place.with(Option::take));
        }
        if let Some(context) = current {
            context.hold().close();
        }
    }
}
