//! Many threads in many processes want one domain at once: one of them fetches, and none depends on its fate.

use crate::stage::*;
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::{Answer, Effort};
use mtasts::reason::Reason;
use mtasts_world::{Answer as Dns, Certificate, Response, Site};
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const PROCESSES: usize = 4;
const THREADS: usize = 16;

/// What [`asker`] reads from its environment: the keys of the configuration, a line each.
const SETTINGS: &str = "MTASTS_TEST_SETTINGS";

/// A process with [`THREADS`] threads that look up the domain which it reads from standard input, all at once.
#[test]
#[ignore = "is a process that the tests of this file start"]
fn asker() {
    let mut settings = Settings::default();
    for line in env::var(SETTINGS).expect("is started by another test").lines() {
        let (key, value) = line.split_once('=').unwrap();
        settings.set(key, value).unwrap();
    }
    let context = Context::with_settings(settings);
    println!("ready");
    let mut domain = String::new();
    std::io::stdin().read_line(&mut domain).unwrap();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                let began = Instant::now();
                let answer = ask(&context, domain.trim_end());
                let taken = began.elapsed().as_millis();
                println!("answer {} {} {taken}", answer.mode_str(), answer.reason.as_str());
            });
        }
    });
}

/// A process of its own that waits for the name of a domain.
struct Asker(Child, BufReader<std::process::ChildStdout>);

impl Asker {
    fn start(stage: &Stage, more: &str) -> Self {
        let settings = format!(
            "cache={}\nnameservers={}\nhttps_port={}\nca_file={}\nallow_private_addresses=true\n{more}",
            stage.cache().display(),
            stage.world.dns_addr(),
            stage.world.https_addr().port(),
            stage.world.ca_file().display()
        );
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crowd::asker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(SETTINGS, settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the process gets ready");
        }
        Self(child, output)
    }

    fn ask(&mut self, domain: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{domain}").unwrap();
    }

    /// Mode, reason and milliseconds of each answer.
    fn answers(mut self) -> Vec<(String, String, u64)> {
        let mut text = String::new();
        self.1.read_to_string(&mut text).unwrap();
        assert!(self.0.wait().unwrap().success(), "{text}");
        let answers = text.lines().filter_map(|line| line.split_once("answer ")).map(|(_, line)| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].to_owned(), words[1].to_owned(), words[2].parse().unwrap())
        });
        let answers: Vec<_> = answers.collect();
        assert_eq!(answers.len(), THREADS, "{text}");
        answers
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What all threads of all processes are told about `domain` when they ask at the same moment.
fn crowd(stage: &Stage, more: &str, domain: &str) -> Vec<(String, String, u64)> {
    let mut askers: Vec<Asker> = (0..PROCESSES).map(|_| Asker::start(stage, more)).collect();
    askers.iter_mut().for_each(|asker| asker.ask(domain));
    askers.into_iter().flat_map(Asker::answers).collect()
}

fn txt_queries(stage: &Stage, domain: &str) -> usize {
    let line = format!("TXT _mta-sts.{domain}");
    stage.world.dns_log().into_iter().filter(|query| *query == line).count()
}

/// Waits for something that must happen soon.
fn until(happens: impl Fn() -> bool) {
    let began = Instant::now();
    while !happens() {
        assert!(began.elapsed() < Duration::from_secs(30), "it never happens");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Answers with a policy, but takes its time.
fn slow(domain: &str, pause: Duration) -> Site {
    let body = enforce(domain);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    Site::new(Certificate::Good, Response::Drip { bytes: [head, body].concat().into_bytes(), pause })
}

// Conformance: S3.3-18.
#[test]
fn a_crowd_that_wants_a_cold_domain_causes_one_request() {
    let stage = Stage::new();
    for pause in [Duration::ZERO, Duration::from_millis(5)] {
        let domain = format!("cold-{}.test", pause.as_millis());
        stage.publish(&domain);
        stage.world.site(&format!("mta-sts.{domain}"), slow(&domain, pause));
        let answers = crowd(&stage, "", &domain);
        assert!(answers.iter().all(|(mode, ..)| mode == "enforce"), "{answers:?}");
        assert_eq!(answers.len(), PROCESSES * THREADS);
        assert_eq!(stage.requests(&domain).len(), 1, "{domain}");
        assert_eq!(txt_queries(&stage, &domain), 1, "{domain}");
    }
}

#[test]
fn a_crowd_shares_a_failure_too() {
    let stage = Stage::new();
    stage.publish("bad.test");
    stage.world.site("mta-sts.bad.test", Site::new(Certificate::Good, Response::with_status(500, &[], b"")));
    let answers = crowd(&stage, "", "bad.test");
    let is_shared = |reason: &str| ["policy-host-status", "backing-off"].contains(&reason);
    assert!(answers.iter().all(|(mode, reason, _)| mode == "none" && is_shared(reason)), "{answers:?}");
    assert_eq!(stage.requests("bad.test").len(), 1);
}

#[test]
fn a_dead_resolver_costs_each_of_a_crowd_about_one_timeout() {
    let stage = Stage::new();
    stage.world.dns("_mta-sts.dead.test", Dns::Silent);
    let answers = crowd(&stage, "dns_timeout_seconds=2\ndeadline_seconds=20", "dead.test");
    assert!(answers.iter().all(|(_, reason, _)| reason == "dns-failed"), "{answers:?}");
    // One after the other would take 128 seconds.
    assert!(answers.iter().all(|(.., taken)| *taken < 8_000), "{answers:?}");
}

#[test]
fn a_crowd_with_a_valid_policy_refreshes_once_and_waits_for_nothing() {
    let stage = Stage::new();
    stage.publish("aged.test");
    let long_ago = SetClock::new();
    long_ago.advance(-2 * i64::try_from(DAY).unwrap());
    POLICY.check("two days ago", &ask(&stage.context_at(&long_ago), "aged.test"));
    stage.world.clear_logs();
    stage.world.site("mta-sts.aged.test", slow("aged.test", Duration::from_millis(20)));
    let answers = crowd(&stage, "", "aged.test");
    assert!(answers.iter().all(|(mode, ..)| mode == "enforce"), "{answers:?}");
    assert_eq!(stage.requests("aged.test").len(), 1);
    let fetched = answers.iter().filter(|(_, reason, _)| reason == "fetched").count();
    assert_eq!(fetched, 1, "{answers:?}");
    let slowest_of_others = answers.iter().filter(|(_, reason, _)| reason != "fetched").map(|(.., taken)| *taken).max();
    let fetch = answers.iter().find(|(_, reason, _)| reason == "fetched").unwrap().2;
    assert!(slowest_of_others.unwrap() < fetch, "{answers:?}");
}

/// Who is stopped does not die, and so keeps the turn: the others wait as long as they have time to fetch themselves.
#[test]
fn an_asker_that_hangs_costs_the_others_no_policy() {
    let stage = Stage::new();
    stage.publish("hung.test");
    stage.world.site("mta-sts.hung.test", Site::new(Certificate::Good, Response::Silent));
    let mut hung = Asker::start(&stage, "");
    hung.ask("hung.test");
    until(|| !stage.requests("hung.test").is_empty());
    // SAFETY: the process is ours and has not been waited for.
    unsafe { libc::kill(libc::pid_t::try_from(hung.0.id()).unwrap(), libc::SIGSTOP) };
    stage.publish("hung.test");
    let limit = Duration::from_secs(10);
    let quick = |effort| stage.context().query(b"hung.test", effort, Some(limit));
    let (answer, faults) = timed("hung.test", limit, || quick(Effort::Usual));
    report(faults);
    POLICY.check("fetched by the one who waited", &answer);

    stage.world.dns("_mta-sts.dark.test", Dns::Silent);
    stage.world.remove_site("mta-sts.hung.test");
    let mut dark = Asker::start(&stage, "dns_timeout_seconds=60\ndeadline_seconds=60");
    dark.ask("dark.test");
    until(|| txt_queries(&stage, "dark.test") > 0);
    let answer = stage.context().query(b"dark.test", Effort::Usual, Some(Duration::from_secs(1)));
    assert_eq!((answer.is_unknown, answer.reason), (true, Reason::WaitedInVain), "{answer:?}");
}

#[cfg(feature = "cli")]
#[test]
fn a_fetch_that_is_killed_at_any_moment_loses_nothing_and_holds_nobody() {
    use std::hash::{BuildHasher, RandomState};

    let stage = Stage::new();
    stage.publish("kept.test");
    POLICY.check("kept.test", &ask(&stage.context(), "kept.test"));
    let limit = Duration::from_secs(10);
    let random = RandomState::new();
    let mut kills = 0;
    for round in 0..1_000_u64 {
        // Of both domains a fetch is due, and takes a while.
        let cache = rusqlite::Connection::open(stage.cache()).unwrap();
        cache.busy_timeout(limit).unwrap();
        cache.execute("UPDATE domain SET refresh_at = 0, checked_until = 0, failures = ''", []).unwrap();
        drop(cache);
        let domain = format!("cold-{round}.test");
        stage.publish(&domain);
        for host in [&domain, "kept.test"] {
            stage.world.site(&format!("mta-sts.{host}"), slow(host, Duration::from_micros(200)));
        }
        stage.world.clear_logs();
        let names = if round % 2 == 0 { ["kept.test", &domain] } else { [&domain, "kept.test"] };
        let mut victim = crate::processes::lookup(&stage, &names).stdout(Stdio::null()).spawn().unwrap();
        until(|| txt_queries(&stage, names[0]) > 0);
        thread::sleep(Duration::from_micros(random.hash_one(round) % 150_000));
        let asks = |name: &str| -> (Answer, Vec<String>) {
            timed(name, limit, || stage.context().query(name.as_bytes(), Effort::Usual, Some(limit)))
        };
        thread::scope(|scope| {
            let others: Vec<_> = names.iter().map(|name| scope.spawn(|| asks(name))).collect();
            kills += usize::from(victim.try_wait().unwrap().is_none());
            victim.kill().unwrap();
            victim.wait().unwrap();
            for (answer, faults) in others.into_iter().map(|other| other.join().unwrap()) {
                report(faults);
                assert_eq!(answer.mode_str(), "enforce", "round {round}: {answer:?}");
            }
        });
        let remembered = stage.context().query(b"kept.test", Effort::CacheOnly, None);
        assert_eq!(remembered.mode_str(), "enforce", "round {round}: {remembered:?}");
        if kills == 100 {
            return;
        }
    }
    panic!("{kills} fetches were killed, want 100");
}
