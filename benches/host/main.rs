//! Measures what a host sees of the library, from C, in processes of their own: `cargo bench --bench host [GROUP...]`.
//!
//! Each group prints a table in Markdown with medians and with ratios to baselines of the same run. `doc/performance.md`
//! records a run of all of them.

mod field;
mod fresh;
mod library;
mod size;
mod warm;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let groups: &[(&str, fn())] =
        &[("warm", warm::measure), ("fresh", fresh::measure), ("size", size::measure), ("library", library::measure)];
    println!("{}\n", field::describe_machine());
    for (name, measure) in groups {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            measure();
        }
    }
}
