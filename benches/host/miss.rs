//! Answers that need DNS and HTTPS: on loopback, against servers of this program.

use crate::fetch::{self, Way};
use crate::field::{Field, medians};
use mtasts_world::{World, policy_body};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Domains in one round; the one before them is for what a process does once.
const DOMAINS: usize = 192;
const ROUNDS: usize = 9;

/// What a client prints, in nanoseconds: its first fetch, the median of the others, all by their number, and the
/// processor time of one.
type Measured = [f64; 4];

pub fn measure() {
    let world = World::start();
    let names: Vec<String> = (0..=DOMAINS).map(|number| format!("d{number:07}.test")).collect();
    for name in &names {
        world.publish(
            name,
            "20260101000000Z",
            policy_body("enforce", &["mx1.example.com", &format!("*.{name}")], 604_800),
        );
    }
    let field = Field::new();
    let program = field.compile("benches/c/miss.c", &[]);
    // So that no certificate is made while somebody waits for it.
    run_other(&world, Way::Bare, 1, &names);

    println!("## Miss: DNS and HTTPS on loopback\n");
    println!(
        "Microseconds for one domain, medians of {ROUNDS} rounds of {DOMAINS} domains. The clients are processes of"
    );
    println!("their own, and the processor time is theirs alone; the servers share the cores with them. Bare: one DNS");
    println!("query, one verified rustls handshake, one GET. Ratios are medians of those of single rounds.\n");
    println!(
        "| threads | client | first in process | one | all / number | processor | one / bare | all / bare | processor / bare |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let others = [
        ("bare", Way::Bare),
        ("bare with three queries", Way::ThreeQueries),
        ("the library's DNS and HTTPS", Way::Uncached),
    ];
    let disk = std::env::temp_dir();
    let places = [("query, cache in /dev/shm", Path::new("/dev/shm")), ("query, cache on the disk", &disk)];
    for threads in [1, 16] {
        let mut measured: Vec<(&str, Vec<Measured>)> = Vec::new();
        measured.extend(others.iter().map(|(name, _)| (*name, Vec::new())));
        measured.extend(places.iter().map(|(name, _)| (*name, Vec::new())));
        for _ in 0..ROUNDS {
            let (by_others, by_us) = measured.split_at_mut(others.len());
            for ((_, way), (_, measured)) in others.iter().zip(by_others) {
                measured.push(run_other(&world, *way, threads, &names));
            }
            for ((_, place), (_, measured)) in places.iter().zip(by_us).filter(|((_, place), _)| place.is_dir()) {
                measured.push(run_ours(&world, &program, place, threads, &names));
            }
        }
        for (name, rounds) in measured.iter().filter(|(_, rounds)| !rounds.is_empty()) {
            print_row(threads, name, rounds, &measured[0].1);
        }
    }
    world.clear_logs();
    run_ours(&world, &program, &disk, 1, &names);
    let queries = world.dns_log();
    let of = |kind: &str| queries.iter().filter(|line| line.starts_with(&format!("{kind} "))).count();
    println!(
        "\nOn the wire for {} domains: {} queries for TXT, {} for A, {} for AAAA, {} in all; {} TCP connections, {} requests.\n",
        names.len(),
        of("TXT"),
        of("A"),
        of("AAAA"),
        queries.len(),
        world.https_connections(),
        world.https_log().len()
    );
}

fn print_row(threads: usize, client: &str, measured: &[Measured], bare: &[Measured]) {
    let micros = medians(measured).map(|nanoseconds| format!("{:.0}", nanoseconds / 1000.0));
    let ratios: Vec<Measured> =
        measured.iter().zip(bare).map(|(ours, bare)| std::array::from_fn(|at| ours[at] / bare[at])).collect();
    let [_, one, all, processor] = medians(&ratios);
    println!("| {threads} | {client} | {} | {one:.2} | {all:.2} | {processor:.2} |", micros.join(" | "));
}

fn run_other(world: &World, way: Way, threads: usize, names: &[String]) -> Measured {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let servers = [world.dns_addr(), world.https_addr()].map(|address| address.to_string());
    command.arg(fetch::WORD).arg(format!("{way:?}")).args(servers);
    command.arg(world.ca_file()).arg(threads.to_string()).args(names);
    run(&mut command)
}

/// Each round has a cache of its own, so that nobody has asked before.
fn run_ours(world: &World, program: &Path, place: &Path, threads: usize, names: &[String]) -> Measured {
    let directory = TempDir::new_in(place).unwrap();
    fs::DirBuilder::new().mode(0o750).create(directory.path().join("cache")).unwrap();
    let configuration = directory.path().join("mtasts.toml");
    let text = format!(
        "cache = \"{}\"\nnameservers = [\"{}\"]\nhttps_port = {}\nca_file = \"{}\"\nallow_private_addresses = true\n",
        directory.path().join("cache/cache.db").display(),
        world.dns_addr(),
        world.https_addr().port(),
        world.ca_file().display()
    );
    fs::write(&configuration, text).unwrap();
    run(Command::new(program).arg(&configuration).arg(threads.to_string()).args(names))
}

fn run(command: &mut Command) -> Measured {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}
