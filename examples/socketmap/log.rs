//! Lines on standard error. One thread writes them, so that nobody else waits where nobody reads them; what it cannot keep
//! up with is dropped and counted.

use mtasts::context::Level;
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// So many lines may wait to be written.
const WAITING_LINES: usize = 1000;
/// Longer lines are cut; the longest reply has 100000 bytes.
const MAX_LINE_CHARACTERS: usize = 1000;
/// About clients there are at most so many lines in so much time.
const CLIENT_LINES: (u32, Duration) = (20, Duration::from_secs(60));

/// Where lines go.
#[derive(Clone)]
pub struct Log {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
    least: Level,
    about_clients: Arc<Mutex<Allowance>>,
}

enum Entry {
    Line(Level, String),
    /// All before it has been written when this end of a channel is gone.
    End(#[expect(dead_code, reason = "is only dropped")] SyncSender<()>),
}

impl Log {
    /// Starts the thread that writes. What is less grave than `least` is left out.
    pub fn start(least: Level) -> std::io::Result<Self> {
        let (lines, entries) = mpsc::sync_channel(WAITING_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        thread::Builder::new().name("log".into()).spawn(move || write_all(&entries, &counted))?;
        Ok(Self { lines, dropped, least, about_clients: Arc::default() })
    }

    /// Whether lines of this level are wanted.
    pub fn wants(&self, level: Level) -> bool {
        level <= self.least
    }

    /// Hands over a line; never waits.
    pub fn line(&self, level: Level, line: impl Into<String>) {
        if self.wants(level) && self.lines.try_send(Entry::Line(level, line.into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same for what any client can bring about as often as it likes.
    pub fn about_client(&self, line: impl FnOnce() -> String) {
        let mut allowance = self.about_clients.lock();
        let (is_allowed, left_out) = allowance.take(Instant::now());
        drop(allowance);
        if left_out > 0 {
            self.line(Level::Warning, format!("{left_out} further lines about clients were left out"));
        }
        if is_allowed {
            self.line(Level::Warning, line());
        }
    }

    /// Waits until all lines are written, for a while.
    pub fn flush(&self, time: Duration) {
        let (end, ended) = mpsc::sync_channel(0);
        if self.lines.try_send(Entry::End(end)).is_ok() {
            let _ = ended.recv_timeout(time);
        }
    }
}

/// How many lines there may be in a stretch of time.
#[derive(Default)]
struct Allowance {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Allowance {
    /// Whether one more line may be written, and how many were left out in the stretch that has just ended.
    fn take(&mut self, now: Instant) -> (bool, u64) {
        let (most, stretch) = CLIENT_LINES;
        let mut left_out = 0;
        if self.since.is_none_or(|since| now.duration_since(since) >= stretch) {
            left_out = self.left_out;
            *self = Self { since: Some(now), lines: 0, left_out: 0 };
        }
        let is_allowed = self.lines < most;
        if is_allowed {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        (is_allowed, left_out)
    }
}

fn write_all(entries: &Receiver<Entry>, dropped: &AtomicU64) {
    let is_journal = is_journal(&std::io::stderr());
    for entry in entries {
        let Entry::Line(level, line) = entry else { continue };
        write(is_journal, level, &line);
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            write(is_journal, Level::Warning, &format!("{count} lines of the log were dropped"));
        }
    }
}

/// Writes a line now, before there are threads.
pub fn say(level: Level, line: &str) {
    write(is_journal(&std::io::stderr()), level, line);
}

/// Goes on without a line where standard error is closed or its disk is full.
fn write(is_journal: bool, level: Level, line: &str) {
    let severity = if is_journal { format!("<{}>", level as i32) } else { String::new() };
    let _ = std::io::stderr().write_all(format!("{severity}mtasts-socketmap: {}\n", harmless(line)).as_bytes());
}

/// The text without what ends a line or gives orders to a terminal: strangers may have written parts of it.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars().take(MAX_LINE_CHARACTERS) {
        let is_mark_of_direction =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
        if c.is_control() || is_mark_of_direction {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether lines go to the journal, which reads a priority at their beginning (sd-daemon(3)).
fn is_journal(stream: &impl AsFd) -> bool {
    let place = || {
        let found = File::from(stream.as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
        Some(format!("{}:{}", found.dev(), found.ino()))
    };
    std::env::var("JOURNAL_STREAM").is_ok_and(|journal| place() == Some(journal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_text_stays_on_its_line_and_is_cut() {
        assert_eq!(harmless("a\nb\u{1b}[2J\u{202e}"), "a\\nb\\u{1b}[2J\\u{202e}");
        assert_eq!(harmless(&"x".repeat(5000)).len(), MAX_LINE_CHARACTERS);
    }

    #[test]
    fn lines_about_clients_are_few_and_the_others_are_counted() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let (most, stretch) = CLIENT_LINES;
        let allowed = (0..1000).filter(|_| allowance.take(start).0).count();
        assert_eq!(allowed, most as usize);
        assert_eq!(allowance.take(start + stretch), (true, 1000 - u64::from(most)));
        assert_eq!(allowance.take(start + stretch), (true, 0));
    }
}
