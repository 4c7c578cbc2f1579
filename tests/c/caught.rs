//! A host that forks, ends a thread or ends itself while the library is caught at a bad moment.

use crate::harness::Host;

fn passes_on_a_slow_system(situation: &str, more: &[&str]) {
    let host = Host::new();
    host.passes(&[], "tests/c/refresh.c", "the-cache-is-filled", &["good.test"]);
    let shim = host.compile_with("tests/c/slow_system.c", &["-shared", "-fPIC"]);
    let preload = format!("LD_PRELOAD={}", shim.display());
    host.passes(&["env", &preload], "tests/c/caught.c", situation, more);
}

#[test]
fn a_child_that_was_forked_amid_a_slow_commit_does_not_deny_a_policy_on_the_disk() {
    passes_on_a_slow_system("a-child-of-a-slow-commit-loses-no-policy", &[]);
}

#[test]
fn a_child_that_was_forked_amid_a_slow_commit_may_make_a_context() {
    passes_on_a_slow_system("a-child-of-a-slow-commit-may-begin-anew", &[]);
}

#[test]
fn a_moment_without_descriptors_does_not_deny_a_policy_on_the_disk() {
    passes_on_a_slow_system("a-moment-without-descriptors-denies-no-policy", &[]);
}

#[test]
fn a_process_whose_first_question_is_caught_by_a_fork_has_children_that_do_not_hang() {
    passes_on_a_slow_system("the-first-question-is-caught-at-each-malloc", &["1", "6"]);
}

#[test]
#[ignore = "torture"]
fn torture_the_first_question_is_caught_by_a_fork_at_each_allocation() {
    passes_on_a_slow_system("the-first-question-is-caught-at-each-malloc", &["1", "1"]);
}

#[test]
fn a_thread_that_is_to_be_cancelled_may_fork() {
    passes_on_a_slow_system("a-thread-that-is-to-be-cancelled-may-fork", &[]);
}

#[test]
fn a_signal_handler_may_fork() {
    passes_on_a_slow_system("a-signal-handler-may-fork", &["20"]);
}

#[test]
fn a_host_may_ask_while_it_exits() {
    passes_on_a_slow_system("a-host-may-ask-while-it-exits", &[]);
}

#[test]
fn a_host_may_ask_while_a_thread_ends() {
    passes_on_a_slow_system("a-host-may-ask-while-a-thread-ends", &[]);
}

#[test]
fn forty_generations_keep_their_descriptors() {
    passes_on_a_slow_system("generations-keep-their-descriptors", &["40"]);
}
