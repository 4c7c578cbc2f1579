//! A cache on a disk that is full or read-only, whose file is not what it should be, or is locked by another program:
//! the answer comes in time, and what is not ours is left alone.

use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::{Answer, Effort, Source};
use mtasts::syntax::Mode;
use mtasts_world::{World, policy_body};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Says why when the test cannot run; with `MTASTS_NO_SKIP=1` that is a failure.
fn can_run() -> bool {
    let is_allowed = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !is_allowed {
        println!("SKIPPED: mount namespaces need root");
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "skipped, and that is forbidden");
    }
    is_allowed
}

fn mtasts(world: &World, cache: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    vec![
        env!("CARGO_BIN_EXE_mtasts").to_owned(),
        "lookup".to_owned(),
        "--json".to_owned(),
        format!("--cache={}", path(cache)),
        format!("--ca-file={}", path(world.ca_file())),
        format!("--nameserver={}", world.dns_addr()),
        format!("--https-port={}", world.https_addr().port()),
        "--set=allow_private_addresses=true".to_owned(),
    ]
}

// Conformance: S10-8.
#[test]
fn a_full_or_read_only_disk_gives_the_cached_policy_and_takes_no_answer_away() {
    if !can_run() {
        return;
    }
    let world = World::start();
    let (seed, disk) = (world.make_cache(), world.directory().join("disk"));
    fs::create_dir(&disk).unwrap();
    world.publish("cached.test", "a1", policy_body("enforce", &["mx.cached.test"], 604_800));
    world.publish("new.test", "a1", policy_body("enforce", &["mx.new.test"], 604_800));
    let words = mtasts(&world, &seed);
    assert!(Command::new(&words[0]).args(&words[1..]).arg("cached.test").output().unwrap().status.success());
    world.remove("_mta-sts.cached.test");

    let script = r#"
        set -eu
        mount -t tmpfs -o size=128k,mode=0750,uid=$(stat -c %u "$seed"),gid=$(stat -c %g "$seed") none "$disk"
        cp -p "$seed" "$disk/cache.db"
        cat /dev/zero >"$disk/filler" 2>/dev/null || true
        "$@" cached.test new.test
        mount -o remount,ro "$disk"
        "$@" cached.test new.test
    "#;
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args(mtasts(&world, &disk.join("cache.db")))
        .env("disk", &disk)
        .env("seed", &seed)
        .output()
        .unwrap();
    let (answers, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{log}");
    let rows: Vec<serde_json::Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4, "{answers}");
    for row in &rows {
        assert_eq!(row["mode"], "enforce", "{row}");
        let source = if row["domain"] == "cached.test" { "cache" } else { "https" };
        assert_eq!(row["source"], source, "{row}");
    }
    assert!(log.contains("database or disk is full"), "{log}");
    assert!(log.contains("readonly database"), "{log}");
}

/// The longest that a question may take here, and how late a busy machine may be.
const LIMIT: Duration = Duration::from_secs(4);
const LATE: Duration = Duration::from_millis(1_500);

/// A world, and a cache in a directory of its own.
struct Stage {
    world: World,
    directory: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn new() -> Self {
        let world = World::start();
        let directory = world.directory().join("cache");
        fs::DirBuilder::new().mode(0o750).create(&directory).unwrap();
        Self { world, directory, lines: Arc::default() }
    }

    fn cache(&self) -> PathBuf {
        self.directory.join("cache.db")
    }

    fn context(&self) -> Context {
        self.context_on(&self.cache())
    }

    fn context_on(&self, cache: &Path) -> Context {
        let context = Context::with_settings(Settings {
            cache: cache.to_owned(),
            nameservers: vec![self.world.dns_addr()],
            https_port: self.world.https_addr().port(),
            ca_file: Some(self.world.ca_file().to_owned()),
            allow_private_addresses: true,
            ..Settings::default()
        });
        let lines = Arc::clone(&self.lines);
        context.set_log(Some(Box::new(move |_, line| lines.lock().unwrap().push(line.to_owned()))));
        context
    }

    /// Publishes an enforced policy and asks for it.
    fn publish_and_ask(&self, context: &Context, domain: &str) -> Answer {
        self.world.publish(domain, "a1", policy_body("enforce", &["mx.test"], 604_800));
        self.ask(context, domain)
    }

    /// Asks, and wants an enforced policy in time.
    fn ask(&self, context: &Context, domain: &str) -> Answer {
        let began = Instant::now();
        let answer = context.query(domain.as_bytes(), Effort::Usual, Some(LIMIT));
        assert!(began.elapsed() < LIMIT + LATE, "{domain}: {:?}", began.elapsed());
        assert_eq!(answer.mode(), Mode::Enforce, "{domain}: {answer:?}");
        answer
    }

    /// Whether the file has a policy, as a fresh process sees it.
    fn has(&self, domain: &str) -> bool {
        self.context().query(domain.as_bytes(), Effort::CacheOnly, None).mode() == Mode::Enforce
    }

    fn logged(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").args(["-m", "0640"]).arg(path).status().unwrap().success());
}

/// A good file that belongs to nobody in particular.
fn foreign(path: &Path) {
    std::os::unix::fs::chown(path, Some(54_321), None).unwrap();
}

fn sql(path: &Path, statements: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(statements).unwrap();
}

#[test]
fn whatever_takes_the_place_of_the_file_the_answer_comes_and_it_is_left_alone() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    type Put = fn(&Path);
    // What lies there instead of the file, which itself lies beside it as `cache.good`, and what the log says of it.
    let rows: Vec<(&str, Put, &str)> = vec![
        ("a directory", |path| fs::create_dir(path).unwrap(), "is a directory, want a regular file"),
        ("a symbolic link", |path| symlink("cache.good", path).unwrap(), "is a symbolic link"),
        ("a link to nowhere", |path| symlink("nowhere", path).unwrap(), "is a symbolic link"),
        ("a FIFO", fifo, "is a special file"),
        (
            "a file that anybody may write",
            |path| {
                fs::copy(path.with_extension("good"), path).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
            },
            "mode 0666 lets others write",
        ),
        (
            "the file of another user",
            |path| {
                fs::copy(path.with_extension("good"), path).unwrap();
                foreign(path);
            },
            "belongs to uid 54321",
        ),
        (
            "a database of a newer libmtasts",
            |path| {
                fs::copy(path.with_extension("good"), path).unwrap();
                sql(path, "PRAGMA user_version = 77; ALTER TABLE domain RENAME TO domains");
            },
            "newer libmtasts (version 77",
        ),
        ("a database of another program", |path| sql(path, "CREATE TABLE x (y)"), "another program"),
        (
            "a FIFO for a journal",
            |path| {
                fs::copy(path.with_extension("good"), path).unwrap();
                fifo(&path.with_extension("db-journal"));
            },
            "is a special file",
        ),
    ];
    for (scene, put, want) in rows {
        if scene.contains("another user") && !is_root {
            println!("SKIPPED: a file of another user needs root");
            continue;
        }
        let stage = Stage::new();
        let running = stage.context();
        stage.publish_and_ask(&running, "known.test");
        assert_eq!(stage.logged(), Vec::<String>::new(), "{scene}");
        fs::rename(stage.cache(), stage.cache().with_extension("good")).unwrap();
        let _ = fs::remove_file(stage.cache().with_extension("db-journal"));
        put(&stage.cache());
        // No umask has a say in the row on files that anybody may write.
        if scene.starts_with("a database") {
            fs::set_permissions(stage.cache(), Permissions::from_mode(0o640)).unwrap();
        }
        let facts = |path: &Path| {
            let found = fs::symlink_metadata(path).unwrap();
            (found.ino(), found.mode(), found.len(), found.mtime_nsec())
        };
        let before = facts(&stage.cache());
        for (who, context) in [("running", &running), ("fresh", &stage.context())] {
            let answer = stage.publish_and_ask(context, &format!("{who}.test"));
            assert_eq!(answer.source, Source::Https, "{scene}, {who}");
            assert_eq!(stage.ask(context, &format!("{who}.test")).source, Source::Cache, "{scene}, {who}: in memory");
            let lines = stage.logged();
            assert!(lines.iter().any(|line| line.contains(want)), "{scene}, {who}: {lines:?}");
        }
        assert_eq!(stage.ask(&running, "known.test").source, Source::Cache, "{scene}: in memory");
        assert_eq!(facts(&stage.cache()), before, "{scene}: nobody has touched it");
        assert!(!stage.names().iter().any(|name| name.contains("damaged") || name.contains("new")), "{scene}");
        // Put right, memory fills the file.
        if fs::remove_file(stage.cache()).is_err() {
            fs::remove_dir(stage.cache()).unwrap();
        }
        let _ = fs::remove_file(stage.cache().with_extension("db-journal"));
        stage.publish_and_ask(&running, "later.test");
        assert!(stage.has("later.test"), "{scene}: {:?}", stage.logged());
    }
}

#[test]
fn garbage_in_the_place_of_the_file_is_kept_under_another_name_and_begun_anew() {
    let stage = Stage::new();
    let running = stage.context();
    stage.publish_and_ask(&running, "known.test");
    let garbage = b"no database at all".repeat(700);
    fs::remove_file(stage.cache()).unwrap();
    fs::write(stage.cache(), &garbage).unwrap();
    fs::set_permissions(stage.cache(), Permissions::from_mode(0o640)).unwrap();
    stage.publish_and_ask(&running, "new.test");
    assert!(stage.has("new.test"));
    let kept: Vec<String> =
        stage.names().into_iter().filter(|name| name.contains("damaged") && !name.ends_with("-journal")).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read(stage.directory.join(&kept[0])).unwrap(), garbage);
    let lines = stage.logged();
    assert_eq!(lines.iter().filter(|line| line.contains(&kept[0])).count(), 1, "{lines:?}");
}

#[test]
fn a_directory_that_goes_and_comes_back_costs_neither_answers_nor_policies() {
    let stage = Stage::new();
    let running = stage.context();
    stage.publish_and_ask(&running, "known.test");
    fs::remove_dir_all(&stage.directory).unwrap();
    stage.publish_and_ask(&running, "new.test");
    assert_eq!(stage.ask(&running, "known.test").source, Source::Cache);
    assert_eq!(stage.ask(&running, "new.test").source, Source::Cache);
    let lines = stage.logged();
    assert!(lines.iter().any(|line| line.contains("does not exist; create it with")), "{lines:?}");
    fs::DirBuilder::new().mode(0o750).create(&stage.directory).unwrap();
    stage.publish_and_ask(&running, "later.test");
    assert!(stage.has("later.test"), "{:?}", stage.logged());
    assert_eq!(stage.logged(), Vec::<String>::new());
}

#[test]
fn a_symbolic_link_may_lead_to_the_directory() {
    let stage = Stage::new();
    let link = stage.world.directory().join("link");
    symlink(&stage.directory, &link).unwrap();
    let context = stage.context_on(&link.join("cache.db"));
    assert_eq!(stage.publish_and_ask(&context, "known.test").source, Source::Https);
    assert_eq!(stage.ask(&stage.context_on(&link.join("cache.db")), "known.test").source, Source::Cache);
    assert!(stage.has("known.test"), "the same file");
    assert_eq!(stage.logged(), Vec::<String>::new());
}

/// Another program that holds the database locked until it is killed.
fn locker(stage: &Stage) -> Option<Child> {
    let started = Command::new("sqlite3").arg(stage.cache()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut program) = started else {
        println!("SKIPPED: sqlite3 not installed");
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "skipped, and that is forbidden");
        return None;
    };
    program.stdin.as_mut().unwrap().write_all(b"BEGIN EXCLUSIVE;\nSELECT 'held';\n").unwrap();
    let mut told = [0; 5];
    program.stdout.as_mut().unwrap().read_exact(&mut told).unwrap();
    assert_eq!(&told, b"held\n");
    Some(program)
}

/// Asks all the while that another program holds the database locked.
fn ask_while_locked(hold: Duration) {
    let stage = Stage::new();
    let running = stage.context();
    stage.publish_and_ask(&running, "known.test");
    let Some(mut program) = locker(&stage) else { return };
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < hold {
        for context in [&running, &stage.context()] {
            assert_eq!(stage.ask(context, "known.test").source, Source::Cache, "the file is read as it lies there");
        }
        stage.publish_and_ask(&running, &format!("new{round}.test"));
        round += 1;
    }
    assert!(program.try_wait().unwrap().is_none(), "it has held the lock all the time");
    let lines = stage.logged();
    assert!(lines.iter().any(|line| line.contains("another program holds it locked")), "{lines:?}");
    program.kill().unwrap();
    program.wait().unwrap();
    println!("{round} rounds in {:?}", began.elapsed());
    stage.publish_and_ask(&running, "later.test");
    assert!(stage.has("known.test") && stage.has("later.test"), "{:?}", stage.logged());
}

#[test]
fn a_database_that_another_program_holds_locked_costs_no_deadline() {
    ask_while_locked(Duration::from_secs(3));
}

#[test]
#[ignore = "takes half a minute; make torture runs it"]
fn torture_a_database_that_another_program_holds_locked_for_thirty_seconds_costs_no_deadline() {
    ask_while_locked(Duration::from_secs(30));
}
