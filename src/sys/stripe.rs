//! Places of one thing, one for each of a few threads, so that they need not wait for each other's cache lines.
//!
//! A counter that all threads touch with each call costs more than the rest of a remembered answer.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this share places, which costs them time and nothing else.
pub const COUNT: usize = 16;

/// A value that shares no cache line with its neighbours; processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub struct Apart<T>(pub T);

/// The place of the calling thread, below [`COUNT`].
pub fn mine() -> usize {
    const NOT_YET: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(NOT_YET) };
    }
    let choose = |mine: &Cell<usize>| {
        if mine.get() == NOT_YET {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % COUNT);
        }
        mine.get()
    };
    MINE.try_with(choose).unwrap_or(0)
}

/// The calling thread's own of the values.
pub fn of_this_thread<T>(places: &[T; COUNT]) -> &T {
    // The index is below the length.
    places.get(mine()).unwrap_or(&places[0])
}

/// A value with many owners, who count themselves in as many places as there are stripes.
#[derive(Debug)]
pub struct Shared<T>([Arc<Apart<Arc<T>>>; COUNT]);

/// One owner's hold on a [`Shared`] value.
#[derive(Debug)]
pub struct Hold<T>(Arc<Apart<Arc<T>>>);

impl<T> Shared<T> {
    /// Shares a value.
    pub fn new(value: T) -> Self {
        let value = Arc::new(value);
        Self(std::array::from_fn(|_| Arc::new(Apart(Arc::clone(&value)))))
    }

    /// One more owner. The value lives as long as any does.
    pub fn hold(&self) -> Hold<T> {
        Hold(Arc::clone(of_this_thread(&self.0)))
    }
}

impl<T> Clone for Hold<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Hold<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_value_outlives_its_sharing_and_dies_with_the_last_hold() {
        let value = Arc::new(7);
        let shared = Shared::new(Arc::clone(&value));
        let hold = std::thread::scope(|scope| scope.spawn(|| shared.hold()).join().unwrap());
        drop(shared);
        let second = hold.clone();
        drop(hold);
        assert_eq!((**second, Arc::strong_count(&value)), (7, 2));
        drop(second);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn few_threads_have_places_of_their_own() {
        let places: [usize; COUNT] = std::array::from_fn(|place| place);
        assert_eq!(of_this_thread(&places), of_this_thread(&places));
        let of_another = std::thread::scope(|scope| scope.spawn(|| *of_this_thread(&places)).join().unwrap());
        assert!(of_another < COUNT);
    }
}
