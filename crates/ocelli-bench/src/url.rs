//! Which addresses this client can speak to.

use http::uri::Scheme;
use http::{HeaderValue, Uri};

use crate::error::BenchError;

pub(crate) fn is_https(url: &Uri) -> bool {
    url.scheme() == Some(&Scheme::HTTPS)
}

/// Checks that this client can speak to `url`, with TLS or without. Returns the `Host` header.
pub(crate) fn check_url(url: &Uri, has_tls: bool) -> Result<HeaderValue, BenchError> {
    let wrong = |problem: &str| BenchError::Url {
        url: url.to_string(),
        problem: problem.to_owned(),
    };
    if is_https(url) && !has_tls {
        return Err(wrong("no TLS configuration is given"));
    }
    if url.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP) && !is_https(url) {
        return Err(wrong("give an address that begins with http:// or https://"));
    }
    let Some(authority) = url.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err(wrong(
            "it names no host; write it like http://127.0.0.1:5000/predict",
        ));
    };
    if authority.as_str().contains('@') {
        return Err(wrong("credentials are not sent; remove the part before the @"));
    }
    HeaderValue::try_from(authority.as_str()).map_err(|_| wrong("its host cannot be sent in a header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_spoken_to_are_refused() {
        for (url, hint) in [
            ("ftp://example.com/", "begins with http:// or https://"),
            ("https://example.com/", "no TLS configuration"),
            ("/predict", "names no host"),
            ("http://user:secret@host/", "before the @"),
        ] {
            let error = check_url(&Uri::from_static(url), false).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        assert_eq!(
            check_url(&Uri::from_static("http://h:5000/x"), false).unwrap(),
            "h:5000"
        );
        assert_eq!(
            check_url(&Uri::from_static("localhost:5000"), false).unwrap(),
            "localhost:5000"
        );
    }
}
