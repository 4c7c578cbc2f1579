//! A DNS server on loopback whose next answer is whatever the target wants, byte for byte.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Makes the datagrams that answer a query.
type Answers = dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send;

pub struct Responder {
    pub address: SocketAddr,
    answers: Arc<Mutex<Box<Answers>>>,
}

impl Responder {
    /// A server that knows no name until told otherwise.
    pub fn start() -> Self {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        let answers: Arc<Mutex<Box<Answers>>> = Arc::new(Mutex::new(Box::new(|query| vec![no_such_name(query)])));
        let of_udp = Arc::clone(&answers);
        std::thread::spawn(move || {
            let mut query = [0; 4096];
            while let Ok((length, asker)) = udp.recv_from(&mut query) {
                for answer in of_udp.lock().unwrap()(&query[..length]) {
                    let _ = udp.send_to(&answer, asker);
                }
            }
        });
        // After a truncated answer the client comes back over TCP. Elsewhere it is refused at once.
        if let Ok(listener) = TcpListener::bind(address) {
            let of_tcp = Arc::clone(&answers);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let _ = stream.and_then(|stream| serve_tcp(stream, &of_tcp));
                }
            });
        }
        Self { address, answers }
    }

    /// Sets how queries are answered from now on.
    pub fn answer_with(&self, answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }
}

fn serve_tcp(mut stream: TcpStream, answers: &Mutex<Box<Answers>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    for answer in answers.lock().unwrap()(&query) {
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&answer)?;
    }
    Ok(())
}

/// The question of a query: name, type and class.
pub fn question(query: &[u8]) -> &[u8] {
    let mut at = 12;
    while let Some(&length) = query.get(at)
        && length != 0
    {
        at += 1 + usize::from(length);
    }
    query.get(12..at + 5).unwrap_or_default()
}

/// The type of a query's question.
pub fn kind(query: &[u8]) -> u16 {
    match question(query) {
        [.., high, low, _, _] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// A reply with these flags, counts and records behind the question.
pub fn reply(query: &[u8], flags: [u8; 2], counts: [u8; 3], records: &[u8]) -> Vec<u8> {
    let [answers, authorities, additional] = counts;
    let id = query.get(..2).unwrap_or_default();
    let head = [flags[0], flags[1], 0, 1, 0, answers, 0, authorities, 0, additional];
    [id, &head, question(query), records].concat()
}

pub fn no_such_name(query: &[u8]) -> Vec<u8> {
    reply(query, [0x81, 0x83], [0; 3], &[])
}

/// A reply with one address record, or with none for IPv6.
pub fn address(query: &[u8], address: IpAddr) -> Vec<u8> {
    match (kind(query), address) {
        (1, IpAddr::V4(address)) => {
            let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &address.octets()[..]].concat();
            reply(query, [0x81, 0x80], [1, 0, 0], &record)
        }
        _ => no_such_name(query),
    }
}
