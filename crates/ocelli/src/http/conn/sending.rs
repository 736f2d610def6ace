//! Responses that clients have not read yet.
//!
//! A client may send requests and never read: over HTTP/2 it can even forbid the server to send. So every response counts
//! until it is read, and is dropped if that takes too long. Over HTTP/2 only that response is lost. An HTTP/1.1 connection
//! cannot continue without it and is closed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::Version;
use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::stream::RequestGuard;
use crate::http::access_log::AccessLine;
use crate::metrics::Metrics;

/// The largest piece to give to the HTTP library.
const LARGEST_PIECE: usize = 32 * 1024;

/// The first piece of a response over HTTP/2. The library keeps a piece until the client reads it, even if the response is
/// dropped, so it is small. Each later piece may be as large as all before it.
const FIRST_PIECE: usize = 1024;

/// Limits of unread responses.
#[derive(Clone, Copy, Debug)]
pub struct SendingLimits {
    /// Between two pieces that a client reads.
    pub timeout: Duration,
    pub bytes: u64,
}

/// All unread responses. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    shared: Arc<SendingShared>,
}

#[derive(Debug)]
struct SendingShared {
    limits: SendingLimits,
    metrics: Arc<Metrics>,
    table: Mutex<ResponseTable>,
}

/// The responses in the order in which clients last read of them. Each piece moves its response to the end, so the late ones
/// and those that make room are always first.
#[derive(Debug, Default)]
struct ResponseTable {
    waiting: BTreeMap<Turn, PendingResponse>,
    bytes: u64,
    next: Turn,
}

type Turn = u64;

#[derive(Debug)]
struct PendingResponse {
    /// When the client last read a piece, or when the response began.
    progress: Instant,
    /// What is left, and the piece that the library got last.
    bytes: u64,
    left: Bytes,
    kept: Kept,
}

/// What is dropped with a response.
#[derive(Debug, Default)]
struct Kept {
    /// Marks the connection as busy.
    guard: Option<RequestGuard>,
    /// The request's line in the access log, which is written when this is dropped.
    line: Option<Arc<AccessLine>>,
    /// The connection, if it cannot continue without the response.
    connection: Option<Arc<TcpStream>>,
}

impl PendingResponse {
    /// Ends a response that its client does not read, and a connection that cannot continue without it.
    fn cut_off(mut self) {
        let connection = self.kept.connection.take();
        self.end();
        if let Some(socket) = connection {
            let socket = SockRef::from(&*socket);
            // The kernel's buffer for the client goes too. The socket may be closed already.
            let _ = socket.set_linger(Some(Duration::ZERO));
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Notes what the client did not read. The connection may have other requests, and stays.
    fn end(self) {
        let unsent = self.left.len() as u64;
        drop(self.kept.guard);
        if let Some(line) = self.kept.line {
            line.note(|facts| facts.response = facts.response.map(|(length, _)| (length, unsent)));
        }
    }
}

impl Sending {
    pub(crate) fn new(limits: SendingLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            shared: Arc::new(SendingShared {
                limits,
                metrics,
                table: Mutex::default(),
            }),
        }
    }

    /// A body that counts until its client has read it, and keeps `guard` and the request's `line` until then.
    pub(crate) fn watch(
        &self,
        body: Body,
        (guard, line): (RequestGuard, Option<Arc<AccessLine>>),
        (version, socket): (Version, &Arc<TcpStream>),
    ) -> Body {
        // Every handler returns a whole body, which is ready at once.
        let whole = body.collect().now_or_never().and_then(Result::ok);
        let left = whole.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if let Some(line) = &line {
            let length = left.len() as u64;
            line.note(|facts| facts.response = Some((length, length)));
        }
        let connection = (version <= Version::HTTP_11).then(|| Arc::clone(socket));
        let piece = if connection.is_some() {
            LARGEST_PIECE
        } else {
            FIRST_PIECE
        };
        let kept = Kept {
            guard: Some(guard),
            line,
            connection,
        };
        Body::new(self.body(left, kept, piece))
    }

    fn body(&self, response: Bytes, kept: Kept, piece: usize) -> WatchedBody {
        WatchedBody {
            left: response.len() as u64,
            turn: self.insert(response, kept),
            sending: self.clone(),
            piece,
        }
    }

    fn insert(&self, left: Bytes, kept: Kept) -> Turn {
        let mut table = self.shared.table.lock();
        let turn = table.append(PendingResponse {
            progress: Instant::now(),
            bytes: left.len() as u64,
            left,
            kept,
        });
        let over = table.over(self.shared.limits.bytes);
        self.report(&table);
        drop(table);
        self.cut_off_all(over);
        turn
    }

    /// The next piece of a response, and its new place; `None` for a response that was dropped. The library polls for a piece
    /// when the last one was read.
    fn next_piece(&self, turn: Turn, size: usize) -> Option<(Turn, Bytes)> {
        let mut table = self.shared.table.lock();
        let next = table.next_piece(turn, size, Instant::now());
        self.report(&table);
        next
    }

    fn remove(&self, turn: Turn) {
        let mut table = self.shared.table.lock();
        let ended = table.remove(turn);
        self.report(&table);
        drop(table);
        if let Some(ended) = ended {
            ended.end();
        }
    }

    /// Drops late responses periodically.
    pub(crate) async fn sweep_forever(&self) {
        /// A response may be dropped later than its time by this part of it.
        const LATENESS: u32 = 4;
        let pause = (self.shared.limits.timeout / LATENESS).min(Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            self.sweep(Instant::now());
        }
    }

    fn sweep(&self, now: Instant) {
        let mut table = self.shared.table.lock();
        let late = table.late(self.shared.limits.timeout, now);
        self.report(&table);
        drop(table);
        self.cut_off_all(late);
    }

    /// Ends responses that have left the table, without its lock.
    fn cut_off_all(&self, dropped: Vec<PendingResponse>) {
        self.shared.metrics.dropped_responses.inc_by(dropped.len() as u64);
        for response in dropped {
            response.cut_off();
        }
    }

    fn report(&self, table: &ResponseTable) {
        self.shared.metrics.response_bytes.set(table.bytes as i64);
    }
}

impl ResponseTable {
    fn append(&mut self, response: PendingResponse) -> Turn {
        let turn = self.next;
        self.next += 1;
        self.bytes += response.bytes;
        self.waiting.insert(turn, response);
        turn
    }

    fn remove(&mut self, turn: Turn) -> Option<PendingResponse> {
        let response = self.waiting.remove(&turn)?;
        self.bytes -= response.bytes;
        Some(response)
    }

    fn next_piece(&mut self, turn: Turn, size: usize, now: Instant) -> Option<(Turn, Bytes)> {
        let mut response = self.remove(turn)?;
        response.progress = now;
        response.bytes = response.left.len() as u64;
        // A slice would keep the whole response in memory for as long as the library has the piece.
        let piece = Bytes::copy_from_slice(&response.left[..response.left.len().min(size)]);
        response.left.advance(piece.len());
        Some((self.append(response), piece))
    }

    /// Removes the responses without progress for `timeout`.
    fn late(&mut self, timeout: Duration, now: Instant) -> Vec<PendingResponse> {
        let mut late = Vec::new();
        while let Some((turn, response)) = self.waiting.first_key_value()
            && now.saturating_duration_since(response.progress) >= timeout
        {
            late.extend(self.remove(*turn));
        }
        late
    }

    /// Removes responses until the others hold at most `limit` bytes: those without progress for the longest time first, and
    /// never the last one, whose client has had no time yet.
    fn over(&mut self, limit: u64) -> Vec<PendingResponse> {
        let mut dropped = Vec::new();
        while self.bytes > limit
            && self.waiting.len() > 1
            && let Some(turn) = self.waiting.keys().next()
        {
            dropped.extend(self.remove(*turn));
        }
        dropped
    }
}

/// The body that the HTTP library reads, a piece at a time.
struct WatchedBody {
    sending: Sending,
    turn: Turn,
    left: u64,
    piece: usize,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Some((turn, piece)) = self.sending.next_piece(self.turn, self.piece) else {
            let late = "the client did not read the response in time";
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        };
        self.turn = turn;
        self.left -= piece.len() as u64;
        self.piece = (self.piece * 2).min(LARGEST_PIECE);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.sending.remove(self.turn);
    }
}

#[cfg(test)]
mod tests;
