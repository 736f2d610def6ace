//! What every image of a request carries on its way to a worker and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;

/// Held by the request, by each of its photos and by each of its jobs. Over Redis it travels in the job's header.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// `X-Request-Id`, for log lines; empty where no HTTP request stands behind the image.
    pub request_id: Arc<str>,
    /// The model that the pixels are prepared for.
    pub model: Arc<ServedModel>,
    pub priority: Priority,
    pub deadline: Deadline,
}

/// A point in time, and the wait that it stands for, which messages name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: Instant,
    pub timeout: Duration,
}

impl Deadline {
    pub fn new(start: Instant, timeout: Duration) -> Self {
        Self {
            at: start + timeout,
            timeout,
        }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// The error of a request that is not done by then.
    pub fn exceeded(&self) -> Error {
        Error::DeadlineExceeded(self.timeout)
    }
}
