//! TLS as a client: the trusted roots, one configuration for every policy host, and the verdict on a chain that an MX
//! host showed, or on its names alone.
//!
//! TLS 1.2 and 1.3, DNS-ID names only, whole-label wildcards, an EKU must allow serverAuth: what rustls and webpki do
//! (RFC 8461 sections 3.3, 4.2 and 7.1, RFC 6125). No session is resumed, so that no connection skips its verification.
//! Revocation, a MAY of RFC 8461 section 3.3, is not checked.

mod roots;

pub use roots::Roots;

use crate::reason::{Reason, ResultType};
use crate::syntax::MxHost;
use crate::sys::fork::{ForkSafe, Work};
use crate::time::{UnixTime, describe_seconds};
use once_cell::race::OnceBox;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{self, CertificateDer, DnsName, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Trusted roots are read again after this time, so that a long-lived host notices new ones.
const ROOTS_LIFE: Duration = Duration::from_secs(3_600);
/// So many certificates of a chain count. A path has seven at most; among hundreds, made for it, the search for one
/// takes seconds.
const LONGEST_CHAIN: usize = 16;
/// So many bytes of the certificates behind the first one count, for the same reason.
const LARGEST_CHAIN: usize = 32 * 1024;
/// What webpki finds wrong with a path and rustls has no words for. RFC 8460 section 4.3.1 counts faults of the chain and
/// name constraints under certificate-not-trusted.
const PATH_FAULTS: &[(&str, &str)] = &[
    // Most self-signed certificates are of this kind.
    ("CaUsedAsEndEntity", "the first certificate is one of an authority, not of a server"),
    ("EndEntityUsedAsCa", "a server has signed, not an authority"),
    ("NameConstraintViolation", "an authority has signed for a name that it may not sign for"),
    ("PathLenConstraintViolated", "an authority has signed another that it may not sign"),
    ("MaximumPathDepthExceeded", "too many authorities stand one above the other"),
    ("MaximumPathBuildCallsExceeded", "there are too many paths to try"),
    ("MaximumSignatureChecksExceeded", "there are too many paths to try"),
    ("MaximumNameConstraintComparisonsExceeded", "there are too many name constraints"),
];
/// So many names of a certificate are told, and so many characters of each.
const TOLD_NAMES: usize = 3;
const TOLD_CHARACTERS: usize = 100;

/// Trusted roots, and what is built on them. Read on first use, outside of any lock, and again each hour.
///
/// Contexts, policies and decisions share one; any thread may use it, and so may forked children.
pub struct Trust {
    ca_file: Option<PathBuf>,
    loaded: ForkSafe<Option<Loaded>>,
}

/// What one reading of the roots gave.
#[derive(Clone)]
struct Loaded {
    at: Instant,
    config: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Trust {
    /// Trusts the roots in `ca_file`, else those of the system. Reads nothing yet.
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, loaded: ForkSafe::new(Work::Memory, || None) }
    }

    /// Trusts the roots in `ca_file`, else those of the system, which all who ask for them share. Reads nothing yet.
    pub fn of(ca_file: Option<&Path>) -> Arc<Self> {
        ca_file.map_or_else(Self::of_system, |path| Arc::new(Self::new(Some(path.to_owned()))))
    }

    /// Trusts the roots of the system; one for the whole process. It is published by a race and never waits, so that
    /// no forked child can find it half made.
    pub fn of_system() -> Arc<Self> {
        static SYSTEM: OnceBox<Arc<Trust>> = OnceBox::new();
        Arc::clone(SYSTEM.get_or_init(|| Box::new(Arc::new(Self::new(None)))))
    }

    /// The configuration for connections to policy hosts. The error says which roots are missing.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        self.loaded().map(|loaded| loaded.config)
    }

    /// Judges the chain that an MX host showed, its own certificate first, each in DER: it must lead to a trusted root,
    /// be in date `now`, and name the host as DNS-ID (RFC 8461 section 4.2).
    pub fn verify(&self, chain: &[&[u8]], host: &MxHost, now: UnixTime) -> Result<(), Unverified> {
        let loaded = self.loaded().map_err(|text| Unverified::because(Reason::NoTrustedRoots, text))?;
        let name = wanted_name(host)?;
        let count = chain.len();
        let mut behind: usize = 0;
        let counts = |(at, der): &(usize, &&[u8])| {
            behind = if *at == 0 { 0 } else { behind.saturating_add(der.len()) };
            behind <= LARGEST_CHAIN
        };
        let chain = chain.iter().take(LONGEST_CHAIN).enumerate().take_while(counts);
        let chain: Vec<CertificateDer<'_>> = chain.map(|(_, der)| CertificateDer::from(*der)).collect();
        let counted = chain.len();
        let Some((own, others)) = chain.split_first() else {
            return Err(Unverified::because(Reason::MxCertificateInvalid, format!("{host} showed no certificate")));
        };
        let seconds = Duration::from_secs(u64::try_from(now.0).unwrap_or(0));
        let now = pki_types::UnixTime::since_unix_epoch(seconds);
        let judge = |own: &CertificateDer<'_>, others: &[CertificateDer<'_>]| {
            loaded.verifier.verify_server_cert(own, others, &name, &[], now).map(drop).map_err(|error| fault(&error))
        };
        judge(own, others).map_err(|(fault, what)| {
            // What is wrong with one certificate is wrong with it alone, too.
            let guilty = match fault {
                Fault::HostMismatch => Some(0),
                Fault::NotTrusted => None,
                Fault::OutOfDate | Fault::Unacceptable => {
                    chain.iter().position(|alone| judge(alone, &[]) == Err((fault, what.clone())))
                }
            };
            let subject = match guilty {
                _ if count == 1 => format!("the certificate of {host}"),
                Some(index) => format!("certificate {} of {count} of {host}", index.saturating_add(1)),
                None if count > counted => {
                    format!("the chain of {host} ({count} certificates, of which {counted} count)")
                }
                None => format!("the chain of {host} ({count} certificates)"),
            };
            Unverified::because(fault.of_mx_host(), format!("{subject} {what}"))
        })
    }

    fn loaded(&self) -> Result<Loaded, String> {
        let known =
            self.loaded.with(|loaded| loaded.as_ref().filter(|loaded| loaded.at.elapsed() < ROOTS_LIFE).cloned());
        if let Some(loaded) = known.flatten() {
            return Ok(loaded);
        }
        // Reading takes milliseconds and happens outside of the lock; two threads may do it at once.
        let fresh = match Loaded::read(self.ca_file.as_deref()) {
            Ok(fresh) => fresh,
            // A file that is just being replaced, or out of reach since the host gave up privileges, costs no mail.
            Err(problem) => {
                let stale = self.loaded.with(|loaded| loaded.clone()).flatten().ok_or(problem)?;
                Loaded { at: Instant::now(), ..stale }
            }
        };
        let stale = self.loaded.with(|loaded| loaded.replace(fresh.clone()));
        drop(stale);
        Ok(fresh)
    }
}

impl Loaded {
    fn read(ca_file: Option<&Path>) -> Result<Self, String> {
        let Roots { roots, .. } = Roots::find(ca_file)?;
        let unavailable = |error: &dyn std::fmt::Display| format!("TLS is not available: {error}");
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unavailable(&error))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| unavailable(&error))?
            .with_webpki_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { at: Instant::now(), config: Arc::new(config), verifier })
    }
}

/// Judges nothing but the names in the certificate that an MX host showed, in DER: one must be the host as DNS-ID
/// (RFC 8461 section 4.2). This is the check of names that [`Trust::verify`] does, for a mail server whose own is laxer.
pub fn verify_name(own: &[u8], host: &MxHost) -> Result<(), Unverified> {
    let name = wanted_name(host)?;
    let own = CertificateDer::from(own);
    ParsedCertificate::try_from(&own).and_then(|parsed| verify_server_name(&parsed, &name)).map_err(|error| {
        let (fault, what) = fault(&error);
        Unverified::because(fault.of_mx_host(), format!("the certificate of {host} {what}"))
    })
}

fn wanted_name(host: &MxHost) -> Result<ServerName<'_>, Unverified> {
    DnsName::try_from(host.as_str()).map(ServerName::DnsName).map_err(|_| {
        Unverified::because(Reason::MxCertificateInvalid, format!("{host} is a name that no certificate can have"))
    })
}

/// The DER of a certificate in base64, with white space or without. Whether it is a certificate is not looked at.
pub fn certificate_of_base64(base64: &[u8]) -> Option<Vec<u8>> {
    // Base64 in an envelope is PEM, for which there is a reader. Without a hyphen there is no other envelope inside.
    let is_bare = !base64.is_empty() && !base64.contains(&b'-');
    let pem = [b"-----BEGIN CERTIFICATE-----\n", base64, b"\n-----END CERTIFICATE-----\n"].concat();
    CertificateDer::from_pem_slice(&pem).ok().filter(|_| is_bare).map(|certificate| certificate.to_vec())
}

/// Why the chain of an MX host does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// Why, for a program.
    pub reason: Reason,
    /// What a TLS report says of it; none where the host is not to blame.
    pub result_type: ResultType,
    /// Why, in one line for a person.
    pub text: String,
}

impl Unverified {
    pub(crate) fn because(reason: Reason, text: String) -> Self {
        Self { reason, result_type: reason.result_type(), text }
    }
}

/// What a failed handshake with a policy host means, in our words.
pub fn judge_policy_host(error: &rustls::Error) -> (Reason, String) {
    if !matches!(error, rustls::Error::InvalidCertificate(_)) {
        return (Reason::PolicyHostTlsFailed, format!("TLS handshake failed: {error}"));
    }
    let (fault, what) = fault(error);
    (fault.of_policy_host(), format!("its certificate {what}"))
}

/// The kinds of what is wrong with a certificate or its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    OutOfDate,
    HostMismatch,
    NotTrusted,
    Unacceptable,
}

impl Fault {
    fn of_policy_host(self) -> Reason {
        match self {
            Self::OutOfDate => Reason::PolicyHostCertificateExpired,
            Self::HostMismatch => Reason::PolicyHostCertificateHostMismatch,
            Self::NotTrusted | Self::Unacceptable => Reason::PolicyHostCertificateNotTrusted,
        }
    }

    fn of_mx_host(self) -> Reason {
        match self {
            Self::OutOfDate => Reason::MxCertificateExpired,
            Self::HostMismatch => Reason::MxCertificateHostMismatch,
            Self::NotTrusted => Reason::MxCertificateNotTrusted,
            Self::Unacceptable => Reason::MxCertificateInvalid,
        }
    }
}

/// What is wrong with a certificate: its kind, and words that go on from "its certificate".
fn fault(error: &rustls::Error) -> (Fault, String) {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(error) = error else {
        return (Fault::Unacceptable, format!("is not acceptable: {error}"));
    };
    let ago = |earlier: &pki_types::UnixTime, later: &pki_types::UnixTime| {
        describe_seconds(later.as_secs().saturating_sub(earlier.as_secs()))
    };
    match error {
        C::Expired => (Fault::OutOfDate, "has expired".to_owned()),
        C::ExpiredContext { time, not_after } => {
            (Fault::OutOfDate, format!("has expired {} ago", ago(not_after, time)))
        }
        C::NotValidYet => (Fault::OutOfDate, "is not valid yet".to_owned()),
        C::NotValidYetContext { time, not_before } => {
            (Fault::OutOfDate, format!("is not valid yet, for another {}", ago(time, not_before)))
        }
        C::NotValidForName => (Fault::HostMismatch, "is for another name".to_owned()),
        C::NotValidForNameContext { presented, .. } => {
            (Fault::HostMismatch, format!("is for another name: {}", told_names(presented)))
        }
        C::UnknownIssuer => (Fault::NotTrusted, "does not lead to a trusted root".to_owned()),
        C::BadSignature => {
            (Fault::NotTrusted, "does not lead to a trusted root: a signature in the chain is wrong".to_owned())
        }
        C::BadEncoding => (Fault::Unacceptable, "is not acceptable: it is malformed".to_owned()),
        C::Other(other) => {
            let name = other.to_string();
            match PATH_FAULTS.iter().find(|(known, _)| *known == name) {
                Some((_, why)) => (Fault::NotTrusted, format!("does not lead to a trusted root: {why}")),
                None => (Fault::Unacceptable, format!("is not acceptable: {name}")),
            }
        }
        other => (Fault::Unacceptable, format!("is not acceptable: {other}")),
    }
}

/// A few of the names that a certificate is for, which a stranger wrote.
fn told_names(presented: &[String]) -> String {
    let mut told: Vec<String> = presented
        .iter()
        .take(TOLD_NAMES)
        .map(|name| {
            let bare = name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")")).unwrap_or(name);
            bare.chars().take(TOLD_CHARACTERS).flat_map(char::escape_default).collect()
        })
        .collect();
    match presented.len().saturating_sub(TOLD_NAMES) {
        0 if told.is_empty() => return "it has no subjectAltName".to_owned(),
        0 => {}
        more => told.push(format!("and {more} more")),
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_cannot_be_read_again_stay_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let world = mtasts_world::World::start();
        std::fs::copy(world.ca_file(), &path).unwrap();
        let trust = Trust::new(Some(path.clone()));
        trust.client_config().unwrap();
        trust.loaded.with(|loaded| {
            let loaded = loaded.as_mut().unwrap();
            loaded.at = loaded.at.checked_sub(ROOTS_LIFE).unwrap();
        });
        std::fs::remove_file(&path).unwrap();
        trust.client_config().unwrap();
    }

    #[test]
    fn the_roots_of_the_system_are_one_for_all_and_those_of_a_file_are_not() {
        assert!(Arc::ptr_eq(&Trust::of(None), &Trust::of_system()));
        let path = Path::new("/nonexistent/ca.pem");
        assert!(!Arc::ptr_eq(&Trust::of(Some(path)), &Trust::of(Some(path))));
    }

    #[test]
    fn a_ca_file_without_certificates_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        for content in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, content).unwrap();
            let error = Trust::new(Some(path.clone())).client_config().unwrap_err();
            assert!(error.contains("ca.pem"), "{error}");
        }
        let missing = Trust::new(Some("/nonexistent/ca.pem".into()));
        assert!(missing.client_config().unwrap_err().contains("/nonexistent/ca.pem"));
    }
}
