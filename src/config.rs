//! Settings: `/etc/mtasts.toml`, and the same keys one by one through the C API and the command line.
//!
//! A configuration is read as far as it can be: [`Settings::load`] returns what is good in it together with every
//! fault. Whether a fault stops the caller is the caller's decision; an unknown key is a fault, since a misspelt key
//! is a wish that nobody keeps.

mod damage;
mod domain;
mod load;
mod value;

pub use crate::sys::identity::{group_name, user_and_group, user_name};
pub use domain::{Override, Overrides, Rule};
pub use load::Loaded;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use value::Value;

/// Where the configuration lies unless the caller or `MTASTS_CONFIG` names another file.
pub const DEFAULT_PATH: &str = "/etc/mtasts.toml";

/// What to do when no answer can be had: let the mail go as if there were no policy, or hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrouble {
    /// Deliver as if the domain had no policy.
    Proceed,
    /// Hold the mail for a later try.
    Defer,
}

/// Every setting, with its default from [`Settings::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `cache`: the file that remembers policies.
    pub cache: PathBuf,
    /// `user`: who works in place of root; none for the owner of the cache directory.
    pub user: Option<String>,
    /// `cache_entries`: rows that the file may hold.
    pub cache_entries: u64,
    /// `memory_entries`: domains that one process remembers in front of the file.
    pub memory_entries: usize,
    /// `deadline_seconds`: the longest that one call may take, whatever it waits for.
    pub deadline: Duration,
    /// `timeout_seconds`: the longest that one HTTPS fetch may take.
    pub timeout: Duration,
    /// `dns_timeout_seconds`: the longest that one DNS lookup may take.
    pub dns_timeout: Duration,
    /// `nameservers`: the resolvers to ask; empty for those of resolv.conf.
    pub nameservers: Vec<SocketAddr>,
    /// `https_port`: the port of policy hosts; other than 443 in tests only.
    pub https_port: u16,
    /// `ca_file`: trusted roots in PEM; none for the system's.
    pub ca_file: Option<PathBuf>,
    /// `on_dns_error`: what a domain without a cached policy gets when DNS does not answer.
    pub on_dns_error: OnTrouble,
    /// `on_config_error`: what Exim is told when the configuration has a fault.
    pub on_config_error: OnTrouble,
    /// `dane_wins`: a usable TLSA set frees an MX host from being listed in an enforced policy.
    pub dane_wins: bool,
    /// `allow_private_addresses`: policy hosts may have loopback, private, link-local and multicast addresses.
    pub allow_private_addresses: bool,
    /// `refresh`: a cached policy is fetched anew about daily, whatever DNS says.
    pub refresh: bool,
    /// `observe`: enforce is applied as testing, each would-be refusal is logged.
    pub observe: bool,
    /// `syslog`: the Exim face writes warnings to the system log.
    pub syslog: bool,
    /// `[domain."example.com"]`: exceptions and pinned policies.
    pub domains: Arc<Overrides>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache: PathBuf::from("/var/lib/mtasts/cache.db"),
            user: None,
            cache_entries: 1_000_000,
            memory_entries: 100_000,
            deadline: Duration::from_secs(45),
            timeout: Duration::from_secs(30),
            dns_timeout: Duration::from_secs(10),
            nameservers: Vec::new(),
            https_port: 443,
            ca_file: None,
            on_dns_error: OnTrouble::Proceed,
            on_config_error: OnTrouble::Proceed,
            dane_wins: false,
            allow_private_addresses: false,
            refresh: true,
            observe: false,
            syslog: true,
            domains: Arc::default(),
        }
    }
}

/// One fault of a configuration: where it stands, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, unless the key came through the API.
    pub path: Option<PathBuf>,
    /// The line in the file, counted from 1.
    pub line: Option<usize>,
    /// What is wrong and what would be right; names the key.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl Settings {
    /// Reads a configuration file; without a path the one that `MTASTS_CONFIG` names, else [`DEFAULT_PATH`] if it
    /// exists. What is good takes effect, every fault is returned.
    pub fn load(path: Option<&Path>) -> (Self, Vec<ConfigError>) {
        let Loaded { settings, faults, .. } = Loaded::from_file(path);
        (settings, faults)
    }

    /// Reads the text of a configuration; `path` is for messages only.
    pub fn parse(text: &str, path: &Path) -> (Self, Vec<ConfigError>) {
        let Loaded { settings, faults, .. } = Loaded::from_text(text, path);
        (settings, faults)
    }

    /// Sets one key from text: a number in decimal, `true` or `false`, a list with commas or blanks between. The key
    /// `domain."example.com"` takes a TOML inline table in place of what it had, or an empty text for none.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let value = value.trim();
        let outcome = match domain::name_in_key(key) {
            Some(name) => self.set_domain(name, value),
            None => self.apply(key, &Value::Typed(value.to_owned())),
        };
        outcome.map_err(|problem| ConfigError { path: None, line: None, problem })
    }

    fn set_domain(&mut self, name: &str, value: &str) -> Result<(), String> {
        let (domain, decision) = domain::read_text(name, value)?;
        let domains = Arc::make_mut(&mut self.domains);
        match decision {
            Some(decision) => domains.insert(domain, decision),
            None => domains.remove(&domain),
        };
        Ok(())
    }

    fn apply(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let outcome = match key {
            "cache" => value.path().map(|path| self.cache = path),
            "user" => value.user().map(|user| self.user = Some(user)),
            "cache_entries" => value.number(1, 1_000_000_000).map(|rows| self.cache_entries = rows),
            "memory_entries" => value
                .number(0, 1_000_000_000)
                .map(|entries| self.memory_entries = usize::try_from(entries).unwrap_or(usize::MAX)),
            "deadline_seconds" => value.seconds(3_600).map(|limit| self.deadline = limit),
            "timeout_seconds" => value.seconds(3_600).map(|limit| self.timeout = limit),
            "dns_timeout_seconds" => value.seconds(3_600).map(|limit| self.dns_timeout = limit),
            "nameservers" => value.nameservers().map(|servers| self.nameservers = servers),
            "https_port" => {
                value.number(1, 65_535).map(|port| self.https_port = u16::try_from(port).unwrap_or(u16::MAX))
            }
            "ca_file" => value.path().map(|path| self.ca_file = Some(path)),
            "on_dns_error" => value.on_trouble().map(|choice| self.on_dns_error = choice),
            "on_config_error" => value.on_trouble().map(|choice| self.on_config_error = choice),
            "dane_wins" => value.boolean().map(|choice| self.dane_wins = choice),
            "allow_private_addresses" => value.boolean().map(|choice| self.allow_private_addresses = choice),
            "refresh" => value.boolean().map(|choice| self.refresh = choice),
            "observe" => value.boolean().map(|choice| self.observe = choice),
            "syslog" => value.boolean().map(|choice| self.syslog = choice),
            _ => {
                let known = KEYS.join(", ");
                return Err(format!(
                    "key `{}` is not known, want one of {known}, domain.\"NAME\"",
                    key.escape_default()
                ));
            }
        };
        outcome.map_err(|wanted| format!("key `{key}`: {value}, want {wanted}"))
    }
}

/// Every key with a plain value, in the order of the manual. Beside them there are the tables `domain."NAME"`.
pub const KEYS: &[&str] = &[
    "cache",
    "user",
    "cache_entries",
    "memory_entries",
    "deadline_seconds",
    "timeout_seconds",
    "dns_timeout_seconds",
    "nameservers",
    "https_port",
    "ca_file",
    "on_dns_error",
    "on_config_error",
    "dane_wins",
    "allow_private_addresses",
    "refresh",
    "observe",
    "syslog",
];

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let behind_line_ends = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        Self(std::iter::once(0).chain(behind_line_ends).collect())
    }

    /// The line of a place in the text, counted from 1.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|&beginning| beginning <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Settings, Vec<String>) {
        let (settings, faults) = Settings::parse(text, Path::new("/etc/mtasts.toml"));
        (settings, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_key_takes_effect_from_the_file_and_from_text() {
        let text = r#"
            cache = "/x/c.db"
            user = "mail"
            cache_entries = 7
            memory_entries = 0
            deadline_seconds = 1
            timeout_seconds = 2
            dns_timeout_seconds = 3
            nameservers = ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"]
            https_port = 8443
            ca_file = "/x/ca.pem"
            on_dns_error = "defer"
            on_config_error = "defer"
            dane_wins = true
            allow_private_addresses = true
            refresh = false
            observe = true
            syslog = false
        "#;
        let (from_file, faults) = parse(text);
        assert_eq!(faults, Vec::<String>::new());
        let mut from_text = Settings::default();
        for line in text.lines().filter_map(|line| line.split_once('=')) {
            let value = line.1.replace(['"', '[', ']'], "").replace("2001:db8::1:", "[2001:db8::1]:");
            from_text.set(line.0.trim(), &value).unwrap();
        }
        assert_eq!(from_file, from_text);
        assert_eq!(from_file.nameservers.len(), 4);
        assert_eq!(from_file.nameservers[0].port(), 53);
        assert_eq!(text.lines().filter(|line| line.contains('=')).count(), KEYS.len());
    }

    #[test]
    fn a_fault_names_file_line_key_and_what_would_be_right() {
        let (settings, faults) = parse("dane_wins = true\n\ntimeout_second = 3\nhttps_port = \"x\"\n");
        assert!(settings.dane_wins, "what is good takes effect");
        assert!(
            faults[0].starts_with("/etc/mtasts.toml: line 3: key `timeout_second` is not known, want one of cache")
        );
        assert_eq!(faults[1], "/etc/mtasts.toml: line 4: key `https_port`: \"x\", want a whole number from 1 to 65535");
    }

    #[test]
    fn wrong_types_and_impossible_values_are_faults() {
        for text in [
            "cache = 1",
            "cache = \"relative\"",
            "cache = \"/\"",
            "cache_entries = 0",
            "user = \"root\"",
            "user = \"\"",
            "user = \"a:b\"",
            "user = 0",
            "user = -1",
            "deadline_seconds = -1",
            "deadline_seconds = 0",
            "deadline_seconds = 1.5",
            "deadline_seconds = 99999999999999999999",
            "nameservers = [\"resolver.example\"]",
            "nameservers = [1]",
            "https_port = 65536",
            "on_dns_error = \"ignore\"",
            "syslog = \"true\"",
            "dane_wins = 1",
            "[cache]\npath = 1",
            "syslog",
            "syslog = true\nsyslog = true",
            "syslog = \"",
        ] {
            assert_ne!(parse(text).1, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_follows_a_broken_line_still_takes_effect() {
        let (settings, faults) = parse("dane_wins = = yes\non_config_error = \"defer\"\n");
        assert_eq!(settings.on_config_error, OnTrouble::Defer);
        assert!(faults[0].contains("line 1"), "{faults:?}");
    }
}
