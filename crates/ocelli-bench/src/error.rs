//! What stops a benchmark before it has measured anything. A request that fails is not an error but a
//! [`Failure`](crate::Failure) in the report.

use std::io;

use tokio_rustls::rustls;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The address is not one this client can speak to.
    #[error("cannot send requests to {url}: {problem}")]
    Url {
        url: String,
        /// What is wrong with it and what to write instead.
        problem: String,
    },

    #[error("{setting} is {value}: {allowed}")]
    Setting {
        setting: &'static str,
        value: String,
        allowed: String,
    },

    #[error("there is no photo to send: give at least one")]
    NoPhotos,

    #[error("cannot resolve the host of {url}: {source}; check its spelling or give an IP address")]
    Resolve { url: String, source: io::Error },

    /// The first connection failed, so every request would.
    #[error("cannot connect to {url}: {source}; start the server first, or check host and port")]
    Unreachable { url: String, source: io::Error },

    /// The server, or something before it, does not speak TLS as it should.
    #[error(
        "cannot make a TLS connection to {url}: {source}; name the authority that signed the server's certificate with \
         --ca FILE, or use http:// for a server without TLS"
    )]
    Tls { url: String, source: io::Error },

    /// Every request of the warm-up failed, so the others would.
    #[error("every warm-up request to {url} failed ({requests} in all), the last one with {last}")]
    WarmUp {
        url: String,
        requests: u64,
        /// The status and the message of the last answer, or what happened instead.
        last: String,
    },

    /// The system refused the timer that paces an open loop.
    #[error("cannot make a timer for the open loop: {0}; raise the limit of open files (ulimit -n)")]
    Timer(#[source] io::Error),
}

impl BenchError {
    /// Tells a server that cannot be trusted from one that cannot be reached.
    pub(crate) fn unreachable(url: String, source: io::Error) -> Self {
        let is_tls = <dyn std::error::Error + Send + Sync>::is::<rustls::Error>;
        if source.get_ref().is_some_and(is_tls) {
            Self::Tls { url, source }
        } else {
            Self::Unreachable { url, source }
        }
    }
}
