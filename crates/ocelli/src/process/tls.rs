//! TLS for what this process connects to: its cryptography and the authorities that it trusts.
//!
//! The client of Redis takes no parsed certificates: it gets the text of a file from here, or loads the system's by the same
//! library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("cannot read certificates in PEM from {}: {source:?}", path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{} has no usable certificate; it must be PEM (BEGIN CERTIFICATE)", .0.display())]
    Empty(PathBuf),
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Installs [`provider`] for libraries that use the process default. A second call has no effect.
pub(crate) fn install_provider() {
    let _ = ring::default_provider().install_default();
}

/// The CA certificates of the system, or those of SSL_CERT_FILE and SSL_CERT_DIR.
pub(crate) fn system_authorities() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Warns of the consequence if there are no CA certificates.
pub(crate) fn warn_of_none(authorities: &[CertificateDer<'_>], consequence: &str) {
    if authorities.is_empty() {
        tracing::warn!(
            "no system CA certificates found, so {consequence}; install ca-certificates, or set SSL_CERT_FILE"
        );
    }
}

/// The CA certificates in a PEM file.
///
/// # Errors
/// When the file cannot be read or has no certificate.
pub(crate) fn authorities_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    read(path).map(|(_, authorities)| authorities)
}

/// The text of a PEM file, which contains at least one authority.
///
/// # Errors
/// As [`authorities_of`].
pub(crate) fn pem_of(path: &Path) -> Result<Vec<u8>, AuthorityError> {
    read(path).map(|(pem, _)| pem)
}

fn read(path: &Path) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), AuthorityError> {
    let unreadable = |source| AuthorityError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let pem = std::fs::read(path).map_err(|error| unreadable(pem::Error::Io(error)))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(found.iter().cloned());
    if usable == 0 {
        return Err(AuthorityError::Empty(path.to_owned()));
    }
    Ok((pem, found))
}

/// A TLS client that trusts servers whose certificates `authorities` have signed.
///
/// # Errors
/// When the provider supports no TLS version.
pub(crate) fn client(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Systems ship some certificates that cannot be parsed.
    roots.add_parsable_certificates(authorities);
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let error = |name: &str, content: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).expect("file");
            }
            authorities_of(&path).expect_err(name).to_string()
        };
        assert!(error("missing", None).contains("cannot read certificates"));
        assert!(error("empty", Some("")).contains("has no usable certificate"));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(error("key", Some(key)).contains("has no usable certificate"));
        let no_certificate = key.replace("PRIVATE KEY", "CERTIFICATE");
        assert!(error("bytes", Some(&no_certificate)).contains("has no usable certificate"));
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(error("torn", Some(torn)).contains("cannot read"));
    }
}
