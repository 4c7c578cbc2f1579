//! The throw-away CA: a root, an intermediate and every kind of good and bad server certificate, minted on demand.
//!
//! All keys live only as long as the `Ca`. Every server certificate has the same key, so that a TLSA record
//! (`3 1 1`, [`Ca::leaf_key_sha256`]) holds for all of them. Nothing here checks a certificate.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use time::{Duration, OffsetDateTime};

use crate::lock;

/// The type of an SRV-ID among other names (RFC 4985 section 2).
const SRV_NAME: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 8, 7];

/// Which certificate a server shows for a host name. Everything not named in a variant is as in `Good`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// The host name as subjectAltName (and common name), EKU serverAuth, valid for years, with its intermediate.
    Good,
    /// For `elsewhere.test` instead.
    WrongName,
    /// Its life ended yesterday.
    Expired,
    /// Its life begins tomorrow.
    NotYetValid,
    /// Signed by its own key.
    SelfSigned,
    /// Signed by its own key and marked as that of an authority, as `openssl req -x509` makes it.
    SelfSignedCa,
    /// Signed by a root that nobody trusts.
    UnknownCa,
    /// Not signed by the key of the intermediate that it names.
    WrongSignature,
    /// Signed with the key of another server's good certificate, which the server sends too.
    SignedByServer,
    /// Signed by an intermediate whose life ended yesterday.
    ExpiredIntermediate,
    /// Signed by the intermediate, which the server does not send.
    NoIntermediate,
    /// The host name as common name, no subjectAltName at all.
    CnOnly,
    /// The host name as common name, SRV-ID and URI-ID, and the address 127.0.0.1: every kind of name but a DNS-ID.
    NoDnsId,
    /// For `*.parent` of the host name.
    Wildcard,
    /// For `*.*.grandparent` of the host name.
    TwoLevelWildcard,
    /// For a wildcard inside the first label: `mta-*.parent` for `mta-sts.parent`, `m*.parent` for `mx.parent`.
    PartialWildcard,
    /// EKU clientAuth only.
    ClientOnlyEku,
    /// No EKU extension.
    NoEku,
}

impl Certificate {
    /// Every variant with the name a scene file uses for it.
    pub const ALL: [(&'static str, Certificate); 18] = [
        ("good", Certificate::Good),
        ("wrong-name", Certificate::WrongName),
        ("expired", Certificate::Expired),
        ("not-yet-valid", Certificate::NotYetValid),
        ("self-signed", Certificate::SelfSigned),
        ("self-signed-ca", Certificate::SelfSignedCa),
        ("unknown-ca", Certificate::UnknownCa),
        ("wrong-signature", Certificate::WrongSignature),
        ("signed-by-server", Certificate::SignedByServer),
        ("expired-intermediate", Certificate::ExpiredIntermediate),
        ("no-intermediate", Certificate::NoIntermediate),
        ("cn-only", Certificate::CnOnly),
        ("no-dns-id", Certificate::NoDnsId),
        ("wildcard", Certificate::Wildcard),
        ("two-level-wildcard", Certificate::TwoLevelWildcard),
        ("partial-wildcard", Certificate::PartialWildcard),
        ("client-only-eku", Certificate::ClientOnlyEku),
        ("no-eku", Certificate::NoEku),
    ];
}

/// The name of the trusted intermediate.
const INTERMEDIATE: &str = "mtasts-world intermediate";

/// A root and an intermediate below it.
struct Authority {
    root: Vec<u8>,
    root_pem: String,
    root_issuer: Issuer<'static, KeyPair>,
    intermediate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str, serial: &AtomicU64) -> Result<Self, rcgen::Error> {
        let root_key = KeyPair::generate()?;
        let root_params = authority_params(&format!("{name} root"), serial);
        let root = root_params.self_signed(&root_key)?;
        let root_issuer = Issuer::new(root_params, root_key);

        let key = KeyPair::generate()?;
        let params = authority_params(&format!("{name} intermediate"), serial);
        let intermediate = params.signed_by(&key, &root_issuer)?;
        Ok(Authority {
            root: root.der().to_vec(),
            root_pem: root.pem(),
            root_issuer,
            intermediate: intermediate.der().to_vec(),
            issuer: Issuer::new(params, key),
        })
    }
}

type Chain = Vec<Vec<u8>>;

/// Mints certificates and TLS configurations; every certificate is made once and kept, so that it stays the same.
pub struct Ca {
    trusted: Authority,
    unknown: Authority,
    leaf_key: KeyPair,
    serial: AtomicU64,
    minted: Mutex<HashMap<(String, Certificate), Chain>>,
    provider: Arc<CryptoProvider>,
}

impl Ca {
    pub fn new() -> Result<Self, rcgen::Error> {
        let serial = AtomicU64::new(1);
        Ok(Ca {
            trusted: Authority::new("mtasts-world", &serial)?,
            unknown: Authority::new("nobody trusts this", &serial)?,
            leaf_key: KeyPair::generate()?,
            serial,
            minted: Mutex::default(),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    /// The trusted root.
    pub fn root_pem(&self) -> &str {
        &self.trusted.root_pem
    }

    /// The trusted root.
    pub fn root_der(&self) -> &[u8] {
        &self.trusted.root
    }

    /// The private key of every server certificate, PKCS #8.
    pub fn leaf_key_der(&self) -> &[u8] {
        self.leaf_key.serialized_der()
    }

    /// SHA-256 of the SubjectPublicKeyInfo of every server certificate: the data of a TLSA record `3 1 1`.
    pub fn leaf_key_sha256(&self) -> Vec<u8> {
        let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let hash = suite.tls13().expect("a TLS 1.3 cipher suite").common.hash_provider;
        hash.hash(&self.leaf_key.subject_public_key_info()).as_ref().to_vec()
    }

    /// The chain a server sends for `host`, its own certificate first, the root never in it.
    pub fn chain(&self, host: &str, certificate: Certificate) -> Result<Chain, rcgen::Error> {
        let host = crate::canonical(host);
        let mut minted = lock(&self.minted);
        if let Some(chain) = minted.get(&(host.clone(), certificate)) {
            return Ok(chain.clone());
        }
        let chain = self.mint(&host, certificate)?;
        minted.insert((host, certificate), chain.clone());
        Ok(chain)
    }

    /// A TLS server configuration for one connection. It never resumes a session, so that every connection shows its
    /// certificate.
    pub fn server_config(
        &self,
        host: &str,
        certificate: Certificate,
        tls12_only: bool,
    ) -> Result<Arc<ServerConfig>, String> {
        let versions: &[_] = if tls12_only { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
        let chain = self.chain(host, certificate).map_err(|error| format!("certificate for {host}: {error}"))?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key_der().to_vec()));
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| format!("TLS configuration for {host}: {error}"))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// A good chain, but for an extension in the server's certificate that is critical and that nobody knows.
    pub fn chain_with_critical_extension(&self, host: &str) -> Result<Chain, rcgen::Error> {
        let mut params = self.server_params(&crate::canonical(host), Certificate::Good)?;
        // An arc for examples (RFC 5612).
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
        self.sign(&params, &self.trusted.issuer, vec![self.trusted.intermediate.clone()])
    }

    /// A good certificate under so many authorities, one below the other, the first below the trusted root.
    pub fn deep_chain(&self, host: &str, authorities: usize) -> Result<Chain, rcgen::Error> {
        let mut above = Chain::new();
        let mut last: Option<Issuer<'static, KeyPair>> = None;
        for number in 1..=authorities {
            let (key, params) = (KeyPair::generate()?, authority_params(&format!("authority {number}"), &self.serial));
            let certificate = params.signed_by(&key, last.as_ref().unwrap_or(&self.trusted.root_issuer))?;
            above.insert(0, certificate.der().to_vec());
            last = Some(Issuer::new(params, key));
        }
        let params = self.server_params(&crate::canonical(host), Certificate::Good)?;
        self.sign(&params, last.as_ref().unwrap_or(&self.trusted.root_issuer), above)
    }

    /// A good certificate without its intermediate, behind it so many impostors that have the intermediate's name, each
    /// with a key of its own, and claim to be signed by one another.
    pub fn chain_of_namesakes(&self, host: &str, count: usize) -> Result<Chain, rcgen::Error> {
        let namesakes: Result<Chain, rcgen::Error> = (0..count)
            .map(|_| {
                let params = authority_params(INTERMEDIATE, &self.serial);
                Ok(params.self_signed(&KeyPair::generate()?)?.der().to_vec())
            })
            .collect();
        let params = self.server_params(&crate::canonical(host), Certificate::Good)?;
        self.sign(&params, &self.trusted.issuer, namesakes?)
    }

    fn mint(&self, host: &str, certificate: Certificate) -> Result<Chain, rcgen::Error> {
        let params = self.server_params(host, certificate)?;
        let intermediate = |authority: &Authority| vec![authority.intermediate.clone()];
        match certificate {
            Certificate::SelfSigned | Certificate::SelfSignedCa => {
                Ok(vec![params.self_signed(&self.leaf_key)?.der().to_vec()])
            }
            Certificate::UnknownCa => self.sign(&params, &self.unknown.issuer, intermediate(&self.unknown)),
            Certificate::NoIntermediate => self.sign(&params, &self.trusted.issuer, Chain::new()),
            Certificate::WrongSignature => {
                let forger = Issuer::new(authority_params(INTERMEDIATE, &self.serial), KeyPair::generate()?);
                self.sign(&params, &forger, intermediate(&self.trusted))
            }
            Certificate::SignedByServer => {
                let (key, server) = (KeyPair::generate()?, self.server_params("elsewhere.test", Certificate::Good)?);
                let above = server.signed_by(&key, &self.trusted.issuer)?.der().to_vec();
                self.sign(&params, &Issuer::new(server, key), vec![above, self.trusted.intermediate.clone()])
            }
            Certificate::ExpiredIntermediate => {
                let key = KeyPair::generate()?;
                let mut lapsed = authority_params("mtasts-world lapsed intermediate", &self.serial);
                lapsed.not_after = OffsetDateTime::now_utc() - Duration::hours(25);
                let above = lapsed.signed_by(&key, &self.trusted.root_issuer)?.der().to_vec();
                self.sign(&params, &Issuer::new(lapsed, key), vec![above])
            }
            _ => self.sign(&params, &self.trusted.issuer, intermediate(&self.trusted)),
        }
    }

    /// A server's certificate, and what stands above it.
    fn sign(
        &self,
        params: &CertificateParams,
        issuer: &Issuer<'static, KeyPair>,
        mut above: Chain,
    ) -> Result<Chain, rcgen::Error> {
        let mut params = params.clone();
        params.use_authority_key_identifier_extension = true;
        above.insert(0, params.signed_by(&self.leaf_key, issuer)?.der().to_vec());
        Ok(above)
    }

    fn server_params(&self, host: &str, certificate: Certificate) -> Result<CertificateParams, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let (label, parent) = host.split_once('.').unwrap_or((host, "test"));
        let name = match certificate {
            Certificate::WrongName => "elsewhere.test".to_string(),
            Certificate::Wildcard => format!("*.{parent}"),
            Certificate::TwoLevelWildcard => format!("*.*.{}", parent.split_once('.').map_or(parent, |(_, rest)| rest)),
            Certificate::PartialWildcard => format!("{}*.{parent}", partial(label)),
            _ => host.to_string(),
        };

        let mut params = CertificateParams::default();
        params.serial_number = Some(next_serial(&self.serial));
        (params.not_before, params.not_after) = match certificate {
            Certificate::Expired => (now - Duration::days(100), now - Duration::hours(25)),
            Certificate::NotYetValid => (now + Duration::days(1), now + Duration::days(100)),
            _ => (now - Duration::days(365), now + Duration::days(3650)),
        };
        params.is_ca = match certificate {
            Certificate::SelfSignedCa => IsCa::Ca(BasicConstraints::Unconstrained),
            _ => IsCa::ExplicitNoCa,
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match certificate {
            Certificate::ClientOnlyEku => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Certificate::NoEku => Vec::new(),
            _ => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        // RFC 5280 appendix A: a common name holds at most 64 characters.
        let common_name = if name.len() <= 64 { name.as_str() } else { "mtasts-world leaf" };
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = match certificate {
            Certificate::CnOnly => Vec::new(),
            Certificate::NoDnsId => vec![
                SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
                SanType::URI(format!("https://{name}/").as_str().try_into()?),
                SanType::OtherName((SRV_NAME.to_vec(), format!("_https.{name}").into())),
            ],
            _ => match name.parse() {
                Ok(address) => vec![SanType::IpAddress(address)],
                Err(_) => vec![SanType::DnsName(name.as_str().try_into()?)],
            },
        };
        Ok(params)
    }
}

fn authority_params(name: &str, serial: &AtomicU64) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.serial_number = Some(next_serial(serial));
    params.not_before = now - Duration::days(366);
    params.not_after = now + Duration::days(3660);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn next_serial(serial: &AtomicU64) -> SerialNumber {
    SerialNumber::from(serial.fetch_add(1, Ordering::Relaxed))
}

/// What stands before the `*` of a partial wildcard: the first label up to its first hyphen, else its first letter.
fn partial(label: &str) -> &str {
    match label.find('-') {
        Some(hyphen) => &label[..=hyphen],
        None => label.get(..1).unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_stays_the_same_and_its_name_ignores_case() {
        let ca = Ca::new().unwrap();
        let first = ca.chain("MX.good.test", Certificate::Good).unwrap();
        assert_eq!(first, ca.chain("mx.good.test.", Certificate::Good).unwrap());
        assert_ne!(first, ca.chain("mx.good.test", Certificate::Wildcard).unwrap());
    }

    #[test]
    fn every_certificate_makes_a_tls_configuration_for_every_shape_of_name() {
        let ca = Ca::new().unwrap();
        for host in ["mta-sts.good.test", "mx", "127.0.0.1", "::1", &format!("{}.test", "long.".repeat(30))] {
            for (name, certificate) in Certificate::ALL {
                for tls12_only in [false, true] {
                    assert_eq!(ca.server_config(host, certificate, tls12_only).err(), None, "{host} {name}");
                }
            }
        }
    }

    #[test]
    fn the_partial_wildcard_keeps_what_stands_before_the_hyphen() {
        assert_eq!(partial("mta-sts"), "mta-");
        assert_eq!(partial("mx"), "m");
    }
}
