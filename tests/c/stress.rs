//! A host that forks, runs many threads, is signalled and short of everything: quickly here, at length in `make torture`.

use crate::harness::{Host, library};
use mtasts_world::{Certificate, Response, Site};
use std::fs;

const FORKS: &str = "tests/c/forks.c";

/// The database is whole.
fn check_database(host: &Host) {
    let cache = rusqlite::Connection::open(host.path("cache/cache.db")).unwrap();
    let verdict: String = cache.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

fn passes_and_keeps_the_database_whole(source: &str, situation: &str, more: &[&str]) -> Host {
    let host = Host::new();
    host.passes(&[], source, situation, more);
    check_database(&host);
    host
}

#[test]
fn children_of_threads_in_calls_hang_not_answer_right_and_inherit_no_socket() {
    passes_and_keeps_the_database_whole(FORKS, "children-of-busy-threads-go-on", &["40"]);
}

#[test]
#[ignore = "torture"]
fn torture_six_hundred_children_of_threads_in_calls() {
    passes_and_keeps_the_database_whole(FORKS, "children-of-busy-threads-go-on", &["600"]);
}

/// Forks for some seconds while another program, this one, holds the database locked; returns what was measured.
fn fork_under_lock(seconds: u32) -> String {
    let host = Host::new();
    host.passes(&[], "tests/c/refresh.c", "the-cache-is-filled", &["good.test", "testing.test"]);
    let cache = rusqlite::Connection::open(host.path("cache/cache.db")).unwrap();
    cache.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let measured = host.path("measured");
    let seconds = seconds.to_string();
    host.passes(&[], FORKS, "fork-does-not-wait-for-a-lock", &[&seconds, measured.to_str().unwrap()]);
    cache.execute_batch("ROLLBACK").unwrap();
    fs::read_to_string(measured).unwrap()
}

#[test]
fn fork_does_not_wait_while_another_program_holds_the_database() {
    fork_under_lock(2);
}

#[test]
#[ignore = "torture"]
fn torture_fork_while_another_program_holds_the_database_for_thirty_seconds() {
    println!("{}", fork_under_lock(30));
}

#[test]
fn children_and_their_children_go_on_and_executed_programs_inherit_nothing() {
    passes_and_keeps_the_database_whole(FORKS, "children-execute-and-fork-again", &["4"]);
}

#[test]
#[ignore = "torture"]
fn torture_a_hundred_executed_programs_and_grandchildren() {
    passes_and_keeps_the_database_whole(FORKS, "children-execute-and-fork-again", &["100"]);
}

#[test]
fn a_log_function_may_fork_and_both_return_from_it() {
    passes_and_keeps_the_database_whole(FORKS, "a-log-function-may-fork", &["2"]);
}

#[test]
#[ignore = "torture"]
fn torture_fifty_forks_in_a_log_function() {
    passes_and_keeps_the_database_whole(FORKS, "a-log-function-may-fork", &["50"]);
}

#[test]
fn a_host_may_close_the_library_load_it_again_and_fork_in_between() {
    let host = Host::new();
    let program = host.compile_with("tests/c/reload.c", &[]);
    let run = host.run(&[program.to_str().unwrap(), library().to_str().unwrap(), "good.test"]);
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", ""));
}

const THREADS: &str = "tests/c/threads.c";

#[test]
fn sixteen_threads_share_a_context_or_have_their_own() {
    passes_and_keeps_the_database_whole(THREADS, "sixteen-threads-have-some-contexts", &["30"]);
}

#[test]
#[ignore = "torture"]
fn torture_sixteen_threads_share_a_context() {
    passes_and_keeps_the_database_whole(THREADS, "sixteen-threads-share-a-context", &["1000"]);
}

#[test]
#[ignore = "torture"]
fn torture_sixteen_threads_have_a_context_each() {
    passes_and_keeps_the_database_whole(THREADS, "sixteen-threads-have-a-context-each", &["1000"]);
}

#[test]
fn threads_that_are_cancelled_at_any_moment_end_after_their_call() {
    passes_and_keeps_the_database_whole(THREADS, "threads-are-cancelled-at-any-moment", &["20"]);
}

#[test]
#[ignore = "torture"]
fn torture_a_thousand_threads_are_cancelled() {
    passes_and_keeps_the_database_whole(THREADS, "threads-are-cancelled-at-any-moment", &["500"]);
}

const SIGNALS: &str = "tests/c/signals.c";

/// With a policy host that takes connections and says nothing.
fn host_for_signals() -> Host {
    let host = Host::new();
    host.world.publish("no-handshake.test", "1", "");
    host.world.site("mta-sts.no-handshake.test", Site::new(Certificate::Good, Response::NoHandshake));
    host.world.publish("cut.test", "1", "");
    host.world.site("mta-sts.cut.test", Site::new(Certificate::Good, Response::RawThenCut(b"HTTP/1.1 2".to_vec())));
    host
}

#[test]
fn signals_that_interrupt_system_calls_change_no_answer_and_no_deadline() {
    host_for_signals().passes(&[], SIGNALS, "signals-that-interrupt-do-no-harm", &[]);
}

#[test]
fn signals_that_restart_system_calls_change_no_answer_and_no_deadline() {
    host_for_signals().passes(&[], SIGNALS, "signals-that-restart-do-no-harm", &[]);
}

#[test]
fn an_alarm_that_the_host_has_set_still_fires() {
    host_for_signals().passes(&[], SIGNALS, "the-hosts-alarm-still-fires", &[]);
}

#[test]
fn a_connection_that_is_cut_raises_no_sigpipe() {
    let host = host_for_signals();
    host.world.https_off(true);
    host.passes(&[], SIGNALS, "a-cut-connection-raises-no-signal", &["50"]);
    host.world.https_off(false);
    host.world.publish("good.test", "2", "");
    host.world.site("mta-sts.good.test", Site::new(Certificate::Good, Response::RawThenCut(Vec::new())));
    host.passes(&[], SIGNALS, "a-cut-connection-raises-no-signal", &["50"]);
}

const RESOURCES: &str = "tests/c/resources.c";

fn look_up(count: u32) -> String {
    let host = Host::new();
    let measured = host.path("measured");
    host.passes(&[], RESOURCES, "many-lookups-keep-their-level", &[&count.to_string(), measured.to_str().unwrap()]);
    fs::read_to_string(measured).unwrap()
}

#[test]
fn lookups_use_no_more_memory_descriptors_and_threads_as_time_goes_on() {
    look_up(20_000);
}

#[test]
#[ignore = "torture"]
fn torture_a_hundred_thousand_lookups_keep_their_level() {
    println!("{}", look_up(100_000));
}

#[test]
fn a_warm_answer_needs_no_system_call() {
    Host::new().passes(&[], RESOURCES, "warm-answers-need-no-system-call", &[]);
}

#[test]
fn a_host_without_standard_streams_is_served_and_writes_into_no_database() {
    let host = passes_and_keeps_the_database_whole(RESOURCES, "standard-streams-are-closed", &[]);
    let cache = fs::read(host.path("cache/cache.db")).unwrap();
    assert!(!cache.windows(19).any(|bytes| bytes == b"a line of the host\n"));
}

#[test]
fn with_few_descriptors_a_policy_is_found_or_the_answer_is_unknown() {
    // Three are enough for a fetch, one for what is cached.
    for (domain, free, modes) in [
        ("good.test", "6", "2"),
        ("good.test", "3", "2"),
        ("fresh.test", "3", "2"),
        ("good.test", "2", "2"),
        ("good.test", "1", "2"),
        ("good.test", "0", "3"),
        ("fresh.test", "2", "023"),
        ("fresh.test", "1", "023"),
        ("absent.test", "3", "0"),
    ] {
        let host = Host::new();
        host.passes(&[], "tests/c/refresh.c", "the-cache-is-filled", &["good.test"]);
        host.passes(&[], RESOURCES, "few-descriptors-are-free", &[domain, free, modes]);
        check_database(&host);
    }
    // Where nothing was ever cached, nothing is hidden: the answer is that of a resolver that does not answer.
    let host = Host::new();
    host.passes(&[], RESOURCES, "few-descriptors-are-free", &["good.test", "0", "0"]);
}

/// Has every n-th allocation of a question fail; returns what was found.
fn fail_malloc(step: &str) -> String {
    let host = Host::new();
    host.passes(&[], "tests/c/refresh.c", "the-cache-is-filled", &["good.test"]);
    let shim = host.compile_with("tests/c/failing_malloc.c", &["-shared", "-fPIC"]);
    let measured = host.path("measured");
    let preload = format!("LD_PRELOAD={}", shim.display());
    host.passes(&["env", &preload], RESOURCES, "each-malloc-fails-once", &[step, measured.to_str().unwrap()]);
    check_database(&host);
    fs::read_to_string(measured).unwrap()
}

#[test]
fn a_malloc_that_fails_ends_in_the_answer_an_error_or_the_process_but_in_no_wrong_answer() {
    fail_malloc("97");
}

#[test]
#[ignore = "torture"]
fn torture_each_malloc_of_a_question_fails() {
    println!("{}", fail_malloc("1"));
}

#[test]
fn under_a_tight_limit_of_memory_a_cached_policy_is_found_and_a_fetch_succeeds_or_ends_the_process() {
    for kib in ["0", "64", "256", "1024", "8192", "65536"] {
        let host = Host::new();
        host.passes(&[], "tests/c/refresh.c", "the-cache-is-filled", &["good.test"]);
        host.passes(&[], RESOURCES, "little-memory-is-left", &[kib, "2"]);
        let host = Host::new();
        let run = host.run_situation(RESOURCES, "little-memory-is-left", &[kib, "02"]);
        // `timeout` hands on the signal that Rust ends with for want of memory.
        let is_ended_by_rust = run.status.is_none() || run.stderr.contains("memory allocation of");
        assert!(run.status == Some(0) || is_ended_by_rust && kib != "65536", "{kib}: {run:?}");
        check_database(&host);
    }
}

#[test]
#[ignore = "torture"]
fn torture_valgrind_finds_no_fault_in_threads_forks_and_signals() {
    if std::process::Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "valgrind is not installed");
        println!("SKIPPED: valgrind not installed");
        return;
    }
    // It does not follow which bytes ring's assembler defines.
    let memcheck = ["valgrind", "--quiet", "--error-exitcode=9", "--undef-value-errors=no", "--fair-sched=yes"];
    for (source, situation, more) in [
        (FORKS, "children-of-busy-threads-go-on", "10"),
        (FORKS, "a-log-function-may-fork", "1"),
        (THREADS, "sixteen-threads-share-a-context", "5"),
        (THREADS, "sixteen-threads-have-a-context-each", "5"),
        (THREADS, "threads-are-cancelled-at-any-moment", "5"),
    ] {
        Host::new().passes(&memcheck, source, situation, &[more]);
    }
    host_for_signals().passes(&memcheck, SIGNALS, "the-hosts-alarm-still-fires", &[]);
}
