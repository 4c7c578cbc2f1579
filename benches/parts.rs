//! Measures the pure parts in Rust: `cargo bench --bench parts [-- FILTER]`.

use criterion::{Criterion, criterion_group, criterion_main};
use mtasts::decision::{Dane, Decision};
use mtasts::discovery::Answer;
use mtasts::syntax::{MxHost, Policy, PolicyDomain, any_match, select_record};
use mtasts::time::{Clock, SystemClock};
use std::hint::black_box;
use std::time::Duration;

/// As large providers publish it.
const POLICY: &[u8] =
    b"version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: mx2.example.com\r\nmx: *.mail.example.com\r\nmax_age: 604800\r\n";
const RECORDS: [&[u8]; 3] =
    [b"v=spf1 -all", b"google-site-verification=0123456789abcdef", b"v=STSv1; id=20260101000000Z;"];

/// A body of 65536 bytes at most with as many patterns as fit.
fn large_policy() -> Vec<u8> {
    let mut body = b"version: STSv1\nmode: enforce\nmax_age: 604800\n".to_vec();
    for number in 0..2_500 {
        body.extend_from_slice(format!("mx: mx{number:05}.example.com\n").as_bytes());
    }
    body
}

fn parts(criterion: &mut Criterion) {
    let large = large_policy();
    criterion
        .bench_function("policy, 3 patterns", |bencher| bencher.iter(|| Policy::parse(black_box(POLICY)).unwrap()));
    criterion.bench_function("policy, 2500 patterns", |bencher| {
        bencher.iter(|| Policy::parse(black_box(&large)).unwrap());
    });
    criterion.bench_function("record, one of three", |bencher| bencher.iter(|| select_record(black_box(RECORDS))));
    for (name, domain) in [
        ("domain, plain", &b"mail.example.com"[..]),
        ("domain, capitals and dot", b"Mail.Example.COM."),
        ("domain, U-label", "b\u{fc}cher.example".as_bytes()),
    ] {
        criterion.bench_function(name, |bencher| bencher.iter(|| PolicyDomain::parse(black_box(domain)).unwrap()));
    }
    for (name, body, host) in [
        ("mx match, last of 3", POLICY, &b"a.mail.example.com"[..]),
        ("mx match, none of 2500", &large, b"mx1.elsewhere.example"),
    ] {
        let policy = Policy::parse(body).unwrap();
        let host = MxHost::parse(host).unwrap();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| any_match(black_box(policy.mx()), black_box(&host)));
        });
    }
    let answer = Answer::parsed(POLICY, SystemClock.now()).unwrap();
    for (name, host) in [("decision, listed", &b"mx2.example.com"[..]), ("decision, not listed", b"mx.evil.example")] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| Decision::of(black_box(&answer), black_box(host), Dane::NotChecked, true));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = parts
}
criterion_main!(benches);
