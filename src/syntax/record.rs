//! The `_mta-sts` TXT record: picks the one STS record out of all TXT records of the name, and its id.
//!
//! Implements RFC 8461 section 3.1. It never decides what a missing record means for a cached policy.

use std::fmt;

/// A usable STS record. Of its fields a sender needs only the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsRecord {
    id: Box<str>,
}

impl StsRecord {
    /// The policy id: 1 to 32 letters and digits, compared for equality only.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Why TXT records that speak of MTA-STS yield no STS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// More than one record begins with the version (RFC 8461 section 3.1).
    Several,
    /// A byte outside US-ASCII.
    NotAscii,
    /// The first `id` is not 1 to 32 letters and digits.
    BadId,
    /// There is no `id`.
    NoId,
    /// A field that is not `name=value` as the grammar has it.
    BadField,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Several => "several STS records, want exactly one",
            Self::NotAscii => "the STS record has a byte outside US-ASCII",
            Self::BadId => "the id of the STS record is not 1 to 32 letters and digits",
            Self::NoId => "the STS record has no id",
            Self::BadField => "the STS record has a field that is not name=value, or is not separated by one semicolon",
        })
    }
}

/// What the TXT records of one name amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordChoice {
    /// Exactly one usable record.
    Found(StsRecord),
    /// No record begins with the version: the domain does not take part.
    None,
    /// The domain means to take part, but its record cannot be used.
    Invalid(RecordFault),
}

/// Picks the STS record. Each item is one TXT record, its character-strings joined with nothing between
/// (RFC 8461 section 3.1).
pub fn select_record<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> RecordChoice {
    let mut literal = Candidates::default();
    let mut spaced = Candidates::default();
    for record in records {
        let Some(rest) = record.strip_prefix(b"v=STSv1") else { continue };
        if rest.starts_with(b";") {
            literal.add(rest);
        } else if rest.trim_start_wsp().starts_with(b";") {
            spaced.add(rest);
        }
    }
    // RFC 8461 section 3.1 drops what does not begin with `v=STSv1;`, while its grammar allows blanks before the
    // semicolon (erratum 6285). The text wins where there is a choice, the grammar where there is none.
    let candidates = if literal.count > 0 { literal } else { spaced };
    match (candidates.count, candidates.first) {
        (0, _) | (_, None) => RecordChoice::None,
        (1, Some(fields)) => match parse_fields(fields) {
            Ok(record) => RecordChoice::Found(record),
            Err(fault) => RecordChoice::Invalid(fault),
        },
        _ => RecordChoice::Invalid(RecordFault::Several),
    }
}

#[derive(Default)]
struct Candidates<'a> {
    first: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Candidates<'a> {
    fn add(&mut self, fields: &'a [u8]) {
        self.first.get_or_insert(fields);
        self.count = self.count.saturating_add(1);
    }
}

/// Reads what follows the version: `1*(*WSP ";" *WSP field) [*WSP ";" *WSP]`.
fn parse_fields(rest: &[u8]) -> Result<StsRecord, RecordFault> {
    if !rest.is_ascii() {
        return Err(RecordFault::NotAscii);
    }
    let mut id: Option<Box<str>> = None;
    // The first piece is what stands between the version and its semicolon: blanks at most, as the caller knows.
    let mut fields = rest.split(|&byte| byte == b';').skip(1).peekable();
    while let Some(field) = fields.next() {
        let is_last = fields.peek().is_none();
        let field = field.trim_start_wsp();
        if is_last && field.is_empty() {
            break; // the delimiter that may stand at the end
        }
        // Blanks before a semicolon belong to the delimiter; at the end of the record nothing allows them.
        let field = if is_last { field } else { field.trim_end_wsp() };
        match field.strip_prefix(b"id=") {
            // RFC 8461 section 3.2: of repeated fields the first counts, whatever the later ones say.
            Some(_) if id.is_some() => {}
            Some(value) => id = Some(parse_id(value)?),
            None if is_extension(field) => {}
            None => return Err(RecordFault::BadField),
        }
    }
    id.map(|id| StsRecord { id }).ok_or(RecordFault::NoId)
}

fn parse_id(value: &[u8]) -> Result<Box<str>, RecordFault> {
    match std::str::from_utf8(value) {
        Ok(text) if (1..=32).contains(&value.len()) && value.iter().all(u8::is_ascii_alphanumeric) => Ok(text.into()),
        _ => Err(RecordFault::BadId),
    }
}

/// `sts-ext-name "=" sts-ext-value`: printable ASCII except `=`, `;` and space in the value.
fn is_extension(field: &[u8]) -> bool {
    let mut parts = field.splitn(2, |&byte| byte == b'=');
    let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return false };
    is_extension_name(name)
        && !value.is_empty()
        && value.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'=' && byte != b';')
}

/// 1 to 32 letters, digits, `_`, `-` and `.`, beginning with a letter or digit (RFC 8461 sections 3.1 and 3.2).
pub(super) fn is_extension_name(name: &[u8]) -> bool {
    (1..=32).contains(&name.len())
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// WSP of RFC 5234: space and tab, nothing else.
pub(super) trait Wsp {
    fn trim_start_wsp(&self) -> &Self;
    fn trim_end_wsp(&self) -> &Self;
}

impl Wsp for [u8] {
    fn trim_start_wsp(&self) -> &[u8] {
        let mut rest = self;
        while let [b' ' | b'\t', tail @ ..] = rest {
            rest = tail;
        }
        rest
    }

    fn trim_end_wsp(&self) -> &[u8] {
        let mut rest = self;
        while let [head @ .., b' ' | b'\t'] = rest {
            rest = head;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(records: &[&str]) -> RecordChoice {
        select_record(records.iter().map(|record| record.as_bytes()))
    }

    fn id(record: &str) -> String {
        match select(&[record]) {
            RecordChoice::Found(found) => found.id().to_owned(),
            other => panic!("{record:?}: {other:?}"),
        }
    }

    #[test]
    fn blanks_may_surround_semicolons_and_follow_the_last_one() {
        assert_eq!(id("v=STSv1; id=a1; "), "a1");
        assert_eq!(id("v=STSv1\t;\t id=a1 \t; x=y ;\t"), "a1");
    }

    // Conformance: S3.1-10.
    #[test]
    fn a_later_id_is_not_looked_at() {
        assert_eq!(id("v=STSv1; id=a1; id=_;"), "a1");
        assert_eq!(id("v=STSv1; id=a1; id=;"), "a1");
    }

    // Conformance: S3.1-9, S3.1-11.
    #[test]
    fn what_the_grammar_refuses_is_invalid() {
        for (record, fault) in [
            ("v=STSv1;", RecordFault::NoId),
            ("v=STSv1; ", RecordFault::NoId),
            ("v=STSv1;;id=a1", RecordFault::BadField),
            ("v=STSv1; ;id=a1", RecordFault::BadField),
            ("v=STSv1; id =a1", RecordFault::BadField),
            ("v=STSv1; id= a1", RecordFault::BadId),
            ("v=STSv1; id=a1; x", RecordFault::BadField),
            ("v=STSv1; id=a1; -x=1", RecordFault::BadField),
            ("v=STSv1; id=a1\0", RecordFault::BadId),
            ("v=STSv1; id=a1; x=\u{7f}", RecordFault::BadField),
            ("v=STSv1; id=\u{e9}", RecordFault::NotAscii),
        ] {
            assert_eq!(select(&[record]), RecordChoice::Invalid(fault), "{record:?}");
        }
    }

    // Conformance: S3.1-4.
    #[test]
    fn a_literal_record_beats_a_spaced_one_even_when_malformed() {
        let choice = select(&["v=STSv1 ; id=a1;", "v=STSv1; id=_;"]);
        assert_eq!(choice, RecordChoice::Invalid(RecordFault::BadId));
    }

    // Conformance: S3.1-4.
    #[test]
    fn a_version_that_goes_on_is_another_version() {
        assert_eq!(select(&["v=STSv1x; id=a1"]), RecordChoice::None);
        assert_eq!(select(&["v=STSv1"]), RecordChoice::None);
        assert_eq!(select(&["v=STSv1 id=a1;"]), RecordChoice::None);
    }
}
