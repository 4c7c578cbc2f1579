//! Mail through real Postfixes that ask `mtasts-socketmap`: `tests/postfix/run.sh`, case by case.
//!
//! It needs root, what `tests/tools.sh` unpacks and a kernel that allows namespaces; without them it says `SKIPPED` and why.
//! With `MTASTS_NO_SKIP=1` in the environment a skip is a failure.

#[path = "mta/run.rs"]
mod run;

#[test]
fn real_postfixes_enforce_the_policies_that_the_server_tells() {
    run::play("postfix");
}
