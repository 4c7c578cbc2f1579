//! A value that is read without a lock and replaced as a whole.
//!
//! For what must be readable in any process, also in a child that was forked while another thread was writing. Values
//! that have been replaced live until the holder is dropped: replacing is for settings, not for traffic.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Holds the current value and all that came before it.
#[derive(Debug)]
pub struct Published<T> {
    current: AtomicPtr<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    value: T,
    previous: *mut Node<T>,
}

// SAFETY: a shared `Published` hands out `&T` and takes `T` from any thread, which both are sound for `T: Send + Sync`.
unsafe impl<T: Send + Sync> Sync for Published<T> {}
// SAFETY: it owns its values.
unsafe impl<T: Send + Sync> Send for Published<T> {}

impl<T> Published<T> {
    /// Publishes the first value.
    pub fn new(value: T) -> Self {
        let node = Box::new(Node { value, previous: ptr::null_mut() });
        Self { current: AtomicPtr::new(Box::into_raw(node)) }
    }

    /// The current value. It stays valid while `self` does, even when it is replaced.
    pub fn get(&self) -> &T {
        // SAFETY: the pointer is never null, and no node is freed before `self` is dropped.
        unsafe { &(*self.current.load(Ordering::Acquire)).value }
    }

    /// Replaces the value by one that is made from it; made again when another thread was faster.
    pub fn update<E>(&self, make: impl Fn(&T) -> Result<T, E>) -> Result<(), E> {
        loop {
            let previous = self.current.load(Ordering::Acquire);
            // SAFETY: as in `get`.
            let value = make(unsafe { &(*previous).value })?;
            let node = Box::into_raw(Box::new(Node { value, previous }));
            match self.current.compare_exchange(previous, node, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                // SAFETY: the node was made above and has not been published.
                Err(_) => drop(unsafe { Box::from_raw(node) }),
            }
        }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let mut next = *self.current.get_mut();
        while !next.is_null() {
            // SAFETY: each node came from a box and is reached once; nobody else holds `self` any more.
            let node = unsafe { Box::from_raw(next) };
            next = node.previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_update_of_many_threads_is_lost_and_old_values_stay_readable() {
        let published = Published::new(0_u32);
        let first = published.get();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        published.update(|value| Ok::<_, ()>(value + 1)).unwrap();
                    }
                });
            }
        });
        assert_eq!((*first, *published.get()), (0, 4000));
        assert_eq!(published.update(|_| Err("no")), Err("no"));
    }
}
