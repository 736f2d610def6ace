//! What every answer has in common: the request's id, the one error body, the counts.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::BodySlot;
use super::origin::no_webhook;
use super::stream::Clock;
use super::{Probe, route_label};
use crate::error::Error;
use crate::lifecycle::Stage;
use crate::metrics::Metrics;

/// Names a request in answers and logs; sent by the client, or made.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a client may call its request.
const REQUEST_ID_LENGTH: usize = 128;

/// When the headers of a request had arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival(pub(super) Instant);

/// The one error body of the JSON routes.
#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    success: bool,
    error: String,
    code: &'static str,
    request_id: &'a str,
}

/// A handler's error on its way to [`finish`], which knows the request's id.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// Surrounds every handler: gives the request an id and its body a place, turns an error into its answer, and
/// counts.
pub(super) async fn finish(State(probe): State<Probe>, request: Request, next: Next) -> Response {
    let arrival = Arrival(Instant::now());
    let (mut parts, body) = request.into_parts();
    let id = request_id(&parts.headers);
    let route = route_label(parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str));
    let version = parts.version;
    let clock = parts.extensions.get::<Arc<Clock>>().cloned();
    let expects_continue = parts.headers.contains_key(axum::http::header::EXPECT);
    let slot = BodySlot::new(body);
    parts.extensions.insert(slot.clone());
    parts.extensions.insert(arrival);
    let unanswered = probe.lifecycle.request();
    let mut response = match check_host(version, &parts.headers).and_then(|()| no_webhook(&parts.headers)) {
        Ok(()) => next.run(Request::from_parts(parts, Body::empty())).await,
        Err(error) => error.into_response(),
    };
    drop(unanswered);
    let code = match response.extensions_mut().remove::<Error>() {
        Some(error) => {
            let code = error.status().code;
            if code == "internal" {
                tracing::error!(
                    request_id = id.to_str().unwrap_or_default(),
                    route,
                    "a request failed"
                );
            }
            response = error_response(&error, &id);
            code
        }
        None => "ok",
    };
    let read = slot.discard_rest(expects_continue, clock.as_deref()).await;
    let ending = !read || probe.lifecycle.stage() >= Stage::Draining;
    if ending && version <= Version::HTTP_11 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers_mut().insert(REQUEST_ID, id);
    probe
        .metrics
        .count_request(route, response.status().as_u16(), code);
    response
}

/// HTTP/1.1 names the host exactly once (RFC 9112, section 3.2); a proxy in front may read a second one differently.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Error> {
    let hosts = headers.get_all(HOST).iter().count();
    if hosts == 1 || (hosts == 0 && version != Version::HTTP_11) {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!(
        "the request has {hosts} Host headers; send exactly one, as HTTP/1.1 demands"
    )))
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sent = headers.get(REQUEST_ID).filter(|id| {
        !id.is_empty() && id.len() <= REQUEST_ID_LENGTH && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    sent.cloned().unwrap_or_else(|| {
        let mut text = String::with_capacity(32);
        // Writing to a String cannot fail; hexadecimal digits are a valid header value.
        let _ = write!(text, "{:032x}", fastrand::u128(..));
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

fn error_response(error: &Error, id: &HeaderValue) -> Response {
    let status = error.status();
    let body = error_body(error, id.to_str().unwrap_or_default());
    let mut response = json(body);
    *response.status_mut() = StatusCode::from_u16(status.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = error.retry_after() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Error::UnsupportedEncoding(_) = error {
        response
            .headers_mut()
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    response
}

fn error_body(error: &Error, request_id: &str) -> Vec<u8> {
    let body = ErrorBody {
        success: false,
        error: error.to_string(),
        code: error.status().code,
        request_id,
    };
    // Strings and a bool always serialise.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// A 200 with a JSON body.
pub(super) fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A 200 with a JSON body.
///
/// # Errors
/// [`Error::Internal`] for what cannot be written as JSON.
pub(super) fn to_json(body: &impl Serialize) -> Result<Response, Error> {
    serde_json::to_vec(body).map(json).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Error::Internal
    })
}

/// An error response that is written past the HTTP library, which says nothing to a client whose head is late or is no
/// HTTP.
pub(super) fn raw_answer(error: &Error) -> Arc<[u8]> {
    let body = error_body(error, "none");
    let status = StatusCode::from_u16(error.status().http).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer.into()
}

/// The answer of a handler that panicked.
pub(super) fn panicked(metrics: &Metrics) -> Response {
    let id = request_id(&HeaderMap::new());
    tracing::error!(request_id = id.to_str().unwrap_or_default(), "a handler panicked");
    metrics.count_request("other", 500, Error::Internal.status().code);
    let mut response = error_response(&Error::Internal, &id);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}
