//! TLS for what this process connects to: its cryptography and the authorities that it trusts. The client of Redis brings its
//! own roots; the rest of it is the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Why the authorities of a file cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// The file is not there, or holds something else.
    #[error("{} cannot be read as certificates in PEM: {source:?}", path.display())]
    Unreadable {
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is none in it.
    #[error("{} holds no certificate that can be trusted; it must be PEM (BEGIN CERTIFICATE)", .0.display())]
    Empty(PathBuf),
}

/// The cryptography of this process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes it that of libraries which take whatever the process has. A second call changes nothing.
pub(crate) fn install_provider() {
    let _ = ring::default_provider().install_default();
}

/// The authorities that the system trusts, or those of SSL_CERT_FILE and SSL_CERT_DIR.
pub(crate) fn system_authorities() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Warns of what `fails` without any authority.
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
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|source| AuthorityError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(found.iter().cloned());
    if usable == 0 {
        return Err(AuthorityError::Empty(path.to_owned()));
    }
    Ok(found)
}

/// Trusts servers that one of `authorities` vouches for.
///
/// # Errors
/// When the cryptography that this program is built with cannot speak TLS.
pub(crate) fn client(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Systems have some that nothing can read.
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
