//! A host that runs as root, as Exim does where it routes: another user answers, from a forked child.
//!
//! These tests need root, as their host does.

use crate::harness::{Host, MAIL};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

const ROOT: &str = "tests/c/root.c";

/// A host whose cache directory belongs to the mail user; none, told aloud, without root.
fn host() -> Option<Host> {
    let host = Host::new();
    if fs::metadata(host.path("cache")).unwrap().uid() != 0 {
        println!("SKIPPED: not root");
        assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "skipped, and MTASTS_NO_SKIP=1 forbids that");
        return None;
    }
    host.gives_the_cache_away();
    Some(host)
}

fn configure(host: &Host, lines: &str) {
    let configuration = fs::read_to_string(host.configuration()).unwrap();
    fs::write(host.configuration(), format!("{configuration}{lines}\n")).unwrap();
}

/// Name, owner, group and mode of what lies in the cache directory.
fn files(host: &Host) -> Vec<(String, u32, u32, u32)> {
    let mut files: Vec<_> = fs::read_dir(host.path("cache"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let facts = entry.metadata().unwrap();
            (entry.file_name().into_string().unwrap(), facts.uid(), facts.gid(), facts.mode() & 0o7777)
        })
        .collect();
    files.sort();
    files
}

fn txt_queries(host: &Host) -> usize {
    host.world.dns_log().iter().filter(|line| line.contains("_mta-sts.good.test")).count()
}

// Conformance: S10-5.
#[test]
fn two_hundred_recipients_at_one_domain_make_one_child_that_owns_its_files() {
    let Some(host) = host() else { return };
    host.passes(&[], ROOT, "two-hundred-recipients-are-answered", &[]);
    // The refusal at the end is a question of its own, and heals.
    assert!((1..=3).contains(&txt_queries(&host)), "{:?}", host.world.dns_log());
    let files = files(&host);
    assert!(files.iter().any(|(name, ..)| name == "cache.db"), "{files:?}");
    for (name, user, group, mode) in files {
        assert_eq!((user, group, mode), (MAIL, MAIL, 0o640), "{name}");
    }
}

#[test]
fn what_one_child_has_stored_the_next_one_finds() {
    let Some(host) = host() else { return };
    host.passes(&[], ROOT, "a-policy-is-answered-with", &["mx.good.test"]);
    host.world.dns_off(true);
    host.world.https_off(true);
    host.passes(&[], ROOT, "a-policy-is-answered-with", &["mx.good.test"]);
}

#[test]
fn without_a_directory_of_the_mail_user_the_answer_comes_from_memory_alone() {
    for spoil in [
        |host: &Host| fs::remove_dir(host.path("cache")).unwrap(),
        |host: &Host| chown(host.path("cache"), Some(0), Some(0)).unwrap(),
        |host: &Host| fs::set_permissions(host.path("cache"), fs::Permissions::from_mode(0o777)).unwrap(),
        |host: &Host| configure(host, "user = \"nobody\""),
        |host: &Host| configure(host, "user = \"no-such-user\"\non_config_error = \"proceed\""),
    ] {
        let Some(host) = host() else { return };
        spoil(&host);
        host.passes(&[], ROOT, "a-policy-is-answered-with", &["mx.good.test"]);
    }
}

#[test]
fn the_configured_user_stands_before_the_owner_of_the_directory() {
    let Some(host) = host() else { return };
    configure(&host, "user = \"55555\"");
    fs::set_permissions(host.path("cache"), fs::Permissions::from_mode(0o770)).unwrap();
    // The group of a number without a name is nobody's, so that it is the directory's group that lets it in.
    chown(host.path("cache"), Some(MAIL), Some(65_534)).unwrap();
    host.passes(&[], ROOT, "a-policy-is-answered-with", &["mx.good.test"]);
    let files = files(&host);
    assert!(!files.is_empty() && files.iter().all(|(_, user, ..)| *user == 55_555), "{files:?}");
}

#[test]
fn a_host_that_reaps_every_child_is_answered() {
    let Some(host) = host() else { return };
    host.passes(&[], ROOT, "a-host-that-reaps-every-child-is-answered", &[]);
}

#[test]
fn a_child_that_hangs_is_ended_in_time() {
    let Some(host) = host() else { return };
    configure(&host, "deadline_seconds = 2");
    host.passes(&[], ROOT, "a-child-that-hangs-is-ended-in-time", &[]);
}

#[test]
fn a_child_ends_with_its_host() {
    let Some(host) = host() else { return };
    host.passes(&[], ROOT, "a-child-ends-with-its-host", &[]);
}

#[test]
fn threads_are_answered_side_by_side() {
    let Some(host) = host() else { return };
    host.passes(&[], ROOT, "threads-are-answered-side-by-side", &[]);
}

#[test]
fn a_host_with_few_descriptors_keeps_its_files() {
    let Some(host) = host() else { return };
    host.passes(&[], ROOT, "a-host-with-few-descriptors-keeps-its-files", &[]);
}

#[test]
fn a_directory_that_a_third_user_can_exchange_decides_nothing() {
    let Some(host) = host() else { return };
    // One link leads from a third user's directory to a service's, one directory of a third user lies in a service's.
    let (home, service) = (host.path("home"), host.path("service"));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&service).unwrap();
    chown(&home, Some(55_555), None).unwrap();
    chown(&service, Some(MAIL), Some(MAIL)).unwrap();
    std::os::unix::fs::symlink(&service, home.join("cache")).unwrap();
    fs::create_dir(service.join("below")).unwrap();
    chown(service.join("below"), Some(55_555), None).unwrap();
    let configuration = fs::read_to_string(host.configuration()).unwrap();
    let usual = host.path("cache/cache.db").display().to_string();
    for cache in [home.join("cache/cache.db"), service.join("below/cache.db")] {
        fs::write(host.configuration(), configuration.replace(&usual, &cache.display().to_string())).unwrap();
        host.passes(&[], ROOT, "a-policy-is-answered-with", &["mx.good.test"]);
        assert!(!cache.exists(), "{}", cache.display());
    }
}
