//! No panic crosses into the host, and none of ours prints.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a call for a host that knows no panics; `None` if it panicked.
pub fn catch<T>(call: impl FnOnce() -> T) -> Option<T> {
    install_hook();
    let was_inside = IS_INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(false);
    let outcome = panic::catch_unwind(AssertUnwindSafe(call)).ok();
    let _ = IS_INSIDE.try_with(|inside| inside.set(was_inside));
    outcome
}

/// Keeps our own panics from printing; those of others go where they went before.
fn install_hook() {
    static IS_INSTALLED: AtomicBool = AtomicBool::new(false);
    if IS_INSTALLED.load(Ordering::Relaxed) || IS_INSTALLED.swap(true, Ordering::SeqCst) {
        return;
    }
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_INSIDE.try_with(Cell::get).unwrap_or(false) {
            previous(info);
        }
    }));
}
