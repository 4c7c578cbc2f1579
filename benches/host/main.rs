//! Measures what a host sees of the library, from C, in processes of their own: `cargo bench --bench host [GROUP...]`.
//!
//! Each group prints a table in Markdown with medians and with ratios to baselines of the same run. `doc/performance.md`
//! records a run of all of them.

mod exim;
mod fetch;
mod field;
mod fresh;
mod library;
mod miss;
mod size;
mod socketmap;
mod warm;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == fetch::WORD) {
        return fetch::run(&arguments[1..]);
    }
    let wanted: Vec<String> = arguments.into_iter().filter(|argument| argument != "--bench").collect();
    let groups: &[(&str, fn())] = &[
        ("warm", warm::measure),
        ("fresh", fresh::measure),
        ("exim", exim::measure),
        ("miss", miss::measure),
        ("size", size::measure),
        ("socketmap", socketmap::measure),
        ("library", library::measure),
    ];
    println!("{}\n", field::describe_machine());
    for (name, measure) in groups {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            measure();
        }
    }
}
