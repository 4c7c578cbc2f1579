//! Answers from the memory of the process that asks.

use crate::field::{Field, Rows};
use std::collections::HashMap;

pub fn measure() {
    println!("## Warm, in process, from C\n");
    println!("Nanoseconds for one call of one thread; in brackets the millions of calls a second of all threads.\n");
    println!(
        "| domains | mode | threads | bare table | under rwlock | query, mode, free | lookup | decide, action, free | query / table |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for count in [1_000, 100_000] {
        for rows in [Rows::Enforce, Rows::None] {
            let field = Field::new();
            field.fill(rows, count);
            let program = field.compile("benches/c/warm.c", &[]);
            print(count, rows, &field.run(&program, &[&count.to_string(), rows.word()]));
        }
    }
    println!();
}

fn print(count: u32, rows: Rows, measured: &str) {
    let mut by_threads: HashMap<&str, HashMap<&str, (f64, &str)>> = HashMap::new();
    for line in measured.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, threads, each, all] = words[..] else { panic!("{line}") };
        by_threads.entry(threads).or_default().insert(name, (each.parse().unwrap(), all));
    }
    for threads in ["1", "2", "4"] {
        let of = |name: &str| by_threads[threads][name];
        let cell = |name: &str| format!("{:.0} ({})", of(name).0, of(name).1);
        println!(
            "| {count} | {} | {threads} | {} | {} | {} | {} | {} | {:.1} |",
            rows.word(),
            cell("table"),
            cell("rwlock"),
            cell("query"),
            cell("lookup"),
            cell("decide"),
            of("query").0 / of("table").0
        );
    }
}
