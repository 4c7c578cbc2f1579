//! Discovery against a network and a clock that the test holds in its hands.

mod effort;
mod time;
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
            assert_eq!(answer.source, Source::Cache, "{answer:?}");
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
        assert!(answer.text().contains("id a2"), "{}", answer.text());
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
    assert!(answer.text().contains("line 2"), "{}", answer.text());
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
