//! The cache as a whole: visits, purges and imports beside processes that use it.

use super::*;
use crate::cache::{Filter, Imported, Order, Upkeep};
use crate::syntax::Mode;
use crate::time::Clock;
use std::ops::ControlFlow;

const DAY: u64 = 86_400;

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> UnixTime {
        NOW
    }
}

impl Process<'_> {
    fn upkeep(&self) -> Upkeep<'_> {
        Upkeep { cache: &self.cache, clock: &Stopped, log: self.place, longest_plan: DAY }
    }

    fn visited(&self, filter: &Filter, order: Order, is_reversed: bool) -> Vec<String> {
        let mut seen = Vec::new();
        let note = |domain: &PolicyDomain, _: &Row| {
            seen.push(domain.to_string());
            ControlFlow::Continue(())
        };
        self.upkeep().visit(filter, order, is_reversed, note).unwrap();
        seen
    }

    fn import(&self, name: &str, row: &Row) -> Imported {
        self.upkeep().import(vec![(domain(name), row.clone())], false).unwrap().remove(0)
    }
}

/// A policy that was fetched so many seconds ago and lives for ten days.
fn row(mode: &str, id: &str, seconds_ago: i64) -> Row {
    let mx = if mode == "none" { "" } else { "mx: a.test\n" };
    let body = format!("version: STSv1\nmode: {mode}\n{mx}max_age: 864000\n");
    let fetched_at = UnixTime(NOW.0 - seconds_ago);
    let stored = StoredPolicy::new(id, body.as_bytes(), fetched_at).unwrap();
    let check = Check { at: fetched_at, until: fetched_at.plus(60), reason: Reason::Confirmed };
    Row { policy: Some(Arc::new(stored)), check, refresh_at: fetched_at.plus(DAY / 2), failures: Vec::new() }
}

#[test]
fn a_visit_shows_every_row_once_in_the_order_that_was_asked_for() {
    let place = Place::new();
    let process = place.process_with("cache.db", 10_000, 10);
    let rows = (0..1_000).map(|n| (domain(&format!("d{n:04}.test")), row("testing", "a1", n * 7 % 1_000))).collect();
    let outcomes = process.upkeep().import(rows, false).unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Imported::Stored));
    let all = Filter::default();
    let forward = process.visited(&all, Order::Domain, false);
    assert_eq!(forward, (0..1_000).map(|n| format!("d{n:04}.test")).collect::<Vec<_>>());
    assert!(process.visited(&all, Order::Domain, true).iter().eq(forward.iter().rev()));
    let by_age = process.visited(&all, Order::Age, false);
    let ages: Vec<usize> = by_age.iter().map(|name| name[1..5].parse::<usize>().unwrap() * 7 % 1_000).collect();
    assert_eq!(ages, (0..1_000).collect::<Vec<_>>());
    assert!(process.visited(&all, Order::Age, true).iter().eq(by_age.iter().rev()));
    let few = Filter { older_than: Some(989), newer_than: Some(999), ..all };
    assert_eq!(process.visited(&few, Order::Expires, true).len(), 9);
}

#[test]
fn an_order_looks_at_what_it_is_named_for() {
    let place = Place::new();
    let process = place.process();
    process.learn("old-enforce.test", row("enforce", "a1", 500_000));
    process.learn("expired.test", row("enforce", "a1", 900_000));
    process.learn("new-none.test", Row { refresh_at: UnixTime(5), ..row("none", "a1", 100) });
    process.learn("testing.test", row("testing", "a1", 1_000));
    process.note("absent.test", no_policy());
    let visited = |order| process.visited(&Filter::default(), order, false).join(" ").replace(".test", "");
    assert_eq!(visited(Order::Mode), "absent new-none testing expired old-enforce");
    assert_eq!(visited(Order::Age), "absent new-none testing old-enforce expired");
    assert_eq!(visited(Order::Expires), "expired absent old-enforce testing new-none");
    assert_eq!(visited(Order::Checked), "absent new-none testing old-enforce expired");
    assert!(visited(Order::Refresh).starts_with("new-none expired old-enforce"));
    let of = |mode| process.visited(&Filter { mode: Some(mode), ..Filter::default() }, Order::Domain, false);
    assert_eq!(of(Some(Mode::Enforce)), ["expired.test", "old-enforce.test"]);
    assert_eq!(of(None), ["absent.test"]);
    assert_eq!(process.visited(&Filter { is_over: true, ..Filter::default() }, Order::Domain, false), ["expired.test"]);
    let census = process.upkeep().census().unwrap();
    let counts = (census.enforce, census.testing, census.none, census.expired, census.without_policy);
    assert_eq!((counts, census.rows(), census.due), ((1, 1, 1, 1, 1), 5, 2));
    assert_eq!(census.oldest_fetch, Some(UnixTime(NOW.0 - 900_000)));
    assert_eq!(census.newest_fetch, Some(UnixTime(NOW.0 - 100)));
    assert_eq!(Some(census.file_bytes), std::fs::metadata(place.path("cache.db")).ok().map(|found| found.len()));
}

#[test]
fn others_store_and_purge_in_the_middle_of_a_visit() {
    let place = Place::new();
    let (visiting, other) = (place.process_with("cache.db", 10_000, 10), place.process_with("cache.db", 10_000, 10));
    let rows = (0..600).map(|n| (domain(&format!("d{n:03}.test")), row("enforce", "a1", 10))).collect();
    visiting.upkeep().import(rows, false).unwrap();
    for order in [Order::Domain, Order::Age] {
        let mut seen = 0;
        let began = Instant::now();
        let unreadable = visiting.upkeep().visit(&Filter::default(), order, false, |_, _| {
            seen += 1;
            if seen == 1 {
                other.learn("new.test", row("enforce", "b2", 5));
                assert!(other.upkeep().purge(&[domain("d599.test")]).unwrap().len() == 1);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(unreadable, Ok(0));
        assert!(seen >= 599 && began.elapsed() < Duration::from_secs(5), "{order:?}: {seen}");
    }
    assert!(!place.has_logged("locked"));
}

#[test]
fn others_store_while_much_is_imported_and_purged() {
    let place = Place::new();
    let (busy, other) = (place.process_with("cache.db", 10_000, 10), place.process_with("cache.db", 10_000, 10));
    other.learn("own.test", row("enforce", "a0", 900));
    let rows: Vec<_> = (0..3_000).map(|n| (domain(&format!("d{n:04}.test")), row("testing", "a1", 10))).collect();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            assert_eq!(busy.upkeep().import(rows, false).unwrap().len(), 3_000);
            let testing = Filter { mode: Some(Some(Mode::Testing)), ..Filter::default() };
            busy.upkeep().purge_all(&testing, false, |_, _| {}).unwrap();
        });
        let mut stored = 0;
        while !worker.is_finished() || stored < 3 {
            stored += 1;
            other.learn("own.test", row("enforce", &format!("a{stored}"), 900 - stored.min(899)));
        }
    });
    assert!(!place.has_logged("locked") && place.count("1") == 1, "{:?}", place.lines.lock().unwrap());
}

#[test]
fn what_one_process_purges_or_imports_another_sees() {
    let place = Place::new();
    let (ours, other) = (place.process(), place.process());
    ours.learn("a.test", row("enforce", "a1", 100));
    ours.learn("b.test", row("enforce", "a1", 100));
    assert_eq!((other.id("a.test"), other.id("b.test")), (Some("a1".into()), Some("a1".into())));
    let purged = ours.upkeep().purge(&[domain("a.test"), domain("c.test")]).unwrap();
    assert_eq!((purged[0].as_ref().unwrap().mode(), &purged[1]), (Some(Mode::Enforce), &None));
    assert_eq!(ours.import("b.test", &row("enforce", "b2", 10)), Imported::Stored);
    assert_eq!((ours.id("a.test"), ours.id("b.test")), (None, Some("b2".into())), "at once");
    other.let_memory_age();
    assert_eq!((other.id("a.test"), other.id("b.test")), (None, Some("b2".into())), "after five seconds");
}

#[test]
fn a_purge_takes_what_is_meant_and_a_dry_run_takes_nothing() {
    let place = Place::new();
    let process = place.process();
    process.learn("enforce.test", row("enforce", "a1", 1_000));
    process.learn("expired.test", row("enforce", "a1", 900_000));
    process.learn("none.test", row("none", "a1", 2_000));
    process.note("absent.test", no_policy());
    let purge = |filter: Filter, is_dry_run| {
        let mut gone = Vec::new();
        let note =
            |domain: Option<&PolicyDomain>, _: &Row| gone.push(domain.map_or("-".to_owned(), PolicyDomain::to_string));
        process.upkeep().purge_all(&filter, is_dry_run, note).unwrap();
        gone
    };
    let none = || Filter { mode: Some(Some(Mode::None)), ..Filter::default() };
    assert_eq!(purge(Filter::default(), true).len(), 4);
    assert_eq!(purge(none(), true), ["none.test"]);
    assert_eq!(place.count("1"), 4);
    assert_eq!(purge(none(), false), ["none.test"]);
    assert_eq!(purge(Filter { is_over: true, ..Filter::default() }, false), ["expired.test"]);
    assert_eq!(purge(Filter { older_than: Some(999), ..Filter::default() }, false), ["enforce.test"]);
    place.sql(
        "cache.db",
        "INSERT INTO domain SELECT x'00ff', id, body, fetched_at, expires_at, mode, checked_at, \
        checked_until, check_reason, refresh_at, failures, shortened_to FROM domain",
    );
    place.sql("cache.db", "UPDATE domain SET name = 'NOT a name' WHERE name = 'absent.test'");
    assert_eq!(process.upkeep().visit(&Filter::default(), Order::Age, false, |_, _| panic!("no domain")), Ok(2));
    assert_eq!(process.upkeep().census().unwrap().unreadable, 2);
    assert_eq!(purge(Filter::default(), false), ["-", "-"]);
    assert_eq!(place.count("1"), 0);
}

#[test]
fn a_row_that_has_changed_since_it_was_looked_at_stays() {
    let place = Place::new();
    let process = place.process();
    process.learn("a.test", row("enforce", "a1", 900_000));
    let page = process.cache.database.page(None, false, deadline()).unwrap();
    process.learn("a.test", row("enforce", "b2", 10));
    let expired = Filter { is_over: true, ..Filter::default() };
    let names: Vec<_> = page.into_iter().map(|(name, _)| name).collect();
    let removed = process.cache.database.remove(&names, |row| expired.matches(row, NOW), deadline()).unwrap();
    assert!(removed.is_empty() && process.id("a.test") == Some("b2".into()));
}

#[test]
fn an_import_never_weakens_and_never_goes_back() {
    let place = Place::new();
    let process = place.process();
    let check = |seconds_ago: i64| {
        let at = UnixTime(NOW.0 - seconds_ago);
        Row { check: Check { at, until: at.plus(60), reason: Reason::NoRecord }, refresh_at: at, ..no_policy() }
    };
    for (known, offered, want) in [
        (None, row("enforce", "b2", 50), Imported::Stored),
        (None, row("none", "b2", 50), Imported::Stored),
        (None, check(10), Imported::Stored),
        (Some(row("enforce", "a1", 100)), row("enforce", "b2", 50), Imported::Stored),
        (Some(row("enforce", "a1", 100)), row("enforce", "b2", 100), Imported::Known),
        (Some(row("enforce", "a1", 100)), row("enforce", "b2", 150), Imported::Known),
        (Some(row("enforce", "a1", 100)), row("none", "b2", 150), Imported::Known),
        (Some(row("enforce", "a1", 100)), row("none", "b2", 50), Imported::Weaker),
        (Some(row("enforce", "a1", 100)), row("testing", "b2", 50), Imported::Weaker),
        (Some(row("testing", "a1", 100)), row("none", "b2", 50), Imported::Weaker),
        (Some(row("enforce", "a1", 100)), check(10), Imported::Known),
        (Some(row("none", "a1", 100)), check(10), Imported::Known),
        (Some(row("none", "a1", 100)), row("enforce", "b2", 50), Imported::Stored),
        (Some(row("enforce", "a1", 900_000)), row("none", "b2", 50), Imported::Stored),
        (Some(row("enforce", "a1", 900_000)), check(10), Imported::Known),
        // What was stored under a clock that ran ahead gives way.
        (Some(row("testing", "a1", -900)), row("enforce", "b2", 50), Imported::Stored),
        (Some(row("enforce", "a1", -900)), row("none", "b2", 50), Imported::Weaker),
        (Some(check(100)), check(10), Imported::Stored),
        (Some(check(10)), check(100), Imported::Known),
        (Some(check(10)), row("enforce", "b2", 500_000), Imported::Stored),
    ] {
        // The first time there is no file.
        let _ = process.upkeep().purge(&[domain("a.test")]);
        match &known {
            Some(known) if known.policy.is_some() => process.learn("a.test", known.clone()),
            Some(known) => process.note("a.test", known.clone()),
            None => {}
        }
        let dry = process.upkeep().import(vec![(domain("a.test"), offered.clone())], true).unwrap();
        assert_eq!(dry, std::slice::from_ref(&want), "{known:?} {offered:?}");
        assert_eq!(process.import("a.test", &offered), want, "{known:?} {offered:?}");
        let stays = if want == Imported::Stored { Some(offered) } else { known };
        assert_eq!(process.upkeep().find(&[domain("a.test")]).unwrap(), [stays]);
    }
}

#[test]
fn an_import_refuses_what_could_not_have_been_stored() {
    let place = Place::new();
    let process = place.process();
    let good = || row("enforce", "a1", 100);
    let with_check = |at: i64, until: i64| {
        let check = Check { at: UnixTime(NOW.0 + at), until: UnixTime(NOW.0 + until), reason: Reason::Confirmed };
        Row { check, ..good() }
    };
    let with_policy = |change: &dyn Fn(&mut StoredPolicy)| {
        let mut stored = (**good().policy.as_ref().unwrap()).clone();
        change(&mut stored);
        Row { policy: Some(Arc::new(stored)), ..good() }
    };
    let fetched = |at: i64| Row { policy: row("enforce", "a1", -at).policy, ..good() };
    let failure =
        |id: &str, at: i64| Failure { id: id.into(), at: UnixTime(NOW.0 + at), reason: Reason::PolicyInvalid };
    for (bad, want) in [
        (with_check(60, 70), "check.at"),
        (with_check(-10, 3_600), "check.until"),
        (with_check(-NOW.0 - 1, 0), "check.at is -1"),
        (Row { refresh_at: NOW.plus(2 * DAY), ..good() }, "refresh_at"),
        (fetched(60), "fetched_at"),
        (fetched(-NOW.0 - 1), "fetched_at is -1"),
        (with_policy(&|stored| stored.expires_at = NOW.plus(900_000)), "expires_at"),
        (with_policy(&|stored| stored.id = "a b".into()), "id `a b`"),
        (with_policy(&|stored| stored.id = "a".repeat(33).into()), "id `aaa"),
        (Row { failures: vec![failure("a1", 60)], ..good() }, "failure"),
        (Row { failures: vec![failure("\u{1b}", 0)], ..good() }, "id `\\u{1b}`"),
        (Row { failures: vec![failure("a1", 0); 9], ..good() }, "9 failures"),
    ] {
        match process.import("a.test", &bad) {
            Imported::Refused(problem) => assert!(problem.contains(want), "{problem}"),
            other => panic!("{want}: {other:?}"),
        }
    }
    assert_eq!(process.import("b.test", &good()), Imported::Stored);
    assert_eq!(place.count("1"), 1);
}

#[test]
fn an_import_into_a_full_cache_pushes_no_enforced_policy_out() {
    let place = Place::new();
    let process = place.process_with("cache.db", 2, 10);
    process.learn("a.test", row("enforce", "a1", 100));
    process.learn("b.test", row("enforce", "a1", 100));
    assert_eq!(process.import("c.test", &row("enforce", "a1", 10)), Imported::Full);
    assert_eq!(process.visited(&Filter::default(), Order::Domain, false), ["a.test", "b.test"]);
}

#[test]
fn a_file_that_cannot_be_used_is_left_as_it_is() {
    let place = Place::new();
    let process = place.process();
    let all = || process.upkeep().visit(&Filter::default(), Order::Domain, false, |_, _| ControlFlow::Continue(()));
    let attempts = || {
        let upkeep = process.upkeep();
        let gone = upkeep.purge_all(&Filter::default(), false, |_, _| {}).map(|()| 0);
        [
            all(),
            upkeep.find(&[domain("a.test")]).map(|_| 0),
            upkeep.census().map(|_| 0),
            gone,
            upkeep.purge(&[domain("a.test")]).map(|_| 0),
        ]
    };
    let check = |want: &str| {
        for outcome in attempts() {
            let error = outcome.unwrap_err();
            assert!(error.contains("cache.db: ") && error.contains(want), "{error}");
        }
    };
    check("does not exist");
    assert!(process.upkeep().import(vec![(domain("a.test"), row("enforce", "a1", 1))], true).is_ok());
    assert!(!place.path("cache.db").exists(), "looking makes no file");

    place.damage();
    let damaged = std::fs::read(place.path("cache.db")).unwrap();
    check("is damaged");
    assert!(process.upkeep().import(vec![(domain("a.test"), row("enforce", "a1", 1))], false).is_err());
    assert_eq!((std::fs::read(place.path("cache.db")).unwrap(), place.files_moved_aside()), (damaged, 0));

    std::fs::remove_file(place.path("cache.db")).unwrap();
    place.sql("cache.db", "CREATE TABLE other (x)");
    check("another program");
    place.sql("cache.db", "PRAGMA application_id = 0x53545331; PRAGMA user_version = 99");
    check("newer libmtasts");
}

#[test]
fn a_file_of_an_older_version_is_read_as_it_is_and_renewed_by_an_import() {
    let place = Place::new();
    place.process().learn("a.test", row("enforce", "a1", 100));
    place.sql(
        "cache.db",
        "DROP INDEX domain_to_refresh; ALTER TABLE domain DROP COLUMN shortened_to; PRAGMA user_version = 1",
    );
    let process = place.process();
    assert_eq!(process.visited(&Filter::default(), Order::Domain, false), ["a.test"]);
    let version = || {
        let connection = rusqlite::Connection::open(place.path("cache.db")).unwrap();
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(version(), 1);
    assert_eq!(process.import("b.test", &row("enforce", "a1", 100)), Imported::Stored);
    assert_eq!(version(), 2);
    assert_eq!(process.visited(&Filter::default(), Order::Domain, false), ["a.test", "b.test"]);
}

#[test]
fn a_file_in_wal_mode_is_read_without_shared_memory() {
    let place = Place::new();
    place.process().learn("a.test", row("enforce", "a1", 100));
    place.sql("cache.db", "PRAGMA journal_mode = WAL; UPDATE domain SET refresh_at = 7");
    assert_eq!(place.process().visited(&Filter::default(), Order::Domain, false), ["a.test"]);
    assert!(!place.path("cache.db-shm").exists());
}

#[test]
fn a_byte_that_is_wrong_anywhere_neither_hangs_a_visit_nor_changes_the_file() {
    let place = Place::new();
    let process = place.process_with("cache.db", 10_000, 0);
    let rows = (0..60).map(|n| (domain(&format!("d{n}.test")), row("enforce", "a1", 10))).collect();
    process.upkeep().import(rows, false).unwrap();
    let good = std::fs::read(place.path("cache.db")).unwrap();
    let mut failures = 0;
    for at in (0..good.len()).step_by(53) {
        let mut wrong = good.clone();
        wrong[at] ^= 0x55;
        std::fs::write(place.path("cache.db"), &wrong).unwrap();
        let mut seen = 0;
        let mut count = |_: &PolicyDomain, _: &Row| {
            seen += 1;
            ControlFlow::Continue(())
        };
        for (order, is_reversed) in [(Order::Domain, false), (Order::Domain, true), (Order::Age, false)] {
            let visited = process.upkeep().visit(&Filter::default(), order, is_reversed, &mut count);
            failures += u32::from(visited.is_err());
        }
        assert!(seen <= 180, "byte {at}: {seen} rows");
        assert!(std::fs::read(place.path("cache.db")).unwrap() == wrong, "byte {at}");
    }
    assert!(failures > 0 && place.files_moved_aside() == 0);
}
