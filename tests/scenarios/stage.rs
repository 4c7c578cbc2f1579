//! What a scene is played on: a world, a cache directory, and a wall clock that the scene moves.

use crate::grammar::{Act, Dns, Https};
use crate::vectors;
use mtasts::config::Settings;
use mtasts::time::{Clock, SystemClock, UnixTime};
use mtasts_world::{Answer, Hook, Record, RecordType, Response, Site, World, policy_body};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

pub const DOMAIN: &str = "example.test";
const HOST: &str = "mta-sts.example.test";
const RECORD: &str = "_mta-sts.example.test";
/// What stands below a status that makes it worth nothing.
const POLICY: &[u8] = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmax_age: 604800\r\n";
const PLAIN: &str = "Content-Type: text/plain";
/// On this address of loopback the port of the world's HTTPS server is closed.
const CLOSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The wall clock of a scene.
#[derive(Clone)]
pub struct SceneClock {
    start: i64,
    /// Since the start of the scene.
    time: Arc<AtomicI64>,
    /// All steps of the clock together.
    steps: Arc<AtomicI64>,
}

impl Clock for SceneClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.start + self.time.load(Ordering::SeqCst) + self.steps.load(Ordering::SeqCst))
    }
}

pub struct Stage {
    pub world: World,
    pub clock: SceneClock,
    directory: TempDir,
    /// The policy that is served, where one is.
    pub served: Option<Vec<u8>>,
    /// Nobody serves these.
    listeners: Vec<TcpListener>,
    connections: Vec<TcpStream>,
    site: Option<Site>,
}

impl Stage {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        let clock = SceneClock { start: SystemClock.now().0, time: Arc::default(), steps: Arc::default() };
        let world = World::start();
        world.address(HOST, world.https_addr().ip());
        Self { world, clock, directory, served: None, listeners: Vec::new(), connections: Vec::new(), site: None }
    }

    /// Half of the deadline is what a policy host must be given to be blamed for its silence.
    pub fn settings(&self) -> Settings {
        Settings {
            cache: self.directory.path().join("cache.db"),
            nameservers: vec![self.world.dns_addr()],
            https_port: self.world.https_addr().port(),
            ca_file: Some(self.world.ca_file().to_owned()),
            allow_private_addresses: true,
            deadline: Duration::from_secs(10),
            ..Settings::default()
        }
    }

    /// Lets time pass until a step begins.
    pub fn begin(&self, seconds: i64) {
        self.clock.time.store(seconds, Ordering::SeqCst);
        if let Some(site) = &self.site {
            self.world.site(HOST, site.clone());
        }
        self.world.clear_logs();
    }

    /// Does what changes the world.
    pub fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Dns(dns) => self.world.dns_type(RECORD, RecordType::TXT, record_answer(dns)),
            Act::Https(https) => {
                self.served = body(https)?;
                let body = self.served.clone().unwrap_or_default();
                let site = Site::new(https.certificate, self.response(https, &body));
                self.world.site(HOST, site.clone());
                self.site = Some(site);
                self.world.https_off(https.what == "closing");
            }
            Act::Address(lookups) => {
                let answers = lookups.iter().map(|lookup| self.lookup(lookup)).collect::<Result<_, _>>()?;
                self.world.dns_type(HOST, RecordType::A, Answer::InTurn(answers));
            }
            Act::World(line) => mtasts_world::scene::apply(&self.world, "world", line.as_bytes())?,
            Act::Clock { by, is_during_fetch: false } => _ = self.clock.steps.fetch_add(*by, Ordering::SeqCst),
            Act::Clock { by, .. } => {
                let mut site = self.site.clone().ok_or("no policy host to fetch from, want https= before")?;
                let (steps, by) = (Arc::clone(&self.clock.steps), *by);
                let step = Hook(Arc::new(move || _ = steps.fetch_add(by, Ordering::SeqCst)));
                site.response = Response::After(step, Box::new(site.response));
                self.world.site(HOST, site);
            }
            Act::Set(..) | Act::Restart => {}
        }
        Ok(())
    }

    fn lookup(&mut self, lookup: &[String]) -> Result<Answer, String> {
        let mut records = Vec::new();
        for word in lookup {
            records.push(Record::A(match word.as_str() {
                "here" => Ipv4Addr::LOCALHOST,
                "closed" => CLOSED,
                "mute" => self.mute(),
                "hole" => self.hole()?,
                other => match other.parse() {
                    Ok(address) => address,
                    Err(_) if lookup.len() == 1 => return Ok(failed(other, 60)),
                    Err(_) => return Err(format!("{other} among addresses")),
                },
            }));
        }
        Ok(Answer::records(records))
    }

    /// An address where the kernel makes connections that get no answer.
    fn mute(&mut self) -> Ipv4Addr {
        let port = self.world.https_addr().port();
        let bind = |last| Some((last, TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), port)).ok()?));
        let (last, listener) = (100..250).find_map(bind).expect("an address where the port is free");
        self.listeners.push(listener);
        Ipv4Addr::new(127, 0, 0, last)
    }

    /// An address where the queue of connections is full: the kernel drops a further SYN, as a black hole does.
    fn hole(&mut self) -> Result<Ipv4Addr, String> {
        let hole = self.mute();
        let address = SocketAddr::from((hole, self.world.https_addr().port()));
        for _ in 0..1000 {
            match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
                Ok(stream) => self.connections.push(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(hole),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the kernel swallows no SYN here".to_owned())
    }

    fn response(&self, https: &Https, body: &[u8]) -> Response {
        let head =
            |status: &str, lines: &[&str]| [status, "\r\n", &lines.join("\r\n"), "\r\n\r\n"].concat().into_bytes();
        let ok = |lines: &[&str]| head("HTTP/1.1 200 OK", &[&[PLAIN], lines].concat());
        let length = |length: usize| format!("Content-Length: {length}");
        let whole = |head: Vec<u8>| [&head, body].concat();
        let drip = |bytes: &[u8]| Response::Drip { bytes: bytes.to_vec(), pause: Duration::from_secs(1) };
        let itself = format!("Location: https://{HOST}:{}/.well-known/mta-sts.txt", self.world.https_addr().port());
        match (https.what.as_str(), https.what.parse()) {
            ("silent", _) => return Response::Silent,
            ("no-handshake" | "closing", _) => return Response::NoHandshake,
            ("tls1.1", _) => return Response::Tls11,
            (_, Ok(status)) => return Response::with_status(status, &[PLAIN, &itself], POLICY),
            _ => {}
        }
        match https.shape.as_str() {
            "chunked" | "broken-chunks" => {
                let size = if https.shape == "chunked" { format!("{:x}", body.len()) } else { "xyz".to_owned() };
                let chunks = [size.as_bytes(), b"\r\n", body, b"\r\n0\r\n\r\n"].concat();
                Response::Raw([ok(&["Transfer-Encoding: chunked"]), chunks].concat())
            }
            "short" => Response::Raw(whole(ok(&[&length(body.len() + 10)]))),
            "long" => Response::Raw(whole(ok(&[&length(body.len() - 10)]))),
            "gzip" => Response::Raw(whole(ok(&["Content-Encoding: gzip", &length(body.len())]))),
            "http1.0" => Response::Raw(whole(head("HTTP/1.0 200 OK", &[PLAIN]))),
            "cut" => Response::RawThenCut(whole(ok(&["Connection: close"]))),
            "drip-header" => drip(&whole(ok(&[&length(body.len())]))),
            "drip-body" => Response::Then(ok(&[&length(body.len())]), Box::new(drip(body))),
            "endless-header" => {
                Response::Endless { head: b"HTTP/1.1 200 OK\r\n".to_vec(), chunk: b"X: y\r\n".to_vec() }
            }
            "endless-body" => {
                Response::Endless { head: whole(ok(&["Connection: close"])), chunk: b"a: b\r\n".to_vec() }
            }
            _ => Response::Policy(body.to_vec()),
        }
    }
}

fn failed(failure: &str, ttl: u32) -> Answer {
    match failure {
        "nxdomain" => Answer::NxDomain { negative_ttl: Some(ttl) },
        "nodata" => Answer::NoData { negative_ttl: Some(ttl) },
        "servfail" => Answer::ServFail,
        "refused" => Answer::Refused,
        _ => Answer::Silent,
    }
}

fn record_answer(dns: &Dns) -> Answer {
    let text = |bytes: &[u8]| {
        Record::Txt(bytes.chunks(255).chain(bytes.is_empty().then_some(bytes)).map(<[u8]>::to_vec).collect())
    };
    let records = |records: Vec<Record>| Answer::Records { ttl: dns.ttl, records };
    let answer = match dns.failure.as_deref() {
        Some("changing") => {
            let each = (0..1000).map(|turn| records(vec![Record::txt(&format!("v=STSv1; id=turn{turn};"))]));
            Answer::InTurn(each.collect())
        }
        Some(failure) => failed(failure, dns.ttl),
        None => {
            let (count, length) = dns.strangers;
            let mut all: Vec<Record> = (0..count).map(|at| text(format!("{at:0>length$}").as_bytes())).collect();
            let middle = count / 2;
            all.splice(middle..middle, dns.records.iter().map(|record| text(record)));
            records(all)
        }
    };
    if dns.is_truncated { Answer::Truncated(Box::new(answer)) } else { answer }
}

/// The policy that a host serves, if it serves one.
fn body(https: &Https) -> Result<Option<Vec<u8>>, String> {
    let mut body = match https.what.split_once(':') {
        Some(("vector", name)) => vectors::body(name)?,
        Some((_, body)) => body.as_bytes().to_vec(),
        None if ["enforce", "testing", "none"].contains(&&*https.what) => {
            let mx: Vec<&str> = https.mx.iter().map(String::as_str).collect();
            policy_body(&https.what, &mx, https.max_age).into_bytes()
        }
        None => return Ok(None),
    };
    body.extend(b"mx:a\n".repeat(https.lines));
    if let Some(bytes) = https.bytes {
        let missing = bytes.checked_sub(body.len() + 4).ok_or("the policy is larger than that")?;
        body.extend([b"x: ", &*b"v".repeat(missing), b"\n"].concat());
    }
    Ok(Some(body))
}
