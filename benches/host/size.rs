//! What many rows cost: bytes on disk, resident memory, answers, and many processes.

use crate::field::{Field, Rows};
use mtasts_world::World;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

const COUNTS: [u32; 3] = [1_000, 100_000, 1_000_000];

/// The sizes are measured in turn, so many times.
const ROUNDS: usize = 3;

pub fn measure() {
    println!("## Many rows\n");
    println!(
        "Rows are written in random order. Times are medians of {ROUNDS} processes, the sizes in turn; in brackets"
    );
    println!("the ratio to the fewest rows. Memory is that of the whole process; `all`: every name was asked.\n");
    println!(
        "| rows | mode | bytes a row | first answer us | 1000 warm names ns | random, from the file ns \
         | random, default memory ns | KiB at start | after one answer | after all | after all, memory_entries 0 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for rows in [Rows::None, Rows::Enforce] {
        let mut sizes = COUNTS.map(|count| Size::new(rows, count));
        for _ in 0..ROUNDS {
            sizes.iter_mut().for_each(Size::measure);
        }
        let fewest = ["warm", "file"].map(|name| sizes[0].median(name));
        for size in &mut sizes {
            size.measure_memory();
            let of = |name: &str| size.median(name);
            println!(
                "| {} | {} | {:.0} | {:.0} | {:.0} ({:.2}) | {:.0} ({:.2}) | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                size.count,
                rows.word(),
                fs::metadata(size.field.cache()).unwrap().len() as f64 / f64::from(size.count),
                of("first"),
                of("warm"),
                of("warm") / fewest[0],
                of("file"),
                of("file") / fewest[1],
                of("random"),
                of("memory_at_start"),
                of("memory_after_first"),
                of("memory_after_all"),
                of("memory_after_all_without"),
            );
        }
    }
    println!();
    many_processes();
}

/// A cache of so many rows, and what was measured on it.
struct Size {
    field: Field,
    program: PathBuf,
    rows: Rows,
    count: u32,
    measured: HashMap<String, Vec<f64>>,
}

impl Size {
    fn new(rows: Rows, count: u32) -> Self {
        let field = Field::new();
        field.fill(rows, count);
        let program = field.compile("benches/c/size.c", &[]);
        Self { field, program, rows, count, measured: HashMap::new() }
    }

    fn measure(&mut self) {
        self.run("", &[], &["first", "random", "warm", "memory_at_start", "memory_after_first"], |name| name);
        self.run("memory_entries = 0\n", &[], &["random"], |_| "file");
    }

    fn measure_memory(&mut self) {
        self.run("", &["all"], &["memory_after_all"], |name| name);
        self.run("memory_entries = 0\n", &["all"], &["memory_after_all"], |_| "memory_after_all_without");
    }

    fn run(&mut self, configuration: &str, more: &[&str], wanted: &[&str], key: fn(&str) -> &str) {
        self.field.configure(configuration);
        let count = self.count.to_string();
        let text = self.field.run(&self.program, &[&[count.as_str(), self.rows.word()], more].concat());
        for (name, value) in text.lines().map(|line| line.split_once(' ').unwrap()) {
            if wanted.contains(&name) {
                self.measured.entry(key(name).to_owned()).or_default().push(value.parse().unwrap());
            }
        }
    }

    fn median(&self, name: &str) -> f64 {
        let mut values = self.measured[name].clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

fn many_processes() {
    println!(
        "Eight processes, each tenth question about a new domain, which costs a DNS query and is written down; no memory:\n"
    );
    println!("| rows | questions a second | longest ms |");
    println!("|---|---|---|");
    for count in [1_000, 100_000] {
        let world = World::start();
        let field = Field::new();
        field.fill(Rows::Enforce, count);
        field.configure(&format!("memory_entries = 0\nnameservers = [\"{}\"]\n", world.dns_addr()));
        let program = field.compile("benches/c/mix.c", &[]);
        let measured = field.run(&program, &[&count.to_string()]);
        let (questions, longest) = measured.trim().split_once(' ').unwrap();
        println!("| {count} | {questions} | {longest} |");
    }
    println!();
}
