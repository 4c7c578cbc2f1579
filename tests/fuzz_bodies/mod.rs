//! The bodies of the fuzz targets: each takes any bytes and panics if libmtasts does with them what it must not.
//!
//! `fuzz/` runs them under coverage guidance, `tests/corpora.rs` runs them over the corpora that this has left behind.

// A fuzz target uses one of them.
#![allow(dead_code)]

pub mod cache_row;
pub mod capi;
pub mod certificate;
pub mod configuration;
pub mod dns;
pub mod exim;
pub mod grammar;
pub mod https;
pub mod matching;
pub mod policy;
pub mod record;
pub mod responder;

/// Held by who uses SQLite past the library, and by who makes it fork: a child of a process that is just using SQLite itself
/// finds its global locks held, which no library of that process can prevent.
pub static OWN_SQLITE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Waits for the others, also for one that has panicked.
pub fn alone_with_sqlite() -> std::sync::MutexGuard<'static, ()> {
    OWN_SQLITE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> i32;
}

/// What has to last as long as the process and no longer.
static LASTING: std::sync::Mutex<Vec<tempfile::TempDir>> = std::sync::Mutex::new(Vec::new());

extern "C" fn tidy() {
    if let Ok(mut lasting) = LASTING.lock() {
        lasting.clear();
    }
}

/// Keeps a directory for a static, which is never dropped itself.
pub fn keep_until_exit(directory: tempfile::TempDir) {
    // SAFETY: a function of this program that takes nothing.
    unsafe { atexit(tidy) };
    LASTING.lock().unwrap().push(directory);
}

/// What takes any bytes.
pub type Body = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Body); 10] = [
    ("cache_row", cache_row::run),
    ("capi", capi::run),
    ("certificate", certificate::run),
    ("configuration", configuration::run),
    ("dns", dns::run),
    ("exim", exim::run),
    ("https", https::run),
    ("matching", matching::run),
    ("policy", policy::run),
    ("record", record::run),
];

/// Hands out the bytes of an input piece by piece; at its end there are zeros and empty texts.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    pub fn word(&mut self) -> i32 {
        i32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    pub fn wide(&mut self) -> i64 {
        let (low, high) = (self.word(), self.word());
        i64::from(high) << 32 | i64::from(low.cast_unsigned())
    }

    /// The bytes to the next NUL, or to the end.
    pub fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        text
    }
}
