//! What is cached outlives processes, dropped records and failing fetches (RFC 8461 sections 3.3, 5.1 and 10.2).

use crate::stage::*;
use mtasts::context::Context;
use mtasts::discovery::{Effort, Source};
use mtasts::reason::{Reason, ResultType};
use mtasts::syntax::Mode;
use mtasts_world::{Answer, Certificate, Record, Response, Site, policy_body};
use std::thread;
use std::time::{Duration, Instant};

fn id_of(answer: &mtasts::discovery::Answer) -> &str {
    answer.policy.as_ref().map_or("", |stored| &stored.id)
}

/// The policy host answers so from now on.
fn respond(stage: &Stage, domain: &str, response: Response) {
    stage.world.site(&format!("mta-sts.{domain}"), Site::new(Certificate::Good, response));
}

fn set_id(stage: &Stage, domain: &str, id: &str) {
    stage.world.txt(&format!("_mta-sts.{domain}"), &format!("v=STSv1; id={id};"));
}

// Conformance: S3.2-14.
#[test]
fn a_second_context_answers_from_the_same_file_with_the_network_off() {
    let stage = Stage::new();
    stage.publish("good.test");
    let first = stage.context();
    POLICY.check("first", &ask(&first, "good.test"));
    stage.network_off(true);
    stage.world.clear_logs();
    let beside = ask(&stage.context(), "good.test");
    kept(Reason::Cached, "mode enforce, id 1").check("beside the first", &beside);
    assert_eq!(beside.source, Source::Cache);
    drop(first);
    let after = stage.context().query(b"good.test", CACHE_ONLY, None);
    kept(Reason::Cached, "").check("after the first", &after);
    assert_eq!(&*after.policy.unwrap().body, enforce("good.test").as_bytes(), "the body is kept as served");
    assert!(stage.world.dns_log().is_empty());
}

// Conformance: S3.3-12, S5.1-3, S5.1-7, S8.3-1.
#[test]
fn a_cached_policy_outlives_trouble_of_every_kind() {
    use Reason::*;
    let stage = Stage::new();
    let clock = SetClock::new();
    type Break = fn(&Stage, &str);
    let rows: Vec<(&str, Break, Want)> = vec![
        ("nothing changed", |_, _| (), kept(Confirmed, "")),
        (
            "the record is gone",
            |stage, domain| stage.world.remove(&format!("_mta-sts.{domain}")),
            kept(NoRecord, "no TXT record"),
        ),
        (
            "the record is gone and so is the host",
            |stage, domain| {
                stage.world.remove(&format!("_mta-sts.{domain}"));
                stage.world.remove(&format!("mta-sts.{domain}"));
            },
            kept(NoRecord, "no TXT record"),
        ),
        (
            "the record is malformed",
            |stage, domain| stage.world.txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=;"),
            kept(MalformedRecord, ""),
        ),
        (
            "there are two records",
            |stage, domain| {
                let records = ["v=STSv1; id=1;", "v=STSv1; id=2;"].map(Record::txt).to_vec();
                stage.world.dns(&format!("_mta-sts.{domain}"), Answer::records(records));
            },
            kept(SeveralRecords, ""),
        ),
        (
            "DNS fails",
            |stage, domain| stage.world.dns(&format!("_mta-sts.{domain}"), Answer::ServFail),
            kept(DnsFailed, "Server Failure"),
        ),
        (
            "a new id, and status 500",
            |stage, domain| {
                set_id(stage, domain, "2");
                respond(stage, domain, Response::with_status(500, &[], b""));
            },
            kept(PolicyHostStatus, "status 500"),
        ),
        (
            "a new id, and a malformed policy",
            |stage, domain| {
                set_id(stage, domain, "2");
                respond(stage, domain, Response::Policy(policy_body("enforced", &["mx.test"], DAY).into()));
            },
            kept(PolicyInvalid, "malformed"),
        ),
        (
            "a new id, and a policy that is too large",
            |stage, domain| {
                set_id(stage, domain, "2");
                let extension = format!("x: {}\r\n", "v".repeat(70_000));
                respond(stage, domain, Response::Policy((policy_body("none", &[], DAY) + &extension).into()));
            },
            kept(PolicyTooLarge, "more than 65536 bytes"),
        ),
        (
            "a new id, and a policy of mode none under another certificate",
            |stage, domain| {
                set_id(stage, domain, "2");
                let response = Response::Policy(policy_body("none", &[], DAY).into());
                stage.world.site(&format!("mta-sts.{domain}"), Site::new(Certificate::UnknownCa, response));
            },
            kept(PolicyHostCertificateNotTrusted, ""),
        ),
        (
            "a new id, and the host has no address",
            |stage, domain| {
                set_id(stage, domain, "2");
                stage.world.remove(&format!("mta-sts.{domain}"));
            },
            kept(PolicyHostNotFound, ""),
        ),
        (
            "a new id, and a policy that is cut",
            |stage, domain| {
                set_id(stage, domain, "2");
                let body = policy_body("none", &[], DAY);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
                respond(stage, domain, Response::RawThenCut([head, &body].concat().into()));
            },
            kept(PolicyHostIncompleteBody, ""),
        ),
    ];
    let context = stage.context_at(&clock);
    play(&rows, |number, _| {
        let domain = format!("scene-{number}.test");
        stage.publish(&domain);
        POLICY.faults("before", &ask(&context, &domain))
    });
    // Past the TTL, and well before a refresh is due.
    clock.advance(3_600);
    let restarted = stage.context_at(&clock);
    play(&rows, |number, (scene, break_it, want)| {
        let domain = format!("scene-{number}.test");
        break_it(&stage, &domain);
        let answer = ask(&restarted, &domain);
        let mut faults = want.faults(scene, &answer);
        if answer.source != Source::Cache || id_of(&answer) != "1" {
            faults.push(format!("{scene}: {:?} id {}", answer.source, id_of(&answer)));
        }
        faults
    });
}

// Conformance: S3.3-14, S6-2.
#[test]
fn a_failing_refresh_is_told_to_the_administrator_unless_the_mode_is_none() {
    for (mode, is_told) in [("enforce", true), ("testing", true), ("none", false)] {
        let (stage, clock) = (Stage::new(), SetClock::new());
        stage.world.publish("good.test", "1", policy_body(mode, &["mx.good.test"], 30 * DAY));
        ask(&stage.context_at(&clock), "good.test");
        respond(&stage, "good.test", Response::with_status(503, &[], b""));
        clock.advance(2 * 86_400);
        let context = stage.context_at(&clock);
        let log = log_of(&context);
        let answer = ask(&context, "good.test");
        assert_eq!((answer.mode().as_str(), answer.reason), (mode, Reason::PolicyHostStatus), "{mode}");
        let has_line = log.lock().unwrap().iter().any(|line| line.contains("good.test") && line.contains("503"));
        assert_eq!(has_line, is_told, "{mode}");
        assert_eq!(answer.result_type() == ResultType::StsPolicyFetchError, is_told, "{mode}");
    }
}

// Conformance: S3.1-7, S5.1-5, S10.3-1.
#[test]
fn a_fetched_policy_replaces_the_cached_one() {
    let rows = [("none", Mode::None), ("testing", Mode::Testing), ("enforce", Mode::Enforce)];
    for (word, mode) in rows {
        let (stage, clock) = (Stage::new(), SetClock::new());
        stage.publish("good.test");
        POLICY.check("before", &ask(&stage.context_at(&clock), "good.test"));
        // Ids have no order: what looks older is new all the same.
        stage.world.publish("good.test", "0", policy_body(word, &["mx2.good.test"], DAY));
        clock.advance(3_600);
        let answer = ask(&stage.context_at(&clock), "good.test");
        assert_eq!((answer.mode(), answer.reason, id_of(&answer)), (mode, Reason::Fetched, "0"), "{}", answer.text());
        stage.network_off(true);
        let answer = ask(&stage.context_at(&clock), "good.test");
        assert_eq!((answer.mode(), answer.reason, id_of(&answer)), (mode, Reason::Cached, "0"), "{}", answer.text());
    }
}

// Conformance: S3.1-7.
#[test]
fn an_id_that_differs_in_case_is_a_new_one() {
    let (stage, clock) = (Stage::new(), SetClock::new());
    stage.world.publish("good.test", "a", enforce("good.test"));
    ask(&stage.context_at(&clock), "good.test");
    set_id(&stage, "good.test", "A");
    clock.advance(3_600);
    let answer = ask(&stage.context_at(&clock), "good.test");
    assert_eq!((answer.reason, id_of(&answer)), (Reason::Fetched, "A"));
}

// Conformance: S3.2-12, S5.1-1.
#[test]
fn a_policy_ends_with_its_max_age_and_not_before() {
    let (stage, clock) = (Stage::new(), SetClock::new());
    stage.world.publish("short.test", "1", policy_body("enforce", &["mx.short.test"], 7_200));
    POLICY.check("new", &ask(&stage.context_at(&clock), "short.test"));
    stage.world.remove("_mta-sts.short.test");
    stage.world.https_off(true);
    clock.advance(7_200);
    assert_eq!(ask(&stage.context_at(&clock), "short.test").mode(), Mode::Enforce, "in its last second");
    clock.advance(1);
    nothing(Reason::NoRecord, "").check("expired", &ask(&stage.context_at(&clock), "short.test"));
    let answer = stage.context_at(&clock).query(b"short.test", CACHE_ONLY, None);
    nothing(Reason::NoRecord, "").check("expired, from the cache only", &answer);
    clock.advance(3_600);
    let answer = stage.context_at(&clock).query(b"short.test", CACHE_ONLY, None);
    nothing(Reason::NotCached, "").check("long expired, from the cache only", &answer);
}

#[test]
fn a_max_age_of_0_holds_for_the_message_that_fetched_it() {
    let (stage, clock) = (Stage::new(), SetClock::new());
    stage.world.publish("brief.test", "1", policy_body("enforce", &["mx.brief.test"], 0));
    let context = stage.context_at(&clock);
    POLICY.check("fetched", &ask(&context, "brief.test"));
    clock.advance(1);
    POLICY.check("fetched again", &ask(&context, "brief.test"));
    assert_eq!(stage.requests("brief.test").len(), 2);
}

// Conformance: S3.3-13, S10.2-1.
#[test]
fn a_refresh_comes_daily_whatever_dns_says_and_begins_a_new_life() {
    let (stage, clock) = (Stage::new(), SetClock::new());
    stage.publish("good.test");
    POLICY.check("new", &ask(&stage.context_at(&clock), "good.test"));
    stage.world.remove("_mta-sts.good.test");
    clock.advance(86_400);
    let answer = ask(&stage.context_at(&clock), "good.test");
    POLICY.check("a day later, without record", &answer);
    assert_eq!(stage.requests("good.test").len(), 2);
    assert_eq!(answer.policy.unwrap().fetched_at, mtasts::time::Clock::now(&clock));
}

// Conformance: S5.1-8.
#[test]
fn a_policy_that_changes_between_record_and_fetch_is_fetched_again_when_its_id_shows() {
    let (stage, clock) = (Stage::new(), SetClock::new());
    stage.publish("good.test");
    POLICY.check("before", &ask(&stage.context_at(&clock), "good.test"));
    // The publisher changes the policy first: whoever saw id 2 gets the body that will be announced as id 3.
    set_id(&stage, "good.test", "2");
    respond(&stage, "good.test", Response::Policy(policy_body("testing", &["mx3.good.test"], 7 * DAY).into()));
    clock.advance(3_600);
    let answer = ask(&stage.context_at(&clock), "good.test");
    assert_eq!((answer.mode(), id_of(&answer)), (Mode::Testing, "2"), "the id that was seen before the body");
    set_id(&stage, "good.test", "3");
    clock.advance(3_600);
    let answer = ask(&stage.context_at(&clock), "good.test");
    assert_eq!((answer.mode(), answer.reason, id_of(&answer)), (Mode::Testing, Reason::Fetched, "3"));
    assert_eq!(stage.requests("good.test").len(), 3);
}

// Conformance: S8.3-1.
#[test]
fn a_policy_of_mode_none_is_kept_until_its_own_max_age_ends_and_gone_afterwards() {
    let (stage, clock) = (Stage::new(), SetClock::new());
    stage.publish("good.test");
    POLICY.check("before", &ask(&stage.context_at(&clock), "good.test"));
    stage.world.publish("good.test", "2", policy_body("none", &[], 2 * 3_600));
    clock.advance(3_600);
    let answer = ask(&stage.context_at(&clock), "good.test");
    assert_eq!((answer.mode(), answer.reason, id_of(&answer)), (Mode::None, Reason::Fetched, "2"));
    // The domain takes back its record and its host: that it has opted out stays known, the older policy is forgotten.
    stage.world.remove("_mta-sts.good.test");
    stage.world.https_off(true);
    clock.advance(2 * 3_600);
    let answer = ask(&stage.context_at(&clock), "good.test");
    assert_eq!((answer.mode(), answer.source, id_of(&answer)), (Mode::None, Source::Cache, "2"), "in its last second");
    clock.advance(1);
    let answer = ask(&stage.context_at(&clock), "good.test");
    assert_eq!((answer.mode(), answer.source, id_of(&answer)), (Mode::None, Source::None, ""), "{}", answer.text());
    // Long after that its row gives way to the rows of others.
    clock.advance(8 * 86_400);
    stage.publish("other.test");
    stage.world.https_off(false);
    POLICY.check("another domain", &ask(&stage.context_at(&clock), "other.test"));
    let answer = stage.context_at(&clock).query(b"good.test", CACHE_ONLY, None);
    nothing(Reason::NotCached, "").check("long afterwards", &answer);
}

// Conformance: S3.3-7.
#[test]
fn what_http_says_of_caching_changes_nothing_of_the_life_of_a_policy() {
    let rows: &[&[&str]] = &[
        &["Cache-Control: no-store", "Expires: Thu, 01 Jan 1970 00:00:00 GMT", "Age: 31536000", "Pragma: no-cache"],
        &["Cache-Control: max-age=31536000, immutable", "Expires: Fri, 31 Dec 2199 00:00:00 GMT", "ETag: \"1\""],
    ];
    for headers in rows {
        let (stage, clock) = (Stage::new(), SetClock::new());
        stage.publish("good.test");
        let headers = [&["Content-Type: text/plain"], *headers].concat();
        respond(&stage, "good.test", Response::with_status(200, &headers, enforce("good.test").as_bytes()));
        let answer = ask(&stage.context_at(&clock), "good.test");
        POLICY.check(&format!("{headers:?}"), &answer);
        let stored = answer.policy.unwrap();
        assert_eq!(stored.expires_at.0 - stored.fetched_at.0, 7 * 86_400, "{headers:?}");
        // No stored answer of HTTP stands in for the policy of a new id.
        stage.world.publish("good.test", "2", policy_body("testing", &["mx.good.test"], DAY));
        clock.advance(3_600);
        let answer = ask(&stage.context_at(&clock), "good.test");
        assert_eq!((answer.mode(), id_of(&answer)), (Mode::Testing, "2"), "{headers:?}");
        assert_eq!(stage.requests("good.test").len(), 2, "{headers:?}");
    }
}

// Conformance: S3.3-8.
#[test]
fn a_failed_fetch_is_not_repeated_for_five_minutes_except_for_a_new_id() {
    let (stage, clock) = (Stage::new(), SetClock::new());
    stage.publish("bad.test");
    respond(&stage, "bad.test", Response::with_status(500, &[], b""));
    let ask = |effort: Effort| stage.context_at(&clock).query(b"bad.test", effort, None);
    let normal = Effort::default();
    nothing(Reason::PolicyHostStatus, "status 500").check("first", &ask(normal));
    clock.advance(299);
    nothing(Reason::BackingOff, "policy-host-status").check("too soon, after a restart", &ask(normal));
    assert_eq!(stage.requests("bad.test").len(), 1);
    nothing(Reason::PolicyHostStatus, "").check("a refresh that was asked for", &ask(REFRESH));
    assert_eq!(stage.requests("bad.test").len(), 2);
    set_id(&stage, "bad.test", "2");
    nothing(Reason::PolicyHostStatus, "").check("a new id", &ask(normal));
    assert_eq!(stage.requests("bad.test").len(), 3);
    clock.advance(301);
    stage.publish("bad.test");
    POLICY.check("five minutes later", &ask(normal));
}

/// One process asks all the time; what others do with the file is to be seen by it within five seconds.
#[test]
fn what_another_process_stores_or_purges_is_seen_within_five_seconds() {
    let stage = Stage::new();
    ["renewed.test", "purged.test", "other.test"].iter().for_each(|domain| stage.publish(domain));
    let (mine, other) = (stage.context(), stage.context());
    for domain in ["other.test", "purged.test", "renewed.test"] {
        POLICY.check(domain, &ask(&mine, domain));
    }
    let within_five_seconds = |is_seen: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !is_seen() && began.elapsed() < Duration::from_millis(5_500) {
            thread::sleep(Duration::from_millis(20));
        }
        is_seen()
    };
    let learnt = |domain: &str| id_of(&mine.query(domain.as_bytes(), Effort::CacheOnly, None)).to_owned();
    stage.world.publish("renewed.test", "2", enforce("renewed.test"));
    assert_eq!(id_of(&other.query(b"renewed.test", REFRESH, None)), "2");
    assert!(within_five_seconds(&|| learnt("renewed.test") == "2"));
    let file = rusqlite::Connection::open(&mine.settings().cache).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    file.execute("DELETE FROM domain WHERE name = 'purged.test'", []).unwrap();
    assert!(within_five_seconds(&|| learnt("purged.test").is_empty()));
    assert!(!learnt("other.test").is_empty());
}

#[test]
fn eight_threads_that_ask_at_once_all_get_the_policy() {
    let stage = Stage::new();
    let names: Vec<String> = (0..4).map(|number| format!("d{number}.test")).collect();
    names.iter().for_each(|name| stage.publish(name));
    let (shared, wants) = (stage.context(), |answer: &mtasts::discovery::Answer, name: &str| {
        let stored = answer.policy.as_ref().unwrap();
        let body = enforce(name);
        assert_eq!((answer.mode(), &*answer.domain, &*stored.body), (Mode::Enforce, name, body.as_bytes()));
    });
    thread::scope(|scope| {
        for number in 0..8 {
            let (shared, stage, names, wants) = (&shared, &stage, &names, &wants);
            scope.spawn(move || {
                let own = stage.context();
                for round in 0..8 {
                    let name = &names[(number + round) % names.len()];
                    wants(&ask(if number % 2 == 0 { shared } else { &own }, name), name);
                }
            });
        }
    });
    stage.network_off(true);
    names.iter().for_each(|name| wants(&ask(&stage.context(), name), name));
}

// Conformance: S3.3-13, S10.2-1.
#[test]
fn a_pass_keeps_policies_alive_for_weeks_without_mail_and_without_a_record() {
    let stage = Stage::new();
    let clock = SetClock::new();
    let domains: Vec<String> = (0..6).map(|number| format!("d{number}.test")).collect();
    for domain in &domains {
        stage.publish(domain);
        POLICY.check(domain, &ask(&stage.context_at(&clock), domain));
        stage.world.remove(&format!("_mta-sts.{domain}"));
    }
    let mut fetches = 0;
    for _ in 0..30 {
        clock.advance(i64::try_from(DAY).unwrap());
        let context = stage.context_at(&clock);
        let refreshed = context.refresh(4, None).unwrap();
        assert!(refreshed.done <= 4 && refreshed.failed == 0, "{refreshed:?}");
        fetches += refreshed.done;
    }
    assert!(fetches >= 6 * 15, "{fetches}");
    for domain in &domains {
        let answer = stage.context_at(&clock).query(domain.as_bytes(), CACHE_ONLY, None);
        assert_eq!(answer.mode(), Mode::Enforce, "{answer:?}");
    }
    assert_eq!(stage.context_at(&clock).refresh(1, Some(Duration::from_millis(1))).unwrap().done, 0, "a deadline");
}

#[test]
fn policies_that_cannot_be_fetched_are_no_reason_to_starve_the_others() {
    let stage = Stage::new();
    let clock = SetClock::new();
    for name in ["bad0.test", "bad1.test", "bad2.test", "good.test"] {
        clock.advance(60);
        stage.publish(name);
        POLICY.check(name, &ask(&stage.context_at(&clock), name));
    }
    (0..3).for_each(|number| stage.world.remove_site(&format!("mta-sts.bad{number}.test")));
    clock.advance(i64::try_from(DAY).unwrap());
    let passes = (0..4).map(|_| {
        clock.advance(3_600);
        stage.context_at(&clock).refresh(2, None).unwrap()
    });
    assert!(passes.map(|pass| pass.done).sum::<u32>() >= 1);
}

/// The policy is to be there when its exception ends, and nobody else shall wait for that.
#[test]
fn a_pass_fetches_past_exceptions() {
    let stage = Stage::new();
    let clock = SetClock::new();
    for domain in ["exempt.test", "pinned.test", "other.test"] {
        stage.publish(domain);
        POLICY.check(domain, &ask(&stage.context_at(&clock), domain));
        clock.advance(60);
    }
    let mut settings = stage.settings();
    settings.set("domain.exempt.test", "{ mode = \"none\", until = 2999-01-01, why = \"broken\" }").unwrap();
    settings.set("domain.pinned.test", "{ mode = \"enforce\", mx = [\"mx.pinned.test\"] }").unwrap();
    let context = Context::with_clock(settings, Box::new(clock.clone()));
    clock.advance(2 * i64::try_from(DAY).unwrap());
    let passes: Vec<u32> = (0..4).map(|_| context.refresh(1, None).unwrap()).map(|pass| pass.done).collect();
    assert_eq!(passes, [1, 1, 1, 0]);
    assert_eq!(ask(&context, "exempt.test").reason, Reason::Exempted);
}

/// One dead domain and one alive, in passes of four seconds.
#[test]
fn a_domain_that_swallows_every_packet_starves_no_pass() {
    let stage = Stage::new();
    let clock = SetClock::new();
    let context = stage.context_at(&clock);
    for domain in ["dead.test", "alive.test"] {
        stage.publish(domain);
        POLICY.check(domain, &ask(&context, domain));
        clock.advance(1);
    }
    stage.world.dns("_mta-sts.dead.test", mtasts_world::Answer::Silent);
    stage.world.site("mta-sts.dead.test", Site::new(Certificate::Good, Response::Silent));
    clock.advance(2 * i64::try_from(DAY).unwrap());
    let passes = (0..3).map(|_| {
        let refreshed = context.refresh(0, Some(Duration::from_secs(4))).unwrap();
        clock.advance(600);
        refreshed.done
    });
    assert_eq!(passes.sum::<u32>(), 1);
}
