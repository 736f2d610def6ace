//! Which web pages of other origins may read responses: the CORS protocol of the Fetch standard.
//!
//! A browser lets a page read the response of another origin only if the response allows it, and sends a preflight request
//! before a request that an HTML form could not send. This protects the users of browsers and not the server: requests of
//! other pages are answered, too, but without these headers.

use std::str::FromStr;
use std::sync::Arc;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use url::Url;

use crate::error::Error;

/// The response headers that a page may read, beside those that the standard always allows.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, server-timing, retry-after, location");

/// Seconds for which a browser caches a preflight response. Browsers allow two hours at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigin {
    Any,
    /// As browsers write it.
    Exact(HeaderValue),
}

/// The origins whose pages may read responses; none by default. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cors(Arc<[CorsOrigin]>);

impl FromStr for CorsOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str =
            "write * or an origin as browsers send it, such as https://app.example or http://localhost:3000";
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some((scheme @ ("http" | "https"), host)) = text.split_once("://") else {
            return Err(format!("it does not begin with http:// or https://; {EXAMPLE}"));
        };
        if host.contains('*') {
            return Err(format!(
                "a part of an origin cannot be *; list each origin; {EXAMPLE}"
            ));
        }
        let url = Url::parse(text).map_err(|error| format!("{error}; {EXAMPLE}"))?;
        // Browsers send host names in lower case and ASCII, and no port that is the scheme's own.
        let origin = url.origin().ascii_serialization();
        if origin != text {
            return Err(format!(
                "an origin is a scheme, a host and a port alone; write {origin}"
            ));
        }
        HeaderValue::try_from(origin)
            .map(Self::Exact)
            .map_err(|_| format!("{scheme}:// is followed by characters that no host has; {EXAMPLE}"))
    }
}

impl Cors {
    #[must_use]
    pub fn new(origins: &[CorsOrigin]) -> Self {
        Self(origins.into())
    }

    /// The origin of a request, if origins are listed at all.
    pub(super) fn origin_of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(ORIGIN).filter(|_| !self.0.is_empty()).cloned()
    }

    /// The response to a preflight request, with the methods of all routes; `None` for all other requests.
    pub(super) fn preflight(&self, request: &Parts, methods: &HeaderValue) -> Option<Response> {
        let headers = &request.headers;
        let origin = self.origin_of(headers)?;
        if request.method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        if self.allowed(Some(&origin)).is_none() {
            let shown: String = origin.to_str().unwrap_or_default().chars().take(100).collect();
            let refusal = format!("the origin '{shown}' is not in --cors-origin");
            return Some(Error::Forbidden(refusal).into_response());
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let allow = response.headers_mut();
        allow.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        allow.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        // Unknown headers, such as those of tracing libraries, do no harm.
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            allow.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        Some(response)
    }

    /// Lets the page at `origin` read a response with these headers.
    pub(super) fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        if !self.allows_all() {
            // A cache must not use the response for one origin, or for none, for another.
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(allowed) = self.allowed(origin) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    fn allows_all(&self) -> bool {
        self.0.contains(&CorsOrigin::Any)
    }

    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        if self.allows_all() {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = origin?;
        let listed = |own: &&CorsOrigin| matches!(own, CorsOrigin::Exact(own) if own == origin);
        self.0.iter().find(listed).map(|_| origin.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://app.example";

    fn cors(origins: &[&str]) -> Cors {
        let parse = |text: &&str| text.parse().expect("an origin");
        Cors::new(&origins.iter().map(parse).collect::<Vec<CorsOrigin>>())
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = axum::http::Request::builder().method(method).uri("/predict");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    /// What is added to the response of a request that comes from `origin`.
    fn added(cors: &Cors, origin: Option<&'static str>) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        cors.allow(origin.map(HeaderValue::from_static).as_ref(), &mut headers);
        let text = |value: &HeaderValue| value.to_str().expect("ASCII").to_owned();
        headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for text in [
            "https://app.example",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
        ] {
            let exact = CorsOrigin::Exact(HeaderValue::from_static(text));
            assert_eq!(text.parse(), Ok(exact));
        }
        assert_eq!("*".parse(), Ok(CorsOrigin::Any));
        for (text, says) in [
            ("https://app.example/", "write https://app.example"),
            ("https://app.example/shop?a=b", "write https://app.example"),
            ("https://App.Example", "write https://app.example"),
            ("https://app.example:443", "write https://app.example"),
            ("https://me:secret@app.example", "write https://app.example"),
            (
                "https://b\u{fc}cher.example",
                "write https://xn--bcher-kva.example",
            ),
            ("app.example", "such as https://app.example"),
            ("localhost:3000", "such as https://app.example"),
            ("//app.example", "such as https://app.example"),
            ("HTTPS://app.example", "such as https://app.example"),
            ("htps://app.example", "such as https://app.example"),
            ("ftp://app.example", "such as https://app.example"),
            ("https:/app.example", "such as https://app.example"),
            ("https://", "such as https://app.example"),
            ("https://app.example:port", "such as https://app.example"),
            ("https://*.app.example", "list each origin"),
            ("https://app.example:*", "list each origin"),
            ("null", "such as https://app.example"),
            ("", "such as https://app.example"),
        ] {
            let error = text.parse::<CorsOrigin>().expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn pages_that_are_listed_may_read_and_others_may_not() {
        let cors = cors(&["http://localhost:3000", PAGE]);
        let (vary, origin) = (pair("vary", "origin"), pair("access-control-allow-origin", PAGE));
        let exposed = pair(
            "access-control-expose-headers",
            "x-request-id, server-timing, retry-after, location",
        );
        assert_eq!(added(&cors, Some(PAGE)), [vary.clone(), origin, exposed.clone()]);
        for foreign in [
            "https://app.example.evil.example",
            "https://app.example:8443",
            "http://app.example",
            "https://APP.example",
            "null",
            "*",
            "",
        ] {
            assert_eq!(
                added(&cors, Some(foreign)),
                std::slice::from_ref(&vary),
                "{foreign}"
            );
        }
        assert_eq!(added(&cors, None), [vary]);
        let any = [pair("access-control-allow-origin", "*"), exposed];
        for origin in [None, Some(PAGE), Some("null")] {
            assert_eq!(
                added(&self::cors(&["*"]), origin),
                any,
                "the same for all, so it does not vary"
            );
        }
        assert!(added(&Cors::default(), Some(PAGE)).is_empty());
    }

    #[test]
    fn only_a_preflight_request_is_answered_as_one() {
        let origin = ("origin", PAGE);
        let method = ("access-control-request-method", "POST");
        let asked = ("access-control-request-headers", "content-type,x-timeout-ms");
        let methods = HeaderValue::from_static("GET, HEAD");
        let listed = cors(&[PAGE]);
        let response = listed
            .preflight(&request("OPTIONS", &[origin, method, asked]), &methods)
            .expect("one");
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()["access-control-allow-methods"], methods);
        assert_eq!(response.headers()["access-control-allow-headers"], asked.1);
        assert_eq!(response.headers()["access-control-max-age"], "7200");
        for other in [
            request("POST", &[origin, method]),
            request("OPTIONS", &[origin]),
            request("OPTIONS", &[method]),
        ] {
            assert!(listed.preflight(&other, &methods).is_none(), "{other:?}");
        }
        let preflight = request("OPTIONS", &[origin, method]);
        assert!(Cors::default().preflight(&preflight, &methods).is_none());
        assert!(cors(&["*"]).preflight(&preflight, &methods).is_some());
        let refused = cors(&["http://app.example"])
            .preflight(&preflight, &methods)
            .expect("one");
        let error = refused.extensions().get::<Error>().expect("an error");
        assert_eq!(error.status().http, 403);
        assert!(error.to_string().contains(PAGE), "{error}");
    }
}
