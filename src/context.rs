//! One configured instance: settings, cache, network, clock and log put together.
//!
//! Any thread may use a context, and it goes on working in forked children. Making one opens nothing. Every question
//! has one deadline, over everything that it takes.

use crate::cache::Cache;
use crate::config::{ConfigError, Settings};
use crate::discovery::{Answer, Discovery, Effort, Network};
use crate::dns;
use crate::https::{self, FetchError};
use crate::reason::Reason;
use crate::syntax::{MxHost, PolicyDomain};
use crate::sys::fork::{self, ForkSafe, Work};
use crate::sys::log::{self, Sink};
use crate::sys::published::Published;
use crate::time::{Clock, Deadline, SystemClock};
use crate::tls;
use rustls::ClientConfig;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::sys::log::Level;

/// Trusted roots are read again after this time, so that a long-lived host notices new ones.
const ROOTS_LIFE: Duration = Duration::from_secs(3_600);
/// The time that a policy host must at least have had to be blamed for its silence.
const FAIR_TIME: Duration = Duration::from_secs(10);
/// A line is not logged again within this time.
const REPEAT_PAUSE: Duration = Duration::from_secs(60);
/// Of so many lines it is remembered that they were logged.
const REMEMBERED_LINES: usize = 256;

/// Takes log lines: how grave, and the line without a line end.
pub type LogFunction = Box<dyn Fn(Level, &str) + Send + Sync>;

/// One configured instance.
pub struct Context {
    parts: Published<Parts>,
    tls: ForkSafe<Option<LoadedTls>>,
    logger: Logger,
    clock: Box<dyn Clock>,
}

/// What a change of a setting replaces as a whole.
struct Parts {
    settings: Settings,
    cache: Arc<Cache>,
}

struct LoadedTls {
    ca_file: Option<PathBuf>,
    loaded: Instant,
    config: Arc<ClientConfig>,
}

impl Context {
    /// A context by the configuration at `config_path`; without a path by the one that `MTASTS_CONFIG` names, else
    /// `/etc/mtasts.toml` if it exists, else the defaults. The error is the first fault of the configuration.
    pub fn new(config_path: Option<&Path>) -> Result<Self, ConfigError> {
        let (settings, faults) = Settings::load(config_path);
        match faults.into_iter().next() {
            None => Ok(Self::with_settings(settings)),
            Some(fault) => Err(fault),
        }
    }

    /// A context by settings that the caller has.
    pub fn with_settings(settings: Settings) -> Self {
        Self::with_clock(settings, Box::new(SystemClock))
    }

    /// A context that judges stored times by a clock of the caller's.
    pub fn with_clock(settings: Settings, clock: Box<dyn Clock>) -> Self {
        fork::watch();
        let cache = Arc::new(Cache::new(&settings));
        Self {
            parts: Published::new(Parts { settings, cache }),
            tls: ForkSafe::new(Work::Memory, None),
            logger: Logger::new(),
            clock,
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.parts.get().settings
    }

    /// Sets one key; it acts on later calls.
    pub fn set(&self, key: &str, value: &str) -> Result<(), ConfigError> {
        let before = Arc::clone(&self.parts.get().cache);
        self.parts.update(|old| {
            let mut settings = old.settings.clone();
            settings.set(key, value)?;
            let shape = |settings: &Settings| (settings.cache.clone(), settings.cache_entries, settings.memory_entries);
            let is_same_cache = shape(&settings) == shape(&old.settings);
            let cache = if is_same_cache { Arc::clone(&old.cache) } else { Arc::new(Cache::new(&settings)) };
            Ok(Parts { settings, cache })
        })?;
        if !Arc::ptr_eq(&before, &self.parts.get().cache) {
            before.close();
        }
        Ok(())
    }

    /// Sends log lines to a function; without one nothing is logged.
    pub fn set_log(&self, log: Option<LogFunction>) {
        self.logger.set_target(&log.map_or(Target::Nobody, |log| Target::Function(Arc::new(log))));
    }

    /// Sends log lines to the system log.
    pub(crate) fn log_to_syslog(&self) {
        self.logger.set_target(&Target::Syslog);
    }

    /// What is known about the policy of a domain. `timeout`: the longest that this may take, instead of the
    /// configured deadline. Network trouble is a reason in the answer. Blocks the thread, and panics on
    /// one that drives an async runtime of tokio.
    pub fn query(&self, domain: &[u8], effort: Effort, timeout: Option<Duration>) -> Answer {
        match PolicyDomain::parse(domain) {
            Ok(domain) => self.discover(&domain, effort, self.deadline(timeout)),
            Err(error) => Answer::impossible(error),
        }
    }

    /// The same for a message whose MX hosts are known. Here a policy that has just been replaced by its domain can
    /// be noticed before it refuses every host of the message.
    pub fn query_for(&self, domain: &[u8], _mx_hosts: &[&[u8]], effort: Effort, timeout: Option<Duration>) -> Answer {
        self.query(domain, effort, timeout)
    }

    /// Closes what is open; the next question opens it again.
    pub fn close(&self) {
        self.parts.get().cache.close();
    }

    /// Logs one line.
    pub(crate) fn log(&self, level: Level, line: &str) {
        self.logger.line(level, line);
    }

    /// The addresses of an MX host.
    pub(crate) fn addresses(&self, host: &MxHost, deadline: Deadline) -> dns::Answer<IpAddr> {
        dns::addresses(self.settings(), host.as_str(), deadline)
    }

    /// The moment at which a call that begins now must have ended.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Deadline {
        Deadline::after(timeout.unwrap_or(self.settings().deadline))
    }

    pub(crate) fn discover(&self, domain: &PolicyDomain, effort: Effort, deadline: Deadline) -> Answer {
        let parts = self.parts.get();
        let discovery = Discovery {
            cache: &parts.cache,
            network: &Internet { context: self, settings: &parts.settings },
            clock: &*self.clock,
            log: &self.logger,
            on_dns_error: parts.settings.on_dns_error,
            refreshes: parts.settings.refresh,
            fair_time: FAIR_TIME.min(parts.settings.deadline.mul_f32(0.5)),
        };
        discovery.discover(domain, effort, deadline)
    }

    /// The TLS configuration, with the trusted roots loaded on first use.
    fn tls(&self, settings: &Settings) -> Result<Arc<ClientConfig>, String> {
        let known = self.tls.with(|loaded| {
            loaded
                .as_ref()
                .filter(|loaded| loaded.ca_file == settings.ca_file && loaded.loaded.elapsed() < ROOTS_LIFE)
                .map(|loaded| Arc::clone(&loaded.config))
        });
        if let Some(config) = known.flatten() {
            return Ok(config);
        }
        // Reading takes milliseconds and happens outside of the lock; two threads may do it at once.
        let config = tls::client_config(settings.ca_file.as_deref())?;
        let fresh =
            LoadedTls { ca_file: settings.ca_file.clone(), loaded: Instant::now(), config: Arc::clone(&config) };
        self.tls.with(|loaded| *loaded = Some(fresh));
        Ok(config)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.close();
    }
}

/// The way out to real servers.
struct Internet<'a> {
    context: &'a Context,
    settings: &'a Settings,
}

impl Network for Internet<'_> {
    fn txt(&self, name: &str, deadline: Deadline) -> dns::Answer<Vec<u8>> {
        dns::txt(self.settings, name, deadline)
    }

    fn policy_body(&self, domain: &PolicyDomain, deadline: Deadline) -> Result<Vec<u8>, FetchError> {
        let tls = self.context.tls(self.settings).map_err(|text| {
            self.context.log(Level::Error, &text);
            FetchError { reason: Reason::NoTrustedRoots, text }
        })?;
        https::fetch(self.settings, &tls, domain, deadline)
    }
}

/// Where log lines go, without repeating itself.
struct Logger {
    target: Published<Target>,
    recent: ForkSafe<HashMap<String, Instant>>,
}

#[derive(Clone)]
enum Target {
    Nobody,
    Function(Arc<LogFunction>),
    Syslog,
}

impl Logger {
    fn new() -> Self {
        Self { target: Published::new(Target::Nobody), recent: ForkSafe::new(Work::Memory, HashMap::new()) }
    }

    fn set_target(&self, target: &Target) {
        let Ok(()) = self.target.update(|_| Ok::<_, Infallible>(target.clone()));
    }

    fn is_repetition(&self, line: &str) -> bool {
        let now = Instant::now();
        let is_repeated = self.recent.with(|recent| {
            if recent.len() >= REMEMBERED_LINES {
                recent.retain(|_, logged| logged.elapsed() < REPEAT_PAUSE);
            }
            if recent.get(line).is_some_and(|logged| logged.elapsed() < REPEAT_PAUSE) {
                return true;
            }
            if recent.len() < REMEMBERED_LINES {
                recent.insert(line.to_owned(), now);
            }
            false
        });
        is_repeated.unwrap_or(false)
    }
}

impl Sink for Logger {
    fn line(&self, level: Level, line: &str) {
        let target = self.target.get();
        if matches!(target, Target::Nobody) || self.is_repetition(line) {
            return;
        }
        // Here no lock is held and no guarded state is entered: the host may do what it likes, fork included.
        match target {
            Target::Nobody => {}
            Target::Function(function) => function(level, line),
            Target::Syslog => log::syslog(level, line),
        }
    }
}
