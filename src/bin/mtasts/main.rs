//! The command `mtasts`: asks the library what a mail server would be told, and says why.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod arguments;
mod cache;
mod completions;
mod config;
mod doctor;
mod lookup;
mod output;
mod parse;
mod progress;
mod refresh;
mod terminal;
mod verdict;

use arguments::{Arguments, Command};
use clap::Parser;
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;

/// Everything was answered.
const SUCCESS: u8 = 0;
/// A policy is malformed.
const MALFORMED: u8 = 1;
/// The command line, the configuration or a file is not right.
const USAGE: u8 = 2;
/// At least one answer is not known: DNS did not answer, and nothing is cached.
const UNKNOWN: u8 = 3;
/// A fault of this program.
const INTERNAL: u8 = 4;
/// None of the MX hosts that were asked about may be used.
const REFUSED: u8 = 5;

/// What ends the command early.
enum Stop {
    /// Something is not right; the text says what would be.
    Fault(String),
    /// The same of several things.
    Faults(Vec<String>),
    /// Nobody reads the output any more.
    Closed,
}

/// A failure to write the answer.
impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Fault(format!("standard output: {error}"))
        }
    }
}

fn main() -> ExitCode {
    ExitCode::from(guarded(run))
}

fn run() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refusal) => return refuse(&refusal),
    };
    let outcome = match &arguments.command {
        Command::Lookup(request) => lookup::run(&arguments.settings, request),
        Command::Refresh(request) => refresh::run(&arguments.settings, request),
        Command::Parse(request) => parse::run(&arguments.settings, request),
        Command::Cache(request) => cache::run(&arguments.settings, request),
        Command::Config(request) => config::run(&arguments.settings, request),
        Command::Doctor(request) => doctor::run(&arguments.settings, request),
        Command::Completions(request) => completions::run(request),
    };
    let problems = match outcome {
        Ok(status) => return status,
        Err(Stop::Closed) => return SUCCESS,
        Err(Stop::Fault(problem)) => vec![problem],
        Err(Stop::Faults(problems)) => problems,
    };
    for problem in problems {
        complain(&format!("mtasts: {problem}"));
    }
    USAGE
}

/// Shows the help that was asked for, or what is wrong with the command line. An error quotes that, and whoever has put it
/// together, perhaps from a list of names, does not command the terminal.
fn refuse(refusal: &clap::Error) -> u8 {
    let is_harmless = |word: OsString| matches!(terminal::harmless(&word.to_string_lossy()), Cow::Borrowed(_));
    if !refusal.use_stderr() || std::env::args_os().all(is_harmless) {
        refusal.exit();
    }
    for line in refusal.render().to_string().lines() {
        complain(line);
    }
    USAGE
}

/// Writes a line to standard error, and goes on without it where that is closed or its disk is full.
fn complain(line: &str) {
    let _ = progress::aside(|| writeln!(std::io::stderr(), "{}", terminal::harmless(line)));
}

/// Runs the command; a panic ends it with one line and a status of its own.
fn guarded(command: impl FnOnce() -> u8) -> u8 {
    panic::set_hook(Box::new(|fault| {
        progress::give_up();
        let _ = writeln!(std::io::stderr(), "{}", describe(fault));
    }));
    panic::catch_unwind(AssertUnwindSafe(command)).unwrap_or(INTERNAL)
}

/// A panic on one line: what its text quotes may hold line ends.
fn describe(fault: &PanicHookInfo<'_>) -> String {
    let place = fault.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
    let payload = fault.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or_default().replace(char::is_control, " ");
    format!("mtasts: a fault inside mtasts; please report it: {text}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set where the test below runs itself as a command that panics.
    const PANICS: &str = "MTASTS_TEST_PANICS";

    #[test]
    fn a_panic_ends_the_command_with_one_line_and_status_4() {
        if std::env::var_os(PANICS).is_some() {
            std::process::exit(guarded(|| panic!("a test\nof two lines")).into());
        }
        let name = "tests::a_panic_ends_the_command_with_one_line_and_status_4";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", name]).env(PANICS, "1").env("RUST_BACKTRACE", "1");
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{said}");
        let start = "mtasts: a fault inside mtasts; please report it: a test of two lines (src/bin/mtasts/main.rs:";
        assert!(said.starts_with(start) && said.ends_with(")\n") && said.lines().count() == 1, "{said}");
    }
}
