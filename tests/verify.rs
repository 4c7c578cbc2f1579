//! Which certificate chain of an MX host verifies (RFC 8461 section 4.2), and what a report says of one that does not
//! (RFC 8460 section 4.3).

use mtasts::decision::{Action, Dane, Decision, TlsState};
use mtasts::discovery::Answer;
use mtasts::reason::{Reason, ResultType};
use mtasts::time::{Clock, SystemClock, UnixTime};
use mtasts::tls::{Trust, Unverified};
use mtasts_world::{Certificate, World};
use std::time::{Duration, Instant};

const HOST: &str = "mx.good.test";

type Chain = Vec<Vec<u8>>;
type Verdict = Result<(), Unverified>;

/// A throw-away CA, and who trusts it.
struct Pki {
    world: World,
    trust: Trust,
}

impl Pki {
    fn new() -> Self {
        let world = World::start();
        let trust = Trust::new(Some(world.ca_file().to_owned()));
        Self { world, trust }
    }

    fn chain(&self, name: &str, certificate: Certificate) -> Chain {
        self.world.certificate_chain(name, certificate).0
    }

    fn good(&self) -> Chain {
        self.chain(HOST, Certificate::Good)
    }

    /// What becomes of a chain that a listed host showed.
    fn verdict(&self, mx_host: &str, chain: &Chain) -> Verdict {
        verify(&self.trust, &decide("enforce", mx_host, Dane::Absent), chain)
    }
}

/// A decision by a policy that lists every host below `good.test`.
fn decide(mode: &str, mx_host: &str, dane: Dane) -> Decision {
    let body = format!("version: STSv1\nmode: {mode}\nmx: *.good.test\nmax_age: 86400\n");
    Decision::of(&Answer::parsed(body.as_bytes(), SystemClock.now()).unwrap(), mx_host.as_bytes(), dane, false)
}

fn verify(trust: &Trust, decision: &Decision, chain: &Chain) -> Verdict {
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    decision.verify(trust, &chain, SystemClock.now())
}

#[track_caller]
fn refused(verdict: Verdict, reason: Reason, text: &str) {
    let unverified = verdict.expect_err(text);
    assert_eq!(unverified.reason, reason, "{}", unverified.text);
    assert_eq!(unverified.result_type, reason.result_type());
    assert!(unverified.text.contains(text), "`{}`, want `{text}` in it", unverified.text);
    assert!(!unverified.text.contains(char::is_control), "{:?}", unverified.text);
}

use Reason::{
    MxCertificateExpired as Expired, MxCertificateHostMismatch as HostMismatch, MxCertificateInvalid as Invalid,
    MxCertificateNotTrusted as NotTrusted,
};

// Conformance: S4.2-1, S4.2-2, S6-3.
#[test]
fn each_kind_of_certificate_has_its_verdict_and_its_result_type() {
    let pki = Pki::new();
    for (name, certificate) in Certificate::ALL {
        let verdict = pki.verdict(HOST, &pki.chain(HOST, certificate));
        let (reason, result_type, text) = match certificate {
            Certificate::Good | Certificate::Wildcard | Certificate::NoEku => {
                assert_eq!(verdict, Ok(()), "{name}");
                continue;
            }
            Certificate::Expired => {
                (Expired, ResultType::CertificateExpired, "certificate 1 of 2 of mx.good.test has expired 1 day ago")
            }
            Certificate::ExpiredIntermediate => {
                (Expired, ResultType::CertificateExpired, "certificate 2 of 2 of mx.good.test has expired 1 day ago")
            }
            Certificate::NotYetValid => {
                (Expired, ResultType::CertificateExpired, "certificate 1 of 2 of mx.good.test is not valid yet")
            }
            Certificate::SelfSigned | Certificate::NoIntermediate => (
                NotTrusted,
                ResultType::CertificateNotTrusted,
                "the certificate of mx.good.test does not lead to a trusted root",
            ),
            Certificate::UnknownCa => (
                NotTrusted,
                ResultType::CertificateNotTrusted,
                "the chain of mx.good.test (2 certificates) does not lead to a trusted root",
            ),
            Certificate::SelfSignedCa => (NotTrusted, ResultType::CertificateNotTrusted, "one of an authority"),
            Certificate::WrongSignature => (NotTrusted, ResultType::CertificateNotTrusted, "a signature in the chain"),
            Certificate::SignedByServer => (NotTrusted, ResultType::CertificateNotTrusted, "a server has signed"),
            Certificate::WrongName => (
                HostMismatch,
                ResultType::CertificateHostMismatch,
                "certificate 1 of 2 of mx.good.test is for another name: elsewhere.test",
            ),
            Certificate::CnOnly => (HostMismatch, ResultType::CertificateHostMismatch, "it has no subjectAltName"),
            Certificate::NoDnsId | Certificate::TwoLevelWildcard | Certificate::PartialWildcard => {
                (HostMismatch, ResultType::CertificateHostMismatch, "is for another name")
            }
            Certificate::ClientOnlyEku => (
                Invalid,
                ResultType::ValidationFailure,
                "certificate 1 of 2 of mx.good.test is not acceptable: certificate does not allow extended key usage",
            ),
        };
        refused(verdict, reason, text);
        assert_eq!(reason.result_type(), result_type, "{name}");
    }
}

#[test]
fn a_host_name_counts_in_any_case_and_with_a_final_dot() {
    let pki = Pki::new();
    for mx_host in ["mx.good.test", "MX.GOOD.TEST", "mx.good.test.", "Mx.Good.Test."] {
        assert_eq!(pki.verdict(mx_host, &pki.good()), Ok(()), "{mx_host}");
        assert_eq!(pki.verdict(mx_host, &pki.chain("MX.Good.Test", Certificate::Good)), Ok(()), "{mx_host}");
    }
}

#[test]
fn a_host_name_with_an_underscore_is_verified_like_any_other() {
    let pki = Pki::new();
    for certificate in [Certificate::Good, Certificate::Wildcard] {
        assert_eq!(pki.verdict("mx_1.good.test", &pki.chain("mx_1.good.test", certificate)), Ok(()));
    }
    refused(pki.verdict("mx_2.good.test", &pki.chain("mx_1.good.test", Certificate::Good)), HostMismatch, "mx_1");
}

#[test]
fn a_u_label_host_is_verified_by_its_a_label() {
    let pki = Pki::new();
    let chain = pki.chain("xn--bcher-kva.good.test", Certificate::Good);
    assert_eq!(pki.verdict("Bücher.good.test", &chain), Ok(()));
}

// Conformance: S4.2-2.
#[test]
fn a_wildcard_stands_for_one_whole_label() {
    let pki = Pki::new();
    let chain = pki.chain(HOST, Certificate::Wildcard);
    assert_eq!(pki.verdict("other.good.test", &chain), Ok(()));
    refused(pki.verdict("a.b.good.test", &chain), Reason::MxNotListed, "a.b.good.test");
    let without_policy = |mx_host: &str| verify(&pki.trust, &decide("none", mx_host, Dane::Absent), &chain);
    refused(without_policy("a.b.good.test"), HostMismatch, "*.good.test");
    refused(without_policy("good.test"), HostMismatch, "*.good.test");
}

// Conformance: S4.2-1.
#[test]
fn certificates_that_do_not_belong_to_the_chain_do_no_harm_in_any_order() {
    let pki = Pki::new();
    let (good, other) = (pki.good(), pki.chain("other.test", Certificate::UnknownCa));
    for rest in [
        vec![&good[1], &other[0], &other[1]],
        vec![&other[0], &other[1], &good[1]],
        vec![&good[1], &good[1], &good[0]],
        vec![&good[1], &pki.world.ca_der().to_vec()],
    ] {
        let chain = [&good[0]].into_iter().chain(rest).cloned().collect();
        assert_eq!(pki.verdict(HOST, &chain), Ok(()));
    }
    let chain = [&good[0], &other[0], &other[1]].into_iter().cloned().collect();
    refused(pki.verdict(HOST, &chain), NotTrusted, "(3 certificates)");
}

#[test]
fn the_first_certificate_is_the_hosts_whatever_follows() {
    let pki = Pki::new();
    let reversed = pki.good().into_iter().rev().collect();
    refused(pki.verdict(HOST, &reversed), NotTrusted, "the first certificate is one of an authority");
    let behind_another = [pki.chain("other.test", Certificate::Good), pki.good()].concat();
    refused(pki.verdict(HOST, &behind_another), HostMismatch, "certificate 1 of 4 of mx.good.test");
}

#[test]
fn what_is_no_certificate_is_invalid_and_its_place_is_named() {
    let pki = Pki::new();
    let good = pki.good();
    let truncated = |der: &Vec<u8>| der[..der.len() - 1].to_vec();
    let longer = |der: &Vec<u8>| [&der[..], &[0]].concat();
    for (chain, text) in [
        (vec![b"garbage".to_vec()], "the certificate of mx.good.test is not acceptable: it is malformed"),
        (vec![Vec::new()], "the certificate of mx.good.test is not acceptable"),
        (vec![Vec::new(), good[1].clone()], "certificate 1 of 2 of mx.good.test is not acceptable"),
        (vec![b"-----BEGIN CERTIFICATE-----".to_vec(), good[1].clone()], "certificate 1 of 2"),
        (vec![truncated(&good[0]), good[1].clone()], "certificate 1 of 2"),
        (vec![longer(&good[0]), good[1].clone()], "certificate 1 of 2"),
        (vec![good[0].clone(), truncated(&good[1])], "certificate 2 of 2"),
        (vec![good[0].clone(), vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]], "certificate 2 of 2"),
        (vec![vec![0x30; 100_000], good[1].clone()], "certificate 1 of 2"),
    ] {
        refused(pki.verdict(HOST, &chain), Invalid, text);
    }
}

#[test]
fn no_truncation_of_a_certificate_verifies() {
    let pki = Pki::new();
    let good = pki.good();
    for len in 0..good[0].len() {
        refused(pki.verdict(HOST, &vec![good[0][..len].to_vec(), good[1].clone()]), Invalid, "certificate 1 of 2");
    }
}

#[test]
fn no_flipped_bit_in_a_certificate_verifies() {
    let pki = Pki::new();
    let good = pki.good();
    for at in 0..good[0].len() {
        let mut own = good[0].clone();
        own[at] ^= 1;
        assert_ne!(pki.verdict(HOST, &vec![own, good[1].clone()]), Ok(()), "byte {at}");
    }
}

#[test]
fn an_empty_chain_is_invalid() {
    refused(Pki::new().verdict(HOST, &Chain::new()), Invalid, "mx.good.test showed no certificate");
}

#[test]
fn a_critical_extension_that_nobody_knows_makes_a_certificate_invalid() {
    let pki = Pki::new();
    let chain = pki.world.chain_with_critical_extension(HOST);
    refused(pki.verdict(HOST, &chain), Invalid, "certificate 1 of 2 of mx.good.test is not acceptable: Unsupported");
}

#[test]
fn an_address_is_no_mx_host_that_a_certificate_could_be_for() {
    let pki = Pki::new();
    for address in ["192.0.2.1", "[192.0.2.1]", "2001:db8::1"] {
        let chain = pki.chain(address.trim_matches(['[', ']']), Certificate::Good);
        refused(verify(&pki.trust, &decide("none", address, Dane::Absent), &chain), Invalid, address);
        refused(verify(&pki.trust, &decide("testing", address, Dane::Absent), &chain), Invalid, address);
        refused(verify(&pki.trust, &decide("enforce", address, Dane::Absent), &chain), Reason::MxNotListed, address);
        refused(pki.verdict(HOST, &chain), HostMismatch, "IpAddress");
    }
}

#[test]
fn a_path_may_have_six_authorities_below_the_root() {
    let pki = Pki::new();
    for (authorities, is_good) in [(0, true), (1, true), (6, true), (7, false)] {
        let verdict = pki.verdict(HOST, &pki.world.deep_chain(HOST, authorities));
        if is_good {
            assert_eq!(verdict, Ok(()), "{authorities}");
        } else {
            refused(verdict, NotTrusted, "too many authorities");
        }
    }
}

#[test]
fn a_chain_of_a_hundred_certificates_ends_quickly() {
    let pki = Pki::new();
    let strangers: Chain =
        (0..49).flat_map(|number| pki.chain(&format!("mx{number}.test"), Certificate::UnknownCa)).collect();
    let own = pki.good();
    // Four seconds in a debug build, a fraction of one in the library that is installed.
    let limit = Duration::from_secs(60);
    for (name, chain, is_good) in [
        ("deep", pki.world.deep_chain(HOST, 99), false),
        ("strangers", [&own[..], &strangers].concat(), true),
        ("only strangers", [&own[..1], &strangers].concat(), false),
        ("namesakes", pki.world.chain_of_namesakes(HOST, 99), false),
        ("few namesakes among strangers", [pki.world.chain_of_namesakes(HOST, 9), strangers.clone()].concat(), false),
        ("one again and again", vec![own[0].clone(); 100], false),
    ] {
        let began = Instant::now();
        let verdict = pki.verdict(HOST, &chain);
        assert!(began.elapsed() < limit, "{name}: {:?}", began.elapsed());
        assert_eq!(verdict.is_ok(), is_good, "{name}: {verdict:?}");
        if !is_good {
            refused(verdict, NotTrusted, "certificates, of which 16 count) does not lead to a trusted root");
        }
    }
}

#[test]
fn the_first_sixteen_certificates_count() {
    let pki = Pki::new();
    let (own, strangers) = (pki.good(), pki.chain("other.test", Certificate::UnknownCa));
    let with_intermediate_at = |place: usize| {
        let mut chain: Chain = [vec![own[0].clone()], vec![strangers[0].clone(); 20]].concat();
        chain.insert(place - 1, own[1].clone());
        chain
    };
    assert_eq!(pki.verdict(HOST, &with_intermediate_at(16)), Ok(()));
    refused(pki.verdict(HOST, &with_intermediate_at(17)), NotTrusted, "(22 certificates, of which 16 count)");
}

#[test]
fn without_trusted_roots_nothing_verifies_and_the_host_is_not_to_blame() {
    let pki = Pki::new();
    let trust = Trust::new(Some("/nowhere/ca.pem".into()));
    for chain in [pki.good(), Chain::new(), pki.chain(HOST, Certificate::Expired)] {
        let verdict = verify(&trust, &decide("enforce", HOST, Dane::Absent), &chain);
        refused(verdict, Reason::NoTrustedRoots, "ca_file /nowhere/ca.pem");
    }
    assert_eq!(Reason::NoTrustedRoots.result_type(), ResultType::None);
}

#[test]
fn roots_that_come_later_are_found() {
    let pki = Pki::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let trust = Trust::new(Some(path.clone()));
    let decision = decide("enforce", HOST, Dane::Absent);
    refused(verify(&trust, &decision, &pki.good()), Reason::NoTrustedRoots, "ca.pem");
    std::fs::copy(pki.world.ca_file(), &path).unwrap();
    assert_eq!(verify(&trust, &decision, &pki.good()), Ok(()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(verify(&trust, &decision, &pki.good()), Ok(()), "roots are read once an hour");
}

#[test]
fn dates_are_judged_by_the_time_that_is_given() {
    let pki = Pki::new();
    let chain = pki.good();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let at = |now: UnixTime| decide("enforce", HOST, Dane::Absent).verify(&pki.trust, &chain, now);
    let (now, day) = (SystemClock.now().0, 86_400);
    assert_eq!(at(UnixTime(now)), Ok(()));
    refused(at(UnixTime(now + 4000 * day)), Expired, "has expired");
    refused(at(UnixTime(now - 4000 * day)), Expired, "is not valid yet");
    refused(at(UnixTime(i64::MIN)), Expired, "is not valid yet");
    refused(at(UnixTime(i64::MAX)), Expired, "has expired");
}

#[test]
fn nothing_verifies_for_a_host_that_is_not_to_be_used() {
    let pki = Pki::new();
    let chain = pki.chain("mx.other.test", Certificate::Good);
    for (decision, action, reason) in [
        (decide("enforce", "mx.other.test", Dane::Absent), Action::SkipHost, Reason::MxNotListed),
        (decide("none", "mx.other.test", Dane::Failed), Action::SkipHost, Reason::DaneFailed),
    ] {
        assert_eq!(decision.action, action);
        refused(verify(&pki.trust, &decision, &chain), reason, "mx.other.test");
    }
    let answer = Answer::parsed(b"version: STSv1\nmode: none\nmax_age: 1\n", SystemClock.now()).unwrap();
    let unknown = Decision::of(&Answer { is_unknown: true, ..answer }, HOST.as_bytes(), Dane::Absent, false);
    assert_eq!(unknown.action, Action::Defer);
    refused(verify(&pki.trust, &unknown, &pki.good()), Reason::PolicyUnknown, HOST);
}

#[test]
fn every_other_decision_leaves_the_verdict_to_the_chain() {
    let pki = Pki::new();
    for (mode, mx_host, dane, action) in [
        ("enforce", HOST, Dane::Absent, Action::RequireTls),
        ("testing", HOST, Dane::Absent, Action::DeliverReport),
        ("testing", "mx.other.test", Dane::Absent, Action::DeliverReport),
        ("none", HOST, Dane::Absent, Action::Deliver),
        ("none", HOST, Dane::Unusable, Action::RequireEncryption),
        ("enforce", HOST, Dane::Usable, Action::RequireEncryption),
    ] {
        let decision = decide(mode, mx_host, dane);
        assert_eq!(decision.action, action);
        assert_eq!(verify(&pki.trust, &decision, &pki.chain(mx_host, Certificate::Good)), Ok(()), "{mode}");
        refused(verify(&pki.trust, &decision, &pki.chain(mx_host, Certificate::Expired)), Expired, mx_host);
    }
}

/// The state with which `mtasts_decision_tls` goes on, as the header has it.
fn state(result_type: ResultType) -> TlsState {
    match result_type {
        ResultType::CertificateExpired => TlsState::Expired,
        ResultType::CertificateNotTrusted => TlsState::NotTrusted,
        ResultType::CertificateHostMismatch => TlsState::HostMismatch,
        ResultType::ValidationFailure => TlsState::CertificateInvalid,
        other => panic!("{other:?} has no TLS state"),
    }
}

#[test]
fn the_next_decision_reports_what_the_verdict_said() {
    let pki = Pki::new();
    for (name, certificate) in Certificate::ALL {
        let chain = pki.chain(HOST, certificate);
        let Err(unverified) = pki.verdict(HOST, &chain) else { continue };
        let tls = state(unverified.result_type);
        for (mode, dane, action) in [
            ("enforce", Dane::Absent, Action::SkipHost),
            ("testing", Dane::Absent, Action::DeliverReport),
            ("testing", Dane::Unusable, Action::DeliverReport),
        ] {
            let after = decide(mode, HOST, dane).after_tls(tls);
            assert_eq!((after.action, after.reason), (action, unverified.reason), "{name} under {mode}, {dane:?}");
            assert_eq!(after.result_type, unverified.result_type, "{name} under {mode}, {dane:?}");
        }
        let unauthenticated = decide("none", HOST, Dane::Unusable).after_tls(tls);
        assert_eq!(unauthenticated.action, Action::Deliver, "{name}: the session is encrypted, which is enough");
    }
}

/// What RFC 8689 section 4.2.1 asks of the next hop of a REQUIRETLS message can be told from policy and verdict.
// Conformance: R-1.
#[test]
fn r_1_a_listed_host_with_a_chain_that_verifies_is_authenticated_in_either_mode() {
    let pki = Pki::new();
    let is_authenticated = |mode: &str, host: &str, certificate| {
        let decision = decide(mode, host, Dane::Absent);
        let is_listed = matches!(decision.reason, Reason::MxListed | Reason::Testing);
        is_listed && verify(&pki.trust, &decision, &pki.chain(host, certificate)).is_ok()
    };
    for mode in ["enforce", "testing"] {
        assert!(is_authenticated(mode, HOST, Certificate::Good), "{mode}");
        assert!(!is_authenticated(mode, HOST, Certificate::SelfSigned), "{mode}");
        assert!(!is_authenticated(mode, "mx.evil.test", Certificate::Good), "{mode}: not listed");
    }
    assert!(!is_authenticated("none", HOST, Certificate::Good));
}

#[test]
fn behind_the_first_certificate_32_kib_count() {
    let pki = Pki::new();
    let good = pki.good();
    let padding = vec![0x30; 33 * 1024];
    let behind = [&good[..], std::slice::from_ref(&padding)].concat();
    assert_eq!(pki.verdict(HOST, &behind), Ok(()));
    let before = [&good[..1], &[padding], &good[1..]].concat();
    refused(pki.verdict(HOST, &before), NotTrusted, "of which 1 count");
}
