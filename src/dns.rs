//! DNS lookups: TXT records of one name, addresses of one host.
//!
//! Each lookup has a resolver of its own, which the calling thread drives, so that no thread and no socket outlives it.
//! Nothing is cached here: what may be remembered, and for how long, is decided by the caller. The hosts file and
//! search domains are never used. Implements RFC 8461 section 3.1 as far as the network is concerned.

mod runtime;

use crate::config::Settings;
use crate::sys::fork;
use crate::sys::once::Once;
use crate::sys::thread;
use crate::time::Deadline;
use futures_util::future::{Either, select};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::domain::usage;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, system_conf};
use runtime::{CallersThread, block_on, timeout};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

/// One try at one server takes no longer, so that a silent one leaves time for others.
const LONGEST_TRY: Duration = Duration::from_secs(3);
/// Once the IPv4 addresses are known, those of IPv6 may take this much longer; many machines cannot use them.
const GRACE_FOR_V6: Duration = Duration::from_secs(1);
/// The other way round a lost datagram must still be repeated.
const GRACE_FOR_V4: Duration = Duration::from_millis(3_500);
/// Tries after the first.
const RETRIES: usize = 2;

/// What DNS says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// There are records; they may be remembered for `ttl` seconds.
    Found {
        /// The records, in the order of the answer.
        records: Vec<T>,
        /// The smallest TTL of the answer in seconds.
        ttl: u32,
    },
    /// There are none, or the name does not exist.
    Absent {
        /// How long that may be remembered, in seconds; none without a SOA record.
        ttl: Option<u32>,
    },
    /// Nothing is known: no answer in time, or a server that could not answer. The text says which.
    Failed(String),
}

/// Asks for the TXT records of a name. The character-strings of each are joined with nothing between
/// (RFC 8461 section 3.1).
pub fn txt(settings: &Settings, name: &str, deadline: Deadline) -> Answer<Vec<u8>> {
    let pick = |data: &RData| match data {
        RData::TXT(txt) => Some(txt.txt_data.concat()),
        _ => None,
    };
    let lookup = async |asker: &Asker, name: &Name| {
        let outcome = timeout(asker.deadline.remaining(), asker.lookup(name, RecordType::TXT)).await;
        outcome.map_or_else(too_late, |outcome| answer(outcome, pick))
    };
    run(settings, name, deadline, lookup)
}

/// Asks for the IPv4 and IPv6 addresses of a host, both at once. They come interleaved, so that the loss of one
/// family costs one try. Once one family has answered, the other has little time left.
pub fn addresses(settings: &Settings, host: &str, deadline: Deadline) -> Answer<IpAddr> {
    let pick = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::from(address.0)),
        RData::AAAA(address) => Some(IpAddr::from(address.0)),
        _ => None,
    };
    let lookup = async |asker: &Asker, name: &Name| {
        let v4 = pin!(asker.lookup(name, RecordType::A));
        let v6 = pin!(asker.lookup(name, RecordType::AAAA));
        match timeout(asker.deadline.remaining(), select(v4, v6)).await {
            None => too_late(),
            Some(Either::Left((v4, v6))) => {
                let v4 = answer(v4, pick);
                let v6 = asker.other_family(&v4, v6, GRACE_FOR_V6).await.map_or_else(too_late, |v6| answer(v6, pick));
                merge(v4, v6)
            }
            Some(Either::Right((v6, v4))) => {
                let v6 = answer(v6, pick);
                let v4 = asker.other_family(&v6, v4, GRACE_FOR_V4).await.map_or_else(too_late, |v4| answer(v4, pick));
                merge(v4, v6)
            }
        }
    };
    run(settings, host, deadline, lookup)
}

/// What hickory makes on first use, for all threads together. It waits for whoever is at that, so that a child which was
/// forked meanwhile would wait for ever; hence it is made beforehand, and a fork waits for it. False where that has been
/// in vain.
pub(crate) fn make_ready() -> bool {
    static READY: Once = Once::new();
    READY.ensure(|| {
        for zone in [&*usage::LOCALHOST, &*usage::IN_ADDR_ARPA_127, &*usage::IP6_ARPA_1] {
            std::hint::black_box(zone);
        }
        for zone in [&*usage::INVALID, &*usage::LOCAL, &*usage::ONION, &*usage::DEFAULT] {
            std::hint::black_box(zone);
        }
        // Its cache has one collector for the whole process.
        std::hint::black_box(crossbeam_epoch::default_collector());
    })
}

type Outcome = Result<hickory_resolver::lookup::Lookup, NetError>;

/// One resolver and the moment at which it must have answered.
struct Asker {
    resolver: Resolver<CallersThread>,
    deadline: Deadline,
}

impl Asker {
    fn new(servers: Vec<NameServerConfig>, deadline: Deadline) -> Result<Self, NetError> {
        let config = ResolverConfig::from_name_servers(servers);
        let builder = Resolver::builder_with_config(config, CallersThread);
        Ok(Self { resolver: builder.with_options(options(deadline)).build()?, deadline })
    }

    async fn lookup(&self, name: &Name, kind: RecordType) -> Outcome {
        self.resolver.lookup(name.clone(), kind).await
    }

    /// Waits for the address family that is still out: not for long if the first one has brought addresses.
    async fn other_family(
        &self,
        first: &Answer<IpAddr>,
        other: impl Future<Output = Outcome>,
        grace: Duration,
    ) -> Option<Outcome> {
        let remaining = self.deadline.remaining();
        let is_enough = matches!(first, Answer::Found { .. });
        let limit = if is_enough { remaining.min(grace) } else { remaining };
        timeout(limit, other).await
    }
}

fn too_late<T>() -> Answer<T> {
    Answer::Failed("no answer from DNS in time".to_owned())
}

fn run<T: Send>(
    settings: &Settings,
    name: &str,
    deadline: Deadline,
    lookup: impl AsyncFn(&Asker, &Name) -> Answer<T> + Send,
) -> Answer<T> {
    let deadline = deadline.at_most(settings.dns_timeout);
    let Ok(mut name) = Name::from_ascii(name) else { return Answer::Failed("not a DNS name".to_owned()) };
    name.set_fqdn(true);
    if !make_ready() {
        return Answer::Failed("not usable in a process that was forked while DNS was made ready".to_owned());
    }
    if has_random_numbers() {
        return ask_as_told(settings, &name, deadline, lookup);
    }
    let outcome = thread::beside(|| ask_as_told(settings, &name, deadline, lookup));
    outcome.unwrap_or_else(|error| Answer::Failed(format!("no thread to ask on while this one ends: {error}")))
}

/// Whether the calling thread has its generator of query ids. One that is ending has lost it, and a call from a
/// destructor of the host's, or from an atexit handler, comes that late.
fn has_random_numbers() -> bool {
    struct Alive;
    impl Drop for Alive {
        fn drop(&mut self) {}
    }
    thread_local! {
        static ALIVE: Alive = {
            // What is made later is taken down earlier.
            drop(rand::rng());
            Alive
        };
    }
    ALIVE.try_with(|_| ()).is_ok()
}

fn ask_as_told<T>(
    settings: &Settings,
    name: &Name,
    deadline: Deadline,
    lookup: impl AsyncFn(&Asker, &Name) -> Answer<T>,
) -> Answer<T> {
    draw_new_identity_after_fork();
    let (servers, note) = name_servers(&settings.nameservers);
    let answer = block_on(async {
        // All servers at once first: of a silent and a good one the good one answers.
        let all = ask(servers.clone(), deadline, &lookup, name).await;
        if servers.len() < 2 {
            return all;
        }
        let mut last = all;
        // The first failure of any server has ended that; one that works may still be among the others.
        for server in servers {
            if !matches!(last, Answer::Failed(_)) || deadline.has_passed() {
                break;
            }
            last = ask(vec![server], deadline, &lookup, name).await;
        }
        last
    });
    match answer {
        Answer::Failed(problem) => Answer::Failed(format!("{problem}{note}")),
        answer => answer,
    }
}

/// Query ids and source ports come from a generator that a forked child shares with its parent: it would ask with the
/// same ones as its siblings, which an attacker could foresee.
fn draw_new_identity_after_fork() {
    thread_local! {
        static DRAWN_IN: Cell<u64> = const { Cell::new(0) };
    }
    let generation = fork::generation();
    DRAWN_IN.with(|drawn| {
        if drawn.replace(generation) != generation {
            // Without random numbers from the system the old ones have to do.
            let _ = rand::rng().reseed();
        }
    });
}

async fn ask<T>(
    servers: Vec<NameServerConfig>,
    deadline: Deadline,
    lookup: impl AsyncFn(&Asker, &Name) -> Answer<T>,
    name: &Name,
) -> Answer<T> {
    match Asker::new(servers, deadline) {
        Ok(asker) => lookup(&asker, name).await,
        Err(error) => Answer::Failed(format!("no resolver: {error}")),
    }
}

/// The resolvers to ask: those of the configuration, else those of resolv.conf, else one on this machine as
/// resolv.conf(5) has it. With them comes what to add to an error.
fn name_servers(configured: &[SocketAddr]) -> (Vec<NameServerConfig>, &'static str) {
    if !configured.is_empty() {
        return (configured.iter().map(|address| name_server(*address)).collect(), "");
    }
    match system_conf::read_system_conf() {
        Ok((config, _)) => (config.into_parts().2, ""),
        Err(_) => {
            let local = name_server(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
            (vec![local], " (resolv.conf names no resolver, 127.0.0.1 was asked)")
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn options(deadline: Deadline) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.edns0 = true;
    options.attempts = RETRIES;
    // The tries share what there is, so that a lost datagram can still be repeated under a short deadline.
    let tries = u32::try_from(RETRIES).unwrap_or(0).saturating_add(1);
    let share = deadline.remaining().checked_div(tries).unwrap_or_default();
    options.timeout = share.min(LONGEST_TRY);
    options
}

fn answer<T>(outcome: Outcome, pick: impl Fn(&RData) -> Option<T>) -> Answer<T> {
    match outcome {
        Ok(lookup) => {
            let records: Vec<T> = lookup.answers().iter().filter_map(|record| pick(&record.data)).collect();
            let ttl = lookup.answers().iter().map(|record| record.ttl).min();
            if records.is_empty() { Answer::Absent { ttl } } else { Answer::Found { records, ttl: ttl.unwrap_or(0) } }
        }
        // RFC 2308 section 2.2: name servers and no SOA record are a referral, which says nothing about the name.
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if none.response_code == ResponseCode::NoError && none.soa.is_none() && has_servers(&none) =>
        {
            Answer::Failed("DNS answers with a referral; the resolver does not resolve".to_owned())
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Answer::Absent { ttl: none.negative_ttl },
        Err(NetError::Timeout) => too_late(),
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Answer::Failed(format!("DNS answers {code}")),
        Err(error) => Answer::Failed(format!("no answer from DNS: {error}")),
    }
}

fn has_servers(none: &NoRecords) -> bool {
    let authorities = none.authorities.iter().flat_map(|records| records.iter());
    none.ns.as_ref().is_some_and(|servers| !servers.is_empty())
        || authorities.map(Record::record_type).any(|kind| kind == RecordType::NS)
}

fn merge(v4: Answer<IpAddr>, v6: Answer<IpAddr>) -> Answer<IpAddr> {
    use Answer::{Absent, Failed, Found};
    match (v4, v6) {
        (Found { records: v4, ttl: ttl4 }, Found { records: v6, ttl: ttl6 }) => {
            Found { records: interleave(v4, v6), ttl: ttl4.min(ttl6) }
        }
        (found @ Found { .. }, _) | (_, found @ Found { .. }) => found,
        (failed @ Failed(_), _) | (_, failed @ Failed(_)) => failed,
        (Absent { ttl: ttl4 }, Absent { ttl: ttl6 }) => Absent { ttl: ttl4.into_iter().chain(ttl6).min() },
    }
}

fn interleave<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    let mut first = first.into_iter();
    let mut second = second.into_iter();
    let mut merged = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return merged,
            (a, b) => merged.extend(a.into_iter().chain(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_interleaved_and_one_is_enough() {
        let v4 = |n: u8| IpAddr::from([192, 0, 2, n]);
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let found = |records: Vec<IpAddr>, ttl| Answer::Found { records, ttl };
        assert_eq!(merge(found(vec![v4(1), v4(2)], 60), found(vec![v6], 30)), found(vec![v4(1), v6, v4(2)], 30));
        assert_eq!(merge(Answer::Failed(String::new()), found(vec![v6], 30)), found(vec![v6], 30));
        let failed = Answer::Failed("x".to_owned());
        assert_eq!(merge(Answer::Absent { ttl: None }, failed.clone()), failed);
    }

    #[test]
    fn a_dead_resolver_fails_within_the_deadline() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let settings = Settings { nameservers: vec![socket.local_addr().unwrap()], ..Settings::default() };
        let answer = txt(&settings, "_mta-sts.example.test", Deadline::after(Duration::from_millis(300)));
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    }
}
