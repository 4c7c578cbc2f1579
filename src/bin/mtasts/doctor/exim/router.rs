//! The routers: whether one asks the library about every remote domain, whether none before it takes such a domain, and
//! whether mail goes nowhere else from there.

use super::super::finding::{Finding, excerpt};
use super::Reload;
use super::printed::Driver;
use super::reach::{CONDITIONS, Reach, Takes, reach};

/// The function of the library that tells the hosts.
const FUNCTION: &str = "{mtasts_exim}";
/// How the router of `examples/exim/190_mtasts` hands on the hosts of the answer and nothing else.
const ROUTE_DATA: &str = "${if match{$address_data}{[a-z0-9]}{$address_data bydns}}";
const MORE: &str = "${if eq{$address_data}{}{yes}{no}}";

/// Whether a router asks the library, in whatever option.
pub fn is_ours(router: &Driver) -> bool {
    router.options().any(|(_, value)| value.contains(FUNCTION))
}

/// The library that a router calls.
pub fn library_of(router: &Driver) -> Option<&str> {
    let asked = std::iter::once(router.text("address_data"));
    asked.chain(router.options().map(|(_, value)| value)).find_map(|value| {
        let call = value.get(..value.find(FUNCTION)?)?;
        let library = call.rsplit_once("dlfunc{")?.1.trim().strip_suffix('}')?;
        Some(library.trim())
    })
}

/// What may be wrong with the routers, in their order.
pub fn check(routers: &[Driver], takes: &dyn Fn(&str) -> Takes, reload: Reload) -> Vec<Finding> {
    let Some(at) = routers.iter().position(is_ours) else {
        if routers.iter().any(|router| router.hides("address_data")) {
            let text = "`address_data` of the routers is for Exim's administrators to see";
            return vec![Finding::unknown(text).mend("sudo mtasts doctor")];
        }
        return vec![missing(routers, takes, reload)];
    };
    let (before, from) = routers.split_at(at);
    let mut findings: Vec<Finding> =
        before.iter().filter_map(|router| earlier(router, from.first(), takes, reload)).collect();
    findings.extend(before.iter().filter_map(|router| jump(router, from, takes, reload)));
    findings.extend(from.first().into_iter().flat_map(|own| judge_own(own, takes, reload)));
    findings
}

/// A router before ours that sends addresses on to one behind it. `from`: ours and what follows.
fn jump(router: &Driver, from: &[Driver], takes: &dyn Fn(&str) -> Takes, reload: Reload) -> Option<Finding> {
    let (own, behind) = from.split_first()?;
    ["redirect_router", "pass_router"].into_iter().find_map(|option| {
        let target = router.text(option);
        let at = behind.iter().position(|router| router.name == target)?;
        behind.iter().skip(at).find(|router| !matches!(reach(router, takes), Reach::Nothing))?;
        let text = format!(
            "`{option} = {target}` of the router `{}` leads mail past `{}`: remote domains are unprotected",
            router.name, own.name
        );
        let line = format!("{option} = {}   # in the router `{}`, or without the option", own.name, router.name);
        Some(Finding::warning(text).mend(line).mend(reload.command()))
    })
}

fn missing(routers: &[Driver], takes: &dyn Fn(&str) -> Takes, reload: Reload) -> Finding {
    let first = routers.iter().find(|router| !matches!(reach(router, takes), Reach::Nothing));
    let Some(first) = first else {
        return Finding::warning("no router takes mail for other machines: there is nothing to protect");
    };
    let text = format!("no router asks libmtasts: no policy is enforced, and `{}` takes remote domains", first.name);
    let finding = Finding::fault(if first.text("driver") == "manualroute" {
        format!("{text}; where that hands all mail to a smarthost, only the smarthost can enforce policies")
    } else {
        text
    });
    if reload == Reload::OfDebian {
        let finding = match first.text("driver") {
            // The files take no effect where Debian's configuration is for a smarthost.
            "manualroute" => finding.mend("dpkg-reconfigure exim4-config   # \"internet site\": no smarthost; then:"),
            _ => finding,
        };
        finding
            .mend("install -m 0644 examples/exim/190_mtasts /etc/exim4/conf.d/router/")
            .mend("install -m 0644 examples/exim/30_remote_smtp_mtasts /etc/exim4/conf.d/transport/")
            .mend("# unsplit: also the two .include of examples/exim/README.md, step 4")
            .mend(reload.command())
    } else {
        finding
            .mend(format!(".include /etc/exim4/conf.d/router/190_mtasts   # before the line `{}:`", first.name))
            .mend(".include /etc/exim4/conf.d/transport/30_remote_smtp_mtasts   # after `begin transports`")
            .mend(reload.command())
    }
}

/// A router before ours.
fn earlier(router: &Driver, own: Option<&Driver>, takes: &dyn Fn(&str) -> Takes, reload: Reload) -> Option<Finding> {
    let own = own.map_or("mtasts", |own| &own.name);
    let name = &router.name;
    let driver = router.text("driver");
    let mend = |finding: Finding| match reload {
        Reload::OfDebian => finding
            .mend(format!(
                "grep -l '^{name}:' /etc/exim4/conf.d/router/*   # the file of `{own}` is to sort before this one"
            ))
            .mend(format!("# unsplit: its .include is to stand before `{name}:` in /etc/exim4/exim4.conf.template"))
            .mend(reload.command()),
        Reload::OfOthers => finding
            .mend(format!(".include /etc/exim4/conf.d/router/190_mtasts   # before the line `{name}:`"))
            .mend(reload.command()),
    };
    match reach(router, takes) {
        Reach::Nothing => None,
        Reach::All => {
            let text = format!(
                "the router `{name}` ({driver}) comes before `{own}` and takes every remote domain: nothing is enforced"
            );
            Some(mend(Finding::fault(text)))
        }
        Reach::Some(which) => {
            let text = format!(
                "the router `{name}` ({driver}) comes before `{own}` and takes remote domains by {which}: unprotected"
            );
            Some(mend(Finding::warning(text)))
        }
    }
}

/// How a fault of our router is told: what is wrong and the line that is right.
struct Verdict<'r> {
    router: &'r Driver,
    reload: Reload,
    findings: Vec<Finding>,
}

impl Verdict<'_> {
    fn add(&mut self, finding: fn(String) -> Finding, problem: &str, line: &str) {
        let name = &self.router.name;
        let text = format!("the router `{name}`: {problem}");
        let line = format!("{line}   # in the router `{name}`, as in examples/exim/190_mtasts");
        self.findings.push(finding(text).mend(line).mend(self.reload.command()));
    }

    fn fault(&mut self, problem: &str, line: &str) {
        self.add(Finding::fault, problem, line);
    }

    fn warning(&mut self, problem: &str, line: &str) {
        self.add(Finding::warning, problem, line);
    }
}

fn judge_own(own: &Driver, takes: &dyn Fn(&str) -> Takes, reload: Reload) -> Vec<Finding> {
    let mut verdict = Verdict { router: own, reload, findings: Vec::new() };
    judge_question(own, &mut verdict);
    judge_domains(own, takes, &mut verdict);
    judge_ways_out(own, &mut verdict);
    judge_verification(own, &mut verdict);
    if verdict.findings.is_empty() {
        verdict
            .findings
            .push(Finding::ok(format!("the router `{}` asks libmtasts and delivers to nobody else", own.name)));
    }
    verdict.findings
}

/// How the library is asked, and what is made of its answer.
fn judge_question(own: &Driver, verdict: &mut Verdict<'_>) {
    let question =
        "address_data = ${dlfunc{LIBMTASTS}{mtasts_exim}{$domain}{${lookup dnsdb{>, mx=$domain}{$value}{}}}}";
    let asked = own.text("address_data");
    if !asked.contains(FUNCTION) {
        verdict.fault("libmtasts is not asked in `address_data`: elsewhere a failure skips the router", question);
    } else if !asked.contains("{$domain}") || !asked.contains("dnsdb") || !asked.contains("mx=$domain") {
        verdict.fault("libmtasts is not asked about the domain and its MX records", question);
    } else if !is_as_tested(asked, library_of(own).unwrap_or_default()) {
        verdict.warning("`address_data` is not as it was tested: some mail may pass by unprotected", question);
    }
    if own.text("driver") != "manualroute" {
        verdict.fault("only `manualroute` contacts the hosts of the answer and no others", "driver = manualroute");
    }
    let data = own.text("route_data");
    if !data.contains("$address_data") {
        verdict.fault("the hosts of the answer are not what it routes to", &format!("route_data = {ROUTE_DATA}"));
    } else if data != ROUTE_DATA {
        verdict.warning("`route_data` is not as it was tested", &format!("route_data = {ROUTE_DATA}"));
    }
    if own.text("more") != MORE {
        verdict.fault("only an empty answer may reach the next router", &format!("more = {MORE}"));
    }
}

/// Whether the question is that of the examples, but for blanks.
fn is_as_tested(asked: &str, library: &str) -> bool {
    let dense = |text: &str| text.split_whitespace().collect::<String>();
    let right =
        format!("${{dlfunc{{{library}}}{FUNCTION}{{$domain}}{{${{lookup dnsdb{{>, mx=$domain}}{{$value}}{{}}}}}}}}");
    dense(asked) == dense(&right)
}

/// What a list leaves out besides this machine's own domains, as far as it is written there.
fn left_out(domains: &str) -> Option<&str> {
    const OWN: [&str; 4] = ["+local_domains", "@", "@[]", "localhost"];
    let (separator, list) = match domains.strip_prefix('<').and_then(|rest| rest.chars().next()) {
        Some(separator) => (separator, domains.get(1 + separator.len_utf8()..).unwrap_or_default()),
        None => (':', domains),
    };
    let mut negated = list.split(separator).filter_map(|item| item.trim().strip_prefix('!')).map(str::trim);
    negated.find(|item| !OWN.contains(item))
}

/// Which mail it takes.
fn judge_domains(own: &Driver, takes: &dyn Fn(&str) -> Takes, verdict: &mut Verdict<'_>) {
    let domains = excerpt(own.text("domains"));
    match takes(own.text("domains")) {
        Takes::Yes => {
            if let Some(item) = left_out(own.text("domains")) {
                verdict.warning(
                    &format!("`domains = {domains}` leaves out `{}`, unprotected", excerpt(item)),
                    "domains = ! +local_domains",
                );
            }
        }
        Takes::No | Takes::Some => verdict.fault(
            &format!("`domains = {domains}` leaves out remote domains, whose policies are not enforced"),
            "domains = ! +local_domains",
        ),
        Takes::Unknown => verdict.warning(
            &format!("whether `domains = {domains}` has every remote domain cannot be told"),
            "domains = ! +local_domains",
        ),
    }
    for option in CONDITIONS {
        let value = own.text(option);
        if !matches!(value, "" | "true" | "yes" | "1") {
            verdict.fault(
                &format!("`{option} = {}` lets mail pass by unprotected", excerpt(value)),
                &format!("{option} ="),
            );
        }
    }
    for option in ["check_local_user", "unseen", "verify_only"] {
        if own.is_on(option) {
            verdict.fault(&format!("`{option}` lets mail pass by unprotected"), &format!("{option} = false"));
        }
    }
}

/// Ways on which mail gets to other hosts when the listed ones fail.
fn judge_ways_out(own: &Driver, verdict: &mut Verdict<'_>) {
    let lets_go = |value: &str| matches!(value, "pass" | "decline");
    for (option, right) in [("host_find_failed", "ignore"), ("host_all_ignored", "defer"), ("self", "defer")] {
        let value = own.text(option);
        let line = format!("{option} = {right}");
        if lets_go(value) || option == "self" && value != right && !matches!(value, "freeze" | "fail") {
            verdict.fault(
                &format!("with `{option} = {}` a host in trouble hands mail to the next router", excerpt(value)),
                &line,
            );
        } else if value != right {
            verdict.warning(&format!("with `{option} = {}` mail does not just wait", excerpt(value)), &line);
        }
    }
    if own.is_on("pass_on_timeout") {
        verdict.fault("`pass_on_timeout` hands mail to the next router when DNS is slow", "pass_on_timeout = false");
    }
    if !own.text("fallback_hosts").is_empty() {
        verdict.fault("`fallback_hosts` are hosts that no policy lists", "fallback_hosts =");
    }
    if own.is_on("same_domain_copy_routing") {
        verdict.fault(
            "with `same_domain_copy_routing` the transport does not know the MX name of further recipients",
            "same_domain_copy_routing = false",
        );
    }
    if own.text("dnssec_request_domains") != "*" {
        verdict.warning("without `dnssec_request_domains` DANE is not checked", "dnssec_request_domains = *");
    }
}

/// What is verified by it.
fn judge_verification(own: &Driver, verdict: &mut Verdict<'_>) {
    if own.shows("verify_recipient") && !own.is_on("verify_recipient") {
        verdict.fault(
            "cutthrough delivery takes the unprotected way that recipients are verified by",
            "verify_recipient = true",
        );
    }
    if own.is_on("verify_sender") {
        verdict.warning("mail from a domain that has trouble with its own policy is refused", "no_verify_sender");
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Level;
    use super::super::printed::drivers;
    use super::*;

    const OWN: &str = "
mtasts router:
address_data = ${dlfunc{/x/libmtasts.so.0}{mtasts_exim}{$domain}{${lookup dnsdb{>, mx=$domain}{$value}{}}}}
condition = 
dnssec_request_domains = *
domains = ! +local_domains
driver = manualroute
fallback_hosts = 
host_all_ignored = defer
host_find_failed = ignore
local_parts = 
more = ${if eq{$address_data}{}{yes}{no}}
no_pass_on_timeout
route_data = ${if match{$address_data}{[a-z0-9]}{$address_data bydns}}
no_same_domain_copy_routing
self = defer
senders = 
transport = remote_smtp_mtasts
no_unseen
no_verify_only
verify_recipient
no_verify_sender
";
    const STOCK: &str = "
dnslookup router:
domains = ! +local_domains
driver = dnslookup
no_verify_only
";

    /// As Exim would answer with usual lists.
    fn takes(list: &str) -> Takes {
        match list.trim() {
            "" | "*" | "! +local_domains" | "!+local_domains" => Takes::Yes,
            "*.com" => Takes::Some,
            excepted if excepted.starts_with("! +local_domains") => Takes::Yes,
            unknown if unknown.contains("${") => Takes::Unknown,
            _ => Takes::No,
        }
    }

    fn told(text: &str) -> Vec<Finding> {
        check(&drivers(text, "router"), &takes, Reload::OfOthers)
    }

    fn level_of(before: &str) -> Option<Level> {
        let found = told(&format!("{before}{OWN}{STOCK}"));
        found.into_iter().map(|finding| finding.level).find(|level| *level != Level::Ok)
    }

    #[test]
    fn the_router_of_the_examples_before_the_stock_one_has_no_fault() {
        let found = told(&format!("{OWN}{STOCK}"));
        assert!(found.len() == 1 && found[0].level == Level::Ok, "{found:?}");
        assert_eq!(library_of(&drivers(OWN, "router")[0]), Some("/x/libmtasts.so.0"));
    }

    #[test]
    fn without_our_router_the_one_that_takes_remote_domains_is_named() {
        let found = told(STOCK);
        assert!(
            found[0].level == Level::Fault && found[0].mend[0].contains("before the line `dnslookup:`"),
            "{found:?}"
        );
        let local = "\nlocal_user router:\ndriver = accept\ndomains = +local_domains\n";
        assert_eq!(told(local)[0].level, Level::Warning);
        let smart = "\nsmart router:\ndriver = manualroute\ndomains = *\nroute_list = * smart.example byname\n";
        assert!(told(smart)[0].text.contains("smarthost"));
        let debian = check(&drivers(STOCK, "router"), &takes, Reload::OfDebian);
        assert!(debian[0].mend[0].starts_with("install -m 0644 examples/exim/190_mtasts"), "{debian:?}");
        let debian = check(&drivers(smart, "router"), &takes, Reload::OfDebian);
        assert!(debian[0].mend[0].starts_with("dpkg-reconfigure"), "{debian:?}");
    }

    #[test]
    fn a_router_before_ours_that_takes_remote_domains_is_told() {
        let router = |driver: &str, more: &str| format!("\nearly router:\ndriver = {driver}\n{more}\n");
        for (before, want) in [
            (STOCK.to_owned(), Some(Level::Fault)),
            (router("dnslookup", "domains = "), Some(Level::Fault)),
            (router("dnslookup", "domains = +relay_to_domains"), Some(Level::Warning)),
            (router("dnslookup", "domains = ${lookup{x}lsearch{y}}"), Some(Level::Warning)),
            (router("dnslookup", "domains = *\ncondition = ${if x}"), Some(Level::Warning)),
            (router("dnslookup", "domains = *\nverify_only"), None),
            (router("dnslookup", "domains = +local_domains"), None),
            (router("manualroute", "route_list = * smart.example"), Some(Level::Fault)),
            (router("manualroute", "route_list = a.example b.example; * c.example"), Some(Level::Fault)),
            (router("manualroute", "route_list = <+ a.example b.example + * c.example"), Some(Level::Fault)),
            (router("manualroute", "route_list = a.example b.example"), None),
            (router("manualroute", "route_data = smart.example"), Some(Level::Fault)),
            (router("manualroute", "route_data = ${lookup{$domain}lsearch{x}}"), Some(Level::Warning)),
            (router("manualroute", "domains = partial-lsearch;/x\nroute_data = ${lookup{$domain}lsearch{x}}"), None),
            (router("accept", "domains = "), Some(Level::Fault)),
            (router("accept", "domains = +local_domains"), None),
            (router("accept", "check_local_user"), Some(Level::Warning)),
            (router("accept", "domains = *\nlocal_part_prefix = x-"), Some(Level::Warning)),
            (router("accept", "domains = *\nlocal_part_prefix = x-\nlocal_part_prefix_optional"), Some(Level::Fault)),
            (router("redirect", "domains = "), None),
            (router("ipliteral", "domains = ! +local_domains"), None),
            (router("queryprogram", "domains = "), Some(Level::Fault)),
            (router("manualroute", "domains = *.com\nroute_list = * smart.example"), Some(Level::Warning)),
            (router("manualroute", "route_list = *.com smart.example"), Some(Level::Warning)),
            (router("redirect", "redirect_router = dnslookup"), Some(Level::Warning)),
            (router("redirect", "redirect_router = mtasts"), None),
            (router("manualroute", "route_list = a.example x\npass_router = dnslookup"), Some(Level::Warning)),
        ] {
            assert_eq!(level_of(&before), want, "{before}");
        }
    }

    #[test]
    fn each_option_that_opens_a_way_around_is_told_with_its_line() {
        for (from, to, level, want) in [
            ("domains = ! +local_domains", "domains = some.example", Level::Fault, "domains = ! +local_domains"),
            ("domains = ! +local_domains", "domains = ${x}", Level::Warning, "domains = ! +local_domains"),
            ("domains = ! +local_domains", "domains = *.com", Level::Fault, "domains = ! +local_domains"),
            (
                "domains = ! +local_domains",
                "domains = ! +local_domains : ! a.example",
                Level::Warning,
                "domains = ! +local_domains",
            ),
            (
                "address_data = ${dlfunc",
                "address_data = ${if eq{$sender_address}{}{}{x}}${dlfunc",
                Level::Warning,
                "address_data = ${dlfunc",
            ),
            ("driver = manualroute", "driver = dnslookup", Level::Fault, "driver = manualroute"),
            ("{$domain}{${lookup dnsdb{>, mx=$domain}{$value}{}}}}", "{x}{}}", Level::Fault, "address_data = ${dlfunc"),
            ("more = ${if eq{$address_data}{}{yes}{no}}", "more", Level::Fault, "more = ${if eq"),
            ("{$address_data bydns}", "{$address_data byname}", Level::Warning, "route_data = "),
            (
                "route_data = ${if match{$address_data}{[a-z0-9]}{$address_data bydns}}",
                "route_data = x",
                Level::Fault,
                "route_data = ",
            ),
            ("\ncondition = ", "\ncondition = ${if x}", Level::Fault, "condition ="),
            ("senders = ", "senders = a@b.example", Level::Fault, "senders ="),
            ("no_unseen", "unseen", Level::Fault, "unseen = false"),
            ("host_find_failed = ignore", "host_find_failed = pass", Level::Fault, "host_find_failed = ignore"),
            ("host_find_failed = ignore", "host_find_failed = freeze", Level::Warning, "host_find_failed = ignore"),
            ("host_all_ignored = defer", "host_all_ignored = decline", Level::Fault, "host_all_ignored = defer"),
            ("self = defer", "self = pass", Level::Fault, "self = defer"),
            ("self = defer", "self = freeze", Level::Warning, "self = defer"),
            ("no_pass_on_timeout", "pass_on_timeout", Level::Fault, "pass_on_timeout = false"),
            ("fallback_hosts = ", "fallback_hosts = x.example", Level::Fault, "fallback_hosts ="),
            (
                "no_same_domain_copy_routing",
                "same_domain_copy_routing",
                Level::Fault,
                "same_domain_copy_routing = false",
            ),
            ("\nverify_recipient", "\nno_verify_recipient", Level::Fault, "verify_recipient = true"),
            ("no_verify_sender", "verify_sender", Level::Warning, "no_verify_sender"),
            ("dnssec_request_domains = *", "dnssec_request_domains = ", Level::Warning, "dnssec_request_domains = *"),
        ] {
            assert!(OWN.contains(from), "{from}");
            let found = told(&OWN.replacen(from, to, 1));
            assert!(found.len() == 1 && found[0].level == level, "{to}: {found:?}");
            assert!(found[0].mend[0].starts_with(want), "{to}: {found:?}");
        }
    }

    #[test]
    fn what_only_administrators_see_is_no_fault() {
        let hidden = OWN.replace("address_data = ${dlfunc", "address_data = <value not displayable>\nx = ");
        let found = told(&format!("{}{STOCK}", hidden.replace("{mtasts_exim}", "")));
        assert!(found.len() == 1 && found[0].level == Level::Unknown, "{found:?}");
    }

    #[test]
    fn asked_in_a_condition_the_library_does_not_hold_mail() {
        let text = OWN.replace("address_data = ", "address_data = \nset = r_x = ");
        let found = told(&text);
        assert!(found[0].text.contains("not asked in `address_data`"), "{found:?}");
    }
}
