//! How an answer came about, in order, for a person who asks why a message is stuck.

use super::Answer;
use super::timing::{BACK_OFF, NO_ID, recent_failures};
use crate::cache::{Failure, Row, StoredPolicy};
use crate::reason::Reason;
use crate::syntax::PolicyDomain;
use crate::time::{UnixTime, describe_seconds};

/// The way to an answer, a line for each part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// What was known before.
    pub cached: String,
    /// What DNS said.
    pub dns: String,
    /// What the policy host said.
    pub https: String,
    /// What would change the answer.
    pub change: String,
}

impl Story {
    /// For a text that is no domain which could have a policy.
    pub(crate) fn of_no_domain() -> Self {
        let not_asked = "not asked: this is no domain that could have a policy";
        Self {
            cached: "not looked at".to_owned(),
            dns: not_asked.to_owned(),
            https: not_asked.to_owned(),
            change: "nothing".to_owned(),
        }
    }

    /// Fills in what did not happen, and what would change the answer.
    pub(super) fn end(
        &mut self,
        domain: &PolicyDomain,
        answer: &Answer,
        row: Option<&Row>,
        now: UnixTime,
        refreshes: bool,
    ) {
        let not_asked = match answer.reason {
            Reason::BeingChecked => "not asked: another asker is on its way",
            Reason::NotChecked | Reason::NotCached => "not asked, as the caller wished",
            _ => "not asked: nothing is due",
        };
        if self.dns.is_empty() {
            not_asked.clone_into(&mut self.dns);
            not_asked.clone_into(&mut self.https);
        }
        if self.https.is_empty() {
            "not asked: what DNS says does not call for it".clone_into(&mut self.https);
        }
        self.change = match &answer.policy {
            Some(stored) => change_of_policy(domain, stored, row, now, refreshes),
            None => change_of_nothing(domain, answer, row, now),
        };
    }
}

/// What the cache has.
pub(super) fn cached(row: Option<&Row>, kept: Option<&StoredPolicy>, now: UnixTime) -> String {
    let Some(row) = row else { return "nothing".to_owned() };
    let policy = match (kept, &row.policy) {
        (Some(kept), _) => format!("{}, in force until {}", describe(kept, now), kept.expires_at.to_utc_string()),
        (None, Some(expired)) => {
            format!("{}, expired since {}", describe(expired, now), expired.expires_at.to_utc_string())
        }
        (None, None) => "no policy".to_owned(),
    };
    let check =
        format!("last look {} ago: {}", describe_seconds(now.seconds_since(row.check.at)), row.check.reason.as_str());
    let failures: Vec<String> = recent_failures(row, now)
        .into_iter()
        .map(|failure| format!("; {} {} ago", not_repeated(failure), describe_seconds(now.seconds_since(failure.at))))
        .collect();
    format!("{policy}; {check}{}", failures.concat())
}

fn describe(stored: &StoredPolicy, now: UnixTime) -> String {
    let age = describe_seconds(now.seconds_since(stored.fetched_at));
    format!("policy of mode {}, id {}, fetched {age} ago", stored.policy.mode(), stored.id)
}

/// A failure that keeps a fetch from being repeated.
pub(super) fn not_repeated(failed: &Failure) -> String {
    let of = if &*failed.id == NO_ID { String::new() } else { format!(" for id {}", failed.id) };
    format!("the fetch{of} has failed ({})", failed.reason.as_str())
}

/// A policy that has come.
pub(super) fn fetched(stored: &StoredPolicy) -> String {
    let max_age = describe_seconds(stored.policy.max_age());
    format!("a policy of mode {} for {max_age}, {} bytes", stored.policy.mode(), stored.body.len())
}

fn change_of_policy(
    domain: &PolicyDomain,
    stored: &StoredPolicy,
    row: Option<&Row>,
    now: UnixTime,
    refreshes: bool,
) -> String {
    let after = |at: UnixTime| match at.seconds_since(now) {
        0 => "with the next message".to_owned(),
        left => format!("in {}", describe_seconds(left)),
    };
    let record = domain.record_name();
    let look = row.map_or_else(String::new, |row| format!(" (looked at again {})", after(row.check.until)));
    let refresh = row
        .filter(|_| refreshes)
        .map_or_else(String::new, |row| format!("; the refresh, due {}", after(row.refresh_at)));
    format!(
        "a new id at {record}{look}{refresh}; its end on {} unless it is fetched anew before",
        stored.expires_at.to_utc_string()
    )
}

fn change_of_nothing(domain: &PolicyDomain, answer: &Answer, row: Option<&Row>, now: UnixTime) -> String {
    let (record, host) = (domain.record_name(), domain.policy_host());
    let again = row.map_or(0, |row| row.check.until.seconds_since(now));
    let again = if again == 0 { "with the next message".to_owned() } else { format!("in {}", describe_seconds(again)) };
    match answer.cause {
        Reason::NotCached => "a question that may go to DNS and to the policy host".to_owned(),
        Reason::NoRecord | Reason::SeveralRecords | Reason::MalformedRecord => {
            format!("exactly one well-formed STS record at {record}, looked up again {again}")
        }
        Reason::DnsFailed => format!("an answer from DNS about {record}, asked again with the next message"),
        Reason::NoTrustedRoots => {
            "trusted roots on this machine: the package ca-certificates, or another ca_file".to_owned()
        }
        Reason::PolicyHostPrivateAddress => {
            format!(
                "a public address of {host}, or allow_private_addresses; asked again in {}",
                describe_seconds(BACK_OFF)
            )
        }
        _ if recent_of(row, now).is_none() => format!("a good answer of {host}, asked again with the next message"),
        _ => format!(
            "a good answer of {host}, which is asked again {} after a failure, or at once for a new id at {record}",
            describe_seconds(BACK_OFF)
        ),
    }
}

fn recent_of(row: Option<&Row>, now: UnixTime) -> Option<&Failure> {
    recent_failures(row?, now).pop()
}
