//! Policy hosts with several addresses, and with addresses to which nobody must be led.

use crate::stage::*;
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::Effort;
use mtasts::reason::Reason;
use mtasts_world::{Answer, Certificate, Record, Response, Site, World, policy_body};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn a(addresses: &[IpAddr]) -> Answer {
    let record = |address: &IpAddr| match address {
        IpAddr::V4(address) => Record::A(*address),
        IpAddr::V6(address) => Record::Aaaa(*address),
    };
    Answer::records(addresses.iter().map(record).collect())
}

/// Connections that fill the queue of a listener that nobody serves: the kernel drops the next SYN, as a black hole
/// does. None where the queue has no end.
fn fill_queue(address: SocketAddr) -> Option<Vec<TcpStream>> {
    let mut waiting = Vec::new();
    for _ in 0..1000 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(stream) => waiting.push(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => return Some(waiting),
            Err(_) => return None,
        }
    }
    None
}

// Conformance: S3.3-19.
#[test]
fn a_bad_address_does_not_hide_a_good_one() {
    let stage = Stage::new();
    let good = stage.world.https_addr().ip();
    let closed = IpAddr::from(CLOSED);
    let (mute, _mute_listener) = mute_listener(&stage.world);
    let (rude, rude_listener) = mute_listener(&stage.world);
    thread::spawn(move || rude_listener.incoming().for_each(drop));
    let (hole, _hole_listener) = mute_listener(&stage.world);
    let queue = fill_queue(SocketAddr::new(hole, stage.world.https_addr().port()));
    let mut rows: Vec<(&str, Vec<IpAddr>)> = vec![
        ("closed", vec![closed, good]),
        ("no handshake", vec![mute, good]),
        ("closed at once", vec![rude, good]),
        ("all kinds", vec![closed, rude, mute, good]),
        ("good first", vec![good, mute]),
        ("no IPv6 listener", vec![Ipv6Addr::LOCALHOST.into(), good]),
    ];
    match queue {
        Some(_) => rows.push(("swallowed SYN", vec![hole, good])),
        None => println!("SKIPPED: the kernel swallows no SYN here"),
    }
    let context = Context::with_settings(Settings { timeout: Duration::from_secs(12), ..stage.settings() });
    play(&rows, |number, (scene, addresses)| {
        let domain = format!("scene-{number}.test");
        stage.publish(&domain);
        stage.world.dns(&format!("mta-sts.{domain}"), a(addresses));
        POLICY.faults(scene, &ask(&context, &domain))
    });
}

#[test]
fn when_every_address_fails_the_one_that_came_furthest_is_told() {
    let stage = Stage::new();
    let good = stage.world.https_addr().ip();
    let closed = IpAddr::from(CLOSED);
    let (mute, _mute_listener) = mute_listener(&stage.world);
    let rows = [
        ("closed", vec![closed], Certificate::Good, Reason::PolicyHostUnreachable),
        ("closed and mute", vec![closed, mute], Certificate::Good, Reason::PolicyHostTimedOut),
        ("mute and expired", vec![mute, good], Certificate::Expired, Reason::PolicyHostCertificateExpired),
        ("expired and closed", vec![good, closed], Certificate::Expired, Reason::PolicyHostCertificateExpired),
    ];
    let (context, limit) = (stage.context(), Duration::from_secs(3));
    play(&rows, |number, (scene, addresses, certificate, reason)| {
        let domain = format!("scene-{number}.test");
        stage.publish(&domain);
        stage.world.site(&format!("mta-sts.{domain}"), Site::new(*certificate, Response::Policy(Vec::new())));
        stage.world.dns(&format!("mta-sts.{domain}"), a(addresses));
        let (answer, mut faults) =
            timed(scene, limit, || context.query(domain.as_bytes(), Effort::default(), Some(limit)));
        faults.extend(nothing(*reason, "").faults(scene, &answer));
        faults
    });
}

#[test]
fn a_host_that_has_spoken_is_not_asked_at_its_other_addresses() {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let there = SocketAddr::from(([127, 0, 0, 3], 0));
    let stage = Stage::with_world(World::start_on(here, &[here, there]).unwrap());
    stage.publish("gone.test");
    stage.world.dns("mta-sts.gone.test", a(&[here.ip(), there.ip()]));
    stage.world.site("mta-sts.gone.test", Site::new(Certificate::Good, Response::with_status(404, &[], b"")));
    nothing(Reason::PolicyHostStatus, "status 404").check("gone.test", &ask(&stage.context(), "gone.test"));
    assert_eq!(stage.requests("gone.test").len(), 1);
}

#[test]
fn hundreds_of_addresses_end_within_the_deadline() {
    let stage = Stage::new();
    stage.publish("many.test");
    let port = stage.world.https_addr().port();
    let last = (1..=250).map(|last| IpAddr::from([127, 0, 3, last]));
    let listeners: Vec<TcpListener> =
        last.filter_map(|address| TcpListener::bind(SocketAddr::new(address, port)).ok()).collect();
    let addresses: Vec<IpAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap().ip()).collect();
    stage.world.dns("mta-sts.many.test", a(&addresses));
    let (context, limit) = (stage.context(), Duration::from_secs(3));
    let (answer, faults) = timed("many.test", limit, || context.query(b"many.test", Effort::default(), Some(limit)));
    report(faults);
    nothing(Reason::PolicyHostTimedOut, "").check("many.test", &answer);
}

#[test]
fn a_policy_host_on_ipv6_alone_is_reached() {
    let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let stage = match World::start_on(dns, &["[::1]:0".parse().unwrap()]) {
        Ok(world) => Stage::with_world(world),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return println!("SKIPPED: no IPv6 loopback"),
        Err(error) => panic!("{error}"),
    };
    stage.publish("good.test");
    POLICY.check("[::1]", &ask(&stage.context(), "good.test"));
}

// Conformance: S3.3-17.
#[test]
fn a_private_address_gets_no_connection_unless_that_is_allowed() {
    let stage = Stage::new();
    let rows: &[&[IpAddr]] = &[
        &[Ipv4Addr::LOCALHOST.into()],
        &[IpAddr::from([127, 0, 0, 2]), IpAddr::from([10, 0, 0, 1])],
        &[Ipv6Addr::LOCALHOST.into()],
        &[Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()],
        &[Ipv4Addr::UNSPECIFIED.into()],
    ];
    let context = Context::with_settings(Settings { allow_private_addresses: false, ..stage.settings() });
    for (number, addresses) in rows.iter().enumerate() {
        let (scene, domain) = (format!("{addresses:?}"), format!("scene-{number}.test"));
        stage.publish(&domain);
        stage.world.remove(&format!("mta-sts.{domain}"));
        stage.world.dns(&format!("mta-sts.{domain}"), a(addresses));
        let answer = ask(&context, &domain);
        nothing(Reason::PolicyHostPrivateAddress, "has the private address").check(&scene, &answer);
        assert!(answer.text().contains(&addresses[0].to_string()), "{}", answer.text());
        assert!(answer.text().contains("allow_private_addresses"), "{}", answer.text());
    }
    assert_eq!(stage.world.https_connections(), 0);
    let body = policy_body("enforce", &["mx.test"], DAY);
    stage.world.publish("allowed.test", "1", body);
    POLICY.check("allowed", &ask(&stage.context(), "allowed.test"));
}
