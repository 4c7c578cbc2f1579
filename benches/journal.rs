//! Measures what the choice of SQLite's journal mode costs: `cargo bench --bench journal [DIRECTORY]`.
//!
//! For each mode: a fresh process that opens a database of 100000 rows and reads one; one write; and the throughput of
//! eight processes of which each tenth operation writes. `doc/cache.md` holds a run and what follows from it.

use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ROWS: i64 = 100_000;
const MODES: &[(&str, &str)] = &[
    ("WAL", "NORMAL"),
    ("WAL", "FULL"),
    ("DELETE", "FULL"),
    ("TRUNCATE", "FULL"),
    ("PERSIST", "FULL"),
    ("TRUNCATE", "NORMAL"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["nothing"] => {}
        ["read", path, journal, synchronous] => drop(read_one(&open(Path::new(path), journal, synchronous), 4711)),
        ["mix", path, journal, synchronous, seed] => mix(Path::new(path), journal, synchronous, seed.parse().unwrap()),
        [] => compare(&std::env::temp_dir()),
        [directory] => compare(Path::new(directory)),
        _ => panic!("usage: cargo bench --bench journal [DIRECTORY]"),
    }
}

fn compare(parent: &Path) {
    let directory = tempfile::tempdir_in(parent).unwrap();
    let path = directory.path().join("bench.db");
    let empty = median(100, || run(&["nothing"]));
    println!("database in {}, {ROWS} rows; a process that does nothing takes {}", parent.display(), micros(empty));
    println!(
        "{:<20} {:>22} {:>14} {:>28}",
        "journal, synchronous", "open + read, alone", "one write", "8 processes, 10 % writes"
    );
    for (journal, synchronous) in MODES {
        create(&path, journal);
        let shown = path.to_str().unwrap();
        let read = median(100, || run(&["read", shown, journal, synchronous]));
        let connection = open(&path, journal, synchronous);
        let mut n = 0;
        let write = median(200, || {
            n += 1;
            let began = Instant::now();
            write_one(&connection, n).unwrap();
            began.elapsed()
        });
        drop(connection);
        let (operations, waits) = throughput(&path, journal, synchronous);
        println!(
            "{:<20} {:>22} {:>14} {:>28}",
            format!("{journal}, {synchronous}"),
            micros(read.saturating_sub(empty)),
            micros(write),
            format!("{operations}/s, {waits} waits")
        );
    }
}

fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

fn median(count: usize, mut measure: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..count).map(|_| measure()).collect();
    times.sort();
    times[count / 2]
}

fn run(arguments: &[&str]) -> Duration {
    let began = Instant::now();
    assert!(Command::new(std::env::current_exe().unwrap()).args(arguments).status().unwrap().success());
    began.elapsed()
}

fn create(path: &Path, journal: &str) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(PathBuf::from(format!("{}{suffix}", path.display())));
    }
    let connection = Connection::open(path).unwrap();
    connection.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(())).unwrap();
    connection
        .execute_batch("CREATE TABLE domain (name TEXT NOT NULL PRIMARY KEY, body BLOB, checked_until INTEGER) WITHOUT ROWID; BEGIN")
        .unwrap();
    let mut insert = connection.prepare("INSERT INTO domain VALUES (?1, zeroblob(250), 0)").unwrap();
    for n in 0..ROWS {
        insert.execute(params![name(n)]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}

fn name(n: i64) -> String {
    format!("domain-{n}.example")
}

fn open(path: &Path, journal: &str, synchronous: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    if journal != "WAL" {
        connection.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(())).unwrap();
    }
    connection.pragma_update(None, "synchronous", synchronous).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
}

fn read_one(connection: &Connection, n: i64) -> rusqlite::Result<Vec<u8>> {
    connection
        .prepare_cached("SELECT body FROM domain WHERE name = ?1")?
        .query_row(params![name(n % ROWS)], |row| row.get(0))
}

fn write_one(connection: &Connection, n: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("UPDATE domain SET checked_until = checked_until + 1 WHERE name = ?1")?
        .execute(params![name(n * 7919 % ROWS)])
}

/// One of the eight: works for a second, prints its operations and how often it found the database locked.
fn mix(path: &Path, journal: &str, synchronous: &str, seed: i64) {
    let connection = open(path, journal, synchronous);
    let (mut operations, mut waits) = (0_i64, 0_i64);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        let n = seed * 104_729 + operations * 31;
        let outcome =
            if operations % 10 == 9 { write_one(&connection, n).map(drop) } else { read_one(&connection, n).map(drop) };
        match outcome {
            Ok(()) => operations += 1,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                waits += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{operations} {waits}");
}

fn throughput(path: &Path, journal: &str, synchronous: &str) -> (i64, i64) {
    let children: Vec<_> = (0..8)
        .map(|seed| {
            Command::new(std::env::current_exe().unwrap())
                .args(["mix", path.to_str().unwrap(), journal, synchronous, &seed.to_string()])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut total = (0, 0);
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let (operations, waits) = text.trim().split_once(' ').unwrap();
        total = (total.0 + operations.parse::<i64>().unwrap(), total.1 + waits.parse::<i64>().unwrap());
    }
    total
}
