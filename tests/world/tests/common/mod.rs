//! Small clients for the tests: DNS over UDP and TCP, HTTPS and SMTP over rustls.
#![allow(dead_code)] // Every test file uses its own part.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use mtasts_world::World;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longer than any answer takes; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than an answer over loopback takes; waited for in full where silence is the outcome.
const SILENCE: Duration = Duration::from_millis(150);

pub fn query(name: &str, record_type: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    query
}

pub fn with_edns(mut query: Message, size: u16, dnssec_ok: bool) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(size).set_dnssec_ok(dnssec_ok);
    query.set_edns(edns);
    query
}

pub fn over_udp(world: &World, query: &Message) -> Message {
    udp(world, &query.to_vec().unwrap(), PATIENCE).unwrap()
}

pub fn is_silent_over_udp(world: &World, query: &Message) -> bool {
    udp(world, &query.to_vec().unwrap(), SILENCE).is_err()
}

pub fn udp(world: &World, bytes: &[u8], patience: Duration) -> io::Result<Message> {
    let local = if world.dns_addr().is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(local)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send_to(bytes, world.dns_addr())?;
    let mut buffer = [0; 65535];
    let length = socket.recv(&mut buffer)?;
    Ok(Message::from_vec(&buffer[..length]).unwrap())
}

pub fn over_tcp(world: &World, query: &Message) -> Message {
    let mut stream = connect(world.dns_addr());
    let bytes = query.to_vec().unwrap();
    stream.write_all(&(bytes.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    Message::from_vec(&reply).unwrap()
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Shakes hands as a client that trusts this world's root only.
pub fn tls(world: &World, host: &str, stream: TcpStream) -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(world.ca_der().to_vec())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_string()).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Sends a request; the whole answer and how it ended.
pub fn get(world: &World, host: &str, path: &str) -> (String, io::Result<()>) {
    let mut stream = request(world, host, path).unwrap();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).map(drop);
    (String::from_utf8(answer).unwrap(), end)
}

pub fn request(world: &World, host: &str, path: &str) -> io::Result<Tls> {
    let mut stream = tls(world, host, connect(world.https_addr()))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    Ok(stream)
}

/// One SMTP command and the last line of its reply.
pub fn smtp<S: Read + Write>(stream: &mut BufReader<S>, command: &str) -> String {
    if !command.is_empty() {
        stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.trim_end().to_string();
        }
    }
}

/// Waits for what a server's thread is about to do.
pub fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("it never came true");
}
