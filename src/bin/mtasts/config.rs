//! `mtasts config`: the settings in force, and where each comes from.

use crate::arguments::{ConfigArguments, Effective, Origin, SettingsArguments};
use crate::output::ascii;
use crate::terminal::{Look, Style, columns_of, harmless};
use crate::{SUCCESS, Stop, USAGE, complain};
use mtasts::config::{ConfigError, KEYS, OnTrouble, Override, Rule, Settings};
use mtasts::syntax::MxPattern;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

/// Remarks stand behind the values in this column where that is possible.
const REMARK_COLUMN: usize = 44;

pub fn run(settings: &SettingsArguments, request: &ConfigArguments) -> Result<u8, Stop> {
    let effective = settings.effective()?;
    let text =
        if request.json { ascii(&json(&effective)) } else { human(&Look::of_stdout(settings.color), &effective) };
    writeln!(std::io::stdout().lock(), "{text}")?;
    for fault in &effective.faults {
        complain(&format!("mtasts: {fault}"));
    }
    Ok(if effective.faults.is_empty() { SUCCESS } else { USAGE })
}

/// The value of a key; none where it is not set, and what then is done is the text.
enum Shown {
    Value(Value),
    Unset(&'static str),
}

fn show(settings: &Settings, key: &str) -> Shown {
    let seconds = |time: std::time::Duration| Shown::Value(time.as_secs().into());
    let flag = |choice: bool| Shown::Value(choice.into());
    let path = |path: &Path| Shown::Value(path.to_string_lossy().into());
    let trouble = |choice: OnTrouble| match choice {
        OnTrouble::Proceed => Shown::Value("proceed".into()),
        OnTrouble::Defer => Shown::Value("defer".into()),
    };
    match key {
        "cache" => path(&settings.cache),
        "user" => {
            let user = settings.user.as_deref();
            user.map_or(Shown::Unset("the owner of the cache directory"), |user| Shown::Value(user.into()))
        }
        "cache_entries" => Shown::Value(settings.cache_entries.into()),
        "memory_entries" => Shown::Value(settings.memory_entries.into()),
        "deadline_seconds" => seconds(settings.deadline),
        "timeout_seconds" => seconds(settings.timeout),
        "dns_timeout_seconds" => seconds(settings.dns_timeout),
        "nameservers" if settings.nameservers.is_empty() => Shown::Unset("those of /etc/resolv.conf"),
        "nameservers" => Shown::Value(settings.nameservers.iter().map(ToString::to_string).collect()),
        "https_port" => Shown::Value(settings.https_port.into()),
        "ca_file" => settings.ca_file.as_deref().map_or(Shown::Unset("the roots of the system"), path),
        "on_dns_error" => trouble(settings.on_dns_error),
        "on_config_error" => trouble(settings.on_config_error),
        "dane_wins" => flag(settings.dane_wins),
        "allow_private_addresses" => flag(settings.allow_private_addresses),
        "refresh" => flag(settings.refresh),
        "observe" => flag(settings.observe),
        "syslog" => flag(settings.syslog),
        _ => Shown::Unset("a key that this command does not know"),
    }
}

fn json(effective: &Effective) -> Value {
    let setting = |key: &&str| {
        let value = match show(&effective.settings, key) {
            Shown::Value(value) => value,
            Shown::Unset(_) => Value::Null,
        };
        let object = match effective.origins.get(*key) {
            None => json!({ "value": value, "origin": "default" }),
            Some(Origin::Line(line)) => json!({ "value": value, "origin": "file", "line": line }),
            Some(Origin::Option(option)) => json!({ "value": value, "origin": "option", "option": option }),
        };
        ((*key).to_owned(), object)
    };
    let settings: Map<String, Value> = KEYS.iter().map(setting).collect();
    let domains: Map<String, Value> = effective
        .settings
        .domains
        .iter()
        .map(|(domain, decision)| (domain.as_str().to_owned(), json_of_domain(decision)))
        .collect();
    let fault = |fault: &ConfigError| json!({ "line": fault.line, "problem": fault.problem });
    let faults: Vec<Value> = effective.faults.iter().map(fault).collect();
    json!({ "file": effective.file, "settings": settings, "domain": domains, "faults": faults })
}

fn json_of_domain(decision: &Override) -> Value {
    let (mode, mx) = mode_and_mx(decision);
    let mut object = json!({
        "mode": mode,
        "mx": mx,
        "until": decision.until.map(|until| until.0),
        "why": Some(&decision.why).filter(|why| !why.is_empty()),
        "origin": if decision.line.is_some() { "file" } else { "option" },
    });
    if let (Some(object), Some(line)) = (object.as_object_mut(), decision.line) {
        object.insert("line".to_owned(), line.into());
    }
    object
}

fn mode_and_mx(decision: &Override) -> (&'static str, Vec<&str>) {
    match &decision.rule {
        Rule::Exempt => ("none", Vec::new()),
        Rule::Pinned { policy, .. } => (policy.mode().as_str(), policy.mx().iter().map(MxPattern::as_str).collect()),
    }
}

/// A configuration file that says the same, with a remark behind each line.
fn human(look: &Look, effective: &Effective) -> String {
    let file = match &effective.file {
        Some(file) => format!("# The configuration is the file {}.", file.display()),
        None => format!("# There is no configuration: {} does not exist.", mtasts::config::DEFAULT_PATH),
    };
    let mut text = look.paint(Style::Faint, &harmless(&file)).into_owned();
    let place = |line: usize| match &effective.file {
        Some(file) => format!("{}, line {line}", file.display()),
        None => format!("line {line}"),
    };
    let mut add = |setting: &str, remark: &str| {
        text.push('\n');
        text.push_str(&remarked(look, setting, remark));
    };
    for key in KEYS {
        let origin = match effective.origins.get(*key) {
            None => "default".to_owned(),
            Some(Origin::Line(line)) => place(*line),
            Some(Origin::Option(option)) => (*option).to_owned(),
        };
        match show(&effective.settings, key) {
            Shown::Value(value) => add(&format!("{key} = {}", toml(&value)), &origin),
            Shown::Unset(meaning) => add(&format!("# {key}"), &format!("{origin}: {meaning}")),
        }
    }
    for (domain, decision) in effective.settings.domains.iter() {
        text.push('\n');
        text.push('\n');
        let origin = decision.line.map_or_else(|| "--set".to_owned(), place);
        text.push_str(&remarked(look, &format!("[domain.{}]", quoted(domain.as_str())), &origin));
        text.push_str(&table(decision));
    }
    text
}

/// The lines of a table below its name.
fn table(decision: &Override) -> String {
    let (mode, mx) = mode_and_mx(decision);
    let mut lines = format!("\nmode = {}", quoted(mode));
    if !mx.is_empty() {
        lines.push_str(&format!("\nmx = {}", toml(&mx.into())));
    }
    if let Some(until) = decision.until {
        lines.push_str(&format!("\nuntil = {}", until.to_utc_string().replace(" UTC", "Z")));
    }
    if !decision.why.is_empty() {
        lines.push_str(&format!("\nwhy = {}", quoted(&decision.why)));
    }
    lines
}

/// A line and its remark; above it where both do not fit the terminal.
fn remarked(look: &Look, setting: &str, remark: &str) -> String {
    let remark = format!("# {}", harmless(remark));
    let columns = columns_of(setting).max(REMARK_COLUMN) + 2;
    let painted = look.paint(Style::Faint, &remark);
    if look.width().is_some_and(|width| columns + columns_of(&remark) > width) {
        return format!("{painted}\n{setting}");
    }
    format!("{setting:<REMARK_COLUMN$}  {painted}")
}

/// A value as TOML has it.
fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A string of TOML in which nothing commands a terminal.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            _ if harmless(c.encode_utf8(&mut [0; 4])) == c.to_string() => quoted.push(c),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_shown() {
        for key in KEYS {
            let known =
                !matches!(show(&Settings::default(), key), Shown::Unset(meaning) if meaning.contains("does not"));
            assert!(known, "{key}");
        }
    }

    #[test]
    fn a_string_is_read_back_as_it_was() {
        let path = "/x/a\"b\\c\u{1b}[2J\u{7f}\u{202e}ü";
        let text = format!("cache = {}\n", quoted(path));
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
        let (settings, faults) = Settings::parse(&text, Path::new("f"));
        assert_eq!((settings.cache.as_path(), faults), (Path::new(path), Vec::new()));
    }
}
