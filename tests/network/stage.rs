//! What every scene stands on: a world, a cache directory, settings that lead into them, and what a scene wants.

use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::{Answer, Effort};
use mtasts::reason::Reason;
use mtasts::syntax::Mode;
use mtasts::time::{Clock, SystemClock, UnixTime};
use mtasts_world::{HttpsRequest, World, policy_body};
use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const DAY: u64 = 86_400;
/// How late a busy machine may be.
const LATE: Duration = Duration::from_millis(1_500);
pub const REFRESH: Effort = Effort::Refresh;
pub const CACHE_ONLY: Effort = Effort::CacheOnly;

/// A world and an empty directory for a cache.
pub struct Stage {
    pub world: World,
    pub directory: TempDir,
}

impl Stage {
    pub fn new() -> Self {
        Self::with_world(World::start())
    }

    pub fn with_world(world: World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o750)).unwrap();
        world.hand_over(directory.path());
        Self { world, directory }
    }

    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache.db")
    }

    pub fn settings(&self) -> Settings {
        Settings {
            cache: self.cache(),
            nameservers: vec![self.world.dns_addr()],
            https_port: self.world.https_addr().port(),
            ca_file: Some(self.world.ca_file().to_owned()),
            allow_private_addresses: true,
            ..Settings::default()
        }
    }

    pub fn context(&self) -> Context {
        Context::with_settings(self.settings())
    }

    /// A context that lives by this clock.
    pub fn context_at(&self, clock: &SetClock) -> Context {
        Context::with_clock(self.settings(), Box::new(clock.clone()))
    }

    /// Publishes an enforced policy that names `mx.<domain>`.
    pub fn publish(&self, domain: &str) {
        self.world.publish(domain, "1", enforce(domain));
    }

    /// Requests that came for the policy host of a domain.
    pub fn requests(&self, domain: &str) -> Vec<HttpsRequest> {
        let host = format!("mta-sts.{domain}");
        self.world.https_log().into_iter().filter(|request| request.sni.as_deref() == Some(&*host)).collect()
    }

    /// Switches DNS and HTTPS off, or on again.
    pub fn network_off(&self, is_off: bool) {
        self.world.dns_off(is_off);
        self.world.https_off(is_off);
    }
}

/// An enforced policy that names `mx.<domain>`.
pub fn enforce(domain: &str) -> String {
    policy_body("enforce", &[&format!("mx.{domain}")], 7 * DAY)
}

/// Asks without haste and without anything special.
pub fn ask(context: &Context, domain: &str) -> Answer {
    context.query(domain.as_bytes(), Effort::default(), None)
}

/// A clock that stands still until a test moves it.
#[derive(Clone)]
pub struct SetClock(Arc<AtomicI64>);

impl SetClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(SystemClock.now().0)))
    }

    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// The lines that a context logs from now on.
pub fn log_of(context: &Context) -> Arc<Mutex<Vec<String>>> {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&lines);
    context.set_log(Some(Box::new(move |_, line| sink.lock().unwrap().push(line.to_owned()))));
    lines
}

/// The answer that a scene wants.
#[derive(Clone, Debug)]
pub struct Want {
    pub mode: Mode,
    pub reason: Reason,
    /// A part of the text of the answer.
    pub text: &'static str,
}

/// The enforced policy that has just been fetched.
pub const POLICY: Want = Want { mode: Mode::Enforce, reason: Reason::Fetched, text: "fetched now" };

/// No policy.
pub const fn nothing(reason: Reason, text: &'static str) -> Want {
    Want { mode: Mode::None, reason, text }
}

/// The enforced policy that was cached earlier.
pub const fn kept(reason: Reason, text: &'static str) -> Want {
    Want { mode: Mode::Enforce, reason, text }
}

impl Want {
    /// What is wrong with an answer, a line each.
    pub fn faults(&self, scene: &str, answer: &Answer) -> Vec<String> {
        let got = format!("{} by {:?}: {}", answer.mode(), answer.reason, answer.text());
        let is_right = answer.mode() == self.mode && answer.reason == self.reason && answer.text().contains(self.text);
        if is_right { Vec::new() } else { vec![format!("{scene}:\n    want {self:?}\n    got  {got}")] }
    }

    pub fn check(&self, scene: &str, answer: &Answer) {
        report(self.faults(scene, answer));
    }
}

/// Plays every row at once, each on a thread of its own, and fails with all faults of all rows.
pub fn play<R: Sync>(rows: &[R], scene: impl Fn(usize, &R) -> Vec<String> + Sync) {
    let scene = &scene;
    report(thread::scope(|scope| {
        let threads: Vec<_> =
            rows.iter().enumerate().map(|(number, row)| scope.spawn(move || scene(number, row))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }));
}

pub fn report(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Answers a question that must end by itself, and says if it took longer than it may, and than a busy machine is late.
pub fn timed(scene: &str, limit: Duration, work: impl FnOnce() -> Answer) -> (Answer, Vec<String>) {
    let began = Instant::now();
    let answer = work();
    let taken = began.elapsed();
    let faults = if taken < limit + LATE { Vec::new() } else { vec![format!("{scene}: {taken:?}, want {limit:?}")] };
    (answer, faults)
}

/// An address of loopback, and a listener on the port of the world's HTTPS server that nobody serves: connections are
/// made by the kernel and get no answer.
pub fn mute_listener(world: &World) -> (IpAddr, TcpListener) {
    (100..250)
        .map(|last| SocketAddr::from(([127, 0, 0, last], world.https_addr().port())))
        .find_map(|address| TcpListener::bind(address).ok().map(|listener| (address.ip(), listener)))
        .expect("a loopback address on which the port is free")
}

/// An address of loopback on which the port of the world's HTTPS server is closed. No test listens there, and a
/// listener on all addresses cannot be, since the world has the port.
pub const CLOSED: [u8; 4] = [127, 0, 0, 9];
