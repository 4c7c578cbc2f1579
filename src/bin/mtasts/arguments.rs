//! The command line, and the settings that it changes.

use crate::{Stop, complain};
use clap::{Args, Parser, Subcommand};
use mtasts::context::{Context, Level};
use std::ffi::OsString;
use std::path::PathBuf;

/// Asks about the MTA-STS policies (RFC 8461) of mail domains.
#[derive(Parser)]
#[command(
    name = "mtasts",
    version,
    after_help = "\
Exit status: 0 everything was answered, 1 a policy is malformed, 2 the command line, the configuration or a file is \
not right, 3 an answer is not known because DNS did not answer, 4 a fault of mtasts itself, which should be reported.

Examples:
  mtasts lookup example.com
  mtasts lookup --explain example.com
  mtasts lookup --json - < domains.txt
  mtasts refresh --max 1000 --timeout 300
  mtasts parse mta-sts.txt"
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
    /// Reads a policy file and shows what it says, or what is wrong with it
    Parse(ParseArguments),
}

#[derive(Args)]
pub struct LookupArguments {
    /// Domains to look up; `-` reads them from standard input, one on a line
    #[arg(required = true)]
    pub domains: Vec<OsString>,
    /// Print one JSON object on a line for each domain
    #[arg(long)]
    pub json: bool,
    /// Tell how the answer came about: what was cached, what DNS and the policy host said, what was decided and why, and
    /// what would change it
    #[arg(long)]
    pub explain: bool,
    /// Use what is cached only: no DNS, no HTTPS
    #[arg(long, conflicts_with = "refresh")]
    pub cache_only: bool,
    /// Ask DNS and fetch the policy now, even if nothing is due
    #[arg(long)]
    pub refresh: bool,
}

#[derive(Args)]
pub struct RefreshArguments {
    /// Fetch at most so many policies, those first that were tried least recently; 0: all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max: usize,
    /// End after so many seconds; what is left over is due the next time
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

#[derive(Args)]
pub struct ParseArguments {
    /// The policy file; `-` reads standard input
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArguments {
    /// Configuration file [default: /etc/mtasts.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Cache file
    #[arg(long, global = true, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Resolver to ask, as IP or IP:PORT; may be given several times
    #[arg(long, global = true, value_name = "ADDRESS")]
    nameserver: Vec<String>,
    /// Trusted root certificates, in PEM
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Port of the policy hosts
    #[arg(long, global = true, value_name = "PORT")]
    https_port: Option<String>,
    /// Any other key of the configuration; may be given several times
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show what goes on, on standard error
    #[arg(long, short, global = true)]
    verbose: bool,
}

impl SettingsArguments {
    /// The context that the options describe. What is as grave as `least` goes to standard error; `--verbose` lets all
    /// through.
    pub fn context(&self, least: Level) -> Result<Context, Stop> {
        let context = Context::new(self.config.as_deref()).map_err(|fault| Stop::Fault(fault.to_string()))?;
        for (key, value) in self.keys()? {
            context.set(&key, &value).map_err(|fault| Stop::Fault(fault.to_string()))?;
        }
        let least = if self.verbose { Level::Debug } else { least };
        // The journal of systemd reads the severity from the beginning of a line (sd-daemon(3)).
        let is_journal = std::env::var_os("JOURNAL_STREAM").is_some();
        context.set_log(Some(Box::new(move |level, line| {
            if level <= least {
                let severity = if is_journal { format!("<{}>", level as i32) } else { String::new() };
                complain(&format!("{severity}mtasts: {line}"));
            }
        })));
        Ok(context)
    }

    fn keys(&self) -> Result<Vec<(String, String)>, Stop> {
        let mut keys = Vec::new();
        let mut path = |key: &str, path: &Option<PathBuf>| -> Result<(), Stop> {
            if let Some(path) = path {
                let absolute = std::path::absolute(path)?;
                keys.push((key.to_owned(), absolute.to_string_lossy().into_owned()));
            }
            Ok(())
        };
        path("cache", &self.cache)?;
        path("ca_file", &self.ca_file)?;
        if !self.nameserver.is_empty() {
            keys.push(("nameservers".to_owned(), self.nameserver.join(",")));
        }
        if let Some(port) = &self.https_port {
            keys.push(("https_port".to_owned(), port.clone()));
        }
        for pair in &self.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Stop::Fault(format!("--set {pair}: want KEY=VALUE")))?;
            keys.push((key.to_owned(), value.to_owned()));
        }
        Ok(keys)
    }
}
