//! `mtasts cache purge`: throws out what is remembered.

use super::shown::mode;
use super::{FilterArguments, NEGATIVE, domains};
use crate::{SUCCESS, Stop, complain};
use clap::{ArgGroup, Args, ValueHint};
use mtasts::cache::{Row, Upkeep};
use mtasts::syntax::{Mode, PolicyDomain};
use mtasts::time::UnixTime;
use std::ffi::OsString;
use std::io::Write;

#[derive(Args)]
#[command(
    group(ArgGroup::new("which").required(true).multiple(true)
        .args(["domains", "expired", "older_than", "newer_than", "mode", "all"])),
    after_help = "\
Processes that run see within five seconds what has gone. A purged domain is unprotected until its policy is fetched \
again; to have a policy fetched anew, `mtasts lookup --refresh DOMAIN` does that without a gap. Before `--expired`, look \
at the clock: expired policies are kept for a week in case that it was wrong.

Exit status: 0 purged, 1 a domain was not in the cache, 2 the command line, the configuration or the file of the cache \
is not right.

Examples:
  mtasts cache purge example.com
  mtasts cache purge --expired --older-than 30d
  mtasts cache purge --mode none --dry-run
  mtasts cache purge --all"
)]
pub struct PurgeArguments {
    /// The domains to purge
    #[arg(value_name = "DOMAIN", value_hint = ValueHint::Hostname, conflicts_with_all = ["expired", "older_than", "newer_than", "mode", "all"])]
    domains: Vec<OsString>,
    #[command(flatten)]
    filter: FilterArguments,
    /// Purge everything
    #[arg(long, conflicts_with_all = ["expired", "older_than", "newer_than", "mode"])]
    all: bool,
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,
}

pub fn run(upkeep: &Upkeep<'_>, request: &PurgeArguments) -> Result<u8, Stop> {
    let mut report = Report::new(upkeep.now(), request.dry_run);
    let status = if request.domains.is_empty() {
        let outcome =
            upkeep.purge_all(&request.filter.filter(), request.dry_run, |domain, row| report.note(domain, row));
        report.outcome(outcome).map(|()| SUCCESS)
    } else {
        purge_domains(upkeep, request, &mut report)
    };
    // First of all, and whatever has failed.
    report.warn();
    let status = status?;
    report.end()?;
    Ok(status)
}

fn purge_domains(upkeep: &Upkeep<'_>, request: &PurgeArguments, report: &mut Report) -> Result<u8, Stop> {
    let mut domains = domains(&request.domains)?;
    domains.sort_unstable();
    domains.dedup();
    let rows = if request.dry_run { upkeep.find(&domains) } else { upkeep.purge(&domains) };
    let mut status = SUCCESS;
    for (domain, row) in domains.iter().zip(rows.map_err(Stop::Fault)?) {
        match row {
            Some(row) => report.note(Some(domain), &row),
            None => {
                complain(&format!("mtasts: {domain}: not in the cache"));
                status = NEGATIVE;
            }
        }
    }
    Ok(status)
}

/// What has gone, or would.
struct Report {
    now: UnixTime,
    is_dry_run: bool,
    rows: u64,
    in_force: u64,
    written: std::io::Result<()>,
}

impl Report {
    fn new(now: UnixTime, is_dry_run: bool) -> Self {
        Self { now, is_dry_run, rows: 0, in_force: 0, written: Ok(()) }
    }

    fn note(&mut self, domain: Option<&PolicyDomain>, row: &Row) {
        self.rows = self.rows.saturating_add(1);
        let is_in_force = row.mode() == Some(Mode::Enforce) && !row.is_over(self.now);
        self.in_force = self.in_force.saturating_add(u64::from(is_in_force));
        if self.is_dry_run && self.written.is_ok() {
            let domain = domain.map_or("(a key that is not a domain)", PolicyDomain::as_str);
            let until = row.until(self.now).to_utc_string();
            self.written = writeln!(std::io::stdout(), "{domain}: {}, until {until}", mode(row));
        }
    }

    /// An error says how far it went.
    fn outcome(&self, outcome: Result<(), String>) -> Result<(), Stop> {
        outcome.map_err(|problem| match self.rows {
            0 => Stop::Fault(problem),
            rows => Stop::Fault(format!("{problem} ({rows} row(s) before that {})", self.verb())),
        })
    }

    fn verb(&self) -> &'static str {
        if self.is_dry_run { "would be purged" } else { "purged" }
    }

    fn end(self) -> Result<(), Stop> {
        let verb = self.verb();
        self.written?;
        writeln!(std::io::stdout(), "{} row(s) {verb}", self.rows)?;
        Ok(())
    }

    /// Says what protection is lost.
    fn warn(&self) {
        if self.in_force > 0 {
            complain(&format!(
                "mtasts: enforced policies in force among them: {}; until these are fetched again, mail to their domains \
                 is not protected",
                self.in_force
            ));
        }
    }
}
