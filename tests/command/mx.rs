//! `mtasts lookup --mx`: why a message is held, until when, and what would change that.

use super::*;

/// The JSON object of one domain with these MX hosts, and the exit status.
fn asked(stage: &Stage, domain: &str, hosts: &[&str]) -> (Value, Option<i32>) {
    let mut arguments = vec!["lookup", "--json", domain];
    hosts.iter().for_each(|host| arguments.extend(["--mx", host]));
    let output = stage.run(&arguments);
    (serde_json::from_str(&text(&output.stdout)).unwrap(), output.status.code())
}

#[test]
fn each_kind_of_decision_has_its_words_and_its_exit_status() {
    let stage = Stage::new();
    for (domain, host, action, reason, result_type, code) in [
        ("good.test", "mx.good.test", "require-tls", "mx-listed", None, 0),
        ("good.test", "A.GOOD.test.", "require-tls", "mx-listed", None, 0),
        ("good.test", "mx.evil.test", "skip-host", "mx-not-in-policy", Some("validation-failure"), 5),
        ("good.test", "192.0.2.1", "skip-host", "mx-not-in-policy", Some("validation-failure"), 5),
        ("testing.test", "mx.testing.test", "deliver-report", "testing", None, 0),
        ("testing.test", "mx.evil.test", "deliver-report", "mx-not-in-policy", Some("validation-failure"), 0),
        ("none.test", "mx.evil.test", "deliver", "mode-none", None, 0),
        ("absent.test", "mx.evil.test", "deliver", "no-policy", None, 0),
    ] {
        let (answer, status) = asked(&stage, domain, &[host]);
        let verdict = &answer["hosts"][0];
        assert_eq!((&verdict["action"], &verdict["reason"]), (&action.into(), &reason.into()), "{domain} {host}");
        assert_eq!(verdict["result_type"], result_type.map_or(Value::Null, Value::from), "{domain} {host}");
        assert_eq!(status, Some(code), "{domain} {host}");
        assert_eq!(answer["is_held"], code == 5, "{domain} {host}");
        assert_eq!(verdict["enhanced_status"], if code == 5 { "4.7.0".into() } else { Value::Null });
    }
    assert_eq!(asked(&stage, "good.test", &["A.GOOD.test."]).0["hosts"][0]["host"], "a.good.test");
    let plain = stage.json(&["lookup", "--json", "good.test"]);
    assert!(plain[0].get("hosts").is_none() && plain[0].get("is_held").is_none());
}

#[test]
fn after_the_handshake_each_failure_has_its_fate_and_its_report() {
    let stage = Stage::new();
    let (answer, _) = asked(&stage, "good.test", &["mx.good.test"]);
    let verdict = &answer["hosts"][0];
    assert_eq!(verdict["sni"], "mx.good.test");
    for (state, action, result_type, code) in [
        ("ok", "deliver", None, None),
        ("no-starttls", "skip-host", Some("starttls-not-supported"), Some("4.7.4")),
        ("failed", "skip-host", Some("validation-failure"), Some("4.7.5")),
        ("host-mismatch", "skip-host", Some("certificate-host-mismatch"), Some("4.7.5")),
        ("not-trusted", "skip-host", Some("certificate-not-trusted"), Some("4.7.5")),
        ("expired", "skip-host", Some("certificate-expired"), Some("4.7.5")),
        ("certificate-invalid", "skip-host", Some("validation-failure"), Some("4.7.5")),
    ] {
        let want = serde_json::json!({ "action": action, "result_type": result_type, "enhanced_status": code });
        assert_eq!(verdict["after_tls"][state], want, "{state}");
    }
    let human = text(&stage.run(&["lookup", "good.test", "--mx", "mx.good.test"]).stdout);
    for want in [
        "\nmx.good.test: deliver over verified TLS only\n",
        "\n  tls      STARTTLS with SNI mx.good.test, and a certificate for that name from a trusted root\n",
        "\n  failing  without STARTTLS: refused (4.7.4), reported as starttls-not-supported\n",
        "\n           with an expired one: refused (4.7.5), reported as certificate-expired\n",
    ] {
        assert!(human.contains(want), "{want}: {human}");
    }
    let testing = text(&stage.run(&["lookup", "testing.test", "--mx", "mx.testing.test"]).stdout);
    assert!(testing.contains("failing  without STARTTLS: delivered, reported as starttls-not-supported"), "{testing}");
    let (answer, _) = asked(&stage, "none.test", &["mx.none.test"]);
    assert_eq!(answer["hosts"][0]["after_tls"], serde_json::json!({}));
}

#[test]
fn an_administrator_reads_why_mail_is_held_until_when_and_what_would_change_it() {
    let stage = Stage::new();
    let output = stage.run(&["lookup", "--mx", "mx.evil.test", "good.test"]);
    let human = text(&output.stdout);
    let expires = human.lines().find_map(|line| line.strip_prefix("  expires  ")).unwrap();
    let until = format!("\n  until    {expires}, in 6 days, when the policy ends; later if it is fetched anew");
    let until_full = until.replace("6 days", "7 days");
    assert!(human.contains(&until) || human.contains(&until_full), "{until}: {human}");
    for want in [
        "\nmx.evil.test: do not deliver\n",
        "\n  why      mx.evil.test is not listed in the enforced policy of good.test\n",
        "\n  status   4.7.0, a temporary failure\n",
        "\n  change   good.test lists mx.evil.test in its policy and gives that a new id, or takes it from its MX records",
        "\nmail to good.test: held\n  why      the only host asked about is refused; a message stays in the queue and is tried",
    ] {
        assert!(human.contains(want), "{want}: {human}");
    }
    // What is advised works: the lines are a configuration that lets the mail go.
    let lines = human.lines().map(str::trim_start).skip_while(|line| !line.starts_with("[domain."));
    let table: Vec<&str> = lines.take(4).collect();
    let config = stage.world.directory().join("advised.toml");
    std::fs::write(&config, format!("allow_private_addresses = true\n{}\n", table.join("\n"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
    command.args(["lookup", "--json", "--mx", "mx.evil.test", "good.test", "--config"]).arg(config);
    let output = command.arg("--cache").arg(&stage.cache).output().unwrap();
    let answer: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((&answer["reason"], &answer["hosts"][0]["action"]), (&"exempted".into(), &"deliver".into()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_message_is_held_only_if_none_of_its_hosts_may_be_used() {
    let stage = Stage::new();
    let (answer, status) = asked(&stage, "good.test", &["mx.evil.test", "mx.good.test"]);
    assert_eq!((&answer["is_held"], status), (&false.into(), Some(0)));
    assert_eq!(answer["hosts"].as_array().unwrap().len(), 2);
    let (answer, status) = asked(&stage, "good.test", &["mx.evil.test", "mx2.evil.test"]);
    assert_eq!((&answer["is_held"], status), (&true.into(), Some(5)));
    let output = stage.run(&["lookup", "testing.test", "good.test", "--mx", "mx.evil.test", "--mx", "mx2.evil.test"]);
    assert_eq!(output.status.code(), Some(5), "one of the domains is enough");
    assert!(
        text(&output.stdout)
            .ends_with("each of the hosts asked about is refused; a message stays in the queue and is tried again\n")
    );
    let unknown = ["lookup", "--set", "on_dns_error=defer", "servfail.test", "--mx", "mx.servfail.test"];
    let output = stage.run(&unknown);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stdout).contains("mx.servfail.test: wait, and try later\n"), "{output:?}");
    assert!(text(&output.stdout).contains("change   an answer from DNS about _mta-sts.servfail.test\n"), "{output:?}");
}

#[test]
fn as_before_a_delivery_a_policy_that_lists_none_of_the_hosts_is_fetched_anew() {
    let stage = Stage::new();
    stage.run(&["lookup", "good.test"]);
    let past = "UPDATE domain SET fetched_at = fetched_at - 1000, expires_at = expires_at - 1000";
    let cache = rusqlite::Connection::open(&stage.cache).unwrap();
    cache.execute(past, []).unwrap();
    drop(cache);
    // The same id, another policy: only a fetch can tell.
    stage.world.publish("good.test", "a1", policy_body("enforce", &["mx.new.test"], 604_800));
    let output = stage.run(&["lookup", "--explain", "--json", "--mx", "mx.new.test", "good.test"]);
    let answer: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((&answer["reason"], &answer["hosts"][0]["action"]), (&"healed".into(), &"require-tls".into()));
    assert!(answer["story"]["https"].as_str().unwrap().contains("mode enforce"), "{answer}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_pinned_policy_and_an_observed_one_say_what_they_are() {
    let stage = Stage::new();
    let pinned = "domain.\"pinned.test\"={ mode = \"enforce\", mx = [\"mx.pinned.test\"] }";
    let output = stage.run(&["lookup", "--set", pinned, "pinned.test", "--mx", "mx.evil.test"]);
    let human = text(&output.stdout);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        human.contains("  change   mx.evil.test in the mx of [domain.\"pinned.test\"] in the configuration"),
        "{human}"
    );
    assert!(!human.contains("\n  here "), "{human}");
    let output = stage.run(&["lookup", "--set", "observe=true", "good.test", "--mx", "mx.evil.test"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("which is enforced but only observed"), "{output:?}");
}

#[test]
fn explain_says_how_to_set_an_enforced_policy_aside() {
    let stage = Stage::new();
    let here = |domain: &str| {
        let human = text(&stage.run(&["lookup", "--explain", domain]).stdout);
        human.lines().find_map(|line| line.strip_prefix("  here     ").map(str::to_owned))
    };
    assert!(here("good.test").unwrap().contains("[domain.\"good.test\"] with mode = \"none\", until and why"));
    assert_eq!(here("testing.test"), None);
}

#[test]
fn a_host_that_is_no_name_harms_no_terminal() {
    let stage = Stage::new();
    let output = stage.run(&["lookup", "good.test", "--mx", "mx\u{1b}[2J\n.test"]);
    let human = text(&output.stdout);
    assert!(!human.contains('\u{1b}') && human.contains("mx\\u{1b}[2J\\n.test: do not deliver\n"), "{human:?}");
}
