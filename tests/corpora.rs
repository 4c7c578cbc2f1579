//! What fuzzing has found worth keeping goes through the same functions again. `make fuzz` adds to the corpora.

mod fuzz_bodies;

use fuzz_bodies::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn replay(target: &str) {
    // The configuration is a matter of the environment, which is not touched once there are other threads.
    fuzz_bodies::exim::configure();
    let (_, body) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let files = corpus(target);
    assert!(files.len() >= 5, "the corpus of {target} is there");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| body(&bytes)).is_err() {
            panic!("{}", file.display());
        }
    }
}

macro_rules! replays {
    ($($test:ident $target:ident)*) => {$(
        #[test]
        fn $test() {
            replay(stringify!($target));
        }
    )*};
}

replays! {
    any_row_of_the_cache_is_read_and_none_is_weakened cache_row
    any_calls_of_c_functions_end_as_they_say capi
    no_certificate_is_confirmed_for_another_name certificate
    any_configuration_is_read_as_far_as_it_is_good configuration
    any_answer_of_a_dns_server_is_an_answer_or_a_failure dns
    exim_gets_nothing_but_listed_hosts_of_any_mx_list exim
    any_answer_of_a_policy_host_is_a_body_or_a_failure https
    any_pattern_and_any_host_match_label_by_label matching
    any_body_is_read_as_the_grammar_says policy
    any_txt_record_is_read_as_the_grammar_says record
}

#[test]
fn every_target_has_a_corpus_and_a_test_and_no_corpus_is_large() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora.rs")).unwrap();
    for (target, _) in TARGETS {
        assert!(text.lines().any(|line| line.ends_with(&format!(" {target}"))), "{target} is replayed");
        let files = corpus(target);
        let size: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(files.len() <= 220 && size <= 1_000_000, "{target}: {} files of {size} bytes", files.len());
    }
}
