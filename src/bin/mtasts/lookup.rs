//! `mtasts lookup`: the policy that applies to a domain.

use crate::arguments::{LookupArguments, SettingsArguments};
use crate::{SUCCESS, Stop, UNKNOWN, output};
use mtasts::context::{Context, Level};
use mtasts::discovery::{Answer, Effort};
use mtasts::reason::Reason;
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStrExt;

pub fn run(settings: &SettingsArguments, request: &LookupArguments) -> Result<u8, Stop> {
    let context = settings.context(Level::Warning)?;
    let mut status = SUCCESS;
    for domain in &request.domains {
        if domain == "-" {
            for line in std::io::stdin().lock().split(b'\n') {
                let line = line?;
                let domain = line.trim_ascii();
                if !domain.is_empty() {
                    status = status.max(look_up(&context, domain, request)?);
                }
            }
        } else {
            status = status.max(look_up(&context, domain.as_bytes(), request)?);
        }
    }
    Ok(status)
}

fn look_up(context: &Context, domain: &[u8], request: &LookupArguments) -> Result<u8, Stop> {
    let effort = match (request.cache_only, request.refresh) {
        (true, _) => Effort::CacheOnly,
        (_, true) => Effort::Refresh,
        _ => Effort::Usual,
    };
    let answer =
        if request.explain { context.explain(domain, effort, None) } else { context.query(domain, effort, None) };
    // What is no domain is shown as it was asked for.
    let shown = if answer.domain.is_empty() {
        String::from_utf8_lossy(domain).escape_debug().to_string()
    } else {
        answer.domain.to_string()
    };
    let mut out = std::io::stdout().lock();
    if request.json {
        writeln!(out, "{}", output::json(&shown, &answer))?;
    } else {
        writeln!(out, "{}", output::human(&shown, &answer))?;
    }
    out.flush()?;
    Ok(if is_unknown(&answer) { UNKNOWN } else { SUCCESS })
}

fn is_unknown(answer: &Answer) -> bool {
    answer.is_unknown || (answer.policy.is_none() && answer.reason == Reason::DnsFailed)
}
