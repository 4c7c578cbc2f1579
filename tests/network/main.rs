//! Looks policies up in a small internet on loopback, through the public API: every kind of trouble in DNS, in TLS, in
//! HTTPS and in the cache, and the answer that a mail server gets.
//!
//! Each table is a list of situations with the answer that RFC 8461 wants. Rows are played at once, each with a domain
//! of its own; slow ones therefore cost their deadline once.

mod addresses;
mod certificates;
mod crowd;
mod dns;
mod https;
mod memory;
mod nameservers;
mod persistence;
#[cfg(feature = "cli")]
mod processes;
mod stage;
mod trouble;
