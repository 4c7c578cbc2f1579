//! The connection under ureq: to one given address, then TLS by our one configuration.
//!
//! ureq's own pieces would start a thread to resolve a name and would build a TLS configuration for each agent.

use super::buffers::GrowingBuffers;
use crate::sys::fork::ClosedInChild;
use crate::sys::socket;
use crate::time::Deadline;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// A resolver that has its answer already.
#[derive(Debug)]
pub struct Resolved(pub SocketAddr);

impl Resolver for Resolved {
    fn resolve(&self, _: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// A connector that never connects.
#[derive(Debug)]
pub struct Unconnected;

impl Connector for Unconnected {
    type Out = TlsTransport;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<TlsTransport>, Error> {
        Err(Error::ConnectionFailed)
    }
}

/// A connector to one address. `deadline` bounds everything that happens on the connection.
pub fn connector(
    address: SocketAddr,
    connect_timeout: Duration,
    config: Arc<ClientConfig>,
    deadline: Deadline,
) -> impl Connector {
    TlsConnector { address, connect_timeout, config, deadline }
}

#[derive(Debug)]
struct TlsConnector {
    address: SocketAddr,
    connect_timeout: Duration,
    config: Arc<ClientConfig>,
    deadline: Deadline,
}

impl Connector for TlsConnector {
    type Out = TlsTransport;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<TlsTransport>, Error> {
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host).map_err(|_| Error::BadUri(host.to_owned()))?.to_owned();
        let limit = self.connect_timeout.min(self.deadline.remaining());
        if limit.is_zero() {
            return Err(Error::Timeout(Timeout::Connect));
        }
        let stream = socket::connect(self.address, limit).map_err(Error::Io)?;
        let mut socket = TimedSocket { stream, deadline: self.deadline };
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(Error::Rustls)?;
        shake_hands(&mut connection, &mut socket).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::ConnectionFailed,
            _ => Error::Io(error),
        })?;
        Ok(Some(TlsTransport { stream: StreamOwned::new(connection, socket), buffers: GrowingBuffers::new() }))
    }
}

/// Goes on until the server has proved who it is. What we still have to say then goes out with the request, where the
/// protocol allows that: one packet less for both sides.
fn shake_hands(connection: &mut ClientConnection, socket: &mut TimedSocket) -> io::Result<()> {
    while connection.is_handshaking() {
        send(connection, socket)?;
        if connection.read_tls(socket)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        connection.process_new_packets().map_err(|error| {
            // The server is told why, if that can be done at once; the fault is the same either way.
            let _ = connection.write_tls(socket);
            io::Error::new(ErrorKind::InvalidData, error)
        })?;
    }
    Ok(())
}

fn send(connection: &mut ClientConnection, socket: &mut TimedSocket) -> io::Result<()> {
    while connection.wants_write() {
        if connection.write_tls(socket)? == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// A socket whose reads and writes end at the deadline, also when signals interrupt them all the time.
#[derive(Debug)]
struct TimedSocket {
    stream: ClosedInChild<TcpStream>,
    deadline: Deadline,
}

impl TimedSocket {
    fn until_deadline<T>(
        &mut self,
        set_timeout: impl Fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut work: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let own = self.stream.own()?;
        loop {
            let remaining = self.deadline.remaining();
            if remaining.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            // The kernel counts in ticks: what rounds to zero would mean "for ever".
            set_timeout(own, Some(remaining.max(Duration::from_millis(1))))?;
            match work(own) {
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                outcome => return outcome,
            }
        }
    }
}

impl Read for TimedSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until_deadline(TcpStream::set_read_timeout, |mut stream| stream.read(buffer))
    }
}

impl Write for TimedSocket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.until_deadline(TcpStream::set_write_timeout, |mut stream| stream.write(data))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.until_deadline(TcpStream::set_write_timeout, |mut stream| stream.write_vectored(parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct TlsTransport {
    stream: StreamOwned<ClientConnection, TimedSocket>,
    buffers: GrowingBuffers,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        let StreamOwned { conn, sock } = &mut self.stream;
        // The stream's own way of writing would send what is left of the handshake in a packet of its own.
        conn.writer().write_all(output).and_then(|()| send(conn, sock)).map_err(told_if_cut)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        // Only a close_notify may end a body: without one anybody on the path could cut it (RFC 8446 section 6.1).
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(told_if_cut)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        false // a connection serves one request
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTransport").field("socket", &self.stream.sock).finish_non_exhaustive()
    }
}

/// A connection that was cut after the handshake.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection was cut")
    }
}

impl std::error::Error for Cut {}

/// Gives a cut connection a kind of its own: ureq takes the kinds that it has for the end of a body.
fn told_if_cut(error: io::Error) -> Error {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Error::Io(io::Error::other(Cut)),
        _ => Error::Io(error),
    }
}

/// Whether an error of ureq says that the connection ended before the answer did.
pub fn is_cut(error: &Error) -> bool {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => true,
        Error::Io(error) => error.get_ref().is_some_and(|inner| inner.is::<Cut>()),
        _ => false,
    }
}

/// The TLS error inside an error of ureq, if that is what it is.
pub fn tls_error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    }
}

/// Whether an error of ureq says that time ran out.
pub fn is_timeout(error: &Error) -> bool {
    match error {
        Error::Timeout(_) => true,
        Error::Io(error) => error.kind() == ErrorKind::TimedOut,
        _ => false,
    }
}
