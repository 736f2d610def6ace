//! Responses that clients have not taken yet.
//!
//! A client may ask and never read: over HTTP/2 it can even forbid the server to send, and ask again. So every response
//! counts while it waits, and one that its client does not take in time is dropped. Over HTTP/2 only that response is
//! lost; the library reports a stream that fails once the client lets the server send again. An HTTP/1.1 connection cannot
//! go on without it and is closed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::Version;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::access::AccessLine;
use super::stream::RequestGuard;
use crate::metrics::Metrics;

/// The largest piece that the HTTP library gets at once.
const LARGEST_PIECE: usize = 32 * 1024;

/// The first piece of a response over HTTP/2. The library keeps a piece until the client takes it, whatever becomes of the
/// response, so a client that has taken nothing should cost little. Each later piece may be as large as all before it.
const FIRST_PIECE: usize = 1024;

/// Limits of responses that wait for their clients.
#[derive(Clone, Copy, Debug)]
pub struct SendingLimits {
    /// Between two pieces that a client takes of a response.
    pub timeout: Duration,
    /// Bytes of all responses.
    pub bytes: u64,
}

/// All responses that wait for their clients. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: SendingLimits,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    waiting: HashMap<u64, Waiting>,
    bytes: u64,
    next_id: u64,
}

#[derive(Debug)]
struct Waiting {
    /// When the client last took a piece, or when there was something to take.
    progress: Instant,
    bytes: u64,
    response: Arc<Mutex<Held>>,
}

/// A response, as long as it is kept.
#[derive(Debug)]
struct Held {
    /// What is left of it; `None` once it was dropped.
    left: Option<Bytes>,
    /// The connection counts as busy as long as this is here.
    guard: Option<RequestGuard>,
    /// The request's line in the log, which is written once this is gone.
    line: Option<Arc<AccessLine>>,
    /// The connection, where it cannot go on without the response.
    connection: Option<Arc<TcpStream>>,
}

impl Held {
    /// Lets go of everything.
    fn drop_response(&mut self) {
        self.note_unsent();
        self.left = None;
        self.guard = None;
        if let Some(socket) = self.connection.take() {
            let socket = SockRef::from(&*socket);
            // What the kernel holds for the client goes too. A socket that is gone already needs neither.
            let _ = socket.set_linger(Some(Duration::ZERO));
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Held {
    /// Notes what the client did not take, and lets the line be written.
    fn note_unsent(&mut self) {
        if let Some(line) = self.line.take() {
            let unsent = self.left.as_ref().map_or(0, |left| left.len() as u64);
            line.note(|facts| facts.response = facts.response.map(|(length, _)| (length, unsent)));
        }
    }
}

impl Sending {
    /// No response yet.
    pub(super) fn new(limits: SendingLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits,
                metrics,
                table: Mutex::default(),
            }),
        }
    }

    /// A body that counts until its client has taken it, and keeps `guard` and the request's `line` as long. `socket` is its
    /// connection.
    pub(super) fn watch(
        &self,
        body: Body,
        (guard, line): (RequestGuard, Option<Arc<AccessLine>>),
        (version, socket): (Version, &Arc<TcpStream>),
    ) -> Body {
        // Every handler answers with a whole body, which is there at once.
        let whole = body.collect().now_or_never().and_then(Result::ok);
        let left = whole.map(http_body_util::Collected::to_bytes);
        let length = left.as_ref().map_or(0, |left| left.len() as u64);
        if let Some(line) = &line {
            line.note(|facts| facts.response = Some((length, length)));
        }
        let response = Arc::new(Mutex::new(Held {
            left,
            guard: Some(guard),
            line,
            connection: (version <= Version::HTTP_11).then(|| Arc::clone(socket)),
        }));
        let id = self.insert(length, &response, Instant::now());
        let piece = if version <= Version::HTTP_11 {
            LARGEST_PIECE
        } else {
            FIRST_PIECE
        };
        Body::new(WatchedBody {
            sending: self.clone(),
            id,
            response,
            left: length,
            piece,
        })
    }

    fn insert(&self, bytes: u64, response: &Arc<Mutex<Held>>, now: Instant) -> u64 {
        let mut table = self.shared.table.lock();
        let id = table.next_id;
        table.next_id += 1;
        table.bytes += bytes;
        let waiting = Waiting {
            progress: now,
            bytes,
            response: Arc::clone(response),
        };
        table.waiting.insert(id, waiting);
        let over = table.over(self.shared.limits.bytes, id);
        self.report(&table);
        drop(table);
        self.drop_all(over);
        id
    }

    /// Notes that a client has taken something, and what is left, the piece that is handed over now included.
    fn progress(&self, id: u64, left: u64) {
        let mut table = self.shared.table.lock();
        if let Some(waiting) = table.waiting.get_mut(&id) {
            waiting.progress = Instant::now();
            let taken = waiting.bytes - left;
            waiting.bytes = left;
            table.bytes -= taken;
            self.report(&table);
        }
    }

    fn remove(&self, id: u64) {
        let mut table = self.shared.table.lock();
        table.remove(id);
        self.report(&table);
    }

    /// Drops what clients have not taken in time, again and again.
    pub(super) async fn sweep_forever(&self) {
        /// How much later than its time a response may be dropped, as a part of that time.
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
        self.drop_all(late);
    }

    fn drop_all(&self, dropped: Vec<Arc<Mutex<Held>>>) {
        self.shared.metrics.dropped_responses.inc_by(dropped.len() as u64);
        for response in dropped {
            response.lock().drop_response();
        }
    }

    fn report(&self, table: &Table) {
        self.shared.metrics.response_bytes.set(table.bytes as i64);
    }
}

impl Table {
    fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.bytes -= waiting.bytes;
        Some(waiting)
    }

    /// Takes out the responses of which nothing was taken for `timeout`.
    fn late(&mut self, timeout: Duration, now: Instant) -> Vec<Arc<Mutex<Held>>> {
        let is_late = |waiting: &Waiting| now.saturating_duration_since(waiting.progress) >= timeout;
        let late = self.waiting.iter().filter(|(_, waiting)| is_late(waiting));
        let late: Vec<u64> = late.map(|(id, _)| *id).collect();
        late.into_iter()
            .filter_map(|id| Some(self.remove(id)?.response))
            .collect()
    }

    /// Takes out responses until all others hold at most `limit` bytes: those first of which nothing was taken for the
    /// longest time, and never `newest`, whose client has had no time at all.
    fn over(&mut self, limit: u64, newest: u64) -> Vec<Arc<Mutex<Held>>> {
        let mut dropped = Vec::new();
        if self.bytes <= limit {
            return dropped;
        }
        let others = self.waiting.iter().filter(|(id, _)| **id != newest);
        let mut others: Vec<(Instant, u64)> = others.map(|(id, waiting)| (waiting.progress, *id)).collect();
        others.sort_unstable();
        for (_, id) in others {
            if self.bytes <= limit {
                break;
            }
            dropped.extend(self.remove(id).map(|waiting| waiting.response));
        }
        dropped
    }
}

/// The body that the HTTP library reads, a piece at a time.
struct WatchedBody {
    sending: Sending,
    id: u64,
    response: Arc<Mutex<Held>>,
    /// Bytes that have not been handed over.
    left: u64,
    /// The size of the next piece.
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
        let mut response = self.response.lock();
        let Some(left) = &mut response.left else {
            let late = "the client did not take the response in time";
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        };
        let before = left.len() as u64;
        let piece = left.split_to(left.len().min(self.piece));
        drop(response);
        // The library asks for a piece once the last one was taken.
        self.sending.progress(self.id, before);
        self.left = before - piece.len() as u64;
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
        self.sending.remove(self.id);
        // The connection may have other requests, and goes on.
        let mut response = self.response.lock();
        response.note_unsent();
        response.left = None;
        response.guard = None;
        response.connection = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn sending(bytes: u64) -> Sending {
        let limits = SendingLimits {
            timeout: TIMEOUT,
            bytes,
        };
        Sending::new(limits, Arc::default())
    }

    fn held(length: usize) -> Arc<Mutex<Held>> {
        Arc::new(Mutex::new(Held {
            left: Some(Bytes::from(vec![7; length])),
            guard: None,
            line: None,
            connection: None,
        }))
    }

    fn body(sending: &Sending, length: usize) -> WatchedBody {
        let response = held(length);
        WatchedBody {
            sending: sending.clone(),
            id: sending.insert(length as u64, &response, Instant::now()),
            response,
            left: length as u64,
            piece: FIRST_PIECE,
        }
    }

    fn bytes(sending: &Sending) -> u64 {
        assert_eq!(
            sending.shared.metrics.response_bytes.get(),
            sending.shared.table.lock().bytes as i64
        );
        sending.shared.table.lock().bytes
    }

    async fn piece(body: &mut WatchedBody) -> Option<Result<usize, axum::Error>> {
        let frame = body.frame().await?;
        Some(frame.map(|frame| frame.into_data().map_or(0, |data| data.len())))
    }

    #[tokio::test]
    async fn a_response_counts_until_it_has_been_taken() {
        const LENGTH: usize = 3 * FIRST_PIECE + 5;
        let sending = sending(1 << 20);
        let mut body = body(&sending, LENGTH);
        let mut taken = 0;
        for wanted in [FIRST_PIECE, 2 * FIRST_PIECE, 5] {
            assert_eq!(body.size_hint().exact(), Some((LENGTH - taken) as u64));
            assert_eq!(piece(&mut body).await.unwrap().unwrap(), wanted);
            // The library has the piece, and the client has not.
            assert_eq!(bytes(&sending), (LENGTH - taken) as u64);
            taken += wanted;
        }
        assert!(body.is_end_stream() && piece(&mut body).await.is_none());
        drop(body);
        assert_eq!(bytes(&sending), 0);
        assert!(sending.shared.table.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn pieces_grow_to_the_largest_and_no_further() {
        let sending = sending(1 << 20);
        let mut body = body(&sending, 10 * LARGEST_PIECE);
        let mut sizes = Vec::new();
        while let Some(size) = piece(&mut body).await {
            sizes.push(size.unwrap());
        }
        assert!(
            sizes.starts_with(&[FIRST_PIECE, 2 * FIRST_PIECE, 4 * FIRST_PIECE]),
            "{sizes:?}"
        );
        assert_eq!(sizes.iter().max(), Some(&LARGEST_PIECE));
        assert_eq!(sizes.iter().sum::<usize>(), 10 * LARGEST_PIECE);
    }

    #[tokio::test]
    async fn a_response_that_is_not_taken_in_time_is_dropped() {
        let sending = sending(1 << 20);
        let (mut slow, mut other) = (body(&sending, 10), body(&sending, FIRST_PIECE + 5));
        let now = Instant::now();
        sending.sweep(now + TIMEOUT / 2);
        assert_eq!(bytes(&sending), FIRST_PIECE as u64 + 15, "there is time left");
        piece(&mut other).await.unwrap().unwrap();
        // The clock cannot be turned, so what the other one took is dated later.
        sending
            .shared
            .table
            .lock()
            .waiting
            .get_mut(&other.id)
            .unwrap()
            .progress = now + TIMEOUT;
        sending.sweep(now + TIMEOUT + Duration::from_secs(1));
        assert_eq!(
            bytes(&sending),
            FIRST_PIECE as u64 + 5,
            "a response that gets on stays"
        );
        assert!(piece(&mut slow).await.unwrap().is_err(), "its stream fails");
        assert_eq!(piece(&mut other).await.unwrap().unwrap(), 5);
        drop(slow);
        drop(other);
        assert_eq!(bytes(&sending), 0);
        assert_eq!(sending.shared.metrics.dropped_responses.get(), 1);
    }

    #[tokio::test]
    async fn the_longest_waiting_make_room() {
        let sending = sending(100);
        let mut bodies: Vec<WatchedBody> = (0..10).map(|_| body(&sending, 10)).collect();
        assert_eq!(bytes(&sending), 100, "exactly full is allowed");
        sending.progress(bodies[0].id, 10);
        bodies.push(body(&sending, 25));
        assert_eq!(bytes(&sending), 95);
        for (index, body) in bodies.iter_mut().enumerate() {
            let dropped = (1..=3).contains(&index);
            assert_eq!(piece(body).await.unwrap().is_err(), dropped, "{index}");
        }
        let mut large = body(&sending, 1000);
        assert!(piece(&mut large).await.unwrap().is_ok(), "the newest one stays");
    }
}
