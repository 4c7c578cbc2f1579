//! The parsers of policies and STS records against readers written from the ABNF of RFC 8461 alone
//! (`fuzz_bodies/grammar.rs`), on inputs that are made from good and bad ones by small changes.

mod fuzz_bodies;

use fuzz_bodies::{policy, record};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % sides.max(1)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.roll(items.len())]
    }
}

/// What is likely to matter to one of the two.
const POLICY_WORDS: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"\n\r\n",
    b" ",
    b"\t",
    b":",
    b": ",
    b"\0",
    b"\x7f",
    b"\x0b",
    b"\x0c",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xc3\xa9",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf0\x9f\x98\x80",
    b"\xff",
    b"\xef\xbb\xbf",
    b"version: STSv1\n",
    b"version:STSv1",
    b"STSv2",
    b"mode: enforce\n",
    b"mode: none\n",
    b"mode: testing\n",
    b"mode: Enforce",
    b"mx: a.example\n",
    b"mx: *.example\r\n",
    b"mx:",
    b"mx: *\n",
    b"mx: a.example.\n",
    b"*.",
    b".",
    b"-",
    b"_",
    b"max_age: 86400\n",
    b"max_age: 0\n",
    b"max_age: 99999999999\n",
    b"9999999999",
    b"31557601",
    b"max_age:\n",
    b"+1",
    b"x: y\n",
    b"x:\n",
    b"x: y z \n",
    b"x: \xc3\xbc\n",
    b"a.b-c_d: e\n",
    b"[192.0.2.1]",
    b"192.0.2.1",
    b"xn--",
    b"=",
    b";",
    b"#",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
const RECORD_WORDS: &[&[u8]] = &[
    b"v=STSv1;",
    b"v=STSv1 ;",
    b"v=STSv1\t;",
    b"v=STSv1",
    b"v=STSv2;",
    b"V=STSv1;",
    b";",
    b"; ",
    b" ;",
    b";;",
    b" ",
    b"\t",
    b"=",
    b"id=",
    b"id=1;",
    b" id=20260101T000000;",
    b"id =1",
    b"id= 1",
    b"id=_;",
    b"ID=1;",
    b"x=y;",
    b"x=;",
    b"=y;",
    b"x=y=z;",
    b"-x=y",
    b"x.y-z_=1;",
    b"\0",
    b"\n",
    b"\nv=STSv1; id=2;",
    b"\nv=spf1 -all",
    b"\x7f",
    b"\xc3\xa9",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// A few changes of one seed, or of one seed with part of another.
fn mutate(dice: &mut Dice, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut text = dice.pick(seeds).clone();
    for _ in 0..1 + dice.roll(4) {
        let at = dice.roll(text.len() + 1);
        match dice.roll(9) {
            0 if at < text.len() => text[at] = u8::try_from(dice.roll(256)).unwrap(),
            1 if at < text.len() => text[at] ^= 1 << dice.roll(8),
            2 if at < text.len() => {
                text.drain(at..(at + 1 + dice.roll(4)).min(text.len()));
            }
            3 => text.truncate(at),
            4 => {
                let other = dice.pick(seeds);
                let from = dice.roll(other.len() + 1);
                text.truncate(at);
                text.extend_from_slice(&other[from..]);
            }
            5 => {
                // A line again, elsewhere.
                let lines: Vec<Vec<u8>> = text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
                if let Some(line) = (!lines.is_empty()).then(|| dice.pick(&lines).clone()) {
                    let mut lines = lines;
                    lines.insert(dice.roll(lines.len() + 1), line);
                    text = lines.concat();
                }
            }
            6 => {
                let mut lines: Vec<Vec<u8>> = text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
                let (a, b) = (dice.roll(lines.len()), dice.roll(lines.len()));
                if !lines.is_empty() {
                    lines.swap(a, b);
                }
                text = lines.concat();
            }
            _ => {
                let word = dice.pick(words);
                text.splice(at..at, word.iter().copied());
            }
        }
    }
    text
}

/// Bodies and records of the vectors and of the corpora.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = fs::read_dir(root.join("fuzz/corpus").join(target)).unwrap();
    let mut files: Vec<_> = corpus.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut seeds: Vec<Vec<u8>> = files.into_iter().map(|file| fs::read(file).unwrap()).collect();
    for file in ["vectors.json", "additions.json"] {
        let text = fs::read_to_string(root.join("tests/vectors").join(file)).unwrap();
        let vectors: Value = serde_json::from_str(&text).unwrap();
        for row in vectors.as_object().unwrap().values().filter_map(Value::as_array).flatten() {
            if let (Some(body), "policy") = (row["body"].as_str(), target) {
                seeds.push(body.as_bytes().to_vec());
            }
            if let (Some(records), "record") = (row["txt"].as_array(), target) {
                let joined =
                    |record: &Value| record.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                seeds.push(records.iter().map(joined).collect::<Vec<String>>().join("\n").into_bytes());
            }
        }
    }
    seeds.retain(|seed| seed.len() <= 2048);
    assert!(seeds.len() > 50, "{} seeds for {target}", seeds.len());
    seeds
}

/// Compares on so many inputs. A run in which one of the two verdicts is rare shows nothing.
fn compare(target: &str, words: &[&[u8]], count: usize, verdict: fn(&[u8]) -> bool) {
    let (good, bad): (Vec<_>, Vec<_>) = seeds(target).into_iter().partition(|seed| verdict(seed));
    // Most bad ones are too far from good to become it.
    let times = bad.len() * 3 / good.len() + 1;
    let seeds = [vec![good; times].concat(), bad].concat();
    let mut dice = Dice(0x0053_5453_7631);
    let good = (0..count).filter(|_| verdict(&mutate(&mut dice, &seeds, words))).count();
    assert!(good > count / 10 && good < count / 10 * 9, "{good} good ones among {count}");
    println!("{target}: {count} inputs, {good} of them good");
}

fn a_record(bytes: &[u8]) -> bool {
    record::compare(&bytes.split(|&byte| byte == b'\n').collect::<Vec<_>>())
}

#[test]
fn policies_are_read_as_the_grammar_says_in_50000_mutations() {
    compare("policy", POLICY_WORDS, 50_000, policy::compare);
}

#[test]
fn records_are_read_as_the_grammar_says_in_50000_mutations() {
    compare("record", RECORD_WORDS, 50_000, a_record);
}

#[test]
#[ignore = "takes a minute or more"]
fn torture_policies_are_read_as_the_grammar_says_in_a_million_mutations() {
    compare("policy", POLICY_WORDS, 1_000_000, policy::compare);
}

#[test]
#[ignore = "takes a minute or more"]
fn torture_records_are_read_as_the_grammar_says_in_a_million_mutations() {
    compare("record", RECORD_WORDS, 1_000_000, a_record);
}

/// The vectors decide what is right; the grammar's reader must agree with them before it may judge anything.
#[test]
fn the_grammar_agrees_with_the_vectors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for file in ["vectors.json", "additions.json"] {
        let text = fs::read_to_string(root.join("tests/vectors").join(file)).unwrap();
        let vectors: Value = serde_json::from_str(&text).unwrap();
        for row in vectors["policies"].as_array().into_iter().flatten() {
            let (Some(body), Some(expect)) = (row["body"].as_str(), row["expect"].as_str()) else { continue };
            assert_eq!(fuzz_bodies::grammar::policy(body.as_bytes()).is_some(), expect == "ok", "{row}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} policies among the vectors");
}
