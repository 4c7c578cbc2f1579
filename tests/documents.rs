//! Each command line that a document prints is run: here, in a directory and a small internet of its own, or by the test
//! that the table names. What documents name is there.

#[allow(dead_code)]
#[path = "c/harness.rs"]
mod harness;
#[path = "documents/lines.rs"]
mod lines;
#[path = "documents/sandbox.rs"]
mod sandbox;

use harness::root;
use lines::{Line, all_lines, below, markdown, mtasts, of_help, of_manual, of_markdown, read, without_remark};
use sandbox::Sandbox;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

// ---- what is run elsewhere ----

/// Command lines that are not run here: they change the machine, need its daemons, or take minutes. The file is where they
/// are run or their run is recorded, and has the words.
const ELSEWHERE: &[(&[&str], &str, &str)] = &[
    (&["make check"], ".ci/run", "exec make check"),
    (&["make check-packages"], "Makefile", "for check in packaging/check-*.sh"),
    (
        &["make CARGOFLAGS='--no-default-features --features cli,quiet'"],
        "packaging/check-sqlite.sh",
        "features=\"--no-default-features --features cli,quiet\"",
    ),
    (&["make dist"], "packaging/check-dist.sh", "make --silent --no-print-directory dist"),
    (&["make lint"], "Makefile", "check: tools lint all"),
    (&["make demo"], "Makefile", "examples/demo/run.sh $(TARGET)/release > $(TARGET)/demo.out"),
    (
        &["cargo test --test manual", "cargo test --lib config::tests", "SCENES=attacker/ cargo test --test scenarios"],
        "Makefile",
        "$(CARGO) test --locked --workspace",
    ),
    (
        &["tests/exim/run.sh target/debug/libmtasts.so target/debug/mtasts-world 'the_commands_of_the_readme_*'"],
        "tests/exim.rs",
        "tests/exim/run.sh",
    ),
    (&["make torture"], "doc/robustness.md", "`make torture` as a whole"),
    (
        &["make fuzz", "fuzz/run.sh 60 policy record"],
        "doc/robustness.md",
        "`make fuzz`, or `fuzz/run.sh SECONDS TARGET...`",
    ),
    (&["make bench", "cargo bench --bench host warm fresh"], "doc/performance.md", "`cargo bench --bench host GROUP`"),
    (
        &[
            "install -d -m 0750 -o Debian-exim -g Debian-exim /var/lib/mtasts",
            "install -m 0644 examples/exim/190_mtasts /etc/exim4/conf.d/router/",
            "install -m 0644 examples/exim/30_remote_smtp_mtasts /etc/exim4/conf.d/transport/",
            "update-exim4.conf && systemctl reload exim4",
        ],
        "tests/exim/cases/installations.sh",
        "the_commands_of_the_first_readme_enforce() {",
    ),
    (
        &["sudo systemctl enable --now mtasts-refresh.timer", "journalctl -u mtasts-refresh"],
        "tests/command.rs",
        "fn the_units_of_systemd_are_valid_and_start_a_command_that_there_is() {",
    ),
    (
        &[
            "mtasts-socketmap --listen inet:127.0.0.1:5461",
            "mtasts-socketmap --listen unix:/run/mtasts/socketmap --config mtasts.toml",
        ],
        "tests/socketmap/sockets.rs",
        "fn it_listens_on_all_that_it_is_told() {",
    ),
    (
        &["sudo systemctl enable --now mtasts-socketmap.socket", "sudo systemctl reload mtasts-socketmap"],
        "tests/socketmap/units.rs",
        "fn the_units_are_valid_and_hardened_and_start_a_server_that_answers() {",
    ),
    (
        &["python3 -m venv mail", "mail/bin/pip install --no-index ./examples/python"],
        "tests/python.rs",
        "fn pip_installs_the_module_without_network_and_it_does_what_it_should() {",
    ),
    (
        &[
            "packaging/build-debian.sh",
            "sudo apt install ./target/debian/*.deb",
            "sudo apt install gcc libc6-dev pkgconf python3 exim4-daemon-heavy",
            "cc -o lookup /usr/share/doc/libmtasts-dev/examples/c/lookup.c $(pkg-config --cflags --libs mtasts)",
            "./lookup example.com",
            "cp /usr/share/doc/libmtasts-dev/examples/python/mtasts.py .",
            r#"python3 -c 'import mtasts; found = mtasts.lookup("example.com"); print(found.mode.name, *found.mx)'"#,
            "cd /usr/share/doc/mtasts-tools",
            "sudo install -m 0644 examples/exim/190_mtasts /etc/exim4/conf.d/router/",
            "sudo install -m 0644 examples/exim/30_remote_smtp_mtasts /etc/exim4/conf.d/transport/",
            "sudo update-exim4.conf && sudo systemctl reload exim4",
            "exim4 -bt postmaster@example.com",
        ],
        "packaging/check-debian.sh",
        "follow \"## Debian packages\"",
    ),
    (&["journalctl -t libmtasts"], "src/sys/log.rs", "fn a_line_arrives_with_facility_mail_and_a_name() {"),
];

/// The mail servers whose tests in `tests/NAME` run `examples/NAME/README.md`: whole parts of it, and lines that they look up
/// by a pattern.
const MAIL_SERVERS: &[&str] = &["exim", "sendmail", "postfix"];

struct MailServerTests {
    document: String,
    scripts: String,
    looked_up: BTreeSet<String>,
}

impl MailServerTests {
    fn new(name: &str) -> Self {
        let document = format!("examples/{name}/README.md");
        let scripts: String =
            below(&format!("tests/{name}"), |name| name.ends_with(".sh")).iter().map(|name| read(name)).collect();
        let patterns = scripts.split("$(readme_line ").skip(1).filter_map(|rest| {
            let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
            rest[1..].split(quote).next().filter(|pattern| !pattern.contains('$') || quote == '\'')
        });
        let first_match = |pattern: &str| {
            let grep =
                Command::new("grep").args(["-m", "1", "-e", pattern]).arg(root().join(&document)).output().unwrap();
            without_remark(String::from_utf8(grep.stdout).unwrap().trim()).to_owned()
        };
        let looked_up = patterns.map(first_match).collect();
        Self { document, scripts, looked_up }
    }

    fn run(&self, line: &Line) -> bool {
        let is_step = line.heading.starts_with("### ") && self.scripts.contains("follow_all_steps ");
        let is_followed = self.scripts.contains(&format!("follow_readme \"{}\"", line.heading));
        line.document == self.document && (is_step || is_followed) || self.looked_up.contains(&line.text)
    }
}

#[test]
fn the_table_has_what_documents_print_and_what_is_run_where_it_says() {
    let printed: BTreeSet<String> = all_lines().into_iter().map(|line| line.text).collect();
    for (lines, file, words) in ELSEWHERE {
        assert!(read(file).contains(words), "{file} does not say `{words}`");
        for line in *lines {
            assert!(printed.contains(*line), "no document prints `{line}` any more");
        }
    }
}

#[test]
fn words_of_command_lines_that_are_run_elsewhere_are_there() {
    let text = all_lines().into_iter().map(|line| line.text + "\n").collect::<String>();
    let of = |head: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(head)).map(|(_, rest)| rest);
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    for target in text.lines().filter_map(|line| line.strip_prefix("make ")).filter(|rest| !rest.contains(' ')) {
        assert!(read("Makefile").contains(&format!("\n{target}:")), "make {target}");
    }
    for test in of("cargo test --test ") {
        let files = [format!("tests/{test}.rs"), format!("tests/{test}/main.rs")];
        assert!(files.iter().any(|file| root().join(file).exists()), "there is no test {test}");
    }
    for group in of("cargo bench --bench host ") {
        assert!(read("benches/host/main.rs").contains(&format!("(\"{group}\", ")), "{group}");
    }
    for target in of("fuzz/run.sh 60 ") {
        assert!(root().join(format!("fuzz/fuzz_targets/{target}.rs")).exists(), "{target}");
    }
}

// ---- what is run here ----

/// Lines that are run although they begin with other words than those below.
const ALSO_HERE: &[&str] =
    &["make && sudo make install && cc -o lookup examples/c/lookup.c -lmtasts", "make", "sudo make install"];

/// What a line may be made of to be run here: it changes nothing but the directory that it runs in.
const HARMLESS: &[&str] = &["mtasts", "grep", "head", "sort", "sponge", "curl", "ssh"];

/// The exit statuses of lines that have these words, where they may end with others than 0. What a doctor finds is the matter
/// of the machine.
const STATUS: &[(&str, &[i32])] = &[("lookup --mx mx.example.net ", &[5]), ("mtasts doctor", &[0, 1])];

fn is_run_here(text: &str) -> bool {
    let own = text.strip_prefix("sudo ").unwrap_or(text);
    let commands: Vec<&str> = own.split(['|', ';', '&']).map(str::trim).filter(|command| !command.is_empty()).collect();
    let is_harmless = |command: &&str| command.split_whitespace().next().is_some_and(|word| HARMLESS.contains(&word));
    let can_be_kept_in =
        |word: &str| !word.starts_with('/') || sandbox::KEPT_IN.iter().any(|place| word.starts_with(place));
    let is_kept_in =
        text.split(' ').all(|word| can_be_kept_in(word.trim_start_matches('>'))) && !text.contains(['$', '`']);
    ALSO_HERE.contains(&text) || !commands.is_empty() && commands.iter().all(is_harmless) && is_kept_in
}

#[test]
fn each_command_line_of_a_document_is_run_here_or_by_the_test_that_is_named() {
    let mail_servers: Vec<MailServerTests> = MAIL_SERVERS.iter().map(|name| MailServerTests::new(name)).collect();
    let is_elsewhere = |line: &Line| {
        ELSEWHERE.iter().any(|(lines, ..)| lines.contains(&line.text.as_str()))
            || mail_servers.iter().any(|mail_server| mail_server.run(line))
    };
    let lines = all_lines();
    let unknown: Vec<String> = lines
        .iter()
        .filter(|line| !is_run_here(&line.text) && !is_elsewhere(line))
        .map(|line| format!("{}: `{}`", line.document, line.text))
        .collect();
    assert!(unknown.is_empty(), "no test runs these, see CONTRIBUTING.md:\n{}", unknown.join("\n"));

    let here: Vec<&Line> = lines.iter().filter(|line| is_run_here(&line.text)).collect();
    assert!(here.len() > 10, "command lines are found");
    let documents: BTreeSet<&str> = here.iter().map(|line| line.document.as_str()).collect();
    let mut faults = Vec::new();
    for document in documents {
        let sandbox = Sandbox::new();
        sandbox.remember();
        for line in here.iter().filter(|line| line.document == document) {
            let special = STATUS.iter().find(|(words, _)| line.text.contains(words));
            let status = special.map_or(&[0][..], |(_, status)| *status);
            let output = sandbox.run(&line.text);
            if !output.status.code().is_some_and(|code| status.contains(&code)) {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                faults.push(format!("{document}: `{}` ends with {:?}: {said}", line.text, output.status.code()));
            }
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if let Some(missing) = line.missing_in(&said) {
                faults.push(format!("{document}: `{}` does not say `{missing}`, but:\n{said}", line.text));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn command_lines_are_found_and_judged() {
    let text = "# A\n\n    make  # x\n    a \\\n      b\n\ntext\n    no command\n\n```sh\nmtasts x\n```\n\n```text\nno\n```\n\n```console\n$ c\nout\n```\n";
    let found: Vec<String> = of_markdown("d", text).into_iter().map(|line| line.text).collect();
    assert_eq!(found, ["make", "a b", "mtasts x", "c"]);
    let manual = ".Dl mtasts lookup \\-\\-json \\- < x\n.Bd -literal\n$ a\nout\n.Ed\n$ b\n";
    let found: Vec<String> = of_manual("d", manual).into_iter().map(|line| line.text).collect();
    assert_eq!(found, ["mtasts lookup --json - < x", "a"]);
    let shown = &of_manual("d", ".Bd -literal\n$ a\n\\&...\nb 1 ... c\nd\n.Ed\n")[0];
    assert_eq!(shown.missing_in("x\nb 1 2 3 c\ny\nd\n"), None);
    assert_eq!(shown.missing_in("d\nb 1 2 3 c\n"), Some("d"));
    assert_eq!(shown.missing_in("b 2 c\nd\n"), Some("b 1 ... c"));
    let help = "x\n\nExamples:\n  mtasts a b   what it does\n  mtasts c\n";
    let found: Vec<String> = of_help("d", help).into_iter().map(|line| line.text).collect();
    assert_eq!(found, ["mtasts a b", "mtasts c"]);
    for line in [
        "rm -rf x",
        "mtasts x && rm -rf x",
        "mtasts x > /etc/x",
        "mtasts x >/etc/x",
        "mtasts x | sh",
        "mtasts $(rm x)",
        "",
    ] {
        assert!(!is_run_here(line), "{line}");
    }
    assert!(is_run_here("mtasts x < y | grep z"));
}

// ---- what is named in passing ----

/// What stands between backticks in running text.
fn spans(text: &str) -> Vec<String> {
    let without_blocks: String = text.split("```").step_by(2).collect::<Vec<_>>().join("\n\n");
    let paragraphs = without_blocks.split("\n\n").filter(|paragraph| !paragraph.starts_with("    "));
    let joined = paragraphs.map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    joined.flat_map(|text| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn commands_and_paths_that_are_named_in_running_text_are_there() {
    const PLACES: [&str; 8] = ["src/", "tests/", "doc/", "examples/", "packaging/", "fuzz/", "include/", "benches/"];
    let targets = read("Makefile");
    let mut seen = 0;
    for document in markdown() {
        for span in spans(&read(&document)) {
            let words: Vec<&str> = span.split_whitespace().collect();
            match words[..] {
                ["make", target] => {
                    seen += 1;
                    assert!(targets.contains(&format!("\n{target}:")), "{document}: `{span}`");
                }
                ["mtasts", ref rest @ ..] if !span.contains("...") && !span.contains('|') => {
                    seen += 1;
                    let output = mtasts(&[rest, &["--help"]].concat());
                    assert!(output.status.success(), "{document}: `{span}`: {output:?}");
                }
                [path] if PLACES.iter().any(|place| path.starts_with(place)) && !path.contains(['*', '{', '<']) => {
                    seen += 1;
                    let path = path.split("::").next().unwrap().trim_end_matches(':');
                    assert!(root().join(path).exists(), "{document}: `{span}`");
                }
                _ => {}
            }
        }
    }
    assert!(seen > 50, "{seen} are found");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in markdown() {
        let directory = Path::new(&document).parent().unwrap().to_owned();
        let text = read(&document);
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(root().join(&directory).join(file).exists(), "{document}: {target}");
            }
        }
    }
}

#[test]
fn the_drawing_in_the_architecture_has_the_layers_of_the_library() {
    let drawing = |text: &str| text.split("```text").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let first_words = |text: &str, indent: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(indent));
        let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains("  "));
        names.map(|line| line.split([' ', ',']).next().unwrap().to_owned()).collect()
    };
    let mut layers = first_words(&drawing(&read("src/lib.rs")), "//! ");
    assert_eq!(layers.pop().as_deref(), Some("capi"), "the faces are drawn above the others");
    layers.reverse();
    assert_eq!(first_words(&drawing(&read("ARCHITECTURE.md")), "  "), layers);
}
