//! A row of the cache with any values in its columns, of any type: it is read back without a panic, a policy in it applies
//! whatever id, times and codes stand beside it, of whatever type, and nothing that is not one ever reads as one.

use super::{Input, grammar};
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::Effort;
use mtasts::syntax::Mode;
use mtasts::time::{Clock, UnixTime};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::sync::{LazyLock, Mutex};

const NOW: i64 = 1_800_000_000;
const POLICY: &[u8] = b"version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 86400\n";

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> UnixTime {
        UnixTime(NOW)
    }
}

struct Stage {
    settings: Settings,
    writer: Connection,
}

/// A file that libmtasts has made, and a second connection to it.
static STAGE: LazyLock<Mutex<Stage>> = LazyLock::new(|| {
    // In memory where there is such a file system: thousands of rows are written.
    let memory = std::path::Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let cache = directory.path().join("cache.db");
    // Nobody is there to ask: what is answered comes from the row.
    let nameservers = vec!["127.0.0.1:1".parse().unwrap()];
    let settings = Settings { cache, memory_entries: 0, nameservers, ..Settings::default() };
    Context::with_settings(settings.clone()).query(b"example.test", Effort::CacheOnly, None);
    let _alone = super::alone_with_sqlite();
    let writer = Connection::open(&settings.cache).unwrap();
    super::keep_until_exit(directory);
    Mutex::new(Stage { settings, writer })
});

/// A value of any type. `usual` stands for what the library would write there.
fn value(input: &mut Input<'_>, usual: Value) -> Value {
    match input.byte() % 8 {
        0 | 1 => usual,
        2 => Value::Null,
        3 => Value::Integer(input.wide()),
        4 => Value::Integer(NOW + i64::from(input.word() >> 8)),
        5 => Value::Real(f64::from_bits(input.wide().cast_unsigned())),
        6 => Value::Text(String::from_utf8_lossy(input.text()).into_owned()),
        _ => Value::Blob(input.text().to_vec()),
    }
}

/// What any row is worth: its policy and when that was fetched, if the two columns hold their kind. Whatever stands in the
/// others counts as nothing at most.
fn policy(stored: &impl Fn(&str) -> Value) -> Option<(grammar::Policy, i64)> {
    let body = match stored("body") {
        Value::Blob(body) => body,
        Value::Text(body) => body.into_bytes(),
        _ => return None,
    };
    let Value::Integer(fetched_at) = stored("fetched_at") else { return None };
    grammar::policy(&body).map(|policy| (policy, fetched_at))
}

/// The id beside a policy, or none where that is no id.
fn id(stored: &impl Fn(&str) -> Value) -> String {
    match stored("id") {
        Value::Text(id) if id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => id,
        _ => String::new(),
    }
}

pub fn run(bytes: &[u8]) {
    let stage = STAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut input = Input(bytes);
    let whole = Value::Integer;
    let columns = [
        ("id", value(&mut input, Value::Text("1".to_owned()))),
        ("fetched_at", value(&mut input, whole(NOW - 10))),
        ("shortened_to", value(&mut input, Value::Null)),
        ("expires_at", value(&mut input, whole(NOW + 86_390))),
        ("mode", value(&mut input, whole(2))),
        ("checked_at", value(&mut input, whole(NOW - 10))),
        ("checked_until", value(&mut input, whole(NOW + 50))),
        ("check_reason", value(&mut input, whole(1))),
        ("refresh_at", value(&mut input, whole(NOW + 40_000))),
        ("failures", value(&mut input, Value::Text(String::new()))),
        ("body", value(&mut input, Value::Blob(POLICY.to_vec()))),
        ("name", value(&mut input, Value::Text("example.test".to_owned()))),
    ];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let sql = format!("INSERT INTO domain ({}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", names.join(", "));
    let values = columns.iter().map(|(_, value)| value);
    // What the table itself refuses cannot be there.
    let alone = super::alone_with_sqlite();
    stage.writer.execute("DELETE FROM domain", []).unwrap();
    if stage.writer.execute(&sql, rusqlite::params_from_iter(values)).is_err() {
        return;
    }
    // What the table has made of it.
    let look = |column: &str| {
        let sql = format!("SELECT {column} FROM domain");
        stage.writer.query_row(&sql, [], |row| row.get::<_, Value>(0)).unwrap()
    };
    let columns: Vec<(&str, Value)> = names.iter().map(|name| (*name, look(name))).collect();
    drop(alone);
    let stored = |column: &str| columns.iter().find(|(name, _)| *name == column).unwrap().1.clone();
    let context = Context::with_clock(stage.settings.clone(), Box::new(Stopped));
    let answer = context.query(b"example.test", Effort::CacheOnly, None);
    // A row for another domain, or for none, is not found.
    let is_found = stored("name") == Value::Text("example.test".to_owned());
    let in_force = policy(&stored).filter(|_| is_found).filter(|((_, _, max_age), fetched_at)| {
        let end = fetched_at.saturating_add(i64::try_from(*max_age).unwrap());
        match stored("shortened_to") {
            // Fetched under a wrong clock: it ends when it would have, from when that was seen.
            Value::Integer(shortened) if *fetched_at > NOW + 5 => NOW <= shortened,
            _ => NOW <= end,
        }
    });
    if let Some(((mode, mx, _), fetched_at)) = in_force {
        assert_eq!(answer.mode_str(), mode, "{:?} of {columns:?}", answer.text);
        let known = answer.policy.as_ref().unwrap();
        let patterns: Vec<&str> = known.policy.mx().iter().map(|pattern| pattern.as_str()).collect();
        assert_eq!((patterns, known.fetched_at.0), (mx.iter().map(String::as_str).collect(), fetched_at));
        assert_eq!(*known.id, id(&stored), "{columns:?}");
    } else {
        assert_eq!(answer.mode(), Mode::None, "{:?} of {columns:?}", answer.text);
        assert!(answer.policy.is_none(), "{:?} of {columns:?}", answer.text);
    }
    // What is due is found out of any row, and a row that is there takes another policy.
    let _ = context.refresh(1, Some(std::time::Duration::from_millis(1)));
}
