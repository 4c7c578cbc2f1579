//! Clocks that are wrong, ends of policies, and how loud trouble is.

use super::*;

// Conformance: S10-4.
#[test]
fn a_clock_that_is_set_back_keeps_the_policy_and_trusts_no_check() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.calls();
    scene.https_fails(Reason::PolicyHostStatus);
    assert_eq!(scene.after(-31_536_000).told(), ("enforce", Source::Cache, Reason::PolicyHostStatus, "txt get".into()));
    scene.https("enforce", 80_000);
    assert_eq!(scene.after(300).told(), ("enforce", Source::Https, Reason::Fetched, "txt get".into()));
    scene.dns("none").https_fails(Reason::PolicyHostStatus);
    assert_eq!(scene.after(80_001).told().0, "none", "its life now ends when it should");
}

// Conformance: S10-4.
#[test]
fn a_policy_from_the_future_lives_for_max_age_from_when_that_was_seen_and_by_its_fetch_when_the_clock_is_right() {
    const YEAR: i64 = 31_536_000;
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.dns("none");
    let fail = || {
        scene.bodies.lock().unwrap().clear();
        (0..3).for_each(|_| _ = scene.https_fails(Reason::PolicyHostStatus));
    };
    fail();
    assert_eq!(scene.after(-YEAR).told().0, "enforce");
    fail();
    assert_eq!(scene.after(604_800).told().0, "enforce", "kept");
    assert_eq!(scene.after(1).told().0, "none", "not for ever");
    fail();
    assert_eq!(scene.after(YEAR - 604_801 + 100).told().0, "enforce", "not lost");
    fail();
    assert_eq!(scene.after(604_700).told().0, "enforce", "to its own end");
    fail();
    assert_eq!(scene.after(1).told().0, "none");
}

#[test]
fn a_small_step_back_is_followed_by_one_refresh_and_not_by_one_with_each_message() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.https_fails(Reason::PolicyHostStatus).after(-3_600).calls();
    assert_eq!(scene.told().3, "txt get");
    assert_eq!(scene.told().3, "");
    scene.https("enforce", 604_800);
    assert_eq!(scene.after(300).told().2, Reason::Fetched);
}

// Conformance: S10-4.
#[test]
fn a_step_of_the_clock_amid_a_fetch_leaves_what_was_learnt_and_blocks_nothing() {
    for step in [-31_536_000, 31_536_000] {
        let scene = Scene::new();
        *scene.step.lock().unwrap() = step;
        scene.dns("a1").https("enforce", 604_800);
        assert_eq!(scene.told().0, "enforce");
        assert_eq!(scene.told(), ("enforce", Source::Cache, Reason::Cached, String::new()), "{step}");
        *scene.step.lock().unwrap() = step;
        scene.dns("a2").https_fails(Reason::PolicyHostStatus).after(60);
        assert_eq!(scene.told().2, Reason::PolicyHostStatus);
        scene.https("testing", 604_800);
        let mode = scene.after(360).told().0;
        assert_eq!(mode, "testing", "{step}");
    }
}

/// A clock that was wrong for a moment: the policy is in force again, but no pass finds it.
#[test]
fn a_policy_whose_life_a_wrong_clock_shortened_is_still_due() {
    const YEAR: i64 = 31_536_000;
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.https_fails(Reason::PolicyHostStatus).after(-YEAR).ask();
    scene.after(YEAR + 2 * 86_400);
    let deadline = Deadline::after(Duration::from_secs(5));
    assert_eq!(scene.ask_with(Effort::CacheOnly).mode_str(), "enforce");
    let due = scene.cache.due(scene.now(), due_before(scene.now()), deadline, &scene).unwrap();
    assert_eq!(due, [PolicyDomain::parse(b"example.test").unwrap()]);
}

/// ... and it goes first when the cache is full.
#[test]
fn a_policy_whose_life_a_wrong_clock_shortened_is_not_pushed_out() {
    const YEAR: i64 = 31_536_000;
    let scene = Scene::new();
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        cache: directory.path().join("cache.db"),
        memory_entries: 0,
        cache_entries: 4,
        ..Settings::default()
    };
    let scene = Scene { cache: Cache::new(&settings), ..scene };
    scene.dns("a1").https("enforce", 31_000_000).ask();
    scene.https_fails(Reason::PolicyHostStatus).after(-2 * YEAR).ask();
    scene.after(2 * YEAR + 60);
    assert_eq!(scene.ask_with(Effort::CacheOnly).mode_str(), "enforce");
    for n in 0..4 {
        let domain = PolicyDomain::parse(format!("made-up-{n}.test").as_bytes()).unwrap();
        let body = b"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 31557600\n";
        let stored = crate::cache::StoredPolicy::new("x", body, scene.now()).unwrap();
        let check = Check { at: scene.now(), until: scene.now().plus(60), reason: Reason::Fetched };
        let row = Row { policy: Some(Arc::new(stored)), check, refresh_at: scene.now().plus(80_000), failures: vec![] };
        scene.cache.store_policy(&domain, Arc::new(row), scene.now(), Deadline::after(Duration::from_secs(5)), &scene);
    }
    let answer = scene.ask_with(Effort::CacheOnly);
    assert_eq!(answer.mode_str(), "enforce", "{answer:?}");
}

// Conformance: S10.2-2, S3.3-14.
#[test]
fn a_failing_fetch_is_logged_the_louder_the_nearer_the_end_is() {
    for (mode, want) in [
        ("enforce", [Some(Level::Notice), Some(Level::Warning), Some(Level::Error), Some(Level::Error)]),
        ("testing", [Some(Level::Notice), Some(Level::Warning), Some(Level::Error), Some(Level::Notice)]),
        ("none", [None; 4]),
    ] {
        let scene = Scene::new();
        scene.dns("a1").https(mode, 800_000).ask();
        let loudness = [399_000_i64, 401_000, 701_000, 800_001].map(|age| {
            *scene.now.lock().unwrap() = START + age;
            scene.lines.lock().unwrap().clear();
            scene.bodies.lock().unwrap().clear();
            scene.https_fails(Reason::PolicyHostStatus).ask();
            scene.lines.lock().unwrap().iter().map(|(level, _)| *level).min()
        });
        assert_eq!(loudness, want, "{mode}");
    }
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 800_000).ask();
    scene.https_fails(Reason::PolicyHostStatus).after(800_000 + 8 * 86_400).ask();
    assert_eq!(scene.lines.lock().unwrap()[0].0, Level::Notice, "old news");
}

/// Policy expired, TXT dropped by the attacker: is it told?
#[test]
fn the_end_of_an_enforced_policy_is_told_once() {
    let scene = Scene { refreshes: false, ..Scene::new() };
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.dns("none").after(604_801).ask();
    let lines = scene.lines.lock().unwrap();
    assert!(!lines.is_empty(), "no line says that the policy has expired and mail goes as if there were none");
}

/// Mail every five seconds, DNS fails, HTTPS is fine.
#[test]
fn a_policy_of_half_a_minute_is_kept_alive_under_failing_dns() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 30).ask();
    scene.dns("servfail");
    for _ in 0..60 {
        scene.bodies.lock().unwrap().clear();
        scene.https("enforce", 30);
        assert_eq!(scene.after(5).ask().mode_str(), "enforce");
    }
}
