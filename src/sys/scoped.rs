//! A value on the stack, found by all that is called from there on the same thread.
//!
//! Other than thread-local data it needs no destructor, so that it is there as well while a thread or the process ends.

use std::cell::Cell;
use std::ptr;

/// Where the value is found; stands in a `thread_local!` whose initial value is constant.
#[derive(Debug)]
pub struct Place<T>(Cell<*const T>);

impl<T> Place<T> {
    /// Nothing is lent yet.
    pub const fn new() -> Self {
        Self(Cell::new(ptr::null()))
    }

    /// Lends a value to what `work` calls on this thread. What was lent before is hidden meanwhile.
    pub fn lend<R>(&self, value: &T, work: impl FnOnce() -> R) -> R {
        let _taken_back = TakenBack { place: self, before: self.0.replace(value) };
        work()
    }

    /// Uses the value; none if nothing is lent.
    pub fn with<R>(&self, work: impl FnOnce(&T) -> R) -> Option<R> {
        // SAFETY: null, or borrowed by a `lend` further down this thread's stack, which takes it back before it returns,
        // also when it unwinds. The type stays on its thread, as a cell with a pointer does.
        unsafe { self.0.get().as_ref() }.map(work)
    }
}

struct TakenBack<'a, T> {
    place: &'a Place<T>,
    before: *const T,
}

impl<T> Drop for TakenBack<'_, T> {
    fn drop(&mut self) {
        self.place.0.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_while_it_is_lent() {
        let place = Place::new();
        let seen = || place.with(|value: &u32| *value);
        assert_eq!(seen(), None);
        place.lend(&1, || {
            assert_eq!(place.lend(&2, seen), Some(2));
            assert_eq!(seen(), Some(1));
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| place.lend(&3, || panic!("no"))));
            assert!(unwound.is_err());
            assert_eq!(seen(), Some(1));
        });
        assert_eq!(seen(), None);
    }
}
