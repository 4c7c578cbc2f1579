//! Mail through real Postfixes that ask `mtasts-socketmap`: `tests/postfix/run.sh`, case by case. And what is told to them,
//! held against what Postfix documents.
//!
//! The first needs root, what `tests/tools.sh` unpacks and a kernel that allows namespaces; without them it says `SKIPPED`
//! and why. With `MTASTS_NO_SKIP=1` in the environment a skip is a failure.

#[path = "mta/run.rs"]
mod run;
#[path = "postfix/syntax.rs"]
mod syntax;

use mtasts::cache::StoredPolicy;
use mtasts::discovery::{Answer, Source, Text};
use mtasts::reason::Reason;
use mtasts::socketmap::{Dialect, MAX_REPLY_BYTES, reply};
use mtasts::syntax::Policy;
use mtasts::time::UnixTime;
use std::sync::Arc;
use syntax::{Told, read};

#[test]
fn real_postfixes_enforce_the_policies_that_the_server_tells() {
    run::play("postfix");
}

// ---- what is told ----

fn told(mx: &[&str], dialect: Dialect) -> String {
    let mx: String = mx.iter().map(|pattern| format!("mx: {pattern}\r\n")).collect();
    let body = format!("version: STSv1\r\nmode: enforce\r\n{mx}max_age: 604800\r\n");
    let answer = Answer {
        domain: "example.com".into(),
        policy: Some(Arc::new(StoredPolicy::new("1", body.as_bytes(), UnixTime(0)).unwrap())),
        source: Source::Cache,
        is_unknown: false,
        reason: Reason::Cached,
        cause: Reason::Cached,
        text: Text::Said(String::new()),
        is_observed: false,
        story: None,
    };
    reply(&answer, dialect)
}

/// What Postfix gets of it: a reply is `OK`, a blank and the result of the table.
#[track_caller]
fn result(reply: &str) -> &str {
    reply.strip_prefix("OK ").unwrap_or_else(|| panic!("{reply}"))
}

/// The policy of RFC 8461 section 3.2, which TLSRPT_README takes for its examples.
const MX: [&str; 3] = ["mail.example.com", "*.example.net", "backupmx.example.com"];

#[test]
fn the_example_of_the_rfc_is_told_as_tlsrpt_readme_has_it() {
    let wanted = concat!(
        "OK secure match=mail.example.com:.example.net:backupmx.example.com servername=hostname",
        " policy_type=sts policy_domain=example.com",
        " mx_host_pattern=mail.example.com mx_host_pattern=*.example.net mx_host_pattern=backupmx.example.com",
        " { policy_string = version: STSv1 } { policy_string = mode: enforce }",
        " { policy_string = mx: mail.example.com } { policy_string = mx: *.example.net }",
        " { policy_string = mx: backupmx.example.com } { policy_string = max_age: 604800 }",
    );
    assert_eq!(told(&MX, Dialect::PostfixTlsRpt), wanted);
}

#[test]
fn what_is_told_says_the_same_to_a_reader_of_the_documented_syntax() {
    let names: Vec<String> = (0..500).map(|number| format!("m{number}.example.org")).collect();
    let many: Vec<&str> = names.iter().map(String::as_str).collect();
    for mx in [&MX[..], &["a"], &["*.a"], &["MX.Example.COM"], &["xn--bcher-kva.example"], &["0-9.a", "*.0.b"], &many] {
        let lower: Vec<String> = mx.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
        let suffixes: Vec<String> = lower.iter().map(|pattern| pattern.trim_start_matches('*').to_owned()).collect();
        let classic = read(result(&told(mx, Dialect::Postfix)), 9).unwrap();
        let demanded =
            Told { level: "secure".into(), names: suffixes, server_name: Some("hostname".into()), sts: None };
        assert_eq!(classic, demanded);

        let text = told(mx, Dialect::PostfixTlsRpt);
        let mut newer = read(result(&text), 10).unwrap();
        let sts = newer.sts.take().unwrap();
        assert_eq!(newer, demanded);
        assert_eq!((sts.domain.as_str(), &sts.patterns), ("example.com", &lower));
        let published = Policy::parse(format!("{}\r\n", sts.lines.join("\r\n")).as_bytes()).unwrap();
        let reported: Vec<&str> = published.mx().iter().map(|pattern| pattern.as_str()).collect();
        assert_eq!((reported, published.max_age()), (lower.iter().map(String::as_str).collect(), 604_800));
    }
}

#[test]
fn older_postfix_refuses_what_only_newer_reads() {
    let text = told(&MX, Dialect::PostfixTlsRpt);
    assert_eq!(read(result(&text), 9).unwrap_err(), "invalid attribute name: policy_type");
}

#[test]
fn the_longest_policies_are_told_within_what_postfix_reads() {
    // 64 KiB, the longest body, in the shortest lines.
    let mx = vec!["a"; 9_000];
    let classic = told(&mx, Dialect::Postfix);
    assert_eq!(read(result(&classic), 9).unwrap().names.len(), 9_000);
    for count in [100, 1_500, 2_500, 9_000] {
        let text = told(&mx[..count], Dialect::PostfixTlsRpt);
        assert!(text.len() <= MAX_REPLY_BYTES, "{} bytes", text.len());
        let told = read(result(&text), 10).unwrap();
        assert_eq!(told.names.len(), count);
        // Where Postfix can check the MX host, it has all the patterns to do so.
        assert!(told.sts.is_none_or(|sts| sts.patterns.len() == count && sts.lines.len() >= 3));
    }
}

#[test]
fn words_with_another_meaning_are_not_told_as_names() {
    for mx in [&["hostname", "a.example"][..], &["NextHop", "a.example"], &["dot-nexthop", "192.0.2.1", "a.example"]] {
        for (dialect, minor) in [(Dialect::Postfix, 9), (Dialect::PostfixTlsRpt, 10)] {
            assert_eq!(read(result(&told(mx, dialect)), minor).unwrap().names, ["a.example"], "{mx:?}");
        }
    }
}
