//! Sockets that no forked child keeps, and waiting for them without a descriptor of its own.

use super::fork::ClosedInChild;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::raw::{c_int, c_short};
use std::time::{Duration, Instant};

/// What a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Something can be read.
    Read,
    /// Something can be written, or the connection has come about or failed.
    Write,
}

/// A socket for datagrams that does not block.
pub fn datagrams(local: SocketAddr) -> io::Result<ClosedInChild<UdpSocket>> {
    ClosedInChild::open(|| {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })
}

/// Begins a connection that does not block. Once it can be written to, [`outcome`] tells what has become of it.
pub fn begin_connecting(address: SocketAddr) -> io::Result<ClosedInChild<TcpStream>> {
    let stream = ClosedInChild::open(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(TcpStream::from(socket))
    })?;
    let own = stream.own()?;
    own.set_nodelay(true)?;
    match SockRef::from(own).connect(&address.into()) {
        // A signal does not end it either: it goes on by itself.
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Err(error),
        _ => Ok(stream),
    }
}

/// Whether a connection has come about that was begun.
pub fn outcome(stream: &TcpStream) -> io::Result<()> {
    stream.take_error()?.map_or(Ok(()), Err)
}

/// A connection that blocks.
pub fn connect(address: SocketAddr, limit: Duration) -> io::Result<ClosedInChild<TcpStream>> {
    let began = Instant::now();
    let stream = begin_connecting(address)?;
    loop {
        let own = stream.own()?;
        let left = limit.saturating_sub(began.elapsed());
        if wait_for(&[(own.as_raw_fd(), Readiness::Write)], Some(left)).contains(&true) {
            outcome(own)?;
            own.set_nonblocking(false)?;
            return Ok(stream);
        }
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// Waits until a socket is ready, time is up, or a signal has come; tells which ones are ready.
pub fn wait_for(sockets: &[(RawFd, Readiness)], limit: Option<Duration>) -> Vec<bool> {
    let mut waiting: Vec<libc::pollfd> = sockets
        .iter()
        .map(|(fd, readiness)| {
            let events = if *readiness == Readiness::Read { libc::POLLIN } else { libc::POLLOUT };
            libc::pollfd { fd: *fd, events, revents: 0 }
        })
        .collect();
    let count = libc::nfds_t::try_from(waiting.len()).unwrap_or_default();
    // Rounded up: who wakes too early would wake again and again until it is time.
    let milliseconds =
        limit.map_or(-1, |limit| c_int::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX));
    // SAFETY: the array lives here and has as many entries as are told.
    let found = unsafe { libc::poll(waiting.as_mut_ptr(), count, milliseconds) };
    if found < 0 && io::Error::last_os_error().kind() != ErrorKind::Interrupted {
        // Not even waiting is possible, for want of memory or by a limit: try again, but not all the time.
        std::thread::sleep(Duration::from_millis(1));
    }
    let is_ready = |revents: c_short| found > 0 && revents != 0;
    waiting.iter().map(|socket| is_ready(socket.revents)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_comes_about_is_refused_or_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = connect(address, Duration::from_secs(10)).unwrap();
        assert_eq!(stream.own().unwrap().peer_addr().unwrap(), address);
        assert_eq!(
            connect(address, Duration::ZERO).map(drop).or_else(|error| match error.kind() {
                ErrorKind::TimedOut => Ok(()), // a loopback is fast, but need not be
                kind => Err(kind),
            }),
            Ok(())
        );
        drop(listener);
        assert_eq!(connect(address, Duration::from_secs(10)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn only_what_is_ready_is_told() {
        let (idle, busy) =
            (datagrams(([127, 0, 0, 1], 0).into()).unwrap(), datagrams(([127, 0, 0, 1], 0).into()).unwrap());
        let (idle, busy) = (idle.own().unwrap(), busy.own().unwrap());
        idle.send_to(b"x", busy.local_addr().unwrap()).unwrap();
        let sockets = [(idle.as_raw_fd(), Readiness::Read), (busy.as_raw_fd(), Readiness::Read)];
        assert_eq!(wait_for(&sockets, Some(Duration::from_secs(10))), [false, true]);
        assert_eq!(wait_for(&sockets[..1], Some(Duration::from_millis(1))), [false]);
    }
}
