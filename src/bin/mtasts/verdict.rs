//! What may be done with mail to one MX host, for an administrator who asks why it is held.

use crate::output::{Block, is_exemptible};
use crate::terminal::{Look, Style};
use mtasts::decision::{Action, Dane, Decision, TlsState};
use mtasts::discovery::{Answer, Source};
use mtasts::reason::Reason;
use mtasts::time::{Clock, SystemClock, describe_seconds};
use serde_json::{Map, Value, json};

/// How the handshake with a host may go: the word for it, and the same for people.
const TLS_STATES: [(TlsState, &str, &str); 7] = [
    (TlsState::Ok, "ok", ""),
    (TlsState::NoStarttls, "no-starttls", "without STARTTLS"),
    (TlsState::Failed, "failed", "if the handshake fails"),
    (TlsState::HostMismatch, "host-mismatch", "with a certificate for another name"),
    (TlsState::NotTrusted, "not-trusted", "with one that leads to no trusted root"),
    (TlsState::Expired, "expired", "with an expired one"),
    (TlsState::CertificateInvalid, "certificate-invalid", "with an unusable one"),
];

/// Exceptions are for a time.
const LIFE_OF_EXEMPTION: u64 = 7 * 86_400;

/// The decision on one MX host before a connection is made.
pub struct Verdict {
    host: String,
    decision: Decision,
}

/// Whether hosts were asked about, and none of them may be used.
pub fn is_held(verdicts: &[Verdict]) -> bool {
    !verdicts.is_empty() && !verdicts.iter().any(|verdict| verdict.decision.action.lets_go())
}

/// What that means for a message.
pub fn held(look: &Look, domain: &str, verdicts: &[Verdict]) -> String {
    let hosts = if verdicts.len() == 1 { "the only host asked about" } else { "each of the hosts asked about" };
    let mut block = Block::new(look, &format!("mail to {domain}"), (Style::Bad, "held"));
    block.line("why", &format!("{hosts} is refused; a message stays in the queue and is tried again"));
    block.text
}

impl Verdict {
    pub fn of(answer: &Answer, host: &[u8], dane_wins: bool) -> Self {
        let decision = Decision::of(answer, host, Dane::NotChecked, dane_wins);
        let asked = || String::from_utf8_lossy(host).escape_debug().to_string();
        let host = decision.sni.as_ref().map_or_else(asked, |host| host.as_str().to_owned());
        Self { host, decision }
    }

    /// What happens for each outcome of the handshake; nothing where there is no connection or nothing depends on it.
    fn outcomes(&self) -> impl Iterator<Item = (&'static str, &'static str, Decision)> {
        let depends = self.decision.action != Action::Deliver && self.decision.action.lets_go();
        let states = TLS_STATES.into_iter().filter(move |_| depends);
        states.map(|(state, word, people)| (word, people, self.decision.after_tls(state)))
    }

    pub fn json(&self) -> Value {
        let Self { host, decision } = self;
        let outcome = |decision: &Decision| {
            json!({
                "action": decision.action.as_str(),
                "result_type": decision.result_type.as_str(),
                "enhanced_status": status_of(decision),
            })
        };
        let after_tls: Map<String, Value> =
            self.outcomes().map(|(word, _, decision)| (word.to_owned(), outcome(&decision))).collect();
        json!({
            "host": host,
            "action": decision.action.as_str(),
            "reason": decision.reason.as_str(),
            "reason_text": decision.text(),
            "sni": decision.sni.as_ref().map(|host| host.as_str()),
            "result_type": decision.result_type.as_str(),
            "enhanced_status": status_of(decision),
            "after_tls": after_tls,
        })
    }

    /// A headline and indented lines, without the last line end.
    pub fn human(&self, look: &Look, answer: &Answer) -> String {
        let decision = &self.decision;
        let verdict = match decision.action {
            Action::Deliver => (Style::Good, "deliver"),
            Action::DeliverReport => (Style::Notable, "deliver, failures are reported only"),
            Action::RequireEncryption => (Style::Good, "deliver over TLS only"),
            Action::RequireTls => (Style::Good, "deliver over verified TLS only"),
            Action::SkipHost => (Style::Bad, "do not deliver"),
            Action::Defer => (Style::Bad, "wait, and try later"),
        };
        let mut block = Block::new(look, &self.host, verdict);
        block.line("why", &decision.text());
        if let Some(status) = status_of(decision) {
            block.line("status", &format!("{status}, a temporary failure"));
        }
        self.tell_tls(&mut block);
        if let Some(result_type) = decision.result_type.as_str() {
            block.line("report", result_type);
        }
        if let Some(until) = until(answer).filter(|_| decision.action != Action::Deliver) {
            block.line("until", &until);
        }
        if !decision.action.lets_go() {
            block.line("change", &self.change(answer));
            if is_exemptible(answer) {
                tell_exemption(&mut block, answer);
            }
        }
        block.text
    }

    fn tell_tls(&self, block: &mut Block) {
        if let (Action::RequireTls, Some(host)) = (self.decision.action, &self.decision.sni) {
            let wanted = format!("STARTTLS with SNI {host}, and a certificate for that name from a trusted root");
            block.line("tls", &wanted);
        }
        let failures: Vec<_> = self.outcomes().filter(|(_, people, _)| !people.is_empty()).collect();
        let is_plain = |(_, _, decision): &(_, _, Decision)| decision.result_type == self.decision.result_type;
        // What TLS does to the host then changes nothing.
        if failures.iter().all(is_plain) {
            return;
        }
        let mut label = "failing";
        for (_, people, decision) in failures {
            let fate = if decision.action.lets_go() { "delivered" } else { "refused" };
            let status = status_of(&decision).map_or_else(String::new, |status| format!(" ({status})"));
            let report = decision.result_type.as_str().map_or_else(String::new, |word| format!(", reported as {word}"));
            block.line(label, &format!("{people}: {fate}{status}{report}"));
            label = "";
        }
    }

    /// What would let mail go to the host.
    fn change(&self, answer: &Answer) -> String {
        let (host, domain) = (&self.host, &answer.domain);
        match self.decision.reason {
            Reason::MxNotListed if answer.source == Source::Configuration => {
                format!("{host} in the mx of [domain.\"{domain}\"] in the configuration, or that table's end")
            }
            Reason::MxNotListed => format!(
                "{domain} lists {host} in its policy and gives that a new id, or takes it from its MX records; \
                 whoever runs {domain} can do that"
            ),
            _ => format!("an answer from DNS about _mta-sts.{domain}"),
        }
    }
}

/// How the administrator of this machine lets mail go all the same: lines that can be copied.
fn tell_exemption(block: &mut Block, answer: &Answer) {
    let end = SystemClock.now().plus(LIFE_OF_EXEMPTION).to_utc_string();
    let day = end.split(' ').next().unwrap_or_default();
    block.line("here", "to deliver to the domain as if it had no policy, put into the configuration:");
    block.line("", &format!("[domain.\"{}\"]", answer.domain));
    block.line("", "mode = \"none\"");
    block.line("", &format!("until = {day}"));
    block.line("", "why = \"who has agreed to it, and why\"");
}

/// Until when the policy holds that decides here.
fn until(answer: &Answer) -> Option<String> {
    let stored = answer.policy.as_deref()?;
    let left = describe_seconds(stored.expires_at.seconds_since(SystemClock.now()));
    let end = stored.expires_at.to_utc_string();
    Some(match answer.source {
        Source::Configuration => "the configuration says otherwise".to_owned(),
        _ => format!("{end}, in {left}, when the policy ends; later if it is fetched anew before, as is tried daily"),
    })
}

fn status_of(decision: &Decision) -> Option<&'static str> {
    decision.enhanced_status().to_str().ok().filter(|status| !status.is_empty())
}
