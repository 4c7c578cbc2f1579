//! Several resolvers, and resolvers that do not do what they should.

use crate::stage::*;
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::Effort;
use mtasts::reason::Reason;
use mtasts_world::{Answer, World};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

/// A port of loopback where UDP and TCP belong to the test.
fn own_port() -> (UdpSocket, TcpListener) {
    (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            TcpListener::bind(udp.local_addr().unwrap()).ok().map(|tcp| (udp, tcp))
        })
        .expect("a port that is free for UDP and TCP")
}

/// How a resolver that is none treats a TCP connection.
#[derive(Clone, Copy, Debug)]
enum Tcp {
    Mute,
    Closes,
}

/// A resolver that answers every query over UDP with the TC flag and none over TCP. It ends with the process.
fn truncating_resolver(tcp: Tcp) -> SocketAddr {
    let (udp, listener) = own_port();
    let address = udp.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut buffer) {
            // RFC 1035 section 4.1.1: QR and TC, then RA.
            buffer[2] |= 0b1000_0010;
            buffer[3] |= 0b1000_0000;
            let _ = udp.send_to(&buffer[..length], client);
        }
    });
    thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            match tcp {
                Tcp::Mute => open.push(stream),
                Tcp::Closes => drop(stream),
            }
        }
    });
    address
}

#[test]
fn a_truncated_answer_without_tcp_is_a_failure_not_an_absence() {
    let stage = Stage::new();
    let limit = Duration::from_secs(3);
    play(&[Tcp::Mute, Tcp::Closes], |number, tcp| {
        let scene = format!("TCP {tcp:?}");
        let settings = Settings {
            cache: stage.directory.path().join(format!("{number}.db")),
            nameservers: vec![truncating_resolver(*tcp)],
            ..stage.settings()
        };
        let context = Context::with_settings(settings);
        let (answer, mut faults) = timed(&scene, limit, || context.query(b"a.test", Effort::default(), Some(limit)));
        faults.extend(nothing(Reason::DnsFailed, "").faults(&scene, &answer));
        faults
    });
}

/// A policy is fetched by the answers of the second nameserver, whatever the first one does.
#[test]
fn a_second_nameserver_helps_where_the_first_cannot() {
    let stage = Stage::new();
    let broken = World::start();
    stage.publish("good.test");
    for name in ["_mta-sts.good.test", "mta-sts.good.test"] {
        broken.dns(name, Answer::ServFail);
    }
    let refusing = World::start();
    for name in ["_mta-sts.good.test", "mta-sts.good.test"] {
        refusing.dns(name, Answer::Refused);
    }
    let (silent, _silent_tcp) = own_port();
    // A connected UDP socket keeps its port and takes nothing from strangers: they are told that it is closed.
    let (closed, closed_tcp) = own_port();
    closed.connect(silent.local_addr().unwrap()).unwrap();
    drop(closed_tcp);
    let rows = [
        ("silence", silent.local_addr().unwrap()),
        ("closed port", closed.local_addr().unwrap()),
        ("servfail", broken.dns_addr()),
        ("refused", refusing.dns_addr()),
        ("no tcp", truncating_resolver(Tcp::Closes)),
    ];
    play(&rows, |number, (scene, first)| {
        let settings = Settings {
            cache: stage.directory.path().join(format!("{number}.db")),
            nameservers: vec![*first, stage.world.dns_addr()],
            ..stage.settings()
        };
        let context = Context::with_settings(settings);
        // A resolver may ask both and heed whichever is faster: once is luck.
        let rounds = if *scene == "silence" { 1 } else { 20 };
        let answers = (0..rounds).map(|_| context.query(b"good.test", REFRESH, None));
        let faults = answers.flat_map(|answer| POLICY.faults(scene, &answer));
        faults.take(1).collect()
    });
}

#[test]
fn a_short_deadline_leaves_time_for_the_second_nameserver() {
    let stage = Stage::new();
    stage.publish("good.test");
    let (silent, _silent_tcp) = own_port();
    let nameservers = vec![silent.local_addr().unwrap(), stage.world.dns_addr()];
    let context = Context::with_settings(Settings { nameservers, ..stage.settings() });
    let answer = context.query(b"good.test", Effort::default(), Some(Duration::from_secs(6)));
    POLICY.check("six seconds for two lookups and a fetch", &answer);
}

#[test]
fn a_nameserver_on_ipv6_is_asked() {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let stage = match World::start_on("[::1]:0".parse().unwrap(), &[local]) {
        Ok(world) => Stage::with_world(world),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return println!("SKIPPED: no IPv6 loopback"),
        Err(error) => panic!("{error}"),
    };
    stage.publish("good.test");
    POLICY.check("[::1]", &ask(&stage.context(), "good.test"));
}
