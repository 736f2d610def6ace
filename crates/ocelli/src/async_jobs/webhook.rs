//! Webhooks: which URLs may be called when a job has ended, how calls are signed, and when they are retried.
//!
//! A URL that a client chooses is a way into the operator's network. So only listed hosts are called, at addresses that are
//! checked after resolution, and redirects are not followed. The stores call webhooks with [`super::JobView`].

pub(crate) mod address;
pub(crate) mod dispatch;
pub(crate) mod host;
pub(crate) mod own;
pub(crate) mod sender;

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use ring::hmac;

use crate::error::Error;
use crate::metrics::Metrics;

use address::is_public;
pub use dispatch::CallLimits;
pub(super) use dispatch::{Receiver, Turn};
pub use host::WebhookHost;
pub use own::OwnListeners;
use sender::Attempt;
pub use sender::{SIGNATURE, Sender};

const ATTEMPTS: u32 = 6;

/// Before the second call; each later pause is three times the one before. Six calls take two minutes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

const URL_LENGTH: usize = 2048;

#[derive(Clone, Debug)]
pub struct WebhookConfig {
    pub hosts: Vec<WebhookHost>,
    /// Whether addresses outside of the public internet may be called.
    pub allow_private: bool,
    pub secret: Secret,
    pub calls: CallLimits,
}

/// A key that is not printed.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// A URL that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl {
    uri: Uri,
    host: String,
    port: u16,
    encrypted: bool,
}

impl Secret {
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The value of `X-Ocelli-Signature`: the time in Unix seconds, and the HMAC-SHA256 of that time, a full stop and the
    /// body, in hexadecimal. The time is signed, so that a replayed call can be detected.
    #[must_use]
    pub fn signature(&self, unix_seconds: u64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut signing = hmac::Context::with_key(&key);
        signing.update(format!("{unix_seconds}.").as_bytes());
        signing.update(body);
        let mut text = format!("t={unix_seconds},v1=");
        for byte in signing.sign().as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl WebhookConfig {
    /// Parses a URL and checks that it may be called.
    pub fn url(&self, text: &str) -> Result<WebhookUrl, Error> {
        let refuse = |why: String| Err(Error::InvalidRequest(format!("X-Webhook-Url: {why}")));
        let Some(url) = WebhookUrl::parse(text) else {
            return refuse(format!(
                "it must be an http or https URL of at most {URL_LENGTH} characters, with a host and without a login"
            ));
        };
        if !self.hosts.iter().any(|host| host.allows(&url.host, url.port)) {
            return refuse(format!(
                "this server does not call {} at port {}; its operator can add the host to --webhook-hosts",
                url.host, url.port
            ));
        }
        match url.host.parse() {
            Ok(address) if !self.allows_address(address) => {
                refuse(format!("{address} is not an address of the public internet"))
            }
            _ => Ok(url),
        }
    }

    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }
}

impl WebhookUrl {
    pub(super) fn receiver(&self) -> Receiver {
        Receiver(format!("{}:{}", self.host, self.port).into())
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() > URL_LENGTH {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let encrypted = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        // A host that is an address of IPv6 is written in brackets.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return None;
        }
        let port = match authority.port_u16() {
            Some(0) => return None,
            Some(port) => port,
            // The text after the host is not a port.
            None if authority.as_str() != authority.host() => return None,
            None if encrypted => 443,
            None => 80,
        };
        Some(Self {
            host: host.to_ascii_lowercase(),
            port,
            encrypted,
            uri,
        })
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Counts and logs the result of a call, the `tries`th for its job. Returns the pause before the next; `None` if there is none.
pub(super) fn next(attempt: &Attempt, tries: u32, url: &WebhookUrl, metrics: &Metrics) -> Option<Duration> {
    let (pause, error) = match attempt {
        Attempt::Delivered => {
            metrics.count_webhook("delivered");
            return None;
        }
        Attempt::Later(error) => (pause(tries, fastrand::f64()), error),
        Attempt::Never(error) => (None, error),
    };
    // The path may hold a secret of the client.
    let host = &url.host;
    match pause {
        Some(pause) => {
            metrics.count_webhook("retried");
            tracing::debug!(host, tries, %error, ?pause, "webhook failed, will retry");
        }
        None => {
            metrics.count_webhook("failed");
            tracing::warn!(host, tries, %error, "webhook failed");
        }
    }
    pause
}

pub(super) fn expired(url: &WebhookUrl, metrics: &Metrics) {
    metrics.count_webhook("failed");
    tracing::warn!(host = url.host, "webhook failed: its job has expired");
}

/// The pause after the `tries`th failed call; `None` to give up. `random` is from 0 to 1, and spreads calls that failed
/// together by a fifth either way.
fn pause(tries: u32, random: f64) -> Option<Duration> {
    (1..ATTEMPTS)
        .contains(&tries)
        .then(|| FIRST_PAUSE * 3_u32.pow(tries - 1))
        .map(|pause| pause.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hosts: &[&str], allow_private: bool) -> WebhookConfig {
        WebhookConfig {
            hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
            allow_private,
            secret: Secret::new(b"secret"),
            calls: CallLimits {
                total: 2,
                per_receiver: 1,
            },
        }
    }

    #[test]
    fn a_signature_is_an_hmac_of_time_and_body() {
        // $ printf '1700000000.{"id":"x"}' | openssl dgst -sha256 -hmac secret
        let signature = Secret::new(b"secret").signature(1_700_000_000, br#"{"id":"x"}"#);
        insta::assert_snapshot!(signature, @"t=1700000000,v1=2f7852138f9dbd8d61c07c2cfb0b8ac96a46a32d78d4527788fb42fcb409a493");
    }

    #[test]
    fn a_secret_is_not_printed() {
        let shown = format!("{:?}", config(&[], false));
        assert!(shown.contains("Secret(..)"), "{shown}");
    }

    #[test]
    fn only_hosts_that_are_listed_are_called() {
        let config = config(&["Example.com", "*.Example.org", "port.example:8443"], false);
        for good in [
            "http://example.com",
            "https://EXAMPLE.com:8443/a?b=c",
            "https://a.example.org/",
            "https://a.b.example.org/",
            "https://port.example:8443/",
        ] {
            assert!(config.url(good).is_ok(), "{good}");
        }
        for bad in [
            "https://port.example/",
            "https://port.example:443/",
            "https://example.org/",
            "https://.example.org/",
            "https://notexample.org/",
            "https://example.com.evil.org/",
            "https://sub.example.com/",
            "https://example.com@evil.org/",
            "https://user:password@example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "//example.com/",
            "/path",
            "example.com",
            "https://",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://example.com:/",
            "https://example.com/ /",
            "",
        ] {
            let error = config.url(bad).expect_err(bad);
            assert_eq!(error.status().code, "invalid_request", "{bad}");
        }
        let long = format!("https://example.com/{}", "x".repeat(URL_LENGTH));
        assert!(config.url(&long).is_err());
    }

    #[test]
    fn a_private_address_is_refused_unless_allowed() {
        let hosts = ["127.0.0.1", "::1", "1.1.1.1"];
        for (url, public) in [
            ("http://127.0.0.1:80/", false),
            ("http://[::1]/", false),
            ("http://1.1.1.1/", true),
        ] {
            assert_eq!(config(&hosts, false).url(url).is_ok(), public, "{url}");
            assert!(config(&hosts, true).url(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn calls_are_repeated_ever_more_slowly_and_not_for_ever() {
        let pauses: Vec<Duration> = (1..).map_while(|tries| pause(tries, 0.5)).collect();
        assert_eq!(pauses, [1, 3, 9, 27, 81].map(Duration::from_secs));
        assert_eq!(pause(1, 0.0), Some(Duration::from_millis(800)));
        assert_eq!(pause(1, 1.0), Some(Duration::from_millis(1200)));
        assert_eq!(pause(0, 0.5), None);
    }
}
