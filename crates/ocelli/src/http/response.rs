//! The middleware of every route: request ids, error responses, metrics.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde::Serialize;

use super::body::BodySlot;
use super::conn::stream::Clock;
use super::origin::no_webhook;
use super::request::Context;
use super::routes::RouteTable;
use super::{Cors, Probe};
use crate::error::{Cause, Error};
use crate::process::lifecycle::Stage;

/// Names a request in responses and logs; sent by the client, or generated.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a client may send.
const REQUEST_ID_LENGTH: usize = 128;

/// What [`finish`] needs for every request.
pub(super) struct Surroundings {
    probe: Probe,
    cors: Cors,
    routes: RouteTable,
    methods: HeaderValue,
}

impl Surroundings {
    pub(super) fn new(probe: Probe, cors: Cors, routes: RouteTable) -> Self {
        Self {
            methods: routes.methods(),
            probe,
            cors,
            routes,
        }
    }
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    success: bool,
    error: String,
    code: &'static str,
    request_id: &'a str,
}

/// What a client gets where an error does not pass [`finish`], which is a bug.
const UNFINISHED: &str = r#"{"success":false,"error":"the server failed to answer this request","code":"internal","request_id":"none"}"#;

/// A handler's error on its way to [`finish`], which knows the request's id and writes the response anew.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = json(UNFINISHED);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response.extensions_mut().insert(self);
        response
    }
}

/// Logs an error that did not pass [`finish`].
pub(super) fn log_unfinished<B>(response: &axum::http::Response<B>) {
    if let Some(error) = response.extensions().get::<Error>() {
        let error = error.detail();
        tracing::error!(
            error,
            "an error was answered without its text: its route lacks the middleware"
        );
    }
}

/// Surrounds every handler: gives the request an id, writes errors as the route's protocol does, adds the CORS headers, and
/// counts.
pub(super) async fn finish(
    State(surroundings): State<Arc<Surroundings>>,
    request: Request,
    next: Next,
) -> Response {
    let Surroundings {
        probe, cors, routes, ..
    } = &*surroundings;
    let matched = request.extensions().get::<MatchedPath>();
    let (route, render) = routes.find(matched.map(MatchedPath::as_str), &request);
    let (mut parts, body) = request.into_parts();
    let version = parts.version;
    let clock = parts.extensions.get::<Arc<Clock>>().cloned();
    let expects_continue = parts.headers.contains_key(EXPECT);
    let origin = cors.origin_of(&parts.headers);
    let id = request_id(&parts.headers);
    let context = Arc::new(Context::new(id, route, BodySlot::new(body), &parts.extensions));
    parts.extensions.insert(Arc::clone(&context));
    let unanswered = probe.lifecycle.request();
    let mut response = match check_host(version, &parts.headers).and_then(|()| no_webhook(&parts.headers)) {
        Ok(()) => match cors.preflight(&parts, &surroundings.methods) {
            Some(response) => response,
            None => handle(next, Request::from_parts(parts, Body::empty())).await,
        },
        Err(error) => error.into_response(),
    };
    drop(unanswered);
    let code = match response.extensions_mut().remove::<Error>() {
        Some(error) => {
            context.log(&error, None);
            response = render(&error, &context.id);
            error.status().code
        }
        None => "ok",
    };
    let read = context
        .body
        .discard_rest(expects_continue, clock.as_deref())
        .await;
    let ending = !read || probe.lifecycle.stage() >= Stage::Draining;
    if ending && version <= Version::HTTP_11 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    context.note(|facts| facts.outcome = Some((status, code)));
    response.headers_mut().insert(REQUEST_ID, context.id.clone());
    cors.allow(origin.as_ref(), response.headers_mut());
    probe.metrics.count_request(route, status, code);
    response
}

/// Runs the handler. The client of one that panics gets a response, too.
async fn handle(next: Next, request: Request) -> Response {
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    handled.unwrap_or_else(|panic| Error::Internal(Cause::of_panic("the handler", &*panic)).into_response())
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

/// An error as the JSON routes write it.
pub(super) fn native_error(error: &Error, id: &HeaderValue) -> Response {
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
pub(super) fn to_json(body: &impl Serialize) -> Result<Response, Error> {
    serde_json::to_vec(body).map(json).map_err(Error::internal)
}

/// An error response that bypasses the HTTP library, which sends none to a client whose head is late or is not HTTP.
pub(super) fn raw_response(error: &Error) -> Arc<[u8]> {
    let body = error_body(error, "none");
    let status = StatusCode::from_u16(error.status().http).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    response.extend(body);
    response.into()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;

    use super::*;
    use crate::http::routes::Routes;
    use crate::http::{Health, finished};
    use crate::inference::preprocess::survive;
    use crate::metrics::Metrics;
    use crate::process::lifecycle::Lifecycle;
    use crate::process::telemetry;

    struct Well;

    impl Health for Well {
        fn ready(&self) -> Result<(), Error> {
            Ok(())
        }

        fn report(&self, _metrics: &Metrics) {}
    }

    fn probe() -> Probe {
        Probe {
            lifecycle: Lifecycle::default(),
            metrics: Arc::default(),
            health: Arc::new(Well),
        }
    }

    async fn call(router: &mut Router, method: &str, path: &str) -> (Response<()>, String) {
        let request = axum::http::Request::builder().method(method).uri(path);
        let request = request.header(REQUEST_ID, "mine").header(HOST, "here");
        let response = router
            .call(request.body(Body::empty()).expect("a request"))
            .await
            .expect("a response");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (
            Response::from_parts(head, ()),
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    #[tokio::test]
    async fn each_cause_is_logged_once_with_the_id_of_the_request_and_is_not_shown() {
        let (log, _guard) = telemetry::capture();
        let broker = || Error::BrokerFailed(Cause::new("connection reset"));
        let decoder = || survive::<()>(|| panic!("index out of bounds")).expect_err("a panic");
        let routes = Routes::new("", native_error)
            .get("/internal", async || Error::internal("disk full"))
            .get("/broker", async move || broker())
            .get("/decoder", async move || decoder())
            .get("/panic", async || -> &'static str { panic!("a bug") })
            .get("/known", async || Error::UnknownJob);
        let mut router = finished(routes, probe(), Cors::default(), "");
        for (path, status, cause) in [
            ("/internal", 500, "disk full"),
            ("/broker", 503, "connection reset"),
            ("/decoder", 400, "the decoder panicked: index out of bounds"),
            ("/panic", 500, "the handler panicked: a bug"),
        ] {
            let (response, body) = call(&mut router, "GET", path).await;
            assert_eq!(response.status(), status);
            assert!(status == 503 || !body.contains(cause), "{body}");
            let lines = log.take();
            assert_eq!(lines.matches("request_id=mine ").count(), 1, "{lines}");
            let line = lines.lines().find(|line| line.contains("mine")).expect("a line");
            assert!(line.contains(cause) && line.contains(path), "{line}");
        }
        call(&mut router, "GET", "/known").await;
        assert_eq!(log.take(), "", "an error without a cause is the client's to read");
    }

    #[tokio::test]
    async fn an_error_that_bypasses_the_middleware_is_a_500_with_a_body_and_a_line() {
        let (log, _guard) = telemetry::capture();
        let mut router = Router::new().route("/", axum::routing::get(async || Error::UnknownJob));
        let request = axum::http::Request::get("/")
            .body(Body::empty())
            .expect("a request");
        let response = router.call(request).await.expect("a response");
        log_unfinished(&response);
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, UNFINISHED);
        assert!(log.take().contains("unknown job"));
    }

    #[tokio::test]
    async fn a_handler_that_panics_gets_a_response_like_any_that_fails() {
        let probe = probe();
        let routes =
            Routes::new("", native_error).get("/livez", async || -> &'static str { panic!("a bug") });
        let cors = Cors::new(&["*".parse().expect("an origin")]);
        let mut router = finished(routes, probe.clone(), cors, "");
        let (response, body) = call(&mut router, "GET", "/livez").await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[REQUEST_ID], "mine");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert!(body.contains("\"code\":\"internal\",\"request_id\":\"mine\""));
        let counted = "ocelli_requests_total{route=\"/livez\",status=\"500\",code=\"internal\"} 1";
        assert!(probe.metrics.encode().expect("text").contains(counted));
    }

    /// Another protocol: its status map and its body are its own.
    fn foreign_error(error: &Error, id: &HeaderValue) -> Response {
        let body = format!("{} of {}", error.status().code, id.to_str().unwrap_or_default());
        let mut response = Response::new(body.into());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    }

    #[tokio::test]
    async fn each_protocol_writes_every_error_below_its_prefix_in_its_own_way() {
        let full = Error::QueueFull {
            retry_after: std::time::Duration::ZERO,
        };
        let foreign = Routes::new("/v9", foreign_error)
            .get("/v9/large", async || Error::TooLarge("too large".to_owned()))
            .get("/v9/full", async move || full.clone())
            .get("/v9/kind", async || {
                Error::UnsupportedMediaType("text/html".to_owned())
            })
            .get("/v9/panic", async || -> &'static str { panic!("a bug") })
            .post("/shared", async || Error::Unloaded);
        let native = Routes::new("", native_error).get("/shared", async || Error::Unloaded);
        let mut router = finished(native.merge(foreign), probe(), Cors::default(), "");
        for (method, path, code) in [
            ("GET", "/v9", "unknown_route"),
            ("GET", "/v9/none", "unknown_route"),
            ("POST", "/v9/large", "method_not_allowed"),
            ("GET", "/v9/large", "too_large"),
            ("GET", "/v9/kind", "unsupported_media_type"),
            ("GET", "/v9/full", "queue_full"),
            ("GET", "/v9/panic", "internal"),
            ("POST", "/shared", "not_ready"),
        ] {
            let (response, body) = call(&mut router, method, path).await;
            assert_eq!(
                (response.status().as_u16(), body),
                (418, format!("{code} of mine"))
            );
            assert_eq!(response.headers()[REQUEST_ID], "mine");
        }
        for (method, path, status) in [
            ("GET", "/v99", 404),
            ("GET", "/", 404),
            ("GET", "/shared", 503),
            ("PUT", "/shared", 405),
        ] {
            let (response, body) = call(&mut router, method, path).await;
            assert_eq!(response.status(), status, "{path}");
            assert!(body.contains("\"success\":false"), "{body}");
        }
    }
}
