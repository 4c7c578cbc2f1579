//! `mtasts lookup`: the policy that applies to a domain, and what may be done with mail to its MX hosts.

use crate::arguments::{LookupArguments, SettingsArguments};
use crate::progress::{self, Progress};
use crate::terminal::Look;
use crate::verdict::{self, Verdict};
use crate::{REFUSED, SUCCESS, Stop, UNKNOWN, output};
use mtasts::context::{Context, Level};
use mtasts::discovery::{Answer, Effort};
use mtasts::reason::Reason;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;

/// No name has so many bytes, however it is written.
const LONGEST_LINE: u64 = 4_096;

pub fn run(settings: &SettingsArguments, request: &LookupArguments) -> Result<u8, Stop> {
    let run = Run {
        context: settings.context(Level::Warning)?,
        look: Look::of_stdout(settings.color),
        request,
        progress: progress_of(&request.domains),
    };
    let mut status = SUCCESS;
    for domain in &request.domains {
        if domain == "-" {
            let mut names = std::io::stdin().lock();
            while let Some(line) = next_line(&mut names)? {
                let domain = line.trim_ascii();
                if !domain.is_empty() {
                    status = status.max(run.look_up(domain)?);
                }
            }
        } else {
            status = status.max(run.look_up(domain.as_bytes())?);
        }
    }
    Ok(status)
}

/// Reads a line; none after the last one. Of a line that no name fills, the beginning is enough to say so.
fn next_line(names: &mut impl BufRead) -> Result<Option<Vec<u8>>, Stop> {
    let mut line = Vec::new();
    let read = names.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).and_then(|length| {
        let is_whole = length == 0 || line.ends_with(b"\n");
        if is_whole { Ok(()) } else { names.skip_until(b'\n').map(drop) }
    });
    read.map_err(|error| Stop::Fault(format!("standard input: {error}")))?;
    Ok(if line.is_empty() { None } else { Some(line) })
}

/// Of a single domain there is no progress, and who types the names sees it.
fn progress_of(domains: &[OsString]) -> Option<Progress> {
    let reads_names = domains.iter().any(|domain| domain == "-");
    let is_typed = reads_names && std::io::stdin().is_terminal();
    let total = (!reads_names).then_some(domains.len());
    (total != Some(1) && !is_typed).then(|| Progress::start(total))
}

struct Run<'a> {
    context: Context,
    look: Look,
    request: &'a LookupArguments,
    progress: Option<Progress>,
}

impl Run<'_> {
    fn look_up(&self, domain: &[u8]) -> Result<u8, Stop> {
        if let Some(progress) = &self.progress {
            progress.begin(&shown(domain));
        }
        let answer = self.ask(domain);
        // What is no domain is shown as it was asked for.
        let title = if answer.domain.is_empty() { shown(domain) } else { answer.domain.to_string() };
        let dane_wins = self.context.settings().dane_wins;
        let verdicts: Vec<Verdict> =
            self.request.mx.iter().map(|host| Verdict::of(&answer, host.as_bytes(), dane_wins)).collect();
        let text = if self.request.json {
            self.json(&title, &answer, &verdicts)
        } else {
            self.human(&title, &answer, &verdicts)
        };
        progress::aside(|| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{text}").and_then(|()| out.flush())
        })?;
        if let Some(progress) = &self.progress {
            progress.end();
        }
        Ok(status(&answer, &verdicts))
    }

    fn ask(&self, domain: &[u8]) -> Answer {
        let request = self.request;
        let effort = match (request.cache_only, request.refresh) {
            (true, _) => Effort::CacheOnly,
            (_, true) => Effort::Refresh,
            _ => Effort::Usual,
        };
        let hosts: Vec<&[u8]> = request.mx.iter().map(|host| host.as_bytes()).collect();
        if request.explain {
            self.context.explain_for(domain, &hosts, effort, None)
        } else {
            self.context.query_for(domain, &hosts, effort, None)
        }
    }

    fn json(&self, title: &str, answer: &Answer, verdicts: &[Verdict]) -> String {
        let mut object = output::json(title, answer);
        if let (Some(object), false) = (object.as_object_mut(), verdicts.is_empty()) {
            object.insert("is_held".to_owned(), verdict::is_held(verdicts).into());
            object.insert("hosts".to_owned(), verdicts.iter().map(Verdict::json).collect());
        }
        output::ascii(&object)
    }

    fn human(&self, title: &str, answer: &Answer, verdicts: &[Verdict]) -> String {
        let mut text = output::human(&self.look, title, answer);
        for verdict in verdicts {
            text.push('\n');
            text.push_str(&verdict.human(&self.look, answer));
        }
        if verdict::is_held(verdicts) {
            text.push('\n');
            text.push_str(&verdict::held(&self.look, title, verdicts));
        }
        text
    }
}

fn shown(domain: &[u8]) -> String {
    String::from_utf8_lossy(domain).escape_debug().to_string()
}

fn status(answer: &Answer, verdicts: &[Verdict]) -> u8 {
    if verdict::is_held(verdicts) {
        REFUSED
    } else if answer.is_unknown || (answer.policy.is_none() && answer.reason == Reason::DnsFailed) {
        UNKNOWN
    } else {
        SUCCESS
    }
}
