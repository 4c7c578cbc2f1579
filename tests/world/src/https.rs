//! The HTTPS server: one site per host name, each with its certificate and its way to answer, good or bad.
//!
//! A connection carries one request. The site is chosen by the name in the TLS greeting (SNI), never by the `Host`
//! header; a client that names no known site gets a certificate for `unknown.test` and status 404.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::ca::{Ca, Certificate};
use crate::serve::{Log, Stop, TcpServer};
use crate::tls::{self, TlsStream};
use crate::{canonical, lock};

/// RFC 8461 section 3.2: the path of a policy.
const POLICY_PATH: &str = "/.well-known/mta-sts.txt";

/// A request head may not be longer.
const HEAD_LIMIT: usize = 65536;

/// A host on the HTTPS server.
#[derive(Clone, Debug)]
pub struct Site {
    pub certificate: Certificate,
    pub response: Response,
    /// The server speaks no TLS 1.3 on this site.
    pub tls12_only: bool,
}

impl Site {
    /// A site that speaks every TLS version.
    pub fn new(certificate: Certificate, response: Response) -> Self {
        Site { certificate, response, tls12_only: false }
    }
}

/// How a site answers a request.
#[derive(Clone, Debug)]
pub enum Response {
    /// 200, text/plain, Content-Length and this body under the policy's path; 404 under every other.
    Policy(Vec<u8>),
    /// These bytes, status line and all, then close_notify and the end of TCP.
    Raw(Vec<u8>),
    /// These bytes, then the end of TCP without close_notify.
    RawThenCut(Vec<u8>),
    /// Shakes hands, reads the request and never answers.
    Silent,
    /// Accepts the TCP connection and never says anything.
    NoHandshake,
    /// One byte per pause, then close_notify and the end of TCP.
    Drip { bytes: Vec<u8>, pause: Duration },
    /// `head`, then `chunk` for ever.
    Endless { head: Vec<u8>, chunk: Vec<u8> },
    /// Knows no newer version than TLS 1.1.
    Tls11,
    /// These bytes, then the other answer.
    Then(Vec<u8>, Box<Response>),
    /// Once the request is there, calls a function of the test, and answers when that returns.
    After(Hook, Box<Response>),
}

/// A function of a test.
#[derive(Clone)]
pub struct Hook(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Response {
    /// An answer with this status, these further header lines (without line ends) and this body.
    pub fn with_status(status: u16, headers: &[&str], body: &[u8]) -> Self {
        Response::Raw(http_response(status, headers, body))
    }
}

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsRequest {
    /// The name in the TLS greeting, as the client wrote it.
    pub sni: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls: String,
    /// Request line and header lines, up to and with the empty line.
    pub head: String,
}

struct Shared {
    ca: Arc<Ca>,
    sites: Mutex<HashMap<String, Site>>,
    off: AtomicBool,
    connections: AtomicUsize,
    requests: Mutex<Vec<HttpsRequest>>,
    log: Log,
}

/// One HTTPS server on one or several addresses. Dropping it ends all connections.
pub struct HttpsServer {
    shared: Arc<Shared>,
    servers: Vec<TcpServer>,
}

impl HttpsServer {
    pub fn start(addresses: &[SocketAddr], ca: Arc<Ca>, log: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            ca,
            sites: Mutex::default(),
            off: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            log: Log::create(log)?,
        });
        let mut servers = Vec::new();
        for listener in bind(addresses)? {
            let (shared, address) = (shared.clone(), listener.local_addr()?);
            let handler = move |stream: TcpStream, stop: &Stop| shared.serve(address, stream, stop);
            servers.push(TcpServer::start(listener, Arc::new(handler))?);
        }
        Ok(HttpsServer { shared, servers })
    }

    pub fn address(&self) -> SocketAddr {
        self.servers[0].address()
    }

    pub fn set_site(&self, host: &str, site: Site) {
        lock(&self.shared.sites).insert(canonical(host), site);
    }

    pub fn site(&self, host: &str) -> Option<Site> {
        lock(&self.shared.sites).get(&canonical(host)).cloned()
    }

    pub fn remove_site(&self, host: &str) {
        lock(&self.shared.sites).remove(&canonical(host));
    }

    pub fn set_off(&self, off: bool) {
        self.shared.off.store(off, Ordering::SeqCst);
    }

    pub fn requests(&self) -> Vec<HttpsRequest> {
        lock(&self.shared.requests).clone()
    }

    pub fn events(&self) -> Vec<String> {
        self.shared.log.lines()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn clear_logs(&self) {
        lock(&self.shared.requests).clear();
        self.shared.log.clear();
        self.shared.connections.store(0, Ordering::SeqCst);
    }
}

impl Shared {
    fn serve(&self, address: SocketAddr, mut stream: TcpStream, stop: &Stop) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        if self.off.load(Ordering::SeqCst) {
            self.log.line(format!("{address} closed at once"));
            return;
        }
        self.log.line(format!("{address} connect"));
        let hello = match tls::read_hello(&mut stream) {
            Ok(hello) => hello,
            Err(error) => return self.log.line(format!("{address} handshake-failed {error}")),
        };
        let sni = hello.sni.clone();
        let shown = sni.as_deref().unwrap_or("-").to_string();
        let host = sni.as_deref().map_or("unknown.test".to_string(), canonical);
        let (host, site) = match lock(&self.sites).get(&host) {
            Some(site) => (host, site.clone()),
            None => (
                "unknown.test".into(),
                Site::new(Certificate::Good, Response::with_status(404, &[], b"no such site\n")),
            ),
        };
        if matches!(site.response, Response::NoHandshake) {
            return tls::wait_for_end(&mut stream);
        }
        if matches!(site.response, Response::Tls11) {
            self.log.line(format!("{address} handshake-failed sni={shown} TLS 1.1 only"));
            return tls::answer_as_tls11(&mut stream);
        }
        let handshake = self
            .ca
            .server_config(&host, site.certificate, site.tls12_only)
            .and_then(|config| tls::shake_hands(hello, stream, config));
        let mut stream = match handshake {
            Ok(stream) => stream,
            Err(error) => return self.log.line(format!("{address} handshake-failed sni={shown} {error}")),
        };
        let version = tls::version(&stream);
        let Some(head) = read_head(&mut stream) else {
            self.log.line(format!("{address} no-request sni={shown} version={version}"));
            return tls::close(&mut stream);
        };
        let request_line = head.lines().next().unwrap_or("").to_string();
        lock(&self.requests).push(HttpsRequest { sni, tls: version.clone(), head });
        self.log.line(format!("{address} request sni={shown} version={version} {request_line}"));
        respond(&mut stream, &site.response, &request_line, stop);
    }
}

/// Port 0 in a later address means the port that the first one got.
fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let Some((first, others)) = addresses.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address for the HTTPS server, want one or more"));
    };
    let mut attempts = if first.port() == 0 { 20 } else { 1 };
    loop {
        attempts -= 1;
        let listener = TcpListener::bind(first)?;
        let port = listener.local_addr()?.port();
        let bound = others.iter().map(|address| {
            let port = if address.port() == 0 { port } else { address.port() };
            TcpListener::bind(SocketAddr::new(address.ip(), port))
        });
        match bound.collect::<io::Result<Vec<_>>>() {
            Ok(others) => return Ok(std::iter::once(listener).chain(others).collect()),
            // The port may belong to someone else on another address.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_head(stream: &mut TlsStream) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 && head.len() < HEAD_LIMIT => head.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// An error means that the client went away, which is its right.
fn respond(stream: &mut TlsStream, response: &Response, request_line: &str, stop: &Stop) {
    let sent = match response {
        Response::Policy(body) if request_line.starts_with(&format!("GET {POLICY_PATH} ")) => {
            send(stream, &http_response(200, &["Content-Type: text/plain"], body))
        }
        Response::Policy(_) => send(stream, &http_response(404, &[], b"only the policy is here\n")),
        Response::Raw(bytes) => send(stream, bytes),
        Response::RawThenCut(bytes) => {
            let _ = send(stream, bytes);
            return tls::cut(stream);
        }
        Response::Silent | Response::NoHandshake | Response::Tls11 => return tls::wait_for_end(&mut stream.sock),
        Response::After(hook, then) => {
            (hook.0)();
            return respond(stream, then, request_line, stop);
        }
        Response::Then(bytes, then) => match send(stream, bytes) {
            Ok(()) => return respond(stream, then, request_line, stop),
            Err(error) => Err(error),
        },
        Response::Drip { bytes, pause } => bytes.iter().try_for_each(|byte| {
            send(stream, &[*byte])?;
            if stop.wait(*pause) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        }),
        Response::Endless { head, chunk } => {
            let mut sent = send(stream, head);
            while sent.is_ok() && !chunk.is_empty() && !stop.is_set() {
                sent = send(stream, chunk);
            }
            sent
        }
    };
    if sent.is_ok() {
        tls::close(stream);
    }
}

fn send(stream: &mut TlsStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

fn http_response(status: u16, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut response =
        format!("HTTP/1.1 {status} {}\r\nContent-Length: {}\r\nConnection: close\r\n", phrase(status), body.len());
    for header in headers {
        response.push_str(header);
        response.push_str("\r\n");
    }
    response.push_str("\r\n");
    [response.as_bytes(), body].concat()
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        403 => "Forbidden",
        404 => "Not Found",
        410 => "Gone",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
