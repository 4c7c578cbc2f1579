//! What Sendmail and Postfix are told, who ask a socketmap server how to deliver to a domain.
//!
//! A request and a reply are what stands inside a netstring; framing and sockets are the matter of the server. Both mail
//! servers deliver without any check after `NOTFOUND` and hold the message after `TEMP`. After `PERM` and after a bare `OK`
//! Sendmail delivers unchecked: neither is ever a reply. No text that a stranger wrote gets into a reply, only names and
//! numbers that have been read into their types, and words of our own.

use crate::context::Context;
use crate::discovery::{Answer, Effort};
use crate::syntax::{Mode, MxPattern, Policy, PolicyDomain};
use std::collections::HashSet;
use std::time::Duration;

/// The longest reply in bytes; more than that Postfix does not read (`socketmap_max_reply_size`).
pub const MAX_REPLY_BYTES: usize = 100_000;
/// The longest list of names that Sendmail reads whole.
const MAX_SENDMAIL_BYTES: usize = 255;
/// In place of a name these stand for one that comes from DNS without proof (postconf(5), `smtp_tls_verify_cert_match`).
const MEANT_OTHERWISE: [&str; 3] = ["hostname", "nexthop", "dot-nexthop"];
/// No constraint: the domain has no policy that is enforced.
const NOT_FOUND: &str = "NOTFOUND ";

/// Who is asking. What one of them accepts makes another hold all mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Sendmail since 8.16, as FEATURE(`sts') asks.
    Sendmail,
    /// Postfix, `smtp_tls_policy_maps`.
    Postfix,
    /// The same since 3.10.5, which then also checks the name of the MX host, and since 3.10 writes TLS reports.
    PostfixTlsRpt,
}

impl Dialect {
    /// The dialect that the name of a map stands for.
    fn of_map(name: &[u8]) -> Option<Self> {
        match name {
            b"sts" => Some(Self::Sendmail),
            b"postfix" => Some(Self::Postfix),
            b"postfix-tlsrpt" => Some(Self::PostfixTlsRpt),
            _ => None,
        }
    }
}

/// One request, about a domain that may have a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub dialect: Dialect,
    /// About whom.
    pub domain: PolicyDomain,
}

impl Question {
    /// Reads a request: the name of a map, a blank and the key. The error is the reply to a request that needs no look at
    /// any policy: a key that is no domain, such as an address, `[host]`, `host:port` or the `.parent` for which Postfix
    /// looks, has none; of a request that is not understood nothing is known.
    pub fn read(request: &[u8]) -> Result<Self, &'static str> {
        let mut parts = request.splitn(2, |&byte| byte == b' ');
        let (Some(map), Some(key)) = (parts.next(), parts.next()) else {
            return Err("TEMP malformed request, want the name of a map, a blank and a domain");
        };
        let Some(dialect) = Dialect::of_map(map) else {
            return Err("TEMP unknown map, want sts, postfix or postfix-tlsrpt");
        };
        match PolicyDomain::parse(key) {
            Ok(domain) => Ok(Self { dialect, domain }),
            Err(_) => Err(NOT_FOUND),
        }
    }

    /// The answer, as far as it must be looked for. Blocks the thread, for `timeout` or the configured deadline at most.
    /// If a shorter `timeout` has cut a look short, it is unknown whether there is a policy: nobody can say that the
    /// servers of the domain are silent.
    pub fn ask(&self, context: &Context, timeout: Option<Duration>) -> Answer {
        let deadline = context.deadline(timeout);
        let answer = context.query_about(Ok(self.domain.clone()), Effort::Usual, timeout);
        let is_nearly_over = |timeout: Duration| deadline.remaining() < timeout.mul_f32(0.125);
        let is_cut = |timeout| timeout < context.settings().deadline && is_nearly_over(timeout);
        let has_lacked_time = answer.policy.is_none() && answer.cause.is_want_of_time() && timeout.is_some_and(is_cut);
        Answer { is_unknown: answer.is_unknown || has_lacked_time, ..answer }
    }

    /// The reply by an answer.
    pub fn reply(&self, answer: &Answer) -> String {
        reply(answer, self.dialect)
    }

    /// The policy that is cached, for a reply while a newer one is still looked for. `timeout`: the longest that a cache
    /// file is waited for which another program has locked.
    pub fn cached(&self, context: &Context, timeout: Duration) -> Option<Answer> {
        let answer = context.query_about(Ok(self.domain.clone()), Effort::CacheOnly, Some(timeout));
        answer.policy.is_some().then_some(answer)
    }

    /// The reply while nothing is known yet: to come back later.
    pub fn reply_later(&self) -> String {
        format!("TEMP the policy of {} is still being looked for, try again later", self.domain)
    }
}

/// The reply by an answer. Where the configuration only observes, an enforced policy is no constraint.
pub fn reply(answer: &Answer, dialect: Dialect) -> String {
    if answer.is_unknown {
        return format!("TEMP it is unknown whether {} has a policy: {}", answer.domain, answer.reason.as_str());
    }
    match &answer.policy {
        Some(stored) if answer.mode() == Mode::Enforce => {
            demand(&answer.domain, &stored.policy, dialect).unwrap_or_else(|why| hold(answer, why))
        }
        _ => NOT_FOUND.to_owned(),
    }
}

fn hold(answer: &Answer, why: &str) -> String {
    format!("TEMP the policy of {} cannot be applied: {why}", answer.domain)
}

/// What an enforced policy demands. The error says why it cannot be told.
fn demand(domain: &str, policy: &Policy, dialect: Dialect) -> Result<String, &'static str> {
    let mut names: Vec<&str> = policy.mx().iter().filter_map(told).collect();
    if dialect == Dialect::Sendmail {
        names = fitting(names);
    }
    if names.is_empty() {
        return Err("no mx of it can be told to a mail server");
    }
    let mut reply = format!("OK secure match={} servername=hostname", names.join(":"));
    if dialect == Dialect::PostfixTlsRpt {
        reply = with_attributes(reply, domain, policy);
    }
    if reply.len() > MAX_REPLY_BYTES {
        return Err("it is too long");
    }
    Ok(reply)
}

/// A pattern as both write it, `.example.com` for `*.example.com`; none for what they would not take for a name.
fn told(pattern: &MxPattern) -> Option<&str> {
    let is_name = !pattern.is_dead() && !MEANT_OTHERWISE.contains(&pattern.as_str());
    is_name.then(|| pattern.as_str().trim_start_matches('*'))
}

/// The names that Sendmail reads: all, or those that fit, the ones for whole domains before others. It refuses the hosts
/// that are left out, and so delivers to less than it may. Told more, it would read half a name, and from 1100 bytes on
/// deliver in clear where a host offers no STARTTLS.
fn fitting(names: Vec<&str>) -> Vec<&str> {
    if names.join(":").len() <= MAX_SENDMAIL_BYTES {
        return names;
    }
    let (wide, single): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| name.starts_with('.'));
    let bases: HashSet<&str> = wide.iter().filter_map(|name| name.strip_prefix('.')).collect();
    let is_covered = |name: &&str| name.split_once('.').is_some_and(|(_, base)| bases.contains(base));
    let single = single.into_iter().filter(|name| !is_covered(name));
    let mut seen = HashSet::new();
    let mut left = MAX_SENDMAIL_BYTES.saturating_add(1); // each name has a colon behind it, but for the last
    let fits = |name: &&str| {
        let rest = left.checked_sub(name.len().saturating_add(1));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    wide.into_iter().chain(single).filter(|name| seen.insert(*name)).filter(fits).collect()
}

/// The attributes for Postfix 3.10 and newer (TLSRPT_README), as far as they fit. It checks the MX host by
/// `mx_host_pattern`, so that the report loses its mx first. Early 3.10 crashes where a policy has no `policy_string` or
/// no `mx_host_pattern` at all.
fn with_attributes(demand: String, domain: &str, policy: &Policy) -> String {
    if domain.is_empty() {
        return demand; // the policy was handed in without one
    }
    let mut checked = format!("{demand} policy_type=sts policy_domain={domain}");
    for pattern in policy.mx() {
        checked.extend([" mx_host_pattern=", pattern.as_str()]);
    }
    let reported = |mx: &[MxPattern]| {
        let mut reply = checked.clone();
        let mut report = |key: &str, value: &str| reply.extend([" { policy_string = ", key, ": ", value, " }"]);
        report("version", "STSv1");
        report("mode", policy.mode().as_str());
        mx.iter().for_each(|pattern| report("mx", pattern.as_str()));
        report("max_age", &policy.max_age().to_string());
        (reply.len() <= MAX_REPLY_BYTES).then_some(reply)
    };
    reported(policy.mx()).or_else(|| reported(&[])).unwrap_or(demand)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::StoredPolicy;
    use crate::reason::Reason;
    use crate::time::UnixTime;
    use std::sync::Arc;

    const DIALECTS: [Dialect; 3] = [Dialect::Sendmail, Dialect::Postfix, Dialect::PostfixTlsRpt];

    fn body(mode: &str, mx: &[impl AsRef<str>]) -> String {
        let mx: String = mx.iter().map(|pattern| format!("mx: {}\n", pattern.as_ref())).collect();
        format!("version: STSv1\nmode: {mode}\n{mx}max_age: 86400\n")
    }

    fn answer(mode: &str, mx: &[impl AsRef<str>]) -> Answer {
        let stored = StoredPolicy::new("1", body(mode, mx).as_bytes(), UnixTime(0)).unwrap();
        let none = Answer::none("example.com".into(), Reason::Fetched, String::new());
        Answer { policy: Some(Arc::new(stored)), ..none }
    }

    #[test]
    fn an_enforced_policy_is_told_as_each_mail_server_reads_it() {
        let answer = answer("enforce", &["MX.Example.com", "*.example.net"]);
        let classic = "OK secure match=mx.example.com:.example.net servername=hostname";
        assert_eq!(reply(&answer, Dialect::Sendmail), classic);
        assert_eq!(reply(&answer, Dialect::Postfix), classic);
        assert_eq!(
            reply(&answer, Dialect::PostfixTlsRpt),
            format!(
                "{classic} policy_type=sts policy_domain=example.com mx_host_pattern=mx.example.com \
                 mx_host_pattern=*.example.net {{ policy_string = version: STSv1 }} {{ policy_string = mode: enforce }} \
                 {{ policy_string = mx: mx.example.com }} {{ policy_string = mx: *.example.net }} \
                 {{ policy_string = max_age: 86400 }}"
            )
        );
    }

    #[test]
    fn what_is_not_enforced_is_not_found() {
        let none = Answer::none("example.com".into(), Reason::NoRecord, String::new());
        let observed = Answer { is_observed: true, ..answer("enforce", &["mx.example.com"]) };
        for answer in [answer("testing", &["mx.example.com"]), answer("none", &[""; 0]), none, observed] {
            for dialect in DIALECTS {
                assert_eq!(reply(&answer, dialect), "NOTFOUND ", "{answer:?}");
            }
        }
    }

    #[test]
    fn what_is_unknown_holds_the_message_and_says_why() {
        let none = Answer::none("example.com".into(), Reason::DnsFailed, String::new());
        let unknown = Answer { is_unknown: true, ..none };
        for dialect in DIALECTS {
            assert_eq!(reply(&unknown, dialect), "TEMP it is unknown whether example.com has a policy: dns-failed");
        }
    }

    #[test]
    fn a_name_that_postfix_means_otherwise_is_not_told() {
        let replied = reply(&answer("enforce", &["hostname", "mx.example.com", "nexthop"]), Dialect::Postfix);
        assert_eq!(replied, "OK secure match=mx.example.com servername=hostname");
        let nothing_left = reply(&answer("enforce", &["dot-nexthop", "192.0.2.1"]), Dialect::Postfix);
        assert!(nothing_left.starts_with("TEMP the policy of example.com cannot be applied: "), "{nothing_left}");
        // By other names it is Postfix that compares them with the MX host.
        let checked = reply(&answer("enforce", &["hostname", "mx.example.com"]), Dialect::PostfixTlsRpt);
        assert!(
            checked.starts_with("OK secure match=mx.example.com servername=hostname policy_type=sts "),
            "{checked}"
        );
        assert!(checked.contains(" mx_host_pattern=hostname mx_host_pattern=mx.example.com "), "{checked}");
    }

    #[test]
    fn sendmail_is_told_as_many_names_as_it_reads() {
        let told = |mx: &[String]| {
            let reply = reply(&answer("enforce", mx), Dialect::Sendmail);
            let list = reply.strip_prefix("OK secure match=").unwrap().strip_suffix(" servername=hostname").unwrap();
            assert!(list.len() <= 255, "{} bytes", list.len());
            list.split(':').map(str::to_owned).collect::<Vec<_>>()
        };
        let hosts = |count| (10..10 + count).map(|n| format!("m{n}.example.net")).collect::<Vec<_>>(); // 15 and a colon
        assert_eq!(told(&hosts(16)), hosts(16), "255 bytes are read, whatever is in them");
        assert_eq!(told(&hosts(17)), hosts(16), "whole names, from the first");

        let more = |mx: &[&str]| [hosts(17), mx.iter().map(|name| (*name).to_owned()).collect()].concat();
        let first = told(&more(&["*.a.test", "*.a.test", "mx.a.test", "*.b.test", "b.test"]));
        let wanted = [vec![".a.test".to_owned(), ".b.test".to_owned()], hosts(15)].concat();
        assert_eq!(first, wanted, "what covers most comes first, and nothing twice");
        assert_eq!(told(&more(&["*.example.net"])), [".example.net"]);
        assert_eq!(told(&[hosts(16), hosts(16)].concat()), hosts(16));

        let long = format!("{}.example", vec!["a".repeat(61); 3].join("."));
        assert_eq!(told(&[vec![long.clone()], hosts(10)].concat()), [vec![long], hosts(3)].concat());
    }

    #[test]
    fn no_reply_is_longer_than_postfix_reads_and_none_is_cut_amid_a_name() {
        for (count, attributes) in [(1_000, 2), (2_200, 1), (5_000, 0)] {
            let mx: Vec<String> = (0..count).map(|number| format!("m{number:04}.example")).collect();
            let answer = answer("enforce", &mx);
            for dialect in [Dialect::Postfix, Dialect::PostfixTlsRpt] {
                let replied = reply(&answer, dialect);
                assert!(replied.len() <= MAX_REPLY_BYTES, "{} bytes", replied.len());
                let names = replied.strip_prefix("OK secure match=").unwrap().split(' ').next().unwrap();
                assert_eq!(names.split(':').collect::<Vec<_>>(), mx);
                let has = |text: &str| u8::from(replied.contains(text) && dialect == Dialect::PostfixTlsRpt);
                let wanted = if dialect == Dialect::PostfixTlsRpt { attributes } else { 0 };
                // Where there is one of them there is the other.
                assert_eq!(
                    replied.contains("mx_host_pattern="),
                    replied.contains("{ policy_string = version: STSv1 }")
                );
                assert_eq!(
                    has("m0999.example {") + has("mx_host_pattern=m0999.example"),
                    wanted,
                    "{count} {dialect:?}"
                );
            }
        }
    }

    #[test]
    fn a_request_names_a_map_and_a_domain() {
        let question =
            |dialect, name: &str| Ok(Question { dialect, domain: PolicyDomain::parse(name.as_bytes()).unwrap() });
        let good: [(&[u8], _); 5] = [
            (b"sts example.com", question(Dialect::Sendmail, "example.com")),
            (b"postfix example.com", question(Dialect::Postfix, "example.com")),
            (b"postfix-tlsrpt example.com", question(Dialect::PostfixTlsRpt, "example.com")),
            (b"postfix EXAMPLE.com.", question(Dialect::Postfix, "example.com")),
            ("sts bücher.example".as_bytes(), question(Dialect::Sendmail, "xn--bcher-kva.example")),
        ];
        for (request, wanted) in good {
            assert_eq!(Question::read(request), wanted, "{}", request.escape_ascii());
        }
    }

    #[test]
    fn a_key_that_is_no_domain_is_not_found() {
        let keys: [&[u8]; 16] = [
            b"",
            b" ",
            b".",
            b".example.com",
            b"[192.0.2.1]",
            b"192.0.2.1",
            b"2001:db8::1",
            b"[2001:db8::1]",
            b"[IPv6:2001:db8::1]",
            b"[mx.example.com]",
            b"[mx.example.com]:587",
            b"example.com:25",
            b"two words",
            b"example.com\n",
            b"a\0b.example",
            b"\xff\xfe.example",
        ];
        for key in keys {
            for map in ["sts", "postfix", "postfix-tlsrpt"] {
                let request = [map.as_bytes(), b" ", key].concat();
                assert_eq!(Question::read(&request), Err("NOTFOUND "), "{}", request.escape_ascii());
            }
        }
    }

    #[test]
    fn a_request_that_is_not_understood_holds_the_message() {
        for request in
            ["", "sts", "example.com", "STS example.com", " example.com", "QUERY example.com", "postfix\texample.com"]
        {
            let replied = Question::read(request.as_bytes()).unwrap_err();
            assert!(replied.starts_with("TEMP ") && replied.len() > 10, "{request}: {replied}");
        }
    }

    #[test]
    fn nothing_but_names_of_the_policy_gets_into_a_reply() {
        let stored = StoredPolicy::new(
            "1",
            b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\nnote: x } match=evil.example servername=none { \n",
            UnixTime(0),
        );
        let none = Answer::none("example.com".into(), Reason::Fetched, String::new());
        let answer = Answer { policy: Some(Arc::new(stored.unwrap())), ..none };
        for dialect in DIALECTS {
            let replied = reply(&answer, dialect);
            assert!(!replied.contains("evil") && !replied.contains("note"), "{replied}");
        }
    }
}
