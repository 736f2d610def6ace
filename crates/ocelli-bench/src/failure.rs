//! The ways in which a request can fail, as the report counts them.

use std::fmt;

use serde::Serialize;

/// A server's `code` is kept up to this many characters.
const MAX_CODE_CHARS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The server answered with a status other than 200.
    Status,
    /// Status 200, but the body does not say that the request succeeded.
    BadAnswer,
    /// The whole answer was not there within the request timeout.
    Timeout,
    Refused,
    /// A connection could not be made for another reason.
    Connect,
    /// The connection was closed or reset before the answer was complete.
    Cut,
    Protocol,
    /// The body of the answer exceeds 1 MiB.
    TooLarge,
    /// Failures beyond the number of kinds that are counted separately.
    Other,
}

impl FailureKind {
    /// Whether a whole answer was read, so that its connection can carry the next request.
    pub(crate) fn leaves_connection(self) -> bool {
        matches!(self, Self::Status | Self::BadAnswer)
    }
}

/// A failure. Requests that fail alike are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// The status of the answer, where the failure is one of status.
    pub status: Option<u16>,
    /// The field `code` of the server's error body, for example `queue_full`.
    pub code: Option<String>,
}

/// A request that failed: how it is counted, and what the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) message: Option<String>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let message = None;
        Self { failure, message }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{}: {message}", self.failure),
            None => self.failure.fmt(f),
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind) -> Self {
        Self {
            kind,
            status: None,
            code: None,
        }
    }

    /// An answer with a status other than 200 and perhaps the server's own code.
    pub(crate) fn status(status: u16, code: Option<&str>) -> Self {
        let code = code.map(|code| code.chars().take(MAX_CODE_CHARS).collect());
        Self {
            kind: FailureKind::Status,
            status: Some(status),
            code,
        }
    }

    /// Whether the server refused the request itself, so that the same request will be refused again.
    pub(crate) fn is_lasting(&self) -> bool {
        self.status
            .is_some_and(|status| (400..500).contains(&status) && !matches!(status, 408 | 425 | 429))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => write!(f, "{status} {code}"),
            (Some(status), None) => write!(f, "{status}"),
            (None, _) => f.write_str(match self.kind {
                FailureKind::Status => "status",
                FailureKind::BadAnswer => "bad answer",
                FailureKind::Timeout => "timeout",
                FailureKind::Refused => "connection refused",
                FailureKind::Connect => "connection failed",
                FailureKind::Cut => "connection cut",
                FailureKind::Protocol => "not HTTP",
                FailureKind::TooLarge => "answer too large",
                FailureKind::Other => "other",
            }),
        }
    }
}
