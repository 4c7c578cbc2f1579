//! The command line, and the settings that it changes.

use crate::cache::CacheArguments;
use crate::doctor::DoctorArguments;
use crate::{Stop, complain, terminal};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use mtasts::config::{ConfigError, Loaded, Settings};
use mtasts::context::{CacheOwner, Context, Level};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Asks about the MTA-STS policies (RFC 8461) of mail domains, and tells why a message may or may not be delivered.
#[derive(Parser)]
#[command(
    name = "mtasts",
    version,
    max_term_width = 100,
    after_help = "\
Exit status:
  0  everything was answered
  1  a policy is malformed, a domain is not in the cache, a line was not imported, or doctor found a fault
  2  the command line, the configuration or a file is not right
  3  an answer is not known, because DNS did not answer and nothing is cached
  4  a fault of mtasts itself, which should be reported
  5  none of the MX hosts that --mx names may be used: a message to them is held
If several hold, it is the largest.

Started by root, it first becomes the owner of the cache file, else the configured user, else the owner of the \
cache's directory, else nobody, who works without a cache. Only the configuration and the files for `parse` and `cache import` are opened as root, \
and only a cache that belongs to another user than root is used. `parse` works as nobody.

Examples:
  mtasts lookup example.com                      the policy, and why
  mtasts lookup --mx mx.example.com example.com  why mail to this host is held
  mtasts lookup --explain example.com            how the answer came about
  mtasts refresh                                 fetches anew what is due
  mtasts cache list                              what is remembered
  mtasts config                                  the settings in force
  mtasts doctor                                  is this machine set up right?"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub settings: SettingsArguments,
}

#[derive(Subcommand)]
pub enum Command {
    /// Shows the policy that applies to mail for a domain, and why
    Lookup(LookupArguments),
    /// Fetches the cached policies anew for which that is due, and says how many could not be fetched
    Refresh(RefreshArguments),
    /// Shows and looks after what is remembered about domains
    Cache(CacheArguments),
    /// Reads a policy file and shows what it says, or what is wrong with it
    Parse(ParseArguments),
    /// Shows every setting in force and where it comes from, as a configuration file would have it
    Config(ConfigArguments),
    /// Checks whether this machine is set up right, and says what mends each fault
    Doctor(DoctorArguments),
    /// Prints the completions for a shell
    Completions(CompletionsArguments),
}

#[derive(Args)]
#[command(after_help = "\
Exit status: 0 everything was answered, 2 the command line or the configuration is not right, 3 an answer is not known \
because DNS did not answer and nothing is cached, 5 none of the MX hosts that --mx names may be used.

Examples:
  mtasts lookup example.com example.org
  mtasts lookup --mx mx1.example.com --mx mx2.example.com example.com
  mtasts lookup --explain example.com
  mtasts lookup --json - < domains.txt")]
pub struct LookupArguments {
    /// Domains to look up; `-` reads them from standard input, one on a line
    #[arg(required = true, value_name = "DOMAIN", value_hint = ValueHint::Hostname)]
    pub domains: Vec<OsString>,
    /// Show what may be done with mail to this MX host: whether it is used, whether TLS must be verified, why, and
    /// until when that holds. May be given several times, for all MX hosts of a message. As before a delivery, a policy
    /// that lists none of them is fetched anew. What DANE says is not looked at
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub mx: Vec<OsString>,
    /// Tell how the answer came about: what was cached, what DNS and the policy host said, what was decided and why, and
    /// what would change it
    #[arg(long)]
    pub explain: bool,
    /// Print one JSON object on a line for each domain
    #[arg(long)]
    pub json: bool,
    /// Use what is cached only: no DNS, no HTTPS
    #[arg(long, conflicts_with = "refresh")]
    pub cache_only: bool,
    /// Ask DNS and fetch the policy now, even if nothing is due
    #[arg(long)]
    pub refresh: bool,
}

#[derive(Args)]
#[command(after_help = "\
A policy that cannot be fetched stays in force and is logged on standard error, the louder the nearer its end is.

Exit status: 0 what was due has been tried, 2 the configuration is not right or the cache cannot be read.

Examples:
  mtasts refresh
  mtasts refresh --max 1000 --timeout 300")]
pub struct RefreshArguments {
    /// Fetch at most so many policies, those first that were tried least recently; 0: all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max: usize,
    /// End after so many seconds; what is left over is due the next time
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Exit status: 0 the policy is well-formed, 1 it is malformed, 2 the file cannot be read.

Examples:
  mtasts parse mta-sts.txt
  curl -s https://mta-sts.example.com/.well-known/mta-sts.txt | mtasts parse -")]
pub struct ParseArguments {
    /// The policy file; `-` reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Faults of the configuration are told on standard error, each with its line and what would be right; what is shown is \
then what is in force without them.

Exit status: 0 the configuration is right, 2 it has a fault.

Examples:
  mtasts config
  mtasts config --config mtasts.toml.new
  mtasts config --json")]
pub struct ConfigArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  mtasts completions bash > /usr/share/bash-completion/completions/mtasts
  mtasts completions zsh > /usr/share/zsh/vendor-completions/_mtasts
  mtasts completions fish > /usr/share/fish/vendor_completions.d/mtasts.fish")]
pub struct CompletionsArguments {
    /// The shell that is to load them
    pub shell: Shell,
}

/// When to write in colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that knows colours, unless the environment has NO_COLOR
    #[default]
    Auto,
    /// Whatever the output goes to
    Always,
    /// Not at all
    Never,
}

#[derive(Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArguments {
    /// Configuration file [default: the one that MTASTS_CONFIG names, else /etc/mtasts.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Cache file
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cache: Option<PathBuf>,
    /// Resolver to ask, as IP or IP:PORT; may be given several times
    #[arg(long, global = true, value_name = "ADDRESS")]
    nameserver: Vec<String>,
    /// Trusted root certificates, in PEM
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Port of the policy hosts
    #[arg(long, global = true, value_name = "PORT")]
    https_port: Option<String>,
    /// Any other key of the configuration; may be given several times
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show what goes on, on standard error
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Write in colours: `always`, `never`, or `auto`, which is on a terminal unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub color: ColorChoice,
}

/// What the configuration and the options come to.
pub struct Effective {
    pub settings: Settings,
    /// What is wrong with the configuration file.
    pub faults: Vec<ConfigError>,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// Where a plain key comes from that is not at its default. A table of a domain knows its line, if it has one.
    pub origins: BTreeMap<String, Origin>,
}

/// What has set a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    Line(usize),
    /// An option of the command line, as it is spelled.
    Option(&'static str),
}

/// A key that the command line sets.
struct SetKey {
    option: &'static str,
    key: String,
    value: String,
}

impl SettingsArguments {
    /// The context that the options describe, after root has become the user to whom the cache belongs. What is as
    /// grave as `least` goes to standard error; `--verbose` lets all through.
    pub fn context(&self, least: Level) -> Result<Context, Stop> {
        let effective = self.effective()?;
        if !effective.faults.is_empty() {
            return Err(Stop::Faults(effective.faults.iter().map(ToString::to_string).collect()));
        }
        leave_root(&effective.settings)?;
        let context = Context::with_settings(effective.settings);
        let least = if self.verbose { Level::Debug } else { least };
        let is_journal = terminal::is_journal(&std::io::stderr());
        context.set_log(Some(Box::new(move |level, line| {
            if level <= least {
                let severity = if is_journal { format!("<{}>", level as i32) } else { String::new() };
                complain(&format!("{severity}mtasts: {line}"));
            }
        })));
        Ok(context)
    }

    /// The settings in force. Faults of the file are returned beside them; those of the options stop the command.
    pub fn effective(&self) -> Result<Effective, Stop> {
        let Loaded { mut settings, faults, path, lines } = Loaded::from_file(self.config.as_deref());
        let mut origins: BTreeMap<String, Origin> =
            lines.into_iter().map(|(key, line)| (key, Origin::Line(line))).collect();
        for SetKey { option, key, value } in self.keys()? {
            let refused = |fault: ConfigError| Stop::Fault(format!("{option}: {fault}"));
            settings.set(&key, &value).map_err(refused)?;
            origins.insert(key, Origin::Option(option));
        }
        Ok(Effective { settings, faults, file: path, origins })
    }

    fn keys(&self) -> Result<Vec<SetKey>, Stop> {
        let mut keys = Vec::new();
        let mut add = |option, key: &str, value: String| keys.push(SetKey { option, key: key.to_owned(), value });
        if let Some(path) = &self.cache {
            add("--cache", "cache", absolute("--cache", path)?);
        }
        if let Some(path) = &self.ca_file {
            add("--ca-file", "ca_file", absolute("--ca-file", path)?);
        }
        if !self.nameserver.is_empty() {
            add("--nameserver", "nameservers", self.nameserver.join(","));
        }
        if let Some(port) = &self.https_port {
            add("--https-port", "https_port", port.clone());
        }
        for pair in &self.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Stop::Fault(format!("--set {pair}: want KEY=VALUE")))?;
            add("--set", key.trim(), value.to_owned());
        }
        Ok(keys)
    }
}

/// A path as the configuration has it, where paths are text.
fn absolute(option: &str, path: &Path) -> Result<String, Stop> {
    let fault = |problem: &str| Stop::Fault(format!("{option}: `{}`: {problem}", path.display()));
    let found = std::path::absolute(path).map_err(|error| fault(&error.to_string()))?;
    found.into_os_string().into_string().map_err(|_| fault("want a path that is UTF-8"))
}

/// Lets a process of root's become nobody, for text of strangers and no cache.
pub fn leave_root_for_nobody() -> Result<(), Stop> {
    CacheOwner::nobody_in_place_of_root().map_or(Ok(()), become_user)
}

fn become_user(owner: CacheOwner) -> Result<(), Stop> {
    let refused = |error| Stop::Fault(format!("cannot work as {} in place of root: {error}", owner.name()));
    owner.assume().map_err(refused)
}

/// Lets a process of root's become the user to whom the cache belongs. Whatever may open the cache comes after this;
/// [`SettingsArguments::context`] does it by itself.
pub fn leave_root(settings: &Settings) -> Result<(), Stop> {
    let owner = CacheOwner::in_place_of_root(settings).map_err(|fault| Stop::Fault(fault.to_string()))?;
    let Some(owner) = owner else { return Ok(()) };
    become_user(owner)?;
    if owner.is_stand_in() {
        let cache = settings.cache.display();
        complain(&format!(
            "mtasts: works as {}, not as root: the cache {cache} belongs to no other user",
            owner.name()
        ));
    }
    Ok(())
}
