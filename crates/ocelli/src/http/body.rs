//! Reading a request's body: within its limit, its deadline and the house's room; and what becomes of one that
//! nobody wants.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::stream::Clock;
use crate::admission::Permit;
use crate::error::Error;
use crate::infer::{Deadline, Infer};
use crate::model::ServedModel;

/// What is read and thrown away after an early answer, so that the connection can be used again. A larger rest costs
/// more than a new connection.
const DISCARD_BYTES: u64 = 256 * 1024;

/// How long to wait for that rest.
const DISCARD_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// Room is taken in steps of this size for a body that does not say how long it is.
const GROWTH: u64 = 64 * 1024;

/// More than this is not set aside on a client's word alone.
const TRUSTED_LENGTH: u64 = 1024 * 1024;

/// The body of a request, for whoever wants it. What is not taken is seen to by the middleware.
#[derive(Clone, Debug)]
pub(super) struct BodySlot(Arc<Mutex<Option<Body>>>);

impl BodySlot {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// The declared length, if the body has one.
    pub(super) fn declared_length(&self) -> Option<u64> {
        self.0.lock().as_ref().and_then(|body| body.size_hint().exact())
    }

    /// Reads the whole body; `grow` asks for room for more bytes than were declared.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over `limit` bytes, [`Error::DeadlineExceeded`], [`Error::InvalidRequest`] for a body
    /// that breaks off, and whatever `grow` refuses with.
    pub(super) async fn read(
        &self,
        limit: u64,
        deadline: Deadline,
        mut grow: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<Bytes, Error> {
        let Some(mut body) = self.0.lock().take() else {
            return Ok(Bytes::new());
        };
        let at = Instant::from_std(deadline.at);
        let result = match timeout_at(at, collect(&mut body, limit, &mut grow)).await {
            Ok(result) => result,
            Err(_) => Err(deadline.exceeded()),
        };
        if result.is_err() {
            *self.0.lock() = Some(body);
        }
        result
    }

    /// Reads a small rest. Where there may be more, marks the connection for a gentle end and says so: false.
    pub(super) async fn discard_rest(&self, expects_continue: bool, clock: Option<&Clock>) -> bool {
        let Some(mut body) = self.0.lock().take() else {
            return true;
        };
        if body.is_end_stream() {
            return true;
        }
        let small = body
            .size_hint()
            .upper()
            .is_some_and(|upper| upper <= DISCARD_BYTES);
        // A client that waits for `100 Continue` has sent nothing yet, and need not.
        if small && !expects_continue {
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

/// The error of a body over its limit.
pub(super) fn too_large(limit: u64) -> Error {
    Error::TooLarge(format!(
        "the body is larger than {limit} bytes; send a smaller image or fewer at once, or raise --max-body"
    ))
}

async fn collect(
    body: &mut Body,
    limit: u64,
    grow: &mut impl FnMut(u64) -> Result<(), Error>,
) -> Result<Bytes, Error> {
    let declared = body.size_hint().exact();
    let mut room = declared.unwrap_or(0);
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Error::InvalidRequest("the body broke off before its end; send it whole".to_owned())
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.is_empty() && Some(data.len() as u64) == declared {
            return Ok(data);
        }
        let length = whole.len() as u64 + data.len() as u64;
        if length > limit {
            return Err(too_large(limit));
        }
        if length > room {
            let step = (length - room).max(GROWTH);
            grow(step)?;
            room += step;
        }
        if whole.is_empty() {
            whole.reserve(declared.unwrap_or(length).min(TRUSTED_LENGTH) as usize);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Whether the caller may read this body at all, from what it declares.
///
/// # Errors
/// [`Error::TooLarge`].
pub(super) fn check_declared(declared: Option<u64>, limit: u64) -> Result<u64, Error> {
    match declared {
        Some(length) if length > limit => Err(too_large(limit)),
        declared => Ok(declared.unwrap_or(0)),
    }
}

/// Takes room for a body's bytes from the house, as they come.
pub(super) fn grow_permit<'a>(
    infer: &'a Infer,
    model: &'a ServedModel,
    permit: &'a mut Permit,
) -> impl FnMut(u64) -> Result<(), Error> + 'a {
    move |bytes| permit.grow(0, bytes).map_err(|full| infer.refuse(model, full))
}
