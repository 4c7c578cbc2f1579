//! The server as a process of its own: how it is asked, and what it holds.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Who waits longer for a reply or an end waits for ever.
pub const HANG: Duration = Duration::from_secs(60);

pub struct Server {
    child: Child,
    unix: PathBuf,
    inet: SocketAddr,
    log: PathBuf,
}

/// What the process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub resident_kilobytes: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Server {
    /// Listens in this directory, and on a port of loopback.
    pub fn start(directory: &Path, configuration: &Path) -> Self {
        // Whoever becomes the mail user must find the way.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let unix = directory.join("socketmap.sock");
        let inet = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = directory.join("socketmap.log");
        let child = Command::new(env!("CARGO_BIN_EXE_mtasts-socketmap"))
            .args(["--connections", "64", "--listen", &format!("inet:{inet}"), "--listen"])
            .arg(format!("unix:{}", unix.display()))
            .arg("--config")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { child, unix, inet, log };
        let began = Instant::now();
        while server.connect(true).is_err() || server.connect(false).is_err() {
            let has_ended = server.child.try_wait().unwrap().is_some();
            assert!(!has_ended && began.elapsed() < HANG, "the server does not start: {}", server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub fn connect(&self, over_tcp: bool) -> io::Result<Connection> {
        let socket: Box<dyn Socket> = if over_tcp {
            let socket = TcpStream::connect(self.inet)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(HANG))?;
            socket.set_write_timeout(Some(HANG))?;
            Box::new(socket)
        } else {
            let socket = UnixStream::connect(&self.unix)?;
            socket.set_read_timeout(Some(HANG))?;
            socket.set_write_timeout(Some(HANG))?;
            Box::new(socket)
        };
        Ok(Connection { socket, unread: Vec::new() })
    }

    /// A TCP connection without more around it.
    pub fn connect_tcp(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.inet)
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "the server is there for SIG{name}: {}", self.log());
    }

    pub fn held(&self) -> Held {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(proc.join("status")).unwrap();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Held {
            resident_kilobytes: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors: u64::try_from(fs::read_dir(proc.join("fd")).unwrap().count()).unwrap(),
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Asks it to end, and says how it did.
    pub fn end(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(began.elapsed() < HANG, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream socket of any kind.
pub trait Socket: Read + Write + Send {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

pub struct Connection {
    pub socket: Box<dyn Socket>,
    /// What came after the last reply.
    unread: Vec<u8>,
}

pub fn netstring(payload: &str) -> Vec<u8> {
    format!("{}:{payload},", payload.len()).into_bytes()
}

impl Connection {
    pub fn ask(&mut self, map: &str, key: &str) -> io::Result<String> {
        self.socket.write_all(&netstring(&format!("{map} {key}")))?;
        self.reply()
    }

    /// The next reply.
    pub fn reply(&mut self) -> io::Result<String> {
        loop {
            if let Some((reply, length)) = first_netstring(&self.unread)? {
                self.unread.drain(..length);
                return Ok(reply);
            }
            let mut bytes = [0; 4096];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::other(format!("neither a reply nor an end in {HANG:?}")));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// All replies until the server closes the connection.
    pub fn replies_to_the_end(&mut self) -> io::Result<Vec<String>> {
        let mut replies = Vec::new();
        loop {
            match self.reply() {
                Ok(reply) => replies.push(reply),
                Err(error) if is_end(&error) && self.unread.is_empty() => return Ok(replies),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The other side has closed the connection, also where it had not read everything.
pub fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn first_netstring(bytes: &[u8]) -> io::Result<Option<(String, usize)>> {
    let wrong = || io::Error::other(format!("no netstring: {}", bytes.escape_ascii()));
    let Some(colon) = bytes.iter().position(|&byte| byte == b':') else {
        return if bytes.iter().all(u8::is_ascii_digit) { Ok(None) } else { Err(wrong()) };
    };
    let digits = std::str::from_utf8(&bytes[..colon]).map_err(|_| wrong())?;
    let length: usize = digits.parse().map_err(|_| wrong())?;
    let end = colon + 1 + length;
    match bytes.get(end) {
        None => Ok(None),
        Some(b',') => Ok(Some((String::from_utf8(bytes[colon + 1..end].to_vec()).map_err(|_| wrong())?, end + 1))),
        Some(_) => Err(wrong()),
    }
}
