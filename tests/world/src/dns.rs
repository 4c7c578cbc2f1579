//! The DNS server: the zone's answers over UDP and TCP on one port, with EDNS, truncation and the AD flag.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};

use crate::serve::{Log, Stop, TcpServer, reachable};
use crate::zone::Zone;
use crate::{canonical, lock};

/// RFC 1035 section 4.2.1: the size of a UDP message without EDNS.
const PLAIN_UDP_SIZE: u16 = 512;

/// The size we offer in our own OPT record.
const OWN_UDP_SIZE: u16 = 1232;

struct Shared {
    zone: Mutex<Zone>,
    off: AtomicBool,
    log: Log,
}

/// One DNS server. Dropping it stops it.
pub struct DnsServer {
    shared: Arc<Shared>,
    tcp: TcpServer,
    stop: Arc<Stop>,
    udp_thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    pub fn start(address: SocketAddr, log: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared { zone: Mutex::default(), off: AtomicBool::new(false), log: Log::create(log)? });
        let (udp, tcp) = bind(address)?;
        let stop = Arc::new(Stop::default());
        let udp_thread = thread::Builder::new().name(format!("udp {address}")).spawn({
            let (shared, stop) = (shared.clone(), stop.clone());
            move || shared.serve_udp(&udp, &stop)
        })?;
        let tcp = TcpServer::start(tcp, {
            let shared = shared.clone();
            Arc::new(move |stream: TcpStream, _: &Stop| drop(shared.serve_tcp(stream)))
        })?;
        Ok(DnsServer { shared, tcp, stop, udp_thread: Some(udp_thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.tcp.address()
    }

    /// Looks at or changes what the server knows.
    pub fn with_zone<T>(&self, act: impl FnOnce(&mut Zone) -> T) -> T {
        act(&mut lock(&self.shared.zone))
    }

    pub fn set_off(&self, off: bool) {
        self.shared.off.store(off, Ordering::SeqCst);
    }

    pub fn log(&self) -> Vec<String> {
        self.shared.log.lines()
    }

    pub fn clear_log(&self) {
        self.shared.log.clear();
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.set();
        let target = reachable(self.address());
        let any = SocketAddr::new(if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() }, 0);
        let woken = UdpSocket::bind(any).and_then(|socket| socket.send_to(&[], target));
        if let (Ok(_), Some(thread)) = (woken, self.udp_thread.take()) {
            let _ = thread.join();
        }
    }
}

/// UDP and TCP on the same port.
fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = if address.port() == 0 { 20 } else { 1 };
    loop {
        attempts -= 1;
        let udp = UdpSocket::bind(address)?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            // The port may belong to someone else over TCP.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

impl Shared {
    fn serve_udp(&self, socket: &UdpSocket, stop: &Stop) {
        let mut buffer = vec![0; 65535];
        loop {
            let received = socket.recv_from(&mut buffer);
            if stop.is_set() {
                return;
            }
            match received {
                Ok((length, client)) => {
                    if let Some(reply) = self.reply(&buffer[..length], true) {
                        let _ = socket.send_to(&reply, client);
                    }
                }
                Err(_) => drop(stop.wait(Duration::from_millis(10))),
            }
        }
    }

    fn serve_tcp(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query)?;
            if let Some(reply) = self.reply(&query, false) {
                let length = u16::try_from(reply.len()).map_err(|_| io::ErrorKind::InvalidData)?;
                stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat())?;
            }
        }
    }

    /// The reply to a message; `None` for silence.
    fn reply(&self, message: &[u8], over_udp: bool) -> Option<Vec<u8>> {
        let Ok(query) = Message::from_vec(message) else {
            return format_error(message);
        };
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let question = query.queries.first()?;
        let name = question.name().clone();
        self.log.line(format!("{} {}", question.query_type(), canonical(&name.to_ascii())));
        if self.off.load(Ordering::SeqCst) {
            return None;
        }

        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.metadata = Metadata::response_from_request(&query.metadata);
        response.metadata.recursion_available = true;
        response.add_query(question.clone());
        let dnssec_ok = query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(OWN_UDP_SIZE).set_dnssec_ok(dnssec_ok);
            response.set_edns(edns);
        }
        if query.metadata.op_code != OpCode::Query {
            response.metadata.response_code = ResponseCode::NotImp;
            return response.to_vec().ok();
        }

        let reply = lock(&self.zone).resolve(&name, question.query_type())?;
        if over_udp && reply.truncated_over_udp {
            response.metadata.truncation = true;
            return response.to_vec().ok();
        }
        response.metadata.response_code = reply.code;
        // RFC 6840 section 5.7: AD only for those who show that they understand it.
        response.metadata.authentic_data = reply.authentic && (dnssec_ok || query.metadata.authentic_data);
        response.add_answers(reply.answers);
        response.add_authorities(reply.authority);
        let bytes = response.to_vec().ok()?;
        let limit = query.edns.as_ref().map_or(PLAIN_UDP_SIZE, |edns| edns.max_payload().max(PLAIN_UDP_SIZE));
        if over_udp && bytes.len() > usize::from(limit) {
            response.answers.clear();
            response.authorities.clear();
            response.metadata.truncation = true;
            return response.to_vec().ok();
        }
        Some(bytes)
    }
}

/// FORMERR to what has at least the header of a query.
fn format_error(message: &[u8]) -> Option<Vec<u8>> {
    let (id, flags) = (message.get(..2)?, *message.get(2)?);
    if message.len() < 12 || flags & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([id[0], id[1]]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()
}
