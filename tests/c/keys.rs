//! Every key of `mtasts.toml` through `mtasts_context_set`: what the file takes, C can set, and what it refuses, C cannot.

use crate::harness::Host;
use mtasts::config::{KEYS, Settings};
use std::path::Path;

const KEYS_C: &str = "tests/c/keys.c";

/// A key, a value as the file has it, and the same as C sets it.
const GOOD: &[(&str, &str, &str)] = &[
    ("cache", "\"/x/cache.db\"", "/x/cache.db"),
    ("user", "\"mail\"", "mail"),
    ("cache_entries", "7", "7"),
    ("memory_entries", "0", "0"),
    ("deadline_seconds", "1", "1"),
    ("timeout_seconds", "2", "2"),
    ("dns_timeout_seconds", "3", "3"),
    ("nameservers", "[\"192.0.2.1\", \"[2001:db8::1]:5353\"]", "192.0.2.1, [2001:db8::1]:5353"),
    ("https_port", "8443", "8443"),
    ("ca_file", "\"/x/ca.pem\"", "/x/ca.pem"),
    ("on_dns_error", "\"defer\"", "defer"),
    ("on_config_error", "\"defer\"", "defer"),
    ("dane_wins", "true", "true"),
    ("allow_private_addresses", "true", "true"),
    ("refresh", "false", "false"),
    ("observe", "true", "true"),
    ("syslog", "false", "false"),
    (
        "domain.\"a.test\"",
        "{ mode = \"none\", until = 2099-12-31, why = \"w\" }",
        "{ mode = \"none\", until = 2099-12-31, why = \"w\" }",
    ),
    (
        "domain.\"b.test\"",
        "{ mode = \"enforce\", mx = [\"mx.b.test\"] }",
        "{ mode = \"enforce\", mx = [\"mx.b.test\"] }",
    ),
    (
        "domain.\"c.test\"",
        "{ mode = \"testing\", mx = [\"*.c.test\"], until = 2099-01-01T00:00:00Z, why = \"w\" }",
        "{ mode = \"testing\", mx = [\"*.c.test\"], until = 2099-01-01T00:00:00Z, why = \"w\" }",
    ),
];

/// A key, a value that it cannot have, and what would be right.
const WRONG: &[(&str, &str, &str)] = &[
    ("cache", "relative.db", "key `cache`: `relative.db`, want the absolute path of a file"),
    ("user", "root", "key `user`: `root`, want the name or the number of the user that delivers mail, not root"),
    ("cache_entries", "0", "key `cache_entries`: `0`, want a whole number from 1 to 1000000000"),
    ("memory_entries", "-1", "key `memory_entries`: `-1`, want a whole number from 0 to 1000000000"),
    ("deadline_seconds", "3601", "key `deadline_seconds`: `3601`, want a whole number from 1 to 3600 (seconds)"),
    ("timeout_seconds", "1.5", "key `timeout_seconds`: `1.5`, want a whole number from 1 to 3600 (seconds)"),
    ("dns_timeout_seconds", "x", "key `dns_timeout_seconds`: `x`, want a whole number"),
    ("nameservers", "ns.test", "key `nameservers`: `ns.test`, want a list of addresses, each `IP`, `IPv4:PORT`"),
    ("https_port", "65536", "key `https_port`: `65536`, want a whole number from 1 to 65535"),
    ("ca_file", "ca.pem", "key `ca_file`: `ca.pem`, want the absolute path of a file"),
    ("on_dns_error", "Defer", "key `on_dns_error`: `Defer`, want \"proceed\" or \"defer\""),
    ("on_config_error", "", "key `on_config_error`: ``, want \"proceed\" or \"defer\""),
    ("dane_wins", "1", "key `dane_wins`: `1`, want true or false"),
    ("allow_private_addresses", "yes", "key `allow_private_addresses`: `yes`, want true or false"),
    ("refresh", "no", "key `refresh`: `no`, want true or false"),
    ("observe", "TRUE", "key `observe`: `TRUE`, want true or false"),
    ("syslog", "off", "key `syslog`: `off`, want true or false"),
    ("domain.a.test", "{ mode = \"none\" }", "key `domain.\"a.test\".until` is missing, want the date"),
    (
        "domain.a.test",
        "{ mode = \"enforce\" }",
        "key `domain.\"a.test\".mx` is missing, want a list of at least one host",
    ),
    (
        "domain.a.test",
        "{ mode = \"enforce\", mx = [\"m x\"] }",
        "key `domain.\"a.test\".mx`: [\"m x\"], want a list of host names",
    ),
    (
        "domain.a.test",
        "{ mode = \"none\", until = 3, why = \"w\" }",
        "key `domain.\"a.test\".until`: 3, want a date such as",
    ),
    (
        "domain.a.test",
        "{ mode = \"enforce\", mx = [\"a.test\"], wy = \"w\" }",
        "key `domain.\"a.test\".wy` is not known, want one of mode",
    ),
    ("domain.a.test", "enforce", "key `domain.\"a.test\"`: not TOML"),
    ("domain.192.0.2.1", "{ mode = \"enforce\", mx = [\"a.test\"] }", "want a domain as it stands behind the @"),
    ("misspelt", "1", "key `misspelt` is not known, want one of cache, user"),
];

#[test]
fn every_key_of_the_file_can_be_set_from_c() {
    let plain: Vec<&str> = GOOD.iter().map(|(key, ..)| *key).filter(|key| !key.starts_with("domain.")).collect();
    assert_eq!(plain, KEYS, "the list above has each key");
    let file: String = GOOD.iter().map(|(key, value, _)| format!("{key} = {value}\n")).collect();
    let (from_file, faults) = Settings::parse(&file, Path::new("f"));
    assert_eq!(faults, []);
    let mut from_text = Settings::default();
    for (key, _, value) in GOOD {
        from_text.set(key, value).unwrap();
    }
    let without_lines = |settings: &Settings| -> Vec<_> {
        settings
            .domains
            .iter()
            .map(|(domain, is)| (domain.clone(), is.rule.clone(), is.until, is.why.clone()))
            .collect()
    };
    assert_eq!(without_lines(&from_file), without_lines(&from_text));
    assert_eq!(Settings { domains: from_text.domains.clone(), ..from_file }, from_text);
    let more: Vec<&str> = GOOD.iter().flat_map(|(key, _, value)| [*key, *value]).collect();
    Host::new().passes(&[], KEYS_C, "every-key-is-taken", &more);
}

#[test]
fn what_c_sets_wrongly_is_refused_with_what_would_be_right() {
    let is_named = |key: &&str| WRONG.iter().any(|(wrong, ..)| wrong == key);
    assert!(KEYS.iter().all(is_named), "the list above has each key");
    let more: Vec<&str> = WRONG.iter().flat_map(|(key, value, want)| [*key, *value, *want]).collect();
    Host::new().passes(&[], KEYS_C, "what-is-wrong-is-refused-and-named", &more);
}
