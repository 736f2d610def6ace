//! What can go wrong on the path of a request.
//!
//! Owns the one error enum and the one status table. What a caller reads is the `Display` text: what is wrong and
//! what to do. What only an operator may see is the [`Cause`], which is logged where the response is made.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ocelli_vision::ImageError;

/// Why a request, or one image of it, was not answered with a prediction.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The request itself is malformed: a wrong parameter, no image, broken JSON or base64.
    #[error("{0}")]
    InvalidRequest(String),
    /// The bytes are not an image that can be decoded within the limits.
    #[error("{0}")]
    InvalidImage(String),
    #[error(
        "the image cannot be decoded, it is probably damaged: open it in an image editor and save it again"
    )]
    DecoderPanic(#[source] Cause),
    #[error("no model named '{name}' is served here; GET /v1/models lists those that are: {known}")]
    UnknownModel {
        name: String,
        /// Comma separated.
        known: String,
    },
    /// A model that this process should serve and cannot, at least for now.
    #[error("the model '{name}' cannot answer: {}", absence(.state))]
    Unavailable { name: String, state: UnavailableReason },
    /// The model was replaced or unloaded after the request had found it.
    #[error("the model has just been unloaded; try again")]
    Unloaded,
    /// A model to load or unload does not exist.
    #[error("unknown model '{name}'; available: {known}")]
    NotInRepository {
        name: String,
        /// Comma separated.
        known: String,
    },
    /// A model could not be loaded; what was served before still is.
    #[error("{0}")]
    LoadFailed(String),
    /// The origin, the host or the sender of the request is not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// A request that changes models has a content type that web pages of other sites may send.
    #[error(
        "requests that change models need the header Content-Type: application/json, with or without a body; add \
         -H 'Content-Type: application/json' to curl"
    )]
    NotJson,
    #[error("there is nothing at {path}; {instead}")]
    UnknownRoute {
        /// Shortened.
        path: String,
        instead: &'static str,
    },
    #[error("{0} does not support this method; {instead}", instead = right_method(.0))]
    MethodNotAllowed(String),
    /// The head of the request did not arrive in time.
    #[error("the request's headers did not arrive within {0:?}; send them faster, or raise --header-timeout")]
    HeaderTimeout(Duration),
    /// The body of the request did not arrive in time, or too slowly.
    #[error("{0}")]
    BodyTimeout(String),
    /// A body, or the number of images in it, is over its limit.
    #[error("{0}")]
    TooLarge(String),
    #[error(
        "the Content-Type '{0}' is not supported; send multipart/form-data with a part named 'image', \
         JSON {{\"image\":\"<base64>\"}}, or the image itself as image/* or application/octet-stream"
    )]
    UnsupportedMediaType(String),
    #[error(
        "the Content-Encoding '{0}' is not supported; send the body uncompressed (JPEG, PNG and WebP hardly shrink)"
    )]
    UnsupportedEncoding(String),
    /// Every queue slot, or all the memory for waiting images, is taken.
    #[error("the queue is full; try again in {} s", retry_after_seconds(*.retry_after))]
    QueueFull {
        /// When a slot is expected to be free.
        retry_after: Duration,
    },
    /// The predicted time of the answer is after the deadline.
    #[error(
        "the answer would take about {} ms, and the request allows {} ms; try again in {} s, raise X-Timeout-Ms, send less \
         at once, or add capacity",
        .predicted.as_millis(), .timeout.as_millis(), retry_after_seconds(*.retry_after)
    )]
    DeadlineUnreachable {
        predicted: Duration,
        timeout: Duration,
        /// After which the same request would be answered in time, if no others came.
        retry_after: Duration,
    },
    #[error("the answer was not ready within {0:?}; raise X-Timeout-Ms, send less at once, or add capacity")]
    DeadlineExceeded(Duration),
    /// The server is starting or stopping.
    #[error("the server is not ready: {0}; try again shortly")]
    NotReady(&'static str),
    #[error(
        "no live worker serves {0}; try again shortly, or start one (ocelli worker --redis URL, with --model for a model \
         other than the built-in one)"
    )]
    NoWorker(String),
    /// Redis cannot be reached, which is known before anything is sent.
    #[error("the queue cannot be used: {0}; try again shortly")]
    BrokerUnavailable(String),
    /// A command that this request needed failed.
    #[error("the queue cannot be used: {0}; try again shortly")]
    BrokerFailed(#[source] Cause),
    #[error(
        "this image crashed every worker that computed it, and its job was dead-lettered; `ocelli queue dead list` shows it"
    )]
    Poisonous,
    #[error(
        "unknown job; it was deleted, it expired (--job-ttl), or the id was not returned by POST /v1/jobs"
    )]
    UnknownJob,
    #[error(
        "job storage is full; delete finished jobs (DELETE /v1/jobs/{{id}}), try again in {} s, or raise --max-job-images and \
         --max-job-bytes",
        retry_after_seconds(*.retry_after)
    )]
    TooManyJobs {
        /// When the next of them expires.
        retry_after: Duration,
    },
    #[error("this Idempotency-Key was used for another request; use a new key for each job")]
    IdempotencyConflict,
    /// An earlier request with the same key has no response yet.
    #[error("another request with this Idempotency-Key is being accepted; try again shortly")]
    IdempotencyInProgress,
    #[error("the server failed to answer this request; its log says why, under this request_id")]
    Internal(#[source] Cause),
}

/// The source of an error, for the log.
#[derive(Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl Cause {
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(source.into()))
    }

    /// The message of a caught panic.
    pub fn of_panic(what: &str, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Self::new(format!("{what} panicked: {}", text.unwrap_or("no message")))
    }
}

/// With the errors that led to it, as far as it does not name them itself.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut next = self.0.source();
        while let Some(error) = next {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            next = error.source();
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cause({self})")
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        error.cause().cloned().unwrap_or_else(|| Self::new(error))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub http: u16,
    /// The `code` field of the error body, and the metrics' label.
    pub code: &'static str,
}

impl Error {
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(Cause::new(cause))
    }

    pub fn status(&self) -> Status {
        let (http, code) = match self {
            Self::InvalidRequest(_) => (400, "invalid_request"),
            Self::InvalidImage(_) | Self::DecoderPanic(_) => (400, "invalid_image"),
            Self::Forbidden(_) => (403, "forbidden"),
            Self::UnknownModel { .. } | Self::NotInRepository { .. } => (404, "unknown_model"),
            Self::UnknownRoute { .. } => (404, "unknown_route"),
            Self::UnknownJob => (404, "unknown_job"),
            Self::MethodNotAllowed(_) => (405, "method_not_allowed"),
            Self::HeaderTimeout(_) => (408, "header_timeout"),
            Self::BodyTimeout(_) => (408, "body_timeout"),
            Self::IdempotencyInProgress => (409, "idempotency_in_progress"),
            Self::TooLarge(_) => (413, "too_large"),
            Self::UnsupportedMediaType(_) | Self::UnsupportedEncoding(_) | Self::NotJson => {
                (415, "unsupported_media_type")
            }
            Self::IdempotencyConflict => (422, "idempotency_conflict"),
            Self::LoadFailed(_) => (422, "load_failed"),
            Self::QueueFull { .. } => (429, "queue_full"),
            Self::DeadlineUnreachable { .. } => (429, "deadline_unreachable"),
            Self::TooManyJobs { .. } => (429, "too_many_jobs"),
            Self::Internal(_) => (500, "internal"),
            Self::Poisonous => (500, "poisonous"),
            Self::NotReady(_) | Self::Unavailable { .. } | Self::Unloaded => (503, "not_ready"),
            Self::NoWorker(_) => (503, "no_worker"),
            Self::BrokerUnavailable(_) | Self::BrokerFailed(_) => (503, "broker_unavailable"),
            Self::DeadlineExceeded(_) => (504, "deadline_exceeded"),
        };
        Status { http, code }
    }

    /// What the log says beside the text that the client gets.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::DecoderPanic(cause) | Self::BrokerFailed(cause) | Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }

    /// The text for an operator, who may see the cause.
    pub fn detail(&self) -> String {
        self.cause().map_or_else(|| self.to_string(), Cause::to_string)
    }

    /// Whole seconds for the `Retry-After` header, where trying again can help.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after }
            | Self::DeadlineUnreachable { retry_after, .. }
            | Self::TooManyJobs { retry_after } => Some(retry_after_seconds(*retry_after)),
            _ => matches!(self.status().http, 409 | 503).then_some(1),
        }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::InvalidImage(error.to_string())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnavailableReason {
    Loading,
    /// With the reason, and what to do.
    Failed(String),
    Unloading,
}

impl UnavailableReason {
    /// Its name in JSON and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Failed(_) => "failed",
            Self::Unloading => "unloading",
        }
    }
}

fn absence(state: &UnavailableReason) -> String {
    match state {
        UnavailableReason::Loading => "it is being loaded; try again shortly".to_owned(),
        UnavailableReason::Failed(why) => format!("it could not be loaded: {why}"),
        UnavailableReason::Unloading => "it is being unloaded".to_owned(),
    }
}

/// Rounded up, so that a client does not return too early.
fn retry_after_seconds(wait: Duration) -> u64 {
    (wait.as_millis().div_ceil(1000) as u64).max(1)
}

/// Browsers, which send GET, do not show headers.
fn right_method(path: &str) -> &'static str {
    if path.ends_with("/predict") || path.ends_with("/embed") {
        "POST an image to it, as curl -F image=@photo.jpg does"
    } else {
        "the response's Allow header lists those that it takes"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_worker_is_started_with_a_model_only_where_it_needs_one() {
        assert_eq!(
            Error::NoWorker("cats/2".to_owned()).to_string(),
            "no live worker serves cats/2; try again shortly, or start one (ocelli worker --redis URL, with --model for a \
             model other than the built-in one)"
        );
    }

    #[test]
    fn retry_after_rounds_up_and_is_never_zero() {
        let after = |ms| {
            Error::QueueFull {
                retry_after: Duration::from_millis(ms),
            }
            .retry_after()
        };
        assert_eq!(after(0), Some(1));
        assert_eq!(after(1000), Some(1));
        assert_eq!(after(1001), Some(2));
        assert_eq!(Error::internal("a bug").retry_after(), None);
    }

    #[test]
    fn a_cause_names_each_error_that_led_to_it_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Failure {
            text: &'static str,
            source: Option<Box<Failure>>,
        }
        let failure = |text, source: Option<Failure>| Failure {
            text,
            source: source.map(Box::new),
        };
        let root = failure("connection refused", None);
        let named = failure("no reply: connection refused", Some(root));
        let cause = Error::internal(failure("the job was not queued", Some(named)));
        assert_eq!(
            cause.detail(),
            "the job was not queued: no reply: connection refused"
        );
        assert!(!cause.to_string().contains("refused"), "{cause}");
    }
}
