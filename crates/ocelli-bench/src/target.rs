//! The server under test: its address, checked and resolved, and one prepared request for each photo.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use http_body_util::Full;

use crate::body;
use crate::config::BenchConfig;
use crate::error::BenchError;
use crate::stream::Tls;
use crate::url::{check_url, is_https};

/// The route of the tutorial, meant by an address without a path.
const DEFAULT_PATH: &str = "/predict";

/// Everything that is sent, ready to be cloned at the cost of reference counts.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls: Option<Tls>,
    path: Uri,
    messages: Vec<Message>,
}

#[derive(Debug)]
struct Message {
    headers: HeaderMap,
    body: Bytes,
}

impl Target {
    /// Resolves the host and builds the bodies. The configuration must be valid.
    pub(crate) async fn prepare(config: &BenchConfig) -> Result<Self, BenchError> {
        let host = check_url(&config.url, config.tls.is_some())?;
        let tls = config.tls.as_ref().filter(|_| is_https(&config.url));
        let tls = tls
            .map(|tls| Tls::new(&config.url, host_of(&config.url), tls))
            .transpose()?;
        let addresses = resolve(&config.url).await.map_err(|source| BenchError::Resolve {
            url: config.url.to_string(),
            source,
        })?;
        let boundary = body::random_boundary();
        let message = |photo| {
            let body = body::build(photo, config.body, &boundary);
            let mut headers = HeaderMap::with_capacity(4);
            headers.insert(HOST, host.clone());
            headers.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("ocelli-bench/", env!("CARGO_PKG_VERSION"))),
            );
            let content_type = HeaderValue::try_from(body.content_type);
            headers.insert(
                CONTENT_TYPE,
                content_type.expect("media types and boundaries are ASCII"),
            );
            Message {
                headers,
                body: body.bytes,
            }
        };
        let messages = config.photos.iter().map(message).collect();
        Ok(Self {
            addresses,
            tls,
            path: Uri::from(path_of(&config.url)),
            messages,
        })
    }

    /// The request that the ticket of this index sends. Photos take turns.
    pub(crate) fn request(&self, index: u64) -> Request<Full<Bytes>> {
        let turn = index % self.messages.len() as u64;
        let message = &self.messages[turn as usize];
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = message.headers.clone();
        request
    }
}

/// The host, of which an IPv6 address has no brackets.
fn host_of(url: &Uri) -> &str {
    let host = url.host().unwrap_or_default();
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn path_of(url: &Uri) -> PathAndQuery {
    match url.path_and_query() {
        Some(path) if path.as_str() != "/" => path.clone(),
        _ => PathAndQuery::from_static(DEFAULT_PATH),
    }
}

/// The address with scheme and path, as the report shows it.
pub(crate) fn full_url(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let scheme = if is_https(url) { "https" } else { "http" };
    format!("{scheme}://{authority}{}", path_of(url))
}

async fn resolve(url: &Uri) -> io::Result<Vec<SocketAddr>> {
    let port = url.port_u16().unwrap_or(if is_https(url) { 443 } else { 80 });
    let addresses = tokio::net::lookup_host((host_of(url), port)).await?;
    let addresses: Vec<_> = addresses.collect();
    if addresses.is_empty() {
        return Err(io::Error::other("the host has no address"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &'static str) -> String {
        path_of(&Uri::from_static(url)).to_string()
    }

    #[test]
    fn an_address_without_a_path_means_predict() {
        assert_eq!(path("http://127.0.0.1:5000"), "/predict");
        assert_eq!(path("http://127.0.0.1:5000/"), "/predict");
        assert_eq!(path("127.0.0.1:5000"), "/predict");
        assert_eq!(
            path("http://h/v1/models/m/predict?top_k=1"),
            "/v1/models/m/predict?top_k=1"
        );
        assert_eq!(path("http://h/?top_k=1"), "/?top_k=1");
        assert_eq!(
            full_url(&Uri::from_static("localhost:5000")),
            "http://localhost:5000/predict"
        );
        assert_eq!(full_url(&Uri::from_static("https://h")), "https://h/predict");
    }

    #[test]
    fn numeric_hosts_resolve_without_a_network() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (url, address) in [
            ("http://127.0.0.1:7", "127.0.0.1:7"),
            ("http://[::1]", "[::1]:80"),
            ("https://[::1]", "[::1]:443"),
            ("https://127.0.0.1:7", "127.0.0.1:7"),
        ] {
            let addresses = runtime.block_on(resolve(&Uri::from_static(url))).unwrap();
            assert_eq!(addresses, [address.parse().unwrap()]);
        }
    }
}
