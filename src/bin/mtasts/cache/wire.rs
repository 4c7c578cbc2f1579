//! The line of an export, version 1: one JSON object for each row, complete in itself.
//!
//! ```text
//! {"version":1,"domain":"example.com",
//!  "policy":{"id":"a1","fetched_at":1800000000,"expires_at":1800604800,"body":"version: STSv1\r\n..."},
//!  "check":{"at":1800000000,"until":1800003600,"reason":"confirmed"},
//!  "refresh_at":1800080000,"failures":[{"id":"a1","at":1799990000,"reason":"policy-host-timed-out"}]}
//! ```
//!
//! `policy` is null for a domain without one. A body that is not UTF-8 stands in `body_hex` instead of `body`. Times are
//! seconds since 1970 UTC, reasons the words of `mtasts lookup --json`. All fields must be there and no others may: what
//! changes gets another version.

use crate::output::ascii;
use crate::terminal::harmless;
use mtasts::cache::{Check, Failure, Row, StoredPolicy};
use mtasts::reason::Reason;
use mtasts::syntax::{MAX_BODY_BYTES, PolicyDomain};
use mtasts::time::UnixTime;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const VERSION: i64 = 1;
/// More than the longest line has, even if its body is written with each character escaped.
pub const MAX_LINE_BYTES: usize = 512 * 1024;

/// A row as a line, without its end.
pub fn write(domain: &str, row: &Row) -> String {
    let failure =
        |failure: &Failure| json!({ "id": failure.id, "at": failure.at.0, "reason": failure.reason.as_str() });
    let check = row.check;
    ascii(&json!({
        "version": VERSION,
        "domain": domain,
        "policy": row.policy.as_deref().map(write_policy),
        "check": { "at": check.at.0, "until": check.until.0, "reason": check.reason.as_str() },
        "refresh_at": row.refresh_at.0,
        "failures": row.failures.iter().map(failure).collect::<Vec<_>>(),
    }))
}

fn write_policy(stored: &StoredPolicy) -> Value {
    let (name, body) = match std::str::from_utf8(&stored.body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_hex", stored.body.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    json!({
        "id": stored.id,
        "fetched_at": stored.fetched_at.0,
        "expires_at": stored.expires_at.0,
        name: body,
    })
}

/// Reads a line. Whether its values could have been stored is for the import to say. The error names the field.
pub fn read(line: &[u8]) -> Result<(PolicyDomain, Row), String> {
    let mut fields = Fields::of("", serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?)?;
    match fields.number("version")? {
        VERSION => {}
        other => return Err(format!("version is {other}, want {VERSION}")),
    }
    let name = fields.text("domain")?;
    let domain = PolicyDomain::parse(name.as_bytes()).map_err(|error| format!("domain `{}`: {error}", brief(&name)))?;
    let policy = match fields.take("policy")? {
        Value::Null => None,
        policy => Some(Arc::new(read_policy(Fields::of("policy", policy)?)?)),
    };
    let mut check = Fields::of("check", fields.take("check")?)?;
    let row = Row {
        policy,
        check: Check { at: check.time("at")?, until: check.time("until")?, reason: check.reason()? },
        refresh_at: fields.time("refresh_at")?,
        failures: read_failures(fields.take("failures")?)?,
    };
    check.end()?;
    fields.end()?;
    Ok((domain, row))
}

fn read_policy(mut fields: Fields) -> Result<StoredPolicy, String> {
    let id = fields.text("id")?;
    let fetched_at = fields.time("fetched_at")?;
    let expires_at = fields.time("expires_at")?;
    let body = match fields.object.contains_key("body_hex") {
        true => bytes_of_hex(&fields.text("body_hex")?).ok_or("policy.body_hex: want pairs of hexadecimal digits")?,
        false => fields.text("body")?.into_bytes(),
    };
    fields.end()?;
    if body.len() > MAX_BODY_BYTES {
        return Err(format!("policy.body has {} bytes, want at most {MAX_BODY_BYTES}", body.len()));
    }
    let stored = StoredPolicy::new(&id, &body, fetched_at).map_err(|error| format!("policy.body: {error}"))?;
    Ok(StoredPolicy { expires_at, ..stored })
}

fn read_failures(value: Value) -> Result<Vec<Failure>, String> {
    let Value::Array(values) = value else { return Err("failures: want an array".to_owned()) };
    if values.len() > Row::MAX_FAILURES {
        return Err(format!("{} failures, want at most {}", values.len(), Row::MAX_FAILURES));
    }
    let read = |value| {
        let mut fields = Fields::of("failures", value)?;
        let failure = Failure { id: fields.text("id")?.into(), at: fields.time("at")?, reason: fields.reason()? };
        fields.end().map(|()| failure)
    };
    values.into_iter().map(read).collect()
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = pair { Some(digit(*high)? << 4 | digit(*low)?) } else { None }).collect()
}

/// The fields of an object that have not been read yet.
struct Fields {
    /// Where the object stands.
    place: &'static str,
    object: Map<String, Value>,
}

impl Fields {
    fn of(place: &'static str, value: Value) -> Result<Self, String> {
        match value {
            Value::Object(object) => Ok(Self { place, object }),
            _ if place.is_empty() => Err("want a JSON object".to_owned()),
            _ => Err(format!("{place}: want an object")),
        }
    }

    fn name(&self, field: &str) -> String {
        if self.place.is_empty() { field.to_owned() } else { format!("{}.{field}", self.place) }
    }

    fn take(&mut self, field: &str) -> Result<Value, String> {
        self.object.remove(field).ok_or_else(|| format!("{} is missing", self.name(field)))
    }

    fn number(&mut self, field: &str) -> Result<i64, String> {
        let value = self.take(field)?.as_i64();
        value.ok_or_else(|| format!("{}: want a whole number", self.name(field)))
    }

    fn time(&mut self, field: &str) -> Result<UnixTime, String> {
        self.number(field).map(UnixTime)
    }

    fn text(&mut self, field: &str) -> Result<String, String> {
        match self.take(field)? {
            Value::String(text) => Ok(text),
            _ => Err(format!("{}: want a text", self.name(field))),
        }
    }

    fn reason(&mut self) -> Result<Reason, String> {
        let word = self.text("reason")?;
        Reason::from_word(&word).ok_or_else(|| format!("{}: `{}` is no reason", self.name("reason"), brief(&word)))
    }

    fn end(self) -> Result<(), String> {
        match self.object.keys().next() {
            None => Ok(()),
            Some(field) => Err(format!("{} is not a field of version {VERSION}", self.name(&brief(field)))),
        }
    }
}

/// Text of a stranger, cut so that it can stand in a message.
fn brief(text: &str) -> String {
    harmless(&text.chars().take(60).collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let body = b"version: STSv1\r\nmode: enforce\r\nmx: a.test\r\nmax_age: 604800\r\n";
        let stored = StoredPolicy::new("a1", body, UnixTime(1_800_000_000)).unwrap();
        let check = Check { at: UnixTime(1_800_000_001), until: UnixTime(1_800_003_600), reason: Reason::Confirmed };
        let failure = Failure { id: "b2".into(), at: UnixTime(1_799_999_999), reason: Reason::PolicyInvalid };
        Row { policy: Some(Arc::new(stored)), check, refresh_at: UnixTime(1_800_040_000), failures: vec![failure] }
    }

    #[test]
    fn the_format_stays_as_others_have_it_on_their_disks() {
        let line = concat!(
            r#"{"version":1,"domain":"a.test","policy":{"id":"a1","fetched_at":1800000000,"expires_at":1800604800,"#,
            r#""body":"version: STSv1\r\nmode: enforce\r\nmx: a.test\r\nmax_age: 604800\r\n"},"#,
            r#""check":{"at":1800000001,"until":1800003600,"reason":"confirmed"},"refresh_at":1800040000,"#,
            r#""failures":[{"id":"b2","at":1799999999,"reason":"policy-invalid"}]}"#,
        );
        assert_eq!(write("a.test", &row()), line);
        assert_eq!(read(line.as_bytes()), Ok((PolicyDomain::parse(b"a.test").unwrap(), row())));
    }

    #[test]
    fn every_prefix_and_every_changed_byte_is_read_or_refused_in_printable_words() {
        let good = write("a.test", &row()).into_bytes();
        for end in 0..good.len() {
            assert!(read(&good[..end]).is_err());
            for byte in 0..=255 {
                let mut line = good.clone();
                line[end] = byte;
                if let Err(problem) = read(&line) {
                    assert!(!problem.is_empty() && !problem.contains(char::is_control), "{problem:?}");
                }
            }
        }
    }
}
