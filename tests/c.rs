//! The shared library as C programs meet it: compiled against the header, linked, run in a small world.
//!
//! Most rules are checked in `tests/c/*.c`, whose programs are silent when all is well. Here stands which situation is
//! set up for them, and what can only be seen from outside.

#[path = "c/as_root.rs"]
mod as_root;
#[path = "c/caught.rs"]
mod caught;
#[path = "c/chains.rs"]
mod chains;
#[path = "c/fresh.rs"]
mod fresh;
#[path = "c/harness.rs"]
mod harness;
#[path = "c/keys.rs"]
mod keys;
#[path = "c/stress.rs"]
mod stress;

use chains::write_chains;
use harness::{Host, Run, inspect, root};
use mtasts_world::policy_body;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const NULLS: &str = "tests/c/nulls.c";
const LIFE: &str = "tests/c/life.c";
const REFRESH: &str = "tests/c/refresh.c";
const SOCKETMAP: &str = "tests/c/socketmap.c";
const GUEST: &str = "tests/c/guest.c";
const VERIFY: &str = "tests/c/verify.c";

/// Runs the README's program.
fn lookup(host: &Host, domains: &[&str]) -> Run {
    let program = host.compile("examples/c/lookup.c");
    let mut command = vec![program.to_str().unwrap()];
    command.extend(domains);
    host.run(&command)
}

fn says(stdout: &str) -> Run {
    Run { status: Some(0), stdout: stdout.to_owned(), stderr: String::new() }
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown, fs::read_to_string(root().join("examples/c/lookup.c")).unwrap());
}

#[test]
fn the_example_tells_the_policy_of_each_domain_and_again_with_the_network_down() {
    let host = Host::new();
    let domains = ["good.test", "GOOD.test.", "testing.test", "none.test", "bücher.test", "xn--bcher-kva.test"];
    let right = says(
        "good.test: enforce mx.good.test:*.backup.test\n\
         GOOD.test.: enforce mx.good.test:*.backup.test\n\
         testing.test: testing mx.testing.test\n\
         none.test: none\n\
         bücher.test: enforce mx.xn--bcher-kva.test\n\
         xn--bcher-kva.test: enforce mx.xn--bcher-kva.test\n",
    );
    assert_eq!(lookup(&host, &domains), right);
    host.world.dns_off(true);
    host.world.https_off(true);
    host.world.clear_logs();
    assert_eq!(lookup(&host, &domains), right);
    assert_eq!((host.world.dns_log(), host.world.https_connections()), (Vec::new(), 0));
}

#[test]
fn the_example_says_none_where_there_is_no_usable_policy() {
    let host = Host::new();
    let domains =
        ["absent.test", "malformed.test", "wrong-certificate.test", "servfail.test", "192.0.2.1", "not a.test", ""];
    let right = says(
        "absent.test: none\nmalformed.test: none\nwrong-certificate.test: none\nservfail.test: none\n\
         192.0.2.1: none\nnot a.test: none\n: none\n",
    );
    assert_eq!(lookup(&host, &domains), right);
    assert_eq!(lookup(&host, &domains), right);
}

#[test]
fn the_example_fails_and_says_why_when_the_configuration_is_broken() {
    let host = Host::new();
    fs::write(host.configuration(), "dane_wins = true\nnonsense = 1\n").unwrap();
    let run = lookup(&host, &["good.test", "none.test"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""));
    for (line, domain) in run.stderr.lines().zip(["good.test", "none.test"]) {
        let start = format!("{domain}: {}: line 2: key `nonsense` is not known", host.configuration().display());
        assert!(line.starts_with(&start), "{line}");
    }
    assert_eq!(run.stderr.lines().count(), 2);
}

#[test]
fn the_example_says_unknown_when_mail_is_to_wait_for_dns() {
    let host = Host::new();
    let configuration = fs::read_to_string(host.configuration()).unwrap();
    fs::write(host.configuration(), configuration + "on_dns_error = \"defer\"\n").unwrap();
    assert_eq!(lookup(&host, &["servfail.test"]), says("servfail.test: unknown\n"));
}

#[test]
fn arguments_that_cannot_be_used_are_refused_and_named() {
    Host::new().passes(&[], NULLS, "are-refused", &[]);
}

#[test]
fn a_call_that_is_not_exims_holds_the_message() {
    Host::new().passes(&[], NULLS, "exim-is-told-to-hold", &[]);
}

#[test]
fn a_call_in_an_event_of_exim_never_fails_and_confirms_no_certificate_by_mistake() {
    Host::new().passes(&[], NULLS, "exim-is-told-to-refuse-a-certificate", &[]);
}

#[test]
fn getters_and_frees_take_null() {
    Host::new().passes(&[], NULLS, "nothing-has-nothing", &[]);
}

#[test]
fn a_buffer_gets_the_whole_text_or_an_empty_one() {
    Host::new().passes(&[], NULLS, "buffers-hold-all-or-nothing", &[]);
}

#[test]
fn sendmail_and_postfix_are_told_in_their_dialects() {
    Host::new().passes(&[], SOCKETMAP, "each-is-told-in-its-dialect", &[]);
}

#[test]
fn a_key_that_is_no_domain_is_answered_without_a_question() {
    let host = Host::new();
    host.passes(&[], SOCKETMAP, "no-domain-is-not-found", &[]);
    assert_eq!((host.world.dns_log(), host.world.https_connections()), (Vec::new(), 0));
}

#[test]
fn one_array_may_be_the_request_and_the_reply() {
    Host::new().passes(&[], SOCKETMAP, "a-buffer-may-be-both", &[]);
}

#[test]
fn a_mail_server_comes_back_for_an_answer_that_was_cut_short() {
    Host::new().passes(&[], SOCKETMAP, "a-look-was-cut-short", &[]);
}

#[test]
fn mail_servers_are_told_what_the_configuration_decides() {
    Host::new().passes(&[], SOCKETMAP, "only-observed", &[]);
}

#[test]
fn every_function_of_the_header_is_called_with_arguments_that_it_cannot_use() {
    let calls = fs::read_to_string(root().join(NULLS)).unwrap();
    let forgotten: Vec<String> = declared().into_iter().filter(|name| !calls.contains(&format!("{name}("))).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

// Conformance: S3.4-5.
#[test]
fn a_text_that_is_no_domain_has_no_policy_and_dns_is_not_asked() {
    let host = Host::new();
    host.passes(&[], "tests/c/bad_domains.c", "have-no-policy", &[]);
    assert_eq!((host.world.dns_log(), host.world.https_connections()), (Vec::new(), 0));
}

// Conformance: S5.1-6.
#[test]
fn policies_and_decisions_outlive_the_context_that_made_them() {
    let host = Host::new();
    host.passes(&[], LIFE, "policies-outlive-their-context", &[]);
    assert_eq!(host.world.https_log().len(), 2, "the first question and the one with MTASTS_REFRESH fetch");
}

#[test]
fn a_domain_without_a_usable_policy_gets_an_answer_with_the_reason() {
    Host::new().passes(&[], LIFE, "no-policy-is-an-answer", &[]);
}

// Conformance: S5.1-6.
#[test]
fn cache_only_asks_nobody() {
    let host = Host::new();
    host.passes(&[], LIFE, "the-cache-alone-is-asked", &[]);
    assert_eq!((host.world.dns_log(), host.world.https_connections()), (Vec::new(), 0));
}

#[test]
fn a_call_ends_at_its_timeout_when_nobody_answers() {
    Host::new().passes(&[], LIFE, "a-call-ends-at-its-timeout", &[]);
}

/// Makes all rows of a host's cache some seconds older.
fn age(host: &Host, seconds: i64) {
    let cache = rusqlite::Connection::open(host.path("cache/cache.db")).unwrap();
    let columns = ["fetched_at", "expires_at", "checked_at", "refresh_at"];
    let changes = columns.map(|column| format!("{column} = {column} - {seconds}")).join(", ");
    let aged = cache.execute(&format!("UPDATE domain SET {changes}"), []).unwrap();
    assert!(aged > 0);
}

// Conformance: S5-4.
#[test]
fn a_policy_that_lists_no_host_of_a_message_is_fetched_anew_before_it_refuses() {
    let host = Host::new();
    host.passes(&[], REFRESH, "the-cache-is-filled", &["good.test"]);
    host.world.publish("good.test", "20260101", policy_body("enforce", &["mx.new.test"], 86_400));
    let situation = "a-policy-that-lists-no-host-is-fetched-anew";
    age(&host, 200);
    host.world.clear_logs();
    assert!(host.run_situation(REFRESH, situation, &[]).stdout.contains("want"), "too new to be fetched again");
    assert_eq!(host.world.https_log().len(), 0);
    age(&host, 100);
    host.passes(&[], REFRESH, situation, &[]);
    assert_eq!(host.world.https_log().len(), 1);
}

// Conformance: S5-4.
#[test]
fn exim_too_gets_a_policy_that_is_fetched_anew_before_it_refuses() {
    let host = Host::new();
    host.passes(&[], REFRESH, "the-cache-is-filled", &["good.test"]);
    host.world.publish("good.test", "20260101", policy_body("enforce", &["mx.new.test"], 86_400));
    age(&host, 300);
    host.gives_the_cache_away();
    host.passes(&[], REFRESH, "exim-gets-a-healed-policy", &[]);
}

#[test]
fn exim_follows_exceptions_pinned_policies_and_observe() {
    let host = Host::new();
    let configuration = fs::read_to_string(host.configuration()).unwrap();
    let tables = "[domain.\"good.test\"]\nmode = \"none\"\nuntil = 2999-12-31\nwhy = \"a test\"\n\
                  [domain.\"absent.test\"]\nmode = \"enforce\"\nmx = [\"mx.absent.test\"]\n";
    fs::write(host.configuration(), format!("{configuration}{tables}")).unwrap();
    host.passes(&[], REFRESH, "exim-follows-the-configuration", &[]);
    fs::write(host.configuration(), format!("{configuration}observe = true\n")).unwrap();
    host.passes(&[], REFRESH, "exim-only-observes", &[]);
}

// Conformance: S3.3-13, S10.2-1.
#[test]
fn a_pass_fetches_what_is_due_the_least_recently_fetched_first() {
    let host = Host::new();
    host.passes(&[], REFRESH, "the-cache-is-filled", &["good.test"]);
    age(&host, 60);
    host.passes(&[], REFRESH, "the-cache-is-filled", &["testing.test", "none.test"]);
    age(&host, 50_000);
    host.world.publish("good.test", "2", policy_body("enforce", &["mx.new.test"], 86_400));
    host.world.remove_site("mta-sts.testing.test");
    host.passes(&[], REFRESH, "what-is-due-is-fetched-anew", &["good.test", "testing.test"]);
}

#[test]
fn each_refusal_that_is_only_observed_is_logged_while_the_context_lives() {
    Host::new().passes(&[], REFRESH, "what-is-only-observed-is-logged", &[]);
}

#[test]
fn exceptions_pinned_policies_and_observe_act_on_later_calls() {
    Host::new().passes(&[], REFRESH, "single-domains-have-their-own-rules", &[]);
}

#[test]
fn what_is_odd_in_a_policy_is_told_as_lints() {
    Host::new().passes(&[], LIFE, "what-is-odd-is-told", &[]);
}

// Conformance: S4.2-3, S5-5, S6-3, D-2, D-3.
#[test]
fn decisions_follow_policy_dane_and_tls() {
    Host::new().passes(&[], LIFE, "decisions-follow-the-policy", &[]);
}

/// Plays a situation of certificates, with their directory and what else it is told.
fn verifies(wrapper: &[&str], situation: &str) {
    let host = Host::new();
    let (directory, names) = write_chains(&host);
    let mut more = vec![directory.to_str().unwrap()];
    match situation {
        "chains-have-their-verdict" | "exim-confirms-the-name-alone" => more.extend(names.iter().map(String::as_str)),
        "a-parsed-policy-trusts-the-system" => more.push(host.world.ca_file().to_str().unwrap()),
        _ => {}
    }
    host.passes(wrapper, VERIFY, situation, &more);
}

#[test]
fn each_certificate_chain_has_its_verdict_after_policy_and_context_are_gone() {
    verifies(&[], "chains-have-their-verdict");
}

// Conformance: S4.2-2.
#[test]
fn exim_is_told_whether_a_certificate_has_the_name_whatever_else_is_wrong_with_it() {
    verifies(&[], "exim-confirms-the-name-alone");
}

#[test]
fn a_host_that_is_not_to_be_used_does_not_verify_and_any_other_by_its_chain_alone() {
    verifies(&[], "the-chain-alone-counts-or-nothing-does");
}

#[test]
fn a_decision_trusts_the_roots_that_its_context_had() {
    verifies(&[], "a-setting-of-roots-acts-on-later-questions");
}

#[test]
fn a_parsed_policy_trusts_the_roots_of_the_system_and_says_when_there_are_none() {
    verifies(&[], "a-parsed-policy-trusts-the-system");
}

#[test]
fn eight_threads_verify_at_once() {
    verifies(&[], "threads-verify-at-once");
}

#[test]
fn forked_children_verify_while_threads_of_their_parent_do() {
    verifies(&[], "children-verify-while-threads-do");
}

#[test]
fn errno_is_the_same_after_every_call() {
    Host::new().passes(&[], LIFE, "errno-is-left-alone", &[]);
}

#[test]
fn a_cache_that_cannot_be_used_costs_a_log_line_and_no_answer() {
    let host = Host::new();
    let (missing, open) = (host.path("missing/cache.db"), host.path("open/cache.db"));
    fs::create_dir(host.path("open")).unwrap();
    fs::set_permissions(host.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let caches = [missing.to_str().unwrap(), open.to_str().unwrap(), "/proc/cache.db"];
    host.passes(&[], LIFE, "trouble-with-the-cache-is-logged", &caches);
}

#[test]
fn a_log_function_may_use_the_context_that_calls_it() {
    Host::new().passes(&[], LIFE, "a-log-function-may-ask-again", &[]);
}

// Conformance: D-7.
#[test]
fn a_setting_acts_on_later_calls_and_a_wrong_one_changes_nothing() {
    Host::new().passes(&[], LIFE, "a-setting-acts-on-later-calls", &[]);
}

#[test]
fn a_fault_in_the_configuration_is_named_with_file_line_and_key() {
    let host = Host::new();
    let broken = host.path("broken.toml");
    host.passes(&[], LIFE, "a-broken-configuration-is-named", &[broken.to_str().unwrap()]);
}

#[test]
fn no_thread_and_no_descriptor_but_the_databases_outlives_a_call() {
    Host::new().passes(&[], GUEST, "no-thread-and-no-socket-stays", &[]);
}

#[test]
fn a_cancelled_thread_ends_after_the_call_that_it_is_in() {
    let host = Host::new();
    let dns = host.world.dns_addr().to_string();
    host.passes(&[], GUEST, "cancellation-waits-for-the-call", &[&dns]);
}

#[test]
fn a_forked_child_goes_on_with_the_context_and_so_does_its_parent() {
    Host::new().passes(&[], GUEST, "children-use-the-same-context", &[]);
}

#[test]
fn a_fork_while_another_thread_waits_for_dns_does_no_harm() {
    let host = Host::new();
    let dns = host.world.dns_addr().to_string();
    host.passes(&[], GUEST, "a-fork-amid-a-call-does-no-harm", &[&dns]);
}

#[test]
fn no_descriptor_of_a_call_survives_exec() {
    Host::new().passes(&[], GUEST, "nothing-survives-exec", &[]);
}

#[test]
fn forked_children_ask_dns_with_ids_of_their_own() {
    Host::new().passes(&[], GUEST, "children-draw-ids-of-their-own", &[]);
}

#[test]
fn valgrind_finds_no_fault_and_no_leak() {
    let is_installed = std::process::Command::new("valgrind").arg("--version").output().is_ok();
    if !is_installed {
        assert!(std::env::var_os("MTASTS_NO_SKIP").is_none_or(|value| value != "1"), "valgrind is not installed");
        println!("SKIPPED: valgrind not installed");
        return;
    }
    let strict = [
        "valgrind",
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite",
    ];
    // valgrind does not follow which bytes ring's assembler defines, and takes all that TLS carries for undefined.
    let with_tls = [&strict[..], &["--undef-value-errors=no"]].concat();
    for (valgrind, source, situation) in [
        (&strict[..], NULLS, "are-refused"),
        (&strict[..], NULLS, "nothing-has-nothing"),
        (&strict[..], LIFE, "what-is-odd-is-told"),
        (&strict[..], LIFE, "the-cache-alone-is-asked"),
        (&with_tls[..], NULLS, "buffers-hold-all-or-nothing"),
        (&with_tls[..], LIFE, "policies-outlive-their-context"),
        (&with_tls[..], LIFE, "no-policy-is-an-answer"),
        (&with_tls[..], LIFE, "decisions-follow-the-policy"),
        (&with_tls[..], LIFE, "errno-is-left-alone"),
        (&with_tls[..], LIFE, "a-log-function-may-ask-again"),
        (&with_tls[..], LIFE, "a-setting-acts-on-later-calls"),
        (&with_tls[..], REFRESH, "single-domains-have-their-own-rules"),
        (&with_tls[..], REFRESH, "what-is-only-observed-is-logged"),
    ] {
        Host::new().passes(valgrind, source, situation, &[]);
    }
    for situation in [
        "chains-have-their-verdict",
        "the-chain-alone-counts-or-nothing-does",
        "a-setting-of-roots-acts-on-later-questions",
        "a-parsed-policy-trusts-the-system",
        "threads-verify-at-once",
    ] {
        verifies(&with_tls, situation);
    }
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(root().join("include/mtasts.h")).unwrap();
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut names = BTreeSet::new();
    for code in without_comments(&header).split(';') {
        let Some(before) = code.split_once('(').map(|(before, _)| before) else { continue };
        let name: String = before.rsplit(|character| !is_name(character)).next().unwrap_or_default().to_owned();
        if name.starts_with("mtasts_") {
            names.insert(name);
        }
    }
    names
}

fn without_comments(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").unwrap().1;
    }
    code + rest
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let symbols = inspect("nm", &["-D", "--defined-only"]);
    let exported: BTreeSet<String> =
        symbols.lines().map(|line| line.split_whitespace().last().unwrap_or_default().to_owned()).collect();
    assert_eq!(exported, declared());
    assert!(exported.len() > 35, "{exported:?}");
}

#[test]
fn the_library_has_its_abi_in_its_name_is_bound_at_once_and_stays_loaded() {
    let dynamic = inspect("readelf", &["--dynamic", "--wide"]);
    assert!(dynamic.contains("Library soname: [libmtasts.so.0]"), "{dynamic}");
    let flags: String = dynamic.lines().filter(|line| line.contains("FLAGS")).collect();
    assert!(flags.contains("BIND_NOW") && flags.contains("NOW") && flags.contains("NODELETE"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
    assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{dynamic}");
}
