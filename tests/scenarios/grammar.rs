//! Scene files to values. Every mistake is an error that names file and line; the grammar is in `README.md`.

use mtasts_world::Certificate;
use mtasts_world::words::{Word, split};
use std::net::Ipv4Addr;
use std::time::Duration;

const HOSTS: &str = "enforce testing none silent no-handshake tls1.1 closing vector:NAME body:TEXT 200 to 599";
const SHAPES: &str = "length chunked broken-chunks short long gzip http1.0 cut drip-header drip-body endless-header \
                      endless-body";
const FAILURES: &str = "nxdomain nodata servfail refused silent";
const ADDRESSES: &str = "here closed mute hole nxdomain nodata servfail refused silent";
const MODES: &str = "enforce testing none unknown";
const SOURCES: &str = "none cache https configuration";
const RESULTS: &str = "none sts-policy-fetch-error sts-policy-invalid sts-webpki-invalid";
const LEVELS: &str = "silent notice warning error";

/// One story.
#[derive(Debug)]
pub struct Scene {
    pub path: String,
    /// The flow vector that this scene is.
    pub flow: Option<String>,
    pub steps: Vec<Step>,
}

/// What happens at one time, or at several.
#[derive(Debug, Default)]
pub struct Step {
    pub line: usize,
    /// Seconds since the scene began.
    pub times: Vec<i64>,
    pub acts: Vec<Act>,
    /// The MX hosts of the message, where the question is for one.
    pub mx: Option<Vec<String>>,
    pub effort: Option<String>,
    pub timeout: Option<Duration>,
    /// A refresh pass instead of a question.
    pub is_pass: bool,
    pub expect: Vec<Expect>,
}

/// What changes before the question.
#[derive(Debug)]
pub enum Act {
    Dns(Dns),
    Https(Https),
    /// What the lookups of the policy host's address bring, one after the other.
    Address(Vec<Vec<String>>),
    /// Lines of the world's own grammar.
    World(String),
    Clock {
        by: i64,
        is_during_fetch: bool,
    },
    Set(String, String),
    Restart,
}

/// What stands at `_mta-sts.example.test`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dns {
    pub is_truncated: bool,
    /// A failure, or `changing`.
    pub failure: Option<String>,
    pub records: Vec<Vec<u8>>,
    /// Other TXT records around them: how many, of how many bytes.
    pub strangers: (usize, usize),
    pub ttl: u32,
}

/// What the policy host does.
#[derive(Clone, Debug)]
pub struct Https {
    /// A mode, a status, a word, or `vector:` or `body:` and what follows.
    pub what: String,
    pub certificate: Certificate,
    pub shape: String,
    pub mx: Vec<String>,
    pub max_age: u64,
    /// The policy is filled up to so many bytes.
    pub bytes: Option<usize>,
    /// So many further mx lines.
    pub lines: usize,
}

/// One thing that must be so after the question: `key` is the part of the outcome.
#[derive(Debug, PartialEq, Eq)]
pub struct Expect {
    pub key: String,
    /// Any one of these; of a text a part.
    pub values: Vec<String>,
}

impl Expect {
    pub fn new(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), values: vec![value.to_owned()] }
    }
}

/// Reads one scene file.
pub fn parse(path: &str, text: &str) -> Result<Scene, String> {
    let mut scene = Scene { path: path.to_owned(), flow: None, steps: Vec::new() };
    if !text.starts_with("# ") {
        return Err(format!("{path}:1: want the story in one sentence after `# `"));
    }
    let mut steps: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix("# flow: ") {
            scene.flow = Some(name.trim().to_owned());
        } else if line.trim().is_empty() || line.starts_with('#') {
            continue;
        } else if line.starts_with(' ') {
            let (_, step) = steps.last_mut().ok_or(format!("{path}:{}: a line without its step", index + 1))?;
            *step = format!("{step} {}", line.trim());
        } else {
            steps.push((index + 1, line.to_owned()));
        }
    }
    let mut now = 0;
    for (line, text) in steps {
        scene.steps.push(step(line, &text, &mut now).map_err(|error| format!("{path}:{line}: {error}"))?);
    }
    match scene.steps.iter().all(|step| step.expect.is_empty()) {
        true => Err(format!("{path}:1: the scene expects nothing")),
        false => Ok(scene),
    }
}

fn step(line: usize, text: &str, now: &mut i64) -> Result<Step, String> {
    let (times, rest) = text.strip_prefix("at ").and_then(|text| text.split_once(':')).ok_or("want `at TIME: ...`")?;
    let mut step = Step { line, times: self::times(times, now)?, ..Step::default() };
    for statement in statements(rest)? {
        self::statement(&mut step, &statement).map_err(|error| format!("`{statement}`: {error}"))?;
    }
    Ok(step)
}

/// `T`, `+T` after the step before, or `T to T every T`.
fn times(text: &str, now: &mut i64) -> Result<Vec<i64>, String> {
    let mut point = |text: &str| {
        let base = if text.starts_with('+') { *now } else { 0 };
        let at = base + span(text.trim_start_matches('+'))?;
        if at < *now {
            return Err(format!("time {text} comes after a later one"));
        }
        *now = at;
        Ok(at)
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [at] => Ok(vec![point(at)?]),
        [from, "to", to, "every", every] => {
            let (from, to, every) = (point(from)?, point(to)?, span(every)?);
            if every < 1 { Err("every 0".to_owned()) } else { Ok((from..=to).step_by(every as usize).collect()) }
        }
        _ => Err(format!("time `{text}`, want T or T to T every T")),
    }
}

/// Seconds: `0`, `90s`, `1d12h`, `-1y`.
pub fn span(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}`, want a time such as 0, 90s, 5m, 2h, 1d, 3w, 1y or 1d1s");
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut sum = 0;
    while rest != "0" {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800), ("y", 31_536_000)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest[digits..].starts_with(unit)).ok_or_else(wrong)?;
        sum += number * seconds;
        rest = &rest[digits + unit.len()..];
        if rest.is_empty() {
            break;
        }
    }
    Ok(sign * sum)
}

/// Cuts at semicolons outside of quotes.
fn statements(text: &str) -> Result<Vec<String>, String> {
    let (mut statements, mut is_quoted, mut is_escaped) = (vec![String::new()], false, false);
    for letter in text.chars() {
        let is_end = letter == ';' && !is_quoted;
        is_quoted ^= letter == '"' && !is_escaped;
        is_escaped = is_quoted && letter == '\\' && !is_escaped;
        match statements.last_mut() {
            Some(statement) if !is_end => statement.push(letter),
            _ => statements.push(String::new()),
        }
    }
    if is_quoted {
        return Err("a quote is not closed".to_owned());
    }
    Ok(statements
        .iter()
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect())
}

fn statement(step: &mut Step, text: &str) -> Result<(), String> {
    if text.starts_with("dns ") {
        match step.acts.last_mut() {
            Some(Act::World(lines)) => lines.extend(["\n", text]),
            _ => step.acts.push(Act::World(text.to_owned())),
        }
        return Ok(());
    }
    if let Some(records) = text.strip_prefix("dns=") {
        step.acts.push(Act::Dns(dns(&split(records.as_bytes())?)?));
        return Ok(());
    }
    let words = split(text.as_bytes())?;
    let texts = words.iter().map(Word::text).collect::<Result<Vec<String>, String>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let value = |key: &str| texts[0].strip_prefix(key);
    match &texts[..] {
        ["restart"] => step.acts.push(Act::Restart),
        ["refresh"] => step.is_pass = true,
        ["set", setting] => {
            let (key, value) = setting.split_once('=').ok_or("want set KEY=VALUE")?;
            step.acts.push(Act::Set(key.to_owned(), value.to_owned()));
        }
        ["expect", what @ ..] => {
            step.expect = what.iter().map(|what| expect(what)).collect::<Result<_, _>>()?;
        }
        [_, rest @ ..] if value("clock=").is_some() => {
            let is_during_fetch = rest == ["during", "fetch"];
            if !is_during_fetch && !rest.is_empty() {
                return Err("want clock=±T or clock=±T during fetch".to_owned());
            }
            let by = span(value("clock=").unwrap_or_default().trim_start_matches('+'))?;
            step.acts.push(Act::Clock { by, is_during_fetch });
        }
        [_] if value("mx=").is_some() => step.mx = value("mx=").map(list),
        [_] if value("timeout=").is_some() => {
            let seconds = span(value("timeout=").unwrap_or_default())?;
            step.timeout = Some(Duration::from_secs(u64::try_from(seconds).map_err(|_| "want a time to come")?));
        }
        ["effort=cache-only" | "effort=refresh"] => step.effort = value("effort=").map(str::to_owned),
        [_, rest @ ..] if value("https=").is_some() => {
            step.acts.push(Act::Https(https(value("https=").unwrap_or_default(), rest)?));
        }
        [_, rest @ ..] if value("address=").is_some() => {
            let lookups = [&[value("address=").unwrap_or_default()], rest].concat();
            let lookups = lookups.split(|word| *word == "then").map(|lookup| list(&lookup.concat()));
            let lookups: Vec<Vec<String>> = lookups.collect();
            for word in lookups.iter().flatten().filter(|word| word.parse::<Ipv4Addr>().is_err()) {
                one_of(ADDRESSES, word)?;
            }
            step.acts.push(Act::Address(lookups));
        }
        _ => return Err("not a statement".to_owned()),
    }
    Ok(())
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn is_among(known: &str, word: &str) -> bool {
    known.split_whitespace().any(|known| known == word)
}

fn one_of(known: &str, word: &str) -> Result<String, String> {
    if is_among(known, word) { Ok(word.to_owned()) } else { Err(format!("`{word}`, want one of {known}")) }
}

fn dns(words: &[Word]) -> Result<Dns, String> {
    let mut dns = Dns { ttl: 60, ..Dns::default() };
    for word in words {
        let text = word.text()?;
        if word.quoted {
            dns.records.push(text.into_bytes());
        } else if text == "truncated" {
            dns.is_truncated = true;
        } else if text == "changing" || is_among(FAILURES, &text) {
            dns.failure = Some(text);
        } else if let Some(ttl) = text.strip_prefix("ttl=") {
            dns.ttl = span(ttl)?.try_into().map_err(|_| "the ttl is too large")?;
        } else if let Some(strangers) = text.strip_prefix("strangers=") {
            let (count, length) = strangers.split_once('x').unwrap_or((strangers, "40"));
            let number = |text: &str| text.parse::<usize>().map_err(|_| "want strangers=COUNTxBYTES");
            dns.strangers = (number(count)?, number(length)?);
        } else if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            dns.records.push(format!("v=STSv1; id={text};").into_bytes());
        } else {
            return Err(format!("`{text}` is no id, want other records in quotes"));
        }
    }
    if words.is_empty() { Err("want an id, records or a failure".to_owned()) } else { Ok(dns) }
}

fn https(what: &str, options: &[&str]) -> Result<Https, String> {
    let is_status = (200..600).contains(&what.parse().unwrap_or(0));
    if !is_status && !what.starts_with("vector:") && !what.starts_with("body:") {
        one_of(HOSTS, what)?;
    }
    let mx = if what == "none" { Vec::new() } else { vec!["mx.example.test".to_owned()] };
    let shape = "length".to_owned();
    let what = what.to_owned();
    let mut https = Https { what, certificate: Certificate::Good, shape, mx, max_age: 604_800, bytes: None, lines: 0 };
    for option in options {
        let wrong = || format!("option `{option}`");
        let (key, value) = option.split_once('=').ok_or_else(wrong)?;
        match key {
            "mx" => https.mx = list(value),
            "max_age" => https.max_age = span(value)?.try_into().map_err(|_| wrong())?,
            "bytes" => https.bytes = Some(value.parse().map_err(|_| wrong())?),
            "lines" => https.lines = value.parse().map_err(|_| wrong())?,
            "as" => https.shape = one_of(SHAPES, value)?,
            "certificate" => {
                let known = Certificate::ALL.iter().find(|(name, _)| *name == value);
                https.certificate = known.ok_or_else(wrong)?.1;
            }
            _ => return Err(wrong()),
        }
    }
    Ok(https)
}

fn expect(what: &str) -> Result<Expect, String> {
    if let Some((key @ ("text" | "log"), part)) = what.split_once('~') {
        return Ok(Expect::new(if key == "text" { "text" } else { "lines" }, part));
    }
    if let Some((key, value)) = what.split_once('=') {
        let value = match key {
            "from" => one_of(SOURCES, value)?,
            "result" => one_of(RESULTS, value)?,
            "log" => one_of(LEVELS, value)?,
            "id" => value.to_owned(),
            "expires" => span(value)?.to_string(),
            "txt" | "https" | "done" | "failed" if value.parse::<u32>().is_ok() => value.to_owned(),
            _ => return Err(format!("`{what}` cannot be expected")),
        };
        return Ok(Expect::new(key, &value));
    }
    if is_among(MODES, what) {
        return Ok(Expect::new("mode", what));
    }
    let values: Vec<String> = what.split('|').map(str::to_owned).collect();
    match values.iter().find(|reason| !crate::is_reason(reason)) {
        Some(word) => Err(format!("`{word}` is neither a mode nor a reason")),
        None => Ok(Expect { key: "reason".to_owned(), values }),
    }
}
