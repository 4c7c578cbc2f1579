//! The C entry points: the input is a list of calls with their arguments. No call fails in another way than it says, and
//! under an enforced policy none of them reads as permission for a host that is not listed.

use super::exim::configure;
use super::{Input, grammar};
use mtasts::capi::*;
use mtasts::decision::Action;
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::ptr;

/// What the calls work on, and its owner.
struct Objects {
    context: *mut mtasts_context,
    policy: *mut mtasts_policy,
    decision: *mut mtasts_decision,
}

impl Drop for Objects {
    fn drop(&mut self) {
        // SAFETY: NULL or objects that nobody else has.
        unsafe {
            mtasts_decision_free(self.decision);
            mtasts_policy_free(self.policy);
            mtasts_context_free(self.context);
        }
    }
}

fn text(input: &mut Input<'_>) -> CString {
    CString::new(input.text()).unwrap()
}

/// A buffer of just the length that the call is told, so that a byte too many is noticed.
fn buffer(input: &mut Input<'_>) -> Vec<c_char> {
    vec![0x55; usize::from(input.byte())]
}

fn is_status(status: c_int) {
    assert!((0..=MTASTS_CACHE_UNAVAILABLE).contains(&status) && status != MTASTS_INTERNAL, "status {status}");
}

/// A text of the library, NULL allowed.
unsafe fn read(text: *const c_char) -> Option<String> {
    // SAFETY: the caller has it from the library.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}

unsafe extern "C" fn log(_: *mut std::ffi::c_void, level: c_int, line: *const c_char) {
    // SAFETY: the library's line.
    let line = unsafe { read(line) }.unwrap();
    assert!((0..=7).contains(&level) && !line.contains('\n'), "{level} {line:?}");
}

pub fn run(bytes: &[u8]) {
    configure();
    let mut input = Input(bytes);
    let mut objects = Objects { context: ptr::null_mut(), policy: ptr::null_mut(), decision: ptr::null_mut() };
    for _ in 0..32 {
        if input.0.is_empty() {
            break;
        }
        // SAFETY: each call gets what its comment asks for, NULL where that is allowed.
        unsafe { step(&mut input, &mut objects) };
    }
}

unsafe fn step(input: &mut Input<'_>, objects: &mut Objects) {
    // SAFETY: as the caller says.
    unsafe {
        match input.byte() % 18 {
            0 => {
                mtasts_context_free(objects.context);
                is_status(mtasts_context_new(ptr::null(), &raw mut objects.context));
                is_status(mtasts_context_set_log(objects.context, Some(log), ptr::null_mut()));
            }
            1 => {
                let (key, value) = (text(input), text(input));
                // Where it works stays ours.
                if !["cache", "nameservers", "ca_file"].contains(&key.to_str().unwrap_or("cache").trim()) {
                    is_status(mtasts_context_set(objects.context, key.as_ptr(), value.as_ptr()));
                }
            }
            2 => {
                let domain = text(input);
                mtasts_policy_free(objects.policy);
                let flags = c_uint::from(input.byte());
                let timeout = c_int::from(input.byte()) - 5;
                is_status(mtasts_query(objects.context, domain.as_ptr(), flags, timeout, &raw mut objects.policy));
            }
            3 => {
                let (domain, hosts) = (text(input), [text(input), text(input)]);
                let pointers = hosts.each_ref().map(|host| host.as_ptr());
                mtasts_policy_free(objects.policy);
                let count = usize::from(input.byte() % 3);
                let (context, policy) = (objects.context, &raw mut objects.policy);
                is_status(mtasts_query_for(context, domain.as_ptr(), pointers.as_ptr(), count, 1, 50, policy));
            }
            4 | 5 => {
                let body = input.text();
                mtasts_policy_free(objects.policy);
                let status = mtasts_policy_parse(body.as_ptr(), body.len(), &raw mut objects.policy);
                let wanted = if grammar::policy(body).is_some() { MTASTS_OK } else { MTASTS_INVALID_POLICY };
                assert!(status == wanted && (status == MTASTS_OK) != objects.policy.is_null(), "{status}");
            }
            6 => look_at(objects.policy, input),
            7 | 8 => {
                let (host, dane) = (text(input), c_int::from(input.byte() % 7) - 1);
                mtasts_decision_free(objects.decision);
                is_status(mtasts_policy_decide(objects.policy, host.as_ptr(), dane, &raw mut objects.decision));
                let mode = mtasts_policy_mode(objects.policy);
                let may =
                    [Action::Deliver, Action::DeliverReport, Action::RequireEncryption].map(|action| action as c_int);
                let action = mtasts_decision_action(objects.decision);
                if mode == MTASTS_MODE_ENFORCE && dane != 3 {
                    assert!(!may.contains(&action), "{host:?} {dane}: {action}");
                    let is_listed = mtasts_policy_allows_mx(objects.policy, host.as_ptr()) == 1;
                    assert!(is_listed || action != Action::RequireTls as c_int, "{host:?} {dane}: {action}");
                }
                assert!((action != 0 && dane != 4) || !(0..=4).contains(&action), "{host:?} {dane}: {action}");
            }
            9 => {
                let state = c_int::from(input.byte() % 10) - 1;
                let mut after = ptr::null_mut();
                is_status(mtasts_decision_tls(objects.decision, state, &raw mut after));
                let before = mtasts_decision_action(objects.decision);
                let action = mtasts_decision_action(after);
                let is_verified = state == 1;
                let is_weaker = before == Action::RequireTls as c_int && !is_verified && (1..=4).contains(&action);
                assert!(action != 0 && !is_weaker, "{before} and TLS state {state}: {action}");
                mtasts_decision_free(objects.decision);
                objects.decision = after;
            }
            10 => {
                let chain = [input.text().to_vec(), input.text().to_vec()];
                let pointers = chain.each_ref().map(|der| der.as_ptr());
                let lengths = chain.each_ref().map(Vec::len);
                let count = usize::from(input.byte() % 3);
                let mut result = -1;
                let (ders, lens) = (pointers.as_ptr(), lengths.as_ptr());
                let verdict = mtasts_decision_verify(objects.decision, ders, lens, count, &raw mut result);
                is_status(verdict);
                assert!(verdict != MTASTS_OK, "no chain of a trusted root is among the inputs");
            }
            11 => {
                let (patterns, host) = (text(input), text(input));
                let verdict = mtasts_match_mx(patterns.as_ptr(), host.as_ptr());
                assert!(verdict == 0 || verdict == 1, "{verdict}");
            }
            12 => {
                let records = [input.text().to_vec(), input.text().to_vec()];
                let pointers = records.each_ref().map(|record| record.as_ptr());
                let lengths = records.each_ref().map(Vec::len);
                let count = usize::from(input.byte() % 3);
                let mut id = buffer(input);
                let (txt, lens) = (pointers.as_ptr(), lengths.as_ptr());
                let status = mtasts_record_select(txt, lens, count, id.as_mut_ptr(), id.len());
                is_status(status);
                is_text(&id, status == MTASTS_OK);
            }
            13 => {
                let domain = text(input);
                let mut patterns = buffer(input);
                let mode = mtasts_lookup(domain.as_ptr(), patterns.as_mut_ptr(), patterns.len());
                assert!((-MTASTS_CACHE_UNAVAILABLE..=3).contains(&mode) && mode != -MTASTS_INTERNAL, "{mode}");
                is_text(&patterns, mode >= 0);
                let is_pinned = domain.as_bytes().eq_ignore_ascii_case(b"pinned.test");
                assert!(!is_pinned || mode == MTASTS_MODE_ENFORCE || mode < 0, "{mode}");
            }
            14 => {
                let (mut done, mut failed) = (9, 9);
                let most = c_uint::from(input.byte());
                let status = mtasts_refresh(objects.context, most, 20, &raw mut done, &raw mut failed);
                is_status(status);
            }
            15 => {
                let dialect = c_int::from(input.byte() % 5);
                let mut reply = vec![0x55; MTASTS_REPLY_SIZE];
                let status = mtasts_policy_format(objects.policy, dialect, reply.as_mut_ptr(), reply.len());
                is_status(status);
                is_reply(&reply, status);
                let is_enforced = mtasts_policy_mode(objects.policy) == MTASTS_MODE_ENFORCE;
                assert!(!is_enforced || status != MTASTS_OK || read(reply.as_ptr()).unwrap() != "NOTFOUND ");
            }
            16 => {
                let request = input.text().to_vec();
                let mut reply = vec![0x55; MTASTS_REPLY_SIZE];
                let (context, timeout) = (objects.context, c_int::from(input.byte()) - 5);
                let (bytes, place) = (request.as_ptr(), reply.as_mut_ptr());
                let status = mtasts_socketmap(context, bytes, request.len(), timeout, place, reply.len());
                is_status(status);
                is_reply(&reply, status);
                let is_pinned = request.eq_ignore_ascii_case(b"sts pinned.test") && request.starts_with(b"sts ");
                let told = read(reply.as_ptr()).unwrap();
                assert!(!is_pinned || status != MTASTS_OK || told.starts_with("OK secure match="), "{told}");
            }
            _ => {
                assert!(!mtasts_status_text(input.word()).is_null() && read(mtasts_last_error()).is_some());
                mtasts_cleanup();
            }
        }
    }
}

/// A buffer that has taken a text has its NUL; one that has not taken it is empty.
fn is_text(buffer: &[c_char], was_taken: bool) {
    let end = buffer.iter().position(|&byte| byte == 0);
    assert!(if was_taken { end.is_some() } else { buffer.is_empty() || end == Some(0) }, "{buffer:?}");
}

/// What a mail server reads: one of three words, and with one of them more than the word.
fn is_reply(buffer: &[c_char], status: c_int) {
    is_text(buffer, status == MTASTS_OK);
    // SAFETY: it has a NUL.
    let reply = unsafe { read(buffer.as_ptr()) }.unwrap();
    let is_known = reply == "NOTFOUND " || reply.starts_with("OK secure match=") || reply.starts_with("TEMP ");
    let is_plain = reply.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert!(status != MTASTS_OK || is_known && is_plain, "{reply:?}");
}

unsafe fn look_at(policy: *mut mtasts_policy, input: &mut Input<'_>) {
    let index = usize::try_from(input.word().unsigned_abs()).unwrap() >> (input.byte() % 32);
    // SAFETY: as the caller says.
    unsafe {
        for text in [mtasts_policy_domain, mtasts_policy_id, mtasts_policy_source, mtasts_policy_reason_text] {
            assert_eq!(read(text(policy)).is_none(), policy.is_null());
        }
        let (count, lints) = (mtasts_policy_mx_count(policy), mtasts_policy_lint_count(policy));
        assert_eq!(read(mtasts_policy_mx(policy, index)).is_some(), index < count);
        assert_eq!(read(mtasts_policy_lint(policy, index)).is_some(), index < lints);
        assert!(count == 0 || read(mtasts_policy_mx(policy, count - 1)).is_some());
        let mut length = 7;
        let body = mtasts_policy_body(policy, &raw mut length);
        if !body.is_null() {
            assert!(grammar::policy(std::slice::from_raw_parts(body, length)).is_some());
        }
        assert!(mtasts_policy_max_age(policy) <= 31_557_600);
        let _ = (mtasts_policy_fetched_at(policy), mtasts_policy_expires_at(policy), mtasts_policy_result_type(policy));
    }
}
