//! Files that are cut, flipped, emptied or switched to another mode while they are open.

use super::*;
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

const DOMAINS: usize = 60;
/// Short, for tests in which the file cannot be used at all.
const SOON: Duration = Duration::from_millis(20);

fn name(n: usize) -> String {
    format!("d{n}.example")
}

/// A file of some pages, with overflow pages.
fn fill(place: &Place) {
    let mine = place.process();
    for n in 0..DOMAINS {
        let more = "v".repeat(if n % 20 == 7 { 15_000 } else { 15 * n + 1 });
        let body = format!("version: STSv1\nmode: enforce\nmax_age: 500\nmx: mx.example\nx: {more}\n");
        let stored = StoredPolicy::new("a1", body.as_bytes(), NOW).unwrap();
        mine.learn(&name(n), Row { policy: Some(Arc::new(stored)), ..enforce() });
    }
}

fn files_of(place: &Place) -> Vec<PathBuf> {
    fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// What must hold whatever was done to the file, of which no less than `damaged` bytes are kept. Returns how many policies
/// of the file were still found.
fn live_through(place: &Place, mine: &Process<'_>, damaged: usize, scene: &str) -> usize {
    let began = Instant::now();
    let found = (0..DOMAINS).filter(|n| {
        let known = mine.read(&name(*n)).filter(|known| known.row.policy.is_some());
        let is_right = |known: &Known| known.row.policy.as_ref().unwrap().policy.mode() == crate::syntax::Mode::Enforce;
        assert!(known.iter().all(is_right), "{scene}: {known:?}");
        known.is_some()
    });
    let found = found.count();
    // What is learnt is known, whatever became of the file.
    mine.learn("new.example", enforce());
    assert_eq!(mine.id("new.example").as_deref(), Some("a1"), "{scene}");
    assert!(began.elapsed() < Duration::from_secs(5), "{scene}: {:?}", began.elapsed());
    let lines = place.lines.lock().unwrap().clone();
    let is_aside = |name: &str| name.contains("cache.db.damaged") && !name.ends_with("-journal");
    let aside: Vec<PathBuf> = files_of(place).into_iter().filter(|path| is_aside(&path.to_string_lossy())).collect();
    assert!(aside.len() <= 1, "{scene}: {aside:?}");
    let moves = lines.iter().filter(|line| line.contains("it is kept as")).count();
    assert_eq!(moves, aside.len(), "{scene}: {lines:?}");
    if let Some(aside) = aside.first() {
        assert!(fs::metadata(aside).unwrap().len() >= damaged as u64, "{scene}: nothing is deleted");
        let fresh = place.process();
        assert_eq!(fresh.id("new.example").as_deref(), Some("a1"), "{scene}: {lines:?}");
    }
    found
}

/// A random number from a seed: a failure can be repeated.
fn random(seed: usize) -> usize {
    usize::try_from(BuildHasherDefault::<DefaultHasher>::default().hash_one(seed) >> 1).unwrap()
}

#[test]
fn a_bit_that_flips_anywhere_costs_no_answer_and_at_most_the_file_which_is_kept() {
    let seed = Place::new();
    fill(&seed);
    let whole = fs::read(seed.path("cache.db")).unwrap();
    let (mut moved, mut silently_lost) = (0, 0);
    for flip in 0..500 {
        let place = Place::new();
        let mut bytes = whole.clone();
        // Each fifth in the first page, which holds the header and the schema.
        let at = random(2 * flip) % if flip % 5 == 0 { 4096 } else { bytes.len() };
        bytes[at] ^= 1 << (random(2 * flip + 1) % 8);
        fs::write(place.path("cache.db"), &bytes).unwrap();
        fs::set_permissions(place.path("cache.db"), fs::Permissions::from_mode(0o640)).unwrap();
        let found = live_through(&place, &place.process(), bytes.len(), &format!("flip {flip} of byte {at}"));
        let is_quiet = place.lines.lock().unwrap().is_empty();
        moved += place.files_moved_aside();
        silently_lost += if is_quiet { DOMAINS - found } else { 0 };
    }
    println!(
        "500 flips: {moved} files moved aside, {silently_lost} of {} policies missed in the others",
        500 * DOMAINS
    );
    // The row that is hit may be lost, and now and then those behind it.
    assert!(silently_lost < 500, "{silently_lost}");
    assert!(moved > 0);
}

/// Cuts the file to every multiple of 512 bytes (or to some of them) while it is open.
fn cut_the_database(step: usize) {
    let seed = Place::new();
    fill(&seed);
    let whole = fs::read(seed.path("cache.db")).unwrap();
    for length in (0..whole.len()).step_by(512 * step).chain([1, 99, 100, 511]) {
        let place = Place::new();
        fs::copy(seed.path("cache.db"), place.path("cache.db")).unwrap();
        let (mine, other) = (place.process_with("cache.db", 100, 0), place.process());
        assert!(mine.read(&name(1)).is_some() && other.read(&name(2)).is_some());
        fs::File::options().write(true).open(place.path("cache.db")).unwrap().set_len(length as u64).unwrap();
        let scene = format!("cut to {length}");
        assert_eq!(other.id(&name(2)).as_deref(), Some("a1"), "{scene}: memory has it");
        live_through(&place, &other, length, &scene);
        mine.learn("later.example", enforce());
        assert!(place.process().id("later.example").is_some(), "{scene}: {:?}", place.lines.lock().unwrap());
        if length % (512 * 16) == 0 {
            let connection = rusqlite::Connection::open(place.path("cache.db")).unwrap();
            let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(found, "ok", "{scene}");
        }
    }
}

#[test]
fn a_database_that_is_cut_while_it_is_open_costs_no_answer() {
    cut_the_database(12);
}

#[test]
#[ignore = "takes a minute; make torture runs it"]
fn torture_a_database_that_is_cut_anywhere_while_it_is_open_costs_no_answer() {
    cut_the_database(1);
}

/// What a process that died in the middle of a commit leaves: database and journal.
fn half_a_commit(seed: &Place) -> (Vec<u8>, Vec<u8>) {
    let connection = rusqlite::Connection::open(seed.path("cache.db")).unwrap();
    connection.execute_batch("PRAGMA cache_size = 2; BEGIN; UPDATE domain SET body = zeroblob(3000)").unwrap();
    let found = ["cache.db", "cache.db-journal"].map(|file| fs::read(seed.path(file)).unwrap());
    let [database, journal] = found;
    assert!(journal.len() > 4096 && journal[..8] == *b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7");
    (database, journal)
}

/// Cuts the journal of a commit that was not finished, with the database open before and after.
fn cut_the_journal(step: usize) {
    let seed = Place::new();
    fill(&seed);
    let whole = fs::read(seed.path("cache.db")).unwrap();
    let (database, journal) = half_a_commit(&seed);
    for length in (0..=journal.len()).rev().step_by(512 * step) {
        let place = Place::new();
        let write = |file: &str, bytes: &[u8]| {
            fs::write(place.path(file), bytes).unwrap();
            fs::set_permissions(place.path(file), fs::Permissions::from_mode(0o640)).unwrap();
        };
        write("cache.db", &whole);
        let mine = place.process();
        assert!(mine.read(&name(1)).is_some());
        write("cache.db", &database);
        write("cache.db-journal", &journal[..length]);
        let scene = format!("journal of {length} of {}", journal.len());
        // What is played back begins with the length that the file had.
        live_through(&place, &mine, whole.len(), &scene);
        if length == journal.len() {
            let fresh = place.process();
            assert!((0..DOMAINS).all(|n| fresh.id(&name(n)).is_some()), "a whole journal is played back");
        }
    }
}

#[test]
fn a_journal_that_is_cut_costs_no_answer() {
    cut_the_journal(12);
}

#[test]
#[ignore = "takes a minute; make torture runs it"]
fn torture_a_journal_that_is_cut_anywhere_costs_no_answer() {
    cut_the_journal(1);
}

/// Another program that has switched the file to WAL and keeps it open.
fn sqlite3(place: &Place) -> Option<std::process::Child> {
    let started =
        Command::new("sqlite3").arg(place.path("cache.db")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut program) = started else {
        println!("SKIPPED: sqlite3 not installed");
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "skipped, and that is forbidden");
        return None;
    };
    let orders = b"PRAGMA journal_mode = WAL;\nUPDATE domain SET refresh_at = 7;\nSELECT 'ready';\n";
    program.stdin.as_mut().unwrap().write_all(orders).unwrap();
    let mut told = Vec::new();
    while !told.ends_with(b"ready\n") {
        let mut byte = [0];
        program.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        told.extend(byte);
    }
    Some(program)
}

/// Cuts the files of a WAL that another program has begun. A cut -shm file ends whoever has mapped it with SIGBUS.
fn cut_the_log(step: u64) {
    for file in ["cache.db-shm", "cache.db-wal"] {
        let place = Place::new();
        fill(&place);
        let mine = place.process_with("cache.db", 100, 0);
        assert!(mine.read(&name(1)).is_some());
        let Some(mut program) = sqlite3(&place) else { return };
        let read = |scene: &str| {
            let began = Instant::now();
            for reader in [&mine, &place.process_with("cache.db", 100, 0)] {
                let known = reader.cache.read(&domain(&name(1)), NOW, Deadline::after(SOON), &place);
                assert!(known.is_some_and(|known| known.row.policy.is_some()), "{scene}");
            }
            assert!(began.elapsed() < Duration::from_secs(5), "{scene}");
        };
        read("in WAL mode");
        let cut = fs::File::options().write(true).open(place.path(file)).unwrap();
        let length = cut.metadata().unwrap().len();
        assert!(length > 4096, "{file}");
        for length in (0..length / 512).rev().step_by(step as usize).map(|piece| piece * 512).chain([0]) {
            cut.set_len(length).unwrap();
            read(&format!("{file} cut to {length}"));
        }
        program.kill().unwrap();
        program.wait().unwrap();
        // The other program is gone, and the file is ours again.
        mine.learn("new.example", enforce());
        assert!(place.process().id("new.example").is_some(), "{:?}", place.lines.lock().unwrap());
        assert!(!place.path("cache.db-wal").exists());
        read("afterwards");
    }
}

#[test]
fn a_write_ahead_log_of_another_program_is_never_mapped_and_costs_no_answer() {
    cut_the_log(16);
}

#[test]
#[ignore = "takes a minute; make torture runs it"]
fn torture_a_write_ahead_log_that_is_cut_anywhere_costs_no_answer() {
    cut_the_log(1);
}

#[test]
fn a_damaged_column_costs_its_value_and_not_the_policy() {
    let place = Place::new();
    place.process().learn("a.example", enforce());
    for damage in [
        "id = x'00ff', failures = 7",
        "id = 'not an id' || char(10)",
        "id = hex(zeroblob(20))",
        "checked_at = 'x', checked_until = 'y', refresh_at = x'01', check_reason = 1.5",
        "body = CAST(body AS TEXT)",
        "shortened_to = 'soon', mode = 'x', expires_at = 'never'",
        "id = NULL",
    ] {
        place.sql("cache.db", &format!("UPDATE domain SET {damage}"));
        let known = place.process().read("a.example").unwrap_or_else(|| panic!("{damage}"));
        let policy = known.row.policy.as_ref().unwrap_or_else(|| panic!("{damage}"));
        assert_eq!(policy.policy.mode(), crate::syntax::Mode::Enforce);
        assert!(policy.id.is_empty() || &*policy.id == "a1", "{damage}: {:?}", policy.id);
        let due = place.process().cache.due(NOW.plus(5), NOW.plus(86_400), deadline(), &place).unwrap();
        assert!(due.is_empty() || due == [domain("a.example")], "{damage}");
        place.process().learn("a.example", enforce());
    }
    for damage in ["body = NULL", "body = zeroblob(40)", "fetched_at = 'x'"] {
        place.sql("cache.db", &format!("UPDATE domain SET {damage}"));
        let row = place.process().read("a.example").unwrap().row;
        assert!(row.policy.is_none() && !row.check.is_current(NOW), "{damage}: asked anew");
        place.process().learn("a.example", enforce());
        assert!(place.process().id("a.example").is_some(), "{damage}");
    }
    place.sql("cache.db", "UPDATE domain SET name = 'not a name', refresh_at = 0");
    place.sql("cache.db", "INSERT INTO domain SELECT x'ff', id, body, fetched_at, expires_at, mode, checked_at, checked_until, check_reason, refresh_at, failures, shortened_to FROM domain");
    assert_eq!(place.process().cache.due(NOW, NOW.plus(86_400), deadline(), &place).unwrap(), []);
    assert!(place.lines.lock().unwrap().is_empty());
}

#[test]
fn a_row_that_is_larger_than_any_of_ours_is_not_read_into_memory() {
    let place = Place::new();
    place.process().learn("a.example", enforce());
    place.sql("cache.db", "UPDATE domain SET body = zeroblob(30000000)");
    let mine = place.process();
    let began = Instant::now();
    assert!(mine.read("a.example").is_none());
    assert!(place.has_logged("too big"), "{:?}", place.lines.lock().unwrap());
    mine.learn("a.example", enforce());
    assert!(mine.id("a.example").is_some());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(place.files_moved_aside(), 0);
}

#[test]
fn a_damaged_schema_is_damage() {
    for (from, to) in [("refresh_at ", "refresh_au "), ("row_count + 1", "row_bount + 1"), ("TABLE size", "TABLE sjze")]
    {
        let place = Place::new();
        place.process().learn("a.example", enforce());
        let mut bytes = fs::read(place.path("cache.db")).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        fs::write(place.path("cache.db"), &bytes).unwrap();
        let mine = place.process();
        mine.learn("b.example", enforce());
        assert_eq!(place.files_moved_aside(), 1, "{from}: {:?}", place.lines.lock().unwrap());
        assert!(place.process().id("b.example").is_some(), "{from}");
    }
    let place = Place::new();
    place.process().learn("a.example", enforce());
    place.sql("cache.db", "DELETE FROM size");
    place.process().learn("b.example", enforce());
    assert!(place.process().id("b.example").is_some() && place.files_moved_aside() == 1, "a count that is gone");
}

#[test]
fn a_file_that_was_left_without_its_rollback_journal_gets_it_back_by_a_mere_read() {
    let place = Place::new();
    place.process().learn("a.example", enforce());
    place.sql("cache.db", "PRAGMA journal_mode = WAL");
    let formats = || fs::read(place.path("cache.db")).unwrap()[18..20].to_owned();
    assert_eq!(formats(), [2, 2], "WAL");
    assert!(place.process().id("a.example").is_some());
    assert_eq!(formats(), [1, 1]);
}

#[test]
fn a_trigger_that_somebody_planted_calls_nothing() {
    let place = Place::new();
    place.process().learn("a.example", enforce());
    place.sql(
        "cache.db",
        "CREATE TRIGGER planted BEFORE UPDATE ON domain BEGIN SELECT fts3_tokenizer('simple'), load_extension('x'); END;",
    );
    place.process().learn("a.example", policy("enforce", "a2", 0));
    // The bundled SQLite does not even have them.
    let is_refused = place.has_logged("safe use of ") || place.has_logged("no such function");
    assert!(is_refused, "{:?}", place.lines.lock().unwrap());
    assert_eq!((place.files_moved_aside(), place.process().id("a.example").as_deref()), (1, Some("a2")));
}

#[test]
fn a_file_that_a_newer_libmtasts_renews_under_a_running_process_is_left_alone() {
    let place = Place::new();
    let mine = place.process();
    mine.learn("a.example", enforce());
    place.sql("cache.db", "PRAGMA user_version = 99");
    let before = fs::read(place.path("cache.db")).unwrap();
    mine.learn("b.example", enforce());
    let known = mine.read("a.example").unwrap();
    mine.check("a.example", &known);
    assert!(mine.id("a.example").is_some() && mine.id("b.example").is_some(), "memory has them");
    assert_eq!(fs::read(place.path("cache.db")).unwrap(), before);
    assert!(place.has_logged("newer libmtasts"), "{:?}", place.lines.lock().unwrap());
}
