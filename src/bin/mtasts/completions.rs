//! `mtasts completions`: what a shell needs to complete the command line.

use crate::arguments::{Arguments, CompletionsArguments};
use crate::{SUCCESS, Stop};
use clap::CommandFactory;
use std::io::Write;

pub fn run(request: &CompletionsArguments) -> Result<u8, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(request.shell, &mut Arguments::command(), "mtasts", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(SUCCESS)
}
