//! Which remote domains a router takes, as far as its options tell.

use super::super::finding::excerpt;
use super::printed::Driver;

/// Options by which a router passes over some mail for a domain that it takes.
pub const CONDITIONS: &[&str] =
    &["condition", "local_parts", "senders", "require_files", "local_part_prefix", "local_part_suffix"];

/// Whether a router's list has a domain of somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Yes,
    No,
    /// Of some top-level domains and not of others.
    Some,
    Unknown,
}

/// Which remote domains a router takes.
#[derive(Debug, PartialEq, Eq)]
pub enum Reach {
    /// None, or those that the administrator has given hosts for.
    Nothing,
    /// Some, or under a condition; the text says which.
    Some(String),
    All,
}

/// By its driver, its lists and its conditions.
pub fn reach(router: &Driver, takes: &dyn Fn(&str) -> Takes) -> Reach {
    let driver = router.text("driver");
    // The first makes other addresses, which start anew; the second takes no domain but an address.
    if matches!(driver, "redirect" | "ipliteral") || router.is_on("verify_only") {
        return Reach::Nothing;
    }
    let domains = router.text("domains");
    let mut reach = match takes(domains) {
        Takes::Yes => Reach::All,
        // Those have been given hosts by name.
        Takes::No if driver != "dnslookup" => Reach::Nothing,
        Takes::No if is_local(domains) => Reach::Nothing,
        Takes::No | Takes::Some | Takes::Unknown => Reach::Some(format!("`domains = {}`", excerpt(domains))),
    };
    if driver == "manualroute" && reach != Reach::Nothing {
        reach = narrower(reach, route_reach(router, takes));
    }
    if reach == Reach::All {
        let conditional = CONDITIONS.iter().find(|option| {
            let value = router.text(option);
            let is_optional = router.is_on(&format!("{option}_optional"));
            !matches!(value, "" | "true" | "yes" | "1" | "*") && !is_optional
        });
        if let Some(option) = conditional {
            return Reach::Some(format!("`{option} = {}`", excerpt(router.text(option))));
        }
        if router.is_on("check_local_user") {
            return Reach::Some("`check_local_user`".to_owned());
        }
    }
    reach
}

/// A list of this machine's own domains.
fn is_local(domains: &str) -> bool {
    let items = domains.split(':').map(str::trim).filter(|item| !item.is_empty());
    items.clone().count() > 0 && items.clone().all(|item| matches!(item, "+local_domains" | "@" | "@[]" | "localhost"))
}

fn narrower(one: Reach, other: Reach) -> Reach {
    match (one, other) {
        (Reach::Nothing, _) | (_, Reach::Nothing) => Reach::Nothing,
        (Reach::All, other) => other,
        (one, _) => one,
    }
}

/// The remote domains for which a manualroute router has hosts.
fn route_reach(router: &Driver, takes: &dyn Fn(&str) -> Takes) -> Reach {
    let data = router.text("route_data");
    if !data.is_empty() {
        return if data.contains('$') { Reach::Some(format!("`route_data = {}`", excerpt(data))) } else { Reach::All };
    }
    let list = router.text("route_list");
    // The items of the list begin with a pattern; another separator may be named first.
    let (separator, list) = match list.trim_start().strip_prefix('<') {
        Some(rest) => (rest.chars().next().unwrap_or(';'), rest.get(1..).unwrap_or_default()),
        None => (';', list),
    };
    let patterns = list.split(separator).filter_map(|item| item.split_ascii_whitespace().next());
    let mut found = Reach::Nothing;
    for pattern in patterns {
        match takes(pattern) {
            Takes::Yes => return Reach::All,
            Takes::No => {}
            Takes::Some | Takes::Unknown => {
                found = Reach::Some(format!("`route_list = {}`", excerpt(router.text("route_list"))))
            }
        }
    }
    found
}
