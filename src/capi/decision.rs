//! `mtasts_decision`: what may be done with one MX host.

use super::guard::{bytes, guarded, object, out, pure, slice};
use super::policy::mtasts_policy;
use super::status::{Failure, MTASTS_INVALID_ARGUMENT, MTASTS_NOT_VERIFIED, MTASTS_NULL_ARGUMENT, MTASTS_OK, c_text};
use crate::context::Origin;
use crate::decision::{Dane, Decision, TlsState};
use crate::reason::ResultType;
use crate::sys::stripe::Hold;
use crate::sys::thread::ErrnoGuard;
use crate::time::{Clock, SystemClock};
use once_cell::race::OnceBox;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

/// What a mail server may do with one MX host, and why. It does not change and outlives the policy that it was made
/// from. Any number of threads may read it at once; freeing it needs exclusive ownership.
pub struct mtasts_decision {
    decision: Decision,
    origin: Hold<Origin>,
    /// Made when the first of them is asked for. Nobody waits for another thread meanwhile.
    texts: OnceBox<Texts>,
}

/// What a decision says in words, as C sees it.
struct Texts {
    reason: CString,
    sni: Option<CString>,
}

impl mtasts_decision {
    fn boxed(decision: Decision, origin: &Hold<Origin>) -> *mut Self {
        origin.log.would_be_refusal(&decision);
        Box::into_raw(Box::new(Self { decision, origin: origin.clone(), texts: OnceBox::new() }))
    }

    fn texts(&self) -> &Texts {
        let _errno = ErrnoGuard::enter();
        self.texts.get_or_init(|| {
            let reason = c_text(&self.decision.text());
            Box::new(Texts { reason, sni: self.decision.sni.as_ref().map(|host| c_text(host.as_str())) })
        })
    }
}

fn get<T: Copy>(decision: *const mtasts_decision, if_null: T, getter: impl FnOnce(&mtasts_decision) -> T) -> T {
    pure(if_null, || {
        // SAFETY: NULL or a decision object that nobody frees during the call, as the caller promises.
        unsafe { decision.as_ref() }.map_or(if_null, getter)
    })
}

/// Decides about one MX host before a connection is made (RFC 8461 sections 4 and 5, RFC 7672 section 2.2). No I/O.
///
/// Where the configuration says `observe`, an enforced policy is decided as one in testing: what would have been refused
/// has a result type other than 0, now or after `mtasts_decision_tls`, and is logged by the context's log function.
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
        let decided = Decision::of(&policy.answer, mx_host, dane, policy.origin.dane_wins);
        *decision = mtasts_decision::boxed(decided, &policy.origin);
        Ok(MTASTS_OK)
    })
}

/// Decides again after STARTTLS and the handshake (RFC 8461 sections 4.2 and 5). Pure.
///
/// before: the decision that was acted upon; not NULL; stays valid.
/// tls_state: one of MTASTS_TLS_*: how the handshake went. The certificate is to be judged by PKIX against
/// `mtasts_decision_sni`, the MX host: by the mail server's TLS library, or by `mtasts_decision_verify`. If the decision
/// was made with MTASTS_DANE_USABLE, the mail server verifies by its TLSA records instead, and whatever that verification
/// rejects is MTASTS_TLS_FAILED, also a wrong name or date under DANE-TA (RFC 7672 section 3.1). The other states are for
/// what PKIX says, which then stops nothing.
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
        *after = mtasts_decision::boxed(before.decision.after_tls(state), &before.origin);
        Ok(MTASTS_OK)
    })
}

/// Verifies the chain of certificates that the MX host showed in its TLS session, for mail servers whose TLS library
/// does not judge it (RFC 8461 section 4.2).
///
/// Wanted is a path to a trusted root, every certificate below the root in date, and the MX host as a DNS name among the
/// subjectAltNames of the first certificate, where `*` stands for the whole leftmost label; a common name never counts.
/// An extended key usage must allow servers; the plain key usage is not looked at.
/// Trusted are the roots of `ca_file` in the configuration that the policy came by, else those of the system. That the
/// host has the key to its certificate is for the TLS session to prove. Revocation is not checked.
///
/// decision: not NULL; its policy and context may be freed. Where it says MTASTS_ACTION_SKIP_HOST or
/// MTASTS_ACTION_DEFER, nothing verifies; else the chain alone is judged, also in mode testing. If it was made with
/// MTASTS_DANE_USABLE, the mail server verifies by its TLSA records and goes on with MTASTS_TLS_OK or
/// MTASTS_TLS_FAILED; this function then tells what PKIX would have said, which decides nothing.
/// der: one pointer for each certificate, in DER, the host's own first. May be NULL if count is 0.
/// len: the length of each certificate in bytes. May be NULL if count is 0.
/// count: the number of certificates. An empty chain does not verify; of a longer one the first 16 count,
/// and behind the first one no more than 32 KiB.
/// result_type: takes what a TLS report says of the failure (RFC 8460 section 4.3); may be NULL. `mtasts_decision_tls`
/// goes on with
///
///   MTASTS_TLS_OK                   if the chain verifies
///   MTASTS_TLS_EXPIRED              for MTASTS_RESULT_TYPE_CERTIFICATE_EXPIRED (also: not valid yet)
///   MTASTS_TLS_NOT_TRUSTED          for MTASTS_RESULT_TYPE_CERTIFICATE_NOT_TRUSTED (unknown authority, self-signed)
///   MTASTS_TLS_HOST_MISMATCH        for MTASTS_RESULT_TYPE_CERTIFICATE_HOST_MISMATCH
///   MTASTS_TLS_CERTIFICATE_INVALID  for MTASTS_RESULT_TYPE_VALIDATION_FAILURE (malformed, none, not for servers)
///
/// and is not called if the chain does not verify and the result type is 0: this machine has no trusted roots, the host
/// is not to blame, and what needs verified TLS has to wait. With MTASTS_ACTION_SKIP_HOST and MTASTS_ACTION_DEFER the
/// result type is that of the decision. If the call fails it is 0.
///
/// Returns MTASTS_OK for a chain that verifies and for nothing else. MTASTS_NOT_VERIFIED: it does not;
/// `mtasts_last_error` says what is wrong with which certificate of which host, or which roots are missing and what to
/// install. MTASTS_NULL_ARGUMENT (also for a certificate that is NULL), MTASTS_INVALID_ARGUMENT (an impossible length)
/// or MTASTS_INTERNAL. Any thread, several at once. Asks no other machine; reads the roots at first use and when they
/// were read more than an hour ago.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_verify(
    decision: *const mtasts_decision,
    der: *const *const u8,
    len: *const usize,
    count: usize,
    result_type: *mut c_int,
) -> c_int {
    let tell = |value: ResultType| {
        if !result_type.is_null() {
            // SAFETY: not NULL; that it may be written to is the caller's promise.
            unsafe { result_type.write(value as c_int) };
        }
    };
    guarded(|| {
        tell(ResultType::None);
        let decision = object(decision, "decision")?;
        let chain = chain(der, len, count)?;
        decision.decision.verify(&decision.origin.trust, &chain, SystemClock.now()).map_err(|unverified| {
            tell(unverified.result_type);
            Failure::new(MTASTS_NOT_VERIFIED, unverified.text)
        })?;
        Ok(MTASTS_OK)
    })
}

fn chain<'a>(der: *const *const u8, len: *const usize, count: usize) -> Result<Vec<&'a [u8]>, Failure> {
    let pointers = slice(der, count, "der")?;
    let lengths = slice(len, count, "len")?;
    let certificate = |(der, len): (&*const u8, &usize)| {
        if der.is_null() { Err(Failure::null("der[i]")) } else { slice(*der, *len, "der[i]") }
    };
    pointers.iter().zip(lengths).map(certificate).collect()
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
    get(decision, ptr::null(), |decision| decision.texts().reason.as_ptr())
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
    get(decision, ptr::null(), |decision| decision.texts().sni.as_deref().map_or(ptr::null(), CStr::as_ptr))
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
    get(decision, ptr::null(), |decision| decision.decision.enhanced_status().as_ptr())
}

/// Frees a decision.
///
/// decision: an object that no thread uses any more, or NULL. Any thread; does not block.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_decision_free(decision: *mut mtasts_decision) {
    let _errno = ErrnoGuard::enter();
    pure((), || {
        if !decision.is_null() {
            // SAFETY: made by this library, and nobody else has it any more, as the caller promises.
            drop(unsafe { Box::from_raw(decision) });
        }
    });
}
