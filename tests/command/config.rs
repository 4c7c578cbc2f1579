//! `mtasts config`: what is in force, where it comes from, and what is wrong with it.

use super::*;
use std::path::Path;

/// The command with this configuration and these arguments.
fn run(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
    command.args(arguments).env_remove("MTASTS_CONFIG").arg("--config").arg(config).output().unwrap()
}

fn json(config: &Path, more: &[&str]) -> Value {
    let output = run(config, &[&["config", "--json"], more].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A file with each key, none at its default.
const EVERYTHING: &str = r#"cache = "/x/c \"d\" \\ .db"
user = "mail"
cache_entries = 7
memory_entries = 0
deadline_seconds = 1
timeout_seconds = 2
dns_timeout_seconds = 3
nameservers = ["192.0.2.1", "[2001:db8::1]:5353"]
https_port = 8443
ca_file = "/x/ca.pem"
on_dns_error = "defer"
on_config_error = "defer"
dane_wins = true
allow_private_addresses = true
refresh = false
observe = true
syslog = false

[domain."broken.example"]
mode = "none"
until = 2099-12-31
why = "their \"certificate\" is expired"

[domain."partner.example"]
mode = "enforce"
mx = ["mx.partner.example", "*.mail.example"]
until = 2099-01-01T12:00:00+02:00
"#;

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn what_is_printed_is_a_configuration_that_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), "a.toml", EVERYTHING);
    let output = run(&config, &["config"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let printed = write(directory.path(), "b.toml", &text(&output.stdout));
    let values = |config: &Path| {
        let shown = json(config, &[]);
        let mut values: Vec<(String, Value)> = Vec::new();
        for (key, setting) in shown["settings"].as_object().unwrap() {
            assert_eq!(setting["origin"], "file", "{key}: {shown}");
            values.push((key.clone(), setting["value"].clone()));
        }
        for (domain, table) in shown["domain"].as_object().unwrap() {
            values.extend(["mode", "mx", "until", "why"].map(|key| (format!("{domain} {key}"), table[key].clone())));
        }
        values
    };
    assert_eq!(values(&printed), values(&config));
    let keys: Vec<String> = values(&config).into_iter().map(|(key, _)| key).take(mtasts::config::KEYS.len()).collect();
    assert_eq!(keys, mtasts::config::KEYS, "the file above has each key");
    // The defaults, too, are a configuration.
    let defaults = run(Path::new("/dev/null"), &["config"]);
    assert_eq!(defaults.status.code(), Some(2), "it is no regular file");
    let printed = write(directory.path(), "defaults.toml", &text(&defaults.stdout));
    assert_eq!(run(&printed, &["config"]).status.code(), Some(0));
}

#[test]
fn each_value_tells_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), "mtasts.toml", EVERYTHING);
    let file = config.display();
    let more = ["--set", "observe=false", "--cache", "/y/c.db", "--nameserver", "192.0.2.7", "--https-port", "444"];
    let more =
        [&more[..], &["--ca-file", "/y/ca.pem", "--set", "domain.a.test={mode='enforce',mx=['*.a.test']}"]].concat();
    let human = text(&run(&config, &[&["config"], &more[..]].concat()).stdout);
    let remark = |setting: &str| {
        let line = human.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("{setting}: {human}"));
        line.rsplit_once("  # ").unwrap().1.to_owned()
    };
    for (setting, want) in [
        ("user = \"mail\"", format!("{file}, line 2")),
        ("syslog = false", format!("{file}, line 17")),
        ("observe = false", "--set".to_owned()),
        ("cache = \"/y/c.db\"", "--cache".to_owned()),
        ("nameservers = [\"192.0.2.7:53\"]", "--nameserver".to_owned()),
        ("https_port = 444", "--https-port".to_owned()),
        ("ca_file = \"/y/ca.pem\"", "--ca-file".to_owned()),
        ("[domain.\"a.test\"]", "--set".to_owned()),
        ("[domain.\"broken.example\"]", format!("{file}, line 19")),
    ] {
        assert_eq!(remark(setting), want, "{setting}");
    }
    assert!(human.starts_with(&format!("# The configuration is the file {file}.\n")), "{human}");
    let shown = json(&config, &more);
    assert_eq!(shown["file"], file.to_string());
    assert_eq!(shown["settings"]["user"], serde_json::json!({ "value": "mail", "origin": "file", "line": 2 }));
    let observe = serde_json::json!({ "value": false, "origin": "option", "option": "--set" });
    assert_eq!(shown["settings"]["observe"], observe);
    assert_eq!(shown["domain"]["a.test"]["origin"], "option");
    assert_eq!((&shown["domain"]["broken.example"]["line"], &shown["faults"]), (&19.into(), &serde_json::json!([])));

    let empty = write(directory.path(), "empty.toml", "");
    let defaults = text(&run(&empty, &["config"]).stdout);
    for want in [
        "# user  ",
        "  # default: the owner of the cache directory\n",
        "# nameservers  ",
        "  # default: those of /etc/resolv.conf\n",
    ] {
        assert!(defaults.contains(want), "{want}: {defaults}");
    }
    let shown = json(&empty, &[]);
    assert_eq!(shown["settings"]["user"], serde_json::json!({ "value": null, "origin": "default" }));
    assert_eq!(shown["settings"]["deadline_seconds"], serde_json::json!({ "value": 45, "origin": "default" }));
}

#[test]
fn every_fault_is_told_with_key_line_and_what_would_be_right() {
    let directory = tempfile::tempdir().unwrap();
    let broken = "observe = true\nhttps_prot = 1\ndane_wins = \"yes\"\ntimeout_seconds = 0\n[domain.\"a.test\"]\nmode = \"none\"\n";
    let config = write(directory.path(), "mtasts.toml", broken);
    let output = run(&config, &["config"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let file = config.display();
    for want in [
        "line 2: key `https_prot` is not known, want one of cache, user",
        "line 3: key `dane_wins`: \"yes\", want true or false\n",
        "line 4: key `timeout_seconds`: 0, want a whole number from 1 to 3600 (seconds)\n",
        "line 5: key `domain.\"a.test\".until` is missing, want the date on which the exception ends",
        "line 5: key `domain.\"a.test\".why` is missing",
    ] {
        assert!(said.contains(&format!("mtasts: {file}: {want}")), "{want}: {said}");
    }
    assert!(text(&output.stdout).contains("\nobserve = true  "), "what is good is in force: {output:?}");
    let faults = &json(&config, &[])["faults"];
    assert_eq!((faults.as_array().unwrap().len(), &faults[0]["line"]), (5, &2.into()));
    // Where the settings are needed, all faults are told and nothing is done.
    let output = run(&config, &["lookup", "a.test"]);
    assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(2), 5), "{output:?}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_wrong_type_is_a_fault_of_each_key_and_names_it_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let wrong: String = mtasts::config::KEYS.iter().map(|key| format!("{key} = 1979-05-27\n")).collect();
    let config = write(directory.path(), "mtasts.toml", &wrong);
    let shown = json(&config, &[]);
    let faults = shown["faults"].as_array().unwrap();
    assert_eq!(faults.len(), mtasts::config::KEYS.len());
    for (at, (key, fault)) in mtasts::config::KEYS.iter().zip(faults).enumerate() {
        assert_eq!(fault["line"], at + 1, "{key}");
        assert!(fault["problem"].as_str().unwrap().starts_with(&format!("key `{key}`: 1979-05-27, want ")), "{fault}");
    }
}

#[test]
fn an_option_that_is_wrong_names_itself_and_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), "mtasts.toml", "");
    for (option, value, want) in [
        ("--https-port", "0", "--https-port: key `https_port`: `0`, want a whole number from 1 to 65535"),
        ("--set", "observe=maybe", "--set: key `observe`: `maybe`, want true or false"),
        ("--set", "observ=true", "--set: key `observ` is not known, want one of cache"),
        ("--set", "observe", "--set observe: want KEY=VALUE"),
    ] {
        let output = run(&config, &["config", option, value]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{want}");
        assert!(text(&output.stderr).contains(want), "{want}: {output:?}");
    }
}

#[test]
fn nothing_in_a_configuration_commands_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let hostile = "cache = \"/x/\\u001b[2J\\u009b/c.db\"\n[domain.\"a.test\"]\nmode = \"none\"\nuntil = 2099-01-01\nwhy = \"\\u202e\"\n";
    let config = write(directory.path(), "evil\u{1b}[2J\n.toml", hostile);
    let output = run(&config, &["config"]);
    let shown = text(&output.stdout);
    assert!(shown.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{shown:?}");
    assert!(shown.contains("evil\\u{1b}[2J\\n.toml"), "{shown}");
    let json = text(&run(&config, &["config", "--json"]).stdout);
    assert!(json.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{json:?}");
    let broken = write(directory.path(), "evil\u{1b}[2J\n.toml", "x\u{1b}[2J = 1\n");
    let said = text(&run(&broken, &["config"]).stderr);
    assert!(!said.contains('\u{1b}') && said.lines().all(|line| line.starts_with("mtasts: ")), "{said:?}");
}
