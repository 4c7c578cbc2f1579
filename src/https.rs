//! Fetches one policy body from a policy host (RFC 8461 section 3.3).
//!
//! A fresh connection for each fetch: no redirect, no proxy, no HTTP cache, no cookie, no content coding, status 200
//! and text/plain only, a complete body of at most 65536 bytes. Every address of the host is tried with a share of
//! the time, so that a black-holed one does not cost the policy. Private addresses are not connected to: the name
//! comes from a stranger.

mod address;
mod buffers;
mod connect;

pub(crate) use address::is_private;

use crate::config::Settings;
use crate::dns::{self, Answer};
use crate::reason::Reason;
use crate::syntax::{MAX_BODY_BYTES, PolicyDomain};
use crate::sys::once::Once;
use crate::time::Deadline;
use crate::tls;
use rustls::ClientConfig;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use ureq::http::{HeaderName, Response};
use ureq::{Agent, Body, Error};

/// More addresses than this are an attack or a mistake.
const MAX_ADDRESSES: usize = 16;
/// While other addresses wait, one that takes no connection for this long is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_HEADER_BYTES: usize = 64 * 1024;
const HTTPS_PORT: u16 = 443;

/// Why there is no policy body. The text names the policy host, what it did and what it should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// The kind of failure.
    pub reason: Reason,
    /// The failure itself.
    pub text: String,
}

/// Fetches the policy body of a domain.
pub fn fetch(
    settings: &Settings,
    tls: &Arc<ClientConfig>,
    domain: &PolicyDomain,
    deadline: Deadline,
) -> Result<Vec<u8>, FetchError> {
    let deadline = deadline.at_most(settings.timeout);
    let host = domain.policy_host();
    let fail = |fault: Fault| FetchError { reason: fault.reason, text: format!("policy host {host}: {}", fault.text) };
    if !make_ready() {
        let text = "not reachable from a process that was forked while HTTPS was made ready";
        return Err(fail(Fault::last(Reason::PolicyHostUnreachable, text)));
    }
    let addresses = usable_addresses(settings, &host, deadline).map_err(fail)?;
    let mut worst: Option<Fault> = None;
    for (at, address) in addresses.iter().enumerate() {
        let left = addresses.len().saturating_sub(at);
        let share = deadline.remaining().checked_div(u32::try_from(left).unwrap_or(1)).unwrap_or_default();
        if share.is_zero() {
            break;
        }
        let connect_timeout = if left > 1 { share.min(CONNECT_TIMEOUT) } else { share };
        let address = SocketAddr::new(*address, settings.https_port);
        match fetch_from(&host, address, tls, share, connect_timeout) {
            Ok(body) => return Ok(body),
            Err(fault) if fault.is_final => return Err(fail(fault)),
            Err(fault) => worst = Some(worst.filter(|worst| worst.rank() >= fault.rank()).unwrap_or(fault)),
        }
    }
    Err(fail(worst.unwrap_or_else(|| Fault::retryable(Reason::PolicyHostTimedOut, "no answer in time"))))
}

/// What ureq makes on first use, for all threads together; see [`dns::make_ready`].
pub(crate) fn make_ready() -> bool {
    static READY: Once = Once::new();
    // It is made on the way to the connection, which fails.
    READY.ensure(|| {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let agent = Agent::with_parts(config(Duration::from_secs(1)), connect::Unconnected, connect::Resolved(nowhere));
        let _ = agent.get("https://policy-host.invalid/").call();
    })
}

/// What went wrong at one address.
struct Fault {
    reason: Reason,
    text: String,
    /// The host itself has spoken: another of its addresses would say the same.
    is_final: bool,
}

impl Fault {
    fn retryable(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into(), is_final: false }
    }

    fn last(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into(), is_final: true }
    }

    /// Of several failures the one that came furthest tells most.
    fn rank(&self) -> u8 {
        match self.reason {
            Reason::PolicyHostUnreachable => 0,
            Reason::PolicyHostTimedOut => 1,
            _ => 2,
        }
    }
}

fn usable_addresses(settings: &Settings, host: &str, deadline: Deadline) -> Result<Vec<IpAddr>, Fault> {
    let found = match dns::addresses(settings, host, deadline) {
        Answer::Found { records, .. } => records,
        Answer::Absent { .. } => return Err(Fault::last(Reason::PolicyHostNotFound, "has no address")),
        Answer::Failed(problem) => {
            return Err(Fault::last(Reason::PolicyHostDnsFailed, format!("its address is not known: {problem}")));
        }
    };
    let is_usable = |address: &IpAddr| settings.allow_private_addresses || !is_private(*address);
    let usable: Vec<IpAddr> = found.iter().copied().filter(is_usable).take(MAX_ADDRESSES).collect();
    match (usable.is_empty(), found.first()) {
        (true, Some(private)) => Err(Fault::last(
            Reason::PolicyHostPrivateAddress,
            format!("has the private address {private}, want a public one (or allow_private_addresses)"),
        )),
        _ => Ok(usable),
    }
}

/// `limit`: the time that a request may take.
fn config(limit: Duration) -> Config {
    Agent::config_builder()
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .max_response_header_size(MAX_HEADER_BYTES)
        .timeout_global(Some(limit))
        .user_agent(concat!("libmtasts/", env!("CARGO_PKG_VERSION")))
        .accept("text/plain")
        .accept_encoding("identity")
        .build()
}

fn fetch_from(
    host: &str,
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    share: Duration,
    connect_timeout: Duration,
) -> Result<Vec<u8>, Fault> {
    let connector = connect::connector(address, connect_timeout, Arc::clone(tls), Deadline::after(share));
    let agent = Agent::with_parts(config(share), connector, connect::Resolved(address));
    let port = if address.port() == HTTPS_PORT { String::new() } else { format!(":{}", address.port()) };
    let mut response = agent
        .get(format!("https://{host}{port}/.well-known/mta-sts.txt"))
        .call()
        .map_err(|error| judge(&error, address))?;
    check_head(&response)?;
    read_body(&mut response, address)
}

fn check_head(response: &Response<Body>) -> Result<(), Fault> {
    let status = response.status().as_u16();
    if status != 200 {
        return Err(Fault::last(Reason::PolicyHostStatus, format!("status {status}, want 200")));
    }
    let lines = |name: HeaderName| response.headers().get_all(name).iter().map(|value| value.as_bytes());
    let is_plain = |value: &[u8]| {
        value
            .split(|&byte| byte == b';')
            .next()
            .is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/plain"))
    };
    let odd_type = lines(CONTENT_TYPE).find(|value| !is_plain(value)).map(|value| format!("`{}`", shown(value)));
    let missing_type = lines(CONTENT_TYPE).next().is_none().then(|| "missing".to_owned());
    if let Some(is) = odd_type.or(missing_type) {
        return Err(Fault::last(Reason::PolicyHostMediaType, format!("Content-Type is {is}, want text/plain")));
    }
    match lines(CONTENT_ENCODING).find(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        Some(coding) => Err(Fault::last(
            Reason::PolicyHostContentEncoding,
            format!("Content-Encoding is `{}`, which was not asked for", shown(coding)),
        )),
        None => Ok(()),
    }
}

fn shown(value: &[u8]) -> String {
    value.get(..60).unwrap_or(value).escape_ascii().to_string()
}

fn read_body(response: &mut Response<Body>, address: SocketAddr) -> Result<Vec<u8>, Fault> {
    let too_large = || Fault::last(Reason::PolicyTooLarge, format!("the policy has more than {MAX_BODY_BYTES} bytes"));
    // The limit of the reader refuses a body of exactly that length, hence one more.
    let limit = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    match response.body_mut().with_config().limit(limit).read_to_vec() {
        Ok(body) if body.len() > MAX_BODY_BYTES => Err(too_large()),
        Ok(body) => Ok(body),
        Err(Error::BodyExceedsLimit(_)) => Err(too_large()),
        Err(error) => Err(judge(&error, address)),
    }
}

/// What an error of the HTTP client means for the policy.
fn judge(error: &Error, address: SocketAddr) -> Fault {
    if let Some(tls) = connect::tls_error(error) {
        let (reason, text) = tls::judge_policy_host(tls);
        return Fault::retryable(reason, text);
    }
    if connect::is_timeout(error) {
        return Fault::retryable(Reason::PolicyHostTimedOut, format!("no answer from {address} in time"));
    }
    if connect::is_cut(error) {
        let text = format!("{address} ends the connection before the end of its answer");
        return Fault::retryable(Reason::PolicyHostIncompleteBody, text);
    }
    match error {
        Error::Io(error) => Fault::retryable(Reason::PolicyHostUnreachable, format!("{address}: {error}")),
        Error::ConnectionFailed => {
            Fault::retryable(Reason::PolicyHostUnreachable, format!("{address} takes no connection"))
        }
        other => Fault::retryable(Reason::PolicyHostProtocol, format!("{address} does not speak HTTP: {other}")),
    }
}
