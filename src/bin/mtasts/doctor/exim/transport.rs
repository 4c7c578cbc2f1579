//! The transport that delivers what the library allows: over verified TLS or not at all.

use super::super::finding::{Finding, excerpt};
use super::Reload;
use super::printed::Driver;

/// An option of `examples/exim/30_remote_smtp_mtasts`: name, values that are right, the line that sets it, and what
/// goes wrong otherwise.
type Wanted = (&'static str, &'static [&'static str], &'static str, &'static str);

/// What an Exim must have set.
const COMPULSORY: &[Wanted] = &[
    ("driver", &["smtp"], "driver = smtp", "is no client of SMTP"),
    ("hosts_require_tls", &["*"], "hosts_require_tls = *", "delivers in clear where STARTTLS is missing"),
    ("tls_verify_hosts", &["*"], "tls_verify_hosts = *", "delivers whatever the certificate is"),
    ("hosts_nopass_tls", &["*"], "hosts_nopass_tls = *", "hands its connection to the delivery of another message"),
    ("multi_domain", &["false"], "multi_domain = false", "delivers to several domains by the certificate of one"),
];

/// What is right by default and must have stayed so, if this Exim has the option.
const UNTOUCHED: &[Wanted] = &[
    ("tls_verify_cert_hostnames", &["*"], "tls_verify_cert_hostnames = *", "accepts a certificate for another name"),
    ("hosts_avoid_tls", &[""], "hosts_avoid_tls =", "delivers to these hosts in clear"),
    ("tls_resumption_hosts", &[""], "tls_resumption_hosts =", "resumes sessions without a look at the certificate"),
    ("hosts", &[""], "hosts =", "has hosts of its own, which no policy lists"),
    ("hosts_override", &["false"], "hosts_override = false", "puts hosts of its own in place of the listed ones"),
    ("fallback_hosts", &[""], "fallback_hosts =", "falls back to hosts that no policy lists"),
    ("protocol", &["smtp"], "protocol = smtp", "does not speak SMTP with STARTTLS"),
];

/// What `exim -bP` tells of the transport against what it must be.
pub fn check(transport: &Driver, reload: Reload) -> Vec<Finding> {
    let name = &transport.name;
    let mut findings = Vec::new();
    let is_right = |(option, right, ..): &Wanted| right.contains(&transport.text(option));
    let is_hidden = |option: &str| !transport.text(option).is_empty() && !transport.shows(option);
    let compulsory = COMPULSORY.iter();
    let untouched = UNTOUCHED.iter().filter(|(option, ..)| transport.shows(option));
    for (option, _, line, consequence) in compulsory.chain(untouched).filter(|wanted| !is_right(wanted)) {
        if is_hidden(option) {
            findings.push(Finding::unknown(format!(
                "`{option}` of the transport `{name}` is for Exim's administrators to see"
            )));
            continue;
        }
        let is = match transport.text(option) {
            "" => "is not set".to_owned(),
            "true" => "is on".to_owned(),
            "false" => "is off".to_owned(),
            value => format!("is `{}`", excerpt(value)),
        };
        let text = format!("`{option}` of the transport `{name}` {is}: it {consequence}");
        findings.push(mended(Finding::fault(text), line, name, reload));
    }
    if transport.shows("tls_verify_certificates") && transport.text("tls_verify_certificates").is_empty() {
        let text = format!(
            "`tls_verify_certificates` of the transport `{name}` is empty: it trusts nobody, and no mail leaves"
        );
        findings.push(mended(Finding::fault(text), "tls_verify_certificates = system", name, reload));
    }
    if !is_hidden("tls_sni") && !transport.text("tls_sni").contains("$address_data") {
        let text = format!(
            "`tls_sni` of the transport `{name}` is not the MX name: a host with several certificates may show a wrong one"
        );
        findings.push(mended(Finding::fault(text), "tls_sni = MTASTS_MX_NAME", name, reload));
    }
    if transport.is_on("retry_include_ip_address") {
        let text = format!(
            "`retry_include_ip_address` of the transport `{name}` is on: a failure here delays mail of other domains"
        );
        findings.push(mended(Finding::warning(text), "retry_include_ip_address = false", name, reload));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("the transport `{name}` delivers over verified TLS only")));
    }
    findings
}

fn mended(finding: Finding, line: &str, name: &str, reload: Reload) -> Finding {
    finding
        .mend(format!("{line}   # in the transport `{name}`, as in examples/exim/30_remote_smtp_mtasts"))
        .mend(reload.command())
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Level;
    use super::super::printed::drivers;
    use super::*;

    const GOOD: &str = "
remote_smtp_mtasts transport:
driver = smtp
fallback_hosts = 
hosts = 
hosts_avoid_tls = 
hosts_nopass_tls = *
no_hosts_override
hosts_require_tls = *
no_multi_domain
protocol = smtp
no_retry_include_ip_address
tls_resumption_hosts = 
tls_sni = ${if inlisti{$host}{$address_data}{$host}{x}}
tls_verify_cert_hostnames = *
tls_verify_certificates = system
tls_verify_hosts = *
";

    fn told(text: &str) -> Vec<Finding> {
        check(&drivers(text, "transport")[0], Reload::OfOthers)
    }

    #[test]
    fn the_transport_of_the_examples_has_no_fault() {
        let found = told(GOOD);
        assert!(found.len() == 1 && found[0].level == Level::Ok, "{found:?}");
    }

    #[test]
    fn each_option_that_makes_a_hole_is_a_fault_with_the_line_that_closes_it() {
        for (from, to, want) in [
            ("hosts_require_tls = *", "hosts_require_tls = ", "hosts_require_tls = *"),
            ("hosts_require_tls = *\n", "", "hosts_require_tls = *"),
            ("tls_verify_hosts = *", "tls_verify_hosts = *.example", "tls_verify_hosts = *"),
            ("hosts_nopass_tls = *", "hosts_nopass_tls = ", "hosts_nopass_tls = *"),
            ("no_multi_domain", "multi_domain", "multi_domain = false"),
            ("driver = smtp", "driver = appendfile", "driver = smtp"),
            ("tls_verify_cert_hostnames = *", "tls_verify_cert_hostnames = ", "tls_verify_cert_hostnames = *"),
            ("hosts_avoid_tls = ", "hosts_avoid_tls = 10.0.0.0/8", "hosts_avoid_tls ="),
            ("tls_resumption_hosts = ", "tls_resumption_hosts = *", "tls_resumption_hosts ="),
            ("no_hosts_override", "hosts_override", "hosts_override = false"),
            ("fallback_hosts = ", "fallback_hosts = x.example", "fallback_hosts ="),
            ("\nhosts = ", "\nhosts = x.example", "hosts ="),
            ("protocol = smtp", "protocol = lmtp", "protocol = smtp"),
            ("tls_verify_certificates = system", "tls_verify_certificates = ", "tls_verify_certificates = system"),
            ("tls_sni = ${if inlisti{$host}{$address_data}{$host}{x}}", "tls_sni = ", "tls_sni = MTASTS_MX_NAME"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let found = told(&GOOD.replace(from, to));
            assert!(found.len() == 1 && found[0].level == Level::Fault, "{to}: {found:?}");
            assert!(found[0].mend[0].starts_with(want) && found[0].mend[1].contains("reload exim4"), "{to}: {found:?}");
        }
        let delays = told(&GOOD.replace("no_retry_include_ip_address", "retry_include_ip_address"));
        assert!(delays.len() == 1 && delays[0].level == Level::Warning);
    }

    #[test]
    fn an_option_that_an_older_exim_does_not_have_is_not_missed() {
        let older = GOOD.replace("tls_resumption_hosts = \n", "").replace("protocol = smtp\n", "");
        assert_eq!(told(&older)[0].level, Level::Ok);
    }
}
