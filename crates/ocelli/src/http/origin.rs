//! Refuses requests of web pages of other sites, and of webhooks, by their headers.
//!
//! A browser sends requests for every page, even to addresses that only its own machine reaches. Without a preflight request a
//! page of another site may send a `GET`, or a `POST` with the content type of a form or of text, and it names its `Origin`. A
//! page whose name resolves to another address (DNS rebinding) still sends its name as `Host`.

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::net::IpAddr;
use std::sync::Arc;

use crate::async_jobs::SIGNATURE;
use crate::error::Error;

/// The allowed host names, beside `localhost` and IP addresses, which DNS rebinding cannot use.
#[derive(Clone, Debug)]
pub struct HostNames(pub Arc<[String]>);

/// Refuses requests of other sites' pages, and those that name another host.
pub(super) async fn only_own(State(names): State<HostNames>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match check(&parts, &names) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

/// Refuses webhooks, of this process or another one: a client that chooses a URL must not send requests in this server's name.
pub(super) fn no_webhook(headers: &HeaderMap) -> Result<(), Error> {
    if headers.contains_key(SIGNATURE) {
        return Err(Error::Forbidden(
            "this is a webhook of Ocelli, which does not accept webhooks; use another host in X-Webhook-Url"
                .to_owned(),
        ));
    }
    Ok(())
}

fn check(request: &Parts, names: &HostNames) -> Result<(), Error> {
    let hosts =
        hosts(request).ok_or_else(|| Error::Forbidden("the request has no valid Host header".to_owned()))?;
    if let Some(foreign) = hosts.iter().find(|host| !names.include(host.host())) {
        return Err(Error::Forbidden(format!(
            "the Host {} is not allowed; use localhost or an IP address, or add the name to --admin-hosts",
            foreign.host()
        )));
    }
    let is_own = |origin: &[u8]| {
        let origin = std::str::from_utf8(origin).unwrap_or_default();
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        hosts.iter().all(|own| own.as_str().eq_ignore_ascii_case(host))
    };
    if let Some(origin) = request.headers.get(ORIGIN)
        && !is_own(origin.as_bytes())
    {
        return Err(Error::Forbidden(
            "web pages of other sites may not use this address".to_owned(),
        ));
    }
    if request.method != Method::GET && !is_json(&request.headers) {
        return Err(Error::NotJson);
    }
    Ok(())
}

/// Every host that the request names, at least one.
fn hosts(request: &Parts) -> Option<Vec<Authority>> {
    let headers = request.headers.get_all(HOST).iter();
    let headers = headers.map(|host| Authority::try_from(host.as_bytes()).ok());
    let target = request.uri.authority().cloned().map(Some);
    let hosts: Option<Vec<Authority>> = target.into_iter().chain(headers).collect();
    hosts.filter(|hosts| !hosts.is_empty())
}

impl HostNames {
    fn include(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = host.strip_suffix('.').unwrap_or(host);
        bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let essence = text(CONTENT_TYPE).and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &str, target: &str, headers: &[(&str, &str)]) -> &'static str {
        let mut request = axum::http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let names = HostNames(Arc::from(["Admin.example".to_owned()]));
        check(&parts, &names).map_or_else(|error| error.status().code, |()| "ok")
    }

    #[test]
    fn only_hosts_that_cannot_be_rebound_are_allowed() {
        for host in [
            "localhost",
            "LocalHost:5002",
            "localhost.:5002",
            "127.0.0.1:5002",
            "10.1.2.3",
            "[::1]:5002",
            "admin.example:1",
        ] {
            assert_eq!(code("GET", "/", &[("host", host)]), "ok", "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:5002",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "x.admin.example",
            "",
            "a b",
        ] {
            assert_eq!(code("GET", "/", &[("host", host)]), "forbidden", "{host}");
        }
        assert_eq!(code("GET", "/", &[]), "forbidden");
        // Every host that is named has to be allowed.
        let both = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(code("GET", "/", &both), "forbidden");
        assert_eq!(code("GET", "http://evil.example/", &both[..1]), "forbidden");
        assert_eq!(code("GET", "http://localhost/", &both[1..]), "forbidden");
        assert_eq!(code("GET", "http://localhost/", &[]), "ok");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let host = ("host", "localhost:5002");
        let json = ("content-type", "application/json");
        for origin in [
            "https://evil.example",
            "http://localhost",
            "http://localhost:8080",
            "http://localhost:5002.evil.example",
            "null",
            "",
        ] {
            let page = [host, json, ("origin", origin)];
            assert_eq!(code("POST", "/", &page), "forbidden", "{origin}");
            assert_eq!(code("GET", "/", &page), "forbidden", "{origin}");
        }
        let own = [host, json, ("origin", "http://localhost:5002")];
        assert_eq!(code("POST", "/", &own), "ok");
    }

    #[test]
    fn what_a_page_may_send_without_preflight_changes_nothing() {
        let host = ("host", "localhost");
        for other in [
            "text/plain",
            "text/plain; application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonx",
            "",
        ] {
            let request = [host, ("content-type", other)];
            assert_eq!(code("POST", "/", &request), "unsupported_media_type", "{other}");
        }
        assert_eq!(code("POST", "/", &[host]), "unsupported_media_type");
        for json in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(code("POST", "/", &[host, ("content-type", json)]), "ok", "{json}");
        }
    }
}
