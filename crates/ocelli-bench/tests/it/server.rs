//! Servers that behave, and servers that do not. Each lives as long as its test's runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ocelli_bench::{BenchConfig, BodyForm, Load, Photo, Stop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A good answer.
pub(crate) const GOOD: &str = r#"{"success":true,"predictions":[{"label":"beagle","probability":0.9}]}"#;

/// A server that counts what reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each whole request, numbered from 0, with what `answer` makes of it.
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(usize, Request<Bytes>) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
    {
        let (server, listener) = Self::bind().await;
        let counts = server.clone();
        tokio::spawn(async move {
            loop {
                let stream = counts.accept(&listener).await;
                let (requests, answer) = (Arc::clone(&counts.requests), answer.clone());
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (requests, answer) = (Arc::clone(&requests), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let number = requests.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, hyper::Error>(answer(number, Request::from_parts(head, body)))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    /// Reads one request from each connection, writes `answer` as it is and hangs up.
    pub(crate) async fn start_raw(answer: impl Into<Bytes>) -> Self {
        let (server, listener) = Self::bind().await;
        let (counts, answer) = (server.clone(), answer.into());
        tokio::spawn(async move {
            loop {
                let mut stream = counts.accept(&listener).await;
                let (counts, answer) = (counts.clone(), answer.clone());
                tokio::spawn(async move {
                    if read_request(&mut stream).await {
                        counts.requests.fetch_add(1, Ordering::Relaxed);
                        // A client that has seen enough may be gone.
                        let _ = stream.write_all(&answer).await;
                    }
                });
            }
        });
        server
    }

    /// Takes requests and never answers.
    pub(crate) async fn start_silent() -> Self {
        let (server, listener) = Self::bind().await;
        let counts = server.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                held.push(counts.accept(&listener).await);
            }
        });
        server
    }

    /// A port of the system's choice, and counts at zero.
    pub(crate) async fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (
            Self {
                address,
                connections: Arc::default(),
                requests: Arc::default(),
            },
            listener,
        )
    }

    pub(crate) async fn accept(&self, listener: &TcpListener) -> TcpStream {
        let (stream, _) = listener.accept().await.unwrap();
        self.connections.fetch_add(1, Ordering::Relaxed);
        stream
    }

    /// The connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The requests read to their end so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// A benchmark of this server: one client, `requests` raw photos.
    pub(crate) fn bench(&self, requests: u64) -> BenchConfig {
        BenchConfig {
            url: Uri::try_from(format!("http://{}", self.address)).unwrap(),
            tls: None,
            photos: vec![photo("dog.jpg", b"\xff\xd8\xffdog")],
            body: BodyForm::Raw,
            load: Load::Closed { concurrency: 1 },
            stop: Stop::Requests(requests),
            warmup: Duration::ZERO,
            request_timeout: Duration::from_secs(30),
            max_connections: 4,
        }
    }
}

pub(crate) fn photo(name: &str, bytes: &'static [u8]) -> Photo {
    Photo {
        name: name.to_owned(),
        bytes: Bytes::from_static(bytes),
    }
}

pub(crate) fn good() -> Response<Full<Bytes>> {
    Response::new(Full::from(GOOD))
}

/// A good answer as it travels.
pub(crate) fn good_on_the_wire() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len())
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::new(body.into()))
        .unwrap()
}

/// Reads until the end of the photo of [`Server::bench`]. False if the client leaves before.
pub(crate) async fn read_request(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.ends_with(b"\xff\xd8\xffdog") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
        }
    }
    true
}
