//! A small internet on loopback for the tests of libmtasts: a DNS server, an HTTPS server, SMTP receivers and a
//! throw-away CA, on plain threads.
//!
//! A [`World`] starts empty; a test publishes policies and breaks things while it runs:
//!
//! ```
//! use mtasts_world::{Answer, Certificate, Response, Site, World, policy_body};
//!
//! let world = World::start();
//! world.publish("good.test", "1", policy_body("enforce", &["mx.good.test"], 86400));
//! world.dns("_mta-sts.good.test", Answer::ServFail);
//! world.site("mta-sts.good.test", Site::new(Certificate::Expired, Response::Silent));
//! ```
//!
//! Ports are picked by the kernel unless given, everything ends when the `World` is dropped, and nothing is printed.
//! It serves tests only: a caller's mistake (a name that is none) panics.

mod ca;
mod dns;
mod https;
pub mod scene;
mod serve;
mod smtp;
mod tls;
pub mod words;
mod zone;

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

pub use ca::Certificate;
pub use hickory_proto::rr::RecordType;
pub use https::{Hook, HttpsRequest, Response, Site};
pub use smtp::{Smtp, Starttls};
pub use zone::{Answer, DEFAULT_NEGATIVE_TTL, DEFAULT_TTL, Record};

/// A user that the machine does not know, and its group: who delivers mail where a test runs as root.
pub const MAIL: u32 = 54_321;

/// Whether a task has become [`MAIL`] for good, by its status in /proc: each of its users and groups, and no capability.
pub fn is_mail_for_good(status: &str) -> bool {
    let four = [MAIL; 4].map(|id| id.to_string()).join("\t");
    let wanted =
        [("Uid:", &*four), ("Gid:", &four), ("Groups:", ""), ("CapPrm:", NO_CAPABILITY), ("CapEff:", NO_CAPABILITY)];
    wanted.iter().all(|(name, value)| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        found.is_some_and(|found| found.trim() == *value)
    })
}

const NO_CAPABILITY: &str = "0000000000000000";

/// The servers and the CA. Dropping it stops them and, unless the directory was given, removes their files.
pub struct World {
    dns: dns::DnsServer,
    https: https::HttpsServer,
    smtp: smtp::SmtpServers,
    ca: Arc<ca::Ca>,
    ca_file: PathBuf,
    directory: PathBuf,
    /// Removed last.
    _temporary: Option<TempDir>,
}

impl World {
    /// DNS and HTTPS on 127.0.0.1, files in a temporary directory.
    pub fn start() -> World {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        World::start_on(any_port, &[any_port]).expect("a world on loopback")
    }

    /// DNS and HTTPS on these addresses, files in a temporary directory. Port 0 lets the kernel choose; in a later
    /// HTTPS address it means the port of the first one.
    pub fn start_on(dns: SocketAddr, https: &[SocketAddr]) -> io::Result<World> {
        let temporary = tempfile::Builder::new().prefix("mtasts-world").tempdir()?;
        let mut world = World::start_in(temporary.path(), dns, https)?;
        world._temporary = Some(temporary);
        Ok(world)
    }

    /// The same, with files in this directory, which is made if need be and stays.
    pub fn start_in(directory: &Path, dns: SocketAddr, https: &[SocketAddr]) -> io::Result<World> {
        std::fs::create_dir_all(directory)?;
        let ca = Arc::new(ca::Ca::new().map_err(io::Error::other)?);
        let ca_file = directory.join("ca.pem");
        std::fs::write(&ca_file, ca.root_pem())?;
        Ok(World {
            dns: dns::DnsServer::start(dns, &directory.join("dns.log"))?,
            https: https::HttpsServer::start(https, ca.clone(), &directory.join("https.log"))?,
            smtp: smtp::SmtpServers::new(ca.clone(), &directory.join("mail"), &directory.join("smtp.log"))?,
            ca,
            ca_file,
            directory: directory.to_path_buf(),
            _temporary: None,
        })
    }

    /// Where DNS answers, over UDP and TCP.
    pub fn dns_addr(&self) -> SocketAddr {
        self.dns.address()
    }

    /// The first address where HTTPS answers.
    pub fn https_addr(&self) -> SocketAddr {
        self.https.address()
    }

    /// The trusted root as a PEM file.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The trusted root, DER.
    pub fn ca_der(&self) -> &[u8] {
        self.ca.root_der()
    }

    /// Holds `ca.pem`, `dns.log`, `https.log`, `smtp.log` and `mail/`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a directory for a cache, of the user who delivers mail, and returns the path of a file that is not there yet.
    pub fn make_cache(&self) -> PathBuf {
        let directory = self.directory.join("cache");
        DirBuilder::new().mode(0o750).create(&directory).expect("a directory for a cache");
        self.hand_over(&directory);
        directory.join("cache.db")
    }

    /// Where the test runs as root, gives a directory to [`MAIL`], since no program of ours uses a cache of root's, and
    /// lets everybody pass through the directory of this world.
    pub fn hand_over(&self, directory: &Path) {
        if std::fs::metadata(directory).expect("a directory").uid() == 0 {
            std::os::unix::fs::chown(directory, Some(MAIL), Some(MAIL)).expect("a directory of the mail user");
            let passable = Permissions::from_mode(0o711);
            std::fs::set_permissions(&self.directory, passable).expect("a directory to pass through");
        }
    }

    /// The chain (DER, the server's certificate first, the root left out) and the private key (PKCS #8 DER) with which
    /// a server called `name` shows `certificate`. All certificates have the same key.
    pub fn certificate_chain(&self, name: &str, certificate: Certificate) -> (Vec<Vec<u8>>, Vec<u8>) {
        let chain =
            self.ca.chain(name, certificate).unwrap_or_else(|error| panic!("certificate for {name:?}: {error}"));
        (chain, self.ca.leaf_key_der().to_vec())
    }

    /// A good chain, but for an extension in the server's certificate that is critical and that nobody knows.
    pub fn chain_with_critical_extension(&self, name: &str) -> Vec<Vec<u8>> {
        self.ca.chain_with_critical_extension(name).unwrap_or_else(|error| panic!("certificate for {name:?}: {error}"))
    }

    /// A good certificate under so many authorities, one below the other, the first below the trusted root.
    pub fn deep_chain(&self, name: &str, authorities: usize) -> Vec<Vec<u8>> {
        self.ca.deep_chain(name, authorities).unwrap_or_else(|error| panic!("certificate for {name:?}: {error}"))
    }

    /// A good certificate without its intermediate, behind it so many impostors that have the intermediate's name, each
    /// with a key of its own, and claim to be signed by one another.
    pub fn chain_of_namesakes(&self, name: &str, count: usize) -> Vec<Vec<u8>> {
        self.ca.chain_of_namesakes(name, count).unwrap_or_else(|error| panic!("certificate for {name:?}: {error}"))
    }

    /// The data of the TLSA record `3 1 1` that fits every server certificate.
    pub fn leaf_key_sha256(&self) -> Vec<u8> {
        self.ca.leaf_key_sha256()
    }

    /// Sets the answer for a name. Records replace those of the same types; any other answer replaces the whole name
    /// and holds for every type for which no records are set afterwards.
    pub fn dns(&self, name: &str, answer: Answer) {
        self.dns.with_zone(|zone| zone.set(name, &answer)).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Sets the answer for one type of a name. It wins over an answer for the whole name.
    pub fn dns_type(&self, name: &str, record_type: RecordType, answer: Answer) {
        self.dns.with_zone(|zone| zone.set_type(name, record_type, &answer)).unwrap_or_else(|error| panic!("{error}"));
    }

    /// From now on a response that rests on this name has the AD flag, for clients that set AD or DO. Over a CNAME
    /// every name of the chain must be authentic.
    pub fn dns_authentic(&self, name: &str) {
        self.dns.with_zone(|zone| zone.set_authentic(name));
    }

    /// One TXT record, cut into strings of 255 bytes.
    pub fn txt(&self, name: &str, text: &str) {
        self.dns(name, Answer::record(Record::txt(text)));
    }

    /// One A record.
    pub fn a(&self, name: &str, address: Ipv4Addr) {
        self.address(name, address.into());
    }

    /// One A or AAAA record.
    pub fn address(&self, name: &str, address: IpAddr) {
        self.dns(
            name,
            Answer::record(match address {
                IpAddr::V4(address) => Record::A(address),
                IpAddr::V6(address) => Record::Aaaa(address),
            }),
        );
    }

    /// Forgets everything DNS knows about a name.
    pub fn remove(&self, name: &str) {
        self.dns.with_zone(|zone| zone.remove(name));
    }

    /// A DNS server that is off hears every query and answers none.
    pub fn dns_off(&self, off: bool) {
        self.dns.set_off(off);
    }

    /// One line per query received, answered or not: `TXT _mta-sts.good.test`.
    pub fn dns_log(&self) -> Vec<String> {
        self.dns.log()
    }

    /// Sets what the HTTPS server does for a host, by the name in the TLS greeting.
    pub fn site(&self, host: &str, site: Site) {
        self.https.set_site(host, site);
    }

    /// Forgets a host of the HTTPS server.
    pub fn remove_site(&self, host: &str) {
        self.https.remove_site(host);
    }

    /// An HTTPS server that is off closes every connection at once.
    pub fn https_off(&self, off: bool) {
        self.https.set_off(off);
    }

    /// Every request that got as far as its head.
    pub fn https_log(&self) -> Vec<HttpsRequest> {
        self.https.requests()
    }

    /// What happened on the HTTPS server, failed handshakes too: `127.0.0.1:4433 handshake-failed sni=... reason`.
    pub fn https_events(&self) -> Vec<String> {
        self.https.events()
    }

    /// TCP connections that the HTTPS server accepted, also while it was off.
    pub fn https_connections(&self) -> usize {
        self.https.connections()
    }

    /// Publishes a policy: TXT record with this id, address of the policy host, site with a good certificate.
    pub fn publish(&self, domain: &str, id: &str, body: impl Into<Vec<u8>>) {
        self.txt(&format!("_mta-sts.{domain}"), &format!("v=STSv1; id={id};"));
        self.address(&format!("mta-sts.{domain}"), serve::reachable(self.https_addr()).ip());
        self.site(&format!("mta-sts.{domain}"), Site::new(Certificate::Good, Response::Policy(body.into())));
    }

    /// Publishes a policy of each mode: good.test enforces, and testing.test and none.test are what their names say.
    pub fn publish_modes(&self) {
        let week = 604_800;
        self.publish("good.test", "a1", policy_body("enforce", &["mx.good.test", "*.good.test"], week));
        self.publish("testing.test", "a1", policy_body("testing", &["mx.testing.test"], week));
        self.publish("none.test", "a1", policy_body("none", &[], week));
    }

    /// Starts an SMTP receiver and says where it listens (port 0 lets the kernel choose), or changes the one that
    /// listens there already.
    pub fn smtp(&self, address: SocketAddr, smtp: Smtp) -> io::Result<SocketAddr> {
        self.smtp.start(address, smtp)
    }

    /// One line per event: `127.0.0.2:25 connect`, `127.0.0.2:25 starttls sni=mx.good.test version=TLSv1.3`,
    /// `127.0.0.2:25 delivered from=<a@b> to=<c@d> tls=yes`, `127.0.0.2:25 handshake-failed sni=... reason`.
    pub fn smtp_log(&self) -> Vec<String> {
        self.smtp.log()
    }

    /// Empties all logs, the files too, and the count of HTTPS connections.
    pub fn clear_logs(&self) {
        self.dns.clear_log();
        self.https.clear_logs();
        self.smtp.clear_log();
    }
}

/// A well-formed policy (RFC 8461 section 3.2) with CRLF line ends.
pub fn policy_body(mode: &str, mx: &[&str], max_age: u64) -> String {
    let mx: String = mx.iter().map(|pattern| format!("mx: {pattern}\r\n")).collect();
    format!("version: STSv1\r\nmode: {mode}\r\n{mx}max_age: {max_age}\r\n")
}

/// A host name as key: lower case, no final dot.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Locks; a panic elsewhere does not matter to a test server.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
