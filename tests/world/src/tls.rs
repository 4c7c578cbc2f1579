//! The server's side of a TLS handshake, in two steps: first the client's greeting, so that the server can choose by
//! the name in it, then the rest. Also the polite and the rude end of a connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A connection after its handshake.
pub type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A client's greeting.
pub struct Hello {
    /// The name in it, as the client wrote it.
    pub sni: Option<String>,
    accepted: Accepted,
}

/// Reads the client's greeting and says nothing yet.
pub fn read_hello(stream: &mut TcpStream) -> Result<Hello, String> {
    let mut acceptor = Acceptor::default();
    loop {
        match acceptor.read_tls(stream) {
            Ok(0) => return Err("closed by the client before its TLS greeting was complete".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let sni = accepted.client_hello().server_name().map(str::to_string);
                return Ok(Hello { sni, accepted });
            }
            Ok(None) => {}
            Err((error, mut alert)) => {
                let _ = alert.write_all(stream);
                finish(stream);
                return Err(error.to_string());
            }
        }
    }
}

/// Completes the handshake.
pub fn shake_hands(hello: Hello, mut stream: TcpStream, config: Arc<ServerConfig>) -> Result<TlsStream, String> {
    let mut connection = match hello.accepted.into_connection(config) {
        Ok(connection) => connection,
        Err((error, mut alert)) => {
            let _ = alert.write_all(&mut stream);
            finish(&mut stream);
            return Err(error.to_string());
        }
    };
    while connection.is_handshaking() {
        match connection.complete_io(&mut stream) {
            Ok((0, 0)) => return Err("closed by the client within the handshake".into()),
            Ok(_) => {}
            Err(error) => {
                finish(&mut stream);
                return Err(error.to_string());
            }
        }
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Answers a greeting as a server that knows nothing newer than TLS 1.1 (RFC 4346 section 7.4.1.3), and ends.
pub fn answer_as_tls11(stream: &mut TcpStream) {
    const VERSION: [u8; 2] = [3, 2];
    // TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression, no session.
    let server_hello = [&[2, 0, 0, 38][..], &VERSION, &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
    let record = [&[22][..], &VERSION, &[0, 42], &server_hello].concat();
    let _ = stream.write_all(&record);
    finish(stream);
}

/// The version of a connection, in the words of OpenSSL.
pub fn version(stream: &TlsStream) -> String {
    match stream.conn.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".into(),
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".into(),
        other => format!("{other:?}"),
    }
}

/// Ends a TLS connection: close_notify, then the end of TCP.
pub fn close(stream: &mut TlsStream) {
    stream.conn.send_close_notify();
    cut(stream);
}

/// Ends a TLS connection without close_notify, as a cut would; what was written before still arrives.
pub fn cut(stream: &mut TlsStream) {
    while stream.conn.wants_write() && stream.conn.write_tls(&mut stream.sock).is_ok_and(|written| written > 0) {}
    finish(&mut stream.sock);
}

/// Says FIN and reads what is left: closing a socket with unread data would reset the connection and could destroy what
/// is still on its way to the client.
pub fn finish(stream: &mut TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    wait_for_end(stream);
}

/// Reads and ignores until the other side closes or falls silent for longer than the socket's timeout.
pub fn wait_for_end(stream: &mut TcpStream) {
    let _ = io::copy(&mut stream.take(1 << 24), &mut io::sink());
}
