//! A policy body: read as the grammar says, and no other way.

use super::grammar;
use mtasts::syntax::{MxPattern, Policy};

pub fn run(body: &[u8]) {
    compare(body);
}

/// Panics if the parser and the grammar differ; tells whether the body is a policy.
pub fn compare(body: &[u8]) -> bool {
    let parsed = Policy::parse(body);
    if let Err(error) = &parsed {
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control) && text.len() < 600, "{text:?}");
    }
    let ours = parsed.ok().map(|policy| {
        assert!(policy.lints().len() <= 21);
        assert!(policy.lints().iter().all(|lint| !lint.chars().any(char::is_control)), "{:?}", policy.lints());
        let mx = policy.mx().iter().map(MxPattern::as_str).map(str::to_owned).collect();
        (policy.mode().as_str(), mx, policy.max_age())
    });
    let wanted = grammar::policy(body);
    assert_eq!(ours, wanted, "libmtasts (left) and the grammar (right) on `{}`", body.escape_ascii());
    ours.is_some()
}
