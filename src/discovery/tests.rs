//! Discovery against a network and a clock that the test holds in its hands.

mod turns;

use super::*;
use crate::cache::{Check, Known, Row, StoredPolicy, Whose};
use crate::config::Settings;
use crate::reason::{Reason, ResultType};
use crate::sys::log::Level;
use crate::time::UnixTime;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const START: i64 = 1_800_000_000;
const FAIR_TIME: Duration = Duration::from_secs(10);

/// A domain, its DNS and its policy host, a cache, a clock.
struct Scene {
    _directory: tempfile::TempDir,
    cache: Cache,
    now: Mutex<i64>,
    txt: Mutex<dns::Answer<Vec<u8>>>,
    bodies: Mutex<VecDeque<Result<String, Reason>>>,
    /// How far the clock steps during the next fetch.
    step: Mutex<i64>,
    calls: Mutex<Vec<&'static str>>,
    lines: Mutex<Vec<(Level, String)>>,
    overrides: Overrides,
    on_dns_error: OnTrouble,
    refreshes: bool,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { cache: directory.path().join("cache.db"), memory_entries: 0, ..Settings::default() };
        Self {
            cache: Cache::new(&settings),
            _directory: directory,
            now: Mutex::new(START),
            txt: Mutex::new(dns::Answer::Absent { ttl: None }),
            bodies: Mutex::default(),
            step: Mutex::default(),
            calls: Mutex::default(),
            lines: Mutex::default(),
            overrides: Overrides::new(),
            on_dns_error: OnTrouble::Proceed,
            refreshes: true,
        }
    }

    fn dns(&self, answer: &str) -> &Self {
        let found = |text: String| dns::Answer::Found { records: vec![text.into_bytes()], ttl: 60 };
        *self.txt.lock().unwrap() = match answer {
            "none" => dns::Answer::Absent { ttl: Some(60) },
            "servfail" => dns::Answer::Failed("DNS answers Server Failure".to_owned()),
            "invalid" => found("v=STSv1; id=_".to_owned()),
            id => found(format!("v=STSv1; id={id}")),
        };
        self
    }

    fn https(&self, mode: &str, max_age: u64) -> &Self {
        let mx = if mode == "none" { "" } else { "mx: mx.example.test\n" };
        let body = format!("version: STSv1\nmode: {mode}\n{mx}max_age: {max_age}\n");
        self.bodies.lock().unwrap().push_back(Ok(body));
        self
    }

    fn https_fails(&self, reason: Reason) -> &Self {
        self.bodies.lock().unwrap().push_back(Err(reason));
        self
    }

    fn after(&self, seconds: i64) -> &Self {
        *self.now.lock().unwrap() += seconds;
        self
    }

    fn ask_with(&self, effort: Effort) -> Answer {
        let domain = PolicyDomain::parse(b"example.test").unwrap();
        self.discovery().discover(&domain, effort, Deadline::after(Duration::from_secs(60)))
    }

    fn discovery(&self) -> Discovery<'_> {
        Discovery {
            cache: &self.cache,
            network: self,
            clock: self,
            log: self,
            overrides: &self.overrides,
            on_dns_error: self.on_dns_error,
            refreshes: self.refreshes,
            fair_time: FAIR_TIME,
            tells: false,
        }
    }

    fn ask(&self) -> Answer {
        self.ask_with(Effort::default())
    }

    /// Mode, source and reason of the next answer, and what it asked for.
    fn told(&self) -> (&'static str, Source, Reason, String) {
        let answer = self.ask();
        (answer.mode_str(), answer.source, answer.reason, self.calls())
    }

    fn calls(&self) -> String {
        self.calls.lock().unwrap().drain(..).collect::<Vec<_>>().join(" ")
    }
}

impl Scene {
    /// While one asker is on its way, whoever has a valid policy in the cache is answered at once.
    fn others_do_not_wait(&self) {
        let domain = PolicyDomain::parse(b"example.test").unwrap();
        let deadline = Deadline::after(Duration::from_secs(60));
        let row = self.cache.read(&domain, self.now(), deadline, self);
        if row
            .is_some_and(|known| known.row.policy.as_ref().is_some_and(|stored| stored.in_force(self.now()).is_some()))
        {
            let before = self.calls.lock().unwrap().len();
            let answer = self.discovery().discover(&domain, Effort::Usual, deadline);
            assert!(matches!(answer.reason, Reason::BeingChecked | Reason::Cached), "{answer:?}");
            assert_eq!(answer.source, Source::Cache);
            assert_eq!(self.calls.lock().unwrap().len(), before);
        }
    }
}

impl Network for Scene {
    fn txt(&self, name: &str, _: Deadline) -> dns::Answer<Vec<u8>> {
        assert_eq!(name, "_mta-sts.example.test");
        self.calls.lock().unwrap().push("txt");
        self.others_do_not_wait();
        self.txt.lock().unwrap().clone()
    }

    fn policy_body(&self, _: &PolicyDomain, _: Deadline) -> Result<Vec<u8>, FetchError> {
        self.calls.lock().unwrap().push("get");
        self.others_do_not_wait();
        *self.now.lock().unwrap() += std::mem::take(&mut *self.step.lock().unwrap());
        match self.bodies.lock().unwrap().pop_front() {
            Some(Ok(body)) => Ok(body.into_bytes()),
            Some(Err(reason)) => Err(FetchError { reason, text: "policy host: as the test wants".to_owned() }),
            None => panic!("the scene has no answer to this GET"),
        }
    }
}

impl Clock for Scene {
    fn now(&self) -> UnixTime {
        UnixTime(*self.now.lock().unwrap())
    }
}

impl Sink for Scene {
    fn line(&self, level: Level, line: &str) {
        self.lines.lock().unwrap().push((level, line.to_owned()));
    }
}

// Conformance: S5.1-2.
#[test]
fn a_policy_is_fetched_once_confirmed_by_dns_and_answers_between_without_a_call() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 86_400);
    assert_eq!(scene.told(), ("enforce", Source::Https, Reason::Fetched, "txt get".into()));
    assert_eq!(scene.after(59).told(), ("enforce", Source::Cache, Reason::Cached, String::new()));
    assert_eq!(scene.after(1).told(), ("enforce", Source::Cache, Reason::Confirmed, "txt".into()));
    assert_eq!(scene.after(59).told(), ("enforce", Source::Cache, Reason::Cached, String::new()));
}

// Conformance: S5.1-3.
#[test]
fn a_missing_broken_or_unreachable_record_leaves_the_cached_policy_in_force() {
    for (answer, reason, pause) in
        [("none", Reason::NoRecord, 60), ("invalid", Reason::MalformedRecord, 60), ("servfail", Reason::DnsFailed, 60)]
    {
        let scene = Scene::new();
        scene.dns("a1").https("enforce", 80_000).ask();
        scene.calls();
        scene.dns(answer);
        assert_eq!(scene.after(60).told(), ("enforce", Source::Cache, reason, "txt".into()), "{answer}");
        assert_eq!(scene.after(pause - 1).told(), ("enforce", Source::Cache, reason, String::new()), "{answer}");
        assert_eq!(scene.after(1).told().3, "txt", "{answer}");
    }
}

// Conformance: S5.1-1.
#[test]
fn a_policy_applies_in_the_second_of_its_max_age_and_not_in_the_next() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.dns("none");
    for _ in 0..8 {
        scene.https_fails(Reason::PolicyHostTimedOut); // the refreshes that fall due meanwhile
    }
    assert_eq!(scene.after(604_800).told().0, "enforce");
    assert_eq!(scene.after(1).told(), ("none", Source::None, Reason::NoRecord, "txt".into()));
}

// Conformance: S5.1-9.
#[test]
fn the_same_id_neither_prolongs_a_policy_nor_revives_an_expired_one() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 100).ask();
    let expires = scene.ask().policy.unwrap().expires_at;
    scene.https_fails(Reason::PolicyHostTimedOut);
    assert_eq!(scene.after(90).ask().policy.unwrap().expires_at, expires);
    scene.calls();
    scene.https("testing", 100);
    assert_eq!(scene.after(300).told(), ("testing", Source::Https, Reason::Fetched, "txt get".into()));
}

// Conformance: S5-3, S5.1-5.
#[test]
fn a_new_id_brings_the_new_policy_to_this_very_message_also_one_of_mode_none() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.dns("a2").https("none", 80_000);
    scene.calls();
    assert_eq!(scene.after(60).told(), ("none", Source::Https, Reason::Fetched, "txt get".into()));
    assert!(scene.ask().policy.is_some(), "mode none is a policy");
}

// Conformance: S3.3-8, S5.1-7.
#[test]
fn a_failing_fetch_of_a_new_id_keeps_the_old_policy_and_backs_off_for_that_id_only() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.dns("a2").https_fails(Reason::PolicyHostStatus);
    scene.calls();
    assert_eq!(scene.after(60).told(), ("enforce", Source::Cache, Reason::PolicyHostStatus, "txt get".into()));
    assert_eq!(&*scene.ask().policy.unwrap().id, "a1", "the new id is not taken as seen");
    assert_eq!(scene.after(60).told(), ("enforce", Source::Cache, Reason::BackingOff, "txt".into()));
    scene.dns("a3").https("testing", 80_000);
    assert_eq!(scene.after(60).told(), ("testing", Source::Https, Reason::Fetched, "txt get".into()));
}

#[test]
fn ids_that_change_all_the_time_cost_three_fetches_in_five_minutes() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.calls();
    for n in 0..5 {
        scene.dns(&format!("b{n}")).https_fails(Reason::PolicyHostStatus).after(60).ask();
    }
    assert_eq!(scene.calls().matches("get").count(), 3);
    scene.bodies.lock().unwrap().clear();
    scene.dns("b9").https("enforce", 80_000);
    assert_eq!(scene.after(120).told().2, Reason::Fetched, "the first failure is five minutes old");
}

#[test]
fn a_failure_of_our_own_keeps_nobody_from_fetching() {
    let scene = Scene::new();
    scene.dns("a1").https_fails(Reason::NoTrustedRoots).ask();
    scene.https("enforce", 80_000).calls();
    assert_eq!(scene.told(), ("enforce", Source::Https, Reason::Fetched, "txt get".into()));
}

#[test]
fn a_fetch_that_is_not_repeated_is_reported_as_the_one_that_failed() {
    let scene = Scene::new();
    scene.dns("a1").https_fails(Reason::PolicyHostCertificateExpired).ask();
    let answer = scene.ask();
    assert_eq!((answer.reason, answer.result_type()), (Reason::BackingOff, ResultType::StsWebpkiInvalid));
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.dns("a2").https_fails(Reason::PolicyHostStatus).after(60).ask();
    for pause in [60, 1] {
        let answer = scene.after(pause).ask();
        assert_eq!((answer.reason, answer.result_type()), (Reason::BackingOff, ResultType::StsPolicyFetchError));
        assert!(answer.text.contains("id a2"), "{}", answer.text);
    }
}

#[test]
fn without_a_cached_policy_a_failed_fetch_is_repeated_after_five_minutes() {
    let scene = Scene::new();
    scene.dns("a1").https_fails(Reason::PolicyHostCertificateExpired);
    assert_eq!(scene.told(), ("none", Source::None, Reason::PolicyHostCertificateExpired, "txt get".into()));
    assert_eq!(scene.after(299).told(), ("none", Source::None, Reason::BackingOff, "txt".into()));
    scene.https("enforce", 80_000);
    assert_eq!(scene.after(1).told(), ("enforce", Source::Https, Reason::Fetched, "txt get".into()));
}

// Conformance: S10-7.
#[test]
fn no_record_is_remembered_for_one_to_five_minutes_whatever_the_soa_says() {
    for (ttl, seconds) in [(Some(0), 60), (None, 60), (Some(200), 200), (Some(604_800), 300)] {
        let scene = Scene::new();
        *scene.txt.lock().unwrap() = dns::Answer::Absent { ttl };
        assert_eq!(scene.told(), ("none", Source::None, Reason::NoRecord, "txt".into()));
        assert_eq!(scene.after(seconds - 1).told().3, "", "{ttl:?}");
        assert_eq!(scene.after(1).told().3, "txt", "{ttl:?}");
    }
}

// Conformance: S3.1-12.
#[test]
fn dns_trouble_with_nothing_cached_is_never_remembered_and_says_what_the_administrator_wants() {
    let mut scene = Scene::new();
    scene.dns("servfail");
    assert_eq!(scene.told(), ("none", Source::None, Reason::DnsFailed, "txt".into()));
    assert_eq!(scene.told().3, "txt");
    scene.on_dns_error = OnTrouble::Defer;
    assert_eq!(scene.told(), ("unknown", Source::None, Reason::DnsFailed, "txt".into()));
}

// Conformance: S3.3-13.
#[test]
fn an_attacker_who_drops_the_record_does_not_age_a_policy_out() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.dns("none");
    for day in 1..30 {
        scene.calls();
        scene.https("enforce", 604_800);
        assert_eq!(scene.after(86_400).told(), ("enforce", Source::Https, Reason::Fetched, "txt get".into()), "{day}");
    }
    scene.dns("servfail").https("testing", 604_800);
    assert_eq!(scene.after(86_400).told().0, "testing");
}

#[test]
fn a_refresh_that_fails_leaves_the_policy_and_is_tried_again_five_minutes_later() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.calls();
    scene.https_fails(Reason::PolicyHostUnreachable);
    assert_eq!(scene.after(86_400).told(), ("enforce", Source::Cache, Reason::PolicyHostUnreachable, "txt get".into()));
    assert_eq!(scene.told().3, "", "one message a minute pays");
    assert_eq!(scene.after(60).told().3, "txt");
    scene.https("enforce", 604_800);
    assert_eq!(scene.after(240).told().2, Reason::Fetched);
}

#[test]
fn max_age_zero_applies_to_the_message_that_fetched_it() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 0);
    assert_eq!(scene.told(), ("enforce", Source::Https, Reason::Fetched, "txt get".into()));
    scene.https("enforce", 0);
    assert_eq!(scene.after(1).told(), ("enforce", Source::Https, Reason::Fetched, "txt get".into()));
}

// Conformance: S5.1-7.
#[test]
fn a_malformed_body_is_a_failed_fetch_that_names_the_line() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.dns("a2").bodies.lock().unwrap().push_back(Ok("version: STSv1\nmode: Enforce\n".to_owned()));
    let answer = scene.after(60).ask();
    assert_eq!((answer.mode_str(), answer.reason), ("enforce", Reason::PolicyInvalid));
    assert!(answer.text.contains("line 2"), "{}", answer.text);
    let lines = scene.lines.lock().unwrap();
    assert!(lines.iter().any(|(level, line)| *level == Level::Notice && line.contains("line 2")), "{lines:?}");
}

// Conformance: S6-2.
#[test]
fn a_failed_fetch_under_mode_none_is_nobodys_concern() {
    let scene = Scene::new();
    scene.dns("a1").https("none", 80_000).ask();
    scene.dns("a2").https_fails(Reason::PolicyHostStatus);
    let answer = scene.after(60).ask();
    assert_eq!((answer.reason, answer.result_type()), (Reason::PolicyHostStatus, ResultType::None));
    assert!(scene.lines.lock().unwrap().is_empty());
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

// Conformance: S10.3-2.
#[test]
fn what_the_configuration_says_of_a_domain_comes_first_until_it_ends() {
    let mut scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.calls();
    let mut settings = Settings::default();
    settings.set("domain.example.test", "{ mode = \"none\", until = 2027-01-15, why = \"broken\" }").unwrap();
    scene.overrides = (*settings.domains).clone();
    let end = UnixTime::from_utc(2027, 1, 15, 23, 59, 59).unwrap().0;
    *scene.now.lock().unwrap() = end;
    assert_eq!(scene.told(), ("none", Source::None, Reason::Exempted, String::new()));
    scene.https("enforce", 604_800).after(1);
    assert_eq!(scene.told().0, "enforce");
    let lines = std::mem::take(&mut *scene.lines.lock().unwrap());
    let is_logged = |(level, line): &(Level, String)| {
        *level == Level::Warning && line.contains("example.test") && line.contains("broken") && line.contains("ignored")
    };
    assert!(lines.iter().any(is_logged), "{lines:?}");

    settings.set("domain.example.test", "{ mode = \"enforce\", mx = [\"mx.pinned.test\"] }").unwrap();
    scene.overrides = (*settings.domains).clone();
    let answer = scene.ask();
    assert_eq!((answer.mode_str(), answer.source, answer.reason), ("enforce", Source::Configuration, Reason::Pinned));
    assert!(answer.refuses_all(&[b"mx.example.test"]) && !answer.refuses_all(&[b"mx.pinned.test"]));
}

#[test]
fn the_story_tells_each_part_in_its_place() {
    let scene = Scene::new();
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let tell = || {
        let discovery = Discovery { tells: true, ..scene.discovery() };
        *discovery.discover(&domain, Effort::Usual, Deadline::after(Duration::from_secs(60))).story.unwrap()
    };
    let parts = |story: Story, parts: [&str; 4]| {
        let told = [&story.cached, &story.dns, &story.https, &story.change];
        for (told, part) in told.into_iter().zip(parts) {
            assert!(told.contains(part), "{part}: {story:?}");
        }
    };
    scene.dns("a1").https("enforce", 604_800);
    parts(tell(), ["nothing", "id a1", "mode enforce for 7 days", "a new id at _mta-sts.example.test"]);
    parts(tell(), ["id a1, fetched 0 seconds ago", "nothing is due", "nothing is due", "due in"]);
    scene.dns("a2").https_fails(Reason::PolicyHostStatus).after(60);
    parts(tell(), ["in force until", "id a2", "as the test wants", "a new id"]);
    scene.after(60);
    parts(tell(), ["id a2 has failed (policy-host-status)", "id a2", "has failed", "looked at again in 1 minute"]);
    let scene = Scene::new();
    let discovery = Discovery { tells: true, ..scene.discovery() };
    let answer = discovery.discover(&domain, Effort::Usual, Deadline::after(Duration::from_secs(60)));
    parts(*answer.story.unwrap(), ["nothing", "no TXT record", "not asked", "one well-formed STS record"]);
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

/// Policy expired, TXT dropped by the attacker: is it told?
#[test]
fn the_end_of_an_enforced_policy_is_told_once() {
    let scene = Scene { refreshes: false, ..Scene::new() };
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.dns("none").after(604_801).ask();
    let lines = scene.lines.lock().unwrap();
    assert!(!lines.is_empty(), "no line says that the policy has expired and mail goes as if there were none");
}

/// The rows of the vectors: one lookup with a cache state, a TXT result and an HTTPS result.
// Conformance: S3.3-11, S6-2.
#[test]
fn every_flow_vector_holds() {
    let text = include_str!("../../tests/vectors/vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let rows = vectors["flows"].as_array().unwrap();
    assert!(rows.len() >= 13);
    for row in rows {
        let name = row["name"].as_str().unwrap();
        // A refresh that falls due is not part of the rows.
        let scene = Scene { refreshes: false, ..Scene::new() };
        if let Some(cached) = row["cached"].as_object() {
            let (mode, max_age) = (cached["mode"].as_str().unwrap(), cached["max_age"].as_u64().unwrap());
            scene.dns(cached["id"].as_str().unwrap()).https(mode, max_age).ask();
            let age = cached["age"].as_i64().unwrap();
            scene.after(age);
        }
        scene.dns(row["txt"].as_str().unwrap());
        match row["fetch"].as_str() {
            None => {}
            Some("http-404" | "http-500") => _ = scene.https_fails(Reason::PolicyHostStatus),
            Some("tls-untrusted") => _ = scene.https_fails(Reason::PolicyHostCertificateNotTrusted),
            Some("timeout") => _ = scene.https_fails(Reason::PolicyHostTimedOut),
            Some(good) => _ = scene.https(good.strip_prefix("ok:").unwrap(), 86_400),
        }
        scene.calls();
        let answer = scene.ask();
        let source = match row["expect_policy"].as_str().unwrap() {
            "cached" => Source::Cache,
            "new" => Source::Https,
            _ => Source::None,
        };
        assert_eq!(answer.source, source, "{name}");
        assert_eq!(scene.calls().contains("get"), row["expect_fetch"].as_bool().unwrap(), "{name}");
        let report = match row["expect_report"].as_str() {
            None => ResultType::None,
            Some("sts-policy-fetch-error") => ResultType::StsPolicyFetchError,
            Some("sts-webpki-invalid") => ResultType::StsWebpkiInvalid,
            Some(other) => panic!("{name}: {other}"),
        };
        assert_eq!(answer.result_type(), report, "{name}");
    }
}
