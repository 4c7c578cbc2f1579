//! The face for Exim's `${dlfunc}`: hands Exim the only hosts that it may contact.
//!
//! An allow list: nothing of Exim's own is extended, so that an error, an empty answer or a surprise cannot fall open.
//! Only the empty text lets a message go on to Exim's stock router. Exim expands the text again, so that nothing but
//! names made of `a-z 0-9 _ . -` ever gets into it. Exim expands its routers as root, and then a forked child answers
//! that has become the mail user.

mod route;
mod servant;

use crate::config::{OnTrouble, Settings};
use crate::context::{Context, Level};
use crate::discovery::Effort;
use crate::sys::thread::CallGuard;
use crate::sys::{panic, privilege};
use crate::time::Deadline;
use once_cell::race::OnceBox;
use servant::Servant;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int, c_uchar};

/// Exim takes the text as the value.
const EXIM_OK: c_int = 0;
/// Exim defers the address and logs the text. Not DEFER or ERROR, which write the panic log as well, and never
/// FAIL_FORCED, which falls through to the stock router.
const EXIM_FAIL: c_int = 2;

/// The longest text that is handed to Exim's log.
const MAX_MESSAGE_BYTES: usize = 400;

/// What Exim asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    /// `mtasts_exim`: which hosts may have the mail.
    Route,
    /// `mtasts_exim_mode`: which mode applies.
    Mode,
}

/// What Exim is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The value of the expansion.
    Text(String),
    /// The address waits; one line that says why.
    Hold(String),
}

/// The context of this process, and what holds mail if the administrator wants that of a broken configuration.
struct Face {
    context: Context,
    refusal: Option<String>,
    servant: Servant,
}

static FACE: OnceBox<Face> = OnceBox::new();

/// Answers `${dlfunc{LIBRARY}{mtasts_exim}{DOMAIN}{PREF HOST,PREF HOST,...}}`: the hosts to which mail for the domain may
/// go, for a manualroute router (RFC 8461 sections 4.1 and 5).
///
/// yield: takes the text; valid after the return.
/// argc, argv: the domain, and its MX records as `${lookup dnsdb{>, mx=DOMAIN}}` gives them, in any order.
///
/// Returns 0 (OK) and "": no constraint, go on with the stock router; OK and hosts in order of preference, ":" between
/// equal ones and ":+:" between different ones: only these, over verified TLS; OK and ".": the domain accepts no mail;
/// 2 (FAIL) and one line that says why: hold the message. Called by Exim only. May block up to `deadline_seconds`.
///
/// # Safety
/// The pointers must be as Exim hands them over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim(r#yield: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int {
    // SAFETY: Exim's promise, passed on.
    unsafe { answer(r#yield, argc, argv, Question::Route) }
}

/// Answers `${dlfunc{LIBRARY}{mtasts_exim_mode}{DOMAIN}}`: the mode that applies to a domain.
///
/// yield: takes the text; valid after the return.
/// argc, argv: the domain.
///
/// Returns 0 (OK) and "none", "testing", "enforce" or "unknown"; 2 (FAIL) and one line that says what is wrong with the
/// call. For logs and headers; routing is the matter of `mtasts_exim`. May block up to `deadline_seconds`.
///
/// # Safety
/// The pointers must be as Exim hands them over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_mode(r#yield: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int {
    // SAFETY: Exim's promise, passed on.
    unsafe { answer(r#yield, argc, argv, Question::Mode) }
}

/// # Safety
/// The pointers must be as Exim hands them over: `argc` NUL-terminated strings, and a place for a pointer.
unsafe fn answer(r#yield: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar, question: Question) -> c_int {
    if r#yield.is_null() {
        return EXIM_FAIL;
    }
    // SAFETY: not NULL, and Exim lets us write there. What stands there while we work must be a text.
    unsafe { r#yield.write(c"MTA-STS: internal fault in libmtasts".as_ptr().cast_mut().cast()) };
    let _thread = CallGuard::enter();
    let outcome = panic::catch(|| {
        // SAFETY: as above.
        let verdict = match unsafe { arguments(argc, argv) } {
            Some(arguments) if privilege::is_root() => face().servant.ask(face(), question, &arguments),
            Some(arguments) => face().work(question, &arguments, face().context.deadline(None)),
            None => Verdict::Hold("an argument is NULL".to_owned()),
        };
        match verdict {
            Verdict::Text(text) => match CString::new(text) {
                Ok(text) => (EXIM_OK, lend(text)),
                // Cut at its NUL it could be empty, which means "no constraint".
                Err(_) => (EXIM_FAIL, leave("a host name holds a NUL byte")),
            },
            Verdict::Hold(why) => (EXIM_FAIL, leave(&why)),
        }
    });
    // A panic holds the message.
    let Some((status, text)) = outcome else { return EXIM_FAIL };
    // SAFETY: as above.
    unsafe { r#yield.write(text) };
    status
}

/// # Safety
/// As for [`answer`].
unsafe fn arguments<'a>(argc: c_int, argv: *mut *mut c_uchar) -> Option<Vec<&'a [u8]>> {
    let count = usize::try_from(argc).ok()?;
    if count == 0 {
        return Some(Vec::new());
    }
    if argv.is_null() {
        return None;
    }
    // SAFETY: not NULL, and Exim hands over `argc` pointers.
    let pointers = unsafe { std::slice::from_raw_parts(argv.cast_const(), count) };
    let text = |pointer: &*mut c_uchar| {
        if pointer.is_null() {
            return None;
        }
        // SAFETY: not NULL, and Exim's strings are NUL-terminated and live during the call.
        Some(unsafe { CStr::from_ptr(pointer.cast_const().cast()) }.to_bytes())
    };
    pointers.iter().map(text).collect()
}

/// A text that Exim copies at once.
fn lend(text: CString) -> *mut c_uchar {
    thread_local! {
        static LENT: RefCell<CString> = RefCell::new(CString::default());
    }
    LENT.with(|lent| {
        *lent.borrow_mut() = text;
        lent.borrow().as_ptr().cast_mut().cast()
    })
}

/// A text that Exim keeps as the message of an address for as long as it likes: it is never freed. A delivery process
/// is short, and so is the text.
fn leave(why: &str) -> *mut c_uchar {
    let printable = |character: char| if character.is_ascii_graphic() || character == ' ' { character } else { '?' };
    let line: String = "MTA-STS: ".chars().chain(why.chars()).map(printable).take(MAX_MESSAGE_BYTES).collect();
    CString::new(line).unwrap_or_default().into_raw().cast()
}

fn face() -> &'static Face {
    FACE.get_or_init(|| {
        let (settings, faults) = Settings::load(None);
        let on_config_error = settings.on_config_error;
        let speaks = settings.syslog;
        let context = Context::with_settings(settings);
        if speaks {
            context.log_to_syslog();
        }
        // What is good in a broken configuration is in force: mail goes on, and what is cached is still enforced.
        for fault in &faults {
            context.log(Level::Error, &format!("configuration: {fault}"));
        }
        let refusal = faults.first().filter(|_| on_config_error == OnTrouble::Defer).map(ToString::to_string);
        Box::new(Face { context, refusal, servant: Servant::new() })
    })
}

impl Face {
    /// Answers a question, as whoever the process is.
    fn work(&self, question: Question, arguments: &[&[u8]], deadline: Deadline) -> Verdict {
        match (question, arguments) {
            (Question::Route, _) if self.refusal.is_some() => {
                Verdict::Hold(format!("the configuration has a fault: {}", self.refusal.as_deref().unwrap_or_default()))
            }
            (Question::Route, [domain, mx_list]) => route::route(&self.context, domain, mx_list, deadline),
            (Question::Mode, [domain]) => {
                let answer = self.context.query_until(domain, &[], Effort::Usual, deadline);
                Verdict::Text(answer.mode_str().to_owned())
            }
            (Question::Route, _) => {
                let count = arguments.len();
                Verdict::Hold(format!("mtasts_exim takes the domain and its MX list, got {count} arguments"))
            }
            (Question::Mode, _) => {
                Verdict::Hold(format!("mtasts_exim_mode takes the domain, got {} arguments", arguments.len()))
            }
        }
    }
}
