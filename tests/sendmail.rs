//! Mail through a real Sendmail that asks the server just built: `tests/sendmail/run.sh`, case by case.
//!
//! It needs root, a kernel that allows namespaces, and Debian's Sendmail as `tests/tools.sh` unpacks it; without them it says
//! `SKIPPED` and why. With `MTASTS_NO_SKIP=1` in the environment a skip is a failure.

#[path = "mta/run.rs"]
mod run;

#[test]
fn a_real_sendmail_enforces_the_policies_that_the_server_tells() {
    run::play("sendmail");
}
