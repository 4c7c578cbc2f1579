//! The face for Exim's `${dlfunc}`: hands Exim the only hosts that it may contact, and says whether a certificate names
//! its host.
//!
//! An allow list: nothing of Exim's own is extended, so that an error, an empty answer or a surprise cannot fall open.
//! Only the empty text lets a message go on to Exim's stock router, or a certificate pass. Exim expands the text again, so
//! that nothing but names made of `a-z 0-9 _ . -` ever gets into it. Exim expands its routers as root, and then a forked
//! child answers that has become the mail user.

mod certificate;
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
    /// `mtasts_exim_certificate`: whether a certificate names the MX host.
    Certificate,
}

impl Question {
    /// What Exim is handed with the reason to hold mail.
    fn status_of_hold(self) -> c_int {
        match self {
            Self::Route | Self::Mode => EXIM_FAIL,
            // It is asked in an event, where Exim takes note of a failure and goes on. Only a text refuses.
            Self::Certificate => EXIM_OK,
        }
    }
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

/// Answers `${dlfunc{LIBRARY}{mtasts_exim_certificate}{MX HOST}{${base64:$tls_out_peercert}}}`: whether a certificate has
/// the MX host as a DNS name among its subjectAltNames, for `event_action` (RFC 8461 section 4.2).
///
/// Exim with GnuTLS takes a certificate that has the name as its common name only. In the event `tls:cert` of depth 0 an
/// empty value goes on, and any other ends the session. Nothing but the names is looked at: trust and dates are Exim's.
///
/// yield: takes the text; valid after the return.
/// argc, argv: the name from the MX record, in any case, with or without a final dot; the certificate, as base64 of its
/// DER, in which white space does not matter.
///
/// Returns 0 (OK) whatever happens, since a failure in an event refuses nothing, and "" for a certificate with that name;
/// else one line that says what is wrong with the certificate or with the call. Only if yield is NULL, 2 (FAIL). Called
/// by Exim only. Does not block; under root it waits for a child process, up to `deadline_seconds`.
///
/// # Safety
/// The pointers must be as Exim hands them over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_certificate(
    r#yield: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: Exim's promise, passed on.
    unsafe { answer(r#yield, argc, argv, Question::Certificate) }
}

/// # Safety
/// The pointers must be as Exim hands them over: `argc` NUL-terminated strings, and a place for a pointer.
unsafe fn answer(r#yield: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar, question: Question) -> c_int {
    // SAFETY: Exim's promise, passed on.
    let verdict = || match unsafe { arguments(argc, argv) } {
        Some(arguments) if privilege::is_root() => face().servant.ask(face(), question, &arguments),
        Some(arguments) => face().work(question, &arguments, face().context.deadline(None)),
        None => Verdict::Hold("an argument is NULL".to_owned()),
    };
    // SAFETY: as above.
    unsafe { tell(r#yield, question, verdict) }
}

/// Hands Exim the verdict, and the reason to hold mail if there is none.
///
/// # Safety
/// As for [`answer`].
unsafe fn tell(r#yield: *mut *mut c_uchar, question: Question, verdict: impl FnOnce() -> Verdict) -> c_int {
    if r#yield.is_null() {
        return EXIM_FAIL;
    }
    // SAFETY: not NULL, and Exim lets us write there. What stands there while we work must be a text.
    unsafe { r#yield.write(c"MTA-STS: internal fault in libmtasts".as_ptr().cast_mut().cast()) };
    let _thread = CallGuard::enter();
    let outcome = panic::catch(|| match verdict() {
        Verdict::Text(text) => match CString::new(text) {
            Ok(text) => (EXIM_OK, lend(text)),
            // Cut at its NUL it could be empty, which means "no constraint".
            Err(_) => (question.status_of_hold(), leave("a host name holds a NUL byte")),
        },
        Verdict::Hold(why) => (question.status_of_hold(), leave(&why)),
    });
    // A panic holds the message.
    let Some((status, text)) = outcome else { return question.status_of_hold() };
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
            let reach =
                if fault.line.is_some() { "" } else { "; nothing in it is in force, no `observe` and no exception" };
            context.log(Level::Error, &format!("configuration: {fault}{reach}"));
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
            // Whatever the configuration says: it has no say about names.
            (Question::Certificate, [host, base64]) => certificate::certificate(host, base64),
            (Question::Route, _) => {
                let count = arguments.len();
                Verdict::Hold(format!("mtasts_exim takes the domain and its MX list, got {count} arguments"))
            }
            (Question::Mode, _) => {
                Verdict::Hold(format!("mtasts_exim_mode takes the domain, got {} arguments", arguments.len()))
            }
            (Question::Certificate, _) => {
                let count = arguments.len();
                Verdict::Hold(format!(
                    "mtasts_exim_certificate of libmtasts {} takes an MX host and its certificate, got {count} arguments",
                    env!("CARGO_PKG_VERSION")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(question: Question, verdict: impl FnOnce() -> Verdict) -> (c_int, String) {
        let mut text = std::ptr::null_mut();
        // SAFETY: a place for a pointer, which afterwards leads to a text that lives on.
        let (status, text) = unsafe { (tell(&mut text, question, verdict), CStr::from_ptr(text.cast_const().cast())) };
        (status, text.to_str().unwrap().to_owned())
    }

    /// Exim refuses on a failure where it routes, and on a text where it raises an event.
    #[test]
    fn whatever_goes_wrong_is_told_as_exim_refuses_there() {
        let wrong: [fn() -> Verdict; 3] =
            [|| Verdict::Hold("a fault".to_owned()), || Verdict::Text("\0fault".to_owned()), || panic!("a fault")];
        for verdict in wrong {
            for (question, want) in
                [(Question::Route, EXIM_FAIL), (Question::Mode, EXIM_FAIL), (Question::Certificate, EXIM_OK)]
            {
                let (status, text) = told(question, verdict);
                assert_eq!(status, want, "{question:?}");
                assert!(text.starts_with("MTA-STS: ") && text.len() > 12, "{question:?}: {text:?}");
            }
        }
        assert_eq!(told(Question::Certificate, || Verdict::Text(String::new())), (EXIM_OK, String::new()));
    }
}
