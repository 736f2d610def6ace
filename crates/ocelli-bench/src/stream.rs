//! The bytes between this client and the server, encrypted or not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

use crate::error::BenchError;

/// The only protocol that is spoken over TLS, as RFC 7301 names it.
const ALPN: &[u8] = b"http/1.1";

/// TLS, and the name that the server must have.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// A connection, encrypted or not.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Tls {
    /// TLS with the host of `url`, as `config` trusts it.
    pub(crate) fn new(url: &Uri, host: &str, config: &ClientConfig) -> Result<Self, BenchError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| BenchError::Url {
            url: url.to_string(),
            problem: format!("its host cannot be the name in a certificate: {error}"),
        })?;
        let mut config = config.clone();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.name).finish()
    }
}

/// Connects to the first of `addresses` that accepts.
pub(crate) async fn connect(addresses: &[SocketAddr], tls: Option<&Tls>) -> io::Result<Stream> {
    let stream = TcpStream::connect(addresses).await?;
    // The last part of a body must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Either::Left(stream)),
        Some(Tls { connector, name }) => {
            let stream = connector.connect(name.clone(), stream).await?;
            Ok(Either::Right(Box::new(stream)))
        }
    }
}
