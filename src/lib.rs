//! MTA-STS (RFC 8461) for mail servers that have none.
//!
//! One shared library tells a mail server, in process, how it may deliver to a domain: it finds the policy by DNS and
//! HTTPS, keeps it in SQLite, and answers for each MX host. C programs use the functions of `include/mtasts.h`, Exim
//! uses [`exim`], Rust programs start at [`context::Context`].
//!
//! A module uses only what stands above it; `tests/layers.rs` keeps it so.
//!
//! ```text
//! sys         what the operating system must be asked for: forks, privileges, files, the system log
//! time        the clock that is handed in, the deadline of a call
//! syntax      text to values: domains, STS records, policies, MX patterns
//! reason      why an answer is what it is, and the RFC 8460 result type of each failure
//! config      mtasts.toml, and the same keys one by one
//! tls         trusted roots, one client configuration, the verdict on a certificate chain
//! dns         TXT and address lookups
//! https       fetches one policy body
//! cache       what is known about domains: in memory, and in SQLite behind it
//! discovery   which policy applies to a domain now
//! decision    what the MTA may do with one MX host
//! context     one configured instance that puts the parts together
//! socketmap   requests and replies of the servers that Sendmail and Postfix ask
//! capi, exim  the C face and the face for Exim's ${dlfunc}: adapters, no logic
//! ```

#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic,
        clippy::todo,
        clippy::print_stdout,
        clippy::print_stderr,
        clippy::exit
    )
)]

pub(crate) mod sys;

pub mod time;

pub mod syntax;

pub mod reason;

pub mod config;

pub mod tls;

pub mod dns;

pub mod https;

pub mod cache;

pub mod discovery;

pub mod decision;

pub mod context;

pub mod socketmap;

pub mod capi;

pub mod exim;
