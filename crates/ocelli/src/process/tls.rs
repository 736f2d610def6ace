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

/// A file of authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("{} cannot be read as certificates in PEM: {source:?}", path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate that can be trusted; it must be PEM (BEGIN CERTIFICATE)", .0.display())]
    Empty(PathBuf),
}

/// The cryptography of this process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes it the default of the libraries in this process. A second call changes nothing.
pub(crate) fn install_provider() {
    let _ = ring::default_provider().install_default();
}

/// The authorities that the system trusts, or those of SSL_CERT_FILE and SSL_CERT_DIR.
pub(crate) fn system_authorities() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Warns if there is none, with what `fails` without.
pub(crate) fn warn_of_none(authorities: &[CertificateDer<'_>], fails: &str) {
    if authorities.is_empty() {
        tracing::warn!(
            "the system trusts no certificates, so {fails}; install ca-certificates, or name a file in SSL_CERT_FILE"
        );
    }
}

/// The authorities in a PEM file.
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

/// A client that trusts servers with a certificate of one of `authorities`.
///
/// # Errors
/// When the cryptography of this build has no TLS version.
pub(crate) fn client(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Some systems ship certificates that cannot be parsed.
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
        let says = |name: &str, content: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).expect("file");
            }
            authorities_of(&path).expect_err(name).to_string()
        };
        assert!(says("missing", None).contains("missing cannot be read"));
        assert!(says("empty", Some("")).contains("holds no certificate"));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(says("key", Some(key)).contains("holds no certificate"));
        let no_certificate = key.replace("PRIVATE KEY", "CERTIFICATE");
        assert!(says("bytes", Some(&no_certificate)).contains("holds no certificate"));
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(says("torn", Some(torn)).contains("cannot be read"));
    }
}
