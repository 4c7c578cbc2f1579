//! `mtasts cache export`: all rows as JSON lines.

use super::file::Draft;
use super::{tell_unreadable, wire};
use crate::{SUCCESS, Stop};
use clap::{Args, ValueHint};
use mtasts::cache::{Filter, Order, Upkeep};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "\
Each line is one JSON object with the fields version (1), domain, policy (id, fetched_at, expires_at and body, the text \
as it was served; null without a policy), check (at, until, reason), refresh_at and failures (id, at, reason). Times \
are seconds since 1970 UTC. A body that is not UTF-8 stands in body_hex instead. FILE appears when it is complete, and \
only its owner may read it.

Exit status: 0 done, 2 the command line, the configuration or the file of the cache is not right.

Examples:
  mtasts cache export > policies.jsonl
  mtasts cache export policies.jsonl
  mtasts cache export | ssh new-host mtasts cache import")]
pub struct ExportArguments {
    /// The file to write; `-` or none: standard output
    #[arg(value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

pub fn run(upkeep: &Upkeep<'_>, request: &ExportArguments) -> Result<u8, Stop> {
    let unreadable = match request.file.as_deref().filter(|path| *path != Path::new("-")) {
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            let unreadable = write_rows(upkeep, &mut out, Stop::from)?;
            out.flush()?;
            unreadable
        }
        Some(path) => {
            let mut draft = Draft::begin(path, 0o600)?;
            let mut problem = None;
            let outcome = write_rows(upkeep, draft.out(), |error| {
                problem = Some(error);
                Stop::Closed
            });
            if let Some(error) = problem {
                return Err(draft.fault(&error));
            }
            let unreadable = outcome?;
            draft.finish()?;
            unreadable
        }
    };
    tell_unreadable(unreadable);
    Ok(SUCCESS)
}

fn write_rows(upkeep: &Upkeep<'_>, out: &mut impl Write, stop: impl FnOnce(io::Error) -> Stop) -> Result<u64, Stop> {
    let mut written = Ok(());
    let outcome = upkeep.visit(&Filter::default(), Order::Domain, false, |domain, row| {
        written = writeln!(out, "{}", wire::write(domain.as_str(), row));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written.map_err(stop)?;
    outcome.map_err(Stop::Fault)
}
