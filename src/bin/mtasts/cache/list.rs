//! `mtasts cache list`: a table on a terminal, fields between tabs elsewhere, or JSON lines.

use super::shown::{mode, short, summary};
use super::{FilterArguments, tell_unreadable};
use crate::output::ascii;
use crate::{SUCCESS, Stop, terminal};
use clap::{Args, ValueEnum};
use mtasts::cache::{Order, Row, Upkeep};
use mtasts::time::UnixTime;
use serde_json::Value;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;

#[derive(Args)]
#[command(after_help = "\
On a terminal a table is cut to its width. Elsewhere each line has the same fields in full, between tabs and without a \
headline: domain, mode, and in UTC when it was fetched, until when it counts and when it was last checked; then what \
that check has found. Sorting by anything but the domain takes about 50 bytes of memory a row.

Exit status: 0 done, 2 the command line, the configuration or the file of the cache is not right.

Examples:
  mtasts cache list
  mtasts cache list --mode enforce --sort expires
  mtasts cache list --mode testing --newer-than 7d --json
  mtasts cache list --sort age --reverse | head")]
pub struct ListArguments {
    /// In which order; by age: the most recently fetched first
    #[arg(long, value_enum, value_name = "BY", default_value_t = Sort::Domain)]
    sort: Sort,
    /// Turn the order round
    #[arg(long, short)]
    reverse: bool,
    #[command(flatten)]
    filter: FilterArguments,
    /// Print one JSON object on a line for each domain
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sort {
    Domain,
    Mode,
    Age,
    Expires,
    Checked,
    Refresh,
}

pub fn run(upkeep: &Upkeep<'_>, request: &ListArguments) -> Result<u8, Stop> {
    let order = match request.sort {
        Sort::Domain => Order::Domain,
        Sort::Mode => Order::Mode,
        Sort::Age => Order::Age,
        Sort::Expires => Order::Expires,
        Sort::Checked => Order::Checked,
        Sort::Refresh => Order::Refresh,
    };
    let form = Form::chosen(request.json);
    let now = upkeep.now();
    let mut out = BufWriter::new(std::io::stdout().lock());
    if let Form::Table(table) = &form {
        writeln!(out, "{}", table.headline())?;
    }
    let mut written = Ok(());
    let unreadable = upkeep.visit(&request.filter.filter(), order, request.reverse, |domain, row| {
        written = writeln!(out, "{}", form.line(domain.as_str(), row, now));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written?;
    let unreadable = unreadable.map_err(Stop::Fault);
    out.flush()?;
    tell_unreadable(unreadable?);
    Ok(SUCCESS)
}

enum Form {
    Json,
    Tabs,
    Table(Table),
}

impl Form {
    fn chosen(is_json: bool) -> Self {
        if is_json {
            return Self::Json;
        }
        if !std::io::stdout().is_terminal() {
            return Self::Tabs;
        }
        Self::Table(Table::of_width(terminal::width_of(&std::io::stdout()).unwrap_or(80)))
    }

    fn line(&self, domain: &str, row: &Row, now: UnixTime) -> String {
        match self {
            Self::Json => ascii(&Value::Object(summary(domain, row, now))),
            Self::Tabs => {
                let fetched = row.policy.as_ref().map_or("-".to_owned(), |stored| stored.fetched_at.to_utc_string());
                let (until, checked) = (row.until(now).to_utc_string(), row.check.at.to_utc_string());
                [domain, mode(row), &fetched, &until, &checked, row.check.reason.as_str()].join("\t")
            }
            Self::Table(table) => table.line(domain, row, now),
        }
    }
}

/// Columns of a fixed width, since the rows are not known beforehand.
struct Table {
    width: usize,
    domain: usize,
    reason: usize,
}

impl Table {
    /// What the columns in the middle take, with the blanks between all of them.
    const MIDDLE: usize = 7 + 4 + 7 + 7 + 5 * 2;
    const REASONS: (usize, usize) = (15, 37);

    fn of_width(width: usize) -> Self {
        let rest = width.saturating_sub(Self::MIDDLE);
        // The longest reason is seen in full where that leaves two thirds for the domain.
        let reason = (rest / 3).clamp(Self::REASONS.0, Self::REASONS.1);
        Self { width, domain: rest.saturating_sub(reason).max(10), reason }
    }

    fn headline(&self) -> String {
        self.join("DOMAIN", ["MODE", "AGE", "EXPIRES", "CHECKED"], "REASON")
    }

    fn line(&self, domain: &str, row: &Row, now: UnixTime) -> String {
        let until = row.until(now);
        let expires = if row.is_over(now) { "expired".to_owned() } else { short(until.seconds_since(now)) };
        let age = short(now.seconds_since(row.since()));
        let checked = short(now.seconds_since(row.check.at));
        self.join(domain, [mode(row), &age, &expires, &checked], row.check.reason.as_str())
    }

    fn join(&self, domain: &str, [mode, age, expires, checked]: [&str; 4], reason: &str) -> String {
        let (domain, reason) = (cut(domain, self.domain), cut(reason, self.reason));
        let column = self.domain;
        let line = format!("{domain:<column$}  {mode:<7}  {age:>4}  {expires:>7}  {checked:>7}  {reason}");
        cut(&line, self.width)
    }
}

/// ASCII text in so many columns.
fn cut(text: &str, width: usize) -> String {
    match text.get(..width.saturating_sub(3)) {
        Some(beginning) if text.len() > width => format!("{beginning}..."),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mtasts::cache::{Check, StoredPolicy};
    use mtasts::reason::Reason;
    use std::sync::Arc;

    #[test]
    fn every_line_of_a_table_fits_its_width() {
        let now = UnixTime(1_800_000_000);
        let body = b"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 604800\n";
        let check = Check { at: UnixTime(0), until: now, reason: Reason::PolicyHostCertificateHostMismatch };
        let policy = Some(Arc::new(StoredPolicy::new("a1", body, UnixTime(now.0 - 3_600)).unwrap()));
        let row = Row { policy, check, refresh_at: now, failures: Vec::new() };
        for width in [20, 40, 60, 80, 100, 132, 300] {
            let table = Table::of_width(width);
            for line in [table.headline(), table.line(&"a".repeat(240), &row, now), table.line("a.test", &row, now)] {
                assert!(line.len() <= width, "{width}: {line}");
            }
        }
        let line = Table::of_width(80).line("good.test", &row, now);
        assert_eq!(line, "good.test                       enforce    1h       6d      57y  policy-host-...");
        let wide = Table::of_width(160).line("good.test", &row, now);
        assert!(wide.ends_with("policy-host-certificate-host-mismatch"), "{wide}");
    }
}
