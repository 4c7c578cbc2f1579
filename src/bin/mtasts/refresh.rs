//! `mtasts refresh`: fetches cached policies anew before they end.

use crate::arguments::{RefreshArguments, SettingsArguments};
use crate::progress::Progress;
use crate::{SUCCESS, Stop};
use mtasts::context::{Level, Refreshed};
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// Policy hosts that fail are their domains' matter and in the log; only a cache that cannot be read is a failure.
pub fn run(settings: &SettingsArguments, request: &RefreshArguments) -> Result<u8, Stop> {
    let context = settings.context(Level::Notice)?;
    let timeout = Duration::from_secs(request.timeout);
    let progress = Progress::start(None);
    progress.begin("fetching what is due");
    let refreshed = context.refresh(request.max, Some(timeout));
    drop(progress);
    let Refreshed { done, failed } = refreshed.map_err(Stop::Fault)?;
    let mut out = std::io::stdout().lock();
    if request.json {
        writeln!(out, "{}", json!({ "refreshed": done, "failed": failed }))?;
    } else {
        writeln!(out, "{done} refreshed, {failed} failed")?;
    }
    Ok(SUCCESS)
}
