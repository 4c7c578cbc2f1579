//! The server for Sendmail and Postfix under load: sixteen connections that ask without a pause, about domains that are
//! known and others that are not, for a minute in which others disturb them. No reply is wrong, and nothing grows.
//!
//! No time is asserted: the machine may be busy. Only what never ends is a fault.

mod clients;
mod domains;
mod server;

use clients::{DISTURBERS, Random};
use domains::{Domain, Kind};
use mtasts_world::World;
use server::{HANG, Held, Server};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 16;
const WARM_UP: Duration = Duration::from_secs(20);
const LOAD: Duration = Duration::from_secs(60);
/// Domains that are known before it begins.
const WARM: usize = 192;
const COLD_EACH_SECOND: usize = 20;
/// Fewer than there are domains, so that memory is full after the warm-up.
const MEMORY_ENTRIES: usize = 256;
/// The longest that looks for tarpits take: above what the server may take for a reply.
const LOOK_SECONDS: u64 = 6;
/// Resident memory moves by so much by itself: SQLite keeps up to 2 MB of the file, which grows by each cold domain, and
/// threads keep some of what they have freed. A leak of 100 bytes a reply or of 500 a connection is more.
const KILOBYTES_OF_NOISE: u64 = 6 * 1024;

struct Scene {
    world: World,
    server: Server,
    configuration: PathBuf,
    /// What the configuration always has.
    settings: String,
    domains: Vec<Domain>,
    /// How many of the domains have been asked about, and how many should have been by now.
    asked: AtomicUsize,
    due: AtomicUsize,
    /// Numbers of domains that are to be asked about again.
    unsettled: Mutex<Vec<usize>>,
    has_ended: AtomicBool,
    faults: Mutex<Vec<String>>,
    replies: AtomicUsize,
    early: AtomicUsize,
    reloads: AtomicUsize,
}

impl Scene {
    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    /// Waits as long, or until the end.
    fn wait(&self, time: Duration) {
        let began = Instant::now();
        while !self.has_ended() && began.elapsed() < time {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn configure(&self, more: &str) {
        // In one step, as an administrator's editor does it.
        let draft = self.configuration.with_extension("new");
        fs::write(&draft, format!("{}{more}", self.settings)).unwrap();
        fs::rename(draft, &self.configuration).unwrap();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst).min(self.domains.len())
    }

    /// One that is known, in a while one that is not, sometimes one that was not known when it was asked.
    fn pick(&self, random: &mut Random) -> &Domain {
        if random.below(4096) == 0
            && let Some(number) = self.unsettled.lock().unwrap().pop()
        {
            return &self.domains[number];
        }
        let asked = self.asked();
        if asked < self.due.load(Ordering::SeqCst) {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            return &self.domains[number.min(self.domains.len() - 1)];
        }
        let known = if random.below(8) == 0 { asked } else { WARM };
        self.pick_quick(&self.domains[..known], random)
    }

    /// One that is known.
    fn pick_settled(&self, random: &mut Random) -> &Domain {
        self.pick_quick(&self.domains[..WARM], random)
    }

    /// One that is known to enforce.
    fn pick_enforced(&self, random: &mut Random) -> &Domain {
        loop {
            let domain = self.pick_settled(random);
            if domain.kind == Kind::Enforce {
                return domain;
            }
        }
    }

    /// Not one about which each question takes as long as the server may take.
    fn pick_quick<'d>(&self, domains: &'d [Domain], random: &mut Random) -> &'d Domain {
        loop {
            let domain = &domains[random.below(domains.len())];
            if domain.is_remembered() {
                return domain;
            }
        }
    }

    fn note(&self, domain: &Domain, is_early: bool) {
        self.replies.fetch_add(1, Ordering::SeqCst);
        if is_early {
            self.early.fetch_add(1, Ordering::SeqCst);
            self.unsettled.lock().unwrap().push(domain.number);
        }
    }

    /// Whether a reply about a domain is right that was settled when it was asked about.
    fn judge(&self, domain: &Domain, map: &str, reply: &str) -> Result<(), String> {
        domain.judge(map, true, reply, || self.looks(domain)).map(drop)
    }

    /// How often DNS was asked for the record of a domain.
    fn looks(&self, domain: &Domain) -> usize {
        let query = format!("TXT _mta-sts.{}", domain.name);
        self.world.dns_log().into_iter().filter(|line| *line == query).count()
    }

    fn fault(&self, who: &str, fault: &str) {
        self.faults.lock().unwrap().push(format!("{who}: {fault}"));
        self.has_ended.store(true, Ordering::SeqCst);
    }

    /// All clients at once, for so long or until one of them finds a fault. Returns how often each disturber came.
    fn load(&self, time: Duration) -> Vec<(&'static str, usize)> {
        self.has_ended.store(false, Ordering::SeqCst);
        let counts = thread::scope(|scope| {
            for number in 0..CONNECTIONS {
                scope.spawn(move || {
                    if let Err(fault) = clients::asker(self, number) {
                        self.fault("one of the connections", &fault);
                    }
                });
            }
            scope.spawn(|| {
                if let Err(fault) = clients::reloader(self) {
                    self.fault("while it reloads", &fault);
                }
            });
            let disturbers: Vec<_> = DISTURBERS
                .iter()
                .enumerate()
                .map(|(number, (name, disturb))| {
                    scope.spawn(move || {
                        let mut random = Random::new(1000 + number);
                        let mut count = 0;
                        while !self.has_ended() {
                            match disturb(self, &mut random) {
                                Ok(Ok(())) => count += 1,
                                Ok(Err(fault)) => self.fault(name, &fault),
                                Err(error) => self.fault(name, &error.to_string()),
                            }
                        }
                        (*name, count)
                    })
                })
                .collect();
            let (began, asked) = (Instant::now(), self.asked());
            while !self.has_ended() && began.elapsed() < time {
                let due = asked + usize::try_from(began.elapsed().as_millis()).unwrap() * COLD_EACH_SECOND / 1000;
                self.due.store(due.min(self.domains.len()), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(10));
            }
            self.has_ended.store(true, Ordering::SeqCst);
            disturbers.into_iter().map(|disturber| disturber.join().unwrap()).collect()
        });
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "\n{}\n{}", faults.join("\n"), self.server.log());
        counts
    }

    /// What the server holds when nobody asks any more. The looks that took longest have ended when nothing has changed
    /// for as long.
    fn held_at_rest(&self) -> Held {
        let (mut last, mut since) = (self.server.held(), Instant::now());
        let began = Instant::now();
        while since.elapsed() < Duration::from_secs(LOOK_SECONDS + 2) && began.elapsed() < HANG {
            thread::sleep(Duration::from_millis(100));
            let held = self.server.held();
            if (held.threads, held.descriptors) != (last.threads, last.descriptors) {
                since = Instant::now();
            }
            last = held;
        }
        last
    }

    /// The same as soon as it is no more than it was before.
    fn held_again(&self, before: Held) -> Held {
        let began = Instant::now();
        loop {
            let held = self.server.held();
            let is_back = held.threads <= before.threads && held.descriptors <= before.descriptors;
            if is_back || began.elapsed() > HANG {
                return held;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn sixteen_connections_for_a_minute_get_no_wrong_reply_and_nothing_grows() {
    let world = World::start();
    let seconds = usize::try_from((WARM_UP + LOAD).as_secs()).unwrap();
    let domains = (0..WARM + seconds * COLD_EACH_SECOND).map(|number| Domain::publish(&world, number)).collect();
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("mtasts.toml");
    let settings = format!(
        "cache = \"{}\"\nnameservers = [\"{}\"]\nhttps_port = {}\nca_file = \"{}\"\nallow_private_addresses = true\n\
         on_dns_error = \"defer\"\nmemory_entries = {MEMORY_ENTRIES}\ntimeout_seconds = {LOOK_SECONDS}\n\
         dns_timeout_seconds = {LOOK_SECONDS}\n",
        world.make_cache().display(),
        world.dns_addr(),
        world.https_addr().port(),
        world.ca_file().display()
    );
    fs::write(&configuration, &settings).unwrap();
    let scene = Scene {
        world,
        server: Server::start(directory.path(), &configuration),
        configuration,
        settings,
        domains,
        asked: AtomicUsize::new(WARM),
        due: AtomicUsize::new(WARM),
        unsettled: Mutex::default(),
        has_ended: AtomicBool::new(false),
        faults: Mutex::default(),
        replies: AtomicUsize::new(0),
        early: AtomicUsize::new(0),
        reloads: AtomicUsize::new(0),
    };
    settle_all(&scene, WARM);

    scene.load(WARM_UP);
    let before = scene.held_at_rest();
    let (replies, early, reloads) = (&scene.replies, &scene.early, &scene.reloads);
    let disturbed = scene.load(LOAD);
    let after = scene.held_again(before);

    let asked = scene.asked();
    println!("{replies:?} replies, {early:?} of them early, {asked} domains, {reloads:?} reloads, {disturbed:?}");
    println!("before {before:?}, after {after:?}");
    settle_all(&scene, asked);
    for kind in Kind::ALL {
        let cold = scene.domains[WARM..asked].iter().filter(|domain| domain.kind == kind && domain.is_settled());
        assert_ne!(cold.count(), 0, "no cold domain was {kind:?}");
    }
    assert_ne!(early.load(Ordering::SeqCst), 0, "nobody was told to come back for a tarpit");
    assert!(reloads.load(Ordering::SeqCst) > 1, "it was reloaded");
    assert!(disturbed.iter().all(|(_, count)| *count > 0), "{disturbed:?}");

    assert!(after.threads <= before.threads && after.descriptors <= before.descriptors, "{before:?}, then {after:?}");
    let limit = before.resident_kilobytes + KILOBYTES_OF_NOISE;
    assert!(after.resident_kilobytes <= limit, "{before:?}, then {after:?}");
    let (status, log) = scene.server.end();
    assert!(status.success() && !log.contains("panicked"), "{status}: {log}");
}

/// Asks about the first domains, on sixteen connections, until each has the reply that the world means.
fn settle_all(scene: &Scene, count: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                while let Some(domain) = scene.domains[..count].get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(fault) = clients::settle(scene, domain) {
                        scene.faults.lock().unwrap().push(fault);
                        break;
                    }
                }
            });
        }
    });
    let faults = scene.faults.lock().unwrap();
    assert!(faults.is_empty(), "\n{}\n{}", faults.join("\n"), scene.server.log());
}
