//! `mtasts cache show`: all that is remembered about a domain.

use super::shown::{mode, summary};
use super::{NEGATIVE, domains};
use crate::output::ascii;
use crate::terminal::harmless;
use crate::{SUCCESS, Stop};
use clap::{Args, ValueHint};
use mtasts::cache::{Failure, Row, StoredPolicy, Upkeep};
use mtasts::time::{UnixTime, describe_seconds};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;

#[derive(Args)]
#[command(after_help = "\
Exit status: 0 every domain is in the cache, 1 one is not, 2 the command line, the configuration or the file of the \
cache is not right.

Examples:
  mtasts cache show example.com
  mtasts cache show --json example.com example.net")]
pub struct ShowArguments {
    /// The domains to show
    #[arg(required = true, value_name = "DOMAIN", value_hint = ValueHint::Hostname)]
    domains: Vec<OsString>,
    /// Print one JSON object on a line for each domain
    #[arg(long)]
    json: bool,
}

pub fn run(upkeep: &Upkeep<'_>, request: &ShowArguments) -> Result<u8, Stop> {
    let domains = domains(&request.domains)?;
    let rows = upkeep.find(&domains).map_err(Stop::Fault)?;
    let now = upkeep.now();
    let mut out = std::io::stdout().lock();
    let mut status = SUCCESS;
    for (domain, row) in domains.iter().zip(rows) {
        let text = match (&row, request.json) {
            (Some(row), true) => json(domain.as_str(), row, now),
            (Some(row), false) => human(domain.as_str(), row, now),
            (None, true) => ascii(&json!({ "domain": domain.as_str(), "is_cached": false })),
            (None, false) => format!("{domain}: not in the cache"),
        };
        writeln!(out, "{text}")?;
        status = if row.is_some() { status } else { NEGATIVE };
    }
    out.flush()?;
    Ok(status)
}

fn json(domain: &str, row: &Row, now: UnixTime) -> String {
    let mut object = summary(domain, row, now);
    object.insert("is_cached".to_owned(), json!(true));
    let failure =
        |failure: &Failure| json!({ "id": failure.id, "at": failure.at.0, "reason": failure.reason.as_str() });
    object.insert("failures".to_owned(), row.failures.iter().map(failure).collect());
    let stored = row.policy.as_ref();
    let mx: Option<Vec<&str>> =
        stored.map(|stored| stored.policy.mx().iter().map(|pattern| pattern.as_str()).collect());
    object.insert("mx".to_owned(), json!(mx));
    object.insert("max_age".to_owned(), json!(stored.map(|stored| stored.policy.max_age())));
    object.insert("lints".to_owned(), json!(stored.map(|stored| stored.policy.lints())));
    object.insert("body".to_owned(), json!(stored.map(|stored| String::from_utf8_lossy(&stored.body))));
    ascii(&Value::Object(object))
}

/// A headline and indented lines, without the last line end.
fn human(domain: &str, row: &Row, now: UnixTime) -> String {
    let mut text = match &row.policy {
        None => format!("{domain}: no policy"),
        Some(_) if row.is_over(now) => format!("{domain}: {}, expired and not applied", mode(row)),
        Some(_) => format!("{domain}: {}", mode(row)),
    };
    for (name, value) in row.policy.iter().flat_map(|stored| of_policy(stored, row, now)).chain(of_checks(row, now)) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {name:<8} {value}");
    }
    for line in row.policy.iter().flat_map(|stored| lines(&stored.body)) {
        let _ = write!(text, "\n  | {line}");
    }
    text
}

fn of_policy(stored: &StoredPolicy, row: &Row, now: UnixTime) -> Vec<(&'static str, String)> {
    let mx = stored.policy.mx().iter().map(|pattern| ("mx", pattern.to_string()));
    let max_age = stored.policy.max_age();
    let refresh = match row.refresh_at {
        _ if row.is_over(now) => "with the next lookup: it has expired".to_owned(),
        at if at <= now => format!("due since {}", moment(at, now)),
        at => moment(at, now),
    };
    let facts = [
        ("max_age", format!("{max_age} ({})", describe_seconds(max_age))),
        ("id", stored.id.to_string()),
        ("fetched", moment(stored.fetched_at, now)),
        ("expires", moment(row.until(now), now)),
        ("refresh", refresh),
    ];
    mx.chain(facts).chain(stored.policy.lints().iter().map(|lint| ("lint", harmless(lint).into_owned()))).collect()
}

fn of_checks(row: &Row, now: UnixTime) -> Vec<(&'static str, String)> {
    let check = row.check;
    let counts = if check.is_current(now) { "counts until" } else { "counted until" };
    let checked = format!("{}: {}", moment(check.at, now), check.reason.as_str());
    let failed = |failure: &Failure| {
        let id = if failure.id.is_empty() { String::new() } else { format!(", id {}", failure.id) };
        ("failed", format!("{}: {}{id}", moment(failure.at, now), failure.reason.as_str()))
    };
    let until = ("", format!("{counts} {}", moment(check.until, now)));
    [("checked", checked), until].into_iter().chain(row.failures.iter().map(failed)).collect()
}

fn moment(time: UnixTime, now: UnixTime) -> String {
    let distance = if time > now {
        format!("in {}", describe_seconds(time.seconds_since(now)))
    } else {
        format!("{} ago", describe_seconds(now.seconds_since(time)))
    };
    format!("{} ({distance})", time.to_utc_string())
}

/// The lines of a body as they were served, but for what acts on a terminal.
fn lines(body: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(body).lines().map(|line| harmless(line).into_owned()).collect()
}
