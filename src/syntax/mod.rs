//! Text to values: domains, STS records, policies, MX patterns.
//!
//! Nothing here does I/O or reads a clock. Each parser takes any bytes, runs in linear time, and returns a type
//! that cannot hold a wrong value, so that no later code checks again. Implements RFC 8461 sections 3.1, 3.2, 3.4
//! and 4.1.

mod domain;
mod mx_match;
mod policy;
mod record;

pub use domain::{DomainError, MxHost, PolicyDomain};
pub use mx_match::{MxPattern, any_match};
pub use policy::{MAX_BODY_BYTES, MAX_MAX_AGE, Mode, Policy, PolicyError};
pub use record::{RecordChoice, RecordFault, StsRecord, select_record};
