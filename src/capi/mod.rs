//! The C face: converts arguments, calls once, converts back. One file per C object.
//!
//! Every function is safe against NULL and catches panics. Its comment is written for a reader of the C header, which
//! cbindgen makes from these files; `make header` rewrites it.

#![allow(non_camel_case_types)]

mod context;
mod decision;
mod default;
mod guard;
mod lookup;
mod policy;
mod record;
mod socketmap;
mod status;

pub use context::*;
pub use decision::*;
pub use lookup::*;
pub use policy::*;
pub use record::*;
pub use socketmap::*;
pub use status::*;
