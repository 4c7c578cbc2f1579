//! Which hosts Exim may contact for a domain.

use super::Verdict;
use crate::context::Context;
use crate::discovery::{Answer, Effort};
use crate::dns;
use crate::https;
use crate::syntax::{Mode, MxHost, any_match};
use crate::sys::interfaces;
use crate::time::{Clock, Deadline, SystemClock};
use std::net::IpAddr;
use std::time::Duration;

/// All that is spent on finding out which hosts have no address, and all on finding out which are this machine.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// The hosts that may have the mail for a domain with these MX records, as Exim's manualroute reads them.
pub fn route(context: &Context, domain: &[u8], mx_list: &[u8], deadline: Deadline) -> Verdict {
    let records = MxRecord::list(mx_list);
    let names = names_of(domain, mx_list);
    let is_null_mx = is_null_mx(mx_list);
    let hosts = if is_null_mx { &[][..] } else { &names[..] };
    let answer = context.query_until(domain, hosts, Effort::Usual, deadline);
    if answer.is_unknown {
        return Verdict::Hold(answer.text().into_owned());
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
    match before_this_machine(context, &records, listed, deadline) {
        Ok(listed) => Verdict::Text(join(&without_dead(context, listed, deadline))),
        Err(own) => Verdict::Hold(format!(
            "{own}, an MX of {}, is this machine, and no host before it is listed in the enforced policy",
            answer.domain
        )),
    }
}

/// The names of the MX hosts. Without an MX record the domain is its own MX host (RFC 5321 section 5.1).
pub fn names_of<'a>(domain: &'a [u8], mx_list: &'a [u8]) -> Vec<&'a [u8]> {
    let records = MxRecord::list(mx_list);
    if records.is_empty() { vec![domain] } else { records.iter().map(|record| record.name).collect() }
}

/// Whether a domain says that it accepts no mail (RFC 7505).
pub fn is_null_mx(mx_list: &[u8]) -> bool {
    let records = MxRecord::list(mx_list);
    !records.is_empty() && records.iter().all(|record| record.name.is_empty())
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

/// A host and its preference.
struct Candidate {
    preference: u32,
    host: MxHost,
}

/// The listed hosts in order of preference, each once.
fn listed_hosts(answer: &Answer, records: &[MxRecord<'_>]) -> Vec<Candidate> {
    let patterns = answer.policy.as_ref().map_or(&[][..], |stored| stored.policy.mx());
    let mut listed: Vec<Candidate> = records
        .iter()
        .filter_map(|record| Some(Candidate { preference: record.preference, host: exim_host(record.name)? }))
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
pub fn exim_host(name: &[u8]) -> Option<MxHost> {
    let is_plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    let host = MxHost::parse(name).ok().filter(|_| is_plain)?;
    let top = host.as_str().rsplit('.').next().unwrap_or_default();
    top.bytes().any(|byte| byte.is_ascii_lowercase()).then_some(host)
}

/// Leaves out this machine and the hosts behind it, where an unlisted MX record leads here: Exim sees that in the hosts
/// of its list only, and mail must not come back (RFC 5321 section 5.1). The error is the name that leads here, when no
/// host is left.
fn before_this_machine(
    context: &Context,
    records: &[MxRecord<'_>],
    mut listed: Vec<Candidate>,
    deadline: Deadline,
) -> Result<Vec<Candidate>, MxHost> {
    let last = listed.iter().map(|listed| listed.preference).max();
    let is_listed = |host: &MxHost| listed.iter().any(|listed| listed.host == *host);
    let mut unlisted: Vec<Candidate> = records
        .iter()
        .filter(|record| Some(record.preference) <= last)
        .filter_map(|record| Some(Candidate { preference: record.preference, host: exim_host(record.name)? }))
        .filter(|candidate| !is_listed(&candidate.host))
        .collect();
    if unlisted.is_empty() {
        return Ok(listed);
    }
    unlisted.sort_by_key(|candidate| candidate.preference);
    // Private ones are those of half the world, and Exim's routers pass over them.
    let own: Vec<IpAddr> = interfaces::own_addresses().into_iter().filter(|own| !https::is_private(*own)).collect();
    let leads_here = |answer: &Option<dns::Answer<IpAddr>>| match answer {
        Some(dns::Answer::Found { records, .. }) => records.iter().any(|address| own.contains(address)),
        _ => false,
    };
    let answers = probe(context, &unlisted, deadline);
    let Some((here, _)) = unlisted.into_iter().zip(answers).find(|(_, answer)| leads_here(answer)) else {
        return Ok(listed);
    };
    listed.retain(|listed| listed.preference < here.preference);
    if listed.is_empty() { Err(here.host) } else { Ok(listed) }
}

/// Leaves out hosts whose addresses fail temporarily, if another one resolves: Exim's manualroute would otherwise
/// wait for the dead one. A host that there was no time to ask about stays.
fn without_dead(context: &Context, listed: Vec<Candidate>, deadline: Deadline) -> Vec<Candidate> {
    if listed.len() < 2 {
        return listed;
    }
    let answers = probe(context, &listed, deadline);
    if !answers.iter().any(|answer| matches!(answer, Some(dns::Answer::Found { .. }))) {
        return listed;
    }
    let is_dead = |answer: &Option<dns::Answer<IpAddr>>| matches!(answer, Some(dns::Answer::Failed(_)));
    listed.into_iter().zip(answers).filter(|(_, answer)| !is_dead(answer)).map(|(listed, _)| listed).collect()
}

/// The addresses of each host; none for one that there was no time to ask about.
fn probe(context: &Context, hosts: &[Candidate], deadline: Deadline) -> Vec<Option<dns::Answer<IpAddr>>> {
    let deadline = deadline.at_most(PROBE_TIME);
    let ask = |(at, candidate): (usize, &Candidate)| {
        // Each has a share of the time, so that a silent one leaves enough for the others.
        let left = u32::try_from(hosts.len().saturating_sub(at)).unwrap_or(u32::MAX);
        let share = deadline.remaining().checked_div(left).unwrap_or_default();
        (!share.is_zero()).then(|| context.addresses(&candidate.host, deadline.at_most(share)))
    };
    hosts.iter().enumerate().map(ask).collect()
}

fn join(listed: &[Candidate]) -> String {
    let mut text = String::new();
    let mut last: Option<u32> = None;
    for Candidate { preference, host } in listed {
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
        answer.domain = "example.test".into();
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
