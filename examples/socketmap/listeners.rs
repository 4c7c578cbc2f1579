//! The sockets on which clients connect: those of the command line and those that the service manager hands over.

use listenfd::ListenFd;
use rustix::fs::Mode;
use rustix::process::{geteuid, umask};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// So many clients may wait to be taken.
const BACKLOG: i32 = 1024;

/// An address of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `inet:HOST:PORT`: all addresses of the host, which may be an IPv6 address in brackets.
    Inet(String, u16),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Address {
    /// Reads an address. The error says what would be right.
    pub fn parse(text: OsString) -> Result<Self, String> {
        let shown = text.to_string_lossy().into_owned();
        let wrong = || format!("`{shown}`, want inet:HOST:PORT or unix:PATH");
        let text = text.into_vec();
        if let Some(path) = text.strip_prefix(b"unix:") {
            let path = PathBuf::from(OsStr::from_bytes(path));
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(format!("{}, with all of the path", wrong()))
            };
        }
        let place = str::from_utf8(&text).ok().and_then(|text| text.strip_prefix("inet:"));
        let (host, port) = place.and_then(|place| place.rsplit_once(':')).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if host.is_empty() || bare.is_none() && host.contains(':') {
            return Err(format!("{}, with an IPv6 address in brackets", wrong()));
        }
        let port = port.parse().map_err(|_| format!("{}, with a port from 0 to 65535", wrong()))?;
        Ok(Self::Inet(bare.unwrap_or(host).to_owned(), port))
    }

    /// Begins to listen there.
    pub fn listen(&self, mode: u32) -> Result<Vec<Listener>, String> {
        match self {
            Self::Inet(host, port) => listen_inet(host, *port),
            Self::Unix(path) => listen_unix(path, mode)
                .map(|listener| vec![listener])
                .map_err(|problem| format!("unix:{}: {problem}", path.display())),
        }
    }
}

/// A socket on which clients connect.
pub struct Listener {
    socket: Socket,
    name: String,
    file: Option<OwnFile>,
}

impl Listener {
    /// Where it listens, as the command line writes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next client, if one is waiting.
    pub fn accept(&self) -> io::Result<(Socket, SockAddr)> {
        self.socket.accept()
    }

    fn new(socket: Socket, file: Option<OwnFile>) -> io::Result<Self> {
        // Another process may take the client for which poll has woken us.
        socket.set_nonblocking(true)?;
        let name = shown(&socket.local_addr()?);
        Ok(Self { socket, name, file })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

/// The sockets that the service manager has bound (sd_listen_fds(3)). Their files are its own.
pub fn handed_over() -> Result<Vec<Listener>, String> {
    let mut handed = ListenFd::from_env();
    (0..handed.len())
        .map(|index| {
            let unix = handed.take_unix_listener(index).ok().flatten().map(Socket::from);
            let inet = || handed.take_tcp_listener(index).ok().flatten().map(Socket::from);
            let socket = unix.or_else(inet);
            let socket = socket.filter(listens);
            let wrong = || format!("socket {index} of the service manager: want a stream socket that listens");
            let socket = socket.ok_or_else(wrong)?;
            Listener::new(socket, None).map_err(|error| format!("socket {index} of the service manager: {error}"))
        })
        .collect()
}

#[cfg(target_os = "linux")]
fn listens(socket: &Socket) -> bool {
    socket.is_listener().unwrap_or(false)
}

/// Elsewhere nobody hands sockets over.
#[cfg(not(target_os = "linux"))]
fn listens(_: &Socket) -> bool {
    true
}

fn listen_inet(host: &str, port: u16) -> Result<Vec<Listener>, String> {
    let refused = |at: &dyn std::fmt::Display, error: io::Error| format!("inet:{at}: {error}");
    let found = (host, port).to_socket_addrs().map_err(|error| refused(&format!("{host}:{port}"), error))?;
    let (mut listeners, mut absent) = (Vec::new(), None);
    for address in found {
        match bind_inet(address) {
            Ok(listener) => listeners.push(listener),
            // Of the names of this machine some may stand for an address that it does not have, such as ::1.
            Err(error) if is_absent(&error) => absent = Some(refused(&address, error)),
            Err(error) => return Err(refused(&address, error)),
        }
    }
    if listeners.is_empty() {
        Err(absent.unwrap_or_else(|| format!("inet:{host}: has no address")))
    } else {
        Ok(listeners)
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bind_inet(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // 0.0.0.0 has a socket of its own, whatever the system's default is.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Listener::new(socket, None)
}

fn listen_unix(path: &Path, mode: u32) -> Result<Listener, String> {
    let address = SockAddr::unix(path).map_err(|_| "the path is too long for a socket".to_owned())?;
    remove_stale(path, &address)?;
    let bind = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The file has its mode from the beginning. There is no other thread yet that could make one.
        let before = umask(Mode::from_raw_mode(0o777 & !mode));
        let bound = socket.bind(&address);
        umask(before);
        bound?;
        let file = OwnFile::at(path)?;
        socket.listen(BACKLOG)?;
        Listener::new(socket, Some(file))
    };
    bind().map_err(|error: io::Error| error.to_string())
}

/// Removes the socket of a server that has ended without removing it.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), String> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if !found.file_type().is_socket() {
        return Err("there is a file that is no socket".to_owned());
    }
    let user = geteuid().as_raw();
    if found.uid() != user {
        return Err(format!("there is a socket of user {}, want one of user {user} or none", found.uid()));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|error| error.to_string())?;
    // A server that is too busy to answer is there all the same.
    probe.set_nonblocking(true).map_err(|error| error.to_string())?;
    match probe.connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| format!("the socket of a dead server: {error}"))
        }
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.to_string()),
        _ => Err("another server answers there".to_owned()),
    }
}

/// The file of a socket that this process has made.
struct OwnFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) })
    }

    /// Removes it, unless another one has taken its place. Who has bound it as root may have no right to that any more.
    fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn shown(address: &SockAddr) -> String {
    match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => format!("inet:{address}"),
        (None, Some(path)) => format!("unix:{}", path.display()),
        (None, None) => "unix:".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        Address::parse(text.into())
    }

    #[test]
    fn addresses_are_read() {
        let inet = |host: &str, port| Ok(Address::Inet(host.to_owned(), port));
        assert_eq!(parse("inet:127.0.0.1:5461"), inet("127.0.0.1", 5461));
        assert_eq!(parse("inet:[::1]:5461"), inet("::1", 5461));
        assert_eq!(parse("inet:localhost:0"), inet("localhost", 0));
        assert_eq!(parse("unix:/run/x y"), Ok(Address::Unix("/run/x y".into())));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_would_be_right() {
        for (text, wanted) in [
            ("", "want inet:HOST:PORT or unix:PATH"),
            ("127.0.0.1:5461", "want inet:HOST:PORT or unix:PATH"),
            ("/run/socket", "want inet:HOST:PORT or unix:PATH"),
            ("inet:5461", "want inet:HOST:PORT"),
            ("inet::5461", "want inet:HOST:PORT"),
            ("inet:::1:5461", "IPv6 address in brackets"),
            ("inet:localhost:", "with a port from 0 to 65535"),
            ("inet:localhost:65536", "with a port from 0 to 65535"),
            ("unix:", "with all of the path"),
            ("unix:socket", "with all of the path"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(wanted), "{text}: {refused}");
        }
    }
}
