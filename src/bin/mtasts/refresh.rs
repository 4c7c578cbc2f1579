//! `mtasts refresh`: fetches cached policies anew before they end.

use crate::arguments::{RefreshArguments, SettingsArguments};
use crate::{SUCCESS, Stop};
use mtasts::context::Level;
use std::io::Write;
use std::time::Duration;

/// Policy hosts that fail are their domains' matter and in the log; only a cache that cannot be read is a failure.
pub fn run(settings: &SettingsArguments, request: &RefreshArguments) -> Result<u8, Stop> {
    let context = settings.context(Level::Notice)?;
    let timeout = Duration::from_secs(request.timeout);
    let refreshed = context.refresh(request.max, Some(timeout)).map_err(Stop::Fault)?;
    writeln!(std::io::stdout().lock(), "{} refreshed, {} failed", refreshed.done, refreshed.failed)?;
    Ok(SUCCESS)
}
