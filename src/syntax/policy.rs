//! The policy body: bytes to mode, mx patterns and max_age, with lints for what is legal but odd.
//!
//! Implements RFC 8461 section 3.2. Lines end in LF or CRLF (erratum 6253). A policy is taken whole or not at all: a
//! half-read list of hosts would refuse mail that the domain wants. Runs in linear time on any bytes.

use super::DomainError;
use super::mx_match::MxPattern;
use super::record::{Wsp, is_extension_name};
use std::fmt;

/// The largest body that is read (RFC 8461 section 3.3 suggests 64 kilobytes).
pub const MAX_BODY_BYTES: usize = 65_536;
/// The largest lifetime in seconds, about a year (RFC 8461 section 3.2).
pub const MAX_MAX_AGE: u64 = 31_557_600;
/// More lints than this are not told one by one.
const MAX_LINTS: usize = 20;
/// Below this lifetime in seconds a policy protects little (RFC 8461 section 3.2 speaks of weeks or more).
const SHORT_MAX_AGE: u64 = 86_400;

/// What a policy asks of a sender (RFC 8461 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As if there were no policy.
    None,
    /// Deliver all the same, report failures.
    Testing,
    /// Deliver only to listed hosts over verified TLS.
    Enforce,
}

impl Mode {
    /// The word that stands in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Testing => "testing",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A well-formed policy. What each answer needs stands first, on one line of the processor's cache with the times of a
/// stored policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    max_age: u64,
    mode: Mode,
    mx: Vec<MxPattern>,
    lints: Vec<String>,
}

/// Why a body is not a policy: the line, counted from 1, and what is wrong with it. A missing field has no line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The line at fault, if one line is.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    /// Reads a policy body as it was served.
    pub fn parse(body: &[u8]) -> Result<Self, PolicyError> {
        let mut draft = Draft::default();
        let lines = Lines::of(body);
        if lines.trailing_empty > 0 {
            draft.add_lint(format!("{} empty line(s) at the end are ignored", lines.trailing_empty));
        }
        for (number, line) in lines.iter() {
            draft.read_line(number, line).map_err(|problem| PolicyError { line: Some(number), problem })?;
        }
        draft.finish()
    }

    /// What the policy asks for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The patterns in the order of the body.
    pub fn mx(&self) -> &[MxPattern] {
        &self.mx
    }

    /// Lifetime in seconds, at most [`MAX_MAX_AGE`].
    pub fn max_age(&self) -> u64 {
        self.max_age
    }

    /// What is legal but odd, one sentence each.
    pub fn lints(&self) -> &[String] {
        &self.lints
    }
}

/// The lines of a body without the empty ones at its very end.
struct Lines<'a> {
    body: &'a [u8],
    trailing_empty: usize,
}

impl<'a> Lines<'a> {
    fn of(body: &'a [u8]) -> Self {
        let mut kept = body;
        let mut trailing_empty: usize = 0;
        // One line end closes the last line; each further one is an empty line.
        while let Some(shorter) = without_line_end(kept) {
            if !(shorter.is_empty() || shorter.ends_with(b"\n")) {
                break;
            }
            kept = shorter;
            trailing_empty = trailing_empty.saturating_add(1);
        }
        Self { body: kept, trailing_empty }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        // A CR belongs to a line end only before an LF: at the end of the body it is a stray character.
        self.body
            .split_inclusive(|&byte| byte == b'\n')
            .map(|line| without_line_end(line).unwrap_or(line))
            .zip(1..)
            .map(|(line, number)| (number, line))
    }
}

fn without_line_end(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_suffix(b"\n")?;
    Some(text.strip_suffix(b"\r").unwrap_or(text))
}

/// The fields read so far.
#[derive(Default)]
struct Draft {
    has_version: bool,
    mode: Option<Mode>,
    max_age: Option<u64>,
    mx: Vec<MxPattern>,
    malformed_mx: Option<PolicyError>,
    lints: Vec<String>,
}

impl Draft {
    fn read_line(&mut self, number: usize, line: &[u8]) -> Result<(), String> {
        if line.is_empty() {
            return Err("the line is empty, want a `key: value` line".to_owned());
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let Some((key, value)) = colon.and_then(|at| Some((line.get(..at)?, line.get(at.checked_add(1)?..)?))) else {
            return Err(format!("{} has no colon, want `key: value`", quoted(line)));
        };
        if !is_extension_name(key) {
            return Err(format!(
                "{} is not a key: want 1 to 32 letters, digits, `_`, `-` or `.` and no blanks",
                quoted(key)
            ));
        }
        let value = value.trim_start_wsp().trim_end_wsp();
        match key {
            // RFC 8461 section 3.2: of repeated fields other than mx the first counts, whatever the later ones say.
            b"version" if self.has_version => self.note_duplicate(number, "version"),
            b"mode" if self.mode.is_some() => self.note_duplicate(number, "mode"),
            b"max_age" if self.max_age.is_some() => self.note_duplicate(number, "max_age"),
            b"version" => self.read_version(value)?,
            b"mode" => self.mode = Some(parse_mode(value)?),
            b"max_age" => self.read_max_age(value)?,
            b"mx" => self.read_mx(number, value),
            _ => check_extension_value(key, value)?,
        }
        Ok(())
    }

    fn note_duplicate(&mut self, number: usize, key: &str) {
        self.add_lint(format!("line {number}: a second `{key}` is ignored, the first counts"));
    }

    /// A body of 64 KiB could have thousands: the first few tell enough.
    fn add_lint(&mut self, lint: String) {
        if self.lints.len() < MAX_LINTS {
            self.lints.push(lint);
        } else if self.lints.len() == MAX_LINTS {
            self.lints.push("there are more lints".to_owned());
        }
    }

    fn read_version(&mut self, value: &[u8]) -> Result<(), String> {
        if value != b"STSv1" {
            return Err(format!("version {}, want STSv1", quoted(value)));
        }
        self.has_version = true;
        Ok(())
    }

    fn read_max_age(&mut self, value: &[u8]) -> Result<(), String> {
        let digits = std::str::from_utf8(value)
            .ok()
            .filter(|text| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(seconds) = digits.and_then(|text| text.parse::<u64>().ok()) else {
            return Err(format!("max_age {}, want 1 to 10 digits, at most {MAX_MAX_AGE}", quoted(value)));
        };
        if seconds > MAX_MAX_AGE {
            // Refusing would be a downgrade; the RFC's own maximum is the longest life that it grants.
            self.add_lint(format!("max_age {seconds} is above the maximum and counts as {MAX_MAX_AGE}"));
        } else if seconds < SHORT_MAX_AGE {
            self.add_lint(format!("max_age {seconds} is less than a day and protects little"));
        }
        self.max_age = Some(seconds.min(MAX_MAX_AGE));
        Ok(())
    }

    fn read_mx(&mut self, number: usize, value: &[u8]) {
        match MxPattern::parse(value) {
            Ok(pattern) => {
                if pattern.is_dead() {
                    self.add_lint(format!("line {number}: mx `{pattern}` is not a host name and matches nothing"));
                }
                self.mx.push(pattern);
            }
            // Only at the end is it known whether this matters: under `mode: none` it does not.
            Err(error) => {
                let want = "want a host name in A-labels without a final dot, or `*.` and a domain";
                let why = if error == DomainError::AddressLiteral { DomainError::BadCharacter } else { error };
                let problem = format!("mx {} ({why}), {want}", quoted(value));
                self.malformed_mx.get_or_insert(PolicyError { line: Some(number), problem });
            }
        }
    }

    fn finish(mut self) -> Result<Policy, PolicyError> {
        let missing = |key: &str| PolicyError { line: None, problem: format!("there is no `{key}` line") };
        if !self.has_version {
            return Err(missing("version"));
        }
        let mode = self.mode.ok_or_else(|| missing("mode"))?;
        let max_age = self.max_age.ok_or_else(|| missing("max_age"))?;
        match self.malformed_mx.take() {
            // Refusing an authenticated opt-out would keep a stale policy alive.
            Some(error) if mode != Mode::None => return Err(error),
            Some(error) => self.add_lint(format!("{error}; ignored under mode none")),
            None => {}
        }
        if mode != Mode::None && self.mx.is_empty() {
            return Err(PolicyError { line: None, problem: format!("there is no `mx` line, which mode {mode} needs") });
        }
        Ok(Policy { mode, mx: self.mx, max_age, lints: self.lints })
    }
}

fn parse_mode(value: &[u8]) -> Result<Mode, String> {
    match value {
        b"enforce" => Ok(Mode::Enforce),
        b"testing" => Ok(Mode::Testing),
        b"none" => Ok(Mode::None),
        _ => Err(format!("mode {}, want enforce, testing or none", quoted(value))),
    }
}

/// `sts-policy-ext-value`: one or more visible ASCII characters, UTF-8 characters and inner spaces.
fn check_extension_value(key: &[u8], value: &[u8]) -> Result<(), String> {
    let problem = if value.is_empty() {
        "is empty, want at least one character"
    } else if std::str::from_utf8(value).is_err() {
        "is not valid UTF-8"
    } else if value.iter().any(u8::is_ascii_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(format!("the value of {} {problem}", quoted(key)))
}

/// Text of a stranger, cut and escaped so that it can stand in a message.
fn quoted(text: &[u8]) -> String {
    const SHOWN_BYTES: usize = 60;
    let shown = text.get(..SHOWN_BYTES).unwrap_or(text).escape_ascii();
    let more = if text.len() > SHOWN_BYTES { "..." } else { "" };
    format!("`{shown}{more}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 86400\n";

    fn error(body: &str) -> String {
        Policy::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_line_what_stands_there_and_what_would_be_right() {
        assert_eq!(error("version: STSv1\nmode: Enforce\n"), "line 2: mode `Enforce`, want enforce, testing or none");
        assert!(error("version: STSv1\n\nmode: none\n").starts_with("line 2: the line is empty"));
        assert!(error(&GOOD.replace("a.example", "a.example.")).starts_with("line 3: mx `a.example.`"));
        assert_eq!(error("version: STSv1\nmode: none\n"), "there is no `max_age` line");
        assert_eq!(error(""), "there is no `version` line");
        assert_eq!(error("\r\n\n"), "there is no `version` line");
    }

    #[test]
    fn empty_lines_count_as_trailing_only_at_the_very_end() {
        for end in ["\n", "\r\n", "\n\r\n\n", "\r\n\r\n"] {
            let policy = Policy::parse(format!("{GOOD}{end}").as_bytes()).unwrap();
            assert_eq!(policy.lints().len(), 1, "{end:?}");
        }
        for end in [" \n", "\t", "\r", "\n\r", "\n \n", "\r\r\n"] {
            assert!(Policy::parse(format!("{GOOD}{end}").as_bytes()).is_err(), "{end:?}");
        }
        assert!(Policy::parse(format!("\n{GOOD}").as_bytes()).is_err());
    }

    // Conformance: S3.2-3.
    #[test]
    fn only_lf_and_crlf_end_a_line() {
        for stray in ["\u{b}", "\u{c}", "\r"] {
            assert!(Policy::parse(format!("{GOOD}x: a{stray}b\n").as_bytes()).is_err(), "{stray:?}");
        }
        // NEL and U+2028 are ordinary UTF-8 characters of a value.
        for text in ["\u{85}", "\u{2028}"] {
            let policy = Policy::parse(format!("{GOOD}x: a{text}mode: none\n").as_bytes()).unwrap();
            assert_eq!(policy.mode(), Mode::Enforce, "{text:?}");
        }
    }

    #[test]
    fn mode_none_forgives_its_mx_lines_wherever_they_stand() {
        for body in [
            "version: STSv1\nmx: *\nmode: none\nmax_age: 1\n",
            "version: STSv1\nmode: none\nmx:\nmx: a.b\nmax_age: 1\n",
        ] {
            assert_eq!(Policy::parse(body.as_bytes()).unwrap().mode(), Mode::None, "{body:?}");
        }
        assert!(Policy::parse(b"version: STSv1\nmx: *\nmode: testing\nmax_age: 1\n").is_err());
    }

    // Conformance: S3.2-6.
    #[test]
    fn a_known_key_is_never_read_as_an_extension() {
        assert!(error("version: STSv1\nmode: Bogus\nmode: enforce\nmx: a.b\nmax_age: 1\n").starts_with("line 2"));
        assert!(error("version: STSv2\nversion: STSv1\nmode: none\nmax_age: 1\n").starts_with("line 1"));
    }

    // Conformance: S3.2-13.
    #[test]
    fn thirteen_thousand_mx_lines_are_read() {
        let body = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{}", "mx:a\n".repeat(13_000));
        assert_eq!(Policy::parse(body.as_bytes()).unwrap().mx().len(), 13_000);
    }

    // Conformance: S3.2-13.
    #[test]
    fn every_prefix_and_every_changed_byte_is_parsed_without_a_panic() {
        for end in 0..GOOD.len() {
            let _ = Policy::parse(&GOOD.as_bytes()[..end]);
            for byte in 0..=255 {
                let mut body = GOOD.as_bytes().to_vec();
                body[end] = byte;
                let _ = Policy::parse(&body);
            }
        }
    }
}
