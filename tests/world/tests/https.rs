//! The HTTPS server and the certificates as a client sees them.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{connect, eventually, get, request, tls};
use mtasts_world::{Certificate, Hook, Response, Site, World, policy_body};

const PATH: &str = "/.well-known/mta-sts.txt";

fn raw(text: &str) -> Response {
    Response::Raw(text.into())
}

#[test]
fn a_published_policy_is_there_under_its_path_only() {
    let world = World::start();
    let body = policy_body("enforce", &["mx.good.test", "*.good.test"], 86400);
    world.publish("good.test", "1", body.as_str());
    let (answer, end) = get(&world, "mta-sts.good.test", PATH);
    end.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    assert!(answer.contains("\r\nContent-Type: text/plain\r\n"));
    assert_eq!(body, "version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmx: *.good.test\r\nmax_age: 86400\r\n");
    assert!(get(&world, "mta-sts.good.test", "/").0.starts_with("HTTP/1.1 404 "));
    let log = world.https_log();
    assert_eq!((log.len(), world.https_connections()), (2, 2));
    assert_eq!((log[0].sni.as_deref(), log[0].tls.as_str()), (Some("mta-sts.good.test"), "TLSv1.3"));
    assert_eq!(log[0].head, format!("GET {PATH} HTTP/1.1\r\nHost: mta-sts.good.test\r\n\r\n"));
    world.clear_logs();
    assert_eq!((world.https_log().len(), world.https_events().len(), world.https_connections()), (0, 0, 0));
}

#[test]
fn each_certificate_is_accepted_or_refused_for_its_own_reason() {
    let world = World::start();
    let reason = |certificate| {
        world.site("mta-sts.good.test", Site::new(certificate, raw("x")));
        match tls(&world, "mta-sts.good.test", connect(world.https_addr())) {
            Ok(_) => "accepted".to_string(),
            Err(error) => error.to_string(),
        }
    };
    for (name, certificate) in Certificate::ALL {
        let wanted = match certificate {
            Certificate::Good | Certificate::Wildcard | Certificate::NoEku => "accepted",
            Certificate::WrongName | Certificate::CnOnly | Certificate::NoDnsId => "not valid for name",
            Certificate::TwoLevelWildcard | Certificate::PartialWildcard => "invalid peer certificate",
            Certificate::Expired | Certificate::ExpiredIntermediate => "expired",
            Certificate::NotYetValid => "not valid yet",
            Certificate::SelfSigned | Certificate::UnknownCa | Certificate::NoIntermediate => "UnknownIssuer",
            Certificate::SelfSignedCa => "CaUsedAsEndEntity",
            Certificate::WrongSignature => "BadSignature",
            Certificate::SignedByServer => "EndEntityUsedAsCa",
            Certificate::ClientOnlyEku => "extended key usage",
        };
        let reason = reason(certificate);
        assert!(reason.contains(wanted), "{name}: {reason}");
    }
    let failed = |line: &String| line.contains("handshake-failed sni=mta-sts.good.test received fatal alert: ");
    eventually(|| world.https_events().iter().filter(|line| failed(line)).count() == Certificate::ALL.len() - 3);
    assert!(world.https_log().is_empty());
}

#[test]
fn the_chain_of_a_name_is_the_one_its_server_shows() {
    let world = World::start();
    world.site("a.test", Site::new(Certificate::Good, raw("x")));
    let stream = tls(&world, "a.test", connect(world.https_addr())).unwrap();
    let shown: Vec<Vec<u8>> = stream.conn.peer_certificates().unwrap().iter().map(|der| der.to_vec()).collect();
    let (chain, key) = world.certificate_chain("A.test", Certificate::Good);
    assert_eq!(chain, shown);
    assert!(!key.is_empty());
    // The subject key identifier is made of the same digest's first 20 bytes.
    let digest = world.leaf_key_sha256();
    assert!(digest.len() == 32 && chain[0].windows(20).any(|window| window == &digest[..20]));
    let pem = std::fs::read_to_string(world.ca_file()).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn raw_answers_end_politely_and_cut_ones_do_not() {
    let world = World::start();
    world.site("a.test", Site::new(Certificate::Good, raw("anything at all")));
    let (answer, end) = get(&world, "a.test", PATH);
    assert_eq!((answer.as_str(), end.is_ok()), ("anything at all", true));
    world.site("a.test", Site::new(Certificate::Good, Response::RawThenCut(b"anything at".to_vec())));
    let (answer, end) = get(&world, "a.test", PATH);
    assert_eq!((answer.as_str(), end.unwrap_err().kind()), ("anything at", ErrorKind::UnexpectedEof));
    world.site("a.test", Site::new(Certificate::Good, Response::with_status(301, &["Location: /x"], b"")));
    assert!(get(&world, "a.test", PATH).0.contains("HTTP/1.1 301 Moved Permanently\r\n"));
}

#[test]
fn slow_and_endless_answers() {
    let world = World::start();
    let pause = Duration::from_millis(5);
    world.site("a.test", Site::new(Certificate::Good, Response::Drip { bytes: b"0123456789".to_vec(), pause }));
    let started = Instant::now();
    assert_eq!(get(&world, "a.test", PATH).0, "0123456789");
    assert!(started.elapsed() >= 9 * pause);
    let endless = Response::Endless { head: b"head".to_vec(), chunk: vec![b'x'; 1000] };
    world.site("a.test", Site::new(Certificate::Good, endless));
    let mut first = vec![0; 300_000];
    request(&world, "a.test", PATH).unwrap().read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"headxxx") && first.ends_with(b"xxx"));
}

#[test]
fn an_answer_in_parts_waits_for_the_test_and_an_old_server_is_refused() {
    let world = World::start();
    let calls = Arc::new(AtomicUsize::new(0));
    let hook = Hook(Arc::new({
        let calls = calls.clone();
        move || _ = calls.fetch_add(1, Ordering::SeqCst)
    }));
    let parts = Response::Then(b"HTTP/1.1 200 ".to_vec(), Box::new(raw("OK")));
    world.site("a.test", Site::new(Certificate::Good, Response::After(hook, Box::new(parts))));
    let (answer, end) = get(&world, "a.test", PATH);
    end.unwrap();
    assert_eq!((answer.as_str(), calls.load(Ordering::SeqCst)), ("HTTP/1.1 200 OK", 1));
    world.site("a.test", Site::new(Certificate::Good, Response::Tls11));
    let error = tls(&world, "a.test", connect(world.https_addr())).map(drop).unwrap_err().to_string();
    assert!(error.contains("ServerDoesNotSupportTls12Or13"), "{error}");
}

#[test]
fn silent_sites_hold_the_connection_until_the_world_ends() {
    let world = World::start();
    world.site("a.test", Site::new(Certificate::Good, Response::Silent));
    world.site("b.test", Site::new(Certificate::Good, Response::NoHandshake));
    let mut silent = request(&world, "a.test", PATH).unwrap();
    eventually(|| world.https_log().len() == 1);
    silent.sock.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let stream = connect(world.https_addr());
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = tls(&world, "b.test", stream).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let endless = Response::Drip { bytes: vec![b'x'; 9], pause: Duration::from_secs(600) };
    world.site("a.test", Site::new(Certificate::Good, endless));
    let _dripping = request(&world, "a.test", PATH).unwrap();
    eventually(|| world.https_log().len() == 2);
    let started = Instant::now();
    drop(world);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_server_that_is_off_closes_every_connection() {
    let world = World::start();
    world.publish("good.test", "1", "x");
    world.https_off(true);
    assert!(tls(&world, "mta-sts.good.test", connect(world.https_addr())).is_err());
    world.https_off(false);
    get(&world, "mta-sts.good.test", PATH).1.unwrap();
    assert_eq!((world.https_connections(), world.https_log().len()), (2, 1));
}

#[test]
fn unknown_sites_and_old_versions() {
    let world = World::start();
    assert!(tls(&world, "nobody.test", connect(world.https_addr())).is_err());
    assert!(get(&world, "unknown.test", PATH).0.starts_with("HTTP/1.1 404 "));
    world.site("old.test", Site { certificate: Certificate::Good, response: raw("x"), tls12_only: true });
    get(&world, "old.test", PATH).1.unwrap();
    assert_eq!(world.https_log().last().unwrap().tls, "TLSv1.2");
    world.remove_site("old.test");
    assert!(tls(&world, "old.test", connect(world.https_addr())).is_err());
    connect(world.https_addr()).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    eventually(|| world.https_events().last().unwrap().contains("handshake-failed "));
}

#[test]
fn several_addresses_share_one_port() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let dns = address("127.0.0.1:0");
    let world = World::start_on(dns, &[address("127.0.0.1:0"), address("127.0.0.2:0")]).unwrap();
    let port = world.https_addr().port();
    for ip in ["127.0.0.1", "127.0.0.2"] {
        tls(&world, "unknown.test", connect(SocketAddr::new(ip.parse().unwrap(), port))).unwrap();
    }
}
