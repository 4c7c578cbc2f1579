//! The command `mtasts`: asks the library what a mail server would be told, and says why.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod arguments;
mod lookup;
mod output;
mod parse;
mod refresh;

use arguments::{Arguments, Command};
use clap::Parser;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Everything was answered.
const SUCCESS: u8 = 0;
/// A policy is malformed.
const MALFORMED: u8 = 1;
/// The command line, the configuration or a file is not right.
const USAGE: u8 = 2;
/// At least one answer is not known: DNS did not answer, and nothing is cached.
const UNKNOWN: u8 = 3;

/// What ends the command early.
enum Stop {
    /// Something is not right; the text says what would be.
    Fault(String),
    /// Nobody reads the output any more.
    Closed,
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::Closed } else { Self::Fault(error.to_string()) }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Command::Lookup(request) => lookup::run(&arguments.settings, request),
        Command::Refresh(request) => refresh::run(&arguments.settings, request),
        Command::Parse(request) => parse::run(request),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(Stop::Closed) => ExitCode::from(SUCCESS),
        Err(Stop::Fault(problem)) => {
            eprintln!("mtasts: {problem}");
            ExitCode::from(USAGE)
        }
    }
}
