//! Strangers make up domains by the million: the file stays as large as it may be, and no enforced policy goes.

use super::*;

/// What this many made-up domains do to a cache of this many rows, of which a tenth are enforced policies.
fn flood(made_up: usize, rows: u64) {
    // What counts is the number of rows, not the disk.
    let memory_disk = std::path::Path::new("/dev/shm");
    let directory = if memory_disk.is_dir() { tempfile::tempdir_in(memory_disk) } else { tempfile::tempdir() };
    let place = Place { directory: directory.unwrap(), lines: Mutex::default() };
    let mine = place.process_with("cache.db", rows, 100);
    let enforced = usize::try_from(rows / 10).unwrap();
    let learn = |n: usize| mine.learn(&format!("enforce{n}.example"), enforce());
    let mut learnt = enforced / 2;
    (0..learnt).for_each(learn);
    let began = Instant::now();
    let mut largest = 0;
    for n in 0..made_up {
        mine.note(&format!("made-up{n}.example"), no_policy());
        // The other half comes when there is no room any more.
        if n >= made_up / 2 && learnt < enforced {
            learn(learnt);
            learnt += 1;
        }
        if n % (made_up / 50) == 0 {
            assert_eq!(place.count("mode = 2"), i64::try_from(learnt).unwrap(), "after {n} domains");
            let count = u64::try_from(place.count("1")).unwrap();
            assert!(count <= rows, "{count} rows after {n} domains");
            largest = largest.max(std::fs::metadata(place.path("cache.db")).unwrap().len());
        }
    }
    println!("{made_up} domains in {:?}, {rows} rows, file of {largest} bytes", began.elapsed());
    assert_eq!(place.count("mode = 2"), i64::try_from(enforced).unwrap());
    assert!(largest < rows * 1024, "{largest} bytes for {rows} rows");
    assert!((0..enforced).all(|n| place.process().id(&format!("enforce{n}.example")).is_some()));
    assert!(place.lines.lock().unwrap().is_empty(), "{:?}", place.lines.lock().unwrap());
}

#[test]
fn a_flood_of_made_up_domains_neither_outgrows_the_cache_nor_takes_a_policy() {
    flood(20_000, 1_000);
}

#[test]
#[ignore = "takes minutes; make torture runs it"]
fn torture_three_million_made_up_domains_neither_outgrow_the_cache_nor_take_a_policy() {
    flood(3_000_000, 100_000);
}
