//! A process that is started for one answer, as Exim starts one for a message.

use crate::field::{Field, Rows, sqlite_archive};
use std::path::Path;
use std::process::Command;

const ROWS: u32 = 100_000;
const ROUNDS: &str = "600";

pub fn measure() {
    println!("## A fresh process: load, one answer from a cache of {ROWS} rows, exit\n");
    for rows in [Rows::Enforce, Rows::None] {
        let field = Field::new();
        field.fill(rows, ROWS);
        compare(&field, rows);
    }
}

fn compare(field: &Field, rows: Rows) {
    let linked = field.compile("benches/c/first.c", &[]);
    let empty = field.compile_alone("benches/c/nothing.c", &[]);
    let (bare, which) = match sqlite_archive() {
        Some(archive) => {
            let archive = archive.to_str().unwrap().to_owned();
            (
                field.compile_alone("benches/c/bare.c", &[&archive, "-lm", "-ldl"]),
                "the bundled SQLite, linked statically",
            )
        }
        None => (field.compile_alone("benches/c/bare.c", &["-lsqlite3"]), "the system's SQLite, linked dynamically"),
    };
    let configuration = field.configuration();
    let cache = field.cache();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let domain = format!("d{:07}.example", ROWS / 2);
    let commands = [
        ("E: an empty program".to_owned(), vec![text(&empty)]),
        ("L: linked with libmtasts, no call".to_owned(), vec![text(&linked)]),
        (format!("S: one row with {which}"), vec![text(&bare), text(&cache), domain.clone()]),
        ("A: one answer".to_owned(), vec![text(&linked), text(&configuration), domain]),
    ];
    let spawn = field.compile_alone("benches/c/spawn.c", &[]);
    let mut words = vec![ROUNDS];
    for (_, command) in &commands {
        words.extend(command.iter().map(String::as_str));
        words.push(";");
    }
    let output = Command::new(spawn).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let times: Vec<(f64, f64)> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(median, least)| (median.parse().unwrap(), least.parse().unwrap()))
        .collect();
    let instructions: Vec<Option<u64>> = commands.iter().map(|(_, command)| field.instructions(command)).collect();

    println!("Rows of mode {}; {ROUNDS} rounds, the programs in turn.\n", rows.word());
    println!("| program | median us | least us | instructions in user space |");
    println!("|---|---|---|---|");
    for (((name, _), (median, least)), count) in commands.iter().zip(&times).zip(&instructions) {
        let count = count.map_or("no valgrind".to_owned(), |count| count.to_string());
        println!("| {name} | {median:.0} | {least:.0} | {count} |");
    }
    let share = |of: &dyn Fn(usize) -> f64| of(3) / (of(1) + of(2) - of(0));
    let counts: Option<Vec<f64>> = instructions.iter().map(|count| count.map(|count| count as f64)).collect();
    println!(
        "| A / (L + S - E) | {:.2} | {:.2} | {} |\n",
        share(&|n| times[n].0),
        share(&|n| times[n].1),
        counts.map_or(String::new(), |counts| format!("{:.2}", share(&|n| counts[n])))
    );
}
