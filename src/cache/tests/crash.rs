//! Processes that are killed while they write, and many that find the same damage.

use super::*;
use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Tells [`process`] what to do: `store FILE FIRST NUMBER` or `read FILE`.
const ORDER: &str = "MTASTS_TEST_ORDER";
const WRITERS: i64 = 4;
/// A time after all fetches of these tests.
const LATER: UnixTime = UnixTime(NOW.0 + 100_000_000);

/// Domains that all writers write; beside them each has its own.
fn domain_of(writer: i64, step: i64) -> String {
    if step % 3 == 0 { format!("shared{}.example", step % 8) } else { format!("own{writer}-{}.example", step % 40) }
}

/// Policies of a few bytes and of many pages.
fn large_policy(fetched_at: UnixTime, step: i64) -> Row {
    let lines = usize::try_from(step * 7919 % 97).unwrap().pow(2) / 4;
    let body = format!("version: STSv1\nmode: enforce\nmax_age: 31557600\n{}", "mx: mx.example\n".repeat(lines + 1));
    let stored = StoredPolicy::new(&format!("f{fetched_at}"), body.as_bytes(), fetched_at).unwrap();
    Row { policy: Some(Arc::new(stored)), ..no_policy() }
}

/// A process that the tests of this file start.
#[test]
#[ignore = "is a process that the tests of this file start"]
fn process() {
    let order = std::env::var(ORDER).expect("is started by another test");
    let words: Vec<&str> = order.split(' ').collect();
    let settings = Settings { cache: words[1].into(), memory_entries: 0, ..Settings::default() };
    let cache = Cache::new(&settings);
    let place = Place::new();
    let say = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
    if words[0] == "read" {
        say(format!("ready{}\n", fs::read(words[1]).unwrap().len()));
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let known = cache.read(&domain("a.example"), NOW, deadline(), &place);
        cache.store_policy(&domain("b.example"), Arc::new(enforce()), NOW, deadline(), &place);
        say(format!("found {}\n", known.is_some()));
        place.lines.lock().unwrap().iter().for_each(|line| say(format!("log {line}\n")));
        return;
    }
    let (first, writer): (i64, i64) = (words[2].parse().unwrap(), words[3].parse().unwrap());
    for step in 0.. {
        let name = domain_of(writer, step);
        let fetched_at = NOW.plus(u64::try_from(first + step).unwrap());
        let row = Arc::new(large_policy(fetched_at, step + writer));
        let known = cache.store_policy(&domain(&name), row, LATER, deadline(), &place);
        // What is told here is committed.
        if known.stored_in.is_some() {
            say(format!("stored {name} {}\n", known.row.policy.as_ref().unwrap().fetched_at));
        }
    }
}

/// Starts [`process`]. What it makes and cannot remove when it is killed lies in a place of the test.
fn start(place: &Place, order: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cache::tests::crash::process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ORDER, order)
        .env("TMPDIR", place.directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills writers until so many have died while they wrote.
fn kill_writers(wanted: usize) {
    let random = RandomState::new();
    let (mut kills, mut found_hot, mut commits, mut round) = (0, 0, 0, 0_i64);
    let began = Instant::now();
    while kills < wanted {
        // Now and then from the beginning, so that some die while they create the file.
        let place = Place::new();
        let path = place.path("cache.db");
        let mut committed: HashMap<String, i64> = HashMap::new();
        for _ in 0..12 {
            round += 1;
            let order = |writer: i64| format!("store {} {} {writer}", path.display(), round * 10_000);
            let mut writers: Vec<Child> = (0..WRITERS).map(|writer| start(&place, &order(writer))).collect();
            std::thread::sleep(Duration::from_micros(10_000 + random.hash_one(round) % 90_000));
            for writer in &mut writers {
                writer.kill().unwrap();
            }
            let journal = fs::metadata(place.path("cache.db-journal")).map_or(0, |found| found.len());
            for mut writer in writers {
                let mut told = Vec::new();
                writer.stdout.take().unwrap().read_to_end(&mut told).unwrap();
                assert!(!writer.wait().unwrap().success(), "a writer ends only when it is killed");
                let told = String::from_utf8(told).unwrap();
                let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
                let stored: Vec<&str> = whole.lines().filter_map(|line| Some(line.split_once("stored ")?.1)).collect();
                kills += usize::from(!stored.is_empty());
                commits += stored.len();
                for line in stored {
                    let (name, fetched_at) = line.split_once(' ').unwrap();
                    let newest = committed.entry(name.to_owned()).or_insert(i64::MIN);
                    *newest = (*newest).max(fetched_at.parse().unwrap());
                }
            }
            found_hot += usize::from(journal > 0);
            check(&place, &committed, round);
        }
        assert!(began.elapsed() < Duration::from_secs(900), "{kills} kills, want {wanted}");
    }
    println!("{kills} kills, {commits} commits, {found_hot} journals to roll back, {:?}", began.elapsed());
    assert!(found_hot > 0, "no kill has hit a writer in the middle");
}

/// The database is whole, and has every policy that was committed, or a later one.
fn check(place: &Place, committed: &HashMap<String, i64>, round: i64) {
    let reader = place.process();
    for (name, at_least) in committed {
        let known = reader.cache.read(&domain(name), LATER, deadline(), place);
        let policy = known.and_then(|known| known.row.policy.clone());
        let fetched_at = policy.as_ref().map(|policy| policy.fetched_at.0);
        assert!(fetched_at >= Some(*at_least), "round {round}: {name} has {fetched_at:?}, want {at_least}");
        assert_eq!(&*policy.unwrap().id, format!("f{}", fetched_at.unwrap()), "round {round}");
    }
    assert!(place.lines.lock().unwrap().is_empty(), "round {round}: {:?}", place.lines.lock().unwrap());
    let connection = rusqlite::Connection::open(place.path("cache.db")).unwrap();
    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok", "round {round}");
    if !committed.is_empty() {
        assert_eq!(
            text("SELECT CAST((SELECT count(*) FROM domain) = row_count AS TEXT) FROM size"),
            "1",
            "round {round}"
        );
    }
}

#[test]
fn writers_that_are_killed_lose_no_committed_policy() {
    kill_writers(80);
}

#[test]
#[ignore = "takes minutes; make torture runs it"]
fn torture_a_thousand_writers_that_are_killed_lose_no_committed_policy() {
    kill_writers(1000);
}

#[test]
fn of_many_processes_that_find_the_same_damage_one_moves_the_file_and_says_so() {
    for _ in 0..5 {
        let place = Place::new();
        place.damage();
        let damaged = fs::read(place.path("cache.db")).unwrap();
        let mut readers: Vec<Child> =
            (0..8).map(|_| start(&place, &format!("read {}", place.path("cache.db").display()))).collect();
        let mut outputs: Vec<_> = readers.iter_mut().map(|reader| reader.stdout.take().unwrap()).collect();
        // All have begun before the first goes on.
        for output in &mut outputs {
            let mut told = Vec::new();
            while !told.ends_with(b"ready9000\n") {
                let mut byte = [0];
                output.read_exact(&mut byte).unwrap();
                told.extend(byte);
            }
        }
        for reader in &mut readers {
            reader.stdin.take().unwrap().write_all(b"go\n").unwrap();
        }
        let mut told = String::new();
        for (mut reader, mut output) in readers.into_iter().zip(outputs) {
            output.read_to_string(&mut told).unwrap();
            assert!(reader.wait().unwrap().success(), "{told}");
        }
        assert_eq!(told.matches("log ").count(), 1, "{told}");
        assert_eq!(told.matches("it is kept as").count(), 1, "{told}");
        assert_eq!(place.files_moved_aside(), 1);
        let aside = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside = aside.into_iter().find(|path| path.to_string_lossy().contains("damaged")).unwrap();
        assert_eq!(fs::read(aside).unwrap(), damaged);
        assert!(place.process().id("b.example").is_some());
    }
}
