//! One line at the bottom of the terminal that says how far a long run has come. It is rewritten in place, stands aside
//! for whatever else is written, and is gone at the end. There is none where standard error is no terminal, or standard
//! output a pipe.

use crate::terminal::{columns_of, columns_of_char, is_dumb, width_of};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// So often the line is rewritten. What takes less time than this has none.
const TICK: Duration = Duration::from_millis(200);
/// What has been waited for longer than this is shown with that time.
const LONG: Duration = Duration::from_secs(2);
const DEFAULT_WIDTH: usize = 80;
const CLEAR: &str = "\r\x1b[K";

static LINE: Mutex<Line> = Mutex::new(Line { has_been_drawn: false, state: None });

struct Line {
    has_been_drawn: bool,
    state: Option<State>,
}

struct State {
    total: Option<usize>,
    done: usize,
    /// What is being waited for, and since when.
    now: String,
    since: Instant,
}

/// A run whose progress is shown while this lives.
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// `total`: of how many, if that is known.
    pub fn start(total: Option<usize>) -> Self {
        if !std::io::stderr().is_terminal() || is_dumb() || is_piped() {
            return Self(None);
        }
        with_line(|line| line.state = Some(State { total, done: 0, now: String::new(), since: Instant::now() }));
        let (stop, stopped) = mpsc::channel();
        let ticker = thread::Builder::new().spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                with_line(Line::draw);
            }
        });
        Self(ticker.ok().map(|ticker| (stop, ticker)))
    }

    /// Now comes this one.
    pub fn begin(&self, name: &str) {
        self.change(|state| {
            name.clone_into(&mut state.now);
            state.since = Instant::now();
        });
    }

    /// One is done.
    pub fn end(&self) {
        self.change(|state| state.done += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        if self.0.is_some() {
            with_line(|line| line.state.as_mut().map(change));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, ticker)) = self.0.take() {
            drop(stop);
            let _ = ticker.join();
            with_line(|line| {
                line.clear();
                line.state = None;
            });
        }
    }
}

/// Whoever reads the output through a pipe may write to the same terminal, unseen by us.
fn is_piped() -> bool {
    let output = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
    output.and_then(|output| output.metadata()).is_ok_and(|found| found.file_type().is_fifo())
}

/// Writes something while the line is away. It comes back with its next tick.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    with_line(|line| {
        line.clear();
        write()
    })
}

/// Takes the line away if that can be done at once: for the end by a panic, wherever that has come.
pub fn give_up() {
    match LINE.try_lock() {
        Ok(mut line) => line.clear(),
        Err(TryLockError::Poisoned(line)) => line.into_inner().clear(),
        Err(TryLockError::WouldBlock) => {}
    }
}

fn with_line<T>(work: impl FnOnce(&mut Line) -> T) -> T {
    work(&mut LINE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Line {
    fn draw(&mut self) {
        let Some(state) = &self.state else { return };
        let width = width_of(&std::io::stderr()).unwrap_or(DEFAULT_WIDTH);
        let text = state.text(width.saturating_sub(1));
        self.has_been_drawn = true;
        let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.has_been_drawn) {
            let _ = write!(std::io::stderr(), "{CLEAR}");
        }
    }
}

impl State {
    /// What fits into so many columns.
    fn text(&self, room: usize) -> String {
        let count = match (self.total, self.done) {
            (Some(total), done) => format!("{done} of {total} done, "),
            (None, 0) => String::new(),
            (None, done) => format!("{done} done, "),
        };
        let waited = self.since.elapsed();
        let time = if waited < LONG { String::new() } else { format!(" ({} s)", waited.as_secs()) };
        let room = room.saturating_sub(columns_of(&count) + columns_of(&time));
        let now = if columns_of(&self.now) > room {
            format!("{}...", start_of(&self.now, room.saturating_sub(3)))
        } else {
            self.now.clone()
        };
        format!("{count}{now}{time}")
    }
}

/// The beginning of a text that fits into so many columns.
fn start_of(text: &str, room: usize) -> &str {
    let mut columns = 0;
    let is_beyond = |(_, c): &(usize, char)| {
        columns += columns_of_char(*c);
        columns > room
    };
    let end = text.char_indices().find(is_beyond).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(total: Option<usize>, done: usize, now: &str, room: usize) -> String {
        State { total, done, now: now.to_owned(), since: Instant::now() }.text(room)
    }

    #[test]
    fn the_line_fits_into_the_terminal() {
        assert_eq!(text(Some(12), 3, "a.test", 79), "3 of 12 done, a.test");
        assert_eq!(text(None, 3, "a.test", 79), "3 done, a.test");
        assert_eq!(text(None, 0, "fetching", 79), "fetching");
        assert_eq!(text(Some(12), 3, &"a".repeat(253), 30).len(), 30);
        assert_eq!(text(Some(12), 3, &"\u{4f8b}".repeat(63), 30), format!("3 of 12 done, {}...", "\u{4f8b}".repeat(6)));
        let waited =
            State { since: Instant::now() - Duration::from_secs(7), total: None, done: 0, now: "x".to_owned() };
        assert_eq!(waited.text(79), "x (7 s)");
    }
}
