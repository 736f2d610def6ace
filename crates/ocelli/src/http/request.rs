//! A request as handlers see it, and its headers.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_ENCODING;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use super::access_log::{AccessLine, Facts};
use super::body::BodySlot;
use crate::error::Error;
use crate::inference::Deadline;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::queue::job::Scored;

/// The deadline, in milliseconds from the end of the headers.
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout-ms");

/// `high`, `normal` or `low`.
const PRIORITY: HeaderName = HeaderName::from_static("x-priority");

/// A request as handlers see it. Its body is in the context.
pub(super) struct HttpRequest {
    pub(super) head: Parts,
    pub(super) context: Arc<Context>,
}

/// What the middleware and the handler of one request share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) arrival: Instant,
    pub(super) id: HeaderValue,
    /// The route, as metrics name it.
    pub(super) route: &'static str,
    pub(super) body: BodySlot,
    line: Option<Arc<AccessLine>>,
    model: OnceLock<Arc<ServedModel>>,
}

impl<S: Send + Sync> FromRequest<S> for HttpRequest {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        let (head, _) = request.into_parts();
        let context = head
            .extensions
            .get()
            .cloned()
            .ok_or_else(|| Error::internal("the request did not pass the middleware"))?;
        Ok(Self { head, context })
    }
}

impl HttpRequest {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }
}

impl Context {
    pub(super) fn new(id: HeaderValue, route: &'static str, body: BodySlot, extensions: &Extensions) -> Self {
        let context = Self {
            arrival: Instant::now(),
            id,
            route,
            body,
            line: extensions.get().cloned(),
            model: OnceLock::new(),
        };
        context.note(|facts| facts.request_id = Some(context.id.clone()));
        context
    }

    /// Adds to the request's line in the access log, if there is one.
    pub(super) fn note(&self, add: impl FnOnce(&mut Facts)) {
        if let Some(line) = &self.line {
            line.note(add);
        }
    }

    /// Logs what only an operator may see of an error, where it has such a cause. Called once for each error that a response
    /// shows.
    pub(super) fn log(&self, error: &Error, image: Option<usize>) {
        if let Some(cause) = error.cause() {
            let model = self.model.get().map(|model| &model.id);
            tracing::error!(
                request_id = %self.id.to_str().unwrap_or_default(),
                route = self.route,
                model = model.map(|id| id.name.as_str()),
                version = model.map(|id| id.version.as_str()),
                image,
                code = error.status().code,
                %cause,
                "request failed"
            );
        }
    }

    /// Logs the errors among the results of the images of a response.
    pub(super) fn log_each<'a>(&self, results: impl IntoIterator<Item = &'a Result<Scored, Error>>) {
        for (image, result) in results.into_iter().enumerate() {
            if let Err(error) = result {
                self.log(error, Some(image));
            }
        }
    }

    /// Names the model of the request for the logs.
    pub(super) fn note_model(&self, model: &Arc<ServedModel>) {
        let model = self.model.get_or_init(|| Arc::clone(model));
        self.note(|facts| facts.model = Some(Arc::clone(model)));
    }
}

/// The deadline of a request: the usual time, or what `X-Timeout-Ms` says up to the longest, which `option` sets.
pub(super) fn deadline(
    request: &HttpRequest,
    (usual, longest, option): (Duration, Duration, &str),
) -> Result<Deadline, Error> {
    let arrival = request.context.arrival;
    let Some(value) = request.headers().get(TIMEOUT) else {
        return Ok(Deadline::new(arrival, usual));
    };
    let asked = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_millis);
    asked
        .filter(|asked| !asked.is_zero() && *asked <= longest)
        .map(|asked| Deadline::new(arrival, asked))
        .ok_or_else(|| {
            Error::InvalidRequest(format!(
                "X-Timeout-Ms must be a whole number of milliseconds from 1 to {}; see {option}",
                longest.as_millis()
            ))
        })
}

/// Refuses compressed bodies: images do not get smaller, and a small body could unpack to a huge one.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Error> {
    for value in headers.get_all(CONTENT_ENCODING) {
        let shown = String::from_utf8_lossy(value.as_bytes());
        let plain = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
        if !shown.split(',').map(str::trim).all(plain) {
            return Err(Error::UnsupportedEncoding(shown.chars().take(40).collect()));
        }
    }
    Ok(())
}

pub(super) fn priority(headers: &HeaderMap) -> Result<Priority, Error> {
    let Some(value) = headers.get(PRIORITY) else {
        return Ok(Priority::default());
    };
    value
        .to_str()
        .ok()
        .and_then(|text| Priority::from_name(text.trim()))
        .ok_or_else(|| Error::InvalidRequest("X-Priority must be high, normal or low".to_owned()))
}
