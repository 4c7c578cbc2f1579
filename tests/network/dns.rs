//! What DNS says about the STS record, and the answer that follows (RFC 8461 section 3.1).

use crate::stage::*;
use mtasts::config::{OnTrouble, Settings};
use mtasts::context::Context;
use mtasts::discovery::Effort;
use mtasts::reason::{Reason, ResultType};
use mtasts::syntax::Mode;
use mtasts_world::{Answer, Record, RecordType};
use std::time::Duration;

const GOOD: &str = "v=STSv1; id=1;";

fn txt(texts: &[&str]) -> Answer {
    Answer::records(texts.iter().map(|text| Record::txt(text)).collect())
}

fn cname(target: &str) -> Answer {
    Answer::record(Record::Cname(target.to_owned()))
}

/// Records of other kinds around the good one, which stands in the middle.
fn among_strangers(count: usize, length: usize) -> Answer {
    let stranger = |number: usize| format!("{number:0>length$}");
    let mut records: Vec<Record> = (1..count).map(|number| Record::txt(&stranger(number))).collect();
    records.insert(count / 2, Record::txt(GOOD));
    Answer::records(records)
}

// Conformance: S3.1-3, S3.1-5, S3.1-8, S3.1-12.
#[test]
fn the_answer_of_dns_decides_whether_there_is_a_record() {
    use Reason::{DnsFailed, MalformedRecord, NoRecord, SeveralRecords};
    let no_record = nothing(NoRecord, "no TXT record");
    let no_sts_record = nothing(NoRecord, "no STS record among 1 TXT record(s)");
    let rows: Vec<(&str, Answer, Want)> = vec![
        ("a record means the policy is fetched", txt(&[GOOD]), POLICY),
        ("nxdomain means no record", Answer::NxDomain { negative_ttl: Some(60) }, no_record.clone()),
        ("nxdomain without soa means no record", Answer::NxDomain { negative_ttl: None }, no_record.clone()),
        ("nodata means no record", Answer::NoData { negative_ttl: Some(60) }, no_record.clone()),
        ("nodata without soa means no record", Answer::NoData { negative_ttl: None }, no_record.clone()),
        ("servfail is a failure, not an absence", Answer::ServFail, nothing(DnsFailed, "Server Failure")),
        ("refused is a failure, not an absence", Answer::Refused, nothing(DnsFailed, "Refused")),
        ("truncation over udp leads to tcp", Answer::Truncated(Box::new(txt(&[GOOD]))), POLICY),
        (
            "truncation and servfail over tcp is a failure",
            Answer::Truncated(Box::new(Answer::ServFail)),
            nothing(DnsFailed, "Server Failure"),
        ),
        (
            "truncation and nodata over tcp means no record",
            Answer::Truncated(Box::new(Answer::NoData { negative_ttl: Some(60) })),
            no_record.clone(),
        ),
        ("a cname to nothing means no record", cname("nothing.other.example"), no_record.clone()),
        ("a cname to a failure is a failure", cname("broken.other.example"), nothing(DnsFailed, "Server Failure")),
        ("a cname to foreign text means no record", cname("foreign.other.example"), no_sts_record.clone()),
        ("one good record among 20 counts", among_strangers(20, 40), POLICY),
        ("one good record in 60 kB counts", among_strangers(222, 255), POLICY),
        ("strangers alone mean no record", txt(&["x=1"]), no_sts_record.clone()),
        ("an empty string beside the record is a stranger", txt(&["", GOOD]), POLICY),
        (
            "strings are joined with nothing between",
            Answer::record(Record::Txt(vec![b"v=ST".to_vec(), b"Sv1; i".to_vec(), vec![], b"d=1;".to_vec()])),
            POLICY,
        ),
        (
            "a blank is not put between strings",
            Answer::record(Record::Txt(vec![b"v=STSv1; id=1".to_vec(), b"2;".to_vec()])),
            POLICY,
        ),
        ("two sts records count as none", txt(&[GOOD, "v=STSv1; id=2;"]), nothing(SeveralRecords, "")),
        ("a record without id is malformed", txt(&["v=STSv1;"]), nothing(MalformedRecord, "")),
        ("an id with a hyphen is malformed", txt(&["v=STSv1; id=a-b;"]), nothing(MalformedRecord, "")),
        ("an upper-case version tag is a stranger", txt(&["V=STSv1; id=1;"]), no_sts_record.clone()),
        ("a lower-case version is a stranger", txt(&["v=stsv1; id=1;"]), no_sts_record.clone()),
        ("a leading blank makes a stranger", txt(&[" v=STSv1; id=1;"]), no_sts_record.clone()),
        ("another version is a stranger", txt(&["v=STSv2; id=1;"]), no_sts_record),
    ];
    let stage = Stage::new();
    stage.world.dns("broken.other.example", Answer::ServFail);
    stage.world.txt("foreign.other.example", "v=spf1 -all");
    let context = stage.context();
    play(&rows, |number, (scene, record, want)| {
        let domain = format!("scene-{number}.test");
        stage.publish(&domain);
        stage.world.dns(&format!("_mta-sts.{domain}"), record.clone());
        let answer = ask(&context, &domain);
        let mut faults = want.faults(scene, &answer);
        if !answer.text().contains(&domain) {
            faults.push(format!("{scene}: `{}` does not name the domain", answer.text()));
        }
        let requests = stage.requests(&domain).len();
        if requests != usize::from(want.mode == Mode::Enforce) {
            faults.push(format!("{scene}: {requests} requests"));
        }
        faults
    });
}

// Conformance: S3.1-2.
#[test]
fn a_record_by_cname_is_the_target_s_and_the_policy_host_is_the_domain_s() {
    let stage = Stage::new();
    stage.publish("good.test");
    stage.world.dns("_mta-sts.good.test", cname("hop.other.example"));
    stage.world.dns("hop.other.example", cname("record.third.example"));
    stage.world.txt("record.third.example", "v=STSv1; id=delegated;");
    let answer = ask(&stage.context(), "good.test");
    POLICY.check("over two cnames", &answer);
    assert_eq!(&*answer.policy.unwrap().id, "delegated");
    assert_eq!(stage.requests("good.test").len(), 1);
    assert_eq!(stage.world.https_log().len(), 1);
}

// Conformance: S3.3-16.
#[test]
fn a_policy_host_by_cname_is_verified_under_its_own_name() {
    let stage = Stage::new();
    stage.publish("good.test");
    stage.world.dns("mta-sts.good.test", cname("policies.provider.example"));
    stage.world.address("policies.provider.example", stage.world.https_addr().ip());
    POLICY.check("policy host elsewhere", &ask(&stage.context(), "good.test"));
    assert_eq!(stage.requests("good.test").len(), 1);
}

#[test]
fn a_loop_of_cnames_ends_and_is_no_policy() {
    let stage = Stage::new();
    stage.world.dns("_mta-sts.self.test", cname("_mta-sts.self.test"));
    stage.world.dns("_mta-sts.pair.test", cname("pair.other.example"));
    stage.world.dns("pair.other.example", cname("_mta-sts.pair.test"));
    let context = stage.context();
    play(&["self.test", "pair.test"], |_, domain| {
        let limit = Duration::from_secs(10);
        let (answer, mut faults) =
            timed(domain, limit, || context.query(domain.as_bytes(), Effort::default(), Some(limit)));
        if answer.mode() != Mode::None || !matches!(answer.reason, Reason::NoRecord | Reason::DnsFailed) {
            faults.push(format!("{domain}: {} {:?} {}", answer.mode(), answer.reason, answer.text()));
        }
        faults
    });
    let queries = stage.world.dns_log().len();
    assert!(queries < 100, "{queries} queries for two loops");
}

#[test]
fn silence_of_dns_is_a_failure_within_the_deadline() {
    let stage = Stage::new();
    stage.publish("record.test");
    stage.world.dns("_mta-sts.record.test", Answer::Silent);
    stage.publish("host.test");
    stage.world.dns("mta-sts.host.test", Answer::Silent);
    let (context, limit) = (stage.context(), Duration::from_secs(2));
    let rows = [
        ("record.test", nothing(Reason::DnsFailed, "_mta-sts.record.test")),
        ("host.test", nothing(Reason::PolicyHostDnsFailed, "mta-sts.host.test")),
    ];
    play(&rows, |_, (domain, want)| {
        let (answer, mut faults) =
            timed(domain, limit, || context.query(domain.as_bytes(), Effort::default(), Some(limit)));
        faults.extend(want.faults(domain, &answer));
        faults
    });
}

#[test]
fn one_family_without_an_answer_does_not_cost_the_other() {
    let stage = Stage::new();
    let rows = [
        ("nodata", Answer::NoData { negative_ttl: Some(60) }),
        ("servfail", Answer::ServFail),
        ("refused", Answer::Refused),
        ("nxdomain", Answer::NxDomain { negative_ttl: Some(60) }),
        ("silence", Answer::Silent),
    ];
    let context = Context::with_settings(Settings { dns_timeout: Duration::from_secs(2), ..stage.settings() });
    play(&rows, |_, (scene, answer)| {
        let domain = format!("{scene}.test");
        stage.publish(&domain);
        stage.world.dns_type(&format!("mta-sts.{domain}"), RecordType::AAAA, answer.clone());
        POLICY.faults(&format!("AAAA {scene}"), &ask(&context, &domain))
    });
}

// Conformance: S6-1.
#[test]
fn a_policy_host_without_address_is_told_as_such() {
    let stage = Stage::new();
    let rows = [
        ("nxdomain", Answer::NxDomain { negative_ttl: Some(60) }, Reason::PolicyHostNotFound, "has no address"),
        ("nodata", Answer::NoData { negative_ttl: Some(60) }, Reason::PolicyHostNotFound, "has no address"),
        ("servfail", Answer::ServFail, Reason::PolicyHostDnsFailed, "its address is not known"),
        ("refused", Answer::Refused, Reason::PolicyHostDnsFailed, "its address is not known"),
        ("loop", cname("mta-sts.loop.test"), Reason::PolicyHostNotFound, "address"),
    ];
    let context = stage.context();
    play(&rows, |_, (scene, record, reason, text)| {
        let domain = format!("{scene}.test");
        stage.publish(&domain);
        stage.world.dns(&format!("mta-sts.{domain}"), record.clone());
        let answer = ask(&context, &domain);
        let mut faults = nothing(*reason, text).faults(scene, &answer);
        if !answer.text().contains(&format!("policy host mta-sts.{domain}")) {
            faults.push(format!("{scene}: `{}` does not name the host", answer.text()));
        }
        if answer.result_type() != ResultType::StsPolicyFetchError {
            faults.push(format!("{scene}: reported as {:?}", answer.result_type()));
        }
        faults
    });
    assert_eq!(stage.world.https_connections(), 0);
}

// Conformance: S3.1-1, S3.4-3.
#[test]
fn exactly_one_name_is_asked_for_the_record_and_no_parent() {
    let rows: &[(&str, &str)] = &[
        ("plain.test", "plain.test"),
        ("a.b.c.plain.test", "a.b.c.plain.test"),
        ("UPPER.Case.Test", "upper.case.test"),
        ("dot.test.", "dot.test"),
        ("b\u{fc}cher.test", "xn--bcher-kva.test"),
        ("single", "single"),
    ];
    for (asked, name) in rows {
        let stage = Stage::new();
        nothing(Reason::NoRecord, "").check(asked, &ask(&stage.context(), asked));
        assert_eq!(stage.world.dns_log(), [format!("TXT _mta-sts.{name}")], "{asked}");
        assert_eq!(stage.world.https_connections(), 0, "{asked}");
    }
}

#[test]
fn a_fetch_asks_for_the_record_and_both_families_once_and_connects_once() {
    let stage = Stage::new();
    stage.publish("good.test");
    stage.publish("sub.good.test");
    POLICY.check("good.test", &ask(&stage.context(), "sub.good.test"));
    let mut log = stage.world.dns_log();
    assert_eq!(log.remove(0), "TXT _mta-sts.sub.good.test");
    log.sort();
    assert_eq!(log, ["A mta-sts.sub.good.test", "AAAA mta-sts.sub.good.test"]);
    assert_eq!((stage.world.https_connections(), stage.world.https_log().len()), (1, 1));
}

// Conformance: S3.4-3.
#[test]
fn a_cached_policy_of_the_parent_is_not_the_childs() {
    let stage = Stage::new();
    stage.publish("good.test");
    let context = stage.context();
    POLICY.check("parent", &ask(&context, "good.test"));
    for child in ["mail.good.test", "a.b.good.test", "_mta-sts.good.test", "mta-sts.good.test"] {
        let answer = ask(&context, child);
        assert!(answer.policy.is_none(), "{child}: {}", answer.text());
        let answer = context.query(child.as_bytes(), CACHE_ONLY, None);
        assert!(answer.policy.is_none(), "{child} by the cache: {}", answer.text());
    }
    kept(Reason::Cached, "").check("parent, afterwards", &ask(&context, "good.test"));
}

// Conformance: S3.4-2.
#[test]
fn what_is_no_domain_asks_nothing() {
    let stage = Stage::new();
    let context = stage.context();
    let rows: &[(&[u8], Reason)] = &[
        (b"127.0.0.1", Reason::AddressLiteral),
        (b"[127.0.0.1]", Reason::AddressLiteral),
        (b"[IPv6:::1]", Reason::AddressLiteral),
        (b"", Reason::InvalidDomain),
        (b"a..test", Reason::InvalidDomain),
        (b"a@b.test", Reason::InvalidDomain),
        (b"a\0.test", Reason::InvalidDomain),
        (b"\xff.test", Reason::InvalidDomain),
    ];
    for (text, reason) in rows {
        let shown = text.escape_ascii().to_string();
        nothing(*reason, "no policy").check(&shown, &context.query(text, Effort::default(), None));
    }
    assert_eq!((stage.world.dns_log(), stage.world.https_connections()), (Vec::new(), 0));
}

// Conformance: S3.1-12.
#[test]
fn a_failing_dns_is_unknown_where_mail_shall_wait() {
    let stage = Stage::new();
    stage.world.dns("_mta-sts.broken.test", Answer::ServFail);
    for (on_dns_error, mode) in [(OnTrouble::Proceed, "none"), (OnTrouble::Defer, "unknown")] {
        let context = Context::with_settings(Settings { on_dns_error, ..stage.settings() });
        let log = log_of(&context);
        let answer = ask(&context, "broken.test");
        assert_eq!((answer.mode_str(), answer.reason), (mode, Reason::DnsFailed));
        assert!(log.lock().unwrap().iter().any(|line| line.contains("broken.test")), "a line tells the administrator");
    }
}

// Conformance: S3.4-4.
#[test]
fn answers_are_remembered_and_failures_are_not() {
    let negative = |domain: &str| {
        let stage = Stage::new();
        stage.world.dns(&format!("_mta-sts.{domain}"), Answer::NxDomain { negative_ttl: Some(60) });
        stage
    };
    let stage = negative("none.test");
    stage.publish("good.test");
    stage.world.dns("_mta-sts.broken.test", Answer::ServFail);
    let context = stage.context();
    nothing(Reason::NoRecord, "").check("first", &ask(&context, "none.test"));
    POLICY.check("first", &ask(&context, "good.test"));
    stage.world.clear_logs();
    for context in [context, stage.context()] {
        nothing(Reason::NoRecord, "none.test").check("again", &ask(&context, "none.test"));
        nothing(Reason::NoRecord, "none.test").check("in other letters", &ask(&context, "NONE.test."));
        kept(Reason::Cached, "good.test").check("again", &ask(&context, "good.test"));
    }
    assert!(stage.world.dns_log().is_empty(), "{:?}", stage.world.dns_log());
    assert_eq!(stage.world.https_connections(), 0);

    let context = stage.context();
    nothing(Reason::DnsFailed, "").check("first", &ask(&context, "broken.test"));
    stage.publish("broken.test");
    POLICY.check("a failure is no knowledge", &ask(&context, "broken.test"));
}

// Conformance: S3.1-13.
#[test]
fn the_ttl_bounds_how_long_an_answer_counts() {
    // Own bounds are a minute and an hour for a record, a minute and five for its absence.
    let rows: &[(&str, bool, u32, i64)] = &[
        ("a record of 0 seconds counts a minute", true, 0, 60),
        ("a record of 300 seconds counts as long", true, 300, 300),
        ("a record of a week counts an hour", true, 604_800, 3_600),
        ("an absence of 0 seconds counts a minute", false, 0, 60),
        ("an absence of a week counts five minutes", false, 604_800, 300),
    ];
    for (scene, has_record, ttl, seconds) in rows {
        let (stage, clock) = (Stage::new(), SetClock::new());
        stage.publish("good.test");
        let answer = if *has_record {
            Answer::Records { ttl: *ttl, records: vec![Record::txt(GOOD)] }
        } else {
            Answer::NxDomain { negative_ttl: Some(*ttl) }
        };
        stage.world.dns("_mta-sts.good.test", answer);
        let context = stage.context_at(&clock);
        let queries = || {
            stage.world.clear_logs();
            ask(&context, "good.test");
            stage.world.dns_log().len()
        };
        assert_ne!(queries(), 0, "{scene}");
        clock.advance(seconds - 1);
        assert_eq!(queries(), 0, "{scene}: a second before the end");
        clock.advance(1);
        assert_eq!(queries(), 1, "{scene}: at the end");
        assert_eq!(stage.world.https_connections(), 0, "{scene}: the same id needs no fetch");
    }
}
