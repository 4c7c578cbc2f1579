//! The server `mtasts-socketmap` against a small internet of its own, with clients good and bad.

#[path = "socketmap/answers.rs"]
mod answers;
#[path = "socketmap/clients.rs"]
mod clients;
#[path = "socketmap/framing.rs"]
mod framing;
#[path = "socketmap/life.rs"]
mod life;
#[path = "socketmap/sockets.rs"]
mod sockets;
#[path = "socketmap/units.rs"]
mod units;

use mtasts_world::{Certificate, Hook, Response, Site, World, policy_body};
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer on a machine that works.
const LONG: Duration = Duration::from_secs(60);
/// Sendmail waits so long for a reply.
const PATIENCE_OF_SENDMAIL: Duration = Duration::from_secs(5);

const GOOD: &str = "OK secure match=mx.good.test:.good.test servername=hostname";
const NOT_FOUND: &str = "NOTFOUND ";

/// Waits until something is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn skipped(what: &str) {
    println!("SKIPPED: {what}");
    assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "skipped, and MTASTS_NO_SKIP=1 forbids that");
}

/// A world, a cache, and a configuration that leads into them.
struct Stage {
    world: World,
    cache: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let world = World::start();
        let cache = world.make_cache();
        world.publish_modes();
        let stage = Self { world, cache };
        stage.configure("");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.directory().join(name)
    }

    /// Writes the configuration: this, behind what leads into the world.
    fn configure(&self, more: &str) {
        let (cache, ca_file) = (self.cache.display(), self.world.ca_file().display());
        let (dns, port) = (self.world.dns_addr(), self.world.https_addr().port());
        let text = format!(
            "cache = \"{cache}\"\nca_file = \"{ca_file}\"\nnameservers = [\"{dns}\"]\nhttps_port = {port}\n\
             allow_private_addresses = true\n{more}"
        );
        std::fs::write(self.path("mtasts.toml"), text).unwrap();
    }

    /// Publishes an enforced policy whose host answers when the gate opens.
    fn publish_behind(&self, gate: &Gate, domain: &str) {
        self.world.publish(domain, "1", "");
        let body = policy_body("enforce", &[&format!("mx.{domain}")], 604_800);
        let response = Response::After(gate.hook(), Box::new(Response::Policy(body.into_bytes())));
        self.world.site(&format!("mta-sts.{domain}"), Site::new(Certificate::Good, response));
    }

    /// How often the policy of a domain was asked for.
    fn fetches(&self, domain: &str) -> usize {
        let host = format!("mta-sts.{domain}");
        self.world.https_log().iter().filter(|request| request.sni.as_deref() == Some(&*host)).count()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts-socketmap"));
        command.args(arguments).arg("--config").arg(self.path("mtasts.toml"));
        for variable in ["MTASTS_CONFIG", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"] {
            command.env_remove(variable);
        }
        command
    }

    /// A server on a port of its own, which tells each reply.
    fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    fn serve_with(&self, arguments: &[&str]) -> Server {
        Server::start(&mut self.command(&[&["--verbose", "--listen", "inet:127.0.0.1:0"], arguments].concat()))
    }
}

/// A server that is running, and what it has said.
struct Server {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let server = Self::begin(command);
        server.wait_for_line("listening on ");
        server
    }

    fn begin(command: &mut Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(process.stderr.take().unwrap());
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in said.lines() {
                kept.lock().unwrap().push(line.unwrap());
            }
        });
        Self { process, lines, reader: Some(reader) }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn line(&self, part: &str) -> Option<String> {
        self.lines.lock().unwrap().iter().find(|line| line.contains(part)).cloned()
    }

    fn wait_for_line(&self, part: &str) -> String {
        let began = Instant::now();
        loop {
            let has_ended = self.reader.as_ref().is_none_or(thread::JoinHandle::is_finished);
            if let Some(line) = self.line(part) {
                return line;
            }
            assert!(!has_ended && began.elapsed() < LONG, "no line with `{part}`: {:#?}", self.lines());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The first address of the internet on which it listens.
    fn address(&self) -> SocketAddr {
        self.wait_for_line("listening on inet:").rsplit_once("inet:").unwrap().1.parse().unwrap()
    }

    fn connect(&self) -> Client {
        Client::connect(&self.address().into())
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for its end, and for its last line.
    fn end(&mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < LONG, "the server does not end");
            thread::sleep(Duration::from_millis(2));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Stops it as a service manager does.
    fn stop(mut self) -> Vec<String> {
        self.tell(Signal::TERM);
        assert_eq!(self.end().code(), Some(0), "{:?}", self.lines());
        self.lines()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that keeps its connection.
struct Client(Socket);

impl Client {
    fn connect(address: &SockAddr) -> Self {
        let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None).unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.set_write_timeout(Some(LONG)).unwrap();
        Self(socket)
    }

    fn to_path(path: &Path) -> Self {
        Self::connect(&SockAddr::unix(path).unwrap())
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn request(&mut self, request: &str) {
        self.send(format!("{}:{request},", request.len()).as_bytes());
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next reply; none where the server has closed the connection.
    fn reply(&mut self) -> Option<String> {
        let mut length = 0;
        loop {
            match self.byte()? {
                b':' => break,
                digit => length = length * 10 + usize::from(digit.checked_sub(b'0').unwrap()),
            }
        }
        let mut payload = vec![0; length + 1];
        self.0.read_exact(&mut payload).unwrap();
        assert_eq!(payload.pop(), Some(b','));
        Some(String::from_utf8(payload).unwrap())
    }

    fn ask(&mut self, request: &str) -> String {
        self.request(request);
        self.reply().expect("a reply")
    }

    fn is_closed(&mut self) -> bool {
        self.byte().is_none()
    }
}

/// Policy hosts wait behind it until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    fn hook(&self) -> Hook {
        let gate = self.clone();
        Hook(Arc::new(move || {
            let (state, changed) = &*gate.0;
            let mut state = state.lock().unwrap();
            state.0 += 1;
            changed.notify_all();
            drop(changed.wait_timeout_while(state, LONG, |state| !state.1).unwrap());
        }))
    }

    /// Waits until so many requests have come to it.
    fn wait_for(&self, count: usize) {
        let (state, changed) = &*self.0;
        let (state, waited) = changed.wait_timeout_while(state.lock().unwrap(), LONG, |state| state.0 < count).unwrap();
        assert!(!waited.timed_out(), "{} of {count} requests have come", state.0);
    }

    fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().1 = true;
        changed.notify_all();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
