//! What one host exports and another one imports.

use super::*;
use mtasts_world::World;

#[test]
fn a_new_host_starts_with_the_memory_of_an_old_one() {
    let world = World::start();
    let policies = [("enforce.test", "enforce"), ("testing.test", "testing"), ("none.test", "none")];
    for (name, mode) in policies {
        world.publish(name, "a1", policy_body(mode, if mode == "none" { &[] } else { &["mx.good.test"] }, 604_800));
    }
    world.publish("broken.test", "a1", "version: STSv1\nmode: Enforce\n");
    let known = ["enforce.test", "testing.test", "none.test", "absent.test"];
    let lookup = |host: &Host, more: &[&str]| {
        let config = world.directory().join("mtasts.toml");
        std::fs::write(&config, "allow_private_addresses = true\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
        command.arg("lookup").arg("--json").args(known);
        command.args(more).env_remove("MTASTS_CONFIG").arg("--config").arg(config);
        command.arg("--cache").arg(host.cache()).arg("--ca-file").arg(world.ca_file());
        command.args(["--nameserver", &world.dns_addr().to_string()]);
        command.args(["--https-port", &world.https_addr().port().to_string()]);
        Done::of(command.output().unwrap()).json()
    };
    std::fs::set_permissions(world.directory(), PermissionsExt::from_mode(0o711)).unwrap();
    let (old, new) = (Host::new(), Host::new());
    let learnt = lookup(&old, &["broken.test"]);
    world.dns_off(true);
    world.https_off(true);

    let exported = old.run(&["export"]);
    assert_eq!((exported.status, exported.json().len()), (0, 5), "{}", exported.err);
    let imported = new.feed(&["import"], exported.out.as_bytes());
    assert_eq!(imported.out, "5 row(s) imported, 0 stay as they are, 0 refused\n", "{}", imported.err);
    assert_eq!(new.run(&["export"]).out, exported.out, "nothing is lost or changed");

    for (before, after) in learnt.iter().zip(lookup(&new, &[])) {
        for field in ["domain", "mode", "mx", "max_age", "id", "fetched_at", "expires_at"] {
            assert_eq!(before[field], after[field], "{field} of {after}");
        }
        let source = if after["domain"] == "absent.test" { "none" } else { "cache" };
        assert_eq!(after["source"], source, "{after}");
    }
    assert_eq!(lookup(&new, &["--cache-only"])[0]["mode"], "enforce");

    let again = new.feed(&["import"], exported.out.as_bytes());
    assert_eq!(again.out, "0 row(s) imported, 5 stay as they are, 0 refused\n");
}

#[test]
fn an_export_to_a_file_appears_as_a_whole_and_is_its_owner_s_alone() {
    let host = Host::new().with(&five());
    let file = host.path("policies.jsonl");
    std::fs::write(&file, "old").unwrap();
    let before = std::fs::metadata(&file).unwrap().ino();
    let name = file.to_str().unwrap();
    let done = host.run(&["export", name]);
    assert_eq!((done.status, &*done.out, &*done.err), (0, "", ""));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), host.run(&["export", "-"]).out);
    let found = std::fs::metadata(&file).unwrap();
    assert!(found.ino() != before && found.permissions().mode() & 0o777 == 0o600);
    assert_eq!(drafts(&host.directory), 0);

    let link = host.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(host.run(&["export", link.to_str().unwrap()]).status, 0);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink(), "a link leads to the file, and stays");

    // Where root calls, the file is the caller's alone, and what is made belongs to the owner of the cache.
    let other = Host::new();
    let own = other.base.path().join("own.jsonl");
    std::fs::copy(&file, &own).unwrap();
    assert_eq!(other.run(&["import", own.to_str().unwrap()]).out, "5 row(s) imported, 0 stay as they are, 0 refused\n");
    let owner = std::fs::metadata(&other.directory).unwrap().uid();
    assert_eq!((std::fs::metadata(other.cache()).unwrap().uid(), found.uid()), (owner, owner));

    assert_eq!(other.run(&["import", name]).out, "0 row(s) imported, 5 stay as they are, 0 refused\n");
    let done = host.run(&["export", "/nonexistent/x"]);
    assert!(done.status == 2 && done.err.contains("/nonexistent/x"), "{done:?}");
    assert_eq!(host.run(&["export", "/dev/null"]).status, 0, "a device is written to, not replaced");
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

fn drafts(directory: &Path) -> usize {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains("draft")).count()
}

#[test]
fn a_body_of_any_bytes_is_carried_over_and_shown_without_what_acts_on_a_terminal() {
    let host = Host::new();
    let mut hostile = line("hostile.test", "enforce", 60);
    let body = hostile["policy"]["body"].as_str().unwrap().to_owned() + "note: a\u{9b}31m\u{202e}b \"\\\r\n";
    hostile["policy"]["body"] = json!(body);
    let mut bytes = line("bytes.test", "none", 60);
    let hex: String =
        b"version: STSv1\nmode: none\nmax_age: 604800\nmx: \xff\n".iter().map(|byte| format!("{byte:02x}")).collect();
    bytes["policy"].as_object_mut().unwrap().remove("body");
    bytes["policy"]["body_hex"] = json!(hex);
    let host = host.with(&[hostile, bytes]);
    let exported = host.run(&["export"]);
    assert_eq!(exported.json()[0]["policy"]["body_hex"], hex);
    assert_eq!(exported.json()[1]["policy"]["body"], body);
    for arguments in [&["export"][..], &["list", "--json"], &["show", "--json", "hostile.test"]] {
        let out = host.run(arguments).out;
        assert!(out.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{out}");
    }
    let shown = host.run(&["show", "hostile.test", "bytes.test"]).out;
    assert!(!shown.contains(['\u{9b}', '\u{202e}', '\r', '\u{1b}']), "{shown:?}");
    assert!(shown.contains("  | note: a\\u{9b}31m\\u{202e}b \"\\\n"), "{shown}");
}

#[test]
fn an_import_reports_each_bad_line_and_takes_the_good_ones() {
    let change = |path: &str, value: Value| {
        let mut row = line("bad.test", "enforce", 60);
        *row.pointer_mut(path).unwrap() = value;
        row.to_string()
    };
    let extended = |place: &str, field: &str| {
        let mut row = line("bad.test", "enforce", 60);
        row.pointer_mut(place).unwrap()[field] = json!(1);
        row.to_string()
    };
    let without = |field: &str| {
        let mut row = line("bad.test", "enforce", 60);
        row.as_object_mut().unwrap().remove(field);
        row.to_string()
    };
    let body = |text: &str| change("/policy/body", json!(text));
    let later = now() + 3_600;
    let cases: Vec<(String, &str)> = vec![
        ("nonsense".into(), "not JSON"),
        ("[1]".into(), "want a JSON object"),
        ("[".repeat(100_000), "not JSON"),
        ("\u{1b}[31m".into(), "not JSON"),
        (change("/version", json!(2)), "version is 2, want 1"),
        (change("/version", json!("1")), "version: want a whole number"),
        (without("version"), "version is missing"),
        (without("policy"), "policy is missing"),
        (without("refresh_at"), "refresh_at is missing"),
        (extended("", "extra\u{1b}"), "extra\\u{1b} is not a field"),
        (extended("/policy", "mode"), "policy.mode is not a field"),
        (extended("/check", "x"), "check.x is not a field"),
        (change("/domain", json!("a\u{1b}b")), "domain `a\\u{1b}b`: the name has"),
        (change("/domain", json!("192.0.2.1")), "an IP address"),
        (change("/domain", json!("a.".repeat(200))), "domain"),
        (change("/domain", json!(7)), "domain: want a text"),
        (change("/policy", json!([])), "policy: want an object"),
        (change("/policy/id", json!("a b")), "bad.test: id `a b`, want at most 32"),
        (change("/policy/id", json!("a".repeat(33))), "want at most 32"),
        (change("/policy/fetched_at", json!(later)), "which lies in the future"),
        (change("/policy/fetched_at", json!(-1)), "fetched_at is -1"),
        (change("/policy/fetched_at", json!(1.5)), "policy.fetched_at: want a whole number"),
        (change("/policy/expires_at", json!(later + 30 * DAY)), "expires_at"),
        (body("version: STSv1\nmode: enforce\nmax_age: 60\n"), "policy.body: there is no `mx` line"),
        (body("version: STSv1\nmode: \u{1b}\n"), "policy.body: line 2: mode `\\x1b`"),
        (body(&format!("{}x: {}\n", policy_body("none", &[], 60), "y".repeat(65_536))), "want at most 65536"),
        (change("/check/at", json!(later)), "check.at"),
        (change("/check/until", json!(later + DAY)), "check.until"),
        (change("/check/reason", json!("mood\u{1b}")), "check.reason: `mood\\u{1b}` is no reason"),
        (change("/refresh_at", json!(later + DAY)), "refresh_at"),
        (change("/failures", json!({})), "failures: want an array"),
        (change("/failures", json!(vec![json!({ "id": "a", "at": 1, "reason": "policy-invalid" }); 9])), "9 failures"),
        (change("/failures", json!([{ "id": "a", "at": later, "reason": "policy-invalid" }])), "failure's at"),
        (change("/failures", json!([{ "id": "a", "at": 1 }])), "failures.reason is missing"),
        (" ".repeat(600 * 1024) + &line("long.test", "enforce", 60).to_string(), "has more than 524288 bytes"),
    ];
    let mut text = Vec::new();
    for (number, (bad, _)) in cases.iter().enumerate() {
        text.extend(format!("{bad}\n{}\n", line(&format!("good{number}.test"), "enforce", 60)).into_bytes());
    }
    // What is no text at all, an empty line, and a last line without an end.
    text.extend(b"\xff\xfe\0\n\r\n");
    text.extend(line("last.test", "enforce", 60).to_string().into_bytes());

    let host = Host::new();
    let dry = host.feed(&["import", "--dry-run"], &text);
    assert!(dry.out.contains("row(s) would be imported") && !host.cache().exists(), "{}", dry.out);
    let done = host.feed(&["import"], &text);
    let (good, bad) = (cases.len() + 1, cases.len() + 1);
    assert_eq!(
        (done.status, done.out),
        (1, format!("{good} row(s) imported, 0 stay as they are, {bad} refused\n")),
        "{}",
        done.err
    );
    assert_eq!(done.err, dry.err);
    let reported: HashMap<usize, &str> = done
        .err
        .lines()
        .map(|line| {
            let (number, problem) = line.strip_prefix("mtasts: line ").unwrap().split_once(": ").unwrap();
            (number.parse().unwrap(), problem)
        })
        .collect();
    for (at, (_, want)) in cases.iter().enumerate() {
        let problem = reported[&(at * 2 + 1)];
        assert!(problem.contains(want), "{want}: {problem}");
    }
    assert!(reported.len() == bad && !done.err.contains(|c: char| c.is_control() && c != '\n'));
    let names = host.run(&["list"]);
    assert!(names.names().len() == good && !names.out.contains("bad.test") && names.out.contains("last.test"));
}

#[test]
fn an_import_has_its_status_though_nobody_reads_the_counts() {
    let host = Host::new();
    let mut command = host.command(&["import"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"{}\n").unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert!(done.status == 1 && done.err.contains("line 1: "), "{done:?}");
}

#[test]
fn an_import_says_when_a_stricter_policy_stays() {
    let host = Host::new().with(&[line("a.test", "enforce", 600), line("b.test", "enforce", 600)]);
    let done = host.feed(&["import"], &jsonl(&[line("a.test", "none", 60), line("b.test", "enforce", 60)]));
    assert_eq!((done.status, &*done.out), (0, "1 row(s) imported, 1 stay as they are, 0 refused\n"));
    assert!(
        done.err.starts_with("mtasts: line 1: a.test stays as it is: ") && done.err.lines().count() == 1,
        "{}",
        done.err
    );
    assert_eq!(host.run(&["list", "--mode", "enforce"]).names(), ["a.test", "b.test"]);
}
