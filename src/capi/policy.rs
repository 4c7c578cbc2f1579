//! `mtasts_policy`: the answer to a question about a domain.

use super::guard::{bytes, guarded, guarded_value, object, out, pure, slice};
use super::lookup::mode_code;
use super::status::{Failure, MTASTS_INVALID_POLICY, MTASTS_NULL_ARGUMENT, MTASTS_OK, c_text};
use crate::context::{Context, Origin};
use crate::discovery::Answer;
use crate::syntax::{MxHost, any_match};
use crate::sys::stripe::{Hold, Shared};
use crate::sys::thread::ErrnoGuard;
use crate::time::{Clock, SystemClock};
use once_cell::race::OnceBox;
use std::ffi::{CString, c_char, c_int};
use std::ptr;

/// The answer to a question about a domain: its policy, or that it has none, and why. It does not change and outlives
/// its context. Any number of threads may read it at once; freeing it needs exclusive ownership.
pub struct mtasts_policy {
    pub(super) answer: Answer,
    pub(super) origin: Hold<Origin>,
    /// Made when the first of them is asked for. Nobody waits for another thread meanwhile.
    texts: OnceBox<Texts>,
}

/// What a policy object says in words, as C sees it.
struct Texts {
    domain: CString,
    id: CString,
    reason: CString,
    mx: Vec<CString>,
    lints: Vec<CString>,
}

impl mtasts_policy {
    /// The answer of a context.
    pub(super) fn of(context: &Context, answer: Answer) -> *mut Self {
        Self::boxed(answer, context.origin())
    }

    fn boxed(answer: Answer, origin: Hold<Origin>) -> *mut Self {
        Box::into_raw(Box::new(Self { answer, origin, texts: OnceBox::new() }))
    }

    fn texts(&self) -> &Texts {
        let _errno = ErrnoGuard::enter();
        self.texts.get_or_init(|| {
            let stored = self.answer.policy.as_deref();
            let (mx, lints) = stored.map_or_else(Default::default, |stored| {
                let mx = stored.policy.mx().iter().map(|pattern| c_text(pattern.as_str())).collect();
                let lints = stored.policy.lints().iter().map(|lint| c_text(lint)).collect();
                (mx, lints)
            });
            Box::new(Texts {
                domain: c_text(&self.answer.domain),
                id: c_text(stored.map_or("", |stored| &stored.id)),
                reason: c_text(&self.answer.text()),
                mx,
                lints,
            })
        })
    }
}

/// Runs a getter on an object that may be NULL.
fn get<T>(policy: *const mtasts_policy, if_null: T, getter: impl FnOnce(&mtasts_policy) -> T) -> T
where
    T: Copy,
{
    pure(if_null, || {
        // SAFETY: NULL or a policy object that nobody frees during the call, as the caller promises.
        unsafe { policy.as_ref() }.map_or(if_null, getter)
    })
}

/// Reads a policy body that the caller has (RFC 8461 section 3.2). Pure: no I/O.
///
/// body: the body as served, not NUL-terminated; any bytes. Not NULL, also if len is 0. Not kept.
/// len: its length in bytes.
/// policy: takes a policy object on MTASTS_OK, without domain and id, fetched now, `dane_wins` off, trusting the
/// system's roots; `mtasts_policy_free` frees it. Set to NULL on failure. Not NULL.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (an impossible length), MTASTS_INVALID_POLICY
/// (`mtasts_last_error` names the line and what is wrong with it) or MTASTS_INTERNAL. Any thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_parse(body: *const u8, len: usize, policy: *mut *mut mtasts_policy) -> c_int {
    guarded(|| {
        let policy = out(policy, "policy")?;
        if body.is_null() {
            return Err(Failure::null("body"));
        }
        let body = slice(body, len, "body")?;
        let answer = Answer::parsed(body, SystemClock.now())
            .map_err(|error| Failure::new(MTASTS_INVALID_POLICY, error.to_string()))?;
        *policy = mtasts_policy::boxed(answer, Shared::new(Origin::none()).hold());
        Ok(MTASTS_OK)
    })
}

/// Tells what applies to the domain: MTASTS_MODE_NONE, MTASTS_MODE_TESTING, MTASTS_MODE_ENFORCE or
/// MTASTS_MODE_UNKNOWN (RFC 8461 section 5). Where the configuration says `observe`, an enforced policy counts as testing,
/// whatever its body says.
///
/// policy: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_mode(policy: *const mtasts_policy) -> c_int {
    get(policy, MTASTS_NULL_ARGUMENT.saturating_neg(), |policy| mode_code(&policy.answer))
}

/// Tells the policy domain as an A-label name in lower case without a final dot; empty if the question named none.
///
/// policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_domain(policy: *const mtasts_policy) -> *const c_char {
    get(policy, ptr::null(), |policy| policy.texts().domain.as_ptr())
}

/// Tells the id that the STS record showed when the policy was fetched (RFC 8461 section 3.1); empty without one.
///
/// policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_id(policy: *const mtasts_policy) -> *const c_char {
    get(policy, ptr::null(), |policy| policy.texts().id.as_ptr())
}

/// Tells where the policy comes from: "cache", "https", "configuration", "caller" (`mtasts_policy_parse`) or "none".
///
/// policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_source(policy: *const mtasts_policy) -> *const c_char {
    get(policy, ptr::null(), |policy| policy.answer.source.as_c_str().as_ptr())
}

/// Tells why the answer is what it is, in one line for a person. It is not meant to be taken apart.
///
/// policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_reason_text(policy: *const mtasts_policy) -> *const c_char {
    get(policy, ptr::null(), |policy| policy.texts().reason.as_ptr())
}

/// Tells why the answer is what it is, as one of MTASTS_REASON_*.
///
/// policy: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_reason(policy: *const mtasts_policy) -> c_int {
    get(policy, MTASTS_NULL_ARGUMENT.saturating_neg(), |policy| policy.answer.reason as c_int)
}

/// Tells what a TLS report says of how the answer came about (RFC 8460 section 4.3), as one of MTASTS_RESULT_TYPE_*:
/// how the fetch failed, also while it is not repeated and while an older policy stays in force. 0 if nothing is to be
/// reported, as under a policy of mode none (RFC 8461 section 6).
///
/// policy: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_result_type(policy: *const mtasts_policy) -> c_int {
    get(policy, MTASTS_NULL_ARGUMENT.saturating_neg(), |policy| policy.answer.result_type() as c_int)
}

/// Tells the lifetime of the policy in seconds, at most 31557600 (RFC 8461 section 3.2); 0 without a policy.
///
/// policy: NULL gives 0. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_max_age(policy: *const mtasts_policy) -> u64 {
    get(policy, 0, |policy| policy.answer.policy.as_ref().map_or(0, |stored| stored.policy.max_age()))
}

/// Tells when the policy was fetched, in seconds since 1970 UTC; 0 without a policy. For one of the configuration it is the
/// time of the question, and its end is that of its table or a year later.
///
/// policy: NULL gives 0. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_fetched_at(policy: *const mtasts_policy) -> i64 {
    get(policy, 0, |policy| policy.answer.policy.as_ref().map_or(0, |stored| stored.fetched_at.0))
}

/// Tells the last second in which the policy applies, in seconds since 1970 UTC (RFC 8461 section 5.1); 0 without a
/// policy.
///
/// policy: NULL gives 0. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_expires_at(policy: *const mtasts_policy) -> i64 {
    get(policy, 0, |policy| policy.answer.policy.as_ref().map_or(0, |stored| stored.expires_at.0))
}

/// Tells how many mx patterns the policy has.
///
/// policy: NULL gives 0. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_mx_count(policy: *const mtasts_policy) -> usize {
    get(policy, 0, |policy| policy.answer.policy.as_ref().map_or(0, |stored| stored.policy.mx().len()))
}

/// Tells one mx pattern, in lower case: a host name, or "*." and a domain.
///
/// policy: NULL gives NULL.
/// index: from 0 to `mtasts_policy_mx_count` - 1; beyond that the result is NULL.
/// The text belongs to the policy object. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_mx(policy: *const mtasts_policy, index: usize) -> *const c_char {
    get(policy, ptr::null(), |policy| policy.texts().mx.get(index).map_or(ptr::null(), |text| text.as_ptr()))
}

/// Gives the policy body as it was served (RFC 8460 section 4.4 wants it unchanged).
///
/// policy: NULL gives NULL.
/// len: takes the length in bytes, 0 without a policy; may be NULL.
/// The bytes belong to the policy object and are not NUL-terminated; NULL without a policy. Any thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_body(policy: *const mtasts_policy, len: *mut usize) -> *const u8 {
    let body = get(policy, (ptr::null(), 0), |policy| {
        policy.answer.policy.as_ref().map_or((ptr::null(), 0), |stored| (stored.body.as_ptr(), stored.body.len()))
    });
    if !len.is_null() {
        // SAFETY: not NULL; that it may be written to is the caller's promise.
        unsafe { len.write(body.1) };
    }
    body.0
}

/// Tells how many lints the policy has: what is legal but odd in it.
///
/// policy: NULL gives 0. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_lint_count(policy: *const mtasts_policy) -> usize {
    get(policy, 0, |policy| policy.answer.policy.as_ref().map_or(0, |stored| stored.policy.lints().len()))
}

/// Tells one lint, a line for a person.
///
/// policy: NULL gives NULL.
/// index: from 0 to `mtasts_policy_lint_count` - 1; beyond that the result is NULL.
/// The text belongs to the policy object. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_lint(policy: *const mtasts_policy, index: usize) -> *const c_char {
    get(policy, ptr::null(), |policy| policy.texts().lints.get(index).map_or(ptr::null(), |text| text.as_ptr()))
}

/// Tells whether the mx patterns of the policy cover an MX host (RFC 8461 section 4.1), whatever the mode.
///
/// policy: not NULL.
/// mx_host: the name from the MX record, not the target of a CNAME, NUL-terminated; in any case, with or without a
/// final dot. What is not a host name is not covered.
///
/// Returns 1, 0, or -MTASTS_NULL_ARGUMENT or -MTASTS_INTERNAL; without a policy 0. Compare with 1, so that a failure
/// never reads as a match. Any thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_allows_mx(policy: *const mtasts_policy, mx_host: *const c_char) -> c_int {
    guarded_value(|| {
        let policy = object(policy, "policy")?;
        let host = MxHost::parse(bytes(mx_host, "mx_host")?);
        let patterns = policy.answer.policy.as_ref().map_or(&[][..], |stored| stored.policy.mx());
        Ok(c_int::from(host.is_ok_and(|host| any_match(patterns, &host))))
    })
}

/// Frees a policy object.
///
/// policy: an object that no thread uses any more, or NULL. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_free(policy: *mut mtasts_policy) {
    let _errno = ErrnoGuard::enter();
    pure((), || {
        if !policy.is_null() {
            // SAFETY: made by this library, and nobody else has it any more, as the caller promises.
            drop(unsafe { Box::from_raw(policy) });
        }
    });
}
