//! `mtasts cache`: shows and looks after what is remembered about domains.
//!
//! Every subcommand but `import` takes the file as it is: none is made, healed or moved because somebody looked at it.

mod export;
mod file;
mod import;
mod list;
mod purge;
mod show;
mod shown;
mod stats;
mod wire;

use crate::Stop;
use crate::arguments::SettingsArguments;
use clap::{Args, Subcommand, ValueEnum};
use mtasts::cache::Filter;
use mtasts::context::Level;
use mtasts::syntax::{Mode, PolicyDomain};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// A domain is not in the cache, or a line is not imported.
const NEGATIVE: u8 = 1;

#[derive(Args)]
#[command(after_help = "\
Exit status: 0 done, 1 a domain is not in the cache or a line was not imported, 2 the command line, the configuration \
or the file of the cache is not right.

Examples:
  mtasts cache list --mode enforce --sort expires
  mtasts cache show example.com
  mtasts cache purge example.com
  mtasts cache export > policies.jsonl
  mtasts cache import policies.jsonl
  mtasts cache stats")]
pub struct CacheArguments {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Subcommand)]
enum CacheCommand {
    /// Lists the domains about which something is remembered
    List(list::ListArguments),
    /// Shows all that is remembered about a domain
    Show(show::ShowArguments),
    /// Throws out what is remembered about domains
    Purge(purge::PurgeArguments),
    /// Writes all rows as JSON lines, for `mtasts cache import` on another host
    Export(export::ExportArguments),
    /// Takes in rows that `mtasts cache export` has written
    Import(import::ImportArguments),
    /// Counts the rows, also for Prometheus
    Stats(stats::StatsArguments),
}

pub fn run(settings: &SettingsArguments, request: &CacheArguments) -> Result<u8, Stop> {
    // Before the context: a file that only the caller may read is opened with the caller's rights.
    let source = match &request.command {
        CacheCommand::Import(request) => Some(import::open(request)?),
        _ => None,
    };
    let context = settings.context(Level::Warning)?;
    let upkeep = context.upkeep();
    match (&request.command, source) {
        (CacheCommand::Import(request), Some(source)) => import::run(&upkeep, request, source),
        (CacheCommand::Import(_), None) => Ok(crate::INTERNAL),
        (CacheCommand::List(request), _) => list::run(&upkeep, request),
        (CacheCommand::Show(request), _) => show::run(&upkeep, request),
        (CacheCommand::Purge(request), _) => purge::run(&upkeep, request),
        (CacheCommand::Export(request), _) => export::run(&upkeep, request),
        (CacheCommand::Stats(request), _) => stats::run(&upkeep, request),
    }
}

/// Which rows a subcommand is about.
#[derive(Args)]
struct FilterArguments {
    /// Only policies of this mode; `absent`: domains without a policy
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<ModeArgument>,
    /// Only what was fetched (without a policy: checked) longer ago than this: 90s, 30m, 2h, 7d, 4w
    #[arg(long, value_name = "AGE", value_parser = seconds)]
    older_than: Option<u64>,
    /// Only what was fetched (without a policy: checked) more recently than this
    #[arg(long, value_name = "AGE", value_parser = seconds)]
    newer_than: Option<u64>,
    /// Only what does not count any more: expired policies, and outdated checks without a policy
    #[arg(long)]
    expired: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeArgument {
    Enforce,
    Testing,
    None,
    Absent,
}

impl FilterArguments {
    fn filter(&self) -> Filter {
        let mode = self.mode.map(|mode| match mode {
            ModeArgument::Enforce => Some(Mode::Enforce),
            ModeArgument::Testing => Some(Mode::Testing),
            ModeArgument::None => Some(Mode::None),
            ModeArgument::Absent => None,
        });
        Filter { mode, older_than: self.older_than, newer_than: self.newer_than, is_over: self.expired }
    }
}

/// An age: a number and its unit.
fn seconds(text: &str) -> Result<u64, String> {
    let want = || "want a number and its unit, such as 90s, 30m, 2h, 7d or 4w".to_owned();
    let unit = text.chars().last().ok_or_else(want)?;
    let size = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(want()),
    };
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let count: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(want)?;
    count.checked_mul(size).ok_or_else(|| "is longer than any age".to_owned())
}

/// The domains of a command line; all of them must be names of domains.
fn domains(arguments: &[OsString]) -> Result<Vec<PolicyDomain>, Stop> {
    let read = |argument: &OsString| {
        let shown = argument.to_string_lossy();
        PolicyDomain::parse(argument.as_bytes()).map_err(|error| Stop::Fault(format!("{shown}: {error}")))
    };
    arguments.iter().map(read).collect()
}

/// Tells of rows that no subcommand can name.
fn tell_unreadable(count: u64) {
    if count > 0 {
        crate::complain(&format!("mtasts: {count} row(s) passed over, since their key is not a domain"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_its_unit() {
        for (text, want) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800), ("4w", 2_419_200), ("0s", 0)]
        {
            assert_eq!(seconds(text), Ok(want));
        }
        for text in ["", "s", "7", "-1d", "+1d", "1 d", "1y", "1.5h", "7d\u{1b}", "99999999999999999999d", "1\u{b5}"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }
}
