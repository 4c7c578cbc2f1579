//! Exim: whether its configuration leads every remote domain through the library.
//!
//! Exim itself tells its configuration (`-bP`), whether a made-up domain of somebody else's is in a router's list, and what
//! the library says to a question that needs nobody else (`-be`). No message is made.

mod library;
mod printed;
mod reach;
mod router;
mod transport;

use super::finding::{Finding, Level, excerpt, word};
use super::program::{self, Said};
use printed::Driver;
use reach::Takes;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
/// Where Exim is, by distributions and by its own makefile.
const PLACES: &[&str] = &[
    "/usr/sbin/exim4",
    "/usr/sbin/exim",
    "/usr/exim/bin/exim",
    "/usr/local/sbin/exim",
    "/usr/local/bin/exim",
    "/opt/exim/bin/exim",
];
/// Domains that are in no list that is not for all. Only the first is nobody's (RFC 2606); a list of `*.com` has some.
const SOMEBODY_ELSES: &[&str] =
    &["mtasts-doctor.example", "mtasts-doctor.com", "mtasts-doctor.net", "mtasts-doctor.org", "mtasts-doctor.co.uk"];
/// What an expansion may do beyond reading: a list with one of these is not tried.
const DOES_THINGS: &[&str] = &["{run", "${perl", "{readsocket", "{dlfunc", "{acl", "acl{", "acl {", "dnsdb", "@mx"];
/// The macro that tells where the library is.
const MACRO_FILES: &str = "/etc/exim4/conf.d/main/000_localmacros";

/// What was found about Exim.
pub struct Mail {
    pub findings: Vec<Finding>,
    /// The user that Exim delivers as.
    pub user: Option<String>,
}

/// What Exim makes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expanded {
    Value(String),
    /// It fails, as it does for a message.
    Failed(String),
    /// Exim does not come as far as that.
    NotTried(String),
}

/// One Exim with one configuration.
pub struct Exim {
    program: PathBuf,
    config: Option<String>,
}

impl Exim {
    fn run(&self, arguments: &[&str]) -> Result<Said, String> {
        let config: Vec<&str> = self.config.iter().flat_map(|path| ["-C", path]).collect();
        program::run(&self.program, &[&config, arguments].concat(), LIMIT)
    }

    /// What an expansion comes to.
    fn expand(&self, text: &str) -> Expanded {
        let said = match self.run(&["-be", text]) {
            Ok(said) => said,
            Err(problem) => return Expanded::NotTried(problem),
        };
        let value = said.out.trim_end_matches('\n');
        match value.strip_prefix("Failed: ") {
            Some(problem) => Expanded::Failed(excerpt(problem)),
            None if said.is_success => Expanded::Value(value.to_owned()),
            None => Expanded::NotTried(excerpt(&said.error)),
        }
    }

    /// One option of the main configuration.
    fn option(&self, name: &str) -> Option<String> {
        let out = self.run(&["-bP", name]).ok()?.out;
        let value = out.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Whether domains of somebody else's are in a domain list.
    fn takes(&self, list: &str) -> Takes {
        let list = list.trim();
        if list.is_empty() || list == "*" {
            return Takes::Yes;
        }
        if list.chars().all(|character| character.is_ascii_alphanumeric() || ".-".contains(character)) {
            return Takes::No;
        }
        if DOES_THINGS.iter().any(|deed| list.contains(deed)) {
            return Takes::Unknown;
        }
        // Each argument has its own line of the answer, and must not be long.
        let ask = |domain: &&str| format!("${{if match_domain{{{domain}}}{{{list}}}{{yes}}{{no}}}}");
        let questions: Vec<String> = SOMEBODY_ELSES.iter().map(ask).collect();
        let arguments: Vec<&str> = std::iter::once("-be").chain(questions.iter().map(String::as_str)).collect();
        let said = self.run(&arguments).map(|said| said.out).unwrap_or_default();
        let answers: Vec<&str> = said.lines().collect();
        // A list that asks to fail matches nothing.
        let is_no = |answer: &str| answer == "no" || answer.contains("\"fail\" requested");
        match answers.iter().filter(|answer| is_no(answer)).count() {
            _ if answers.len() != questions.len() => Takes::Unknown,
            0 if answers.iter().all(|answer| *answer == "yes") => Takes::Yes,
            number if number == answers.len() => Takes::No,
            _ if answers.iter().all(|answer| *answer == "yes" || is_no(answer)) => Takes::Some,
            _ => Takes::Unknown,
        }
    }
}

/// The configuration that an Exim says it reads.
fn config_file(version: &Said) -> Option<&str> {
    version.out.lines().find_map(|line| line.strip_prefix("Configuration file is ")).map(str::trim)
}

/// How a change of the configuration gets to Exim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Exim reads what Debian's script puts together.
    OfDebian,
    /// Exim reads what the administrator writes.
    OfOthers,
}

impl Reload {
    /// The command that makes Exim take a change over.
    fn command(self) -> &'static str {
        match self {
            Self::OfDebian => "update-exim4.conf && systemctl reload exim4",
            Self::OfOthers => "systemctl reload exim4   # or the signal HUP to Exim's daemon",
        }
    }
}

/// `given`: the Exim to ask, else the one that is installed. `config`: its configuration, else its own.
pub fn check(given: Option<&Path>, config: Option<&Path>) -> Mail {
    let installed = || PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    let nothing = |text: String| Mail { findings: vec![Finding::unknown(text)], user: None };
    let program = match given.map(Path::to_owned) {
        Some(given) if !given.exists() => return nothing(format!("there is no Exim at {}", given.display())),
        Some(given) => given,
        None => match installed() {
            Some(found) => found,
            None => return nothing("there is no Exim here; how another mail server asks cannot be checked".to_owned()),
        },
    };
    let config = match config.map(std::path::absolute).transpose() {
        Ok(config) => config.map(|path| path.to_string_lossy().into_owned()),
        Err(error) => {
            return Mail { findings: vec![Finding::fault(format!("--exim-config: {error}"))], user: None };
        }
    };
    let exim = Exim { program: std::path::absolute(&program).unwrap_or(program), config };
    let (findings, user) = match examine(&exim) {
        Ok(found) => found,
        Err(finding) => (vec![finding], None),
    };
    Mail { findings, user }
}

/// The error is what keeps all else from being asked.
fn examine(exim: &Exim) -> Result<(Vec<Finding>, Option<String>), Finding> {
    let version = exim.run(&["-bV"]).map_err(Finding::fault)?;
    let mut findings = vec![banner(exim, &version)?];
    let is_debian = config_file(&version).is_some_and(|file| file.starts_with("/var/lib/exim4/"));
    let reload = if is_debian { Reload::OfDebian } else { Reload::OfOthers };
    let printed = |what: &str, kind: &str| {
        let said = exim.run(&["-bP", what]).map_err(Finding::fault)?;
        if !said.is_success {
            let text = format!("Exim does not show its {what}: {}", excerpt(&format!("{} {}", said.error, said.out)));
            return Err(Finding::fault(text).mend(format!("{} -bV", word(&exim.program))));
        }
        Ok(printed::drivers(&said.out, kind))
    };
    let (routers, transports) = (printed("routers", "router")?, printed("transports", "transport")?);
    let takes = |list: &str| exim.takes(list);
    findings.extend(router::check(&routers, &takes, reload));
    if let Some(own) = routers.iter().find(|router| router::is_ours(router)) {
        findings.extend(transport_of(own, &transports, reload));
        if let Some(library) = router::library_of(own) {
            findings.extend(library::check(exim, library, reload));
        }
        if findings.iter().all(|finding| finding.level == Level::Ok) {
            findings.push(Finding::ok(format!("every remote domain is led through the router `{}`", own.name)));
        }
    }
    Ok((findings, exim.option("exim_user")))
}

fn banner(exim: &Exim, version: &Said) -> Result<Finding, Finding> {
    let shown = exim.program.display();
    let first = version.out.lines().find(|line| line.starts_with("Exim version "));
    let (Some(first), true) = (first, version.is_success) else {
        if version.error.contains("Failed to get user name") {
            return Err(Finding::unknown(format!("{shown} works for nobody without a name in /etc/passwd")));
        }
        let said = excerpt(&format!("{} {}", version.error, version.out));
        let mend = format!("{} -bV", word(&exim.program));
        return Err(Finding::fault(format!("{shown} does not read its configuration: {said}")).mend(mend));
    };
    let support = version.out.lines().find(|line| line.starts_with("Support for:")).unwrap_or_default();
    let words: Vec<&str> = support.split_ascii_whitespace().collect();
    let lacks = |name: &str| !words.contains(&name);
    if lacks("Expand_dlfunc") {
        let text = format!("{shown} is built without `Expand_dlfunc` and can call no library");
        return Err(Finding::fault(text).mend("apt-get install exim4-daemon-heavy"));
    }
    if lacks("GnuTLS") && lacks("OpenSSL") {
        let text = format!("{shown} is built without TLS: no enforced mail can be delivered");
        return Err(Finding::fault(text).mend("apt-get install exim4-daemon-heavy"));
    }
    let number = first.split_ascii_whitespace().nth(2).unwrap_or("?");
    let file = config_file(version).unwrap_or("?");
    Ok(Finding::ok(format!("{shown} is Exim {number} and reads {file}")))
}

fn transport_of(own: &Driver, transports: &[Driver], reload: Reload) -> Vec<Finding> {
    let name = own.text("transport");
    match transports.iter().find(|transport| transport.name == name) {
        Some(transport) => transport::check(transport, reload),
        None => {
            let text = format!("the router `{}` hands to the transport `{name}`, which cannot be checked", own.name);
            let line = "transport = remote_smtp_mtasts   # in the router, as in examples/exim/190_mtasts";
            vec![Finding::fault(text).mend(line).mend(reload.command())]
        }
    }
}
