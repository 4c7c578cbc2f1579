//! What a fetch costs without the library, and without its cache, in a process of its own, so that the processor time is
//! that of the client alone. All have the library's roots and TLS configuration.

use crate::field::processor_time;
use mtasts::config::Settings;
use mtasts::syntax::PolicyDomain;
use mtasts::time::Deadline;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The program's first argument in such a process.
pub const WORD: &str = "fetch";

/// How a policy is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The least that it can cost: one DNS query, one TLS handshake with the certificate verified, one GET.
    Bare,
    /// The same with the three queries that the library needs: for the record, for both families of addresses.
    ThreeQueries,
    /// The library's DNS and HTTPS without its cache.
    Uncached,
}

/// What a process needs to know.
struct World {
    dns: SocketAddr,
    https: SocketAddr,
    tls: Arc<ClientConfig>,
    settings: Settings,
}

/// Fetches the policy of each domain: WAY DNS HTTPS CA-FILE THREADS DOMAIN... The first one comes before the measurement.
/// Prints nanoseconds: of the first, the median of the others, all of them by their number, and of processor time.
pub fn run(arguments: &[String]) {
    let [way, dns, https, ca_file, threads, first, domains @ ..] = arguments else { panic!("{arguments:?}") };
    let ways = [Way::Bare, Way::ThreeQueries, Way::Uncached];
    let way = *ways.iter().find(|known| format!("{known:?}") == *way).unwrap();
    let (dns, https): (SocketAddr, SocketAddr) = (dns.parse().unwrap(), https.parse().unwrap());
    let threads: usize = threads.parse().unwrap();
    let began = Instant::now();
    let tls = mtasts::tls::Trust::new(Some(PathBuf::from(ca_file))).client_config().unwrap();
    let settings = Settings {
        nameservers: vec![dns],
        https_port: https.port(),
        allow_private_addresses: true,
        ..Settings::default()
    };
    let world = World { dns, https, tls, settings };
    world.fetch(way, first);
    let first = began.elapsed();

    let used = processor_time(libc::RUSAGE_SELF);
    let began = Instant::now();
    let mut each: Vec<Duration> = std::thread::scope(|scope| {
        let work = |start: usize| {
            let world = &world;
            move || -> Vec<Duration> {
                let share = domains.iter().skip(start).step_by(threads);
                share
                    .map(|domain| {
                        let began = Instant::now();
                        world.fetch(way, domain);
                        began.elapsed()
                    })
                    .collect()
            }
        };
        let handles: Vec<_> = (0..threads).map(|start| scope.spawn(work(start))).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    let all = began.elapsed();
    let used = processor_time(libc::RUSAGE_SELF) - used;
    each.sort();
    let count = u32::try_from(domains.len()).unwrap();
    let median = each[each.len() / 2];
    println!("{} {} {} {}", first.as_nanos(), median.as_nanos(), (all / count).as_nanos(), (used / count).as_nanos());
}

impl World {
    fn fetch(&self, way: Way, domain: &str) {
        if way == Way::Uncached {
            return self.fetch_by_the_library(domain);
        }
        let record = ask(self.dns, &format!("_mta-sts.{domain}"), TXT);
        assert!(record.windows(8).any(|window| window == b"v=STSv1;"), "{domain} has an STS record");
        if way == Way::ThreeQueries {
            for kind in [A, AAAA] {
                ask(self.dns, &format!("mta-sts.{domain}"), kind);
            }
        }
        get(self.https, &self.tls, domain);
    }

    fn fetch_by_the_library(&self, domain: &str) {
        let domain = PolicyDomain::parse(domain.as_bytes()).unwrap();
        let deadline = Deadline::after(self.settings.deadline);
        let record = mtasts::dns::txt(&self.settings, &domain.record_name(), deadline);
        assert!(matches!(record, mtasts::dns::Answer::Found { .. }), "{domain} has an STS record");
        mtasts::https::fetch(&self.settings, &self.tls, &domain, deadline).unwrap();
    }
}

fn get(https: SocketAddr, tls: &Arc<ClientConfig>, domain: &str) {
    let host = format!("mta-sts.{domain}");
    let socket = TcpStream::connect(https).unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from(host.clone()).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(tls), name).unwrap(), socket);
    // In one piece: each write is a packet.
    let request = format!("GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = vec![0; 4096];
    let length = stream.read(&mut response).unwrap();
    response.truncate(length);
    assert!(
        response.starts_with(b"HTTP/1.1 200 ") && response.ends_with(b"max_age: 604800\r\n"),
        "{domain} has a policy"
    );
}

const A: u8 = 1;
const TXT: u8 = 16;
const AAAA: u8 = 28;

/// Asks for records over UDP; returns the datagram that comes.
fn ask(dns: SocketAddr, name: &str, kind: u8) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, kind, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&query, dns).unwrap();
    let mut reply = vec![0; 1232];
    let length = socket.recv(&mut reply).unwrap();
    reply.truncate(length);
    reply
}
