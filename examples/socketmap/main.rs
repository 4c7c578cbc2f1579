//! The program `mtasts-socketmap`: tells Sendmail and Postfix, who ask a socketmap server, what MTA-STS demands of mail to a
//! domain. What there is to say is the library's matter (`mtasts::socketmap`); here are the sockets, the threads and the
//! life of a server.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod connections;
mod listeners;
mod log;
mod lookups;
mod netstring;
mod notify;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, ValueHint};
use connections::Connections;
use listeners::{Address, Listener};
use log::Log;
use lookups::{Lookups, MOST_THREADS};
use mtasts::config::Settings;
use mtasts::context::{CacheOwner, Context, Level};
use notify::Notify;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Stopped as it was told to.
const SUCCESS: u8 = 0;
/// The command line, the configuration or a socket is not right.
const USAGE: u8 = 2;
/// A fault of this program.
const INTERNAL: u8 = 4;

/// Descriptors for the log, the signals, the sockets, the cache, and a client that is taken.
const OWN_DESCRIPTORS: u64 = 16;
/// Descriptors for each domain that is looked for: questions to DNS and connections to addresses of the policy host. Whoever
/// cannot ask learns of no policy.
const SEARCH_DESCRIPTORS: u64 = 4;
/// How long no client is taken when there is no room for one, or the system refuses one.
const PAUSE: Duration = Duration::from_millis(20);
/// Nobody who has asked waits longer than this for a reply.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
/// The last lines of the log are waited for so long.
const LONGEST_LOG: Duration = Duration::from_millis(500);
/// No client has come after all, or has gone again.
const IS_NOTHING: [ErrorKind; 3] = [ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::ConnectionAborted];
/// What the service manager shows.
const ANSWERING: &str = "Answering";

/// Tells Sendmail and Postfix what MTA-STS (RFC 8461) demands of mail to a domain, as a socketmap server.
#[derive(Parser)]
#[command(
    name = "mtasts-socketmap",
    version,
    max_term_width = 100,
    after_help = "\
Maps: `sts` for Sendmail, `postfix` for Postfix, `postfix-tlsrpt` for Postfix 3.10.5 and newer.

Signals: SIGHUP reads the configuration again; SIGTERM and SIGINT end the program when what was asked is answered, a \
second one at once.

Exit status:
  0  it was told to end
  2  the command line, the configuration or a socket is not right
  4  a fault of mtasts-socketmap itself, which should be reported

Started by root, it binds its sockets and becomes the owner of the cache file, else the configured user, else the owner \
of the cache's directory, else nobody, who works without a cache.

Examples:
  mtasts-socketmap --listen inet:127.0.0.1:5461
  mtasts-socketmap --listen unix:/run/mtasts/socketmap --config mtasts.toml"
)]
struct Arguments {
    /// Listen on `inet:HOST:PORT`, all addresses of the host, which may be an IPv6 address in brackets, or on
    /// `unix:PATH`; may be given several times. Sockets that systemd hands over are used besides
    #[arg(long, value_name = "ADDRESS", value_parser = OsStringValueParser::new().try_map(Address::parse))]
    listen: Vec<Address>,
    /// Mode of the files of Unix sockets, in octal
    #[arg(long, value_name = "MODE", default_value = "666", value_parser = socket_mode)]
    socket_mode: u32,
    /// Most clients at a time; a new one takes the place of the one that has asked nothing for the longest time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Configuration file [default: the one that MTASTS_CONFIG names, else /etc/mtasts.toml, if it exists]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Set a key of the configuration, also when that is read again; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Log each reply and what goes on
    #[arg(long, short)]
    verbose: bool,
}

fn socket_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && text.bytes().all(|digit| digit.is_ascii_digit()))
        .ok_or_else(|| "want an octal number from 0 to 777".to_owned())
}

impl Arguments {
    /// The settings in force, or each fault of the configuration.
    fn settings(&self) -> Result<Settings, Vec<String>> {
        let (mut settings, faults) = Settings::load(self.config.as_deref());
        let mut faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for pair in &self.set {
            match pair.split_once('=') {
                None => faults.push(format!("--set {pair}: want KEY=VALUE")),
                Some((key, value)) => {
                    faults.extend(settings.set(key.trim(), value).err().map(|fault| format!("--set: {fault}")));
                }
            }
        }
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    fn listeners(&self) -> Result<Vec<Listener>, String> {
        let mut listeners = listeners::handed_over()?;
        for address in &self.listen {
            listeners.extend(address.listen(self.socket_mode)?);
        }
        if listeners.is_empty() {
            let wanted =
                "want --listen inet:127.0.0.1:5461, --listen unix:/run/mtasts/socketmap, or a socket unit of systemd";
            return Err(format!("nothing to listen on: {wanted}"));
        }
        Ok(listeners)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A fault is told in one line, whichever thread it ends.
    panic::set_hook(Box::new(|fault| {
        log::say(Level::Error, &format!("a fault inside mtasts-socketmap; please report it: {fault}"));
    }));
    ExitCode::from(panic::catch_unwind(|| run(&arguments)).unwrap_or(INTERNAL))
}

fn run(arguments: &Arguments) -> u8 {
    match start(arguments) {
        Ok(server) => {
            server.run();
            SUCCESS
        }
        Err(problems) => {
            for problem in problems {
                log::say(Level::Error, &problem);
            }
            USAGE
        }
    }
}

type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// Everything that runs.
struct Server<'a> {
    arguments: &'a Arguments,
    signals: Signals,
    listeners: Vec<Listener>,
    connections: Arc<Connections>,
    log: Log,
    notify: Notify,
}

/// Binds the sockets, then stops being root, and only then has threads and a context.
fn start(arguments: &Arguments) -> Result<Server<'_>, Vec<String>> {
    let settings = arguments.settings()?;
    let one = |problem: String| vec![problem];
    let signals = watch_signals().map_err(|error| one(format!("signals: {error}")))?;
    let listeners = arguments.listeners().map_err(one)?;
    let bounds = allow_descriptors(arguments.connections, listeners.len());
    leave_root(&settings).map_err(one)?;
    let least = if arguments.verbose { Level::Debug } else { Level::Notice };
    let log = Log::start(least).map_err(|error| one(format!("a thread for the log: {error}")))?;
    let lookups = Lookups::new(context(settings, &log), bounds.searches, log.clone());
    let connections = Arc::new(Connections::new(lookups, log.clone(), bounds.clients));
    for listener in &listeners {
        log.line(Level::Notice, format!("listening on {}", listener.name()));
    }
    Ok(Server { arguments, signals, listeners, connections, log, notify: Notify::from_environment() })
}

fn watch_signals() -> std::io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    SignalDelivery::with_pipe(read, write, SignalOnly, [SIGHUP, SIGTERM, SIGINT])
}

/// So many at a time at most.
struct Bounds {
    clients: usize,
    searches: usize,
}

/// Lets the process have the descriptors that it may need, as far as the system allows that, and says for how many clients
/// it does.
fn allow_descriptors(connections: u32, listeners: usize) -> Bounds {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let own = OWN_DESCRIPTORS.saturating_add(number(listeners));
    let most = u64::from(connections);
    let wanted = most + number(MOST_THREADS) * SEARCH_DESCRIPTORS + own;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.unwrap_or(u64::MAX);
    if current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted.min(allowed)), maximum });
    }
    let clients = most.min(allowed.saturating_sub(wanted - most).max(allowed / 2));
    let left = allowed.saturating_sub(own.saturating_add(clients)) / SEARCH_DESCRIPTORS;
    let searches = left.clamp(1, number(MOST_THREADS));
    if clients < most {
        log::say(
            Level::Warning,
            &format!("takes {clients} clients at most: the limit of open files is {allowed}, want {wanted}"),
        );
    }
    let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    Bounds { clients: size(clients), searches: size(searches) }
}

/// Lets a process of root's become the user to whom the cache belongs, for good.
fn leave_root(settings: &Settings) -> Result<(), String> {
    let Some(owner) = CacheOwner::in_place_of_root(settings).map_err(|fault| fault.to_string())? else { return Ok(()) };
    owner.assume().map_err(|error| format!("cannot work as {} in place of root: {error}", owner.name()))?;
    if owner.is_stand_in() {
        let (cache, name) = (settings.cache.display(), owner.name());
        log::say(Level::Warning, &format!("works as {name}, not as root: the cache {cache} belongs to no other user"));
    }
    Ok(())
}

fn context(settings: Settings, log: &Log) -> Context {
    let context = Context::with_settings(settings);
    let log = log.clone();
    context.set_log(Some(Box::new(move |level, line| log.line(level, line))));
    context
}

impl Server<'_> {
    /// Serves until a signal ends that.
    fn run(mut self) {
        self.notify.ready(ANSWERING);
        let mut is_taking = true;
        while !self.heed_signals() {
            is_taking = self.wait(is_taking).into_iter().all(|listener| self.take_client(listener));
        }
        self.stop();
    }

    /// Waits for a signal and, if wanted, for clients; else for a moment.
    fn wait(&self, is_taking: bool) -> Vec<&Listener> {
        let listeners = if is_taking { self.listeners.as_slice() } else { &[] };
        let mut watched = vec![PollFd::new(self.signals.get_read(), PollFlags::IN)];
        watched.extend(listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        let pause = Timespec::try_from(PAUSE).ok().filter(|_| !is_taking);
        // A signal that interrupts this is found afterwards.
        let _ = poll(&mut watched, pause.as_ref());
        let has_client = |watched: &PollFd<'_>| !watched.revents().is_empty();
        let ready = watched.iter().skip(1).zip(listeners).filter(|(watched, _)| has_client(watched));
        ready.map(|(_, listener)| listener).collect()
    }

    /// Does what signals say; whether one of them says to stop.
    fn heed_signals(&mut self) -> bool {
        let signals: Vec<_> = self.signals.pending().collect();
        if signals.contains(&SIGHUP) {
            self.reload();
        }
        signals.contains(&SIGTERM) || signals.contains(&SIGINT)
    }

    /// Takes a client, at the cost of another one if there is no room. Whether there is reason to go on taking clients.
    fn take_client(&self, listener: &Listener) -> bool {
        if !self.connections.has_room() && !self.connections.close_longest_idle() {
            return false;
        }
        let attendant = match self.connections.attendant() {
            Ok(attendant) => attendant,
            Err(error) => return self.make_room(listener, &format!("no thread: {error}")),
        };
        match listener.accept().and_then(|(socket, address)| attendant.serve(socket, &address)) {
            Ok(()) => true,
            Err(error) if IS_NOTHING.contains(&error.kind()) => true,
            Err(error) => self.make_room(listener, &error.to_string()),
        }
    }

    /// Closes a connection where the system has nothing left for another one. Whether there is reason to go on, as there
    /// is not for a moment.
    fn make_room(&self, listener: &Listener, problem: &str) -> bool {
        self.log.about_client(|| format!("{}: no client can be taken: {problem}", listener.name()));
        self.connections.close_longest_idle();
        false
    }

    fn reload(&self) {
        self.notify.reloading();
        match self.arguments.settings() {
            Ok(settings) => {
                self.connections.lookups().replace_context(context(settings, &self.log));
                self.log.line(Level::Notice, "the configuration was read again");
            }
            Err(problems) => {
                for problem in problems {
                    self.log.line(Level::Error, format!("{problem}; the configuration stays as it was"));
                }
            }
        }
        self.notify.ready(ANSWERING);
    }

    /// Lets those who have asked have their replies.
    fn stop(mut self) {
        self.notify.stopping();
        self.log.line(Level::Notice, "stopping");
        self.listeners.clear();
        self.connections.stop();
        let until = Instant::now() + LONGEST_ANSWER;
        while !self.connections.is_empty() && Instant::now() < until && !self.heed_signals() {
            self.wait(false);
        }
        self.log.flush(LONGEST_LOG);
    }
}
