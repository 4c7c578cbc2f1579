//! Which tables of domains are hurt where a configuration is not TOML.
//!
//! The reader of TOML goes on behind a fault as well as it can. What it then has of a table may lack a line, or have
//! one that was meant for another table.

use super::Lines;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The hurt tables by their names as they are spelled, and the first line that hurts each.
pub struct Damage<'t>(BTreeMap<&'t str, Option<usize>>);

impl<'t> Damage<'t> {
    /// What is not TOML may hurt the last table that has something before it, and all that stand in its line.
    pub fn of(tables: &'t DeTable<'t>, errors: &[toml::de::Error], lines: &Lines) -> Self {
        let mut hurt = BTreeMap::new();
        if errors.is_empty() {
            return Self(hurt);
        }
        let mut places = Vec::new();
        for (name, value) in tables {
            mark(name.get_ref(), name.span().start, value, &mut places);
        }
        places.sort_unstable();
        let mut seen_lines = BTreeSet::new();
        for error in errors {
            let Some(at) = error.span().map(|span| span.start) else {
                hurt.extend(tables.keys().map(|name| (name.get_ref().as_ref(), None)));
                continue;
            };
            let line = lines.number(at);
            let (before, after) = places.split_at(places.partition_point(|place| place.at <= at));
            let mut suspects: Vec<&Place<'t>> = before.last().into_iter().collect();
            if seen_lines.insert(line) {
                let is_in_line = |place: &&Place<'t>| lines.number(place.at) == line;
                suspects.extend(before.iter().rev().take_while(is_in_line));
                suspects.extend(after.iter().take_while(is_in_line));
            }
            for place in suspects {
                hurt.entry(place.table).or_insert(Some(line));
            }
        }
        Self(hurt)
    }

    /// If the table is hurt: where, as the end of a sentence.
    pub fn in_table(&self, name: &str) -> Option<String> {
        let line = self.0.get(name)?;
        Some(line.map_or_else(String::new, |line| format!(" in line {line}")))
    }
}

/// Where something begins or ends, and the table of a domain that it stands in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'t> {
    at: usize,
    table: &'t str,
}

fn mark<'t>(table: &'t str, at: usize, value: &Spanned<DeValue<'_>>, places: &mut Vec<Place<'t>>) {
    let span = value.span();
    places.extend([at, span.start].map(|at| Place { at, table }));
    match value.get_ref() {
        DeValue::Table(entries) => {
            for (key, value) in entries {
                mark(table, key.span().start, value, places);
            }
        }
        _ => places.push(Place { at: span.end, table }),
    }
}
