//! One configured instance: settings, cache, network, clock and log put together.
//!
//! Any thread may use a context, and it goes on working in forked children. Making one opens nothing. Every question
//! has one deadline, over everything that it takes.

mod owner;

pub use owner::CacheOwner;

use crate::cache::{Cache, Upkeep};
use crate::config::{ConfigError, Overrides, Settings};
use crate::decision::Decision;
use crate::discovery::{Answer, Discovery, Effort, Network, Source, due_before};
use crate::dns;
use crate::https::{self, FetchError};
use crate::reason::Reason;
use crate::syntax::{DomainError, Mode, MxHost, PolicyDomain};
use crate::sys::fork::{self, ForkSafe, Work};
use crate::sys::log::{self, Sink};
use crate::sys::published::Published;
use crate::sys::stripe;
use crate::time::{Clock, Deadline, SystemClock};
use crate::tls::Trust;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub use crate::sys::log::Level;

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
    logger: Arc<Logger>,
    clock: Box<dyn Clock>,
}

/// What a change of a setting replaces as a whole.
struct Parts {
    settings: Settings,
    cache: Arc<Cache>,
    trust: Arc<Trust>,
    origin: stripe::Shared<Origin>,
    fair_time: Duration,
}

impl Parts {
    fn new(settings: Settings, cache: Arc<Cache>, trust: Arc<Trust>, logger: &Arc<Logger>) -> Self {
        let log = LogWhileItLives(Arc::downgrade(logger));
        let origin = Origin { dane_wins: settings.dane_wins, trust: Arc::clone(&trust), log };
        let fair_time = FAIR_TIME.min(settings.deadline.mul_f32(0.5));
        Self { settings, cache, trust, origin: stripe::Shared::new(origin), fair_time }
    }

    /// The answer as the key `observe` wants it.
    fn applied(&self, mut answer: Answer) -> Answer {
        if self.settings.observe && answer.mode() == Mode::Enforce {
            answer.is_observed = true;
        }
        answer
    }
}

/// What an answer needs of its context for the decisions that are made by it, also once the context is gone.
pub(crate) struct Origin {
    /// Whether a usable TLSA set frees a host from being listed.
    pub dane_wins: bool,
    /// The roots by which the certificate of an MX host is verified.
    pub trust: Arc<Trust>,
    /// Where refusals are logged that are only observed.
    pub log: LogWhileItLives,
}

impl Origin {
    /// Of an answer that no context has given.
    pub fn none() -> Self {
        Self { dane_wins: false, trust: Trust::of_system(), log: LogWhileItLives(Weak::new()) }
    }
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
        let trust = Trust::of(settings.ca_file.as_deref());
        let logger = Arc::new(Logger::new());
        Self { parts: Published::new(Parts::new(settings, cache, trust, &logger)), logger, clock }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.parts.get().settings
    }

    /// What an answer takes with it.
    pub(crate) fn origin(&self) -> stripe::Hold<Origin> {
        self.parts.get().origin.hold()
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
            let is_same_trust = settings.ca_file == old.settings.ca_file;
            let trust = if is_same_trust { Arc::clone(&old.trust) } else { Trust::of(settings.ca_file.as_deref()) };
            Ok(Parts::new(settings, cache, trust, &self.logger))
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
    /// configured deadline. Network trouble is a reason in the answer. Blocks the thread.
    pub fn query(&self, domain: &[u8], effort: Effort, timeout: Option<Duration>) -> Answer {
        self.query_about(PolicyDomain::parse(domain), effort, timeout)
    }

    /// The same about a domain that has been read already.
    pub(crate) fn query_about(
        &self,
        domain: Result<PolicyDomain, DomainError>,
        effort: Effort,
        timeout: Option<Duration>,
    ) -> Answer {
        match domain {
            Ok(domain) => self.discover(&domain, effort, self.deadline(timeout), false),
            Err(error) => Answer::impossible(error),
        }
    }

    /// The same, with the story of how the answer came about.
    pub fn explain(&self, domain: &[u8], effort: Effort, timeout: Option<Duration>) -> Answer {
        match PolicyDomain::parse(domain) {
            Ok(domain) => self.discover(&domain, effort, self.deadline(timeout), true),
            Err(error) => Answer::of_no_domain(error, true),
        }
    }

    /// What [`Context::query`] says, if nothing is due: from memory or the cache file, which is waited for while another
    /// program holds it locked, for `timeout` at most. Goes to no network and waits for no other asker.
    pub fn recall(&self, domain: &PolicyDomain, timeout: Option<Duration>) -> Option<Answer> {
        let parts = self.parts.get();
        let network = Internet { settings: &parts.settings, trust: &parts.trust };
        let answer = self.discovery(parts, &network).recall(domain, self.deadline(timeout))?;
        Some(parts.applied(answer))
    }

    /// What [`Context::query`] says, for a message whose MX hosts are known. Before an enforced policy refuses every one
    /// of them it is fetched anew, at most every five minutes, and the answer is what came of that (RFC 8461 section 5).
    pub fn query_for(&self, domain: &[u8], mx_hosts: &[&[u8]], effort: Effort, timeout: Option<Duration>) -> Answer {
        self.query_until(domain, mx_hosts, effort, self.deadline(timeout))
    }

    /// The same, with the story of how the answer came about; where the policy was fetched anew, the story of that.
    pub fn explain_for(&self, domain: &[u8], mx_hosts: &[&[u8]], effort: Effort, timeout: Option<Duration>) -> Answer {
        self.find_for(domain, mx_hosts, effort, self.deadline(timeout), true)
    }

    /// What [`Context::query_for`] says, until a moment that the caller shares with other work.
    pub(crate) fn query_until(&self, domain: &[u8], mx_hosts: &[&[u8]], effort: Effort, deadline: Deadline) -> Answer {
        self.find_for(domain, mx_hosts, effort, deadline, false)
    }

    fn find_for(&self, domain: &[u8], mx_hosts: &[&[u8]], effort: Effort, deadline: Deadline, tells: bool) -> Answer {
        let domain = match PolicyDomain::parse(domain) {
            Ok(domain) => domain,
            Err(error) => return Answer::of_no_domain(error, tells),
        };
        let mut answer = self.discover(&domain, effort, deadline, tells);
        let is_cached = effort == Effort::Usual && answer.source == Source::Cache;
        if is_cached && answer.refuses_all(mx_hosts) && !deadline.has_passed() {
            answer = self.discover(&domain, Effort::Heal, deadline, tells);
        }
        if answer.is_observed && answer.refuses_all(mx_hosts) {
            let refusal = answer.describe_refusal(mx_hosts, self.clock.now());
            self.log(Level::Warning, &format!("would be refused, but is only observed: {refusal}"));
        }
        answer
    }

    /// Fetches the policies anew for which that is due, the least recently tried first. `max_domains`: at most so many,
    /// 0 for all. `timeout`: the longest that this may take, instead of the configured deadline. What is in force stays
    /// so when a fetch fails (RFC 8461 sections 3.3 and 10.2). The error says why the cache cannot be read.
    pub fn refresh(&self, max_domains: usize, timeout: Option<Duration>) -> Result<Refreshed, String> {
        let parts = self.parts.get();
        let time = timeout.unwrap_or(parts.settings.deadline);
        let deadline = Deadline::after(time);
        let fair_time = FAIR_TIME.min(parts.settings.deadline.min(time).mul_f32(0.5));
        let now = self.clock.now();
        let due = parts.cache.due(now, due_before(now), deadline, &*self.logger)?;
        let most = if max_domains == 0 { usize::MAX } else { max_domains };
        let mut refreshed = Refreshed::default();
        for domain in due.iter().take(most) {
            let is_first = refreshed == Refreshed::default();
            if deadline.remaining() < fair_time && !is_first || deadline.has_passed() {
                break;
            }
            let network = Internet { settings: &parts.settings, trust: &parts.trust };
            // Also where the configuration decides for now: the policy is to be there when that ends.
            let overrides = Overrides::new();
            let discovery =
                Discovery { refreshes: true, fair_time, overrides: &overrides, ..self.discovery(parts, &network) };
            let answer = discovery.discover(domain, Effort::Usual, deadline.at_most(parts.settings.deadline));
            match (answer.source, answer.reason) {
                (Source::Https, _) => refreshed.done = refreshed.done.saturating_add(1),
                // Somebody else is at it, or has just been.
                (_, Reason::BeingChecked | Reason::Cached | Reason::Confirmed) => {}
                _ => refreshed.failed = refreshed.failed.saturating_add(1),
            }
        }
        Ok(refreshed)
    }

    /// Looks after the cache as a whole: lists, purges, imports. For an administrator, not for the way of a message.
    pub fn upkeep(&self) -> Upkeep<'_> {
        let (now, cache) = (self.clock.now(), &self.parts.get().cache);
        let longest_plan = due_before(now).seconds_since(now);
        Upkeep { cache, clock: &*self.clock, log: &*self.logger, longest_plan }
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

    fn discover(&self, domain: &PolicyDomain, effort: Effort, deadline: Deadline, tells: bool) -> Answer {
        let parts = self.parts.get();
        let network = Internet { settings: &parts.settings, trust: &parts.trust };
        let discovery = Discovery { tells, ..self.discovery(parts, &network) };
        parts.applied(discovery.discover(domain, effort, deadline))
    }

    fn discovery<'a>(&'a self, parts: &'a Parts, network: &'a Internet<'a>) -> Discovery<'a> {
        Discovery {
            cache: &parts.cache,
            network,
            clock: &*self.clock,
            log: &*self.logger,
            overrides: &parts.settings.domains,
            on_dns_error: parts.settings.on_dns_error,
            refreshes: parts.settings.refresh,
            fair_time: parts.fair_time,
            tells: false,
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a pass over the policies that were due has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Policies that were fetched anew.
    pub done: u32,
    /// Policies that could not be fetched, and stay as they are.
    pub failed: u32,
}

/// The way out to real servers.
struct Internet<'a> {
    settings: &'a Settings,
    trust: &'a Trust,
}

impl Network for Internet<'_> {
    fn txt(&self, name: &str, deadline: Deadline) -> dns::Answer<Vec<u8>> {
        dns::txt(self.settings, name, deadline)
    }

    fn policy_body(&self, domain: &PolicyDomain, deadline: Deadline) -> Result<Vec<u8>, FetchError> {
        let without_roots = |text| FetchError { reason: Reason::NoTrustedRoots, text };
        let tls = self.trust.client_config().map_err(without_roots)?;
        https::fetch(self.settings, &tls, domain, deadline)
    }
}

/// The log of a context, silent once that is gone.
pub(crate) struct LogWhileItLives(Weak<Logger>);

impl LogWhileItLives {
    /// Logs what a decision would have refused, were its policy not merely observed.
    pub(crate) fn would_be_refusal(&self, decision: &Decision) {
        if let (Some(text), Some(logger)) = (decision.observed_refusal(), self.0.upgrade()) {
            logger.line(Level::Warning, &format!("would be refused, but is only observed: {text}"));
        }
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
        Self { target: Published::new(Target::Nobody), recent: ForkSafe::new(Work::Memory, HashMap::new) }
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
