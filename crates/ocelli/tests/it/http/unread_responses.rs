//! Responses that clients do not read: bounded in time and in bytes, without a loss for other clients.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ocelli::http::{ConnectionConfig, SendingLimits};
use tokio::net::TcpStream;

use crate::harness::client::Raw;
use crate::harness::server::{Server, Setup};
use crate::{PATIENCE, eventually};

/// A server whose clients have so little time for a response, and room for so many bytes of them.
async fn server(timeout: Duration, bytes: u64) -> Server {
    let setup = Setup::default();
    Setup {
        connections: ConnectionConfig {
            sending: SendingLimits { timeout, bytes },
            ..setup.connections
        },
        ..setup
    }
    .start()
    .await
}

/// An HTTP/2 client that forbids the server to send any body.
async fn silent(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// Asks for the API's description. The answer's head comes, its body does not.
async fn ask(
    client: &mut SendRequest<Empty<Bytes>>,
    address: SocketAddr,
) -> (u64, Response<hyper::body::Incoming>) {
    let request = Request::get(format!("http://{address}/openapi.json"));
    client.ready().await.unwrap();
    let response = client
        .send_request(request.body(Empty::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let length = response.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    (length, response)
}

#[tokio::test]
async fn a_response_that_an_http2_client_does_not_take_is_dropped_in_time() {
    let server = server(Duration::from_secs(1), 128 << 20).await;
    let mut client = silent(server.address).await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(ask(&mut client, server.address).await);
    }
    eventually("all are dropped", async || {
        server.metric("ocelli_dropped_responses_total").await >= 20.0
    })
    .await;
    // What the metrics' own response holds is all there is.
    eventually("nothing is kept", async || {
        server.metric("ocelli_response_bytes").await < kept[0].0 as f64
    })
    .await;
    drop((client, kept));
    server.is_well().await;
}

#[tokio::test]
async fn responses_that_are_not_taken_are_bounded_in_bytes_before_any_time_is_up() {
    let probe = server(PATIENCE * 2, 128 << 20).await;
    let (length, _) = ask(&mut silent(probe.address).await, probe.address).await;
    let server = server(PATIENCE * 2, 4 * length).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = silent(server.address).await;
        let mut kept = Vec::new();
        for _ in 0..10 {
            kept.push(ask(&mut client, server.address).await);
        }
        clients.push((client, kept));
    }
    let held = server.metric("ocelli_response_bytes").await;
    assert!(held <= (4 * length) as f64, "{held} bytes of {length} each");
    let dropped = server.metric("ocelli_dropped_responses_total").await;
    assert!(
        dropped >= 26.0,
        "{dropped} dropped, {held} bytes of {length} each held"
    );
    drop(clients);
    // A client that reads is not among those that lose.
    server.is_well().await;
}

#[tokio::test]
async fn an_http1_client_that_asks_and_never_reads_is_let_go() {
    /// Far more than the system's buffers hold of the answers.
    const REQUESTS: usize = 2000;
    let server = server(Duration::from_secs(1), 128 << 20).await;
    let mut client = Raw::connect(server.address).await;
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS);
    client.write(requests.as_bytes()).await;
    eventually("its connection is closed", async || {
        server.metric("ocelli_connections").await <= 1.0
    })
    .await;
    server.is_well().await;
}

#[tokio::test]
async fn a_client_that_reads_late_but_in_time_gets_all() {
    let server = server(PATIENCE * 2, 128 << 20).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    // It grants less at once than the server hands over.
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1000)
        .handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (length, response) = ask(&mut sender, server.address).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len() as u64, length);
    assert!(body.starts_with(b"{") && body.trim_ascii_end().ends_with(b"}"));
}
