//! `mtasts_decision`: what may be done with one MX host.

use super::guard::{bytes, guarded, object, out, pure};
use super::policy::mtasts_policy;
use super::status::{Failure, MTASTS_INVALID_ARGUMENT, MTASTS_NULL_ARGUMENT, MTASTS_OK, c_text};
use crate::decision::{Dane, Decision, TlsState};
use crate::sys::thread::CallGuard;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

/// What a mail server may do with one MX host, and why. It does not change and outlives the policy that it was made
/// from. Any number of threads may read it at once; freeing it needs exclusive ownership.
pub struct mtasts_decision {
    decision: Decision,
    reason_text: CString,
    sni: Option<CString>,
    enhanced_status: CString,
}

impl mtasts_decision {
    fn boxed(decision: Decision) -> *mut Self {
        Box::into_raw(Box::new(Self {
            reason_text: c_text(&decision.text),
            sni: decision.sni.as_ref().map(|host| c_text(host.as_str())),
            enhanced_status: c_text(decision.enhanced_status()),
            decision,
        }))
    }
}

fn get<T: Copy>(decision: *const mtasts_decision, if_null: T, getter: impl FnOnce(&mtasts_decision) -> T) -> T {
    pure(if_null, || {
        // SAFETY: NULL or a decision object that nobody frees during the call, as the caller promises.
        unsafe { decision.as_ref() }.map_or(if_null, getter)
    })
}

/// Decides about one MX host before a connection is made (RFC 8461 sections 4 and 5, RFC 7672 section 2.2). Pure.
///
/// policy: not NULL.
/// mx_host: the name from the MX record, not the target of a CNAME; without an MX record the domain itself.
/// NUL-terminated, in any case, with or without a final dot.
/// dane: one of MTASTS_DANE_*: what the mail server knows from DANE about this host; MTASTS_DANE_NOT_CHECKED if it does
/// not do DANE.
/// decision: takes the decision, which `mtasts_decision_free` frees; set to NULL on failure. Not NULL.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown DANE state) or MTASTS_INTERNAL. Any thread;
/// does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_decide(
    policy: *const mtasts_policy,
    mx_host: *const c_char,
    dane: c_int,
    decision: *mut *mut mtasts_decision,
) -> c_int {
    guarded(|| {
        let decision = out(decision, "decision")?;
        let policy = object(policy, "policy")?;
        let mx_host = bytes(mx_host, "mx_host")?;
        let dane = Dane::from_code(dane).ok_or_else(|| unknown("dane", dane, "one of MTASTS_DANE_*"))?;
        *decision = mtasts_decision::boxed(Decision::of(&policy.answer, mx_host, dane, policy.dane_wins));
        Ok(MTASTS_OK)
    })
}

/// Decides again after STARTTLS and the handshake (RFC 8461 sections 4.2 and 5). Pure.
///
/// before: the decision that was acted upon; not NULL; stays valid.
/// tls_state: one of MTASTS_TLS_*: how the handshake went. The certificate is to be judged by PKIX against
/// `mtasts_decision_sni`, the MX host. If the decision was made with MTASTS_DANE_USABLE, the mail server verifies by its
/// TLSA records instead: what PKIX says of the certificate then stops nothing, and a certificate that matches no TLSA
/// record is MTASTS_TLS_FAILED.
/// after: takes the new decision, which `mtasts_decision_free` frees; set to NULL on failure. Not NULL. Its action is
/// MTASTS_ACTION_DELIVER, MTASTS_ACTION_DELIVER_REPORT, MTASTS_ACTION_SKIP_HOST or MTASTS_ACTION_DEFER.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown TLS state) or MTASTS_INTERNAL. Any thread;
/// does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_tls(
    before: *const mtasts_decision,
    tls_state: c_int,
    after: *mut *mut mtasts_decision,
) -> c_int {
    guarded(|| {
        let after = out(after, "after")?;
        let before = object(before, "before")?;
        let state =
            TlsState::from_code(tls_state).ok_or_else(|| unknown("tls_state", tls_state, "one of MTASTS_TLS_*"))?;
        *after = mtasts_decision::boxed(before.decision.after_tls(state));
        Ok(MTASTS_OK)
    })
}

fn unknown(argument: &str, value: c_int, wanted: &str) -> Failure {
    Failure::new(MTASTS_INVALID_ARGUMENT, format!("argument `{argument}` is {value}, want {wanted}"))
}

/// Tells what the mail server may do: one of MTASTS_ACTION_*, never 0.
///
/// decision: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_action(decision: *const mtasts_decision) -> c_int {
    get(decision, MTASTS_NULL_ARGUMENT.saturating_neg(), |decision| decision.decision.action as c_int)
}

/// Tells why, as one of MTASTS_REASON_*.
///
/// decision: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_reason(decision: *const mtasts_decision) -> c_int {
    get(decision, MTASTS_NULL_ARGUMENT.saturating_neg(), |decision| decision.decision.reason as c_int)
}

/// Tells what a TLS report says of the failure (RFC 8460 section 4.3), as one of MTASTS_RESULT_TYPE_*; 0 without one.
///
/// decision: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_result_type(decision: *const mtasts_decision) -> c_int {
    get(decision, MTASTS_NULL_ARGUMENT.saturating_neg(), |decision| decision.decision.result_type as c_int)
}

/// Tells why, in one line for a person. It is not meant to be taken apart.
///
/// decision: NULL gives NULL. The text belongs to the decision. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_reason_text(decision: *const mtasts_decision) -> *const c_char {
    get(decision, ptr::null(), |decision| decision.reason_text.as_ptr())
}

/// Tells the name to send as SNI and to verify the certificate against: the MX host (RFC 8461 section 7.1).
///
/// decision: NULL gives NULL. The text belongs to the decision; NULL if the MX host has no usable name. Any thread; does
/// not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_sni(decision: *const mtasts_decision) -> *const c_char {
    get(decision, ptr::null(), |decision| decision.sni.as_deref().map_or(ptr::null(), CStr::as_ptr))
}

/// Tells the enhanced status code for a log or a reply: "4.7.x" where the mail has to wait, else empty. It is never
/// permanent (RFC 8461 section 5).
///
/// decision: NULL gives NULL. The text belongs to the decision. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_enhanced_status(decision: *const mtasts_decision) -> *const c_char {
    get(decision, ptr::null(), |decision| decision.enhanced_status.as_ptr())
}

/// Frees a decision.
///
/// decision: an object that no thread uses any more, or NULL. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_free(decision: *mut mtasts_decision) {
    let _thread = CallGuard::enter();
    pure((), || {
        if !decision.is_null() {
            // SAFETY: made by this library, and nobody else has it any more, as the caller promises.
            drop(unsafe { Box::from_raw(decision) });
        }
    });
}
