//! Answers as text for people and as JSON for programs.

use mtasts::discovery::{Answer, Source};
use mtasts::time::describe_seconds;
use serde_json::json;
use std::fmt::Write;

/// One JSON object on one line. Times are seconds since 1970 UTC; what does not exist is null.
pub fn json(domain: &str, answer: &Answer) -> String {
    let stored = answer.policy.as_deref();
    let mx: Vec<&str> = stored.iter().flat_map(|stored| stored.policy.mx()).map(|pattern| pattern.as_str()).collect();
    let lints: Vec<&String> = stored.iter().flat_map(|stored| stored.policy.lints()).collect();
    let fetched = stored.filter(|_| matches!(answer.source, Source::Cache | Source::Https));
    let story = answer
        .story
        .as_ref()
        .map(|story| json!({ "cached": story.cached, "dns": story.dns, "https": story.https, "change": story.change }));
    let mut object = json!({
        "domain": domain,
        "mode": answer.mode_str(),
        "mx": mx,
        "max_age": stored.map(|stored| stored.policy.max_age()),
        "id": fetched.map(|stored| &*stored.id),
        "source": answer.source.as_str(),
        "fetched_at": fetched.map(|stored| stored.fetched_at.0),
        "expires_at": fetched.map(|stored| stored.expires_at.0),
        "reason": answer.reason.as_str(),
        "reason_text": answer.text(),
        "result_type": answer.result_type().as_str(),
        "lints": lints,
    });
    if let (Some(object), Some(story)) = (object.as_object_mut(), story) {
        object.insert("story".to_owned(), story);
    }
    object.to_string()
}

/// A headline and indented lines, without the last line end.
pub fn human(title: &str, answer: &Answer) -> String {
    let mut text = format!("{title}: {}", answer.mode_str());
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {name:<8} {value}");
    };
    if let Some(stored) = answer.policy.as_deref() {
        for pattern in stored.policy.mx() {
            line("mx", pattern.as_str());
        }
        let max_age = stored.policy.max_age();
        line("max_age", &format!("{max_age} ({})", describe_seconds(max_age)));
        if matches!(answer.source, Source::Cache | Source::Https) {
            line("id", &stored.id);
            line("fetched", &stored.fetched_at.to_utc_string());
            line("expires", &stored.expires_at.to_utc_string());
        }
        for lint in stored.policy.lints() {
            line("lint", lint);
        }
    }
    match &answer.story {
        Some(story) => {
            line("cached", &story.cached);
            line("dns", &story.dns);
            line("https", &story.https);
            line("decided", &format!("{}: {}", answer.mode_str(), answer.text()));
            line("change", &story.change);
        }
        None if answer.source == Source::Caller => {}
        None => line("why", &answer.text()),
    }
    if let Some(result_type) = answer.result_type().as_str() {
        line("report", result_type);
    }
    text
}
