//! A cache on a disk that is full or read-only, on real file systems: needs root and mount namespaces.

use mtasts_world::{World, policy_body};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

/// Says why when the test cannot run; with `MTASTS_NO_SKIP=1` that is a failure.
fn can_run() -> bool {
    let is_allowed = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !is_allowed {
        println!("SKIPPED: mount namespaces need root");
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "skipped, and that is forbidden");
    }
    is_allowed
}

fn mtasts(world: &World, cache: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    vec![
        env!("CARGO_BIN_EXE_mtasts").to_owned(),
        "lookup".to_owned(),
        "--json".to_owned(),
        format!("--cache={}", path(cache)),
        format!("--ca-file={}", path(world.ca_file())),
        format!("--nameserver={}", world.dns_addr()),
        format!("--https-port={}", world.https_addr().port()),
        "--set=allow_private_addresses=true".to_owned(),
    ]
}

// Conformance: S10-8.
#[test]
fn a_full_or_read_only_disk_gives_the_cached_policy_and_takes_no_answer_away() {
    if !can_run() {
        return;
    }
    let world = World::start();
    let place = |name: &str| {
        let path = world.directory().join(name);
        std::fs::DirBuilder::new().mode(0o750).create(&path).unwrap();
        path
    };
    let (seed, disk) = (place("seed").join("cache.db"), place("disk"));
    world.publish("cached.test", "a1", policy_body("enforce", &["mx.cached.test"], 604_800));
    world.publish("new.test", "a1", policy_body("enforce", &["mx.new.test"], 604_800));
    let words = mtasts(&world, &seed);
    assert!(Command::new(&words[0]).args(&words[1..]).arg("cached.test").output().unwrap().status.success());
    world.remove("_mta-sts.cached.test");

    let script = r#"
        set -eu
        mount -t tmpfs -o size=128k,mode=0750 none "$disk"
        cp "$seed" "$disk/cache.db"
        cat /dev/zero >"$disk/filler" 2>/dev/null || true
        "$@" cached.test new.test
        mount -o remount,ro "$disk"
        "$@" cached.test new.test
    "#;
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args(mtasts(&world, &disk.join("cache.db")))
        .env("disk", &disk)
        .env("seed", &seed)
        .output()
        .unwrap();
    let (answers, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{log}");
    let rows: Vec<serde_json::Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4, "{answers}");
    for row in &rows {
        assert_eq!(row["mode"], "enforce", "{row}");
        let source = if row["domain"] == "cached.test" { "cache" } else { "https" };
        assert_eq!(row["source"], source, "{row}");
    }
    assert!(log.contains("database or disk is full"), "{log}");
    assert!(log.contains("readonly database"), "{log}");
}
