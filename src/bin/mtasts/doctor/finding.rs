//! What a check has found, and how it may be shown.

use crate::terminal::Style;
use std::path::Path;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It cannot be checked here.
    Unknown,
    /// It works, and may cost protection one day or under an attack.
    Warning,
    /// It costs protection or mail.
    Fault,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }

    pub fn style(self) -> Style {
        match self {
            Self::Ok => Style::Good,
            Self::Unknown => Style::Faint,
            Self::Warning => Style::Notable,
            Self::Fault => Style::Bad,
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// Which thing, and what is wrong with it.
    pub text: String,
    /// The commands or lines that mend it.
    pub mend: Vec<String>,
}

impl Finding {
    pub fn ok(text: impl Into<String>) -> Self {
        Self::new(Level::Ok, text)
    }

    pub fn unknown(text: impl Into<String>) -> Self {
        Self::new(Level::Unknown, text)
    }

    pub fn warning(text: impl Into<String>) -> Self {
        Self::new(Level::Warning, text)
    }

    pub fn fault(text: impl Into<String>) -> Self {
        Self::new(Level::Fault, text)
    }

    fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: text.into(), mend: Vec::new() }
    }

    /// Adds a command or a line that mends it.
    pub fn mend(mut self, line: impl Into<String>) -> Self {
        self.mend.push(line.into());
        self
    }
}

/// A path as one word of a shell command.
pub fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:@%,".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// So much of a text that others wrote.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 300;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_of_a_command() {
        assert_eq!(word(Path::new("/var/lib/mtasts/cache.db")), "/var/lib/mtasts/cache.db");
        assert_eq!(word(Path::new("/a b;rm 'x'")), r"'/a b;rm '\''x'\'''");
        assert_eq!(word(Path::new("")), "''");
    }

    #[test]
    fn a_long_text_is_cut_and_on_one_line() {
        assert_eq!(excerpt(" a\n b\t"), "a b");
        assert_eq!(excerpt(&"ü".repeat(400)).chars().count(), 303);
    }
}
