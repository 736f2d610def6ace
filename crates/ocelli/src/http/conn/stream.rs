//! A client's connection as hyper reads and writes it, watched by a clock.
//!
//! The HTTP library times only the headers of HTTP/1.1, and not the bytes before it knows which protocol is spoken.
//! This clock covers both: from the first moment, and again from the first byte after a response, a request's head
//! has to arrive in time; between requests a connection may idle for longer; while a request is answered the clock
//! is stopped, because then the request's own deadline applies.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What every TLS connection begins with: a handshake record. No HTTP method does.
const TLS_HANDSHAKE: u8 = 0x16;

/// Error responses that bypass the HTTP library.
#[derive(Clone, Debug)]
pub(crate) struct RawResponses {
    /// For a client whose head did not arrive in time.
    pub(crate) late: Arc<[u8]>,
    pub(crate) tls: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientTimes {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    /// To read some of a response.
    pub(crate) take: Duration,
}

/// What the connection is waiting for; shared by its stream and its requests.
#[derive(Debug)]
pub(crate) struct Clock {
    times: ClientTimes,
    state: Mutex<ClockState>,
}

#[derive(Debug)]
struct ClockState {
    deadline: Option<Instant>,
    requests: usize,
    idle: bool,
    unread_body: bool,
    /// The first bytes of the connection, as far as they can be those of HTTP/2.
    preface: usize,
    http1: bool,
    /// Whether the first byte was one of TLS.
    tls: bool,
    head_begun: bool,
    reader: Option<HeadReader>,
}

/// The task that reads the connection, and until when it sleeps.
#[derive(Debug)]
struct HeadReader {
    waker: Waker,
    until: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(times: ClientTimes) -> Arc<Self> {
        let state = ClockState {
            deadline: Some(Instant::now() + times.head),
            requests: 0,
            idle: false,
            unread_body: false,
            preface: 0,
            http1: false,
            tls: false,
            head_begun: false,
            reader: None,
        };
        Arc::new(Self {
            times,
            state: Mutex::new(state),
        })
    }

    /// A request's head has arrived; the clock is stopped until the returned guard is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> RequestGuard {
        let mut state = self.state.lock();
        state.requests += 1;
        state.deadline = None;
        state.idle = false;
        state.head_begun = false;
        RequestGuard {
            clock: Arc::clone(self),
        }
    }

    /// The response precedes the end of the body, so the connection has to be closed gently.
    pub(crate) fn leave_body_unread(&self) {
        self.state.lock().unread_body = true;
    }

    pub(crate) fn has_unread_body(&self) -> bool {
        self.state.lock().unread_body
    }

    pub(crate) fn saw_tls(&self) -> bool {
        self.state.lock().tls
    }

    /// When to give up; `None` while the clock is stopped. `waker` is woken if that moves forward.
    fn deadline(&self, waker: &Waker) -> Option<Instant> {
        let mut state = self.state.lock();
        state.reader = Some(HeadReader {
            waker: waker.clone(),
            until: state.deadline,
        });
        state.deadline
    }

    fn received(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        let first = !state.http1 && state.preface == 0;
        state.tls |= first && bytes.first() == Some(&TLS_HANDSHAKE);
        if !state.http1 && state.preface < HTTP2_PREFACE.len() {
            let rest = &HTTP2_PREFACE[state.preface..];
            let compared = bytes.len().min(rest.len());
            state.http1 = bytes[..compared] != rest[..compared];
            state.preface += compared;
        }
        if state.requests > 0 {
            return;
        }
        state.head_begun = true;
        // HTTP/2 sends frames that belong to no request, so only its idle time is counted.
        if state.idle && state.http1 {
            state.idle = false;
            state.deadline = Some(Instant::now() + self.times.head);
        }
    }

    /// Whether an HTTP/1.1 client began a request that it did not finish, so that it can get an error response.
    fn owes_head(&self) -> bool {
        let state = self.state.lock();
        state.http1 && state.head_begun && state.requests == 0
    }
}

#[derive(Debug)]
pub(crate) struct RequestGuard {
    clock: Arc<Clock>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut state = self.clock.state.lock();
        state.requests -= 1;
        if state.requests == 0 {
            state.idle = true;
            state.head_begun = false;
            let deadline = Instant::now() + self.clock.times.idle;
            state.deadline = Some(deadline);
            let oversleeps = |reader: &mut HeadReader| reader.until.is_none_or(|until| until > deadline);
            if let Some(reader) = state.reader.take_if(oversleeps) {
                drop(state);
                reader.waker.wake();
            }
        }
    }
}

/// The bytes of a connection, until its client is too slow.
#[derive(Debug)]
pub(crate) struct ClientStream {
    socket: Arc<TcpStream>,
    clock: Arc<Clock>,
    timer: Pin<Box<Sleep>>,
    /// The time limit of a client that reads nothing; `None` while it reads.
    stalled: Option<Pin<Box<Sleep>>>,
    responses: RawResponses,
}

impl ClientStream {
    pub(crate) fn new(socket: Arc<TcpStream>, clock: Arc<Clock>, responses: RawResponses) -> Self {
        Self {
            socket,
            clock,
            timer: Box::pin(sleep_until(Instant::now())),
            stalled: None,
            responses,
        }
    }

    /// Pending while there is time; arms the timer.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(deadline) = self.clock.deadline(context.waker()) else {
            return Poll::Pending;
        };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).map(|()| {
            if self.clock.owes_head() {
                // Nothing else is being written, because there is no request. A client that does not read these few bytes
                // goes without them.
                let _ = self.socket.try_write(&self.responses.late);
            }
            io::ErrorKind::TimedOut.into()
        })
    }
}

impl ClientStream {
    /// Pending until the time of a client that reads nothing is over.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let time = self.clock.times.take;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + time)));
        stalled.as_mut().poll(context).map(|()| {
            // What the kernel holds for the client goes with the connection.
            let _ = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
            io::ErrorKind::TimedOut.into()
        })
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.socket.poll_read_ready(context)?.is_pending() {
                return self.poll_late(context).map(Err);
            }
            let before = buffer.filled().len();
            match self.socket.try_read_buf(buffer) {
                Ok(_) => {
                    let arrived = &buffer.filled()[before..];
                    if !arrived.is_empty() {
                        self.clock.received(arrived);
                        if self.clock.saw_tls() {
                            // As above: nothing else is being written.
                            let _ = self.socket.try_write(&self.responses.tls);
                            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                        }
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.socket.poll_write_ready(context)?.is_pending() {
                return self.poll_stalled(context).map(Err);
            }
            match self.socket.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.stalled = None;
                    return Poll::Ready(done);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Write) {
            // A client that has gone already needs no goodbye.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: ClientTimes = ClientTimes {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        take: Duration::from_secs(30),
    };

    fn seconds_left(clock: &Clock) -> Option<u64> {
        clock
            .deadline(Waker::noop())
            .map(|deadline| (deadline - Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_timed_from_its_first_byte_and_an_answer_is_not() {
        let clock = Clock::new(TIMES);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(
            seconds_left(&clock),
            Some(6),
            "the first head is timed from the start"
        );
        clock.received(b"POST /");
        assert_eq!(seconds_left(&clock), Some(6), "more bytes buy no more time");
        assert!(clock.owes_head());
        let request = clock.request();
        assert_eq!(seconds_left(&clock), None);
        clock.received(b"body");
        assert_eq!(seconds_left(&clock), None, "a body is the request's business");
        drop(request);
        assert_eq!(seconds_left(&clock), Some(75));
        assert!(!clock.owes_head(), "a client that idles owes nothing");
        clock.received(b"G");
        assert_eq!(seconds_left(&clock), Some(10));
        assert!(clock.owes_head());
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_is_timed_and_gets_no_http1_answer() {
        let clock = Clock::new(TIMES);
        clock.received(b"P");
        clock.received(&HTTP2_PREFACE[1..16]);
        assert_eq!(seconds_left(&clock), Some(10));
        assert!(!clock.owes_head());
        clock.received(b"nonsense");
        assert!(clock.owes_head(), "what is not the preface is HTTP/1.1");
    }

    #[tokio::test]
    async fn only_the_first_byte_tells_tls() {
        let clock = Clock::new(TIMES);
        clock.received(&[TLS_HANDSHAKE]);
        assert!(clock.saw_tls());
        let clock = Clock::new(TIMES);
        clock.received(b"P");
        clock.received(&[TLS_HANDSHAKE, 3, 1]);
        assert!(!clock.saw_tls(), "a body or a head may hold any byte");
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_between_requests_do_not_start_the_heads_clock() {
        let clock = Clock::new(TIMES);
        clock.received(HTTP2_PREFACE);
        let (first, second) = (clock.request(), clock.request());
        drop(first);
        assert_eq!(seconds_left(&clock), None, "one request is still being answered");
        drop(second);
        clock.received(b"a ping");
        assert_eq!(seconds_left(&clock), Some(75));
    }
}
