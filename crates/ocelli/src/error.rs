//! What can go wrong on the path of a request, and how each protocol says it.
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
    /// A decoder panicked on the image.
    #[error(
        "the image cannot be decoded, it is probably damaged: open it in an image editor and save it again"
    )]
    DecoderPanic(#[source] Cause),
    /// No model of that name is served.
    #[error("no model named '{name}' is served here; GET /v1/models lists those that are: {known}")]
    UnknownModel {
        /// The name asked for, shortened.
        name: String,
        /// The names served, comma separated.
        known: String,
    },
    /// A model that this process should have and cannot answer for, for now at least.
    #[error("the model '{name}' cannot answer: {}", absence(.state))]
    Unavailable {
        /// The name asked for, shortened.
        name: String,
        state: UnavailableReason,
    },
    /// The model was replaced or unloaded between the moment when it was found and the one when it was asked.
    #[error("the model has just been unloaded; try again")]
    Unloaded,
    /// A model that is to be loaded or unloaded is not there.
    #[error("unknown model '{name}'; available: {known}")]
    NotInRepository {
        name: String,
        /// What there is, comma separated.
        known: String,
    },
    /// A model could not be loaded; what was served before still is.
    #[error("{0}")]
    LoadFailed(String),
    /// The request comes from where none may come from.
    #[error("{0}")]
    Forbidden(String),
    /// A request that changes something says that its body is of a kind which web pages of other sites may send.
    #[error(
        "requests that change models need the header Content-Type: application/json, with or without a body; add \
         -H 'Content-Type: application/json' to curl"
    )]
    NotJson,
    #[error("there is nothing at {path}; {instead}")]
    UnknownRoute {
        /// What was asked for, shortened.
        path: String,
        instead: &'static str,
    },
    /// The route exists, with another method.
    #[error("{0} does not support this method; {instead}", instead = right_method(.0))]
    MethodNotAllowed(String),
    /// The head of the request did not arrive in time.
    #[error(
        "the request's headers did not arrive within {0:?}; send them at once, or raise --header-timeout"
    )]
    HeaderTimeout(Duration),
    /// The body of the request did not arrive in time, or too slowly.
    #[error("{0}")]
    BodyTimeout(String),
    /// A body, or the number of images in it, is over its limit.
    #[error("{0}")]
    TooLarge(String),
    /// The body is of a kind that no input form takes.
    #[error(
        "the Content-Type '{0}' is not supported; send multipart/form-data with a part named 'image', \
         JSON {{\"image\":\"<base64>\"}}, or the image itself as image/* or application/octet-stream"
    )]
    UnsupportedMediaType(String),
    #[error(
        "the Content-Encoding '{0}' is not supported; send the body uncompressed (JPEG, PNG and WebP hardly shrink)"
    )]
    UnsupportedEncoding(String),
    /// Every queue slot, or the memory set aside for waiting images, is taken.
    #[error("the queue is full; try again in {} s", retry_after_seconds(*.retry_after))]
    QueueFull {
        /// When a slot is expected to be free.
        retry_after: Duration,
    },
    /// The answer would come after the deadline.
    #[error(
        "the answer would take about {} ms, and the request allows {} ms; try again in {} s, raise X-Timeout-Ms, send less \
         at once, or add capacity",
        .predicted.as_millis(), .timeout.as_millis(), retry_after_seconds(*.retry_after)
    )]
    DeadlineUnreachable {
        predicted: Duration,
        /// How long the request allows.
        timeout: Duration,
        /// When the same request would be answered in time, if no others came.
        retry_after: Duration,
    },
    /// The answer was not ready when the deadline came.
    #[error("the answer was not ready within {0:?}; raise X-Timeout-Ms, send less at once, or add capacity")]
    DeadlineExceeded(Duration),
    /// The server is starting or stopping.
    #[error("the server is not ready: {0}; try again shortly")]
    NotReady(&'static str),
    /// No live worker computes the model.
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
    /// The image ended every process that computed it.
    #[error(
        "this image ended each worker that computed it and was set aside; `ocelli queue dead list` shows it"
    )]
    Poisonous,
    /// No asynchronous job of that id is kept.
    #[error(
        "unknown job; it was deleted, it expired (--job-ttl), or the id was not returned by POST /v1/jobs"
    )]
    UnknownJob,
    /// The storage of asynchronous jobs is full.
    #[error(
        "job storage is full; delete finished jobs (DELETE /v1/jobs/{{id}}), try again in {} s, or raise --max-job-images and \
         --max-job-bytes",
        retry_after_seconds(*.retry_after)
    )]
    TooManyJobs {
        /// When the next of them is forgotten.
        retry_after: Duration,
    },
    /// The key of an earlier request came with another request.
    #[error("this Idempotency-Key was used for another request; use a new key for each job")]
    IdempotencyConflict,
    /// A request with the same key has not been answered yet.
    #[error("a request with this Idempotency-Key is being accepted at the moment; try again shortly")]
    IdempotencyInProgress,
    /// A fault of the server's own; the details are in its log.
    #[error("the server failed to answer this request; its log says why, under this request_id")]
    Internal(#[source] Cause),
}

/// What went wrong, for the log.
#[derive(Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl Cause {
    #[must_use]
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(source.into()))
    }

    /// The message of a caught panic.
    #[must_use]
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

/// One row of the status table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub http: u16,
    /// The `code` field of the error body, and the metrics' label.
    pub code: &'static str,
}

impl Error {
    /// A fault of the server's own.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(Cause::new(cause))
    }

    /// The status table.
    #[must_use]
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

    /// What the log has to say beside the text that the client gets.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::DecoderPanic(cause) | Self::BrokerFailed(cause) | Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }

    /// The text for an operator, who may see the cause.
    #[must_use]
    pub fn detail(&self) -> String {
        self.cause().map_or_else(|| self.to_string(), Cause::to_string)
    }

    /// Whole seconds for the `Retry-After` header, where trying again can help.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after }
            | Self::DeadlineUnreachable { retry_after, .. }
            | Self::TooManyJobs { retry_after } => Some(retry_after_seconds(*retry_after)),
            Self::NotReady(_)
            | Self::Unavailable { .. }
            | Self::Unloaded
            | Self::NoWorker(_)
            | Self::BrokerUnavailable(_)
            | Self::BrokerFailed(_)
            | Self::IdempotencyInProgress => Some(1),
            _ => None,
        }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::InvalidImage(error.to_string())
    }
}

/// Why a model does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnavailableReason {
    /// It is being read, loaded and measured.
    Loading,
    /// It could not be loaded; the text says why, and what to do.
    Failed(String),
    /// It ends what it has and goes.
    Unloading,
}

impl UnavailableReason {
    /// Its name in JSON and in metrics.
    #[must_use]
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

/// `Retry-After` counts whole seconds; rounding up never invites a client back too early.
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
