//! The resolver: whether it answers, and whether what it says about DNSSEC may be believed.

use super::finding::{Finding, excerpt};
use mtasts::config::Settings;
use mtasts::dns::{self, Answer};
use mtasts::syntax::PolicyDomain;
use mtasts::time::Deadline;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// A domain with a policy that is likely to stay.
const WELL_KNOWN: &str = "gmail.com";
/// An answer that takes longer delays mail.
const SLOW: Duration = Duration::from_secs(2);

/// What resolv.conf(5) says, and whether the resolver answers. `domain`: one that is known to have a policy.
pub fn check(settings: &Settings, domain: Option<&PolicyDomain>) -> Vec<Finding> {
    let mut findings = check_file();
    let domain = domain.map_or(WELL_KNOWN, PolicyDomain::as_str);
    let name = format!("_mta-sts.{domain}");
    let asked = match settings.nameservers.is_empty() {
        true => format!("the resolver of {RESOLV_CONF}"),
        false => format!("the configured resolver ({})", list(&settings.nameservers)),
    };
    let began = Instant::now();
    let answer = dns::txt(settings, &name, Deadline::after(settings.dns_timeout));
    findings.push(judge(&asked, &name, &answer, began.elapsed()));
    findings
}

/// What resolv.conf(5) says.
pub fn check_file() -> Vec<Finding> {
    match std::fs::read_to_string(RESOLV_CONF) {
        Ok(text) => vec![judge_file(&ResolvConf::parse(&text))],
        Err(error) => {
            let text = format!("{RESOLV_CONF} cannot be read ({error}): a resolver on this machine is asked");
            vec![Finding::warning(text).mend(format!("echo 'nameserver 127.0.0.1' > {RESOLV_CONF}"))]
        }
    }
}

fn list(servers: &[impl ToString]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What counts here of resolv.conf(5).
#[derive(Debug, PartialEq, Eq)]
struct ResolvConf {
    nameservers: Vec<String>,
    trusts_ad: bool,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut found = Self { nameservers: Vec::new(), trusts_ad: false };
        for line in text.lines() {
            // The word must begin the line.
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => found.nameservers.extend(words.next().map(str::to_owned)),
                Some("options") => found.trusts_ad |= words.any(|word| word == "trust-ad"),
                _ => {}
            }
        }
        found
    }

    fn strangers(&self) -> Vec<&String> {
        let is_here = |server: &str| {
            let address = server.split('%').next().unwrap_or_default();
            address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        };
        self.nameservers.iter().filter(|server| !is_here(server)).collect()
    }
}

fn judge_file(file: &ResolvConf) -> Finding {
    let strangers = file.strangers();
    match (file.trusts_ad, strangers.is_empty()) {
        (true, false) => {
            let text = format!(
                "{RESOLV_CONF} has `options trust-ad` and a resolver across the network ({}): whoever forges its \
                 answers forges DANE, which then stands in place of a policy",
                excerpt(&list(&strangers))
            );
            Finding::warning(text)
                .mend(format!("sed -i 's/\\btrust-ad\\b//' {RESOLV_CONF}   # no DANE"))
                .mend("apt-get install unbound   # a resolver here: then 'nameserver 127.0.0.1' may be trusted")
        }
        (true, true) => {
            Finding::ok(format!("{RESOLV_CONF} trusts a resolver on this machine for DNSSEC: DANE can be used"))
        }
        (false, _) => {
            Finding::ok(format!("{RESOLV_CONF} has no `options trust-ad`: nothing is taken for secured by DNSSEC"))
        }
    }
}

fn judge(asked: &str, name: &str, answer: &Answer<Vec<u8>>, took: Duration) -> Finding {
    let milliseconds = took.as_millis();
    let try_it = format!("dig TXT {name}");
    match answer {
        Answer::Failed(problem) => {
            let text = format!("{asked} does not tell the TXT record of {name}: {}", excerpt(problem));
            Finding::fault(text).mend(try_it).mend("nameservers = [\"127.0.0.1\"]   # in mtasts.toml: one that works")
        }
        _ if took > SLOW => {
            let text = format!("{asked} took {milliseconds} ms for the TXT record of {name}, which delays mail");
            Finding::warning(text).mend(try_it)
        }
        Answer::Absent { .. } => {
            let text = format!(
                "{asked} answers and has no TXT record at {name}: it hides such records, or the domain has none"
            );
            Finding::warning(text).mend(try_it).mend("mtasts doctor --domain DOMAIN   # asks for another one")
        }
        Answer::Found { records, .. } => {
            let is_policy = records.iter().any(|record| record.starts_with(b"v=STSv1"));
            if is_policy {
                Finding::ok(format!("{asked} tells the record of {name} in {milliseconds} ms"))
            } else {
                let text = format!("{asked} tells a TXT record of {name} that is not of MTA-STS");
                Finding::warning(text).mend(try_it)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn level(text: &str) -> Level {
        judge_file(&ResolvConf::parse(text)).level
    }

    #[test]
    fn trust_ad_needs_a_resolver_on_this_machine() {
        assert_eq!(level("nameserver 192.0.2.1\n"), Level::Ok);
        assert_eq!(level("nameserver 127.0.0.53\noptions edns0 trust-ad\n"), Level::Ok);
        assert_eq!(level("options trust-ad\n"), Level::Ok, "127.0.0.1 by default");
        assert_eq!(level("nameserver ::1\noptions trust-ad\n"), Level::Ok);
        assert_eq!(level("nameserver 127.0.0.1\nnameserver 2001:db8::1\noptions trust-ad\n"), Level::Warning);
        assert_eq!(level("nameserver fe80::1%eth0\noptions ndots:2 trust-ad\n"), Level::Warning);
        assert_eq!(level("nameserver 192.0.2.1\n# options trust-ad\noptions no-trust-ad\n"), Level::Ok);
    }

    #[test]
    fn an_answer_is_judged_by_what_it_is_and_by_its_time() {
        let quick = Duration::from_millis(5);
        let judged = |answer: &Answer<Vec<u8>>, took| judge("the resolver", "_mta-sts.a.test", answer, took).level;
        let found = |text: &[u8]| Answer::Found { records: vec![text.to_vec()], ttl: 60 };
        assert_eq!(judged(&found(b"v=STSv1; id=1;"), quick), Level::Ok);
        assert_eq!(judged(&found(b"v=STSv1; id=1;"), SLOW * 2), Level::Warning);
        assert_eq!(judged(&found(b"parked"), quick), Level::Warning);
        assert_eq!(judged(&Answer::Absent { ttl: None }, quick), Level::Warning);
        assert_eq!(judged(&Answer::Failed("Server Failure".into()), quick), Level::Fault);
    }
}
