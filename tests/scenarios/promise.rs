//! What holds in every scene, whatever it expects: no answer is weaker than the policy that was fetched and has not
//! expired, and none rests on a policy that was not fetched or has ended (RFC 8461 sections 5.1 and 10.2).
//!
//! Judged by what the policy host served and by the clock of the scene alone, with nothing of the library's.

use mtasts::discovery::{Answer, Source};
use mtasts::reason::Reason;
use mtasts::syntax::Mode;

/// The policy that a sender must still know.
#[derive(Default)]
pub struct Promise {
    known: Option<Known>,
}

struct Known {
    body: Vec<u8>,
    mode: Mode,
    max_age: i64,
    fetched_at: i64,
    /// When the fetch was first seen to lie in the future: the clock was set back.
    ahead_since: Option<i64>,
}

impl Known {
    fn new(body: &[u8], now: i64) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
        let mode = match value("mode")? {
            "enforce" => Mode::Enforce,
            "testing" => Mode::Testing,
            _ => Mode::None,
        };
        let max_age = value("max_age")?.parse::<i64>().ok()?.min(31_557_600);
        Some(Self { body: body.to_vec(), mode, max_age, fetched_at: now, ahead_since: None })
    }

    fn is_in_force(&mut self, now: i64) -> bool {
        if now >= self.fetched_at {
            self.ahead_since = None;
            return now <= self.fetched_at + self.max_age;
        }
        now <= *self.ahead_since.get_or_insert(now) + self.max_age
    }
}

impl Promise {
    /// Takes note of an answer and says what is wrong with it.
    pub fn judge(&mut self, answer: &Answer, served: Option<&[u8]>, connections: usize, now: i64) -> Vec<String> {
        let mut faults = Vec::new();
        // What the administrator has decided is no accident.
        if matches!(answer.reason, Reason::Exempted | Reason::Pinned) {
            return faults;
        }
        let body = answer.policy.as_ref().map(|stored| &*stored.body);
        let fetched_at = answer.policy.as_ref().map(|stored| stored.fetched_at.0);
        if answer.source == Source::Https {
            if connections == 0 || body.is_none() || body != served {
                faults.push("the policy is said to be fetched, and was not served so".to_owned());
            }
            self.renew(body, now);
        }
        let known = self.known.as_mut().map(|known| (known.is_in_force(now), &*known));
        match known {
            Some((true, known)) if strength(answer.published_mode()) < strength(known.mode) || answer.is_unknown => {
                faults.push(format!("weaker than the policy of mode {} that has not expired", known.mode));
            }
            Some((true, known)) if body.is_some_and(|body| body != known.body) => {
                faults.push("not the policy that was fetched last".to_owned());
            }
            Some((true, known)) if fetched_at.is_some_and(|at| at != known.fetched_at) && now >= known.fetched_at => {
                faults.push("lives longer or shorter than from its fetch".to_owned());
            }
            Some((true, _)) => {}
            _ if answer.source == Source::Cache => {
                faults.push("rests on a policy that is none or has expired".to_owned())
            }
            _ => {}
        }
        faults
    }

    /// A policy was fetched.
    pub fn renew(&mut self, body: Option<&[u8]>, now: i64) {
        self.known = body.and_then(|body| Known::new(body, now));
    }
}

fn strength(mode: Mode) -> u8 {
    match mode {
        Mode::None => 0,
        Mode::Testing => 1,
        Mode::Enforce => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mtasts::time::UnixTime;

    const ENFORCE: &[u8] = b"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 100\n";

    fn answer(body: &[u8], source: Source) -> Answer {
        Answer { source, ..Answer::parsed(body, UnixTime(0)).unwrap() }
    }

    fn nothing() -> Answer {
        Answer { policy: None, ..answer(ENFORCE, Source::None) }
    }

    #[test]
    fn an_answer_that_breaks_the_promise_is_told() {
        let other = b"version: STSv1\nmode: enforce\nmx: b.test\nmax_age: 100\n";
        let testing = b"version: STSv1\nmode: testing\nmx: a.test\nmax_age: 100\n";
        let younger = Answer { source: Source::Cache, ..Answer::parsed(ENFORCE, UnixTime(1)).unwrap() };
        let rows = [
            ("as served", answer(ENFORCE, Source::Https), 1, 0, true),
            ("not as served", answer(other, Source::Https), 1, 0, false),
            ("without a connection", answer(ENFORCE, Source::Https), 0, 0, false),
            ("kept", answer(ENFORCE, Source::Cache), 0, 100, true),
            ("kept too long", answer(ENFORCE, Source::Cache), 0, 101, false),
            ("kept, and prolonged", younger, 0, 100, false),
            ("kept, and another one", answer(other, Source::Cache), 0, 50, false),
            ("weaker", answer(testing, Source::Cache), 0, 50, false),
            ("lost", nothing(), 0, 100, false),
            ("expired", nothing(), 0, 101, true),
            ("unknown", Answer { is_unknown: true, ..nothing() }, 0, 50, false),
            ("lost when the clock went back", nothing(), 0, -1000, false),
        ];
        for (situation, answer, connections, now, is_right) in rows {
            let mut promise = Promise::default();
            promise.renew(Some(ENFORCE), 0);
            let faults = promise.judge(&answer, Some(ENFORCE), connections, now);
            assert_eq!(faults.is_empty(), is_right, "{situation}: {faults:?}");
        }
        assert!(!Promise::default().judge(&answer(ENFORCE, Source::Cache), None, 0, 0).is_empty(), "from nowhere");
    }

    #[test]
    fn a_clock_that_went_back_lets_a_policy_live_its_max_age_once_more() {
        let mut promise = Promise::default();
        promise.renew(Some(ENFORCE), 1000);
        for (now, is_in_force) in [(0, true), (100, true), (101, false), (1050, true), (1101, false)] {
            assert_eq!(promise.judge(&nothing(), None, 0, now).is_empty(), !is_in_force, "{now}");
        }
    }
}
