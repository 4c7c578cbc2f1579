//! `mtasts doctor`: is this machine set up right?
//!
//! It looks, and changes nothing. What root alone may see is looked at first; the cache, the resolver and the roots are
//! asked as the user that delivers mail.

mod clock;
mod configuration;
mod directory;
mod exim;
mod finding;
mod owner;
mod program;
mod resolver;
mod roots;
mod timer;

use crate::arguments::{SettingsArguments, leave_root};
use crate::output::ascii;
use crate::terminal::{Look, Style, harmless};
use crate::{SUCCESS, Stop};
use clap::{Args, ValueHint};
use finding::{Finding, Level};
use mtasts::cache::Examined;
use mtasts::config::Settings;
use mtasts::syntax::PolicyDomain;
use mtasts::time::{Clock, SystemClock, UnixTime};
use owner::MailUser;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// The exit status when something must be mended.
const FAULTY: u8 = 1;
/// Where the text of a finding begins.
const TEXT_COLUMN: usize = 11;

#[derive(Args)]
#[command(after_help = "\
Every finding is `ok`, a `warning`, a `fault` that costs protection or mail, or `unknown`: what cannot be checked here, \
or not without root. Nothing is changed. What mends a fault stands below it.

Exit status: 0 no fault, 1 a fault was found, 2 the command line is not right.

Examples:
  mtasts doctor                       root sees most
  mtasts doctor --json
  mtasts doctor --domain example.com
  mtasts doctor --exim /opt/exim/bin/exim --exim-config /etc/exim/new.conf")]
pub struct DoctorArguments {
    /// Print one JSON object on a line for each finding
    #[arg(long)]
    pub json: bool,
    /// Ask the resolver for the record of this domain [default: one of which the cache has a policy, else gmail.com]
    #[arg(long, value_name = "DOMAIN", value_hint = ValueHint::Hostname)]
    pub domain: Option<String>,
    /// The Exim to ask [default: the one that is installed]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub exim: Option<PathBuf>,
    /// The configuration that Exim is to read [default: its own]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub exim_config: Option<PathBuf>,
    /// The program that knows about timers, for tests
    #[arg(long, value_name = "PATH", hide = true)]
    pub systemctl: Option<PathBuf>,
}

/// What was found about one matter.
struct Group {
    name: &'static str,
    findings: Vec<Finding>,
}

pub fn run(arguments: &SettingsArguments, request: &DoctorArguments) -> Result<u8, Stop> {
    let groups = examine(arguments, request)?;
    let mut out = std::io::stdout().lock();
    if request.json {
        print_json(&mut out, &groups)?;
    } else {
        print(&mut out, &groups, &Look::of_stdout(arguments.color))?;
    }
    out.flush()?;
    Ok(if count(&groups, Level::Fault) > 0 { FAULTY } else { SUCCESS })
}

fn examine(arguments: &SettingsArguments, request: &DoctorArguments) -> Result<Vec<Group>, Stop> {
    let domain = request.domain.as_deref().map(named).transpose()?;
    let effective = arguments.effective()?;
    let settings = &effective.settings;
    let now = SystemClock.now();
    // Exim and systemd are asked as whoever has called; so is what only root can see.
    let mail = exim::check(request.exim.as_deref(), request.exim_config.as_deref());
    let units = timer::ask(request.systemctl.as_deref());
    let user = MailUser::of(settings, mail.user.as_deref());
    let configuration = configuration::check(settings, &effective.faults, effective.file.as_deref(), &user, now);
    let mut directory = directory::check(&settings.cache, &user);
    let mut roots: Vec<Finding> = roots::readable(settings.ca_file.as_deref(), &user).into_iter().collect();

    let own = match leave_root(settings) {
        Ok(()) => as_mail_user(settings, domain, now),
        Err(Stop::Closed) => return Err(Stop::Closed),
        Err(Stop::Fault(problem)) => as_nobody(problem),
        Err(Stop::Faults(problems)) => as_nobody(problems.join("; ")),
    };
    directory.extend(own.cache);
    roots.extend(own.roots);
    let clock = clock::check(now, own.known.as_ref());
    let timer = timer::check(units, own.known.as_ref(), settings, &user, now);
    let group = |name, findings| Group { name, findings };
    Ok(vec![
        group("configuration", configuration),
        group("directory", directory),
        group("resolver", own.resolver),
        group("roots", roots),
        group("clock", clock),
        group("exim", mail.findings),
        group("timer", timer),
    ])
}

/// What is not for root to look at.
#[derive(Default)]
struct Own {
    cache: Vec<Finding>,
    resolver: Vec<Finding>,
    roots: Option<Finding>,
    known: Option<Examined>,
}

/// A domain of the command line.
fn named(domain: &str) -> Result<PolicyDomain, Stop> {
    PolicyDomain::parse(domain.as_bytes()).map_err(|error| Stop::Fault(format!("--domain: {error}")))
}

fn as_mail_user(settings: &Settings, named: Option<PolicyDomain>, now: UnixTime) -> Own {
    let (cache, known) = directory::open(&settings.cache, now);
    let cached = || PolicyDomain::parse(known.as_ref()?.domain.as_deref()?.as_bytes()).ok();
    let resolver = resolver::check(settings, named.or_else(cached).as_ref());
    Own { cache, resolver, roots: Some(roots::check(settings.ca_file.as_deref())), known }
}

/// Root cannot become the mail user, and neither opens the cache nor talks to the network in that user's place.
fn as_nobody(problem: String) -> Own {
    let mend = "user = \"Debian-exim\"   # in mtasts.toml: the user that delivers mail";
    Own { cache: vec![Finding::fault(problem).mend(mend)], resolver: resolver::check_file(), ..Own::default() }
}

fn count(groups: &[Group], level: Level) -> usize {
    groups.iter().flat_map(|group| &group.findings).filter(|finding| finding.level == level).count()
}

fn print(out: &mut impl Write, groups: &[Group], look: &Look) -> std::io::Result<()> {
    for group in groups.iter().filter(|group| !group.findings.is_empty()) {
        writeln!(out, "{}", look.paint(Style::Title, group.name))?;
        for finding in &group.findings {
            let level = format!("{:<8}", finding.level.word());
            let mut before = look.paint(finding.level.style(), &level);
            let text = harmless(&finding.text);
            for line in look.lines(TEXT_COLUMN, &text) {
                writeln!(out, "  {before} {line}")?;
                before = "        ".into();
            }
            // A command stays on one line, to be taken as it is.
            for line in &finding.mend {
                writeln!(out, "           {}", harmless(line))?;
            }
        }
    }
    let (faults, warnings) = (count(groups, Level::Fault), count(groups, Level::Warning));
    let counted = |number: usize, name: &str| match number {
        0 => format!("no {name}s"),
        1 => format!("1 {name}"),
        _ => format!("{number} {name}s"),
    };
    writeln!(out, "{}, {}", counted(faults, "fault"), counted(warnings, "warning"))
}

fn print_json(out: &mut impl Write, groups: &[Group]) -> std::io::Result<()> {
    for group in groups {
        for finding in &group.findings {
            let object = json!({
                "check": group.name,
                "level": finding.level.word(),
                "text": harmless(&finding.text),
                "mend": finding.mend.iter().map(|line| harmless(line)).collect::<Vec<_>>(),
            });
            writeln!(out, "{}", ascii(&object))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::ColorChoice;

    fn printed(color: ColorChoice) -> String {
        let hostile = Finding::fault("bad \x1b[2J\u{202e}name\nx").mend("chmod 0640 'a\tb'");
        let groups = [
            Group { name: "clock", findings: vec![Finding::ok("well")] },
            Group { name: "empty", findings: Vec::new() },
            Group { name: "exim", findings: vec![hostile, Finding::warning("hm")] },
        ];
        let mut out = Vec::new();
        print(&mut out, &groups, &Look::of_stdout(color)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn findings_stand_below_their_group_with_what_mends_them() {
        let wanted = r"clock
  ok       well
exim
  fault    bad \u{1b}[2J\u{202e}name\nx
           chmod 0640 'a\tb'
  warning  hm
1 fault, 1 warning
";
        assert_eq!(printed(ColorChoice::Never), wanted);
    }

    #[test]
    fn colour_is_on_the_group_and_the_level_alone() {
        let shown = printed(ColorChoice::Always);
        assert!(shown.contains("\x1b[1mclock\x1b[0m\n  \x1b[32mok      \x1b[0m well\n"), "{shown:?}");
        assert_eq!(shown.matches('\x1b').count(), 2 * (2 + 3));
    }
}
