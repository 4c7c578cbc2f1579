//! Scene files: what a world holds, as text. The grammar is [`GRAMMAR`].
//!
//! A file is read as a whole before any of it is applied, so that a bad line changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use hickory_proto::rr::RecordType;

use crate::words::{Word, options, split};
use crate::zone::{self, Answer, DEFAULT_NEGATIVE_TTL, DEFAULT_TTL, Record};
use crate::{Certificate, Response, Site, Smtp, Starttls, World, canonical, policy_body, serve};

/// The lines of a scene file.
pub const GRAMMAR: &str = r#"Scene file: a line per thing, words separated by blanks, # starts a comment.
Quotes keep blanks together; inside them \r \n \t \\ \" and \xHH stand for bytes.

  dns NAME TYPE VALUE... [ttl=N]       a record; lines for the same name and type add up within a file
                                       TYPE: TXT "..."..., MX N HOST, A IP, AAAA IP, CNAME HOST,
                                       TLSA N N N HEX (or `leaf`: SHA-256 of this world's key, for 3 1 1)
  dns NAME [TYPE] FAILURE [ttl=N]      FAILURE: SERVFAIL, REFUSED, SILENT, REFERRAL, NXDOMAIN, NODATA (ttl: of the SOA)
  dns NAME TYPE ... turn=N             only the Nth question gets this answer; the last turn stays. Counted from 1
                                       A name may hold \X and \DDD (decimal), as in a zone file: a\032b.test
  authentic NAME                       the AD flag for this name
  policy DOMAIN MODE mx=A,B [max_age=N] [OPTION...]    TXT record, address and site; MODE: enforce, testing, none
  body DOMAIN "TEXT" [OPTION...]                       the same with this body
  status DOMAIN CODE [location=URL] [OPTION...]        the policy host answers with this HTTP status
  status DOMAIN silent|no-handshake [OPTION...]        the policy host never answers
                                       OPTION: id=ID certificate=KIND address=IP. What is not given is id=1,
                                       certificate=good and the HTTPS address; `status` keeps what is there
  smtp ADDR:PORT name=HOST [certificate=KIND] [starttls=offered|absent|refused|broken] [sni=heeded|ignored]
                                       The certificate is for the name that the client asks for; sni=ignored: for HOST
                                       KIND: good, wrong-name, expired, not-yet-valid, self-signed,
                                       self-signed-ca, unknown-ca, wrong-signature, signed-by-server,
                                       expired-intermediate, no-intermediate, cn-only, no-dns-id, wildcard,
                                       two-level-wildcard, partial-wildcard, client-only-eku, no-eku
"#;

/// Puts a scene file on top of what `world` holds. An error names the file, the line, what is wrong and what is right.
pub fn load(world: &World, file: &Path) -> Result<(), String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    apply(world, &file.display().to_string(), &text)
}

/// The same for text that is already there; `file` is its name in errors.
pub fn apply(world: &World, file: &str, text: &[u8]) -> Result<(), String> {
    let at = |number: usize, error: String| format!("{file}:{number}: {error}");
    let mut lines: Vec<(usize, Line)> = Vec::new();
    for (index, text) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let words = split(text.strip_suffix(b"\r").unwrap_or(text)).map_err(|error| at(number, error))?;
        let Some((kind, words)) = words.split_first() else { continue };
        let line = parse(&kind.text()?, words, world).map_err(|error| at(number, error))?;
        if lines.iter_mut().any(|(_, earlier)| earlier.absorbs(&line)) {
            continue;
        }
        if let Line::Dns { name, turn: turn @ 2.., .. } = &line {
            return Err(at(number, format!("turn={turn} of {name}, want turn={} on a line before it", turn - 1)));
        }
        lines.push((number, line));
    }
    lines.into_iter().try_for_each(|(number, line)| line.apply(world).map_err(|error| at(number, error)))
}

enum Line {
    Dns { name: String, record_type: Option<RecordType>, turn: usize, turns: Vec<Answer> },
    Authentic(String),
    Policy(Policy),
    Smtp { address: SocketAddr, smtp: Smtp },
}

struct Policy {
    domain: String,
    response: Response,
    id: Option<String>,
    certificate: Option<Certificate>,
    address: Option<IpAddr>,
    /// What is not given stays as it is.
    keep: bool,
}

impl Line {
    /// Takes in a later line for the same name and type: records of the same turn, or the answer of the next one.
    fn absorbs(&mut self, later: &Line) -> bool {
        let Line::Dns { name, record_type, turn: 1, turns } = self else { return false };
        let Line::Dns { name: other, record_type: other_type, turn, turns: more } = later else { return false };
        if canonical(name) != canonical(other) || record_type != other_type {
            return false;
        }
        let last_turn = turns.len();
        if *turn == last_turn + 1 {
            turns.extend(more.iter().cloned());
            return true;
        }
        match (turns.last_mut(), more.as_slice()) {
            (Some(Answer::Records { records, .. }), [Answer::Records { records: more, .. }]) if *turn == last_turn => {
                records.extend(more.iter().cloned());
                true
            }
            _ => false,
        }
    }

    fn apply(self, world: &World) -> Result<(), String> {
        match self {
            Line::Dns { name, record_type, turns, .. } => {
                let answer = match <[Answer; 1]>::try_from(turns) {
                    Ok([answer]) => answer,
                    Err(turns) => Answer::InTurn(turns),
                };
                world.dns.with_zone(|zone| match record_type {
                    Some(record_type) => zone.set_type(&name, record_type, &answer),
                    None => zone.set(&name, &answer),
                })
            }
            Line::Authentic(name) => {
                world.dns_authentic(&name);
                Ok(())
            }
            Line::Policy(policy) => {
                policy.apply(world);
                Ok(())
            }
            Line::Smtp { address, smtp } => {
                world.smtp(address, smtp).map(drop).map_err(|error| format!("cannot listen on {address}: {error}"))
            }
        }
    }
}

impl Policy {
    fn apply(self, world: &World) {
        let record = format!("_mta-sts.{}", self.domain);
        let host = format!("mta-sts.{}", self.domain);
        let knows = |name: &str, record_type| self.keep && world.dns.with_zone(|zone| zone.knows(name, record_type));
        if self.id.is_some() || !knows(&record, RecordType::TXT) {
            world.txt(&record, &format!("v=STSv1; id={};", self.id.as_deref().unwrap_or("1")));
        }
        if self.address.is_some() || !(knows(&host, RecordType::A) || knows(&host, RecordType::AAAA)) {
            world.address(&host, self.address.unwrap_or_else(|| serve::reachable(world.https_addr()).ip()));
        }
        let kept = world.https.site(&host).filter(|_| self.keep).map(|site| site.certificate);
        let certificate = self.certificate.or(kept).unwrap_or(Certificate::Good);
        world.site(&host, Site::new(certificate, self.response));
    }
}

fn parse(kind: &str, words: &[Word], world: &World) -> Result<Line, String> {
    match kind {
        "dns" => parse_dns(words, world),
        "authentic" => match words {
            [name] => {
                let name = name.text()?;
                zone::check(&name, &Answer::Silent)?;
                Ok(Line::Authentic(name))
            }
            _ => Err(format!("authentic has {} words after it, want authentic NAME", words.len())),
        },
        "policy" | "body" | "status" => parse_policy(kind, words),
        "smtp" => parse_smtp(words),
        other => Err(format!("unknown word {other:?}, want dns, authentic, policy, body, status or smtp")),
    }
}

fn parse_dns(words: &[Word], world: &World) -> Result<Line, String> {
    let shape = "dns NAME TYPE VALUE... or dns NAME [TYPE] SERVFAIL|REFUSED|SILENT|REFERRAL|NXDOMAIN|NODATA";
    let (name, words) = words.split_first().ok_or_else(|| format!("no name, want {shape}"))?;
    let name = name.text()?;
    let (turn, words) = last_option(words, "turn=")?;
    let (ttl, words) = last_option(words, "ttl=")?;
    let (first, values) = words.split_first().ok_or_else(|| format!("no type for {name}, want {shape}"))?;
    let (record_type, answer) = match (failure(first, ttl), values) {
        (Some(_), []) if turn.is_some() => {
            return Err(format!("turn= for every type of {name}, want a type before it"));
        }
        (Some(answer), []) => (None, answer),
        (Some(_), _) => return Err(format!("words after {}, want {shape}", first.text()?)),
        (None, values) => {
            let record_type = record_type(&first.text()?)?;
            let answer = match values {
                [value] if failure(value, ttl).is_some() => failure(value, ttl),
                _ => None,
            };
            let records = || record(record_type, values, world).map(|record| vec![record]);
            let answer =
                answer.map_or_else(|| Ok(Answer::Records { ttl: ttl.unwrap_or(DEFAULT_TTL), records: records()? }), Ok);
            (Some(record_type), answer.map_err(|error: String| format!("dns {name} {record_type}: {error}"))?)
        }
    };
    zone::check(&name, &answer)?;
    let turn = turn.map_or(1, |turn: u16| usize::from(turn));
    if turn == 0 {
        return Err("turn=0, want 1 or more".to_owned());
    }
    Ok(Line::Dns { name, record_type, turn, turns: vec![answer] })
}

/// The number of the last word, if that is `prefix` and a number, and the words before it.
fn last_option<'a, T: std::str::FromStr>(words: &'a [Word], prefix: &str) -> Result<(Option<T>, &'a [Word]), String> {
    match words.split_last() {
        Some((last, rest)) if !last.quoted && last.bytes.starts_with(prefix.as_bytes()) => {
            Ok((Some(number(last, prefix)?), rest))
        }
        _ => Ok((None, words)),
    }
}

fn failure(word: &Word, ttl: Option<u32>) -> Option<Answer> {
    let negative_ttl = Some(ttl.unwrap_or(DEFAULT_NEGATIVE_TTL));
    match word.bytes.to_ascii_uppercase().as_slice() {
        _ if word.quoted => None,
        b"SERVFAIL" => Some(Answer::ServFail),
        b"REFUSED" => Some(Answer::Refused),
        b"SILENT" => Some(Answer::Silent),
        b"NXDOMAIN" => Some(Answer::NxDomain { negative_ttl }),
        b"REFERRAL" => Some(Answer::Referral),
        b"NODATA" => Some(Answer::NoData { negative_ttl }),
        _ => None,
    }
}

fn record_type(word: &str) -> Result<RecordType, String> {
    match word.to_ascii_uppercase().as_str() {
        "TXT" => Ok(RecordType::TXT),
        "MX" => Ok(RecordType::MX),
        "A" => Ok(RecordType::A),
        "AAAA" => Ok(RecordType::AAAA),
        "CNAME" => Ok(RecordType::CNAME),
        "TLSA" => Ok(RecordType::TLSA),
        _ => Err(format!("unknown type {word:?}, want TXT, MX, A, AAAA, CNAME, TLSA or a failure such as SERVFAIL")),
    }
}

fn record(record_type: RecordType, values: &[Word], world: &World) -> Result<Record, String> {
    Ok(match (record_type, values) {
        (RecordType::TXT, [_, ..]) => Record::Txt(values.iter().map(|value| value.bytes.clone()).collect()),
        (RecordType::MX, [preference, host]) => Record::Mx(number(preference, "")?, host.text()?),
        (RecordType::A, [address]) => Record::A(value(address, "an IPv4 address")?),
        (RecordType::AAAA, [address]) => Record::Aaaa(value(address, "an IPv6 address")?),
        (RecordType::CNAME, [target]) => Record::Cname(target.text()?),
        (RecordType::TLSA, [usage, selector, matching, data]) => Record::Tlsa(
            number(usage, "")?,
            number(selector, "")?,
            number(matching, "")?,
            if data.bytes == b"leaf" { world.leaf_key_sha256() } else { hex(&data.text()?)? },
        ),
        _ => {
            let want = match record_type {
                RecordType::TXT => "one or more strings",
                RecordType::MX => "PREFERENCE HOST",
                RecordType::TLSA => "USAGE SELECTOR MATCHING HEX",
                _ => "one value",
            };
            return Err(format!("{} values, want {want}", values.len()));
        }
    })
}

fn parse_policy(kind: &str, words: &[Word]) -> Result<Line, String> {
    let [domain, what, rest @ ..] = words else {
        let want = match kind {
            "policy" => "policy DOMAIN enforce|testing|none mx=HOST,...",
            "body" => "body DOMAIN \"TEXT\"",
            _ => "status DOMAIN CODE|silent|no-handshake",
        };
        return Err(format!("{} words after {kind}, want {want}", words.len()));
    };
    let domain = domain.text()?;
    zone::check(&format!("_mta-sts.{domain}"), &Answer::Silent)?;
    let mut allowed = vec!["id", "certificate", "address"];
    match kind {
        "policy" => allowed.extend(["mx", "max_age"]),
        "status" => allowed.push("location"),
        _ => {}
    }
    let options = options(rest, &allowed)?;
    let get = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let response = match kind {
        "policy" => Response::Policy(policy(&what.text()?, get("mx"), get("max_age"))?.into_bytes()),
        "body" => Response::Policy(what.bytes.clone()),
        _ => status(&what.text()?, get("location"))?,
    };
    Ok(Line::Policy(Policy {
        domain,
        response,
        id: get("id").map(Word::text).transpose()?,
        certificate: get("certificate").map(certificate).transpose()?,
        address: get("address").map(|word| value(word, "an IP address")).transpose()?,
        keep: kind == "status",
    }))
}

fn policy(mode: &str, mx: Option<&Word>, max_age: Option<&Word>) -> Result<String, String> {
    if !["enforce", "testing", "none"].contains(&mode) {
        return Err(format!("mode {mode:?}, want enforce, testing or none (use `body` for a malformed policy)"));
    }
    let mx = match mx {
        Some(mx) => mx.text()?,
        None if mode == "none" => String::new(),
        None => return Err(format!("mode {mode} without mx, want mx=HOST,...")),
    };
    let mx: Vec<&str> = mx.split(',').filter(|pattern| !pattern.is_empty()).collect();
    let max_age = max_age.map_or(Ok(86400), |word| value(word, "max_age in seconds"))?;
    Ok(policy_body(mode, &mx, max_age))
}

fn status(what: &str, location: Option<&Word>) -> Result<Response, String> {
    match (what, what.parse()) {
        ("silent", _) => Ok(Response::Silent),
        ("no-handshake", _) => Ok(Response::NoHandshake),
        (_, Ok(code @ 200..=599)) => {
            let location = location.map(Word::text).transpose()?.map(|url| format!("Location: {url}"));
            let headers: Vec<&str> = location.as_deref().into_iter().collect();
            Ok(Response::with_status(code, &headers, b"as the scene says\n"))
        }
        _ => Err(format!("status {what:?}, want 200 to 599, silent or no-handshake")),
    }
}

fn parse_smtp(words: &[Word]) -> Result<Line, String> {
    let (address, rest) = words.split_first().ok_or("no address, want smtp ADDR:PORT name=HOST")?;
    let address = value(address, "ADDR:PORT")?;
    let mut smtp = Smtp::new("");
    for (key, word) in options(rest, &["name", "certificate", "starttls", "sni"])? {
        match key.as_str() {
            "name" => smtp.default_name = word.text()?,
            "certificate" => smtp.certificate = certificate(&word)?,
            "sni" => {
                smtp.ignores_sni = match word.text()?.as_str() {
                    "heeded" => false,
                    "ignored" => true,
                    other => return Err(format!("sni={other}, want heeded or ignored")),
                }
            }
            _ => {
                smtp.starttls = match word.text()?.as_str() {
                    "offered" => Starttls::Offered,
                    "absent" => Starttls::NotOffered,
                    "refused" => Starttls::Refused,
                    "broken" => Starttls::Broken,
                    other => return Err(format!("starttls={other}, want offered, absent, refused or broken")),
                }
            }
        }
    }
    if smtp.default_name.is_empty() {
        return Err(format!("smtp {address} without a name, want name=HOST"));
    }
    Ok(Line::Smtp { address, smtp })
}

fn certificate(word: &Word) -> Result<Certificate, String> {
    let wanted = word.text()?;
    let found = Certificate::ALL.into_iter().find(|(name, _)| *name == wanted);
    found.map(|(_, certificate)| certificate).ok_or_else(|| {
        let names: Vec<&str> = Certificate::ALL.iter().map(|(name, _)| *name).collect();
        format!("certificate={wanted}, want one of {}", names.join(", "))
    })
}

fn value<T: std::str::FromStr>(word: &Word, want: &str) -> Result<T, String> {
    let text = word.text()?;
    text.parse().map_err(|_| format!("{text:?}, want {want}"))
}

/// The number after `prefix`.
fn number<T: std::str::FromStr>(word: &Word, prefix: &str) -> Result<T, String> {
    let text = word.text()?;
    let digits = text.strip_prefix(prefix).unwrap_or(&text);
    digits.parse().map_err(|_| format!("{text:?}, want {prefix}NUMBER"))
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{text:?}, want an even number of hex digits, or leaf");
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())).collect()
}
