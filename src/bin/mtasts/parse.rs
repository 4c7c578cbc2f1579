//! `mtasts parse`: what a policy file says, or what is wrong with it.

use crate::arguments::{ParseArguments, SettingsArguments, leave_root_for_nobody};
use crate::terminal::Look;
use crate::{MALFORMED, SUCCESS, Stop, complain, output};
use mtasts::discovery::Answer;
use mtasts::syntax::MAX_BODY_BYTES;
use mtasts::time::{Clock, SystemClock};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

pub fn run(settings: &SettingsArguments, request: &ParseArguments) -> Result<u8, Stop> {
    let shown = request.file.display();
    let body = read(&request.file).map_err(|error| Stop::Fault(format!("{shown}: {error}")))?;
    // What a stranger has written is not looked at as root.
    leave_root_for_nobody()?;
    let problem = if body.len() > MAX_BODY_BYTES {
        format!("the policy has more than {MAX_BODY_BYTES} bytes")
    } else {
        match Answer::parsed(&body, SystemClock.now()) {
            Ok(answer) => {
                let text = if request.json {
                    output::ascii(&output::json("", &answer))
                } else {
                    output::human(&Look::of_stdout(settings.color), &shown.to_string(), &answer)
                };
                writeln!(std::io::stdout().lock(), "{text}")?;
                return Ok(SUCCESS);
            }
            Err(error) => error.to_string(),
        }
    };
    complain(&format!("{shown}: {problem}"));
    Ok(MALFORMED)
}

/// Reads one byte more than a policy may have, however large the file is.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut body = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut body)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut body)?;
    }
    Ok(body)
}
