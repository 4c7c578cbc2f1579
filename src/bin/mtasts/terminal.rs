//! What the output goes to: its colours and its width.

use crate::arguments::ColorChoice;
use std::borrow::Cow;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use terminal_size::{Width, terminal_size_of};

/// A terminal that is narrower gets long lines all the same.
const NARROWEST: usize = 40;

/// The first character of which a terminal may make two columns (Unicode, EastAsianWidth).
const FIRST_WIDE: char = '\u{1100}';

/// How output is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    has_colors: bool,
    /// The columns of the terminal; none where lines are not fitted to it.
    width: Option<usize>,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// What a block is about.
    Title,
    /// Mail may go, or is protected.
    Good,
    /// Something to know about.
    Notable,
    /// Mail is held, or nothing is known.
    Bad,
    /// Names of fields, and remarks.
    Faint,
}

impl Look {
    /// For the standard output.
    pub fn of_stdout(choice: ColorChoice) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let has_colors = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && knows_colors(),
        };
        let width = if is_terminal { width_of(&std::io::stdout()) } else { None };
        Self { has_colors, width: width.filter(|width| *width >= NARROWEST) }
    }

    /// The columns of the terminal; none where lines are not fitted to it.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// The text in the colour of its style.
    pub fn paint<'t>(&self, style: Style, text: &'t str) -> Cow<'t, str> {
        if !self.has_colors {
            return Cow::Borrowed(text);
        }
        let code = match style {
            Style::Title => "1",
            Style::Good => "32",
            Style::Notable => "33",
            Style::Bad => "1;31",
            Style::Faint => "2",
        };
        Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
    }

    /// The text in lines that fit behind so many columns. No word is cut: what is too long for a line has one alone.
    pub fn lines<'t>(&self, columns: usize, text: &'t str) -> Vec<Cow<'t, str>> {
        let Some(room) = self.width.map(|width| width.saturating_sub(columns)) else {
            return vec![Cow::Borrowed(text)];
        };
        let mut lines: Vec<String> = Vec::new();
        for word in text.split(' ') {
            match lines.last_mut() {
                Some(line) if columns_of(line) + 1 + columns_of(word) <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.into_iter().map(Cow::Owned).collect()
    }
}

/// The columns that a text takes at most: a sign of an alphabet has one, what lies beyond may be twice as wide.
pub fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

/// The columns that a character takes at most.
pub fn columns_of_char(c: char) -> usize {
    if c < FIRST_WIDE { 1 } else { 2 }
}

/// Whether what is written there goes into the journal of systemd, which reads the severity from the beginning of a line
/// (sd-daemon(3)). Who inherits the variable may have another place to write to (systemd.exec(5)).
pub fn is_journal(stream: &impl AsFd) -> bool {
    let place = || {
        let found = File::from(stream.as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
        Some(format!("{}:{}", found.dev(), found.ino()))
    };
    std::env::var("JOURNAL_STREAM").is_ok_and(|journal| place() == Some(journal))
}

/// The columns of the terminal that is open there.
pub fn width_of(stream: &impl AsFd) -> Option<usize> {
    terminal_size_of(stream).map(|(Width(columns), _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// A terminal that only prints what it gets.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// See no-color.org.
fn knows_colors() -> bool {
    !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text of others on its way to a terminal: nothing in it moves the cursor or turns the line around.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() && !is_mark_of_direction(c);
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if is_harmless(c) { String::from(c) } else { c.escape_default().to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Characters that end a line or change the direction in which it is read.
fn is_mark_of_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_words_stay_whole() {
        let look = Look { has_colors: false, width: Some(20) };
        assert_eq!(look.lines(10, "one two three fourteenletters"), ["one two", "three", "fourteenletters"]);
        assert_eq!(look.lines(10, "1234567890 1"), ["1234567890", "1"]);
        assert_eq!(Look { width: None, ..look }.lines(10, "one two three four"), ["one two three four"]);
    }

    #[test]
    fn colours_are_there_only_if_wanted() {
        let look = |has_colors| Look { has_colors, width: None };
        assert_eq!(look(false).paint(Style::Bad, "x"), "x");
        assert_eq!(look(true).paint(Style::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }

    #[test]
    fn nothing_in_a_text_of_others_commands_the_terminal() {
        assert_eq!(harmless("plain ü"), "plain ü");
        assert_eq!(harmless("a\x1b[2Jb\u{9b}\r\n\u{202e}"), "a\\u{1b}[2Jb\\u{9b}\\r\\n\\u{202e}");
    }
}
