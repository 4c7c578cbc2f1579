//! `mtasts cache import`: takes in rows that another host has exported, each looked at as if an enemy had written it.

use super::{NEGATIVE, wire};
use crate::{SUCCESS, Stop, complain};
use clap::{Args, ValueHint};
use mtasts::cache::{Imported, Row, Upkeep};
use mtasts::syntax::PolicyDomain;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// So many rows, or about so many bytes of lines, are taken in together.
const BATCH: (usize, usize) = (1024, 4 << 20);

#[derive(Args)]
#[command(after_help = "\
Every field is checked as if an enemy had written it. What was fetched later stays, and a policy in force never gives \
way to a weaker one or to none. A sound policy is believed as if it had been fetched here, with its hosts and its end: \
take files only from whom you trust that far. A line that is not right is reported with its number, and the others are taken in. The \
file of the cache is made if there is none.

Exit status: 0 all lines were right, 1 at least one was not, 2 the command line, the configuration or the file of the \
cache is not right; what was taken in before that stays.

Examples:
  mtasts cache import policies.jsonl
  mtasts cache import --dry-run policies.jsonl
  ssh old-host mtasts cache export | mtasts cache import")]
pub struct ImportArguments {
    /// The file to read; `-` or none: standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Only say what would be taken in
    #[arg(long)]
    dry_run: bool,
}

/// Where the lines come from.
pub type Lines = Box<dyn BufRead>;

/// Opens the file.
pub fn open(request: &ImportArguments) -> Result<Lines, Stop> {
    match request.file.as_deref().filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(io::stdin().lock())),
        Some(path) => {
            let file = File::open(path).map_err(|error| Stop::Fault(format!("{}: {error}", path.display())))?;
            Ok(Box::new(BufReader::new(file)))
        }
    }
}

pub fn run(upkeep: &Upkeep<'_>, request: &ImportArguments, mut lines: Lines) -> Result<u8, Stop> {
    let mut import =
        Import { upkeep, is_dry_run: request.dry_run, batch: Vec::new(), bytes: 0, counts: Counts::default() };
    let outcome = import.read(&mut lines);
    let counts = import.counts;
    if let Err(Stop::Fault(problem)) = outcome {
        return Err(Stop::Fault(format!("{problem} (before that, at least: {})", counts.describe(request.dry_run))));
    }
    outcome?;
    let status = if counts.bad == 0 { SUCCESS } else { NEGATIVE };
    match writeln!(io::stdout(), "{}", counts.describe(request.dry_run)).map_err(Stop::from) {
        // What was refused has been told elsewhere, and still is.
        Ok(()) | Err(Stop::Closed) => Ok(status),
        Err(stop) => Err(stop),
    }
}

#[derive(Clone, Copy, Default)]
struct Counts {
    stored: u64,
    known: u64,
    bad: u64,
}

impl Counts {
    fn describe(&self, is_dry_run: bool) -> String {
        let verb = if is_dry_run { "row(s) would be imported" } else { "row(s) imported" };
        format!("{} {verb}, {} stay as they are, {} refused", self.stored, self.known, self.bad)
    }
}

struct Import<'a> {
    upkeep: &'a Upkeep<'a>,
    is_dry_run: bool,
    /// Rows that were read, with their lines.
    batch: Vec<(u64, PolicyDomain, Row)>,
    bytes: usize,
    counts: Counts,
}

impl Import<'_> {
    fn read(&mut self, lines: &mut Lines) -> Result<(), Stop> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            let is_whole =
                match next_line(lines, &mut line).map_err(|error| Stop::Fault(format!("line {number}: {error}")))? {
                    None => break,
                    Some(is_whole) => is_whole,
                };
            if !is_whole {
                self.refuse(number, &format!("has more than {} bytes", wire::MAX_LINE_BYTES));
            } else if !line.trim_ascii().is_empty() {
                self.take(number, &line)?;
            }
        }
        self.store()
    }

    fn take(&mut self, number: u64, line: &[u8]) -> Result<(), Stop> {
        match wire::read(line) {
            Err(problem) => self.refuse(number, &problem),
            Ok((domain, row)) => {
                self.batch.push((number, domain, row));
                self.bytes = self.bytes.saturating_add(line.len());
            }
        }
        if self.batch.len() >= BATCH.0 || self.bytes >= BATCH.1 { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> Result<(), Stop> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let numbers: Vec<(u64, PolicyDomain)> =
            batch.iter().map(|(number, domain, _)| (*number, domain.clone())).collect();
        let rows = batch.into_iter().map(|(_, domain, row)| (domain, row)).collect();
        let outcomes = self.upkeep.import(rows, self.is_dry_run).map_err(Stop::Fault)?;
        for ((number, domain), outcome) in numbers.into_iter().zip(outcomes) {
            self.note(number, &domain, outcome);
        }
        Ok(())
    }

    fn note(&mut self, number: u64, domain: &PolicyDomain, outcome: Imported) {
        match outcome {
            Imported::Stored => self.counts.stored = self.counts.stored.saturating_add(1),
            Imported::Known => self.counts.known = self.counts.known.saturating_add(1),
            Imported::Weaker => {
                self.counts.known = self.counts.known.saturating_add(1);
                complain(&format!(
                    "mtasts: line {number}: {domain} stays as it is: what is in force here is stricter, `mtasts lookup \
                     --refresh {domain}` fetches what holds now"
                ));
            }
            Imported::Full => self.refuse(
                number,
                &format!("no room for {domain}: the cache is full of enforced policies; raise cache_entries"),
            ),
            Imported::Refused(problem) => self.refuse(number, &format!("{domain}: {problem}")),
        }
    }

    fn refuse(&mut self, number: u64, problem: &str) {
        self.counts.bad = self.counts.bad.saturating_add(1);
        complain(&format!("mtasts: line {number}: {problem}"));
    }
}

/// Reads a line without its end; returns whether it is there as a whole, or none after the last one. What goes on beyond
/// the longest line is passed over.
fn next_line(lines: &mut Lines, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let limit = u64::try_from(wire::MAX_LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    if lines.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") || line.len() <= wire::MAX_LINE_BYTES {
        return Ok(Some(true));
    }
    lines.skip_until(b'\n')?;
    Ok(Some(false))
}
