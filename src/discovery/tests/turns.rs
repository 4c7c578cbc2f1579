//! One asker at a time: who waits, who does not, what is shared, and that nobody depends on one who hangs.

use super::*;

fn example() -> PolicyDomain {
    PolicyDomain::parse(b"example.test").unwrap()
}

/// A network that takes its time and is otherwise dead.
struct Slow<'a> {
    scene: &'a Scene,
    txt: Duration,
    get: Duration,
}

impl Network for Slow<'_> {
    fn txt(&self, name: &str, deadline: Deadline) -> dns::Answer<Vec<u8>> {
        std::thread::sleep(self.txt.min(deadline.remaining()));
        self.scene.txt(name, deadline)
    }
    fn policy_body(&self, domain: &PolicyDomain, deadline: Deadline) -> Result<Vec<u8>, FetchError> {
        let left = deadline.remaining();
        std::thread::sleep(self.get.min(left));
        if left < self.get {
            self.scene.calls.lock().unwrap().push("get");
            return Err(FetchError { reason: Reason::PolicyHostTimedOut, text: "no answer in time".to_owned() });
        }
        self.scene.policy_body(domain, deadline)
    }
}

/// Another asker holds the turn, and does what the test wants while this one waits.
fn behind(scene: &Scene, work: impl FnOnce() + Send) -> Answer {
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let turn = scene.cache.queue(&domain).unwrap();
    assert_eq!(turn.take(), Whose::Mine);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            work();
            drop(turn);
        });
        scene.discovery().discover(&domain, Effort::Usual, Deadline::after(Duration::from_secs(4)))
    })
}

fn store(scene: &Scene, reason: Reason, life: u64) {
    let now = scene.now();
    let check = Check { at: now, until: now.plus(life), reason };
    let row = Arc::new(Row { policy: None, check, refresh_at: now, failures: Vec::new() });
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let known = Known { row, stored_in: None };
    scene.cache.store_check(&domain, &known, now, Deadline::after(Duration::from_secs(5)), scene);
}

// Conformance: S3.3-18.
#[test]
fn who_has_waited_shares_what_the_other_has_found() {
    for (reason, life) in [(Reason::PolicyHostStatus, 0), (Reason::DnsFailed, 0), (Reason::NoRecord, 60)] {
        let scene = Scene::new();
        let answer = behind(&scene, || store(&scene, reason, life));
        assert_eq!((answer.mode_str(), answer.reason, scene.calls()), ("none", reason, String::new()));
    }
    let scene = Scene { on_dns_error: OnTrouble::Defer, ..Scene::new() };
    assert!(behind(&scene, || store(&scene, Reason::DnsFailed, 0)).is_unknown);
}

#[test]
fn who_has_waited_never_overlooks_a_policy_that_has_come_meanwhile() {
    let scene = Scene::new();
    let answer = behind(&scene, || {
        let now = scene.now();
        let body = b"version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 1000\n";
        let policy = Some(Arc::new(StoredPolicy::new("a1", body, now).unwrap()));
        // A check that does not count, as after a step of the clock.
        let check = Check { at: now, until: now, reason: Reason::NoRecord };
        let row = Arc::new(Row { policy, check, refresh_at: now.plus(500), failures: Vec::new() });
        let domain = PolicyDomain::parse(b"example.test").unwrap();
        scene.cache.store_policy(&domain, row, now, Deadline::after(Duration::from_secs(5)), &scene);
    });
    assert_eq!((answer.mode_str(), answer.reason, scene.calls()), ("enforce", Reason::NoRecord, "txt".to_owned()));
}

#[test]
fn who_has_waited_for_one_that_ends_with_nothing_does_it_all() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 80_000);
    let answer = behind(&scene, || {});
    assert_eq!((answer.mode_str(), answer.source, scene.calls()), ("enforce", Source::Https, "txt get".to_owned()));
}

#[test]
fn who_has_waited_in_vain_fetches_and_never_says_that_there_is_no_policy_for_want_of_time() {
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let limit = Duration::from_millis(200);
    for (outcome, is_unknown) in [(Reason::PolicyHostTimedOut, true), (Reason::PolicyHostStatus, false)] {
        let scene = Scene::new();
        let turn = scene.cache.queue(&domain).unwrap();
        assert_eq!(turn.take(), Whose::Mine);
        scene.dns("a1").https_fails(outcome);
        let answer = scene.discovery().discover(&domain, Effort::Usual, Deadline::after(limit));
        assert_eq!((answer.is_unknown, scene.calls()), (is_unknown, "txt get".to_owned()), "{answer:?}");
        assert_eq!(answer.cause, outcome);
        scene.https("enforce", 80_000).after(301);
        let answer = scene.discovery().discover(&domain, Effort::Usual, Deadline::after(limit));
        assert_eq!((answer.mode_str(), answer.source), ("enforce", Source::Https));
    }
}

#[test]
fn without_a_place_for_the_lock_one_asker_in_a_process_still_keeps_the_others_from_asking() {
    let scene = Scene::new();
    let settings = Settings { cache: "/nonexistent/cache.db".into(), ..Settings::default() };
    let scene = Scene { cache: Cache::new(&settings), ..scene };
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.https("enforce", 604_800).after(86_400);
    assert_eq!(scene.told().2, Reason::Fetched);
}

/// A stopped holder of the turn: nobody who has a policy ever checks, refreshes or heals.
#[test]
fn an_asker_that_hangs_does_not_age_a_policy_out() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    let turn = scene.cache.queue(&example()).unwrap();
    turn.take_and_hang();
    scene.dns("a2").calls();
    for _ in 0..20 {
        scene.https("enforce", 604_800);
    }
    let mut asked = 0;
    for _ in 0..(604_800 / 3_600) {
        scene.after(3_600).ask();
        asked += scene.calls().len();
    }
    assert!(asked > 0, "in seven days, with a message each hour, nobody asked DNS or refreshed");
}

#[test]
fn an_asker_that_hangs_keeps_nobody_from_healing() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    let turn = scene.cache.queue(&example()).unwrap();
    turn.take_and_hang();
    scene.dns("a2").https("testing", 604_800).calls();
    let answer = scene.after(7_200).ask_with(Effort::Heal);
    assert_eq!((answer.mode_str(), answer.reason), ("testing", Reason::Healed));
}

/// Who waited and then had its turn, but no time left.
#[test]
fn who_has_waited_and_runs_out_of_time_never_says_that_there_is_no_policy() {
    let scene = Scene::new();
    scene.dns("a1");
    let turn = scene.cache.queue(&example()).unwrap();
    assert_eq!(turn.take(), Whose::Mine);
    let slow = Slow { scene: &scene, txt: Duration::ZERO, get: Duration::from_millis(1_500) };
    let answer = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(900));
            drop(turn);
        });
        let discovery = Discovery { network: &slow, ..scene.discovery() };
        discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_secs(2)))
    });
    assert!(answer.is_unknown, "{answer:?}");
}

/// The clock is put right while somebody waits: the cached enforce policy is in force, the answer is "none".
#[test]
fn who_has_waited_never_gets_less_than_the_cached_policy() {
    const YEAR: i64 = 31_536_000;
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800).ask();
    scene.calls();
    scene.after(YEAR);
    let answer = behind(&scene, || {
        // What the one before does by the wrong clock: no record, no policy.
        let now = scene.now();
        let known = scene.cache.read(&example(), now, Deadline::after(Duration::from_secs(5)), &scene).unwrap();
        let check = Check { at: now, until: now.plus(300), reason: Reason::NoRecord };
        let row = Arc::new(Row { check, ..(*known.row).clone() });
        scene.cache.store_check(
            &example(),
            &Known { row, ..known },
            now,
            Deadline::after(Duration::from_secs(5)),
            &scene,
        );
        scene.after(-YEAR + 60);
    });
    assert_eq!(answer.mode_str(), "enforce", "{answer:?}");
}

/// The log callback is called while the turn is held: a callback that asks waits for itself.
#[test]
fn a_line_is_logged_when_no_lock_is_held() {
    struct Asking<'a>(&'a Scene, Mutex<Option<bool>>);
    impl Sink for Asking<'_> {
        fn line(&self, _: Level, _: &str) {
            let is_free = self.0.cache.queue(&example()).unwrap().take() == Whose::Mine;
            *self.1.lock().unwrap() = Some(is_free);
        }
    }
    for answer in ["a1", "servfail"] {
        let scene = Scene::new();
        scene.dns(answer).https_fails(Reason::PolicyHostStatus);
        let log = Asking(&scene, Mutex::default());
        let discovery = Discovery { log: &log, ..scene.discovery() };
        discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_secs(4)));
        assert_eq!(*log.1.lock().unwrap(), Some(true), "{answer}");
    }
}

/// The lock works and the database does not: processes fetch one after the other.
#[test]
fn without_a_database_nobody_waits_for_one_after_the_other() {
    const PROCESSES: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE of_another_program (x)").unwrap();
    let began = std::time::Instant::now();
    let taken: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PROCESSES)
            .map(|_| {
                scope.spawn(|| {
                    // Like a process of its own: shares nothing but the directory.
                    let settings = Settings { cache: path.clone(), ..Settings::default() };
                    let scene = Scene { cache: Cache::new(&settings), ..Scene::new() };
                    scene.dns("a1").https("enforce", 604_800);
                    let slow = Slow { scene: &scene, txt: Duration::ZERO, get: Duration::from_millis(500) };
                    let discovery = Discovery { network: &slow, ..scene.discovery() };
                    let answer =
                        discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_secs(45)));
                    assert_eq!(answer.mode_str(), "enforce", "{answer:?}");
                    began.elapsed().as_millis()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(taken.iter().all(|taken| *taken < 2_000), "{taken:?}");
}

/// max_age 0 and many waiters.
#[test]
fn a_policy_without_a_life_is_shared_with_those_who_waited_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.db");
    let began = std::time::Instant::now();
    let taken: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let settings = Settings { cache: path.clone(), ..Settings::default() };
                    let scene = Scene { cache: Cache::new(&settings), ..Scene::new() };
                    scene.dns("a1").https("enforce", 0);
                    let slow = Slow { scene: &scene, txt: Duration::ZERO, get: Duration::from_millis(1_500) };
                    let clock = crate::time::SystemClock;
                    let discovery = Discovery { network: &slow, clock: &clock, ..scene.discovery() };
                    let answer =
                        discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_secs(45)));
                    (began.elapsed().as_millis(), answer.mode_str(), answer.source)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(taken.iter().all(|(taken, mode, _)| *taken < 5_000 && *mode == "enforce"), "{taken:?}");
}

/// What is our own fault is not shared: each of a crowd pays for the slow step, one after the other.
#[test]
fn a_fault_of_our_own_makes_nobody_wait_for_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.db");
    let began = std::time::Instant::now();
    let taken: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let settings = Settings { cache: path.clone(), ..Settings::default() };
                    let scene = Scene { cache: Cache::new(&settings), ..Scene::new() };
                    scene.dns("a1").https_fails(Reason::NoTrustedRoots);
                    let slow = Slow { scene: &scene, txt: Duration::from_millis(500), get: Duration::ZERO };
                    let discovery = Discovery { network: &slow, ..scene.discovery() };
                    discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_secs(45)));
                    began.elapsed().as_millis()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(taken.iter().all(|taken| *taken < 2_000), "{taken:?}");
}

/// A slow TXT answer uses up the time, and the policy host is blamed for everybody.
#[test]
fn a_slow_answer_of_dns_does_not_blame_the_policy_host() {
    let scene = Scene::new();
    scene.dns("a1").https("enforce", 604_800);
    let slow = Slow { scene: &scene, txt: Duration::from_millis(900), get: Duration::from_millis(200) };
    let discovery = Discovery { network: &slow, fair_time: Duration::from_millis(500), ..scene.discovery() };
    let first = discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_millis(1000)));
    assert_eq!(first.reason, Reason::PolicyHostTimedOut);
    let second = scene.ask();
    assert_eq!((second.mode_str(), second.source), ("enforce", Source::Https), "{second:?}");
}

/// Where nobody can take turns, a claim in the cache stands for the turn; one of another time holds nobody back.
// Conformance: S10-4.
#[test]
fn a_claim_counts_for_a_minute_and_not_under_another_clock() {
    const YEAR: i64 = 31_536_000;
    for step in [0, YEAR, -YEAR] {
        let scene = Scene::new();
        scene.dns("a1").https("enforce", 31_557_600).ask();
        let now = scene.now();
        let known = scene.cache.read(&example(), now, Deadline::after(Duration::from_secs(5)), &scene).unwrap();
        let check = Check { at: now, until: now.plus(60), reason: Reason::BeingChecked };
        let row = Arc::new(Row { check, refresh_at: now, ..(*known.row).clone() });
        let deadline = Deadline::after(Duration::from_secs(5));
        scene.cache.store_check(&example(), &Known { row, ..known }, now, deadline, &scene);
        scene.calls();
        scene.https("enforce", 31_557_600).after(step + 59);
        let (reason, calls) = if step == 0 { (Reason::BeingChecked, "") } else { (Reason::Fetched, "txt get") };
        assert_eq!((scene.ask().reason, &*scene.calls()), (reason, calls), "{step}");
        assert_eq!(scene.after(1).ask().mode_str(), "enforce");
    }
}

struct Waiting<'a> {
    scene: &'a Scene,
    get: Duration,
}

impl Network for Waiting<'_> {
    fn txt(&self, _: &str, _: Deadline) -> dns::Answer<Vec<u8>> {
        dns::Answer::Found { records: vec![b"v=STSv1; id=a1".to_vec()], ttl: 60 }
    }
    fn policy_body(&self, _: &PolicyDomain, _: Deadline) -> Result<Vec<u8>, FetchError> {
        self.scene.calls.lock().unwrap().push("get");
        std::thread::sleep(self.get);
        Ok(b"version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 604800\n".to_vec())
    }
}

/// How many requests 32 askers make whose first one dies.
fn requests_of_a_crowd() -> usize {
    let scene = Scene::new();
    let turn = scene.cache.queue(&example()).unwrap();
    assert_eq!(turn.take(), Whose::Mine);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let network = Waiting { scene: &scene, get: Duration::from_millis(1500) };
                let discovery = Discovery { network: &network, ..scene.discovery() };
                let answer = discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_secs(45)));
                assert_eq!(answer.mode_str(), "enforce");
            });
        }
        std::thread::sleep(Duration::from_millis(400));
        drop(turn);
    });
    scene.calls().matches("get").count()
}

#[test]
fn a_crowd_whose_first_asker_dies_makes_hardly_more_requests() {
    let gets = requests_of_a_crowd();
    assert!(gets <= 2, "{gets} requests");
}

/// A crowd behind one whose fault is its own (too little time): how many then?
#[test]
fn a_crowd_whose_first_asker_has_little_time_makes_hardly_more_requests() {
    struct Hasty<'a>(&'a Scene);
    impl Network for Hasty<'_> {
        fn txt(&self, _: &str, _: Deadline) -> dns::Answer<Vec<u8>> {
            dns::Answer::Found { records: vec![b"v=STSv1; id=a1".to_vec()], ttl: 60 }
        }
        fn policy_body(&self, _: &PolicyDomain, deadline: Deadline) -> Result<Vec<u8>, FetchError> {
            self.0.calls.lock().unwrap().push("get");
            let left = deadline.remaining();
            let need = Duration::from_millis(1500);
            std::thread::sleep(need.min(left));
            if left < need {
                return Err(FetchError { reason: Reason::PolicyHostTimedOut, text: "late".to_owned() });
            }
            Ok(b"version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 604800\n".to_vec())
        }
    }
    let scene = Scene::new();
    std::thread::scope(|scope| {
        for n in 0..33 {
            let scene = &scene;
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(if n == 0 { 0 } else { 200 }));
                let network = Hasty(scene);
                let discovery = Discovery { network: &network, ..scene.discovery() };
                let time = if n == 0 { Duration::from_millis(700) } else { Duration::from_secs(45) };
                discovery.discover(&example(), Effort::Usual, Deadline::after(time));
            });
        }
    });
    let gets = scene.calls().matches("get").count();
    assert!(gets <= 3, "{gets} requests");
}

/// The cache can be read, and then not any more (memory_entries = 0, or the row was dropped from memory).
#[test]
fn what_cannot_be_read_any_more_is_still_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.db");
    let settings = Settings { cache: path.clone(), memory_entries: 0, ..Settings::default() };
    struct Breaking<'a>(&'a Scene, std::path::PathBuf, Mutex<u32>);
    impl Clock for Breaking<'_> {
        fn now(&self) -> UnixTime {
            let mut count = self.2.lock().unwrap();
            *count += 1;
            if *count == 3 {
                // Between our look and our turn (answer_at_once, begin, take_turn).
                std::fs::remove_file(&self.1).unwrap();
                std::fs::create_dir(&self.1).unwrap();
            }
            self.0.now()
        }
    }
    let scene = Scene { cache: Cache::new(&settings), ..Scene::new() };
    scene.dns("a1").https("enforce", 80_000).ask();
    scene.dns("servfail").after(70);
    let clock = Breaking(&scene, path, Mutex::new(0));
    let discovery = Discovery { clock: &clock, ..scene.discovery() };
    let answer = discovery.discover(&example(), Effort::Usual, Deadline::after(Duration::from_secs(5)));
    assert_eq!(answer.mode_str(), "enforce", "{answer:?} {:?}", scene.lines.lock().unwrap());
}
