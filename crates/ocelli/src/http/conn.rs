//! Accepts connections, serves them, and closes them without cutting off responses.

pub(crate) mod receiving;
pub(crate) mod sending;
pub(crate) mod stream;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::ConnectionConfig;
use super::access_log::AccessLine;
use super::response::{log_unfinished, raw_response};
use crate::error::Error;
use crate::metrics::{GaugeGuard, Metrics};
use crate::process::lifecycle::{Lifecycle, Stage};
use sending::Sending;
use stream::{ClientStream, ClientTimes, Clock, RawResponses};

/// How much of a connection's input hyper reads at once: most photos arrive in one piece, which is not copied again. Idle
/// connections hold no such buffer.
const READ_BUFFER: usize = 256 * 1024;

/// Streams that one HTTP/2 client may have open.
const HTTP2_STREAMS: u32 = 128;

/// Receive windows of HTTP/2: a photo should not need a round trip for each 64 KiB, the protocol's default.
const HTTP2_WINDOW: u32 = 1024 * 1024;

/// How much of a response the library buffers for a client that does not read.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;

/// Between HTTP/2 pings, and how long a client may take to answer one.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// How long connections without a request stay open once the server is closing, so that requests which are already on
/// their way are answered.
const CLOSING_GRACE: Duration = Duration::from_millis(500);

/// After a response that preceded the end of the body: how long and how much to read on, so that the client reads the
/// response before the connection closes.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// The same once the server is closing.
const CLOSING_LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024 * 1024;

/// After an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 and h2c on `listener` until the lifecycle is closing, and returns when every connection has
/// ended, or once the lifecycle is closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: ConnectionConfig,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
) {
    let sending = Sending::new(config.sending, Arc::clone(&metrics));
    let server = Arc::new(Server {
        router,
        sending: sending.clone(),
        raw_responses: RawResponses {
            late: raw_response(&Error::HeaderTimeout(config.header_timeout)),
            tls: raw_response(&Error::InvalidRequest(
                "this port speaks HTTP, and the client began with TLS; use http://, or put a proxy with TLS in front"
                    .to_owned(),
            )),
        },
        warned_of_tls: AtomicBool::new(false),
        times: ClientTimes {
            head: config.header_timeout,
            idle: config.idle_timeout,
            take: config.sending.timeout,
        },
        access_log: config.access_log,
        lifecycle,
        metrics,
    });
    tokio::select! {
        () = sending.sweep_forever() => {}
        () = accept_all(listener, server, config.max_connections) => {}
    }
}

/// Serves every client, and returns when every connection has ended.
async fn accept_all(listener: TcpListener, server: Arc<Server>, max_connections: usize) {
    let room = Arc::new(Semaphore::new(max_connections));
    let connections = TaskTracker::new();
    loop {
        let socket = tokio::select! {
            () = server.lifecycle.reached(Stage::Closing) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match socket {
            Ok((socket, place)) => {
                let serving = Arc::clone(&server).serve(socket);
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    for socket in backlog(listener) {
        connections.spawn(Arc::clone(&server).serve(socket));
    }
    connections.close();
    connections.wait().await;
}

/// The connections in the listen queue, whose clients believe that they are connected. The system is asked directly, because
/// tokio knows only of those that its last poll found.
fn backlog(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    std::iter::from_fn(|| listener.accept().ok())
        .filter_map(|(socket, _)| {
            socket.set_nonblocking(true).ok()?;
            TcpStream::from_std(socket).ok()
        })
        .collect()
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (socket, _) = listener.accept().await?;
    Ok((socket, place))
}

struct Server {
    router: Router,
    sending: Sending,
    raw_responses: RawResponses,
    warned_of_tls: AtomicBool,
    times: ClientTimes,
    access_log: bool,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
}

impl Server {
    async fn serve(self: Arc<Self>, socket: TcpStream) {
        let lifecycle = self.lifecycle.clone();
        tokio::select! {
            () = self.serve_to_end(socket) => {}
            () = lifecycle.reached(Stage::Closed) => {}
        }
    }

    async fn serve_to_end(self: Arc<Self>, socket: TcpStream) {
        let _counted = GaugeGuard::new(&self.metrics.connections);
        // Responses are small and complete, so there is nothing to wait for before sending.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "connection closed before it was served");
            return;
        }
        let socket = Arc::new(socket);
        let clock = Clock::new(self.times);
        let stream = ClientStream::new(
            Arc::clone(&socket),
            Arc::clone(&clock),
            self.raw_responses.clone(),
        );
        let service =
            service_fn(|request| Arc::clone(&self).call(request, Arc::clone(&clock), Arc::clone(&socket)));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(READ_BUFFER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_send_buf_size(HTTP2_SEND_BUFFER)
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING)
            .initial_stream_window_size(HTTP2_WINDOW)
            .initial_connection_window_size(HTTP2_WINDOW);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.closing() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(error, "connection ended early");
        }
        if clock.saw_tls() {
            self.report_tls(&socket);
        }
        if clock.has_unread_body() {
            self.linger(&socket).await;
        }
    }

    /// Counts a client that spoke TLS. One warning is enough to find the mistake; later ones may be scanners.
    fn report_tls(&self, socket: &TcpStream) {
        let code = Error::InvalidRequest(String::new()).status();
        self.metrics.count_request("other", code.http, code.code);
        let client = socket
            .peer_addr()
            .map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
        if self.warned_of_tls.swap(true, Ordering::Relaxed) {
            tracing::debug!(client, "TLS handshake on the HTTP port");
        } else {
            tracing::warn!(
                client,
                "TLS handshake on the HTTP port; use http://, or put a proxy with TLS in front"
            );
        }
    }

    async fn closing(&self) {
        self.lifecycle.reached(Stage::Closing).await;
        sleep(CLOSING_GRACE).await;
    }

    /// Answers one request. The clock is stopped until the last byte of the response is handed over.
    async fn call(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        clock: Arc<Clock>,
        socket: Arc<TcpStream>,
    ) -> Result<Response<Body>, Infallible> {
        let guard = clock.request();
        let version = request.version();
        request.extensions_mut().insert(clock);
        let line = AccessLine::begin(self.access_log, &request, || socket.peer_addr().ok());
        if let Some(line) = &line {
            request.extensions_mut().insert(Arc::clone(line));
        }
        let mut router = self.router.clone();
        let response = router.call(request).await?;
        log_unfinished(&response);
        Ok(response.map(|body| self.sending.watch(body, (guard, line), (version, &socket))))
    }

    /// Reads on until the client closes, within limits (as nginx' `lingering_close`): closing a socket with unread input makes
    /// the kernel discard a response that is still being sent.
    async fn linger(&self, socket: &TcpStream) {
        let closing = self.lifecycle.stage() >= Stage::Closing;
        let time = if closing { CLOSING_LINGER } else { LINGER_TIME };
        let mut left = LINGER_BYTES;
        let mut buffer = vec![0; READ_BUFFER];
        let drain = async {
            while left > 0 && socket.readable().await.is_ok() {
                match socket.try_read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => left = left.saturating_sub(read as u64),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
        };
        // A client that keeps sending is cut off.
        let _ = timeout(time, drain).await;
    }
}
