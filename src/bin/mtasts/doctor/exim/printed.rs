//! What `exim -bP routers` and `exim -bP transports` print.

use std::collections::HashMap;

/// What Exim prints in place of a value that is for its administrators.
const HIDDEN: &str = "<value not displayable>";

/// A router or a transport with its options. One that is on or off has the value `true` or `false`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    pub name: String,
    options: HashMap<String, String>,
}

impl Driver {
    /// An option; empty where it has no value, and where Exim does not have it.
    pub fn text(&self, option: &str) -> &str {
        self.options.get(option).map_or("", String::as_str)
    }

    /// Whether Exim has this option and shows it.
    pub fn shows(&self, option: &str) -> bool {
        self.options.get(option).is_some_and(|value| value != HIDDEN)
    }

    /// Whether an option has a value that is for administrators to see.
    pub fn hides(&self, option: &str) -> bool {
        self.text(option) == HIDDEN
    }

    /// Whether an option is on; not if Exim does not have it.
    pub fn is_on(&self, option: &str) -> bool {
        self.text(option) == "true"
    }

    /// Every option.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The drivers in their order. `kind`: `router` or `transport`.
pub fn drivers(text: &str, kind: &str) -> Vec<Driver> {
    let mut drivers: Vec<Driver> = Vec::new();
    let mut after_gap = true;
    let mut last: Option<String> = None;
    for line in text.lines() {
        let heading = line.strip_suffix(':').and_then(|line| line.strip_suffix(kind)?.strip_suffix(' '));
        match (heading, drivers.last_mut()) {
            // Each begins behind an empty line; within a value such a line is none.
            (Some(name), _) if after_gap && is_name(name) => {
                drivers.push(Driver { name: name.to_owned(), options: HashMap::new() });
                last = None;
            }
            (_, Some(driver)) => last = add(driver, line, last),
            _ => {}
        }
        after_gap = line.is_empty();
    }
    drivers
}

/// Adds a line to a driver; returns the option that a further line of its value would belong to.
fn add(driver: &mut Driver, line: &str, last: Option<String>) -> Option<String> {
    if line.is_empty() {
        return last;
    }
    let option = match line.split_once(" =") {
        Some((name, value)) if is_name(name) => Some((name, value.trim().to_owned())),
        None if is_name(line) => Some(match line.strip_prefix("no_") {
            Some(name) => (name, "false".to_owned()),
            None => (line, "true".to_owned()),
        }),
        _ => None,
    };
    match (option, last) {
        (Some((name, value)), _) => {
            // What a value of several lines may look like never replaces what has been read.
            driver.options.entry(name.to_owned()).or_insert(value);
            Some(name.to_owned())
        }
        (None, Some(last)) => {
            let value = driver.options.entry(last.clone()).or_default();
            value.push('\n');
            value.push_str(line);
            Some(last)
        }
        (None, None) => None,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "
hubbed_hosts router:
condition = 
driver = manualroute
more
no_unseen
route_data = ${lookup{$domain}partial-lsearch{/etc/exim4/hubbed_hosts}}

mtasts router:
address_data = ${dlfunc{libmtasts.so.0}{mtasts_exim}{$domain}{x}}
driver = manualroute
ignore_target_hosts = <; 0.0.0.0 ; a=b
  second line
more = ${if eq{$address_data}{}{yes}{no}}
no_verify_sender
";

    #[test]
    fn routers_come_in_their_order_with_their_options() {
        let routers = drivers(PRINTED, "router");
        let names: Vec<&str> = routers.iter().map(|router| &*router.name).collect();
        assert_eq!(names, ["hubbed_hosts", "mtasts"]);
        let [hubbed, own] = &routers[..] else { panic!() };
        assert_eq!((hubbed.text("condition"), hubbed.text("driver")), ("", "manualroute"));
        assert!(hubbed.is_on("more") && !hubbed.is_on("unseen"));
        assert!(hubbed.shows("unseen") && !hubbed.shows("verify_sender"));
        assert_eq!(own.text("ignore_target_hosts"), "<; 0.0.0.0 ; a=b\n  second line");
        assert_eq!(own.text("more"), "${if eq{$address_data}{}{yes}{no}}");
        assert!(own.shows("verify_sender") && !own.is_on("verify_sender"));
    }

    #[test]
    fn what_looks_like_a_heading_within_a_value_is_none() {
        let text = "\na router:\ncondition = x\nb router:\ndriver = redirect\ncondition = y\n";
        let routers = drivers(text, "router");
        assert_eq!(routers.len(), 1);
        assert_eq!(routers[0].text("condition"), "x\nb router:");
        assert_eq!(drivers("", "router"), []);
        assert_eq!(drivers("no router\n=\n:\n router:\n", "router"), []);
    }

    #[test]
    fn a_hidden_value_is_not_taken_for_one() {
        let drivers = drivers("\nt transport:\ntls_sni = <value not displayable>\nx = y\n", "transport");
        assert!(!drivers[0].shows("tls_sni") && drivers[0].shows("x"));
    }
}
