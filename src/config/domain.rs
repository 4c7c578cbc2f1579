//! `[domain."example.com"]`: an exception for a broken domain, or a pinned policy for one that publishes none.
//!
//! A table takes effect as a whole or not at all: half an exception would never end, half a pin would refuse mail that
//! the other half allows. Whether a table is in force is for the caller to ask, who has the clock.

use super::damage::Damage;
use super::value::Value;
use super::{KEYS, Lines};
use crate::syntax::{MAX_BODY_BYTES, MAX_MAX_AGE, Mode, MxPattern, Policy, PolicyDomain};
use crate::time::UnixTime;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// What the administrator decided for one domain, whatever the domain publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// What applies to the domain.
    pub rule: Rule,
    /// The last second in force. An exception always has one, a pinned policy without it stays.
    pub until: Option<UnixTime>,
    /// One line for the reader of an answer; may be empty for a pinned policy.
    pub why: String,
    /// The line in the file, counted from 1, unless the table came through the API.
    pub line: Option<usize>,
}

impl Override {
    /// Whether the decision still counts.
    pub fn is_in_force(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now <= until)
    }
}

/// What an [`Override`] decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Mail goes as if the domain had no policy.
    Exempt,
    /// This policy applies.
    Pinned {
        /// The policy, read from `body` like any other.
        policy: Policy,
        /// The policy as a policy host would serve it.
        body: Arc<[u8]>,
    },
}

/// All that a configuration decides for single domains.
pub type Overrides = BTreeMap<PolicyDomain, Override>;

/// What is wrong, and the place in the text.
pub struct Fault {
    pub at: usize,
    pub problem: String,
}

/// Reads every `domain` table of a file. `errors` are what the file has that is not TOML.
pub fn read_file(file: &DeTable<'_>, errors: &[toml::de::Error], lines: &Lines) -> (Overrides, Vec<Fault>) {
    let mut overrides = Overrides::new();
    let mut faults = Vec::new();
    let Some((key, value)) = file.iter().find(|(key, _)| key.get_ref() == "domain") else {
        return (overrides, faults);
    };
    let Some(tables) = value.get_ref().as_table() else {
        let value = Value::from_toml(value.get_ref());
        let problem = format!("key `domain`: {value}, want tables such as `[domain.\"example.com\"]`");
        return (overrides, vec![Fault { at: key.span().start, problem }]);
    };
    let damage = Damage::of(tables, errors, lines);
    let mut first_lines = BTreeMap::<PolicyDomain, usize>::new();
    for (name, value) in in_order(tables) {
        let (name, at) = (name.get_ref().as_ref(), name.span().start);
        let line = lines.number(at);
        let domain = match PolicyDomain::parse(name.as_bytes()) {
            Ok(domain) => domain,
            Err(error) => {
                faults.push(Fault { at, problem: impossible(name, error) });
                continue;
            }
        };
        let table = match damage.in_table(name) {
            Some(place) => Err(vec![Fault {
                at,
                problem: format!("key `{}`: not TOML{place}, the whole table takes no effect", Key(name)),
            }]),
            None => read_table(name, at, value.get_ref()),
        };
        // Nobody knows which of two was meant.
        if let Some(first_line) = first_lines.get(&domain) {
            let problem = format!(
                "key `{}`: the domain of line {first_line} again, want one table; none takes effect",
                Key(name)
            );
            faults.push(Fault { at, problem });
            overrides.remove(&domain);
        } else if let Ok(table) = &table {
            overrides.insert(domain.clone(), Override { line: Some(line), ..table.clone() });
        }
        faults.extend(table.err().into_iter().flatten());
        first_lines.entry(domain).or_insert(line);
    }
    (overrides, faults)
}

/// The entries of a table as they stand in the file.
fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<(&'t Spanned<DeString<'t>>, &'t Spanned<DeValue<'t>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The domain that a key of the API names: `domain."example.com"` or `domain.example.com`.
pub fn name_in_key(key: &str) -> Option<&str> {
    let name = key.strip_prefix("domain.")?;
    let unquoted = |quote: char| name.strip_prefix(quote)?.strip_suffix(quote);
    Some(unquoted('"').or_else(|| unquoted('\'')).unwrap_or(name))
}

/// Reads the inline table that the API gives for a domain; an empty text stands for no table.
pub fn read_text(name: &str, text: &str) -> Result<(PolicyDomain, Option<Override>), String> {
    let domain = PolicyDomain::parse(name.as_bytes()).map_err(|error| impossible(name, error))?;
    if text.is_empty() {
        return Ok((domain, None));
    }
    let value = DeValue::parse(text)
        .map_err(|error| format!("key `{}`: not TOML: {}, want {WANTED_TABLE}", Key(name), error.message()))?;
    match read_table(name, 0, value.get_ref()) {
        Ok(table) => Ok((domain, Some(table))),
        Err(faults) => Err(faults.into_iter().map(|fault| fault.problem).collect::<Vec<_>>().join("; ")),
    }
}

const WANTED_TABLE: &str = "a table such as `{ mode = \"enforce\", mx = [\"mx.example.com\"] }`";

/// A key of this kind as messages have it.
struct Key<'t>(&'t str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain.\"{}\"", self.0.escape_default())
    }
}

fn impossible(name: &str, error: impl fmt::Display) -> String {
    format!("key `{}`: {error}, want a domain as it stands behind the @", Key(name))
}

fn read_table(name: &str, at: usize, value: &DeValue<'_>) -> Result<Override, Vec<Fault>> {
    let Some(table) = value.as_table() else {
        let problem = format!("key `{}`: {}, want {WANTED_TABLE}", Key(name), Value::from_toml(value));
        return Err(vec![Fault { at, problem }]);
    };
    let mut reader = Reader { name, at, table, faults: Vec::new() };
    reader.refuse_unknown();
    let mode = reader.read("mode", Value::mode);
    let mx = reader.read("mx", Value::patterns);
    let until = reader.read("until", Value::last_second);
    let why = reader.read("why", Value::line_of_text);
    match mode {
        Some(Mode::None) => {
            reader.require("until", "the date on which the exception ends, such as 2026-12-31");
            reader.require("why", "one line that explains the exception");
            reader.refuse("mx", "does not go with mode none, want no mx, or mode \"enforce\" or \"testing\"");
        }
        Some(_) => reader.require("mx", "a list of at least one host, such as [\"mx.example.com\", \"*.example.net\"]"),
        // A misspelt key is told already.
        None if reader.faults.is_empty() => reader.require("mode", "\"none\", \"testing\" or \"enforce\""),
        None => {}
    }
    let rule = match (mode, mx) {
        (Some(Mode::None), _) => Some(Rule::Exempt),
        (Some(mode), Some(mx)) => reader.pin(mode, &mx),
        _ => None,
    };
    match rule {
        Some(rule) if reader.faults.is_empty() => {
            Ok(Override { rule, until, why: why.unwrap_or_default(), line: None })
        }
        _ => Err(reader.faults),
    }
}

const TABLE_KEYS: [&str; 4] = ["mode", "mx", "until", "why"];

/// One table on its way to an [`Override`], and what is wrong with it.
struct Reader<'t> {
    name: &'t str,
    at: usize,
    table: &'t DeTable<'t>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn read<T>(&mut self, key: &str, convert: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let (place, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        let value = Value::from_toml(value.get_ref());
        match convert(&value) {
            Ok(converted) => Some(converted),
            Err(wanted) => {
                self.add(place.span().start, key, format_args!(": {value}, want {wanted}"));
                None
            }
        }
    }

    fn require(&mut self, key: &str, wanted: &str) {
        if !self.table.iter().any(|(name, _)| name.get_ref() == key) {
            self.add(self.at, key, format_args!(" is missing, want {wanted}"));
        }
    }

    fn refuse(&mut self, key: &str, problem: &str) {
        if let Some((place, _)) = self.table.iter().find(|(name, _)| name.get_ref() == key) {
            self.add(place.span().start, key, format_args!(" {problem}"));
        }
    }

    fn refuse_unknown(&mut self) {
        for (place, value) in self.table {
            let key = place.get_ref().as_ref();
            let at = place.span().start;
            if TABLE_KEYS.contains(&key) {
                continue;
            }
            if value.get_ref().is_table() {
                let name = format!("{}.{}", self.name, dotted(key, value.get_ref()));
                let problem = format_args!(" is a table, want quotes around a name with dots: `[{}]`", Key(&name));
                self.add(at, key, problem);
            } else if KEYS.contains(&key) {
                self.add(at, key, format_args!(" is no key of a domain, want it above the first table"));
            } else {
                self.add(at, key, format_args!(" is not known, want one of {}", TABLE_KEYS.join(", ")));
            }
        }
    }

    /// The policy that a policy host would serve: there is one reader of policies.
    fn pin(&mut self, mode: Mode, mx: &[MxPattern]) -> Option<Rule> {
        let mx: String = mx.iter().map(|pattern| format!("mx: {pattern}\n")).collect();
        let body = format!("version: STSv1\nmode: {mode}\n{mx}max_age: {MAX_MAX_AGE}\n");
        let problem = match Policy::parse(body.as_bytes()) {
            Ok(policy) if body.len() <= MAX_BODY_BYTES => {
                return Some(Rule::Pinned { policy, body: body.into_bytes().into() });
            }
            Ok(_) => format!("a policy of {} bytes, want at most {MAX_BODY_BYTES}", body.len()),
            Err(error) => error.to_string(),
        };
        self.add(self.at, "mx", format_args!(": {problem}"));
        None
    }

    /// `problem` goes on behind the key.
    fn add(&mut self, at: usize, key: &str, problem: fmt::Arguments<'_>) {
        let problem = format!("key `{}.{}`{problem}", Key(self.name), key.escape_default());
        self.faults.push(Fault { at, problem });
    }
}

/// The rest of a name that was written without quotes, so that TOML took each label for a table.
fn dotted(key: &str, value: &DeValue<'_>) -> String {
    let mut name = key.to_owned();
    let mut inner = value.as_table();
    while let Some((label, value)) = inner.and_then(|table| table.iter().next())
        && let Some(table) = value.get_ref().as_table()
    {
        name = format!("{name}.{}", label.get_ref());
        inner = Some(table);
    }
    name
}

#[cfg(test)]
mod tests;
