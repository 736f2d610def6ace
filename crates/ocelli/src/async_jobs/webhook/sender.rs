//! One call of a webhook: resolves the name, checks the address, connects, sends.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use axum::http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::process::tls;

use super::dispatch::Dispatcher;
use super::{OwnListeners, Turn, WebhookConfig, WebhookUrl};

/// From resolving the host to the head of the response.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Proves that this server made the call.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-ocelli-signature");

const ADDRESSES: usize = 4;

const AGENT: &str = concat!("ocelli/", env!("CARGO_PKG_VERSION"));

/// Calls webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Sender {
    config: Arc<WebhookConfig>,
    own: OwnListeners,
    pub(in crate::async_jobs) dispatcher: Dispatcher,
    tls: TlsConnector,
}

#[derive(Debug)]
pub(in crate::async_jobs) enum Attempt {
    Delivered,
    /// Failed, and may succeed later.
    Later(SenderError),
    /// Failed for good.
    Never(SenderError),
}

#[derive(Debug, thiserror::Error)]
pub(in crate::async_jobs) enum SenderError {
    #[error(
        "{0} has no address of the public internet; if it is meant to be called, start with --webhook-allow-private"
    )]
    Private(String),
    #[error("{0} is an address that this server listens on")]
    Own(String),
    #[error("{host} cannot be reached: {source}")]
    Unreachable { host: String, source: io::Error },
    #[error("{0}")]
    Name(#[from] InvalidDnsNameError),
    #[error("the connection failed: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no response within {CALL_TIMEOUT:?}")]
    Late,
    #[error("the response was {0}")]
    Status(StatusCode),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Sender {
    pub fn new(config: WebhookConfig) -> Result<Self, rustls::Error> {
        let authorities = tls::system_authorities();
        tls::warn_of_none(&authorities, "no webhook can be called with https");
        let tls = tls::client(authorities)?;
        Ok(Self {
            dispatcher: Dispatcher::new(config.calls),
            config: Arc::new(config),
            own: OwnListeners::default(),
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    #[must_use]
    pub fn config(&self) -> &WebhookConfig {
        &self.config
    }

    /// As [`WebhookConfig::url`], without addresses of this server itself. Names are resolved only when they are called.
    pub fn url(&self, text: &str) -> Result<WebhookUrl, Error> {
        let url = self.config.url(text)?;
        match url.host.parse() {
            Ok(ip) if self.own.include(SocketAddr::new(ip, url.port)) => Err(Error::InvalidRequest(format!(
                "X-Webhook-Url: {}",
                SenderError::Own(url.host)
            ))),
            _ => Ok(url),
        }
    }

    #[must_use]
    pub fn own_listeners(&self) -> &OwnListeners {
        &self.own
    }

    /// Calls a webhook once, in its receiver's turn.
    pub(in crate::async_jobs) async fn call(&self, turn: Turn, url: &WebhookUrl, body: Bytes) -> Attempt {
        let attempt = self.attempt(url, body).await;
        turn.end(attempt.is_answered());
        attempt
    }

    async fn attempt(&self, url: &WebhookUrl, body: Bytes) -> Attempt {
        match timeout(CALL_TIMEOUT, self.exchange(url, body)).await {
            Ok(Ok(status)) => judge(status),
            Ok(Err(error @ (SenderError::Private(_) | SenderError::Own(_) | SenderError::Name(_)))) => {
                Attempt::Never(error)
            }
            Ok(Err(error)) => Attempt::Later(error),
            Err(_) => Attempt::Later(SenderError::Late),
        }
    }

    async fn exchange(&self, url: &WebhookUrl, body: Bytes) -> Result<StatusCode, SenderError> {
        let stream = self.connect(url).await?;
        let request = self.request(url, body);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let (mut connection, mut response) = (pin!(connection), pin!(sender.send_request(request)));
        // The body of the response is not read.
        let response = tokio::select! {
            response = &mut response => response,
            // A connection that closes after the response has delivered it.
            _ = &mut connection => response.await,
        };
        Ok(response?.status())
    }

    fn request(&self, url: &WebhookUrl, body: Bytes) -> Request<Full<Bytes>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let signature = self
            .config
            .secret
            .signature(now.unwrap_or_default().as_secs(), &body);
        let (path, host) = (url.uri.path_and_query(), url.uri.authority());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.map_or_else(Uri::default, |path| Uri::from(path.clone()));
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, text) in [
            (HOST, host.map_or("", |host| host.as_str())),
            (SIGNATURE, &signature),
        ] {
            // A part of a URL and hexadecimal digits are always valid.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        request
    }

    /// Connects to an address that was checked, not to the name, which might resolve to another one by then.
    async fn connect(&self, url: &WebhookUrl) -> Result<Box<dyn Stream>, SenderError> {
        let unreachable = |source| SenderError::Unreachable {
            host: url.host.clone(),
            source,
        };
        let all = lookup_host((url.host.as_str(), url.port))
            .await
            .map_err(unreachable)?;
        let addresses: Vec<SocketAddr> = all
            .filter(|address| self.config.allows_address(address.ip()))
            .take(ADDRESSES)
            .collect();
        // Even if there are other addresses: a name that resolves to this server among others is no accident.
        if addresses.iter().any(|address| self.own.include(*address)) {
            return Err(SenderError::Own(url.host.clone()));
        }
        if addresses.is_empty() {
            return Err(SenderError::Private(url.host.clone()));
        }
        // One after the other.
        let stream = TcpStream::connect(&*addresses).await.map_err(unreachable)?;
        if !url.encrypted {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(url.host.clone())?;
        let stream = self.tls.connect(name, stream).await.map_err(unreachable)?;
        Ok(Box::new(stream))
    }
}

impl Attempt {
    /// Whether the receiver is up and not overloaded, whatever it answered to this call.
    fn is_answered(&self) -> bool {
        match self {
            Self::Delivered | Self::Never(_) => true,
            Self::Later(SenderError::Status(status)) => !matches!(status.as_u16(), 429 | 502..=504),
            Self::Later(_) => false,
        }
    }
}

/// Redirects count as failures, because they may lead anywhere.
fn judge(status: StatusCode) -> Attempt {
    match status.as_u16() {
        200..=299 => Attempt::Delivered,
        408 | 425 | 429 | 500.. => Attempt::Later(SenderError::Status(status)),
        _ => Attempt::Never(SenderError::Status(status)),
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let outcome = |status| match judge(StatusCode::from_u16(status).expect("a status")) {
            Attempt::Delivered => "delivered",
            Attempt::Later(_) => "later",
            Attempt::Never(_) => "never",
        };
        for (status, wanted) in [
            (200, "delivered"),
            (204, "delivered"),
            (301, "never"),
            (307, "never"),
            (400, "never"),
            (404, "never"),
            (408, "later"),
            (410, "never"),
            (429, "later"),
            (500, "later"),
            (503, "later"),
        ] {
            assert_eq!(outcome(status), wanted, "{status}");
        }
    }

    #[test]
    fn a_receiver_that_is_gone_or_overloaded_is_paused() {
        let answered = |status| judge(StatusCode::from_u16(status).expect("a status")).is_answered();
        for status in [200, 301, 404, 408, 425, 500, 501] {
            assert!(answered(status), "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert!(!answered(status), "{status}");
        }
        assert!(!Attempt::Later(SenderError::Late).is_answered());
    }
}
