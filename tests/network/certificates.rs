//! Which certificate of a policy host is believed (RFC 8461 sections 3.3 and 7.1), and which TLS is spoken.

use crate::stage::*;
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::reason::{Reason, ResultType};
use mtasts::syntax::Mode;
use mtasts_world::{Certificate, Response, Site};

// Conformance: S3.3-1, S3.3-2, S3.3-3, S3.3-19, S6-1.
#[test]
fn a_certificate_must_be_trusted_in_date_and_for_the_policy_host() {
    use Reason::{
        PolicyHostCertificateExpired as Expired, PolicyHostCertificateHostMismatch as HostMismatch,
        PolicyHostCertificateNotTrusted as NotTrusted,
    };
    let stage = Stage::new();
    let rows: Vec<(&str, Certificate, Want)> = Certificate::ALL
        .into_iter()
        .map(|(name, certificate)| {
            let want = match certificate {
                Certificate::Good | Certificate::Wildcard | Certificate::NoEku => POLICY,
                Certificate::Expired | Certificate::ExpiredIntermediate => {
                    nothing(Expired, "its certificate has expired")
                }
                Certificate::NotYetValid => nothing(Expired, "its certificate is not valid yet"),
                Certificate::SelfSigned
                | Certificate::SelfSignedCa
                | Certificate::UnknownCa
                | Certificate::WrongSignature
                | Certificate::SignedByServer
                | Certificate::NoIntermediate => nothing(NotTrusted, "does not lead to a trusted root"),
                Certificate::ClientOnlyEku => nothing(NotTrusted, "its certificate is not acceptable"),
                Certificate::WrongName
                | Certificate::CnOnly
                | Certificate::NoDnsId
                | Certificate::TwoLevelWildcard
                | Certificate::PartialWildcard => nothing(HostMismatch, "its certificate is for another name"),
            };
            (name, certificate, want)
        })
        .collect();
    let context = stage.context();
    play(&rows, |_, (name, certificate, want)| {
        let domain = format!("{name}.test");
        stage.publish(&domain);
        let response = Response::Policy(enforce(&domain).into());
        stage.world.site(&format!("mta-sts.{domain}"), Site::new(*certificate, response));
        let answer = ask(&context, &domain);
        let mut faults = want.faults(name, &answer);
        let requests = stage.requests(&domain).len();
        if requests != usize::from(want.mode == Mode::Enforce) {
            faults.push(format!("{name}: {requests} requests"));
        }
        if want.mode == Mode::None {
            if answer.result_type() != ResultType::StsWebpkiInvalid {
                faults.push(format!("{name}: reported as {:?}", answer.result_type()));
            }
            if !answer.text().contains(&format!("mta-sts.{domain}")) {
                faults.push(format!("{name}: `{}` does not name the host", answer.text()));
            }
        }
        faults
    });
}

// Conformance: S3.3-15.
#[test]
fn tls_1_2_and_tls_1_3_are_spoken_with_the_name_of_the_policy_host() {
    let stage = Stage::new();
    let context = stage.context();
    for (domain, tls12_only, version) in [("old.test", true, "TLSv1.2"), ("new.test", false, "TLSv1.3")] {
        stage.publish(domain);
        let site = Site::new(Certificate::Good, Response::Policy(enforce(domain).into()));
        stage.world.site(&format!("mta-sts.{domain}"), Site { tls12_only, ..site });
        POLICY.check(version, &ask(&context, domain));
        let requests = stage.requests(domain);
        assert_eq!(requests.len(), 1, "{version}: the greeting names mta-sts.{domain}");
        assert_eq!(requests[0].tls, version);
    }
}

#[test]
fn without_trusted_roots_nothing_is_fetched_and_a_cached_policy_stays() {
    let stage = Stage::new();
    stage.publish("known.test");
    stage.publish("unknown.test");
    POLICY.check("with roots", &ask(&stage.context(), "known.test"));
    stage.world.clear_logs();
    let empty = stage.directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for ca_file in [stage.directory.path().join("missing.pem"), empty] {
        let shown = ca_file.display().to_string();
        let context = Context::with_settings(Settings { ca_file: Some(ca_file), ..stage.settings() });
        let log = log_of(&context);
        let unknown = context.query(b"unknown.test", REFRESH, None);
        nothing(Reason::NoTrustedRoots, ".pem").check(&shown, &unknown);
        let known = context.query(b"known.test", REFRESH, None);
        kept(Reason::NoTrustedRoots, ".pem").check(&shown, &known);
        assert!(log.lock().unwrap().iter().any(|line| line.contains(&shown)), "{:?}", log.lock().unwrap());
    }
    assert_eq!(stage.world.https_connections(), 0);
}

// Conformance: S3.3-1.
#[test]
fn a_root_that_nobody_trusts_is_not_trusted_because_the_system_is_asked() {
    let (stage, other) = (Stage::new(), Stage::new());
    stage.publish("good.test");
    let ca_file = Some(other.world.ca_file().to_owned());
    let context = Context::with_settings(Settings { ca_file, ..stage.settings() });
    nothing(Reason::PolicyHostCertificateNotTrusted, "").check("the root of another", &ask(&context, "good.test"));
}
