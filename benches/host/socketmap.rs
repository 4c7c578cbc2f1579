//! The server for Sendmail and Postfix, asked over sockets, beside a server that does nothing and the library itself.

use crate::field::{Field, Rows, medians};
use mtasts_world::{World, policy_body};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How many connections, and whether the generator and the server have one processor together. What a single connection
/// takes on two depends on whether a processor sleeps until the other one wakes it.
const CONNECTIONS: [(usize, bool); 4] = [(1, true), (1, false), (2, false), (16, false)];
const WARM_ROUNDS: usize = 9;
const WARM_MILLISECONDS: &str = "700";
const FEW: u32 = 1_000;
const MANY: u32 = 100_000;
const COLD: usize = 1_000;
const COLD_ROUNDS: usize = 5;

/// What the generator prints: replies, those that were TEMP, nanoseconds in all, nanoseconds of one reply (median, 99 %,
/// longest), nanoseconds of processor time for one reply (the server's, its own).
type Measured = [f64; 8];

pub fn measure() {
    println!("## mtasts-socketmap: a server beside one that does nothing\n");
    warm();
    cold();
}

// ---- servers ----

/// A server that runs, and ends with this value.
struct Server {
    child: Child,
    unix: String,
    inet: String,
}

impl Server {
    /// Answers all requests alike, as many bytes as the real answers have.
    fn echo(field: &Field) -> Self {
        let program = field.compile_alone("benches/c/echo.c", &[]);
        let unix = format!("unix:{}", field.path("echo.sock").display());
        let mut child = Command::new(program)
            .arg("OK secure match=mx1.example.com:.d0000000.example servername=hostname")
            .args([&unix, "inet:127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, unix, inet: format!("inet:127.0.0.1:{}", port.trim_end()) }
    }

    /// The real one, as it is installed.
    fn socketmap(directory: &Path, configuration: &Path) -> Self {
        let socket = directory.join("socketmap.sock");
        let unix = format!("unix:{}", socket.display());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let inet = format!("inet:127.0.0.1:{port}");
        let log = directory.join("socketmap.log");
        let child = Command::new(env!("CARGO_BIN_EXE_mtasts-socketmap"))
            .args(["--listen", &unix, "--listen", &inet, "--config"])
            .arg(configuration)
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { child, unix, inet };
        let began = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            let has_ended = server.child.try_wait().unwrap().is_some();
            let log = || fs::read_to_string(&log).unwrap();
            assert!(!has_ended && began.elapsed() < Duration::from_secs(30), "it does not start: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Lets all threads of the server run on one processor, or on all.
    fn confine(&self, to_one: bool) {
        let (processors, pid) = (processors(to_one), self.pid());
        let words = ["-a", "-c", "-p", &processors, &pid];
        // A thread whose client has gone may end meanwhile, which taskset takes for a failure.
        let confine = || Command::new("taskset").args(words).output().unwrap().status.success();
        assert!((0..100).any(|_| confine()), "taskset {words:?}");
    }

    fn resident_kilobytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As taskset(1) names them.
fn processors(only_one: bool) -> String {
    let last = std::thread::available_parallelism().unwrap().get() - 1;
    if only_one { "0".to_owned() } else { format!("0-{last}") }
}

/// Runs the generator.
fn load(program: &Path, address: &str, server: &Server, words: &[&str]) -> Measured {
    run(Command::new(program), address, server, words)
}

fn run(mut program: Command, address: &str, server: &Server, words: &[&str]) -> Measured {
    let output = program.args([address, &server.pid()]).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// A cache in a directory of its own. Where this runs as root, the server does not, and no cache may be root's.
fn give_away(directory: &Path, cache: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let all = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).chain([cache.to_owned()]);
    // Without the right to give it away it is the server's already.
    all.for_each(|path| drop(chown(path, Some(mtasts_world::MAIL), Some(mtasts_world::MAIL))));
}

// ---- warm ----

/// What one server did in all rounds over one socket with so many connections.
struct Row {
    tcp: bool,
    connections: usize,
    on_one_processor: bool,
    /// Of the servers in their order.
    rounds: [Vec<Measured>; SERVERS.len()],
}

/// What is asked.
const SERVERS: [&str; 4] = ["echo", "1000 domains", "1000 of 100000 domains", "100000 domains"];
const ECHO: usize = 0;
const FEW_DOMAINS: usize = 1;
const FEW_OF_MANY: usize = 2;
const MANY_DOMAINS: usize = 3;

fn warm() {
    let field = Field::new();
    let load_program = field.compile_alone("benches/c/load.c", &[]);
    let echo = Server::echo(&field);
    let fields = [FEW, MANY].map(|count| {
        let field = Field::new();
        field.fill(Rows::Enforce, count);
        field.configure("nameservers = [\"127.0.0.1:9\"]\n");
        give_away(&field.path(""), &field.path("cache"));
        field
    });
    let [few, many] = [0, 1].map(|n| Server::socketmap(&fields[n].path(""), &fields[n].configuration()));
    let counts = [FEW, FEW, FEW, MANY].map(|count| count.to_string());

    let at_start = many.resident_kilobytes();
    load(&load_program, &few.unix, &few, &["16", &counts[FEW_DOMAINS], ".example", "0"]);
    load(&load_program, &many.unix, &many, &["16", &counts[MANY_DOMAINS], ".example", "0"]);
    let resident = [few.resident_kilobytes(), many.resident_kilobytes()];

    let servers = [&echo, &few, &many, &many];
    let row =
        |tcp, (connections, on_one_processor)| Row { tcp, connections, on_one_processor, rounds: Default::default() };
    let mut rows: Vec<Row> = [false, true].iter().flat_map(|&tcp| CONNECTIONS.map(|each| row(tcp, each))).collect();
    for round in 0..WARM_ROUNDS {
        for row in &mut rows {
            servers.iter().for_each(|server| server.confine(row.on_one_processor));
            // Whatever disturbs at regular times meets all of them.
            for at in (0..servers.len()).map(|n| (n + round) % servers.len()) {
                let address = if row.tcp { &servers[at].inet } else { &servers[at].unix };
                let connections = row.connections.to_string();
                let mut words = vec![connections.as_str(), &counts[at], ".example", WARM_MILLISECONDS];
                words.extend((at == ECHO).then_some("any"));
                let mut generator = Command::new("taskset");
                generator.args(["-c", &processors(row.on_one_processor)]).arg(&load_program);
                row.rounds[at].push(run(generator, address, servers[at], &words));
            }
        }
    }

    println!(
        "Medians of {WARM_ROUNDS} rounds of {WARM_MILLISECONDS} ms, the servers in turn. Echo: blocking threads that send"
    );
    println!(
        "the same reply to each request. Processor: time of the server for one lookup, user and system. Ratios and"
    );
    println!("differences are medians of those of single rounds.\n");
    println!(
        "| socket | connections | server | lookups/s | p50 us | p99 us | processor us | rate / echo | processor - echo us |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in &rows {
        for (at, name) in SERVERS.iter().enumerate() {
            let [replies, _, all, p50, p99, _, processor, _] = medians(&row.rounds[at]);
            println!(
                "| {} | {}{} | {name} | {:.0} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} |",
                if row.tcp { "TCP" } else { "Unix" },
                row.connections,
                if row.on_one_processor { ", one processor" } else { "" },
                replies * 1e9 / all,
                p50 / 1000.0,
                p99 / 1000.0,
                processor / 1000.0,
                row.ratio(at, ECHO),
                row.more_processor_time(at)
            );
        }
    }
    println!(
        "\nResident memory in KiB: {at_start} at the start, {} after 1000 domains, {} after 100000.\n",
        resident[0], resident[1]
    );
    print_targets(&rows);
}

impl Row {
    /// Of the rates of two servers.
    fn ratio(&self, at: usize, to: usize) -> f64 {
        let rate = |measured: &Measured| measured[0] / measured[2];
        median(self.rounds[at].iter().zip(&self.rounds[to]).map(|(ours, theirs)| rate(ours) / rate(theirs)))
    }

    /// Than the echo server takes, in microseconds.
    fn more_processor_time(&self, at: usize) -> f64 {
        median(self.rounds[at].iter().zip(&self.rounds[ECHO]).map(|(ours, echo)| (ours[6] - echo[6]) / 1000.0))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    medians(&values.map(|value| [value]).collect::<Vec<_>>())[0]
}

fn print_targets(rows: &[Row]) {
    let list = |figures: Vec<f64>| figures.iter().map(|figure| format!("{figure:.2}")).collect::<Vec<_>>().join(", ");
    let each = |which: &dyn Fn(&Row) -> bool, figure: &dyn Fn(&Row) -> f64| -> String {
        let over = |tcp: bool| list(rows.iter().filter(|row| row.tcp == tcp && which(row)).map(figure).collect());
        format!("{} | {}", over(false), over(true))
    };
    let rate = |row: &Row| row.ratio(FEW_DOMAINS, ECHO);
    println!("| what, in the order of the table above | wanted | Unix | TCP |");
    println!("|---|---|---|---|");
    println!("| one connection: rate / echo | 0.8 | {} |", each(&|row| row.connections == 1, &rate));
    println!("| 16 connections: rate / echo | 0.83 | {} |", each(&|row| row.connections == 16, &rate));
    println!(
        "| processor time of a lookup - echo, us | 2 | {} |",
        each(&|_| true, &|row| row.more_processor_time(FEW_DOMAINS))
    );
    println!(
        "| 1000 of 100000 domains: rate / that of 1000 | 1 | {} |",
        each(&|_| true, &|row| row.ratio(FEW_OF_MANY, FEW_DOMAINS))
    );
    println!(
        "| 100000 domains at random: rate / that of 1000 | 1 | {} |\n",
        each(&|_| true, &|row| row.ratio(MANY_DOMAINS, FEW_DOMAINS))
    );
}

// ---- cold ----

fn cold() {
    let world = World::start();
    let names: Vec<String> = (0..=COLD).map(|number| format!("d{number:07}.test")).collect();
    for name in &names {
        let body = policy_body("enforce", &["mx1.example.com", &format!("*.{name}")], 604_800);
        world.publish(name, "20260101000000Z", body);
    }
    let field = Field::new();
    let load_program = field.compile_alone("benches/c/load.c", &[]);
    let library = field.compile("benches/c/miss.c", &[]);
    let in_process = |threads: usize| -> [f64; 4] {
        let place = Cold::new(&world);
        // The first one is asked before the measurement.
        let words = names.iter().rev();
        let output =
            Command::new(&library).arg(&place.configuration).arg(threads.to_string()).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    };
    let over_a_socket = |connections: usize| -> Measured {
        let place = Cold::new(&world);
        let server = Server::socketmap(place.directory.path(), &place.configuration);
        let (connections, count) = (connections.to_string(), COLD.to_string());
        load(&load_program, &server.unix, &server, &[&connections, &count, ".test", "0"])
    };
    // So that no certificate is made while somebody waits for it.
    in_process(16);

    println!(
        "{COLD} domains that nobody has asked about, with DNS and HTTPS on loopback, the cache on the disk; the servers of"
    );
    println!(
        "the policies share the cores. Medians of {COLD_ROUNDS} rounds. The library: the same calls from threads of a C program.\n"
    );
    println!("| connections or threads | asked | lookups/s | p50 ms | p99 ms | processor us | TEMP | rate / library |");
    println!("|---|---|---|---|---|---|---|---|");
    for connections in [1, 16] {
        let rounds: Vec<_> = (0..COLD_ROUNDS).map(|_| (in_process(connections), over_a_socket(connections))).collect();
        let (library, server): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        let rate = |measured: &Measured| measured[0] * 1e9 / measured[2];
        let ratio = median(server.iter().zip(&library).map(|(server, library)| rate(server) * library[2] / 1e9));
        let [_, one, all, used] = medians(&library);
        println!(
            "| {connections} | the library | {:.0} | {:.2} | | {:.0} | | 1.00 |",
            1e9 / all,
            one / 1e6,
            used / 1000.0
        );
        let [replies, temporary, all, p50, p99, _, used, _] = medians(&server);
        println!(
            "| {connections} | mtasts-socketmap, Unix | {:.0} | {:.2} | {:.2} | {:.0} | {temporary:.0} | {ratio:.2} |",
            replies * 1e9 / all,
            p50 / 1e6,
            p99 / 1e6,
            used / 1000.0
        );
    }
    println!();
}

/// A configuration for the world and a cache that is still empty.
struct Cold {
    directory: TempDir,
    configuration: PathBuf,
}

impl Cold {
    fn new(world: &World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        fs::DirBuilder::new().mode(0o750).create(&cache).unwrap();
        let configuration = directory.path().join("mtasts.toml");
        let text = format!(
            "cache = \"{}\"\nnameservers = [\"{}\"]\nhttps_port = {}\nca_file = \"{}\"\nallow_private_addresses = true\n",
            cache.join("cache.db").display(),
            world.dns_addr(),
            world.https_addr().port(),
            world.ca_file().display()
        );
        fs::write(&configuration, text).unwrap();
        fs::set_permissions(world.directory(), fs::Permissions::from_mode(0o755)).unwrap();
        give_away(directory.path(), &cache);
        Self { directory, configuration }
    }
}
