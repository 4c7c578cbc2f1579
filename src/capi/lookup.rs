//! The one-liner on the process's default context, matching, version.

use super::default;
use super::guard::{bytes, guarded_value, pure};
use super::status::{Failure, MTASTS_BUFFER_TOO_SMALL};
use crate::discovery::{Answer, Effort};
use crate::syntax::{Mode, MxHost, MxPattern, PolicyDomain};
use crate::sys::thread::CallGuard;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

/// No policy applies, or one of mode none: MTA-STS sets no constraint.
pub const MTASTS_MODE_NONE: c_int = 0;
/// Deliver as without a policy; failures may be reported.
pub const MTASTS_MODE_TESTING: c_int = 1;
/// Deliver only to listed hosts over verified TLS.
pub const MTASTS_MODE_ENFORCE: c_int = 2;
/// It is not known whether there is a policy: keep the message. DNS did not answer and the configuration says
/// `on_dns_error = "defer"`; or nothing is cached and the caller asked not to go further, under the same setting; or another
/// asker's fetch was waited for, and then the time was too short; or the process has no descriptor left to read the cache
/// with, which may hold a policy.
pub const MTASTS_MODE_UNKNOWN: c_int = 3;

/// A buffer of this size takes the mx patterns of any policy.
pub const MTASTS_PATTERNS_SIZE: usize = 65537;

/// Major version of the header.
pub const MTASTS_VERSION_MAJOR: c_int = 0;
/// Minor version of the header.
pub const MTASTS_VERSION_MINOR: c_int = 1;
/// Patch version of the header.
pub const MTASTS_VERSION_PATCH: c_int = 0;

pub(super) fn mode_code(answer: &Answer) -> c_int {
    match answer.mode() {
        _ if answer.is_unknown => MTASTS_MODE_UNKNOWN,
        Mode::None => MTASTS_MODE_NONE,
        Mode::Testing => MTASTS_MODE_TESTING,
        Mode::Enforce => MTASTS_MODE_ENFORCE,
    }
}

/// Tells which version of the library is loaded, as "MAJOR.MINOR.PATCH".
///
/// Returns static text, never NULL. Any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Looks up the policy of a domain on the process's default context (RFC 8461 sections 3 and 5.1).
///
/// Knows no MX hosts and therefore fetches nothing for their sake, as `mtasts_query_for` does.
///
/// The default context is made by the first call as `mtasts_context_new` with NULL makes one; `mtasts_cleanup` closes it.
///
/// domain: the recipient's domain or that of the next hop, NUL-terminated, in any case, A-labels or UTF-8 U-labels,
/// with or without a final dot. A text that cannot be a domain, an IP address included, has no policy.
/// buf: takes the mx patterns of the policy, joined by ":" and NUL-terminated; empty where no policy applies. Not NULL.
/// len: size of buf in bytes; MTASTS_PATTERNS_SIZE is always enough.
///
/// Returns MTASTS_MODE_NONE, MTASTS_MODE_TESTING, MTASTS_MODE_ENFORCE or MTASTS_MODE_UNKNOWN, or a negative status:
/// -MTASTS_NULL_ARGUMENT, -MTASTS_INVALID_CONFIG, -MTASTS_BUFFER_TOO_SMALL (buf then holds "" if len is not 0), -MTASTS_INTERNAL. Take a
/// negative result as "keep the message". Network trouble is no failure: what is cached stays in force.
///
/// Any thread. May block up to `deadline_seconds` of the configuration; blocks as `mtasts_query` does.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_lookup(domain: *const c_char, buf: *mut c_char, len: usize) -> c_int {
    guarded_value(|| {
        // The domain is read before the buffer is cleared, in case the caller lets one array be both.
        let domain = bytes(domain, "domain").map(PolicyDomain::parse);
        let mut buffer = TextBuffer::new(buf, len, "buf")?;
        let answer = default::context()?.query_about(domain?, Effort::default(), None);
        let patterns = answer.policy.as_ref().map_or(&[][..], |stored| stored.policy.mx());
        buffer.put_joined(patterns.iter().map(MxPattern::as_str))?;
        Ok(mode_code(&answer))
    })
}

/// Tells whether a list of mx patterns covers an MX host (RFC 8461 section 4.1).
///
/// patterns: as `mtasts_lookup` gives them: patterns joined by ":", NUL-terminated, in any case. What is not a
/// pattern covers nothing.
/// mx_host: the name from the MX record, not the target of a CNAME, NUL-terminated; in any case, with or without a
/// final dot. What is not a host name is not covered.
///
/// Returns 1 if one of the patterns covers the host, 0 if none does, or -MTASTS_NULL_ARGUMENT or -MTASTS_INTERNAL.
/// Compare with 1, so that a failure never reads as a match. Any thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_match_mx(patterns: *const c_char, mx_host: *const c_char) -> c_int {
    guarded_value(|| {
        let patterns = bytes(patterns, "patterns")?;
        let Ok(host) = MxHost::parse(bytes(mx_host, "mx_host")?) else { return Ok(0) };
        let mut patterns = patterns.split(|&byte| byte == b':').filter_map(|text| MxPattern::parse(text).ok());
        Ok(c_int::from(patterns.any(|pattern| pattern.matches(&host))))
    })
}

/// Closes what the default context of `mtasts_lookup` holds: its database and its memory.
///
/// A later `mtasts_lookup` reads the configuration again and opens anew. Any thread, also while others are looking up:
/// they end on what they have. May wait for milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_cleanup() {
    let _thread = CallGuard::enter();
    pure((), default::close);
}

/// A caller's buffer for text: empty at first, then the whole text or an error.
pub(super) struct TextBuffer {
    place: *mut c_char,
    len: usize,
}

impl TextBuffer {
    pub(super) fn new(buf: *mut c_char, len: usize, argument: &str) -> Result<Self, Failure> {
        if buf.is_null() {
            return Err(Failure::null(argument));
        }
        if len > 0 {
            // SAFETY: not NULL; that `len` bytes may be written there is the caller's promise.
            unsafe { buf.write(0) };
        }
        Ok(Self { place: buf, len })
    }

    pub(super) fn put(&mut self, text: &str) -> Result<(), Failure> {
        self.put_joined([text].into_iter())
    }

    /// Puts texts, none of which has a NUL inside, with colons between them.
    fn put_joined<'a>(&mut self, texts: impl Iterator<Item = &'a str> + Clone) -> Result<(), Failure> {
        // Behind each text comes a colon, or the NUL.
        let needed = texts.clone().fold(0_usize, |sum, text| sum.saturating_add(text.len()).saturating_add(1)).max(1);
        if needed > self.len {
            let problem = format!("the buffer has {} bytes, the text and its NUL need {needed}", self.len);
            return Err(Failure::new(MTASTS_BUFFER_TOO_SMALL, problem));
        }
        // SAFETY: the caller promises `len` bytes, of which at least `needed` may be written.
        let mut place = unsafe { std::slice::from_raw_parts_mut(self.place.cast::<MaybeUninit<u8>>(), needed) };
        for (number, text) in texts.enumerate() {
            if number > 0 {
                place = put_bytes(place, b":");
            }
            place = put_bytes(place, text.as_bytes());
        }
        put_bytes(place, b"\0");
        Ok(())
    }
}

/// Writes to the beginning of a place; returns the rest of it.
fn put_bytes<'a>(place: &'a mut [MaybeUninit<u8>], bytes: &[u8]) -> &'a mut [MaybeUninit<u8>] {
    let (beginning, rest) = place.split_at_mut_checked(bytes.len()).unwrap_or_default();
    beginning.iter_mut().zip(bytes).for_each(|(place, byte)| {
        place.write(*byte);
    });
    rest
}
