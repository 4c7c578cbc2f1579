//! The domains that are asked about, what the world does for each, and what the server must therefore reply.

use mtasts_world::{Answer, Certificate, Response, Site, World, policy_body};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const MAPS: [&str; 3] = ["sts", "postfix", "postfix-tlsrpt"];
const MAX_AGE: u64 = 604_800;

/// What the world does for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Enforce,
    Testing,
    ModeNone,
    Absent,
    /// The policy host says 500.
    Status,
    /// The policy host's certificate has expired.
    Expired,
    /// The policy names no mx.
    Broken,
    /// DNS fails, and the configuration wants mail to wait then.
    ServFail,
    /// Never answers the request.
    SilentHost,
    /// Never shakes hands.
    MuteHost,
    /// Sends byte after byte, for hours.
    DrippingHost,
    /// DNS says nothing at all.
    SilentDns,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Enforce,
        Self::Testing,
        Self::ModeNone,
        Self::Absent,
        Self::Status,
        Self::Expired,
        Self::Broken,
        Self::ServFail,
        Self::SilentHost,
        Self::MuteHost,
        Self::DrippingHost,
        Self::SilentDns,
    ];

    /// Of 128 domains there is one of each tarpit: more would keep most of the connections waiting.
    fn of(number: usize) -> Self {
        match number % 128 {
            0 => Self::SilentHost,
            32 => Self::MuteHost,
            64 => Self::DrippingHost,
            96 => Self::SilentDns,
            other => [
                Self::Enforce,
                Self::Testing,
                Self::Enforce,
                Self::Absent,
                Self::ModeNone,
                Self::Enforce,
                Self::Status,
                Self::Expired,
                Self::Broken,
                Self::Enforce,
                Self::ServFail,
            ][other % 11],
        }
    }
}

pub struct Domain {
    pub number: usize,
    pub name: String,
    pub kind: Kind,
    /// The reply that the world means was there once: from then on there is no other.
    is_settled: AtomicBool,
}

impl Domain {
    /// A domain of its own for each number, for which the world does what its kind says.
    pub fn publish(world: &World, number: usize) -> Self {
        let domain = Self {
            number,
            name: format!("d{number}.test"),
            kind: Kind::of(number),
            is_settled: AtomicBool::new(false),
        };
        domain.publish_in(world);
        domain
    }

    fn publish_in(&self, world: &World) {
        let name = &self.name;
        let host = format!("mta-sts.{name}");
        let has_site = |certificate, response| {
            world.publish(name, "1", "");
            world.site(&host, Site::new(certificate, response));
        };
        let has_policy = |mode: &str| world.publish(name, "1", policy_body(mode, &self.mx(), MAX_AGE));
        match self.kind {
            Kind::Enforce => has_policy("enforce"),
            Kind::Testing => has_policy("testing"),
            Kind::ModeNone => world.publish(name, "1", policy_body("none", &[], MAX_AGE)),
            Kind::Absent => {}
            Kind::Status => has_site(Certificate::Good, Response::with_status(500, &[], b"")),
            Kind::Expired => has_site(Certificate::Expired, self.served()),
            Kind::Broken => world.publish(name, "1", policy_body("enforce", &[], MAX_AGE)),
            Kind::ServFail => world.dns(&format!("_mta-sts.{name}"), Answer::ServFail),
            Kind::SilentHost => has_site(Certificate::Good, Response::Silent),
            Kind::MuteHost => has_site(Certificate::Good, Response::NoHandshake),
            Kind::DrippingHost => has_site(
                Certificate::Good,
                Response::Drip { bytes: b"HTTP/1.1 200 OK\r\n".repeat(1000), pause: Duration::from_secs(1) },
            ),
            Kind::SilentDns => world.dns(&format!("_mta-sts.{name}"), Answer::Silent),
        }
    }

    fn served(&self) -> Response {
        Response::Policy(policy_body("enforce", &self.mx(), MAX_AGE).into_bytes())
    }

    fn mx(&self) -> [&'static str; 2] {
        // Of two domains that stand side by side not the same ones, so that no reply fits another domain by chance.
        const HOSTS: [&str; 7] = ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test"];
        const PATTERNS: [&str; 5] = ["*.v.test", "*.w.test", "*.x.test", "*.y.test", "*.z.test"];
        [HOSTS[self.number % HOSTS.len()], PATTERNS[self.number % PATTERNS.len()]]
    }

    /// The one reply that the world means.
    pub fn reply(&self, map: &str) -> String {
        match self.kind {
            Kind::Enforce => {
                let [host, pattern] = self.mx();
                demand(map, &self.name, host, pattern)
            }
            Kind::ServFail | Kind::SilentDns => {
                format!("TEMP it is unknown whether {} has a policy: dns-failed", self.name)
            }
            _ => "NOTFOUND ".to_owned(),
        }
    }

    /// That DNS has failed is not remembered: each question about such a domain begins another look.
    pub fn is_remembered(&self) -> bool {
        !matches!(self.kind, Kind::ServFail | Kind::SilentDns)
    }

    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::SeqCst)
    }

    /// Whether a reply to a question that was put when the domain was settled or not is right, and if so, whether it
    /// says that the answer is still looked for. `looks`: how often the world was asked for the record.
    pub fn judge(&self, map: &str, was_settled: bool, reply: &str, looks: impl Fn() -> usize) -> Result<bool, String> {
        let wanted = self.reply(map);
        if reply == wanted {
            self.is_settled.store(true, Ordering::SeqCst);
            return Ok(false);
        }
        let is_early = [
            format!("TEMP the policy of {} is still being looked for, try again later", self.name),
            format!("TEMP it is unknown whether {} has a policy: waited-in-vain", self.name),
        ];
        // That there is no policy counts for a minute, and then it is looked for again.
        let is_looked_for = || !was_settled || !self.is_remembered() || !self.has_policy() && looks() > 1;
        if is_early.iter().any(|early| early == reply) && is_looked_for() {
            return Ok(true);
        }
        let settled = if was_settled { ", which has been told before" } else { "" };
        Err(format!("{map} {} ({:?}): `{reply}`, want `{wanted}`{settled}", self.name, self.kind))
    }

    /// The cache has a policy that is valid for days: there is nothing to wait for.
    fn has_policy(&self) -> bool {
        matches!(self.kind, Kind::Enforce | Kind::Testing | Kind::ModeNone)
    }
}

/// What a policy of these two patterns demands.
pub fn demand(map: &str, domain: &str, host: &str, pattern: &str) -> String {
    let classic = format!("OK secure match={host}:{} servername=hostname", pattern.trim_start_matches('*'));
    if map != "postfix-tlsrpt" {
        return classic;
    }
    format!(
        "{classic} policy_type=sts policy_domain={domain} mx_host_pattern={host} mx_host_pattern={pattern} \
         {{ policy_string = version: STSv1 }} {{ policy_string = mode: enforce }} {{ policy_string = mx: {host} }} \
         {{ policy_string = mx: {pattern} }} {{ policy_string = max_age: {MAX_AGE} }}"
    )
}
