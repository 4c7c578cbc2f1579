//! The face for Exim's `${dlfunc}`: hands Exim the only hosts that it may contact.
//!
//! An allow list: nothing of Exim's own is extended, so that an error, an empty answer or a surprise cannot fall open.
//! Only the empty text lets a message go on to Exim's stock router. Exim expands the text again, so that nothing but
//! names made of `a-z 0-9 _ . -` ever gets into it.

use crate::config::{OnTrouble, Settings};
use crate::context::{Context, Level};
use crate::discovery::{Answer, Effort};
use crate::dns;
use crate::syntax::{Mode, MxHost, any_match};
use crate::sys::panic;
use crate::sys::thread::CallGuard;
use crate::time::{Clock, Deadline, SystemClock};
use once_cell::race::OnceBox;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int, c_uchar};
use std::time::Duration;

/// Exim takes the text as the value.
const EXIM_OK: c_int = 0;
/// Exim defers the address and logs the text. Not DEFER or ERROR, which write the panic log as well, and never
/// FAIL_FORCED, which falls through to the stock router.
const EXIM_FAIL: c_int = 2;

/// The longest text that is handed to Exim's log.
const MAX_MESSAGE_BYTES: usize = 400;

/// All that is spent on finding out which listed hosts have no address.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// What Exim is told.
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
    unsafe { answer(r#yield, argc, argv, route) }
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
    unsafe {
        answer(r#yield, argc, argv, |face, arguments| match arguments {
            [domain] => Verdict::Text(face.context.query(domain, Effort::default(), None).mode_str().to_owned()),
            _ => Verdict::Hold(format!("mtasts_exim_mode takes the domain, got {} arguments", arguments.len())),
        })
    }
}

/// # Safety
/// The pointers must be as Exim hands them over: `argc` NUL-terminated strings, and a place for a pointer.
unsafe fn answer(
    r#yield: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
    work: impl FnOnce(&Face, &[&[u8]]) -> Verdict,
) -> c_int {
    if r#yield.is_null() {
        return EXIM_FAIL;
    }
    // SAFETY: not NULL, and Exim lets us write there. What stands there while we work must be a text.
    unsafe { r#yield.write(c"MTA-STS: internal fault in libmtasts".as_ptr().cast_mut().cast()) };
    let _thread = CallGuard::enter();
    let outcome = panic::catch(|| {
        // SAFETY: as above.
        let verdict = match unsafe { arguments(argc, argv) } {
            Some(arguments) => work(face(), &arguments),
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
        Box::new(Face { context, refusal })
    })
}

fn route(face: &Face, arguments: &[&[u8]]) -> Verdict {
    let [domain, mx_list] = arguments else {
        let count = arguments.len();
        return Verdict::Hold(format!("mtasts_exim takes the domain and its MX list, got {count} arguments"));
    };
    let context = &face.context;
    if let Some(refusal) = &face.refusal {
        return Verdict::Hold(format!("the configuration has a fault: {refusal}"));
    }
    let deadline = context.deadline(None);
    let records = MxRecord::list(mx_list);
    // Without an MX record the domain is its own MX host (RFC 5321 section 5.1).
    let names: Vec<&[u8]> =
        if records.is_empty() { vec![domain] } else { records.iter().map(|record| record.name).collect() };
    let is_null_mx = !records.is_empty() && names.iter().all(|name| name.is_empty());
    let hosts = if is_null_mx { &[][..] } else { &names[..] };
    let answer = context.query_until(domain, hosts, Effort::Usual, deadline);
    if answer.is_unknown {
        return Verdict::Hold(answer.text);
    }
    if answer.mode() != Mode::Enforce {
        return Verdict::Text(String::new());
    }
    if records.is_empty() {
        return implicit_mx(&answer);
    }
    if is_null_mx {
        // Never the empty text: the stock router would ask DNS again and believe the second answer (RFC 7505).
        return Verdict::Text(".".to_owned());
    }
    let listed = listed_hosts(&answer, &records);
    if listed.is_empty() {
        return Verdict::Hold(answer.describe_refusal(&names, SystemClock.now()));
    }
    Verdict::Text(join(&without_dead(context, listed, deadline)))
}

/// No MX record: the domain is its own MX host (RFC 5321 section 5.1).
fn implicit_mx(answer: &Answer) -> Verdict {
    let own = MxRecord { preference: 0, name: answer.domain.as_bytes() };
    let listed = listed_hosts(answer, std::slice::from_ref(&own));
    if listed.is_empty() {
        Verdict::Hold(answer.describe_refusal(&[own.name], SystemClock.now()))
    } else {
        Verdict::Text(join(&listed))
    }
}

/// One MX record as Exim's dnsdb lookup shows it. A null MX has an empty name (RFC 7505).
struct MxRecord<'a> {
    preference: u32,
    name: &'a [u8],
}

impl<'a> MxRecord<'a> {
    /// Reads `PREF HOST,PREF HOST,...`. What has no preference is put last rather than lost.
    fn list(text: &'a [u8]) -> Vec<Self> {
        let items = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii_start).filter(|item| !item.is_empty());
        items
            .map(|item| {
                let mut words = item.splitn(2, |&byte| byte == b' ');
                let preference = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
                match preference {
                    Some(preference) => Self { preference, name: words.next().unwrap_or_default().trim_ascii() },
                    None => Self { preference: u32::MAX, name: item.trim_ascii() },
                }
            })
            .map(|record| if record.name == b"." { Self { name: b"", ..record } } else { record })
            .collect()
    }
}

/// A host that Exim may contact.
struct Listed {
    preference: u32,
    host: MxHost,
}

/// The listed hosts in order of preference, each once.
fn listed_hosts(answer: &Answer, records: &[MxRecord<'_>]) -> Vec<Listed> {
    let patterns = answer.policy.as_ref().map_or(&[][..], |stored| stored.policy.mx());
    let mut listed: Vec<Listed> = records
        .iter()
        .filter_map(|record| Some(Listed { preference: record.preference, host: exim_host(record.name)? }))
        .filter(|candidate| any_match(patterns, &candidate.host))
        .collect();
    listed.sort_by_key(|candidate| candidate.preference);
    let mut seen: Vec<String> = Vec::new();
    listed.retain(|candidate| {
        let name = candidate.host.as_str().to_owned();
        let is_new = !seen.contains(&name);
        seen.push(name);
        is_new
    });
    listed
}

/// A name that may stand in Exim's host list: other than that nothing is matched, since Exim expands the list again,
/// takes `/mx` for a new MX lookup, `:` for a port and an address for an address.
fn exim_host(name: &[u8]) -> Option<MxHost> {
    let is_plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    let host = MxHost::parse(name).ok().filter(|_| is_plain)?;
    let top = host.as_str().rsplit('.').next().unwrap_or_default();
    top.bytes().any(|byte| byte.is_ascii_lowercase()).then_some(host)
}

/// Leaves out hosts whose addresses fail temporarily, if another one resolves: Exim's manualroute would otherwise
/// wait for the dead one. A host that there was no time to ask about stays.
fn without_dead(context: &Context, listed: Vec<Listed>, deadline: Deadline) -> Vec<Listed> {
    if listed.len() < 2 {
        return listed;
    }
    let deadline = deadline.at_most(PROBE_TIME);
    let mut is_one_alive = false;
    let mut dead = Vec::new();
    for (at, candidate) in listed.iter().enumerate() {
        // Each has a share of the time, so that a silent one leaves enough for the others.
        let left = u32::try_from(listed.len().saturating_sub(at)).unwrap_or(u32::MAX);
        let share = deadline.remaining().checked_div(left).unwrap_or_default();
        let answer = (!share.is_zero()).then(|| context.addresses(&candidate.host, deadline.at_most(share)));
        is_one_alive |= matches!(answer, Some(dns::Answer::Found { .. }));
        dead.push(matches!(answer, Some(dns::Answer::Failed(_))));
    }
    if !is_one_alive {
        return listed;
    }
    listed.into_iter().zip(dead).filter(|(_, is_dead)| !is_dead).map(|(listed, _)| listed).collect()
}

fn join(listed: &[Listed]) -> String {
    let mut text = String::new();
    let mut last: Option<u32> = None;
    for Listed { preference, host } in listed {
        text.push_str(match last {
            None => "",
            Some(last) if last == *preference => ":",
            Some(_) => ":+:",
        });
        text.push_str(host.as_str());
        last = Some(*preference);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforce(mx: &str) -> Answer {
        let body = format!("version: STSv1\nmode: enforce\n{mx}max_age: 86400\n");
        let mut answer = Answer::parsed(body.as_bytes(), SystemClock.now()).unwrap();
        answer.domain = "example.test".to_owned();
        answer
    }

    fn routed(patterns: &str, mx_list: &str) -> String {
        join(&listed_hosts(&enforce(patterns), &MxRecord::list(mx_list.as_bytes())))
    }

    #[test]
    fn hosts_come_in_order_of_preference_with_plus_between_different_ones() {
        let list = "20 c.x.test,10 B.X.test,10 a.x.test,5 evil.test,30 d.x.test,40 a.x.test";
        assert_eq!(routed("mx: *.x.test\n", list), "b.x.test:a.x.test:+:c.x.test:+:d.x.test");
    }

    #[test]
    fn nothing_that_exim_would_read_as_something_else_gets_through() {
        for name in [
            "$h.x.test",
            "\\h.x.test",
            "a/mx.x.test",
            "a:25.x.test",
            "192.0.2.1",
            "[192.0.2.1]",
            "a b.x.test",
            "a.x.test/mx",
            "+.x.test",
            "ü.x.test",
            "*.x.test",
            "",
            ".",
            "a.x.test..",
            "${run{x}}.x.test",
            "x.test.1",
        ] {
            assert_eq!(routed("mx: *.x.test\nmx: x.test.1\n", &format!("10 {name}")), "", "{name}");
        }
        assert_eq!(routed("mx: *.x.test\n", "10 m_1.x.test."), "m_1.x.test");
    }

    #[test]
    fn a_null_mx_has_an_empty_name_and_an_empty_list_no_record() {
        let records = MxRecord::list(b"0 ");
        assert!(records.len() == 1 && records[0].name.is_empty());
        let records = MxRecord::list(b"0 .");
        assert!(records.len() == 1 && records[0].name.is_empty());
        assert!(MxRecord::list(b"").is_empty());
        assert!(MxRecord::list(b" ,, ").is_empty());
    }
}
