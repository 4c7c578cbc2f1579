//! The shared vectors, through the C functions: what is right in Rust must be right behind the adapter, too.

use mtasts::capi::*;
use mtasts::decision::{Action, Dane, TlsState};
use serde_json::Value;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs;
use std::path::Path;
use std::ptr;

/// The rows of one section, from every file of vectors.
fn section(name: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let vectors: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            rows.extend(vectors[name].as_array().into_iter().flatten().cloned());
        }
    }
    assert!(!rows.is_empty(), "no vectors in section {name}");
    rows
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("{row}: no text {key}"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn last_error() -> String {
    // SAFETY: the text is never NULL and valid until the next failing call.
    unsafe { CStr::from_ptr(mtasts_last_error()) }.to_str().unwrap().to_owned()
}

fn owned(text: *const c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: not NULL, and the object that it belongs to is still there.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

/// A policy object that frees itself.
struct Policy(*mut mtasts_policy);

impl Policy {
    fn parse(body: &[u8]) -> Result<Self, c_int> {
        let mut policy = ptr::dangling_mut();
        // SAFETY: the body lives during the call, and the place for the pointer may be written to.
        let status = unsafe { mtasts_policy_parse(body.as_ptr(), body.len(), &raw mut policy) };
        assert_eq!(status != MTASTS_OK, policy.is_null());
        if status == MTASTS_OK { Ok(Self(policy)) } else { Err(status) }
    }

    /// The policy of a row that names a mode and patterns.
    fn of(row: &Value) -> Self {
        let mut body = format!("version: STSv1\r\nmode: {}\r\nmax_age: 86400\r\n", text(row, "mode"));
        for pattern in texts(&row["mx_patterns"]) {
            body += &format!("mx: {pattern}\r\n");
        }
        Self::parse(body.as_bytes()).unwrap_or_else(|_| panic!("{row}: {}", last_error()))
    }

    fn mx(&self) -> Vec<String> {
        // SAFETY: the object lives, and the index is within bounds.
        unsafe { (0..mtasts_policy_mx_count(self.0)).map(|at| owned(mtasts_policy_mx(self.0, at))).collect() }
    }

    /// What becomes of a delivery to a host, as the rows call it.
    fn deliver(&self, row: &Value, dane: c_int) -> &'static str {
        let host = CString::new(text(row, "mx_host")).unwrap();
        let (mut before, mut after) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: all pointers are to live objects of the right kind, and each decision is freed once.
        unsafe {
            assert_eq!(mtasts_policy_decide(self.0, host.as_ptr(), dane, &raw mut before), MTASTS_OK);
            assert_eq!(mtasts_decision_tls(before, tls_state(row), &raw mut after), MTASTS_OK);
            let action = mtasts_decision_action(after);
            mtasts_decision_free(before);
            mtasts_decision_free(after);
            match action {
                action if action == Action::Deliver as c_int => "deliver",
                action if action == Action::DeliverReport as c_int => "deliver-report",
                action if action == Action::SkipHost as c_int || action == Action::Defer as c_int => "refuse",
                other => panic!("{row}: action {other} after the handshake"),
            }
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed nowhere else.
        unsafe { mtasts_policy_free(self.0) }
    }
}

fn tls_state(row: &Value) -> c_int {
    let state = match text(row, "tls") {
        "ok" => TlsState::Ok,
        "no-starttls" => TlsState::NoStarttls,
        "bad-name" => TlsState::HostMismatch,
        "untrusted" => TlsState::NotTrusted,
        "expired" => TlsState::Expired,
        other => panic!("{row}: tls {other}"),
    };
    state as c_int
}

fn dane_state(row: &Value) -> c_int {
    let state = match text(row, "dane") {
        "absent" => Dane::Absent,
        "unusable" => Dane::Unusable,
        "ok" => Dane::Usable,
        "fail" | "bogus" => Dane::Failed,
        other => panic!("{row}: dane {other}"),
    };
    state as c_int
}

fn body(row: &Value) -> Vec<u8> {
    if let Some(hex) = row["body_hex"].as_str() {
        return (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    }
    let Some(parts) = row["body_gen"].as_array() else { return text(row, "body").as_bytes().to_vec() };
    let part = |part: &Value| match part.as_str() {
        Some(text) => text.to_owned(),
        None => text(part, "repeat").repeat(usize::try_from(part["n"].as_u64().unwrap()).unwrap()),
    };
    parts.iter().map(part).collect::<String>().into_bytes()
}

// Conformance: S3.1-3, S3.1-4, S3.1-5, S3.1-6, S3.1-7, S3.1-8, S3.1-9, S3.1-10, S3.1-11.
#[test]
fn records_are_chosen_as_the_vectors_say() {
    for row in section("records") {
        let records: Vec<Vec<u8>> =
            row["txt"].as_array().unwrap().iter().map(|strings| texts(strings).concat().into_bytes()).collect();
        let pointers: Vec<*const u8> = records.iter().map(|record| record.as_ptr()).collect();
        let lengths: Vec<usize> = records.iter().map(Vec::len).collect();
        let mut id = [c_char::MAX; MTASTS_ID_SIZE];
        // SAFETY: as many pointers and lengths as the count says, and a buffer of the size that is given.
        let status = unsafe {
            mtasts_record_select(pointers.as_ptr(), lengths.as_ptr(), records.len(), id.as_mut_ptr(), id.len())
        };
        let expected = match text(&row, "expect") {
            "ok" => (MTASTS_OK, text(&row, "id")),
            "none" => (MTASTS_NO_RECORD, ""),
            "invalid" => (MTASTS_INVALID_RECORD, ""),
            other => panic!("{row}: expect {other}"),
        };
        assert_eq!((status, owned(id.as_ptr()).as_str()), expected, "{row}");
    }
}

// Conformance: S3.2-3, S3.2-4, S3.2-5, S3.2-6, S3.2-7, S3.2-8, S3.2-9, S3.2-10, S3.2-11, S3.2-13, S3.2-14.
#[test]
fn policies_are_read_as_the_vectors_say() {
    for row in section("policies") {
        let body = body(&row);
        let policy = match (Policy::parse(&body), text(&row, "expect")) {
            (Ok(policy), "ok") => policy,
            (Err(MTASTS_INVALID_POLICY), "invalid") => {
                assert!(!last_error().is_empty(), "{row}");
                continue;
            }
            (outcome, _) => panic!("{row}: {:?}, last error: {}", outcome.err(), last_error()),
        };
        // SAFETY: the object lives.
        let (mode, max_age) = unsafe { (mtasts_policy_mode(policy.0), mtasts_policy_max_age(policy.0)) };
        let expected = match text(&row, "mode") {
            "none" => MTASTS_MODE_NONE,
            "testing" => MTASTS_MODE_TESTING,
            "enforce" => MTASTS_MODE_ENFORCE,
            other => panic!("{row}: mode {other}"),
        };
        assert_eq!((mode, Some(max_age)), (expected, row["max_age"].as_u64()), "{row}");
        // A row with thousands of patterns does not list them.
        if !row["mx"].is_null() {
            let patterns: Vec<String> = texts(&row["mx"]).iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
            assert_eq!(policy.mx(), patterns, "{row}");
        }
        let mut len = 0;
        // SAFETY: the bytes belong to the object, which lives.
        let kept = unsafe {
            let bytes = mtasts_policy_body(policy.0, &raw mut len);
            std::slice::from_raw_parts(bytes, len)
        };
        assert!(kept == body, "{row}: the body has changed");
    }
}

// Conformance: S4.1-2, S4.1-3.
#[test]
fn mx_hosts_match_as_the_vectors_say() {
    for row in section("mx_match") {
        let expected = c_int::from(row["match"].as_bool().unwrap());
        let patterns = texts(&row["mx_patterns"]);
        let joined = CString::new(patterns.join(":")).unwrap();
        let host = CString::new(text(&row, "host")).unwrap();
        // SAFETY: both texts live during the call.
        assert_eq!(unsafe { mtasts_match_mx(joined.as_ptr(), host.as_ptr()) }, expected, "{row}");
        let mut body = "version: STSv1\nmode: enforce\nmax_age: 86400\n".to_owned();
        for pattern in &patterns {
            body += &format!("mx: {pattern}\n");
        }
        // A pattern that no policy may have makes the policy invalid.
        let Ok(policy) = Policy::parse(body.as_bytes()) else {
            assert_eq!(expected, 0, "{row}: {}", last_error());
            continue;
        };
        // SAFETY: as above.
        assert_eq!(unsafe { mtasts_policy_allows_mx(policy.0, host.as_ptr()) }, expected, "{row}");
    }
}

// Conformance: S4-1, S4.2-1, S4.2-2, S5-1, S5-2, S5-3, S6-3.
#[test]
fn deliveries_are_decided_as_the_vectors_say() {
    for row in section("decisions") {
        let policy = Policy::of(&row);
        for without in [Dane::NotChecked, Dane::Absent] {
            assert_eq!(policy.deliver(&row, without as c_int), text(&row, "expect"), "{row}");
        }
    }
}

// Conformance: D-1, D-2, D-4, D-5, D-6.
#[test]
fn deliveries_under_dane_are_decided_as_the_vectors_say() {
    for row in section("dane_decisions") {
        assert_eq!(Policy::of(&row).deliver(&row, dane_state(&row)), text(&row, "expect"), "{row}");
    }
}
