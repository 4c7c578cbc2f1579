//! What many rows cost: bytes on disk, resident memory, answers, and many processes.

use crate::field::{Field, Rows};
use mtasts_world::World;
use std::collections::HashMap;
use std::fs;

const COUNTS: [u32; 3] = [1_000, 100_000, 1_000_000];

pub fn measure() {
    println!("## Many rows\n");
    println!(
        "Rows are written in random order. Memory is that of the whole process, after all names were asked twice.\n"
    );
    println!(
        "| rows | mode | bytes a row | first answer us | warm 1000 ns | random, default memory ns | random, from the file ns \
         | at start KiB | after the first answer | after all, default | after all, memory_entries 0 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for rows in [Rows::None, Rows::Enforce] {
        let mut small: Option<[f64; 2]> = None;
        for count in COUNTS {
            let field = Field::new();
            field.fill(rows, count);
            let bytes = fs::metadata(field.cache()).unwrap().len() as f64 / f64::from(count);
            let program = field.compile("benches/c/size.c", &[]);
            let run = || {
                let text = field.run(&program, &[&count.to_string(), rows.word()]);
                let pairs = text.lines().map(|line| line.split_once(' ').unwrap());
                pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect::<HashMap<String, f64>>()
            };
            let usual = run();
            field.configure("memory_entries = 0\n");
            let file = run();
            let [warm, random] = [usual["warm"], file["random"]];
            let [small_warm, small_random] = *small.get_or_insert([warm, random]);
            println!(
                "| {count} | {} | {bytes:.0} | {:.0} | {warm:.0} ({:.2}) | {:.0} | {random:.0} ({:.2}) | {:.0} | {:.0} | {:.0} | {:.0} |",
                rows.word(),
                usual["first"],
                warm / small_warm,
                usual["random"],
                random / small_random,
                usual["memory_at_start"],
                usual["memory_after_first"],
                usual["memory_after_all"],
                file["memory_after_all"],
            );
        }
    }
    println!("\nIn brackets the ratio to 1000 rows.\n");
    many_processes();
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
