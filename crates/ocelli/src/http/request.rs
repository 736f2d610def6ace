//! From a request to images that may be computed: what every route asks of its clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::CONTENT_ENCODING;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;

use super::AppState;
use super::access_log::note;
use super::body::{BodySlot, check_declared};
use super::conn::receiving::Arriving;
use super::image_body::{InputForm, Most};
use super::response::Arrival;
use crate::error::Error;
use crate::inference;
use crate::inference::{Deadline, Needed};
use crate::models::admission::{Load, Permit};
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::OutputRequest;

/// How long the client wants to wait, in milliseconds from the end of the headers.
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout-ms");

/// How soon, compared with other requests: `high`, `normal` or `low`.
const PRIORITY: HeaderName = HeaderName::from_static("x-priority");

/// The trace of the request (W3C Trace Context).
const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// A model, and what is wanted of it.
pub(super) type Found = (Arc<ServedModel>, OutputRequest);

/// What a route wants of a request.
pub(super) struct ReadPlan<F> {
    /// Finds the model, and checks what is wanted of it. Called again where the model found is unloaded before the request
    /// has reached it.
    pub(super) find: F,
    /// The most images.
    pub(super) most: Most,
    /// When the answer comes too late.
    pub(super) deadline: Deadline,
    pub(super) door: AdmitWhen,
}

pub(super) enum AdmitWhen {
    /// Whoever can be answered soon.
    Now,
    /// Also who waits until a worker is there.
    Later,
}

/// What one request asks for, whatever the route.
pub(super) struct AdmittedRequest {
    pub(super) request: inference::Request,
    pub(super) images: Vec<Bytes>,
}

/// Everything before the images are computed: checks that cost nothing, then the body, then room in the queue. A client
/// holds no queue slot before its body is complete, and a full queue refuses before a body is read.
///
/// # Errors
/// Whatever can be wrong with a request, or keep it out.
pub(super) async fn ask<F>(
    state: &AppState,
    parts: &Parts,
    order: ReadPlan<F>,
) -> Result<AdmittedRequest, Error>
where
    F: Fn() -> Result<Found, Error>,
{
    let (model, want) = (order.find)()?;
    note(parts, |facts| facts.model = Some(Arc::clone(&model)));
    let priority = priority(&parts.headers)?;
    let incoming = incoming(state, parts)?;
    let declared = incoming.declared;
    let (found, ()) = with_model(&order, (model, want), |model| {
        order
            .door
            .check(state, model, needed(model, 1, declared, priority, order.deadline))
    })?;
    let received = incoming.read(state, parts, order.most, order.deadline).await?;
    // A model may have been replaced while the body was on its way.
    let ((model, want), permit) = with_model(&order, found, |model| {
        let count = received.images.len();
        order.door.admit(
            state,
            model,
            needed(model, count, received.length, priority, order.deadline),
        )
    })?;
    Ok(AdmittedRequest {
        request: inference::Request {
            model,
            want,
            priority,
            trace: trace(&parts.headers),
            deadline: order.deadline,
            permit: Arc::new(permit),
            receive: received.took,
        },
        images: received.images,
    })
}

/// A request whose headers can be accepted, and whose body has not been read.
pub(super) struct Incoming<'a> {
    form: InputForm,
    body: &'a BodySlot,
    declared: u64,
}

/// A body that has arrived and was taken apart. Its bytes count as arriving until this is dropped.
pub(super) struct Received {
    pub(super) images: Vec<Bytes>,
    length: u64,
    took: Duration,
    _arriving: Arriving,
}

/// Checks what the headers say of the body.
///
/// # Errors
/// [`Error::UnsupportedEncoding`], [`Error::UnsupportedMediaType`] and [`Error::TooLarge`].
pub(super) fn incoming<'a>(state: &AppState, parts: &'a Parts) -> Result<Incoming<'a>, Error> {
    check_encoding(&parts.headers)?;
    let form = InputForm::from_headers(&parts.headers)?;
    let body = parts.extensions.get::<BodySlot>().ok_or(Error::Internal)?;
    let declared = check_declared(body.declared_length(), state.config.max_body)?;
    Ok(Incoming { form, body, declared })
}

impl Incoming<'_> {
    /// Reads the body and takes it apart.
    ///
    /// # Errors
    /// Whatever can be wrong with a body.
    pub(super) async fn read(
        self,
        state: &AppState,
        parts: &Parts,
        most: Most,
        deadline: Deadline,
    ) -> Result<Received, Error> {
        let (arriving, evicted) = state.receiving.enter(arrival(parts))?;
        let reading = self.body.read(state.config.max_body, deadline, |bytes| {
            note(parts, |facts| facts.bytes += bytes);
            arriving.arrived(bytes)
        });
        let bytes = arriving.watch(evicted, reading).await?;
        let took = arrival(parts).elapsed();
        let (form, length) = (self.form, bytes.len() as u64);
        arriving.arrived(form.copies(length))?;
        let work = form.work(bytes.len());
        let parse = move || form.images(bytes, most);
        let images = state.off_thread.run(work, parse).await??;
        note(parts, |facts| facts.images = Some(images.len()));
        Ok(Received {
            images,
            length,
            took,
            _arriving: arriving,
        })
    }
}

/// Does something with the model found, and once more with the one that has taken its place in the meantime.
fn with_model<F, T>(
    order: &ReadPlan<F>,
    found: Found,
    act: impl Fn(&ServedModel) -> Result<T, Error>,
) -> Result<(Found, T), Error>
where
    F: Fn() -> Result<Found, Error>,
{
    match act(&found.0) {
        Err(Error::Unloaded | Error::NoWorker(_)) => {
            let found = (order.find)()?;
            act(&found.0).map(|done| (found, done))
        }
        done => done.map(|done| (found, done)),
    }
}

/// What `images` in a body of `length` bytes need. They hold bytes as their files first and as their pixels later, never both
/// for long.
fn needed(model: &ServedModel, images: usize, length: u64, priority: Priority, deadline: Deadline) -> Needed {
    let load = Load {
        jobs: images,
        bytes: length.max((images * model.input().elements()) as u64),
    };
    Needed {
        load,
        priority,
        deadline: Some(deadline),
    }
}

impl AdmitWhen {
    /// Says whether there is room now, and takes none.
    fn check(&self, state: &AppState, model: &ServedModel, needed: Needed) -> Result<(), Error> {
        match self {
            Self::Now => state.infer.check(model, needed),
            Self::Later => state.infer.check_later(model, needed),
        }
    }

    fn admit(&self, state: &AppState, model: &ServedModel, needed: Needed) -> Result<Permit, Error> {
        match self {
            Self::Now => state.infer.admit(model, needed),
            Self::Later => state.infer.admit_later(model, needed),
        }
    }
}

/// When the headers of the request had arrived.
pub(super) fn arrival(parts: &Parts) -> Instant {
    let arrival = parts.extensions.get::<Arrival>();
    arrival.map_or_else(Instant::now, |arrival| arrival.0)
}

/// When nobody wants the answer any more: after the usual time, or what `X-Timeout-Ms` says, which may not be more than
/// the longest, for which there is an option.
///
/// # Errors
/// [`Error::InvalidRequest`].
pub(super) fn deadline(
    arrival: Instant,
    headers: &HeaderMap,
    (usual, longest, option): (Duration, Duration, &str),
) -> Result<Deadline, Error> {
    let Some(value) = headers.get(TIMEOUT) else {
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

/// Says whether the body is as it was made. Compressed bodies are refused: images do not get smaller, and a bomb would
/// have to be watched while it unfolds.
///
/// # Errors
/// [`Error::UnsupportedEncoding`].
fn check_encoding(headers: &HeaderMap) -> Result<(), Error> {
    for value in headers.get_all(CONTENT_ENCODING) {
        let shown = String::from_utf8_lossy(value.as_bytes());
        let plain = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
        if !shown.split(',').map(str::trim).all(plain) {
            return Err(Error::UnsupportedEncoding(shown.chars().take(40).collect()));
        }
    }
    Ok(())
}

fn priority(headers: &HeaderMap) -> Result<Priority, Error> {
    let Some(value) = headers.get(PRIORITY) else {
        return Ok(Priority::default());
    };
    value
        .to_str()
        .ok()
        .and_then(|text| Priority::from_name(text.trim()))
        .ok_or_else(|| Error::InvalidRequest("X-Priority must be high, normal or low".to_owned()))
}

/// What the trace's header says, as long as W3C Trace Context allows for. One that is not like that is ignored, as the
/// standard asks for.
fn trace(headers: &HeaderMap) -> Option<Arc<str>> {
    const LENGTH: usize = 55;
    let text = headers.get(TRACE)?.to_str().ok()?;
    (text.len() == LENGTH).then(|| text.into())
}
