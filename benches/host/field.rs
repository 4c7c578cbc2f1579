//! Where a benchmark runs: a directory with a configuration, a cache full of rows, and C programs.

use rusqlite::{Connection, params};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// A directory of its own for one measurement.
pub struct Field {
    directory: TempDir,
}

/// What all rows of a cache are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// An enforced policy with a body of about 120 bytes.
    Enforce,
    /// The knowledge that there is no policy.
    None,
}

impl Rows {
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::None => "none",
        }
    }
}

impl Field {
    /// A field whose library asks a name server that nobody runs, so that all answers are cached ones.
    pub fn new() -> Self {
        let field = Self { directory: tempfile::tempdir().unwrap() };
        fs::DirBuilder::new().mode(0o750).create(field.path("cache")).unwrap();
        field.configure("nameservers = [\"127.0.0.1:9\"]\n");
        // A copy, as it is installed: what a linker wrote lies less well in the page cache and loads a tenth slower.
        fs::copy(library(), field.path("libmtasts.so.0")).unwrap();
        symlink("libmtasts.so.0", field.path("libmtasts.so")).unwrap();
        field
    }

    /// Writes a configuration that has these lines.
    pub fn configure(&self, lines: &str) {
        fs::write(self.configuration(), format!("cache = \"{}\"\n{lines}", self.cache().display())).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn configuration(&self) -> PathBuf {
        self.path("mtasts.toml")
    }

    pub fn cache(&self) -> PathBuf {
        self.path("cache/cache.db")
    }

    /// Puts rows into the cache, for `d0000000.example` and so on, in random order as they come in life; nothing of them
    /// is due for minutes.
    pub fn fill(&self, rows: Rows, count: u32) {
        // The library makes the tables.
        let program = self.compile("benches/c/first.c", &[]);
        self.run(&program, &["unknown.example"]);
        let connection = Connection::open(self.cache()).unwrap();
        connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; BEGIN").unwrap();
        {
            let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
            let mut insert = connection
                .prepare(
                    "INSERT INTO domain (name, id, body, fetched_at, expires_at, mode, checked_at, checked_until,
                                         check_reason, refresh_at, failures)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '')",
                )
                .unwrap();
            let mut order: Vec<u32> = (0..count).collect();
            order.sort_by_cached_key(|n| hash(*n));
            for n in order {
                let name = format!("d{n:07}.example");
                let body = format!(
                    "version: STSv1\r\nmode: enforce\r\nmax_age: 604800\r\nmx: mx1.example.com\r\nmx: *.{name}\r\n"
                );
                match rows {
                    Rows::Enforce => insert.execute(params![
                        name,
                        "20260101000000Z",
                        body.as_bytes(),
                        now - 60,
                        now - 60 + 604_800,
                        2,
                        now - 30,
                        now + 3_500,
                        2,
                        now + 80_000
                    ]),
                    Rows::None => insert.execute(params![
                        name,
                        None::<&str>,
                        None::<&[u8]>,
                        None::<i64>,
                        None::<i64>,
                        None::<i64>,
                        now,
                        now + 300,
                        10,
                        0
                    ]),
                }
                .unwrap();
            }
        }
        connection.execute_batch("COMMIT").unwrap();
    }

    /// Compiles one of the repository's C files as a distribution would, and links it with the shared library.
    pub fn compile(&self, source: &str, options: &[&str]) -> PathBuf {
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
        let directory = self.directory.path().display().to_string();
        let path = format!("-Wl,-rpath,{directory}");
        let library = ["-I", include.to_str().unwrap(), "-L", &directory, "-Wl,--no-as-needed", "-lmtasts", &path];
        self.compile_alone(source, &[&library[..], options].concat())
    }

    /// The same without the shared library.
    pub fn compile_alone(&self, source: &str, options: &[&str]) -> PathBuf {
        let program = self.path(Path::new(source).file_stem().unwrap().to_str().unwrap());
        let status = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-pthread", "-o"])
            .arg(&program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
            .args(options)
            .status()
            .unwrap();
        assert!(status.success(), "{source} compiles");
        program
    }

    /// The instructions that a command takes outside of the kernel; none without valgrind.
    pub fn instructions(&self, command: &[String]) -> Option<u64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .args(command)
            .output()
            .ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report = String::from_utf8(output.stderr).unwrap();
        let line = report.lines().find_map(|line| line.split_once("Collected : ")).unwrap();
        Some(line.1.trim().parse().unwrap())
    }

    /// Runs a program with the configuration as its first argument; returns what it prints.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let output = Command::new(program).arg(self.configuration()).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", program.display());
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The same in each run.
fn hash(n: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    n.hash(&mut hasher);
    hasher.finish()
}

/// The median of each column.
pub fn medians<const COLUMNS: usize>(rows: &[[f64; COLUMNS]]) -> [f64; COLUMNS] {
    std::array::from_fn(|at| {
        let mut column: Vec<f64> = rows.iter().map(|row| row[at]).collect();
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    })
}

/// The processor time of this process, or of its children that have been waited for (`getrusage`).
pub fn processor_time(of: libc::c_int) -> Duration {
    // SAFETY: all zeroes is a value of this C structure, and the call writes to it alone.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(of, &raw mut used), 0);
        used
    };
    let time =
        |at: libc::timeval| Duration::new(at.tv_sec.try_into().unwrap(), u32::try_from(at.tv_usec).unwrap() * 1000);
    time(used.ru_utime) + time(used.ru_stime)
}

/// The shared library that was built with this benchmark.
pub fn library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libmtasts.so")
}

/// SQLite as it was built for this benchmark and for the library.
pub fn sqlite_archive() -> Option<PathBuf> {
    let directory = std::env::current_exe().unwrap().parent().unwrap().join("../build");
    let archives = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path().join("out/libsqlite3.a"));
    archives.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).max().map(|(_, path)| path)
}

/// Processor, number of cores, load.
pub fn describe_machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let model = processor.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("processor unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("Machine: {model}, {cores} cores, load average {}", read("/proc/loadavg").trim())
}
