//! How far a question goes: the cache alone, healing, a refresh now, and callers with little time.

use super::*;

/// Counts, and fails each fetch with what a dead host gives; DNS shows another id at each query if `changes`.
struct Counting {
    txt: Mutex<usize>,
    get: Mutex<usize>,
    changes: bool,
}

impl Network for Counting {
    fn txt(&self, _: &str, _: Deadline) -> dns::Answer<Vec<u8>> {
        let mut count = self.txt.lock().unwrap();
        *count += 1;
        let n = if self.changes { *count } else { 0 };
        dns::Answer::Found { records: vec![format!("v=STSv1; id=b{n}").into_bytes()], ttl: 60 }
    }
    fn policy_body(&self, _: &PolicyDomain, _: Deadline) -> Result<Vec<u8>, FetchError> {
        *self.get.lock().unwrap() += 1;
        Err(FetchError { reason: Reason::PolicyHostTimedOut, text: "no answer in time".to_owned() })
    }
}

/// Before an enforced policy refuses every host of a message it is fetched anew, at most every five minutes.
// Conformance: S5-4.
#[test]
fn healing_fetches_even_if_the_id_is_unchanged_and_at_most_every_five_minutes() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.calls();
    assert_eq!(scene.after(299).ask_with(Effort::Heal).reason, Reason::FetchedRecently);
    assert_eq!(scene.calls(), "");
    scene.https("testing", 80_000);
    let healed = scene.after(1).ask_with(Effort::Heal);
    assert_eq!((healed.mode_str(), healed.source, healed.reason), ("testing", Source::Https, Reason::Healed));
    assert_eq!(scene.calls(), "txt get");
    scene.https_fails(Reason::PolicyHostStatus);
    let failed = scene.after(300).ask_with(Effort::Heal);
    assert_eq!((failed.mode_str(), failed.reason), ("testing", Reason::PolicyHostStatus));
    scene.calls();
    assert_eq!(scene.after(299).ask_with(Effort::Heal).reason, Reason::BackingOff);
    assert_eq!(scene.calls(), "");
    scene.dns("none").https("none", 80_000);
    assert_eq!(scene.after(1).ask_with(Effort::Heal).mode_str(), "none", "whatever DNS says");
}

#[test]
fn healing_that_had_too_little_time_is_not_repeated_with_each_message_and_delays_no_refresh() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let hasty = || scene.discovery().discover(&domain, Effort::Heal, Deadline::after(Duration::from_secs(1)));
    scene.https_fails(Reason::PolicyHostTimedOut).after(400);
    assert_eq!(hasty().reason, Reason::PolicyHostTimedOut);
    scene.calls();
    assert_eq!((hasty().reason, scene.calls()), (Reason::BackingOff, String::new()));
    scene.dns("a2").https("testing", 604_800).after(60);
    assert_eq!(scene.told().0, "testing", "the host is not blamed");
}

/// Healing: with a new id in DNS each message asks TXT (b0), and with changing ids three fetch back to back.
#[test]
fn healing_is_tried_once_in_five_minutes_whatever_ids_dns_shows() {
    let mut got = Vec::new();
    for changes in [false, true] {
        let scene = Scene::new();
        scene.dns("a1").https("enforce", 604_800).ask();
        scene.after(7_200);
        let network = Counting { txt: Mutex::default(), get: Mutex::default(), changes };
        let discovery = Discovery { network: &network, ..scene.discovery() };
        for _ in 0..10 {
            discovery.discover(
                &PolicyDomain::parse(b"example.test").unwrap(),
                Effort::Heal,
                Deadline::after(Duration::from_secs(60)),
            );
        }
        got.push((*network.txt.lock().unwrap(), *network.get.lock().unwrap()));
    }
    assert_eq!(got, [(1, 1), (1, 1)], "(TXT, GET) of ten messages in the same second");
}

// Conformance: S5.1-2.
// Conformance: S10.3-2.
#[test]
fn cache_only_asks_nobody_and_refresh_asks_everybody() {
    let scene = Scene::new();
    let cache_only = Effort::CacheOnly;
    let refresh = Effort::Refresh;
    assert_eq!(scene.ask_with(cache_only).reason, Reason::NotCached);
    assert_eq!(scene.calls(), "");
    scene.dns("a1").https_fails(Reason::PolicyHostStatus).ask();
    scene.https("enforce", 80_000);
    assert_eq!(scene.ask_with(refresh).mode_str(), "enforce", "a person who asks now is not held back");
    scene.https("testing", 80_000).calls();
    assert_eq!(scene.ask_with(refresh).mode_str(), "testing", "the id is the same, the policy is not");
    assert_eq!(scene.calls(), "txt get");
    assert_eq!(scene.after(1000).ask_with(cache_only).mode_str(), "testing");
    assert_eq!(scene.calls(), "");
}

#[test]
fn a_caller_with_little_time_leaves_the_refresh_to_others() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let known = scene.cache.read(&domain, scene.now(), Deadline::after(Duration::from_secs(5)), &scene).unwrap();
    scene.dns("none").after(known.row.refresh_at.0 - START);
    let hasty = || scene.discovery().discover(&domain, Effort::default(), Deadline::after(Duration::from_secs(1)));
    scene.calls();
    assert_eq!((hasty().mode_str(), scene.calls()), ("enforce", "txt".to_owned()));
    scene.https("enforce", 604_800);
    assert_eq!(scene.told().2, Reason::Fetched, "whoever has the time does it, and no hasty one is in the way");
    scene.https_fails(Reason::PolicyHostTimedOut).after(86_400 + 3_600).calls();
    assert_eq!((hasty().mode_str(), scene.calls()), ("enforce", "txt get".to_owned()), "if nobody else has");
}

// Conformance: S10.2-1.
#[test]
fn callers_with_little_time_alone_still_refresh_a_short_policy_before_it_ends() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 3_600).ask();
    scene.dns("none");
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    for _ in 0..200 {
        scene.bodies.lock().unwrap().clear();
        scene.https("enforce", 3_600).after(61);
        let hasty = Deadline::after(Duration::from_secs(1));
        assert_eq!(scene.discovery().discover(&domain, Effort::default(), hasty).mode_str(), "enforce");
    }
}

/// Hasty callers under a due refresh pay with each message.
#[test]
fn hasty_callers_pay_once_a_minute() {
    for outcome in [Reason::PolicyHostTimedOut, Reason::PolicyHostStatus] {
        let scene = Scene::new();
        scene.dns("a1").https("enforce", 604_800).ask();
        scene.dns("servfail").after(86_400 + 3_600).calls();
        let hasty = || {
            scene.discovery().discover(
                &PolicyDomain::parse(b"example.test").unwrap(),
                Effort::Usual,
                Deadline::after(Duration::from_secs(1)),
            )
        };
        let mut paid = Vec::new();
        for _ in 0..10 {
            scene.https_fails(outcome);
            assert_eq!(hasty().mode_str(), "enforce");
            paid.push(scene.calls());
        }
        assert_eq!(paid.iter().filter(|calls| !calls.is_empty()).count(), 1, "{outcome:?}: {paid:?}");
    }
}

/// `refresh = false`, steady mail, SERVFAIL for TXT, HTTPS fine, a pass each hour.
#[test]
fn a_pass_refreshes_whatever_mail_finds_in_dns_meanwhile() {
    let mut scene = Scene::new();
    scene.refreshes = false;
    scene.dns("a1").https("enforce", 172_800).ask();
    for _ in 0..200 {
        scene.https("enforce", 172_800);
    }
    scene.dns("servfail");
    scene.calls();
    let mut gets = 0;
    let mut last = String::new();
    for second in (0..190_000).step_by(20) {
        scene.after(20);
        last = scene.ask().mode_str().to_owned();
        if second % 3_600 == 0 {
            scene.after(5);
            let pass = Discovery { refreshes: true, ..scene.discovery() };
            pass.discover(
                &PolicyDomain::parse(b"example.test").unwrap(),
                Effort::Usual,
                Deadline::after(Duration::from_secs(45)),
            );
            scene.after(-5);
        }
        gets += scene.calls().matches("get").count();
    }
    assert!(gets > 0 && last == "enforce", "gets {gets}, last {last}");
}

/// A dead domain, asked by a caller whose DNS takes half of its time: does a try leave a trace for the next pass?
#[test]
fn a_try_that_dns_has_slowed_leaves_a_trace_for_the_next_pass() {
    struct Dead;
    impl Network for Dead {
        fn txt(&self, _: &str, deadline: Deadline) -> dns::Answer<Vec<u8>> {
            std::thread::sleep(deadline.remaining());
            dns::Answer::Failed("silence".to_owned())
        }
        fn policy_body(&self, _: &PolicyDomain, deadline: Deadline) -> Result<Vec<u8>, FetchError> {
            std::thread::sleep(deadline.remaining());
            Err(FetchError { reason: Reason::PolicyHostTimedOut, text: "silence".to_owned() })
        }
    }
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.after(86_400);
    let discovery = Discovery { network: &Dead, fair_time: Duration::from_millis(500), ..scene.discovery() };
    discovery.discover(
        &PolicyDomain::parse(b"example.test").unwrap(),
        Effort::Usual,
        Deadline::after(Duration::from_secs(1)),
    );
    let known = scene
        .cache
        .read(
            &PolicyDomain::parse(b"example.test").unwrap(),
            scene.now(),
            Deadline::after(Duration::from_secs(5)),
            &scene,
        )
        .unwrap();
    assert!(known.row.refresh_at > scene.now() || !known.row.failures.is_empty(), "{:?}", known.row.check);
}

#[test]
fn what_is_remembered_is_told_without_a_call_until_something_is_due() {
    let scene = Scene::new();
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let recalled = |time| {
        let answer = scene.discovery().recall(&domain, Deadline::after(time));
        let told = answer.map(|answer| (answer.mode_str(), answer.source, answer.reason));
        assert_eq!(scene.calls(), "");
        told
    };
    let long = Duration::from_secs(60);
    assert_eq!(recalled(long), None, "nothing is known");
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.calls();
    let cached = Some(("enforce", Source::Cache, Reason::Cached));
    assert_eq!((recalled(long), recalled(Duration::ZERO)), (cached, cached));
    scene.after(60);
    assert_eq!(recalled(long), None, "a look at the record is due");
    scene.dns("servfail").ask();
    scene.calls();
    assert_eq!(recalled(long), Some(("enforce", Source::Cache, Reason::DnsFailed)));

    // A refresh is due also for who has no time for it himself.
    scene.dns("a1").after(2 * 86_400).https_fails(Reason::PolicyHostStatus).ask();
    scene.https("enforce", 604_800).after(301).ask();
    scene.calls();
    assert_eq!(recalled(long), cached);
    scene.after(59).dns("a1");
    let row = scene.cache.read(&domain, scene.now(), Deadline::after(long), &scene).unwrap();
    scene.after(row.row.refresh_at.0 - scene.now().0 - 1).ask();
    scene.calls();
    assert_eq!(recalled(Duration::from_secs(1)).map(|told| told.0), Some("enforce"), "confirmed a moment ago");
    scene.after(1);
    assert_eq!((recalled(Duration::from_secs(1)), recalled(long)), (None, None), "a refresh is due");

    scene.dns("none").after(604_801).https_fails(Reason::PolicyHostStatus).ask();
    scene.calls();
    assert_eq!(recalled(long).map(|told| told.0), Some("none"), "an expired policy is not recalled");
}
