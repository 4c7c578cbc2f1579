//! Started by root, the command is somebody else before it opens the cache. These tests need root, as does their subject.

use super::*;
use mtasts_world::{MAIL, is_mail_for_good};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// A stage whose cache belongs to the mail user; none, told aloud, without root.
fn stage() -> Option<Stage> {
    let stage = Stage::new();
    if fs::metadata(stage.world.directory()).unwrap().uid() != 0 {
        println!("SKIPPED: not root");
        assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "skipped, and MTASTS_NO_SKIP=1 forbids that");
        return None;
    }
    Some(stage)
}

fn directory(stage: &Stage) -> &Path {
    stage.cache.parent().unwrap()
}

/// Name and owner of each file in the cache directory.
fn owners(stage: &Stage) -> Vec<(String, u32, u32)> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let facts = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), facts.uid(), facts.gid())
    };
    let mut owners: Vec<_> = fs::read_dir(directory(stage)).unwrap().map(entry).collect();
    owners.sort();
    owners
}

/// Looks a domain up, which must be answered, and returns what was said on standard error.
fn look_up(stage: &Stage, domain: &str, more: &[&str]) -> String {
    let output = stage.run(&[&["lookup", domain], more].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).starts_with(&format!("{domain}: ")), "{output:?}");
    text(&output.stderr)
}

#[test]
fn no_file_of_the_cache_is_roots_and_who_owns_the_cache_goes_on_with_it() {
    let Some(stage) = stage() else { return };
    assert_eq!(look_up(&stage, "good.test", &[]), "");
    assert_eq!(text(&stage.run(&["refresh"]).stdout), "0 refreshed, 0 failed\n");
    assert_eq!(look_up(&stage, "testing.test", &["--mx", "mx.testing.test", "--explain"]), "");
    let found = owners(&stage);
    for name in ["cache.db", "cache.lock"] {
        assert!(found.iter().any(|(found, ..)| found == name), "{name}: {found:?}");
    }
    assert!(found.iter().all(|(_, user, group)| (*user, *group) == (MAIL, MAIL)), "{found:?}");
}

#[test]
fn the_process_is_the_owner_for_good_and_in_no_other_group() {
    let Some(stage) = stage() else { return };
    stage.world.dns("_mta-sts.slow.test", Answer::Silent);
    let mut asker =
        stage.command(&["lookup", "slow.test"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", asker.id());
    let began = std::time::Instant::now();
    let is_asking = || stage.world.dns_log().iter().any(|line| line.contains("_mta-sts.slow.test"));
    while !is_asking() {
        assert!(began.elapsed().as_secs() < 30, "DNS is asked");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let status = fs::read_to_string(status).unwrap();
    assert!(is_mail_for_good(&status), "{status}");
    asker.kill().unwrap();
    asker.wait().unwrap();
}

#[test]
fn the_file_decides_before_the_configuration_and_that_before_the_directory() {
    let Some(stage) = stage() else { return };
    let user = ["--set", "user=55555"];
    // A directory that the configured user can write too.
    chown(directory(&stage), Some(MAIL), Some(65_534)).unwrap();
    fs::set_permissions(directory(&stage), Permissions::from_mode(0o770)).unwrap();
    assert_eq!(look_up(&stage, "good.test", &user), "");
    assert!(owners(&stage).iter().all(|(_, user, _)| *user == 55_555), "{:?}", owners(&stage));
    // Root has put a file of the mail user into a directory of root's; whoever is configured could not write it.
    let Some(stage) = self::stage() else { return };
    look_up(&stage, "good.test", &[]);
    chown(directory(&stage), Some(0), Some(0)).unwrap();
    fs::set_permissions(directory(&stage), Permissions::from_mode(0o755)).unwrap();
    stage.world.dns_off(true);
    assert_eq!(look_up(&stage, "good.test", &["--set", "user=55555"]), "", "it is in the cache");
    assert!(owners(&stage).iter().all(|(_, user, _)| *user == MAIL), "{:?}", owners(&stage));
}

#[test]
fn where_the_cache_is_roots_nobody_answers_without_it_and_says_so() {
    let Some(stage) = stage() else { return };
    chown(directory(&stage), Some(0), Some(0)).unwrap();
    let said = look_up(&stage, "good.test", &[]);
    let want = format!("works as nobody, not as root: the cache {} belongs to no other user\n", stage.cache.display());
    assert!(said.contains(&want), "{said}");
    assert!(
        said.contains("belongs to root and nobody cannot write there") && said.contains("install -d -m 0750 -o USER"),
        "{said}"
    );
    assert_eq!(owners(&stage), []);
    let output = stage.run(&["refresh"]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("install -d -m 0750"), "{output:?}");
    assert_eq!(owners(&stage), []);
    let gone = stage.cache.with_file_name("gone/cache.db");
    let said = look_up(&stage, "good.test", &["--set", &format!("cache={}", gone.display())]);
    assert!(said.contains("works as nobody"), "{said}");
}

#[test]
fn a_file_of_roots_is_left_alone() {
    let Some(stage) = stage() else { return };
    look_up(&stage, "good.test", &[]);
    chown(&stage.cache, Some(0), Some(0)).unwrap();
    fs::set_permissions(&stage.cache, Permissions::from_mode(0o640)).unwrap();
    let before = fs::read(&stage.cache).unwrap();
    let said = look_up(&stage, "testing.test", &[]);
    assert!(said.contains(&*stage.cache.to_string_lossy()), "{said}");
    assert_eq!(fs::read(&stage.cache).unwrap(), before);
}

#[test]
fn a_user_that_there_is_not_stops_the_command_and_names_the_key() {
    let Some(stage) = stage() else { return };
    let output = stage.run(&["lookup", "good.test", "--set", "user=no-such-user"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("key `user`: no-such-user is not in /etc/passwd, want a name from there or a number"),
        "{said}"
    );
    assert_eq!(owners(&stage), []);
}

#[test]
fn nobody_whom_a_third_user_can_put_there_is_chosen() {
    let Some(stage) = stage() else { return };
    // A directory of a third user in one of the mail user's, and a file that anybody could have put there.
    let below = directory(&stage).join("below");
    fs::create_dir(&below).unwrap();
    chown(&below, Some(55_555), None).unwrap();
    let said = look_up(&stage, "good.test", &["--set", &format!("cache={}/cache.db", below.display())]);
    assert!(said.contains("works as nobody"), "{said}");
    let open = stage.world.directory().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    fs::write(open.join("cache.db"), "").unwrap();
    chown(open.join("cache.db"), Some(55_555), None).unwrap();
    let said = look_up(&stage, "good.test", &["--set", &format!("cache={}/cache.db", open.display())]);
    assert!(said.contains("works as nobody"), "{said}");
    std::os::unix::fs::symlink("cache.db", open.join("link.db")).unwrap();
    let said = look_up(&stage, "good.test", &["--set", &format!("cache={}/link.db", open.display())]);
    assert!(said.contains("works as nobody"), "{said}");
}

#[test]
fn what_needs_no_cache_stays_as_it_is() {
    let Some(stage) = stage() else { return };
    let secret = stage.world.directory().join("mta-sts.txt");
    fs::write(&secret, policy_body("none", &[], 60)).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(stage.run(&["parse", secret.to_str().unwrap()]).status.code(), Some(0), "root reads its file");
    assert_eq!(stage.run(&["config", "--set", "user=no-such-user"]).status.code(), Some(0));
}

#[test]
fn a_policy_file_is_read_as_root_and_looked_at_as_nobody() {
    let Some(stage) = stage() else { return };
    let hosts: Vec<String> = (0..3_500).map(|n| format!("mx{n}.test")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let file = stage.world.directory().join("mta-sts.txt");
    fs::write(&file, policy_body("enforce", &hosts, 604_800)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    // What it shows is more than a pipe holds: it waits for its reader.
    let mut parser = stage.command(&["parse", file.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
    let began = std::time::Instant::now();
    let users = || {
        let status = fs::read_to_string(format!("/proc/{}/status", parser.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap().to_owned()
    };
    while users() != "65534\t65534\t65534\t65534" {
        assert!(began.elapsed().as_secs() < 30, "{}", users());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(parser.stdout.take());
    assert_eq!(parser.wait().unwrap().code(), Some(0));
}
