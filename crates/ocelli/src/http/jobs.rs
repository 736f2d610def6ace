//! The routes of asynchronous jobs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use humantime::format_rfc3339_millis;
use prost::Message as _;
use ring::digest::{Context, SHA256};
use serde::Serialize;

use super::AppState;
use super::admit::{AdmitOptions, AdmittedRequest, Incoming, admit};
use super::image_body::Most;
use super::path::Path;
use super::request::{HttpRequest, deadline};
use super::response::to_json;
use super::target::{AnswerKind, Found, Target};
use crate::async_jobs::{Idempotency, JobState, JobTicket, JobView, Submission, WebhookUrl};
use crate::error::Error;
use crate::inference::{Deadline, WithoutWorker};
use crate::queue::job::JobId;
use crate::queue::wire::WantMessage;

/// Lets a client repeat a request safely (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A URL to call when the job has ended.
const WEBHOOK: HeaderName = HeaderName::from_static("x-webhook-url");

const KEY_LENGTH: usize = 128;

#[derive(Serialize)]
struct Accepted {
    id: String,
    state: &'static str,
    created: String,
    expires: String,
    durable: bool,
}

/// `POST /v1/jobs`: takes images to be computed later.
pub(super) async fn submit(State(state): State<AppState>, http: HttpRequest) -> Result<Response, Error> {
    let target = Target::new(None, &http.head, AnswerKind::ByTask)?;
    let key = idempotency_key(http.headers())?;
    let webhook = http.headers().get(WEBHOOK);
    let webhook = webhook
        .map(|url| state.jobs.webhook(url.to_str().unwrap_or_default()))
        .transpose()?;
    // A job has its own limit, which the client may shorten.
    let longest = state.jobs.config().deadline;
    let options = AdmitOptions {
        most: Most::Option(state.config.max_images),
        deadline: deadline(&http, (longest, longest, "--job-deadline"))?,
        without_worker: WithoutWorker::Wait,
    };
    if let Some(key) = &key
        && state.jobs.knows(key).await?
    {
        let reading = Deadline::new(http.context.arrival, state.config.deadline);
        let incoming = Incoming::new(&state, &http)?;
        let received = incoming.read(&state, options.most, reading).await?;
        let found = target.find(&state.infer.catalog)?;
        http.context.note_model(&found.0);
        let (idempotency, _) = idempotency(&state, key, found, received.images, webhook).await?;
        return repeat(&state, idempotency).await;
    }
    let AdmittedRequest { request, mut images } = admit(&state, &http, &target, options).await?;
    let mut named = None;
    if let Some(key) = key {
        let found = (Arc::clone(&request.envelope.model), request.want.clone());
        let (idempotency, hashed) = idempotency(&state, &key, found, images, webhook.clone()).await?;
        (named, images) = (Some(idempotency), hashed);
    }
    let ticket = state
        .jobs
        .submit(Submission {
            request,
            images,
            idempotency: named,
            webhook,
        })
        .await?;
    accepted(&ticket, state.jobs.durable())
}

/// Answers a repeated request. It takes no room in the queue, so it succeeds also while the queue is full.
async fn repeat(state: &AppState, idempotency: Idempotency) -> Result<Response, Error> {
    match state.jobs.known(&idempotency).await? {
        Some(ticket) => accepted(&ticket, state.jobs.durable()),
        // The job was forgotten since the key was looked up. The same request, sent again, makes a new job.
        None => Err(Error::IdempotencyInProgress),
    }
}

/// The key and the hash of the request, and the images again. Hashing many images here would delay other requests.
async fn idempotency(
    state: &AppState,
    key: &str,
    found: Found,
    images: Vec<Bytes>,
    webhook: Option<WebhookUrl>,
) -> Result<(Idempotency, Vec<Bytes>), Error> {
    let key = key.to_owned();
    let bytes = images.iter().map(Bytes::len).sum();
    let hash = move || (Idempotency::new(&key, &found, &images, webhook.as_ref()), images);
    state.off_thread.run(bytes, hash).await
}

/// `GET /v1/jobs/{id}`.
pub(super) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
    http: HttpRequest,
) -> Result<Response, Error> {
    let id = JobId::parse(&id).ok_or(Error::UnknownJob)?;
    let job = state.jobs.get(id).await?;
    http.context.note_model(&job.model);
    if JobState::of(&job.results).is_final() {
        http.context.log_each(job.results.iter().flatten());
    }
    to_json(&JobView::new(&job))
}

/// `DELETE /v1/jobs/{id}`.
pub(super) async fn forget(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Error> {
    let id = JobId::parse(&id).ok_or(Error::UnknownJob)?;
    state.jobs.delete(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > KEY_LENGTH || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::InvalidRequest(format!(
            "Idempotency-Key must have 1 to {KEY_LENGTH} printable ASCII characters without spaces, such as a UUID"
        )));
    }
    Ok(Some(text.to_owned()))
}

impl Idempotency {
    /// The hash does not cover the body's bytes: a form has a new boundary each time it is sent.
    fn new(key: &str, (model, want): &Found, images: &[Bytes], webhook: Option<&WebhookUrl>) -> Self {
        let mut hash = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        // Only the name, because a model may be replaced between two attempts.
        add(model.id.name.as_bytes());
        add(&WantMessage::new(model, want).encode_to_vec());
        add(webhook.map(WebhookUrl::to_string).unwrap_or_default().as_bytes());
        for image in images {
            add(image);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        Self {
            key: key.to_owned(),
            fingerprint,
        }
    }
}

fn accepted(ticket: &JobTicket, durable: bool) -> Result<Response, Error> {
    let id = ticket.id.to_string();
    let location = HeaderValue::try_from(format!("/v1/jobs/{id}")).map_err(Error::internal)?;
    let mut response = to_json(&Accepted {
        id,
        state: "queued",
        created: format_rfc3339_millis(ticket.created).to_string(),
        expires: format_rfc3339_millis(ticket.expires).to_string(),
        durable,
    })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_printable() {
        let key = |text: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(text).expect("a header"));
            idempotency_key(&headers)
        };
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        assert_eq!(key(b"a-key"), Ok(Some("a-key".to_owned())));
        assert_eq!(key(&[b'x'; 128]), Ok(Some("x".repeat(128))));
        for bad in [&b""[..], b"a key", &[b'x'; 129], b"\xe9"] {
            assert_eq!(key(bad).unwrap_err().status().code, "invalid_request");
        }
    }
}
