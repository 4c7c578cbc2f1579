//! Where the trusted roots come from: the configured file, else what the system has.

use crate::sys::privilege;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

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

/// Trusted roots, and where they come from.
pub struct Roots {
    pub(super) roots: RootCertStore,
    /// The file or the directories that they were read from.
    pub places: Vec<PathBuf>,
}

impl Roots {
    /// The roots in `ca_file`, else those of the system. The error says what is missing.
    pub fn find(ca_file: Option<&Path>) -> Result<Self, String> {
        match ca_file {
            Some(path) => Self::in_file(path),
            None => Self::of_system(),
        }
    }

    /// How many there are, never 0.
    pub fn count(&self) -> usize {
        self.roots.len()
    }

    fn in_file(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let blocks = CertificateDer::pem_file_iter(path).map_err(|error| format!("ca_file {shown}: {error}"))?;
        let roots = store(blocks.filter_map(Result::ok).collect())
            .ok_or_else(|| format!("ca_file {shown}: holds no usable certificate"))?;
        Ok(Self { roots, places: vec![path.to_owned()] })
    }

    fn of_system() -> Result<Self, String> {
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
        let roots = store(found.certs).ok_or_else(|| {
            "no trusted root certificates on this machine; install the package ca-certificates or set ca_file"
                .to_owned()
        })?;
        Ok(Self { roots, places: file.into_iter().chain(directory).collect() })
    }
}

/// One unusable certificate must not cost the others.
fn store(certificates: Vec<CertificateDer<'static>>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    (added > 0).then_some(roots)
}
