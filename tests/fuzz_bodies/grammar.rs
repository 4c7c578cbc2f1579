//! Readers of policies and STS records written from the ABNF of RFC 8461 alone, to compare with: one function for each
//! rule, named like it, that takes what the rule allows from the front of the bytes.
//!
//! Where `Decided` stands, the sender's rules differ from the grammar on purpose (doc/conformance.md).

/// What a policy says: mode, mx patterns in lower case, max_age.
pub type Policy = (&'static str, Vec<String>, u64);

#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn peek(self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        let byte = self.peek().filter(|&byte| wanted(byte))?;
        self.0 = &self.0[1..];
        Some(byte)
    }

    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// `*WSP`
    fn wsp(&mut self) {
        while self.take(|byte| byte == 0x20 || byte == 0x09).is_some() {}
    }

    /// As many as there are, at most `most`.
    fn repeated(&mut self, most: usize, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.0;
        let mut count = 0;
        while count < most && self.take(&wanted).is_some() {
            count += 1;
        }
        &start[..count]
    }

    fn is_at_end(self) -> bool {
        self.0.is_empty()
    }
}

fn alpha(byte: u8) -> bool {
    matches!(byte, 0x41..=0x5a | 0x61..=0x7a)
}

fn digit(byte: u8) -> bool {
    matches!(byte, 0x30..=0x39)
}

fn let_dig(byte: u8) -> bool {
    alpha(byte) || digit(byte)
}

/// `sts-policy-term = LF / CRLF`
fn policy_term(at: &mut Cursor<'_>) -> Option<()> {
    at.literal(b"\r\n").or_else(|| at.literal(b"\n"))
}

/// `(ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".")`
fn ext_name<'a>(at: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let start = at.0;
    at.take(let_dig)?;
    let rest = at.repeated(31, |byte| let_dig(byte) || matches!(byte, b'_' | b'-' | b'.'));
    Some(&start[..1 + rest.len()])
}

/// `sts-policy-vchar = %x21-7E / UTF8-2 / UTF8-3 / UTF8-4`, the latter as RFC 3629 section 4 has them.
fn policy_vchar(at: &mut Cursor<'_>) -> Option<()> {
    let tail = |byte: &u8| matches!(byte, 0x80..=0xbf);
    let length = match at.0 {
        [0x21..=0x7e, ..] => 1,
        [0xc2..=0xdf, a, ..] if tail(a) => 2,
        [0xe0, 0xa0..=0xbf, a, ..] if tail(a) => 3,
        [0xe1..=0xec | 0xee..=0xef, a, b, ..] if tail(a) && tail(b) => 3,
        [0xed, 0x80..=0x9f, a, ..] if tail(a) => 3,
        [0xf0, 0x90..=0xbf, a, b, ..] if tail(a) && tail(b) => 4,
        [0xf1..=0xf3, a, b, c, ..] if tail(a) && tail(b) && tail(c) => 4,
        [0xf4, 0x80..=0x8f, a, b, ..] if tail(a) && tail(b) => 4,
        _ => return None,
    };
    at.0 = &at.0[length..];
    Some(())
}

/// `sts-policy-vchar [*(%x20 / sts-policy-vchar) sts-policy-vchar]`
fn policy_ext_value(at: &mut Cursor<'_>) -> Option<()> {
    policy_vchar(at)?;
    let mut here = *at;
    loop {
        if policy_vchar(&mut here).is_some() {
            *at = here;
        } else if here.literal(b" ").is_none() {
            return Some(());
        }
    }
}

/// `sub-domain = Let-dig [Ldh-str]` with `Ldh-str = *(ALPHA / DIGIT / "-") Let-dig` (RFC 5321 section 4.1.2).
fn sub_domain<'a>(at: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let label = at.repeated(usize::MAX, |byte| let_dig(byte) || byte == b'-');
    (let_dig(*label.first()?) && let_dig(*label.last()?)).then_some(label)
}

/// `["*."] Domain` with `Domain = sub-domain *("." sub-domain)`. Decided: the lengths are those of DNS.
fn policy_mx_value(at: &mut Cursor<'_>) -> Option<String> {
    let start = at.0;
    let _ = at.literal(b"*.");
    let domain = at.0;
    loop {
        if sub_domain(at)?.len() > 63 {
            return None;
        }
        if at.literal(b".").is_none() {
            break;
        }
    }
    let is_short = domain.len() - at.0.len() <= 253;
    let text = &start[..start.len() - at.0.len()];
    is_short.then(|| text.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect())
}

/// Decided: of what does not count, nothing but the end of its line is looked for.
fn anything(at: &mut Cursor<'_>) {
    at.repeated(usize::MAX, |byte| byte != b'\n');
}

/// The end of a line with the blanks before it: `*WSP (sts-policy-term / end of the body)`.
fn is_followed_by_line_end(mut at: Cursor<'_>) -> bool {
    at.wsp();
    at.is_at_end() || policy_term(&mut at).is_some()
}

/// Reads a whole body.
pub fn policy(body: &[u8]) -> Option<Policy> {
    let mut at = Cursor(body);
    let (mut has_version, mut mode, mut max_age) = (false, None, None);
    let (mut mx, mut has_malformed_mx) = (Vec::new(), false);
    loop {
        let name = ext_name(&mut at)?;
        at.literal(b":")?;
        at.wsp();
        match name {
            b"version" if !has_version => {
                at.literal(b"STSv1")?;
                has_version = true;
            }
            b"mode" if mode.is_none() => {
                mode = ["testing", "enforce", "none"].into_iter().find(|mode| at.literal(mode.as_bytes()).is_some());
                mode?;
            }
            b"max_age" if max_age.is_none() => {
                let digits = at.repeated(10, digit);
                let value = digits.iter().fold(0, |value: u64, digit| value * 10 + u64::from(digit - b'0'));
                // Decided: what is above the maximum counts as the maximum.
                max_age = (!digits.is_empty()).then_some(value.min(31_557_600));
                max_age?;
            }
            // Decided: a later field of the same name is not looked at.
            b"version" | b"mode" | b"max_age" => anything(&mut at),
            b"mx" => {
                let mut value = at;
                match policy_mx_value(&mut value).filter(|_| is_followed_by_line_end(value)) {
                    Some(pattern) => {
                        mx.push(pattern);
                        at = value;
                    }
                    None => {
                        has_malformed_mx = true;
                        anything(&mut at);
                    }
                }
            }
            _ => policy_ext_value(&mut at)?,
        }
        at.wsp();
        if at.is_at_end() {
            break;
        }
        policy_term(&mut at)?;
        // Decided: at the end of the body there may be more of these.
        let mut rest = at;
        while policy_term(&mut rest).is_some() {}
        if rest.is_at_end() {
            break;
        }
    }
    let (mode, max_age) = (mode?, max_age?);
    // Decided: under mode none no mx matters.
    let is_complete = has_version && (mode == "none" || (!mx.is_empty() && !has_malformed_mx));
    is_complete.then_some((mode, mx, max_age))
}

/// What the TXT records of a name amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    Found(String),
    None,
    Invalid,
}

/// Picks the STS record as section 3.1 says. Decided: one with blanks before the first semicolon counts if there is no
/// other.
pub fn record(records: &[&[u8]]) -> Record {
    let is_literal = |record: &&&[u8]| Cursor(record).literal(b"v=STSv1;").is_some();
    let is_spaced = |record: &&&[u8]| {
        let mut at = Cursor(record);
        at.literal(b"v=STSv1").is_some() && {
            at.wsp();
            at.peek() == Some(b';')
        }
    };
    let mut found: Vec<&[u8]> = records.iter().filter(is_literal).copied().collect();
    if found.is_empty() {
        found = records.iter().filter(is_spaced).copied().collect();
    }
    match found[..] {
        [] => Record::None,
        [one] => text_record(one).map_or(Record::Invalid, Record::Found),
        _ => Record::Invalid,
    }
}

/// `sts-version 1*(sts-field-delim sts-field) [sts-field-delim]`; gives the id.
fn text_record(record: &[u8]) -> Option<String> {
    if record.iter().any(|&byte| byte > 0x7f) {
        return None;
    }
    let mut at = Cursor(record);
    at.literal(b"v=STSv1")?;
    let mut id = None;
    loop {
        // `sts-field-delim = *WSP ";" *WSP`
        let before = at;
        at.wsp();
        if at.is_at_end() {
            return if before.is_at_end() { id } else { None };
        }
        at.literal(b";")?;
        at.wsp();
        if at.is_at_end() {
            return id;
        }
        if at.literal(b"id=").is_some() {
            if id.is_some() {
                // Decided: a later id is not looked at.
                at.repeated(usize::MAX, |byte| byte != b';');
                continue;
            }
            let value = at.repeated(32, let_dig);
            id = (!value.is_empty()).then(|| String::from_utf8(value.to_vec()).unwrap());
            id.as_ref()?;
        } else {
            ext_name(&mut at)?;
            at.literal(b"=")?;
            // `sts-ext-value = 1*(%x21-3A / %x3C / %x3E-7E)`
            let value = at.repeated(usize::MAX, |byte| matches!(byte, 0x21..=0x3a | 0x3c | 0x3e..=0x7e));
            if value.is_empty() {
                return None;
            }
        }
    }
}
