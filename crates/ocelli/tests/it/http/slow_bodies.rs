//! Bodies that arrive slowly or not at all: they cost only their own clients.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::harness::client::Raw;
use crate::harness::photos;
use crate::harness::server::{Server, Setup};

const RECEIVING: &str = "ocelli_receiving_requests";
const EVICTED: &str = "ocelli_requests_total{route=\"/predict\",status=\"408\",code=\"body_timeout\"}";

/// A client that declares a large body, asks for a long time, and sends only this much.
async fn silent(server: &Server, sent: usize) -> Raw {
    let mut client = server.raw().await;
    let head = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: image/jpeg\r\nX-Timeout-Ms: 60000\r\n\
                Content-Length: 1000000\r\n\r\n";
    client.write(head.as_bytes()).await;
    client.write(&vec![0; sent]).await;
    client
}

/// Connects them one after the other, where no more than four can be received at once.
async fn several_silent(server: &Server, count: usize) -> Vec<Raw> {
    let mut clients = Vec::new();
    for shown in 1..=count {
        clients.push(silent(server, 0).await);
        if shown <= 4 {
            server.metric_is(RECEIVING, shown as f64).await;
        } else {
            server.metric_is(EVICTED, (shown - 4) as f64).await;
        }
    }
    clients
}

#[tokio::test]
async fn silent_requests_hold_no_queue_slots_and_no_bytes() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 1;
    setup.pipeline.admission.bytes = 1_000_000;
    let server = setup.start().await;
    let silent = several_silent(&server, 4).await;
    assert_eq!(server.metric("ocelli_admitted_images").await, 0.0);
    assert_eq!(server.metric("ocelli_admitted_bytes").await, 0.0);
    let dog = photos::dog();
    assert_eq!(server.photo(&dog).send().await.best(), dog.label());
    drop(silent);
    server.is_well().await;
}

#[tokio::test]
async fn silent_requests_beyond_the_limit_make_room_for_good_ones() {
    let mut setup = Setup::default();
    setup.http.receiving.requests = 4;
    let server = setup.start().await;
    let mut silent = several_silent(&server, 20).await;
    let dog = photos::dog();
    for _ in 0..20 {
        assert_eq!(server.photo(&dog).send().await.best(), dog.label());
    }
    // One of the last four made room for the good ones, and the others are in the way of none.
    for client in &mut silent[..17] {
        let error = client.answer().await.refused(408, "body_timeout");
        assert!(error.contains("more slowly than others"), "{error}");
    }
    server.metric_is(RECEIVING, 3.0).await;
    drop(silent);
    server.is_well().await;
}

#[tokio::test]
async fn silent_streams_of_one_connection_make_room_too() {
    let mut setup = Setup::default();
    setup.http.receiving.requests = 4;
    let server = setup.start().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let streams: Vec<_> = (0..100)
        .map(|_| {
            let mut sender = sender.clone();
            let request = Request::post(format!("http://{}/predict", server.address))
                .header("x-timeout-ms", "60000")
                .body(StreamBody::new(stream::pending::<
                    Result<Frame<Bytes>, std::io::Error>,
                >()))
                .unwrap();
            tokio::spawn(async move {
                sender.ready().await?;
                sender.send_request(request).await
            })
        })
        .collect();
    server.metric_is(RECEIVING, 4.0).await;
    let dog = photos::dog();
    for _ in 0..4 {
        assert_eq!(server.photo(&dog).send().await.best(), dog.label());
    }
    server.metric_is(EVICTED, 97.0).await;
    streams.iter().for_each(tokio::task::JoinHandle::abort);
    drop((sender, streams));
    server.is_well().await;
}

#[tokio::test]
async fn bodies_that_hoard_bytes_make_room_for_smaller_ones() {
    let mut setup = Setup::default();
    setup.http.receiving.bytes = 1_000_000;
    let server = setup.start().await;
    let mut hoarder = silent(&server, 999_000).await;
    server.metric_is("ocelli_receiving_bytes", 999_000.0).await;
    let dog = photos::dog();
    assert_eq!(server.photo(&dog).send().await.best(), dog.label());
    hoarder.answer().await.refused(408, "body_timeout");
    drop(hoarder);
    server.is_well().await;
}

#[tokio::test]
async fn a_body_has_a_time_of_its_own_whatever_the_client_asks_for() {
    let mut setup = Setup::default();
    setup.http.receiving.timeout = Duration::from_secs(1);
    let server = setup.start().await;
    let mut client = silent(&server, 1000).await;
    let error = client.answer().await.refused(408, "body_timeout");
    assert!(error.contains("--body-timeout"), "{error}");
    assert!(
        client.until_closed().await.is_empty(),
        "the rest is not waited for"
    );
    server.is_well().await;
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let mut setup = Setup::default();
    setup.http.receiving.grace = Duration::from_secs(1);
    let server = setup.start().await;
    let mut client = silent(&server, 1000).await;
    let error = client.answer().await.refused(408, "body_timeout");
    assert!(error.contains("--min-body-rate"), "{error}");
    drop(client);
    server.is_well().await;
}

#[tokio::test]
async fn a_slot_is_taken_when_the_body_is_there() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 1;
    let server = setup.start().await;
    let wire = server.photo(&photos::dog()).wire();
    let mut slow = server.raw().await;
    slow.write(&wire[..wire.len() - 1]).await;
    server.metric_is(RECEIVING, 1.0).await;
    let first = server.occupy().await;
    slow.write(&wire[wire.len() - 1..]).await;
    let refused = slow.answer().await;
    refused.refused(429, "queue_full");
    assert!(!refused.header("retry-after").is_empty());
    server.engine.release();
    first.await.unwrap().ok();
    slow.write(&wire).await;
    assert_eq!(
        slow.answer().await.best(),
        photos::dog().label(),
        "on the same connection"
    );
    drop(slow);
    server.is_well().await;
}
