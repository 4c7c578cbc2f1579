//! `mtasts cache stats`: what is in the cache, in numbers.

use super::file::Draft;
use crate::output::ascii;
use crate::{SUCCESS, Stop};
use clap::{Args, ValueHint};
use mtasts::cache::{Census, Upkeep};
use mtasts::time::UnixTime;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "\
`--prometheus` prints the text format of Prometheus for the textfile collector of node_exporter. With `--output` the \
file appears as a whole. Root works as the owner of the cache, who must then be able to write to the directory of the \
file; where that is not so, `sponge` (moreutils) writes it as a whole too.

Exit status: 0 done, 2 the command line, the configuration or the file of the cache is not right; then FILE stays as it \
is.

Examples:
  mtasts cache stats
  mtasts cache stats --json
  mtasts cache stats --prometheus --output /run/mtasts/mtasts.prom
  mtasts cache stats --prometheus | sponge /run/mtasts/mtasts.prom")]
pub struct StatsArguments {
    /// Print one JSON object
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,
    /// Print metrics in the text format of Prometheus
    #[arg(long)]
    prometheus: bool,
    /// Write the metrics to this file instead, in one step
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "prometheus")]
    output: Option<PathBuf>,
}

pub fn run(upkeep: &Upkeep<'_>, request: &StatsArguments) -> Result<u8, Stop> {
    let census = upkeep.census().map_err(Stop::Fault)?;
    let text = match (request.json, request.prometheus) {
        (true, _) => json(&census),
        (_, true) => prometheus(&census),
        _ => human(&census, upkeep.now()),
    };
    match &request.output {
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
        Some(path) => {
            let mut draft = Draft::begin(path, 0o644)?;
            let written = draft.out().write_all(text.as_bytes());
            written.map_err(|error| draft.fault(&error))?;
            draft.finish()?;
        }
    }
    Ok(SUCCESS)
}

/// The rows by kind. `absent` are domains without a policy.
fn kinds(census: &Census) -> [(&'static str, u64); 5] {
    [
        ("enforce", census.enforce),
        ("testing", census.testing),
        ("none", census.none),
        ("expired", census.expired),
        ("absent", census.without_policy),
    ]
}

fn human(census: &Census, now: UnixTime) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<13} {value}");
    };
    let time = |at: Option<UnixTime>| {
        let ago = |at: UnixTime| mtasts::time::describe_seconds(now.seconds_since(at));
        at.map_or("-".to_owned(), |at| format!("{} ({} ago)", at.to_utc_string(), ago(at)))
    };
    line("domains", &census.rows().to_string());
    for (name, count) in kinds(census) {
        line(&format!("  {name}"), &count.to_string());
    }
    line("due", &census.due.to_string());
    line("failing", &census.failing.to_string());
    line("unreadable", &census.unreadable.to_string());
    line("oldest fetch", &time(census.oldest_fetch));
    line("newest fetch", &time(census.newest_fetch));
    line("file", &format!("{} bytes", census.file_bytes));
    line("a row", &census.bytes_a_row().map_or("-".to_owned(), |bytes| format!("{bytes} bytes")));
    text
}

fn json(census: &Census) -> String {
    let mut object = json!({ "domains": census.rows() });
    if let Some(object) = object.as_object_mut() {
        object.extend(kinds(census).map(|(name, count)| (name.to_owned(), json!(count))));
        let more = [
            ("due", json!(census.due)),
            ("failing", json!(census.failing)),
            ("unreadable", json!(census.unreadable)),
            ("oldest_fetched_at", json!(census.oldest_fetch.map(|at| at.0))),
            ("newest_fetched_at", json!(census.newest_fetch.map(|at| at.0))),
            ("file_bytes", json!(census.file_bytes)),
            ("bytes_a_row", json!(census.bytes_a_row())),
        ];
        object.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    ascii(&object) + "\n"
}

/// The text exposition format, version 0.0.4. What does not exist has no sample.
fn prometheus(census: &Census) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, samples: &[(String, Option<i128>)]| {
        if samples.iter().all(|(_, value)| value.is_none()) {
            return;
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP mtasts_cache_{name} {help}\n# TYPE mtasts_cache_{name} gauge\n");
        for (labels, value) in samples {
            if let Some(value) = value {
                let _ = writeln!(text, "mtasts_cache_{name}{labels} {value}");
            }
        }
    };
    let one = |value: u64| [(String::new(), Some(i128::from(value)))];
    let time = |at: Option<UnixTime>| [(String::new(), at.map(|at| i128::from(at.0)))];
    let by_kind = kinds(census).map(|(kind, count)| (format!("{{policy=\"{kind}\"}}"), Some(i128::from(count))));
    metric("domains", "Domains in the cache by the state of their policy; absent: none is known.", &by_kind);
    metric("due_policies", "Policies in force that are to be fetched anew.", &one(census.due));
    metric("failing_domains", "Domains whose last fetch failed.", &one(census.failing));
    metric("unreadable_rows", "Rows whose key is not a domain.", &one(census.unreadable));
    metric("oldest_fetch_timestamp_seconds", "When the oldest policy was fetched.", &time(census.oldest_fetch));
    metric("newest_fetch_timestamp_seconds", "When the newest policy was fetched.", &time(census.newest_fetch));
    metric("file_size_bytes", "Size of the file of the cache.", &one(census.file_bytes));
    text
}
