//! What the DNS server knows: names, types, and the answer for each. No sockets here.
//!
//! It answers as a recursive resolver does: CNAMEs are followed within one response, and the response code is that of
//! the last name (RFC 6604 section 3). Names are kept in lower case without a final dot.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, TLSA, TXT};
use hickory_proto::rr::{Name, RData, Record as WireRecord, RecordType};

use crate::canonical;

/// TTL of records and of negative answers that name none.
pub const DEFAULT_TTL: u32 = 300;
pub const DEFAULT_NEGATIVE_TTL: u32 = 60;

/// A resolver gives up on a chain of CNAMEs that is longer.
const CNAME_LIMIT: usize = 16;

/// What the DNS server answers for a name, or for a name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These records. An empty list is `NoData`.
    Records {
        ttl: u32,
        records: Vec<Record>,
    },
    /// No such name; with an SOA record of this TTL, or without one.
    NxDomain {
        negative_ttl: Option<u32>,
    },
    /// The name exists without this type; with an SOA record of this TTL, or without one.
    NoData {
        negative_ttl: Option<u32>,
    },
    /// Not an answer but where to ask: an NS record, as from a server that does not resolve.
    Referral,
    ServFail,
    Refused,
    /// No answer at all.
    Silent,
    /// Over UDP an empty answer with the TC flag, over TCP the answer inside.
    Truncated(Box<Answer>),
    /// Each query uses up one of these; the last one stays.
    InTurn(Vec<Answer>),
}

impl Answer {
    /// One record with the usual TTL.
    pub fn record(record: Record) -> Self {
        Answer::records(vec![record])
    }

    /// Records with the usual TTL.
    pub fn records(records: Vec<Record>) -> Self {
        Answer::Records { ttl: DEFAULT_TTL, records }
    }

    /// The types of the records inside, each once.
    fn record_types(&self) -> Vec<RecordType> {
        match self {
            Answer::Records { records, .. } => {
                let mut types = Vec::new();
                for record in records {
                    if !types.contains(&record.record_type()) {
                        types.push(record.record_type());
                    }
                }
                types
            }
            Answer::Truncated(inner) => inner.record_types(),
            Answer::InTurn(answers) => answers.first().map_or_else(Vec::new, Answer::record_types),
            _ => Vec::new(),
        }
    }

    /// The same answer with the records of one type only.
    fn only(&self, record_type: RecordType) -> Answer {
        match self {
            Answer::Records { ttl, records } => {
                let records = records.iter().filter(|record| record.record_type() == record_type);
                Answer::Records { ttl: *ttl, records: records.cloned().collect() }
            }
            Answer::Truncated(inner) => Answer::Truncated(Box::new(inner.only(record_type))),
            Answer::InTurn(answers) => Answer::InTurn(answers.iter().map(|answer| answer.only(record_type)).collect()),
            other => other.clone(),
        }
    }

    /// What a resolver could not have received: a name that is none, a string of more than 255 bytes.
    fn check(&self) -> Result<(), String> {
        match self {
            Answer::Records { records, .. } => records.iter().try_for_each(|record| record.to_wire().map(drop)),
            Answer::Truncated(inner) => inner.check(),
            Answer::InTurn(answers) if answers.is_empty() => Err("no answers in turn, want one or more".to_owned()),
            Answer::InTurn(answers) => answers.iter().try_for_each(Answer::check),
            _ => Ok(()),
        }
    }
}

/// The data of one DNS record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The character-strings, each of at most 255 bytes.
    Txt(Vec<Vec<u8>>),
    /// Preference and host; `.` for "accepts no mail".
    Mx(u16, String),
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    /// Usage, selector, matching type, data.
    Tlsa(u8, u8, u8, Vec<u8>),
}

impl Record {
    /// A TXT record with this text, cut into strings of 255 bytes.
    pub fn txt(text: &str) -> Self {
        match text.as_bytes() {
            [] => Record::Txt(vec![Vec::new()]),
            bytes => Record::Txt(bytes.chunks(255).map(<[u8]>::to_vec).collect()),
        }
    }

    pub fn record_type(&self) -> RecordType {
        match self {
            Record::Txt(_) => RecordType::TXT,
            Record::Mx(..) => RecordType::MX,
            Record::A(_) => RecordType::A,
            Record::Aaaa(_) => RecordType::AAAA,
            Record::Cname(_) => RecordType::CNAME,
            Record::Tlsa(..) => RecordType::TLSA,
        }
    }

    fn to_wire(&self) -> Result<RData, String> {
        Ok(match self {
            Record::Txt(strings) => {
                if let Some(long) = strings.iter().find(|string| string.len() > 255) {
                    return Err(format!("a TXT string has {} bytes, want at most 255", long.len()));
                }
                RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
            }
            Record::Mx(preference, host) => RData::MX(MX::new(*preference, wire_name(host)?)),
            Record::A(address) => RData::A(A(*address)),
            Record::Aaaa(address) => RData::AAAA(AAAA(*address)),
            Record::Cname(target) => RData::CNAME(CNAME(wire_name(target)?)),
            Record::Tlsa(usage, selector, matching, data) => {
                RData::TLSA(TLSA::new((*usage).into(), (*selector).into(), (*matching).into(), data.clone()))
            }
        })
    }
}

/// A reply without its header.
#[derive(Debug)]
pub struct Reply {
    pub code: ResponseCode,
    pub answers: Vec<WireRecord>,
    pub authority: Option<WireRecord>,
    /// Over UDP nothing but the TC flag is sent.
    pub truncated_over_udp: bool,
    /// Every name on the way is one of those for which the resolver vouches.
    pub authentic: bool,
}

#[derive(Default)]
struct Node {
    by_type: HashMap<RecordType, Answer>,
    for_any_type: Option<Answer>,
}

impl Node {
    /// RFC 1034 section 3.6.2: where a CNAME record is, no other records are. The later one stays.
    fn put(&mut self, record_type: RecordType, answer: Answer) {
        if !answer.record_types().is_empty() {
            if record_type == RecordType::CNAME {
                *self = Node::default();
            } else {
                self.by_type.remove(&RecordType::CNAME);
            }
        }
        self.by_type.insert(record_type, answer);
    }
}

#[derive(Default)]
pub struct Zone {
    nodes: HashMap<String, Node>,
    authentic: HashSet<String>,
}

impl Zone {
    /// Records go under their types, in place of what is there; any other answer goes in place of the whole name.
    pub fn set(&mut self, name: &str, answer: &Answer) -> Result<(), String> {
        check(name, answer)?;
        let node = self.nodes.entry(key(name)).or_default();
        let types = answer.record_types();
        if types.is_empty() {
            *node = Node { by_type: HashMap::new(), for_any_type: Some(answer.clone()) };
        }
        for record_type in types {
            node.put(record_type, answer.only(record_type));
        }
        Ok(())
    }

    /// The answer for one type of a name, whatever records are in it.
    pub fn set_type(&mut self, name: &str, record_type: RecordType, answer: &Answer) -> Result<(), String> {
        check(name, answer)?;
        self.nodes.entry(key(name)).or_default().put(record_type, answer.clone());
        Ok(())
    }

    pub fn remove(&mut self, name: &str) {
        self.nodes.remove(&key(name));
        self.authentic.remove(&key(name));
    }

    pub fn set_authentic(&mut self, name: &str) {
        self.authentic.insert(key(name));
    }

    pub fn knows(&self, name: &str, record_type: RecordType) -> bool {
        self.nodes.get(&key(name)).is_some_and(|node| node.by_type.contains_key(&record_type))
    }

    /// The reply to a question; `None` for silence.
    pub fn resolve(&mut self, name: &Name, record_type: RecordType) -> Option<Reply> {
        let mut reply = Reply {
            code: ResponseCode::NoError,
            answers: Vec::new(),
            authority: None,
            truncated_over_udp: false,
            authentic: true,
        };
        let mut name = name.clone();
        for _ in 0..CNAME_LIMIT {
            let key = canonical(&name.to_ascii());
            reply.authentic &= self.authentic.contains(&key);
            let mut answer = self.find(&key, record_type);
            while let Answer::Truncated(inner) = answer {
                reply.truncated_over_udp = true;
                answer = *inner;
            }
            match answer {
                Answer::Records { ttl, records } => {
                    let records: Result<Vec<RData>, String> = records.iter().map(Record::to_wire).collect();
                    let records = records.expect("the records were checked when they were set");
                    let target = match records.last() {
                        Some(RData::CNAME(CNAME(target))) => Some(target.clone()),
                        _ => None,
                    };
                    reply
                        .answers
                        .extend(records.into_iter().map(|data| WireRecord::from_rdata(name.clone(), ttl, data)));
                    match target {
                        Some(target) if record_type != RecordType::CNAME => name = target,
                        _ => break,
                    }
                }
                Answer::NxDomain { negative_ttl } => {
                    reply.code = ResponseCode::NXDomain;
                    reply.authority = negative_ttl.map(|ttl| soa(&name, ttl));
                    break;
                }
                Answer::NoData { negative_ttl } => {
                    reply.authority = negative_ttl.map(|ttl| soa(&name, ttl));
                    break;
                }
                Answer::Referral => {
                    let server = Name::from_ascii("ns.provider.test.").ok()?;
                    reply.authority = Some(WireRecord::from_rdata(name, DEFAULT_TTL, RData::NS(NS(server))));
                    break;
                }
                Answer::ServFail | Answer::Refused => {
                    let failed = answer == Answer::ServFail;
                    reply.code = if failed { ResponseCode::ServFail } else { ResponseCode::Refused };
                    reply.answers.clear();
                    break;
                }
                Answer::Silent | Answer::Truncated(_) | Answer::InTurn(_) => return None,
            }
        }
        Some(reply)
    }

    fn find(&mut self, key: &str, record_type: RecordType) -> Answer {
        let no_data = Answer::NoData { negative_ttl: Some(DEFAULT_NEGATIVE_TTL) };
        let Some(node) = self.nodes.get_mut(key) else {
            let below = format!(".{key}");
            let has_children = self.nodes.keys().any(|known| known.ends_with(&below));
            return if has_children { no_data } else { Answer::NxDomain { negative_ttl: Some(DEFAULT_NEGATIVE_TTL) } };
        };
        let found = match node.by_type.contains_key(&record_type) {
            true => node.by_type.get_mut(&record_type),
            false => node.for_any_type.as_mut().or_else(|| node.by_type.get_mut(&RecordType::CNAME)),
        };
        match found {
            Some(Answer::Records { records, .. }) if records.is_empty() => no_data,
            Some(Answer::InTurn(answers)) if answers.len() > 1 => answers.remove(0),
            Some(Answer::InTurn(answers)) => answers.first().cloned().unwrap_or(no_data),
            Some(answer) => answer.clone(),
            None => no_data,
        }
    }
}

/// Says what is wrong with a name or the records for it.
pub fn check(name: &str, answer: &Answer) -> Result<(), String> {
    wire_name(name)?;
    answer.check()
}

/// A name as it goes over the wire. With a backslash in it, any byte may be in a label (RFC 1035 section 5.1).
fn wire_name(name: &str) -> Result<Name, String> {
    let wrong = |error: &dyn Display| format!("name {name:?}: {error}");
    if name.contains('\\') {
        let labels = unescaped_labels(name).ok_or_else(|| wrong(&"want \\X or \\DDD, decimal, after a backslash"))?;
        return Name::from_labels(labels).map_err(|error| wrong(&error));
    }
    let mut wire = Name::from_ascii(name).map_err(|error| wrong(&error))?;
    wire.set_fqdn(true);
    Ok(wire)
}

fn unescaped_labels(name: &str) -> Option<Vec<Vec<u8>>> {
    let mut labels = vec![Vec::new()];
    let mut bytes = name.strip_suffix('.').unwrap_or(name).bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'.' => {
                labels.push(Vec::new());
                continue;
            }
            b'\\' => match bytes.next()? {
                first @ b'0'..=b'9' => {
                    let digits = [first, bytes.next()?, bytes.next()?];
                    std::str::from_utf8(&digits).ok()?.parse().ok()?
                }
                other => other,
            },
            other => other,
        };
        labels.last_mut()?.push(byte);
    }
    Some(labels)
}

/// A name as key: however it is escaped, it has one spelling.
fn key(name: &str) -> String {
    canonical(&wire_name(name).map_or_else(|_| name.to_owned(), |name| name.to_ascii()))
}

/// The SOA record of the top-level domain above `name`, as if that were the zone.
fn soa(name: &Name, negative_ttl: u32) -> WireRecord {
    let zone = name.trim_to(1);
    let data = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86400, negative_ttl);
    WireRecord::from_rdata(zone, negative_ttl, RData::SOA(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(zone: &mut Zone, name: &str, record_type: RecordType) -> Option<(ResponseCode, usize)> {
        let reply = zone.resolve(&wire_name(name).unwrap(), record_type)?;
        Some((reply.code, reply.answers.len()))
    }

    #[test]
    fn an_answer_for_a_type_wins_over_one_for_the_whole_name() {
        let mut zone = Zone::default();
        zone.set("a.test", &Answer::record(Record::txt("old"))).unwrap();
        zone.set("A.test.", &Answer::ServFail).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::TXT), Some((ResponseCode::ServFail, 0)));
        zone.set("a.test", &Answer::record(Record::txt("new"))).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::TXT), Some((ResponseCode::NoError, 1)));
        assert_eq!(ask(&mut zone, "a.test", RecordType::A), Some((ResponseCode::ServFail, 0)));
        zone.set_type("a.test", RecordType::MX, &Answer::Silent).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::MX), None);
    }

    #[test]
    fn a_name_above_others_has_no_data_and_an_unknown_one_does_not_exist() {
        let mut zone = Zone::default();
        zone.set("_mta-sts.good.test", &Answer::record(Record::txt("x"))).unwrap();
        assert_eq!(ask(&mut zone, "good.test", RecordType::TXT), Some((ResponseCode::NoError, 0)));
        assert_eq!(ask(&mut zone, "ood.test", RecordType::TXT), Some((ResponseCode::NXDomain, 0)));
        zone.remove("_mta-sts.good.test");
        assert_eq!(ask(&mut zone, "good.test", RecordType::TXT), Some((ResponseCode::NXDomain, 0)));
    }

    #[test]
    fn a_chain_of_cnames_is_followed_and_a_loop_ends() {
        let mut zone = Zone::default();
        zone.set("a.test", &Answer::record(Record::Cname("b.test".into()))).unwrap();
        zone.set("b.test", &Answer::record(Record::Cname("c.test".into()))).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::TXT), Some((ResponseCode::NXDomain, 2)));
        assert_eq!(ask(&mut zone, "a.test", RecordType::CNAME), Some((ResponseCode::NoError, 1)));
        zone.set("c.test", &Answer::record(Record::txt("x"))).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::TXT), Some((ResponseCode::NoError, 3)));
        zone.set("b.test", &Answer::record(Record::Cname("a.test".into()))).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::TXT), Some((ResponseCode::NoError, CNAME_LIMIT)));
    }

    #[test]
    fn of_a_cname_and_other_records_the_later_stays() {
        let mut zone = Zone::default();
        zone.set("a.test", &Answer::record(Record::txt("x"))).unwrap();
        zone.set("a.test", &Answer::record(Record::Cname("b.test".into()))).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::TXT), Some((ResponseCode::NXDomain, 1)));
        zone.set("a.test", &Answer::record(Record::txt("x"))).unwrap();
        assert_eq!(ask(&mut zone, "a.test", RecordType::TXT), Some((ResponseCode::NoError, 1)));
        assert!(!zone.knows("a.test", RecordType::CNAME));
    }

    #[test]
    fn answers_in_turn_are_used_up_to_the_last_which_stays() {
        let mut zone = Zone::default();
        let answers = vec![Answer::record(Record::txt("x")), Answer::ServFail, Answer::record(Record::txt("y"))];
        zone.set("a.test", &Answer::InTurn(answers)).unwrap();
        for code in [ResponseCode::NoError, ResponseCode::ServFail, ResponseCode::NoError, ResponseCode::NoError] {
            assert_eq!(ask(&mut zone, "a.test", RecordType::TXT).unwrap().0, code);
        }
        assert!(zone.set("a.test", &Answer::InTurn(Vec::new())).is_err());
    }

    #[test]
    fn a_backslash_puts_any_byte_into_a_name() {
        let mut zone = Zone::default();
        zone.set("a\\032b\\.c.test", &Answer::record(Record::Mx(1, "\\$x:25\\\\/mx.test.".into()))).unwrap();
        let asked = Name::from_labels(["A b.c".as_bytes(), b"test"]).unwrap();
        let reply = zone.resolve(&asked, RecordType::MX).unwrap();
        let RData::MX(mx) = &reply.answers[0].data else { panic!("{:?}", reply.answers) };
        assert_eq!(mx.exchange.iter().collect::<Vec<_>>(), [&b"$x:25\\/mx"[..], b"test"]);
        assert!(zone.knows("A\\ b\\046C.test.", RecordType::MX), "the same name, escaped in another way");
        for name in ["a\\", "a\\25.test", "a\\256.test", "a\\x..test"] {
            assert!(zone.set(name, &Answer::ServFail).is_err(), "{name}");
        }
    }

    #[test]
    fn what_cannot_travel_is_refused_when_it_is_set() {
        let mut zone = Zone::default();
        assert!(zone.set("a b.test", &Answer::ServFail).is_err());
        assert!(zone.set("a.test", &Answer::record(Record::Mx(1, "x..test".into()))).is_err());
        assert!(zone.set("a.test", &Answer::record(Record::Txt(vec![vec![0; 256]]))).is_err());
    }
}
