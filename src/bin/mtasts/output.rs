//! Answers as text for people and as JSON for programs.

use crate::terminal::{Look, Style, harmless};
use mtasts::discovery::{Answer, Source};
use mtasts::syntax::Mode;
use mtasts::time::describe_seconds;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt::Write;

/// The label of a line, and the blanks around it.
const COLUMNS_OF_LABEL: usize = 11;

/// One JSON object. Times are seconds since 1970 UTC; what does not exist is null.
pub fn json(domain: &str, answer: &Answer) -> Value {
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
    object
}

/// JSON in ASCII on one line: what lies beyond could act on a terminal.
pub fn ascii(value: &Value) -> String {
    let json = value.to_string();
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            text.push(c);
        } else {
            // Beyond ASCII there is nothing but text inside quotes. Writing to a string cannot fail.
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// A headline and indented lines, without the last line end.
pub fn human(look: &Look, title: &str, answer: &Answer) -> String {
    let mode = answer.mode_str();
    let style = match mode {
        "enforce" => Style::Good,
        "testing" => Style::Notable,
        "unknown" => Style::Bad,
        _ => Style::Faint,
    };
    let mut block = Block::new(look, title, (style, mode));
    if let Some(stored) = answer.policy.as_deref() {
        for pattern in stored.policy.mx() {
            block.line("mx", pattern.as_str());
        }
        let max_age = stored.policy.max_age();
        block.line("max_age", &format!("{max_age} ({})", describe_seconds(max_age)));
        if matches!(answer.source, Source::Cache | Source::Https) {
            block.line("id", &stored.id);
            block.line("fetched", &stored.fetched_at.to_utc_string());
            block.line("expires", &stored.expires_at.to_utc_string());
        }
        for lint in stored.policy.lints() {
            block.line("lint", lint);
        }
    }
    match &answer.story {
        Some(story) => {
            block.line("cached", &story.cached);
            block.line("dns", &story.dns);
            block.line("https", &story.https);
            block.line("decided", &format!("{mode}: {}", answer.text()));
            block.line("change", &story.change);
            if is_exemptible(answer) {
                let table = format!("[domain.\"{}\"]", answer.domain);
                let keys = "mode = \"none\", until and why";
                block.line("here", &format!("a table {table} with {keys} in the configuration sets the policy aside"));
            }
        }
        None if answer.source == Source::Caller => {}
        None => block.line("why", &answer.text()),
    }
    if let Some(result_type) = answer.result_type().as_str() {
        block.line("report", result_type);
    }
    block.text
}

/// Whether the administrator of this machine can set aside what the answer asks for.
pub fn is_exemptible(answer: &Answer) -> bool {
    answer.published_mode() == Mode::Enforce && answer.source != Source::Configuration
}

/// A headline, and below it a line for each fact.
pub struct Block<'l> {
    look: &'l Look,
    /// Without the last line end.
    pub text: String,
}

impl<'l> Block<'l> {
    pub fn new(look: &'l Look, title: &str, (style, verdict): (Style, &str)) -> Self {
        let title = harmless(title);
        Self { look, text: format!("{}: {}", look.paint(Style::Title, &title), look.paint(style, verdict)) }
    }

    pub fn line(&mut self, name: &str, value: &str) {
        let mut label = Cow::Owned(format!("{name:<8}"));
        for part in self.look.lines(COLUMNS_OF_LABEL, &harmless(value)) {
            // Writing to a string cannot fail.
            let _ = write!(self.text, "\n  {} {part}", self.look.paint(Style::Faint, &label));
            label = Cow::Borrowed("        ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_nothing_that_acts_on_a_terminal() {
        let text = "a\u{1b}[31m\u{9b}1m\u{202e}\u{7f}\u{1f600}\"\\ b";
        let json = ascii(&json!({ "text": text }));
        assert!(json.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["text"], text);
    }
}
