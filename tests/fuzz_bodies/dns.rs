//! What a DNS server says, byte for byte: the whole reply, or the records of a well-formed one.
//!
//! The bytes go through a socket, the resolver and our reading of its answer. Behind them comes a plain "no such name",
//! so that a reply that is passed over costs no time.

use super::Input;
use super::responder::{Responder, no_such_name, reply};
use mtasts::config::Settings;
use mtasts::dns::{Answer, addresses, txt};
use mtasts::time::Deadline;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(300);

pub fn run(bytes: &[u8]) {
    static RESPONDER: LazyLock<Responder> = LazyLock::new(Responder::start);
    let settings = Settings { nameservers: vec![RESPONDER.address], ..Settings::default() };
    let mut input = Input(bytes);
    let choice = input.byte();
    let flags = [input.byte(), input.byte()];
    let counts = [input.byte(), input.byte(), input.byte()];
    let rest = input.0.to_vec();
    let sent = rest.len();
    RESPONDER.answer_with(move |query| {
        let said = match choice & 3 {
            0 => [query.get(..2).unwrap_or_default(), &rest].concat(),
            1 => reply(query, [flags[0] | 0x80, flags[1]], counts, &rest),
            2 => reply(query, [0x81, 0x80], counts, &rest),
            _ => reply(query, [0x81, 0x80], [1, 0, 0], &rest),
        };
        vec![said, no_such_name(query)]
    });
    let began = Instant::now();
    if choice & 4 == 0 {
        match txt(&settings, "_mta-sts.example.test", Deadline::after(LIMIT)) {
            Answer::Found { records, .. } => {
                assert!(!records.is_empty());
                let total: usize = records.iter().map(Vec::len).sum();
                assert!(total <= sent, "{total} bytes of text in {sent}");
            }
            Answer::Failed(problem) => is_a_line(&problem),
            Answer::Absent { .. } => {}
        }
    } else {
        match addresses(&settings, "mta-sts.example.test", Deadline::after(LIMIT)) {
            Answer::Found { records, .. } => assert!(!records.is_empty() && records.len() <= sent),
            Answer::Failed(problem) => is_a_line(&problem),
            Answer::Absent { .. } => {}
        }
    }
    assert!(began.elapsed() < LIMIT + Duration::from_secs(2), "{:?}", began.elapsed());
}

fn is_a_line(problem: &str) {
    assert!(!problem.chars().any(char::is_control), "{problem:?}");
}
