//! What the operating system must be asked for: the only `unsafe` code outside the C faces.
//!
//! Each file wraps one matter in a safe interface: the host's forks, its privileges and environment, the cache's
//! files, connections and locks, sockets, clocks, the system log, values that are read without a lock, and the state of the calling thread.

pub mod child;
pub mod clock;
pub mod files;
pub mod fork;
pub mod identity;
pub mod interfaces;
pub mod lock;
pub mod log;
pub mod once;
pub mod panic;
pub mod privilege;
pub mod published;
pub mod scoped;
pub mod socket;
pub mod sqlite;
pub mod stripe;
pub mod thread;
