//! Who asks the server: those that count, and those that disturb them.

use crate::Scene;
use crate::domains::{Domain, MAPS, demand};
use crate::server::{Connection, HANG, is_end, netstring};
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Between what a client that disturbs does, so that it leaves processor time to others.
const PAUSE: Duration = Duration::from_millis(10);

/// Numbers without order, the same in each run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::try_from(seed).unwrap() + 1))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// What a client hands back that must stop everything.
type Fault = String;

/// One of the connections that count: it asks without a pause, and no reply may be wrong.
pub fn asker(scene: &Scene, number: usize) -> Result<(), Fault> {
    let mut random = Random::new(number);
    let mut connection = scene.server.connect(number.is_multiple_of(2)).map_err(|error| format!("connect: {error}"))?;
    while !scene.has_ended() {
        let map = MAPS[random.below(MAPS.len())];
        if random.below(16) == 0 {
            ask_about_no_domain(&mut connection, map, &mut random)?;
            continue;
        }
        ask(scene, &mut connection, map, scene.pick(&mut random))?;
    }
    Ok(())
}

/// Asks about a domain, and notes the reply.
fn ask(scene: &Scene, connection: &mut Connection, map: &str, domain: &Domain) -> Result<(), Fault> {
    let was_settled = domain.is_settled();
    let reply = connection.ask(map, &domain.name).map_err(|error| format!("{map} {}: {error}", domain.name))?;
    scene.note(domain, domain.judge(map, was_settled, &reply, || scene.looks(domain))?);
    Ok(())
}

fn ask_about_no_domain(connection: &mut Connection, map: &str, random: &mut Random) -> Result<(), Fault> {
    const KEYS: [&str; 6] = [".d1.test", "[192.0.2.1]", "192.0.2.1", "[2001:db8::1]:25", "d1.test:25", ""];
    let key = KEYS[random.below(KEYS.len())];
    let reply = connection.ask(map, key).map_err(|error| format!("{map} {key}: {error}"))?;
    if reply == "NOTFOUND " { Ok(()) } else { Err(format!("{map} {key}: `{reply}`, want `NOTFOUND `")) }
}

/// A client that disturbs.
pub type Disturber = fn(&Scene, &mut Random) -> io::Result<Result<(), Fault>>;

pub const DISTURBERS: [(&str, Disturber); 8] = [
    ("byte by byte", byte_by_byte),
    ("many at once", many_at_once),
    ("half a request for long", half_for_long),
    ("malformed", malformed),
    ("oversized", oversized),
    ("never reads", never_reads),
    ("vanishes", vanishes),
    ("vanishes amid a look", vanishes_amid_a_look),
];

/// Sends a right request slowly, and gets the right reply.
fn byte_by_byte(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    let domain = scene.pick_settled(random);
    let map = MAPS[random.below(MAPS.len())];
    let mut connection = scene.server.connect(random.below(2) == 0)?;
    for byte in netstring(&format!("{map} {}", domain.name)) {
        connection.socket.write_all(&[byte])?;
        thread::sleep(PAUSE);
    }
    let reply = connection.reply()?;
    Ok(scene.judge(domain, map, &reply))
}

/// Sends several requests in one piece, and gets the replies in order.
fn many_at_once(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    let mut connection = scene.server.connect(random.below(2) == 0)?;
    let asked: Vec<(&Domain, &str)> =
        (0..50).map(|_| (scene.pick_settled(random), MAPS[random.below(MAPS.len())])).collect();
    let requests: Vec<u8> =
        asked.iter().flat_map(|(domain, map)| netstring(&format!("{map} {}", domain.name))).collect();
    connection.socket.write_all(&requests)?;
    for (domain, map) in asked {
        let reply = connection.reply()?;
        if let Err(fault) = scene.judge(domain, map, &reply) {
            return Ok(Err(fault));
        }
    }
    thread::sleep(Duration::from_millis(100));
    Ok(Ok(()))
}

/// Holds a connection with half a request. The server may end it; what it replies must be right.
fn half_for_long(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    let domain = scene.pick_settled(random);
    let request = netstring(&format!("sts {}", domain.name));
    let (first, second) = request.split_at(random.below(request.len()));
    let mut connection = scene.server.connect(random.below(2) == 0)?;
    connection.socket.write_all(first)?;
    scene.wait(Duration::from_secs(2));
    match connection.socket.write_all(second).and_then(|()| connection.reply()) {
        Ok(reply) => Ok(scene.judge(domain, "sts", &reply)),
        Err(error) if is_end(&error) => Ok(Ok(())),
        Err(error) => Err(error),
    }
}

/// What is no netstring ends the connection; a netstring that is no request gets a TEMP. Neither gets anything else.
fn malformed(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    const NO_NETSTRINGS: [&[u8]; 10] = [
        b"GET / HTTP/1.0\r\n\r\n",
        b":sts d1.test,",
        b"-1:x,",
        b"+3:sts,",
        b"11:sts d1.test;",
        b"3:sts d1.test,",
        b"0x3:sts,",
        b" 11:sts d1.test,",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xff\xff\xff",
    ];
    const NO_REQUESTS: [&str; 5] = ["", "sts", "perm d1.test", "STS d1.test", "postfix\td1.test"];
    let mut connection = scene.server.connect(random.below(2) == 0)?;
    let wrong = NO_REQUESTS[random.below(NO_REQUESTS.len())];
    connection.socket.write_all(&netstring(wrong))?;
    let reply = connection.reply()?;
    thread::sleep(PAUSE);
    if !reply.starts_with("TEMP ") {
        return Ok(Err(format!("{wrong}: `{reply}`, want TEMP")));
    }
    let wrong = NO_NETSTRINGS[random.below(NO_NETSTRINGS.len())];
    connection.socket.write_all(wrong)?;
    ends_without_an_answer(&mut connection, wrong)
}

fn oversized(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    const HEADS: [&str; 5] =
        ["99999:", "100001:", "4294967307:", "18446744073709551627:", "000000000000000000000000011:"];
    let head = HEADS[random.below(HEADS.len())];
    let mut connection = scene.server.connect(random.below(2) == 0)?;
    thread::sleep(PAUSE);
    let request = [head.as_bytes(), &b"sts d1.test,".repeat(20_000)].concat();
    match connection.socket.write_all(&request) {
        Err(error) if !is_end(&error) => return Err(error),
        _ => {}
    }
    ends_without_an_answer(&mut connection, head.as_bytes())
}

fn ends_without_an_answer(connection: &mut Connection, request: &[u8]) -> io::Result<Result<(), Fault>> {
    let replies = connection.replies_to_the_end()?;
    let is_right = replies.len() <= 1 && replies.iter().all(|reply| reply.starts_with("TEMP "));
    let fault = || Err(format!("{}: {replies:?}, want an end, or a TEMP and an end", request.escape_ascii()));
    Ok(if is_right { Ok(()) } else { fault() })
}

/// Sends requests until nothing more goes through, and reads no reply.
fn never_reads(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    // The longer the replies, the fewer go through before nothing does.
    let domain = scene.pick_enforced(random);
    let requests = netstring(&format!("postfix-tlsrpt {}", domain.name)).repeat(1000);
    let socket = scene.server.connect_tcp()?;
    socket.set_write_timeout(Some(Duration::from_millis(500)))?;
    let began = Instant::now();
    while !scene.has_ended() && began.elapsed() < HANG && (&socket).write_all(&requests).is_ok() {}
    scene.wait(Duration::from_millis(u64::try_from(random.below(3000)).unwrap()));
    Ok(Ok(()))
}

/// Closes its connection amid a request or before the reply, sometimes with a reset.
fn vanishes(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    let request = netstring("sts d1.test");
    let sent = &request[..random.below(request.len() + 1)];
    if random.below(2) == 0 {
        let socket = scene.server.connect_tcp()?;
        (&socket).write_all(sent)?;
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    } else {
        scene.server.connect(random.below(2) == 0)?.socket.write_all(sent)?;
    }
    thread::sleep(PAUSE);
    Ok(Ok(()))
}

/// Leaves while the server still looks for the answer.
fn vanishes_amid_a_look(scene: &Scene, random: &mut Random) -> io::Result<Result<(), Fault>> {
    let domain = scene.pick(random);
    let mut connection = scene.server.connect(random.below(2) == 0)?;
    connection.socket.write_all(&netstring(&format!("sts {}", domain.name)))?;
    thread::sleep(Duration::from_millis(50));
    Ok(Ok(()))
}

/// Has the server read a new configuration again and again. Whatever is asked meanwhile has the old answer or the new.
pub fn reloader(scene: &Scene) -> Result<(), Fault> {
    let told = |number: usize| demand("sts", "pinned.test", &format!("mx{number}.test"), "*.pinned.test");
    while !scene.has_ended() {
        let number = scene.reloads.fetch_add(1, Ordering::SeqCst) + 1;
        scene.configure(&format!(
            "[domain.\"pinned.test\"]\nmode = \"enforce\"\nmx = [\"mx{number}.test\", \"*.pinned.test\"]\n"
        ));
        scene.server.signal("HUP");
        let began = Instant::now();
        loop {
            let asked =
                scene.server.connect(number.is_multiple_of(2)).and_then(|mut new| new.ask("sts", "pinned.test"));
            let reply = asked.map_err(|error| format!("pinned.test: {error}"))?;
            if reply == told(number) {
                break;
            }
            let is_old = if number == 1 { reply == "NOTFOUND " } else { reply == told(number - 1) };
            if !is_old || began.elapsed() > HANG {
                return Err(format!("pinned.test: `{reply}` after a reload, want `{}`", told(number)));
            }
            thread::sleep(Duration::from_millis(10));
        }
        scene.wait(Duration::from_secs(4));
    }
    Ok(())
}

/// Asks until the reply is the one that the world means.
pub fn settle(scene: &Scene, domain: &Domain) -> Result<(), Fault> {
    let began = Instant::now();
    let mut connection = scene.server.connect(false).map_err(|error| format!("connect: {error}"))?;
    while !domain.is_settled() {
        ask(scene, &mut connection, "sts", domain)?;
        if began.elapsed() > HANG {
            return Err(format!("{} ({:?}) is looked for without end", domain.name, domain.kind));
        }
    }
    let maps = if domain.is_remembered() { &MAPS[..] } else { &[] };
    maps.iter().try_for_each(|map| ask(scene, &mut connection, map, domain))
}
