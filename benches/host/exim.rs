//! What the library adds to a real Exim that expands a string: `exim4 -be`, as the mail user and as root.

use crate::field::{Field, Rows, library, medians, processor_time};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where Debian has it.
const EXIM: &str = "/usr/sbin/exim4";
/// A user that the machine does not know, and its group.
const MAIL: u32 = 54_321;
/// What every expansion gives.
const ANSWER: &str = "mx1.example.com";
const ROWS: u32 = 10_000;

/// Microseconds of time, and of processor time of Exim and its children.
type Cost = [f64; 2];

struct Exim {
    field: Field,
    program: PathBuf,
    configuration: PathBuf,
    baselines: PathBuf,
}

/// What one line for Exim is to expand, with `@` for the name of a domain.
struct Case {
    name: &'static str,
    line: String,
}

pub fn measure() {
    println!("## Exim: `exim4 -be`\n");
    let Some(exim) = Exim::new() else {
        println!("SKIPPED: exim4 with dlfunc is not installed\n");
        return;
    };
    let is_root = exim.is_root();
    println!("Microseconds, medians: time, and in brackets processor time of Exim and its children.\n");
    exim.whole_processes(is_root);
    exim.expansions(false);
    if is_root {
        exim.expansions(true);
        exim.children();
    } else {
        println!("SKIPPED: the child that answers for root: not root\n");
    }
}

impl Exim {
    fn new() -> Option<Self> {
        let version = Command::new(EXIM).arg("-bV").output().ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("Expand_dlfunc") {
            return None;
        }
        let field = Field::new();
        field.fill(Rows::Enforce, ROWS);
        let baselines = field.path("baselines.so");
        let shared = ["-shared", "-fPIC", "-o", baselines.to_str().unwrap()];
        field.compile("benches/c/exim.c", &shared);
        // A copy without the setuid bit: the environment of a setuid program does not say where the configuration is.
        let program = field.path("exim4");
        fs::copy(EXIM, &program).unwrap();
        let configuration = field.path("exim4.conf");
        fs::write(&configuration, "keep_environment = MTASTS_CONFIG\nunknown_login = mail\n").unwrap();
        fs::copy(library(), field.path("library.so")).unwrap();
        fs::rename(field.path("library.so"), field.path("libmtasts.so")).unwrap();
        let exim = Self { program, configuration, baselines, field };
        fs::set_permissions(&exim.program, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(exim.field.path("."), Permissions::from_mode(0o755)).unwrap();
        if exim.is_root() {
            for path in [exim.field.path("cache"), exim.field.cache(), exim.field.path("cache/cache.lock")] {
                if path.exists() {
                    chown(path, Some(MAIL), Some(MAIL)).unwrap();
                }
            }
        }
        Some(exim)
    }

    fn is_root(&self) -> bool {
        // SAFETY: takes nothing, cannot fail.
        unsafe { libc::geteuid() == 0 }
    }

    fn nothing(&self) -> Case {
        Case { name: "nothing", line: format!("{ANSWER}${{if eq{{@}}{{}}{{x}}}}") }
    }

    fn empty(&self) -> Case {
        let line = format!("${{dlfunc{{{}}}{{empty}}{{@}}{{10 {ANSWER}}}}}", self.baselines.display());
        Case { name: "empty dlfunc", line }
    }

    fn ours(&self) -> Case {
        let library = self.field.path("libmtasts.so");
        let line = format!("${{dlfunc{{{}}}{{mtasts_exim}}{{@}}{{10 {ANSWER}}}}}", library.display());
        Case { name: "mtasts_exim", line }
    }

    fn other(&self, name: &'static str) -> Case {
        Case { name, line: format!("${{dlfunc{{{}}}{{{name}}}{{@}}}}", self.baselines.display()) }
    }

    /// Runs one Exim on so many lines, with so many domains by turns.
    fn run(&self, case: &Case, lines: u32, domains: u32, as_root: bool) -> Cost {
        let input = self.field.path("input");
        let mut text = String::new();
        for number in 0..lines {
            let domain = format!("d{:07}.example", number % domains);
            writeln!(text, "{}", case.line.replace('@', &domain)).unwrap();
        }
        fs::write(&input, text).unwrap();
        let output = self.field.path("output");
        let mut command = Command::new(&self.program);
        command.arg("-C").arg(&self.configuration).arg("-be");
        command.env_clear().env("MTASTS_CONFIG", self.field.configuration()).current_dir("/");
        command.stdin(File::open(&input).unwrap()).stdout(File::create(&output).unwrap()).stderr(Stdio::null());
        if self.is_root() && !as_root {
            command.uid(MAIL).gid(MAIL);
        }
        let used = processor_time(libc::RUSAGE_CHILDREN);
        let began = Instant::now();
        let status = command.status().unwrap();
        let cost = [began.elapsed(), processor_time(libc::RUSAGE_CHILDREN) - used].map(|time| time.as_secs_f64() * 1e6);
        let said = fs::read_to_string(&output).unwrap();
        let right = said.lines().filter(|line| line.trim_start_matches("> ") == ANSWER).count();
        assert!(status.success() && right == lines as usize, "{}: {right} of {lines}: {said:.300}", case.name);
        cost
    }

    fn whole_processes(&self, is_root: bool) {
        const RUNS: usize = 21;
        println!("A whole process with one expansion:\n");
        println!("| user | nothing | empty dlfunc | mtasts_exim |\n|---|---|---|---|");
        let cases = [self.nothing(), self.empty(), self.ours()];
        for as_root in [false, true].into_iter().take(1 + usize::from(is_root)) {
            let mut costs = [const { Vec::new() }; 3];
            for _ in 0..RUNS {
                for (case, costs) in cases.iter().zip(&mut costs) {
                    costs.push(self.run(case, 1, 1, as_root));
                }
            }
            let cells: Vec<String> = costs.iter().map(|costs| cell(medians(costs))).collect();
            println!("| {} | {} |", if as_root { "root" } else { "mail" }, cells.join(" | "));
        }
        println!();
    }

    /// One more expansion in a process that has had the answer before.
    fn expansions(&self, as_root: bool) {
        const LINES: u32 = 20_000;
        // Few, since the first answer for each costs root a child.
        const DOMAINS: u32 = 5;
        let user = if as_root { "root" } else { "the mail user" };
        println!(
            "One more expansion as {user}, answered from the memory of this process, by {LINES} and twice as many:\n"
        );
        println!("| nothing | empty dlfunc | mtasts_exim | mtasts_exim - empty |\n|---|---|---|---|");
        let cases = [self.nothing(), self.empty(), self.ours()];
        let [nothing, empty, ours] = self.per_expansion(&cases, LINES, DOMAINS, as_root);
        println!("| {} | {} | {} | {} |\n", cell(nothing), cell(empty), cell(ours), cell(minus(ours, empty)));
    }

    /// One more expansion that needs a child of root's.
    fn children(&self) {
        const LINES: u32 = 200;
        println!(
            "One more expansion as root for a domain that was not asked about before, by {LINES} and twice as many."
        );
        println!("Bare: a child of the same process that ends at once. Fresh: one that asks `mtasts_query` as root.\n");
        println!(
            "| bare fork | fresh | mtasts_exim | 2 * bare + (fresh - bare) | mtasts_exim / that |\n|---|---|---|---|---|"
        );
        let cases = [self.other("bare_fork"), self.other("fresh"), self.ours()];
        let [bare, fresh, ours] = self.per_expansion(&cases, LINES, 2 * LINES, true);
        let allowed: Cost = std::array::from_fn(|at| bare[at] + fresh[at]);
        let ratio = |at: usize| ours[at] / allowed[at];
        println!(
            "| {} | {} | {} | {} | {:.2} ({:.2}) |\n",
            cell(bare),
            cell(fresh),
            cell(ours),
            cell(allowed),
            ratio(0),
            ratio(1)
        );
    }

    /// What one expansion of each case costs: so many lines against twice as many.
    fn per_expansion<const CASES: usize>(
        &self,
        cases: &[Case; CASES],
        lines: u32,
        domains: u32,
        as_root: bool,
    ) -> [Cost; CASES] {
        const RUNS: usize = 9;
        let mut costs = [const { Vec::new() }; CASES];
        for _ in 0..RUNS {
            for (case, costs) in cases.iter().zip(&mut costs) {
                let once = self.run(case, lines, domains, as_root);
                let twice = self.run(case, 2 * lines, domains, as_root);
                costs.push(minus(twice, once).map(|difference| difference / f64::from(lines)));
            }
        }
        costs.map(|costs| medians(&costs))
    }
}

fn minus(left: Cost, right: Cost) -> Cost {
    std::array::from_fn(|at| left[at] - right[at])
}

fn cell([time, processor]: Cost) -> String {
    if time < 100.0 { format!("{time:.2} ({processor:.2})") } else { format!("{time:.0} ({processor:.0})") }
}
