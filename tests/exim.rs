//! Mail through a real Exim that asks the library just built: `tests/exim/run.sh`, case by case.
//!
//! It needs root, Debian's Exim 4 and a kernel that allows namespaces; without them it says `SKIPPED` and why. With
//! `MTASTS_NO_SKIP=1` in the environment a skip is a failure.

#[path = "mta/run.rs"]
mod run;

#[test]
fn a_real_exim_enforces_the_policies_that_the_library_finds() {
    run::play("exim");
}
