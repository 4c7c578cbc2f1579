//! The STS record, for callers that ask DNS themselves.

use super::guard::{guarded, slice};
use super::lookup::TextBuffer;
use super::status::{Failure, MTASTS_INVALID_RECORD, MTASTS_NO_RECORD, MTASTS_OK};
use crate::syntax::{RecordChoice, select_record};
use std::ffi::{c_char, c_int};

/// A buffer of this size takes any policy id and its final NUL.
pub const MTASTS_ID_SIZE: usize = 33;

/// Picks the STS record out of the TXT records of `_mta-sts.DOMAIN` and tells its id (RFC 8461 section 3.1). Pure.
///
/// txt: one pointer for each TXT record, to its character-strings joined with nothing between; not NUL-terminated, any
/// bytes. May be NULL if count is 0.
/// len: the length of each record in bytes. May be NULL if count is 0.
/// count: the number of records.
/// id: takes the id, NUL-terminated; empty on failure if id_len is not 0. Not NULL.
/// id_len: size of id in bytes; MTASTS_ID_SIZE is always enough.
///
/// Returns MTASTS_OK, MTASTS_NO_RECORD (no record speaks of MTA-STS), MTASTS_INVALID_RECORD (several do, or the one is
/// malformed; for a sender both mean "no record"), MTASTS_BUFFER_TOO_SMALL, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (an
/// impossible length) or MTASTS_INTERNAL. Any
/// thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_record_select(
    txt: *const *const u8,
    len: *const usize,
    count: usize,
    id: *mut c_char,
    id_len: usize,
) -> c_int {
    guarded(|| {
        let choice = choose(txt, len, count);
        let mut buffer = TextBuffer::new(id, id_len, "id")?;
        match choice? {
            RecordChoice::Found(record) => buffer.put(record.id()).map(|()| MTASTS_OK),
            RecordChoice::None => Err(Failure::new(MTASTS_NO_RECORD, "no TXT record begins with `v=STSv1;`")),
            RecordChoice::Invalid(fault) => Err(Failure::new(MTASTS_INVALID_RECORD, fault.to_string())),
        }
    })
}

fn choose(txt: *const *const u8, len: *const usize, count: usize) -> Result<RecordChoice, Failure> {
    let pointers = slice(txt, count, "txt")?;
    let lengths = slice(len, count, "len")?;
    let records: Result<Vec<&[u8]>, Failure> =
        pointers.iter().zip(lengths).map(|(record, len)| slice(*record, *len, "txt[i]")).collect();
    Ok(select_record(records?))
}
