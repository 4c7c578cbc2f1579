//! Answers for an Exim that runs as root: from a forked child that has become the user who delivers mail.
//!
//! Root reads the configuration and nothing else. What the child says is believed only as far as it can be checked:
//! byte by byte, and no host is named that was not asked about.

use super::{Face, MAX_MESSAGE_BYTES, Question, Verdict, route};
use crate::config::OnTrouble;
use crate::context::Level;
use crate::sys::child;
use crate::sys::fork::{ForkSafe, Work};
use crate::sys::identity::Identity;
use crate::time::Deadline;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So long an answer stands for the next recipients of the same message.
const MEMORY_TIME: Duration = Duration::from_secs(5);
/// So many answers are remembered.
const MEMORY_ENTRIES: usize = 1000;
/// What the parent keeps of the deadline for itself: at most this, and at most a tenth.
const PARENTS_SHARE: Duration = Duration::from_secs(1);

/// Of one answer so many lines are logged.
const MAX_LINES: usize = 20;

/// What was asked: the question, and its arguments, lists among them in order.
type Asked = (Question, Vec<Vec<u8>>);

/// The answers of the last children.
pub struct Servant {
    answers: ForkSafe<HashMap<Asked, (Instant, Verdict)>>,
}

impl Servant {
    pub fn new() -> Self {
        Self { answers: ForkSafe::new(Work::Memory, HashMap::new) }
    }

    /// Has a child answer, unless one has just answered the same question.
    pub fn ask(&self, face: &Face, question: Question, arguments: &[&[u8]]) -> Verdict {
        let asked = asked(question, arguments);
        if let Some(verdict) = self.recall(&asked) {
            return verdict;
        }
        let verdict = answer(face, question, arguments);
        self.remember(asked, &verdict);
        verdict
    }

    fn recall(&self, asked: &Asked) -> Option<Verdict> {
        let is_fresh = |(since, _): &&(Instant, Verdict)| since.elapsed() < MEMORY_TIME;
        self.answers.with(|answers| answers.get(asked).filter(is_fresh).map(|(_, verdict)| verdict.clone())).flatten()
    }

    fn remember(&self, asked: Asked, verdict: &Verdict) {
        self.answers.with(|answers| {
            if answers.len() >= MEMORY_ENTRIES {
                answers.retain(|_, (since, _)| since.elapsed() < MEMORY_TIME);
            }
            if answers.len() < MEMORY_ENTRIES {
                answers.insert(asked, (Instant::now(), verdict.clone()));
            }
        });
    }
}

fn asked(question: Question, arguments: &[&[u8]]) -> Asked {
    let arguments = match question {
        Question::Route | Question::Mode => arguments.iter().flat_map(|argument| in_order(argument)).collect(),
        // Base64 tells capital letters from small ones.
        Question::Certificate => arguments.iter().map(|argument| argument.to_vec()).collect(),
    };
    (question, arguments)
}

/// The items of a list in an order of their own: DNS gives the same records in any order.
fn in_order(argument: &[u8]) -> Vec<Vec<u8>> {
    let mut items: Vec<Vec<u8>> = argument.split(|&byte| byte == b',').map(<[u8]>::to_ascii_lowercase).collect();
    items.sort();
    // Where one argument ends and the next begins.
    items.push(b",".to_vec());
    items
}

fn answer(face: &Face, question: Question, arguments: &[&[u8]]) -> Verdict {
    let whole = face.context.settings().deadline;
    let share = PARENTS_SHARE.min(whole.mul_f32(0.1));
    let end = Instant::now().checked_add(whole).unwrap_or_else(Instant::now);
    let childs_deadline = Deadline::after(whole.saturating_sub(share));
    let identity = match identity(face) {
        Ok(identity) => identity,
        Err(fault) => return Verdict::Hold(fault),
    };
    let said = child::answer_as(identity, end, |pipe| {
        serve(face, question, arguments, childs_deadline, pipe);
    });
    let (lines, verdict) = read(&said.bytes);
    for (level, line) in lines.into_iter().take(MAX_LINES) {
        face.context.log(level, &line);
    }
    match verdict {
        _ if said.fault.is_some() => Verdict::Hold(said.fault.unwrap_or_default()),
        Some(Verdict::Text(text)) if !is_sound(question, arguments, &text) => {
            Verdict::Hold("the process that was to answer gave an answer that cannot be".to_owned())
        }
        Some(verdict) => verdict,
        None => Verdict::Hold("the process that was to answer gave no answer".to_owned()),
    }
}

/// Who does the work: the configured user, else the owner of the cache directory, else the owner of Exim's spool, where
/// Exim works, else nobody. Never root. The error holds mail, if the administrator wants that of a broken configuration.
fn identity(face: &Face) -> Result<Identity, String> {
    let settings = face.context.settings();
    let configured = match settings.user.as_deref().map(Identity::of_user) {
        None => None,
        Some(Ok(user)) => Some(user),
        Some(Err(problem)) => {
            let fault = format!("configuration: key `user`: {problem}");
            face.context.log(Level::Error, &fault);
            if settings.on_config_error == OnTrouble::Defer {
                return Err(fault);
            }
            None
        }
    };
    let spool = || Path::new("input").is_dir().then(|| Identity::of_owner(Path::new("."))).flatten();
    Ok(configured
        .or_else(|| settings.cache.parent().and_then(Identity::of_owner))
        .or_else(spool)
        .unwrap_or_else(Identity::nobody))
}

/// In the child: writes its log lines, each a digit and a text, and last the verdict, with `t` or `h` before it. The
/// parent logs, since it knows what it has logged before.
fn serve(face: &Face, question: Question, arguments: &[&[u8]], deadline: Deadline, pipe: &Arc<File>) {
    let log = Arc::clone(pipe);
    // A line that does not get through is lost; an answer that does not is seen to be missing.
    face.context.set_log(Some(Box::new(move |level, line| {
        let _ = writeln!(&*log, "{}{}", level as i32, one_line(line));
    })));
    let verdict = face.work(question, arguments, deadline);
    let (kind, text) = match &verdict {
        Verdict::Text(text) => ('t', text),
        Verdict::Hold(why) => ('h', why),
    };
    // At once: each write wakes the parent.
    let _ = (&**pipe).write_all(format!("{kind}{}\n", one_line(text)).as_bytes());
}

fn one_line(text: &str) -> String {
    text.replace(['\0', '\n', '\r'], " ")
}

/// What the child said: its log lines, and the verdict.
fn read(said: &[u8]) -> (Vec<(Level, String)>, Option<Verdict>) {
    let said = String::from_utf8_lossy(said);
    let mut lines = Vec::new();
    let mut verdict = None;
    for line in said.lines() {
        let text = || line.chars().skip(1).collect();
        // Nothing comes behind the verdict.
        if verdict.is_some() {
            return (lines, None);
        }
        match line.chars().next() {
            Some('3') => lines.push((Level::Error, text())),
            Some('4') => lines.push((Level::Warning, text())),
            Some('5') => lines.push((Level::Notice, text())),
            Some('7') => lines.push((Level::Debug, text())),
            Some('t') => verdict = Some(Verdict::Text(text())),
            Some('h') => verdict = Some(Verdict::Hold(line.chars().skip(1).take(MAX_MESSAGE_BYTES).collect())),
            _ => return (lines, None),
        }
    }
    (lines, verdict)
}

/// Whether a text can be an answer to the question, whoever gave it.
fn is_sound(question: Question, arguments: &[&[u8]], text: &str) -> bool {
    match (question, arguments) {
        (Question::Mode, _) => matches!(text, "none" | "testing" | "enforce" | "unknown"),
        (Question::Route, [domain, mx_list]) => match text {
            "" => true,
            "." => route::is_null_mx(mx_list),
            _ => {
                let names = route::names_of(domain, mx_list);
                // The A-labels of a domain that is its own MX host are found by the child alone.
                let is_any_host = mx_list.is_empty() && !domain.is_ascii();
                let hosts: Vec<&str> = text.split(":+:").flat_map(|equals| equals.split(':')).collect();
                let is_plain =
                    |host: &str| route::exim_host(host.as_bytes()).is_some_and(|parsed| parsed.as_str() == host);
                let is_named = |host: &str| is_any_host || names.iter().any(|name| is_same_host(name, host));
                hosts.len() <= names.len() && hosts.into_iter().all(|host| is_plain(host) && is_named(host))
            }
        },
        (Question::Route, _) => false,
        // Any other text is a reason to refuse, and those are no `Text`.
        (Question::Certificate, _) => text.is_empty(),
    }
}

fn is_same_host(name: &[u8], host: &str) -> bool {
    name.strip_suffix(b".").unwrap_or(name).eq_ignore_ascii_case(host.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MX: &[u8] = b"20 B.x.test,10 a.x.test,30 $h.x.test,40 192.0.2.1";

    fn is_route(domain: &str, mx_list: &[u8], text: &str) -> bool {
        is_sound(Question::Route, &[domain.as_bytes(), mx_list], text)
    }

    #[test]
    fn only_what_exim_may_be_told_is_believed() {
        for text in ["", "a.x.test", "a.x.test:+:b.x.test", "b.x.test:a.x.test"] {
            assert!(is_route("x.test", MX, text), "{text}");
        }
        for text in [
            ".",
            " ",
            ":",
            "+",
            "a.x.test:",
            ":a.x.test",
            "a.x.test:+:",
            "a.x.test::b.x.test",
            "a.x.test:+",
            "A.x.test",
            "a.x.test ",
            "a.x.test.",
            "evil.test",
            "a.x.test:+:evil.test",
            "$h.x.test",
            "192.0.2.1",
            "a.x.test/mx",
            "a.x.test\n",
            "${run{x}}",
            "a.x.test\0",
            "a.x.test:a.x.test:a.x.test:a.x.test:a.x.test",
        ] {
            assert!(!is_route("x.test", MX, text), "{text:?}");
        }
        assert!(!is_route("x.test", "10 a.x.test,20 ü.x.test".as_bytes(), "evil.test"));
        assert!(is_route("x.test", b"0 ", "."));
        assert!(is_route("X.test", b"", "x.test") && !is_route("x.test", b"", "a.x.test"));
        assert!(is_route("ü.test", b"", "xn--tda.test") && !is_route("ü.test", b"", "xn--tda.test$"));
        assert!(!is_sound(Question::Route, &[b"x.test"], ""));
        for mode in ["none", "testing", "enforce", "unknown"] {
            assert!(is_sound(Question::Mode, &[b"x.test"], mode));
        }
        assert!(is_sound(Question::Certificate, &[b"x.test", b"AAAA"], ""));
        assert!(!is_sound(Question::Certificate, &[b"x.test", b"AAAA"], "fine"));
        assert!(!is_sound(Question::Mode, &[b"x.test"], "") && !is_sound(Question::Mode, &[b"x.test"], "enforce "));
    }

    #[test]
    fn a_verdict_is_whole_and_the_last_thing_said() {
        let hold = |why: &str| Some(Verdict::Hold(why.to_owned()));
        assert_eq!(read(b"4careful\n3worse\nhno\n").1, hold("no"));
        assert_eq!(read(b"4careful\n3worse\nhno\n").0.len(), 2);
        assert_eq!(read(b"t\n").1, Some(Verdict::Text(String::new())));
        for said in [&b""[..], b"4careful\n", b"t\nt\n", b"t\n4late\n", b"x\n", b"\n", b"ta.x.test\nhno\n"] {
            assert_eq!(read(said).1, None, "{}", said.escape_ascii());
        }
        assert_eq!(read(b"h\xff\n").1, hold("\u{fffd}"));
    }

    #[test]
    fn the_order_of_records_and_the_case_of_letters_ask_nothing_new() {
        let asked = |domain: &[u8], mx_list: &[u8]| asked(Question::Route, &[domain, mx_list]);
        assert_eq!(asked(b"X.test", b"10 a,20 B"), asked(b"x.test", b"20 b,10 a"));
        assert_ne!(asked(b"x.test", b"10 a,20 b"), asked(b"x.test", b"10 a"));
        assert_ne!(asked(b"x.test", b""), asked(b"", b"x.test"));
    }

    #[test]
    fn an_answer_is_remembered_for_five_seconds_and_memory_has_an_end() {
        let servant = Servant::new();
        let asked = |name: &str| (Question::Route, vec![name.as_bytes().to_vec()]);
        let verdict = Verdict::Text("a.x.test".to_owned());
        servant.remember(asked("x.test"), &verdict);
        assert_eq!(servant.recall(&asked("x.test")), Some(verdict.clone()));
        assert_eq!(servant.recall(&(Question::Mode, asked("x.test").1)), None);
        let long_ago = Instant::now().checked_sub(MEMORY_TIME).unwrap();
        servant.answers.with(|answers| answers.get_mut(&asked("x.test")).unwrap().0 = long_ago);
        assert_eq!(servant.recall(&asked("x.test")), None);
        for number in 0..=MEMORY_ENTRIES {
            servant.remember(asked(&number.to_string()), &verdict);
        }
        assert_eq!(servant.answers.with(|answers| answers.len()), Some(MEMORY_ENTRIES));
        assert_eq!(servant.recall(&asked("0")), Some(verdict), "what is remembered stays");
    }

    #[test]
    fn a_certificate_is_not_taken_for_one_whose_base64_differs_in_case_or_order() {
        let asked = |base64: &[u8]| asked(Question::Certificate, &[b"mx.x.test", base64]);
        assert_eq!(asked(b"AbCd"), asked(b"AbCd"));
        assert_ne!(asked(b"AbCd"), asked(b"abcd"));
        assert_ne!(asked(b"Ab,Cd"), asked(b"Cd,Ab"));
    }
}
