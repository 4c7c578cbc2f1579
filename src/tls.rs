//! TLS as a client: the trusted roots and one configuration for every policy host.
//!
//! TLS 1.2 and 1.3, DNS-ID names only, whole-label wildcards, an EKU must allow serverAuth: what rustls and webpki do
//! (RFC 8461 sections 3.3 and 7.1, RFC 6125). No session is resumed, so that no connection skips its verification.
//! Revocation, a MAY of RFC 8461 section 3.3, is not checked.

use crate::reason::Reason;
use crate::sys::privilege;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep their trusted roots, one file each; the first that is there counts.
const SYSTEM_ROOT_FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/usr/local/etc/ssl/cert.pem",
];
const SYSTEM_ROOT_DIRECTORY: &str = "/etc/ssl/certs";

/// Builds the configuration: trusts the roots in `ca_file`, else those of the system. The error says what is missing.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let roots = match ca_file {
        Some(path) => roots_in_file(path)?,
        None => system_roots()?,
    };
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| format!("TLS is not available: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots_in_file(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let blocks = CertificateDer::pem_file_iter(path).map_err(|error| format!("ca_file {shown}: {error}"))?;
    store(blocks.filter_map(Result::ok).collect())
        .ok_or_else(|| format!("ca_file {shown}: holds no usable certificate"))
}

fn system_roots() -> Result<RootCertStore, String> {
    let file = privilege::trusted_env("SSL_CERT_FILE").map(PathBuf::from);
    let directory = privilege::trusted_env("SSL_CERT_DIR").map(PathBuf::from);
    let (file, directory) = if file.is_some() || directory.is_some() {
        (file, directory)
    } else {
        let known = SYSTEM_ROOT_FILES.iter().map(PathBuf::from).find(|path| path.exists());
        let fallback = known.is_none().then(|| PathBuf::from(SYSTEM_ROOT_DIRECTORY));
        (known, fallback)
    };
    let found = rustls_native_certs::load_certs_from_paths(file.as_deref(), directory.as_deref());
    store(found.certs).ok_or_else(|| {
        "no trusted root certificates on this machine; install the package ca-certificates or set ca_file".to_owned()
    })
}

/// One unusable certificate must not cost the others.
fn store(certificates: Vec<CertificateDer<'static>>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    (added > 0).then_some(roots)
}

/// What a failed handshake with a policy host means, in our words.
pub fn judge_policy_host(error: &rustls::Error) -> (Reason, String) {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(fault) = error else {
        return (Reason::PolicyHostTlsFailed, format!("TLS handshake failed: {error}"));
    };
    match fault {
        C::Expired | C::ExpiredContext { .. } => {
            (Reason::PolicyHostCertificateExpired, "its certificate has expired".to_owned())
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            (Reason::PolicyHostCertificateExpired, "its certificate is not valid yet".to_owned())
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            (Reason::PolicyHostCertificateHostMismatch, "its certificate is for another name".to_owned())
        }
        C::UnknownIssuer | C::BadSignature => {
            (Reason::PolicyHostCertificateNotTrusted, "its certificate does not lead to a trusted root".to_owned())
        }
        other => (Reason::PolicyHostCertificateNotTrusted, format!("its certificate is not acceptable: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_certificates_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        for content in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, content).unwrap();
            let error = client_config(Some(&path)).unwrap_err();
            assert!(error.contains("ca.pem"), "{error}");
        }
        assert!(client_config(Some(Path::new("/nonexistent/ca.pem"))).unwrap_err().contains("/nonexistent/ca.pem"));
    }
}
