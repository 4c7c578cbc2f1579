//! What RFC 7672 and RFC 8461 section 2 say together: the rules of DANE, in front of every kind of policy.

use super::*;
use crate::syntax::DomainError;
use crate::time::{Clock, SystemClock};

const DANE: [Dane; 5] = [Dane::NotChecked, Dane::Absent, Dane::Unusable, Dane::Usable, Dane::Failed];
const TLS: [TlsState; 7] = [
    TlsState::Ok,
    TlsState::NoStarttls,
    TlsState::Failed,
    TlsState::HostMismatch,
    TlsState::NotTrusted,
    TlsState::Expired,
    TlsState::CertificateInvalid,
];
const LISTED: &str = "mx1.example.com";
const UNLISTED: &str = "mx.other.example";

/// A policy that lists the hosts below `example.com`.
fn policy(mode: &str) -> Answer {
    let body = format!("version: STSv1\nmode: {mode}\nmx: *.example.com\nmax_age: 86400\n");
    Answer::parsed(body.as_bytes(), SystemClock.now()).unwrap()
}

/// All that a caller sees of a decision.
fn facts(decision: &Decision) -> (Action, Reason, ResultType, Option<MxHost>, String) {
    let Decision { action, reason, result_type, sni, .. } = decision;
    (*action, *reason, *result_type, sni.clone(), decision.text().into_owned())
}

fn no_policy() -> Answer {
    Answer::impossible(DomainError::Empty)
}

fn unknown() -> Answer {
    Answer { is_unknown: true, ..no_policy() }
}

fn answers() -> Vec<(&'static str, Answer)> {
    vec![
        ("enforce", policy("enforce")),
        ("testing", policy("testing")),
        ("none", policy("none")),
        ("no policy", no_policy()),
        ("unknown", unknown()),
    ]
}

fn decide(answer: &Answer, host: &str, dane: Dane) -> Decision {
    Decision::of(answer, host.as_bytes(), dane, false)
}

/// The action before the handshake, and after each outcome of it.
fn actions(answer: &Answer, host: &str, dane: Dane) -> Vec<Action> {
    let before = decide(answer, host, dane);
    [before.action].into_iter().chain(TLS.map(|tls| before.after_tls(tls).action)).collect()
}

// Conformance: D-1.
#[test]
fn d_1_no_policy_relaxes_a_dane_failure() {
    for (name, answer) in answers() {
        for host in [LISTED, UNLISTED] {
            for dane_wins in [false, true] {
                let before = Decision::of(&answer, host.as_bytes(), Dane::Failed, dane_wins);
                assert_eq!((before.action, before.reason), (Action::SkipHost, Reason::DaneFailed), "{name}");
                assert_eq!(before.result_type, ResultType::ValidationFailure, "{name}");
                assert_eq!(before.enhanced_status(), c"4.7.5", "{name}");
                for tls in TLS {
                    assert_eq!(facts(&before.after_tls(tls)), facts(&before), "{name}, {tls:?}");
                }
            }
        }
    }
}

// Conformance: D-2.
#[test]
fn d_2_a_usable_tlsa_set_needs_encryption_and_its_match() {
    for answer in [policy("enforce"), policy("testing"), policy("none"), no_policy()] {
        let before = decide(&answer, LISTED, Dane::Usable);
        assert_eq!((before.action, before.reason), (Action::RequireEncryption, Reason::DaneGoverns));
        assert_eq!(before.after_tls(TlsState::Ok).action, Action::Deliver);
        for failure in [TlsState::NoStarttls, TlsState::Failed] {
            let after = before.after_tls(failure);
            assert_eq!(after.action, Action::SkipHost, "{failure:?}");
            assert!(after.enhanced_status().to_bytes().starts_with(b"4.7."), "{failure:?}");
        }
    }
}

// Conformance: D-3.
#[test]
fn d_3_an_unusable_tlsa_set_needs_encryption_and_the_policy_stands_on_top() {
    for answer in [policy("none"), no_policy()] {
        let before = decide(&answer, LISTED, Dane::Unusable);
        assert_eq!((before.action, before.reason), (Action::RequireEncryption, Reason::DaneUnusable));
        for tls in TLS {
            let wanted = if tls.is_encrypted() { Action::Deliver } else { Action::SkipHost };
            assert_eq!(before.after_tls(tls).action, wanted, "{tls:?}");
        }
    }
    let enforced = policy("enforce");
    for host in [LISTED, UNLISTED] {
        assert_eq!(actions(&enforced, host, Dane::Unusable), actions(&enforced, host, Dane::Absent));
    }
    let tested = decide(&policy("testing"), LISTED, Dane::Unusable);
    assert_eq!(tested.action, Action::RequireEncryption);
    assert_eq!(tested.after_tls(TlsState::Expired).action, Action::DeliverReport);
    assert_eq!(tested.after_tls(TlsState::CertificateInvalid).result_type, ResultType::ValidationFailure);
    assert_eq!(tested.after_tls(TlsState::NoStarttls).action, Action::SkipHost);
}

// Conformance: D-4.
#[test]
fn d_4_a_host_whose_tlsa_lookup_failed_is_left_out_even_if_its_certificate_verifies() {
    let before = decide(&policy("enforce"), LISTED, Dane::Failed);
    assert_eq!(before.after_tls(TlsState::Ok).action, Action::SkipHost);
    let trust = Trust::new(None);
    let unverified = before.verify(&trust, &[], SystemClock.now()).unwrap_err();
    assert_eq!((unverified.reason, unverified.result_type), (Reason::DaneFailed, ResultType::ValidationFailure));
}

// Conformance: D-5.
#[test]
fn d_5_without_dane_the_policy_decides() {
    for (name, answer) in answers() {
        for host in [LISTED, UNLISTED] {
            let without = actions(&answer, host, Dane::NotChecked);
            assert_eq!(actions(&answer, host, Dane::Absent), without, "{name}, {host}");
        }
    }
    assert_eq!(decide(&policy("enforce"), LISTED, Dane::Absent).action, Action::RequireTls);
    assert_eq!(decide(&policy("testing"), LISTED, Dane::Absent).action, Action::DeliverReport);
    assert_eq!(decide(&no_policy(), LISTED, Dane::Absent).action, Action::Deliver);
}

// Conformance: D-6.
#[test]
fn d_6_under_a_usable_tlsa_set_what_pkix_says_stops_nothing_and_is_not_reported() {
    for mode in ["enforce", "testing", "none"] {
        let before = decide(&policy(mode), LISTED, Dane::Usable);
        for tls in TLS.into_iter().filter(|tls| tls.is_encrypted()) {
            let after = before.after_tls(tls);
            assert_eq!((after.action, after.result_type), (Action::Deliver, ResultType::None), "{mode}, {tls:?}");
        }
    }
}

// Conformance: D-7.
#[test]
fn d_7_a16_under_enforce_a_host_with_usable_tlsa_must_be_listed_unless_dane_wins() {
    let enforced = policy("enforce");
    let of = |dane, dane_wins| Decision::of(&enforced, UNLISTED.as_bytes(), dane, dane_wins);
    let refused = of(Dane::Usable, false);
    assert_eq!((refused.action, refused.reason), (Action::SkipHost, Reason::MxNotListed));
    assert_eq!(refused.result_type, ResultType::ValidationFailure);
    let freed = of(Dane::Usable, true);
    assert_eq!((freed.action, freed.reason), (Action::RequireEncryption, Reason::DaneGoverns));
    let after = freed.after_tls(TlsState::Ok);
    assert_eq!((after.action, after.result_type), (Action::DeliverReport, ResultType::ValidationFailure));
    for dane in DANE.into_iter().filter(|dane| *dane != Dane::Usable) {
        assert_eq!(facts(&of(dane, true)), facts(&of(dane, false)), "{dane:?}: only a usable TLSA set can win");
        assert_eq!(of(dane, true).action, Action::SkipHost, "{dane:?}");
    }
}

#[test]
fn d_7_a16_a_host_that_may_be_unlisted_or_not_waits_unless_dane_wins() {
    let of = |dane, dane_wins| Decision::of(&unknown(), LISTED.as_bytes(), dane, dane_wins).action;
    assert_eq!(of(Dane::Usable, true), Action::RequireEncryption);
    assert_eq!(of(Dane::Failed, true), Action::SkipHost);
    for dane in [Dane::NotChecked, Dane::Absent, Dane::Unusable] {
        assert_eq!((of(dane, false), of(dane, true)), (Action::Defer, Action::Defer), "{dane:?}");
    }
    assert_eq!(of(Dane::Usable, false), Action::Defer);
}

// Conformance: D-9.
#[test]
fn d_9_a_decision_tells_the_result_type_of_dane_and_of_the_policy() {
    let testing = policy("testing");
    let of = |host: &str, dane| Decision::of(&testing, host.as_bytes(), dane, false);
    let dane_failed = of(LISTED, Dane::Failed);
    assert_eq!((dane_failed.reason, dane_failed.result_type), (Reason::DaneFailed, ResultType::ValidationFailure));
    let policy_failed = of(UNLISTED, Dane::Usable);
    assert_eq!((policy_failed.reason, policy_failed.result_type), (Reason::DaneGoverns, ResultType::ValidationFailure));
    assert_eq!(of(LISTED, Dane::Usable).result_type, ResultType::None);
}

#[test]
fn d_10_the_five_states_have_their_numbers_and_no_other_number_is_one() {
    for (code, dane) in (0..).zip(DANE) {
        assert_eq!(Dane::from_code(code), Some(dane));
    }
    assert_eq!((Dane::from_code(-1), Dane::from_code(5)), (None, None));
    for (code, tls) in (1..).zip(TLS) {
        assert_eq!(TlsState::from_code(code), Some(tls));
    }
    assert_eq!((TlsState::from_code(0), TlsState::from_code(8)), (None, None));
}

// Conformance: D-11.
#[test]
fn d_11_each_host_of_a_mixed_mx_list_is_decided_by_its_own_dane_state() {
    let hosts = [
        ("mx1.example.com", Dane::Usable),
        ("mx2.example.com", Dane::Absent),
        ("mx3.example.com", Dane::Failed),
        ("mx4.example.com", Dane::Unusable),
    ];
    let decided = |answer: &Answer| hosts.map(|(host, dane)| decide(answer, host, dane).action);
    use Action::{Deliver, DeliverReport, RequireEncryption, RequireTls, SkipHost};
    assert_eq!(decided(&policy("enforce")), [RequireEncryption, RequireTls, SkipHost, RequireTls]);
    assert_eq!(decided(&policy("testing")), [RequireEncryption, DeliverReport, SkipHost, RequireEncryption]);
    assert_eq!(decided(&policy("none")), [RequireEncryption, Deliver, SkipHost, RequireEncryption]);
    assert_eq!(decided(&no_policy()), [RequireEncryption, Deliver, SkipHost, RequireEncryption]);
}

// Conformance: S5-5.
#[test]
fn no_decision_says_nothing_and_every_refusal_is_temporary() {
    for (name, answer) in answers() {
        for host in [LISTED, UNLISTED, "192.0.2.1", "", "a\nb"] {
            for dane in DANE {
                let before = decide(&answer, host, dane);
                for decision in [before.clone()].into_iter().chain(TLS.map(|tls| before.after_tls(tls))) {
                    let is_refused = matches!(decision.action, Action::SkipHost | Action::Defer);
                    assert_eq!(
                        decision.enhanced_status().to_bytes().starts_with(b"4.7."),
                        is_refused,
                        "{name}, {host}"
                    );
                    assert!(!decision.text().is_empty() && !decision.text().contains('\n'), "{name}, {host}");
                    assert!(is_refused || dane != Dane::Failed, "{name}, {host}");
                }
            }
        }
    }
}

#[test]
fn after_the_handshake_nothing_is_left_to_be_required() {
    for (name, answer) in answers() {
        for host in [LISTED, UNLISTED] {
            for dane in DANE {
                for action in &actions(&answer, host, dane)[1..] {
                    let is_open = matches!(action, Action::RequireTls | Action::RequireEncryption);
                    assert!(!is_open, "{name}, {host}, {dane:?}");
                }
            }
        }
    }
}
