//! Reads a request's body within its limit and deadline, and discards a body that no handler reads.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::conn::stream::Clock;
use crate::error::Error;
use crate::inference::Deadline;

/// After an early response, a rest of the body up to this size is discarded, so that the connection can be used again. A
/// larger rest costs more than a new connection.
const DISCARD_BYTES: u64 = 256 * 1024;

/// How long to wait for that rest.
const DISCARD_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// The most memory to reserve for a body before as much of it has arrived.
const TRUSTED_LENGTH: u64 = 1024 * 1024;

/// The body of a request. The middleware discards what the handler does not read.
#[derive(Debug)]
pub(super) struct BodySlot(Mutex<ArrivedBody>);

#[derive(Debug)]
struct ArrivedBody {
    body: Option<Body>,
    /// Whether reading timed out, so that it is pointless to wait for the rest.
    stalled: bool,
}

/// A body out of its slot. Unless it was read to its end it goes back, even if its reader is dropped.
struct Taken<'a> {
    slot: &'a BodySlot,
    body: Option<Body>,
    stalled: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *self.slot.0.lock() = ArrivedBody {
                body: Some(body),
                stalled: self.stalled,
            };
        }
    }
}

impl BodySlot {
    pub(super) fn new(body: Body) -> Self {
        Self(Mutex::new(ArrivedBody {
            body: Some(body),
            stalled: false,
        }))
    }

    pub(super) fn declared_length(&self) -> Option<u64> {
        let slot = self.0.lock();
        slot.body.as_ref().and_then(|body| body.size_hint().exact())
    }

    /// Reads the whole body; `count` takes the size of each piece that arrives.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over `limit` bytes, [`Error::DeadlineExceeded`], [`Error::InvalidRequest`] for a body
    /// that breaks off, and the errors of `count`.
    pub(super) async fn read(
        &self,
        limit: u64,
        deadline: Deadline,
        mut count: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<Bytes, Error> {
        let body = self.0.lock().body.take();
        let mut taken = Taken {
            slot: self,
            body,
            stalled: true,
        };
        let Some(body) = &mut taken.body else {
            return Ok(Bytes::new());
        };
        let at = Instant::from_std(deadline.at);
        match timeout_at(at, collect(body, limit, &mut count)).await {
            Ok(Ok(bytes)) => {
                taken.body = None;
                Ok(bytes)
            }
            Ok(Err(error)) => {
                taken.stalled = false;
                Err(error)
            }
            Err(_) => Err(deadline.exceeded()),
        }
    }

    /// Discards a small rest. Returns false for a larger one, after which the connection has to be closed gently.
    pub(super) async fn discard_rest(&self, expects_continue: bool, clock: Option<&Clock>) -> bool {
        let (body, stalled) = {
            let mut slot = self.0.lock();
            (slot.body.take(), slot.stalled)
        };
        let Some(mut body) = body else {
            return true;
        };
        if body.is_end_stream() {
            return true;
        }
        let small = body
            .size_hint()
            .upper()
            .is_some_and(|upper| upper <= DISCARD_BYTES);
        // A client that waits for `100 Continue` has sent nothing yet.
        if small && !stalled && !expects_continue {
            let discard = async { while let Some(Ok(_)) = body.frame().await {} };
            if timeout(DISCARD_TIME, discard).await.is_ok() {
                return true;
            }
        }
        if let Some(clock) = clock {
            clock.leave_body_unread();
        }
        false
    }
}

pub(super) fn too_large(limit: u64) -> Error {
    Error::TooLarge(format!(
        "the body is larger than {limit} bytes; send a smaller image or fewer at once, or raise --max-body"
    ))
}

async fn collect(
    body: &mut Body,
    limit: u64,
    count: &mut impl FnMut(u64) -> Result<(), Error>,
) -> Result<Bytes, Error> {
    let declared = body.size_hint().exact();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Error::InvalidRequest("the body ended early; send it whole".to_owned()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = whole.len() as u64 + data.len() as u64;
        if length > limit {
            return Err(too_large(limit));
        }
        count(data.len() as u64)?;
        if whole.is_empty() && Some(length) == declared {
            return Ok(data);
        }
        let missing = length as usize - whole.len();
        if whole.capacity() - whole.len() < missing {
            // Twice what has arrived, and no more than was declared.
            let doubled = (2 * length).max(TRUSTED_LENGTH);
            let wanted = declared
                .map_or(doubled, |declared| doubled.min(declared))
                .max(length);
            whole.reserve(wanted as usize - whole.len());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// The declared length, if it is within the limit.
pub(super) fn check_declared(declared: Option<u64>, limit: u64) -> Result<u64, Error> {
    match declared {
        Some(length) if length > limit => Err(too_large(limit)),
        declared => Ok(declared.unwrap_or(0)),
    }
}
