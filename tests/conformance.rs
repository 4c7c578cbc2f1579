//! `doc/conformance.md` says which test keeps which rule. Here both sides are held to each other: every rule is in the
//! tables, every test named there exists and names the rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The rows: what their names begin with, and the first and last number.
const ROWS: &[(&str, u32, u32)] = &[
    ("S3.1-", 1, 13),
    ("S3.2-", 1, 14),
    ("S3.3-", 1, 19),
    ("S3.4-", 1, 5),
    ("S4-", 1, 1),
    ("S4.1-", 1, 5),
    ("S4.2-", 1, 6),
    ("S5-", 1, 5),
    ("S5.1-", 1, 9),
    ("S6-", 1, 3),
    ("S8.3-", 1, 1),
    ("S10.2-", 1, 2),
    ("S10.3-", 1, 2),
    ("S10-", 4, 8),
    ("S10.5-", 1, 1),
    ("D-", 1, 11),
    ("R-", 1, 2),
];

fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// The name of a row, and its last cell.
type Row = (String, String);

fn rows(part: &str) -> Vec<Row> {
    let cells = |line: &str| -> Option<Row> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        assert_eq!(cells.len(), 4, "{line}");
        (cells[0] != "row").then(|| (cells[0].to_owned(), cells[3].to_owned()))
    };
    part.lines().filter_map(cells).collect()
}

/// Running text: without the marks of comments, bullets and code, one blank between words.
fn running(text: &str) -> String {
    let words = text.lines().flat_map(|line| line.trim_start_matches(['/', '*', '!', '#', ' ']).split_whitespace());
    words.collect::<Vec<_>>().join(" ").replace('`', "")
}

fn names_row(comment: &str, row: &str) -> bool {
    comment
        .split_once("Conformance: ")
        .is_some_and(|(_, rows)| rows.trim_end_matches('.').split(", ").any(|is| is == row))
}

/// What is wrong with a test that a row names.
fn fault_of_test(row: &str, file: &str, function: &str) -> Option<String> {
    let Some(text) = read(file) else { return Some(format!("there is no {file}")) };
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_script = file.ends_with(".sh");
    let head = if is_script { format!("{function}() {{") } else { format!("fn {function}() {{") };
    let Some(at) = lines.iter().position(|line| line.starts_with(&head)) else {
        return Some(format!("{file} has no {function}"));
    };
    let is_above = |line: &&&str| line.starts_with('#') || line.starts_with("//");
    let above: Vec<&str> = lines[..at].iter().rev().take_while(is_above).copied().collect();
    let is_test = is_script || above.contains(&"#[test]");
    if !is_test || above.iter().any(|line| line.starts_with("#[ignore")) {
        return Some(format!("{file}: {function} is no test that is run"));
    }
    let is_named = above.iter().any(|line| names_row(line, row));
    (!is_named).then(|| format!("{file}: {function} does not name {row}"))
}

/// What is wrong with one item between backticks; a vector is none of the places that keep a row.
fn fault(row: &str, item: &str, vectors: &str) -> Option<String> {
    if let Some(name) = item.strip_prefix("vector: ") {
        let is_there = vectors.contains(&format!("\"name\": \"{name}\""));
        return (!is_there).then(|| format!("there is no vector `{name}`"));
    }
    if let Some((file, function)) = item.split_once("::") {
        return fault_of_test(row, file, function);
    }
    if item.ends_with(".scene") {
        let is_named = read(item).is_some_and(|text| text.lines().any(|line| names_row(line, row)));
        return (!is_named).then(|| format!("{item} is not there or does not name {row}"));
    }
    let Some((file, words)) = item.split_once(": ") else { return Some(format!("`{item}` is no place")) };
    let is_said = read(file).is_some_and(|text| running(&text).contains(words));
    (!is_said).then(|| format!("{file} does not say `{words}`"))
}

#[test]
fn every_row_is_kept_by_tests_that_exist_and_name_it() {
    let vectors = ["vectors", "additions"].map(|name| read(&format!("tests/vectors/{name}.json")).unwrap()).concat();
    let rows = rows(&read("doc/conformance.md").unwrap());
    let mut faults = Vec::new();
    for (row, cell) in &rows {
        let items: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        let has_place = items.iter().any(|item| !item.starts_with("vector: "));
        if !has_place {
            faults.push(format!("{row}: no test"));
        }
        let found = items.iter().filter_map(|item| fault(row, item, &vectors));
        faults.extend(found.map(|fault| format!("{row}: {fault}")));
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    rows.iter().for_each(|(row, _)| *seen.entry(row.clone()).or_default() += 1);
    for row in ROWS.iter().flat_map(|(head, first, last)| (*first..=*last).map(move |number| format!("{head}{number}")))
    {
        if seen.remove(&row) != Some(1) {
            faults.push(format!("{row}: not in the tables, or twice"));
        }
    }
    faults.extend(seen.keys().map(|row| format!("{row}: no such row")));
    assert!(faults.is_empty(), "doc/conformance.md:\n{}", faults.join("\n"));
}
