//! Connections on which nothing happens, or too slowly.

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::client::{Connection, Raw};
use crate::harness::photos;
use crate::harness::server::{Server, Setup};
use crate::{PATIENCE, eventually};

/// A server that waits a second for heads, and forever for the next request.
async fn impatient() -> Server {
    let mut setup = Setup::default();
    setup.connections.header_timeout = Duration::from_secs(1);
    setup.start().await
}

/// Connects, writes `bytes` and nothing else, and returns what the server sends until it closes the connection.
async fn after(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.raw().await;
    client.write(bytes).await;
    client.until_closed().await
}

#[tokio::test]
async fn silence_and_half_a_preface_are_closed_without_a_response() {
    let server = impatient().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let answers = [0, 1, 16].map(|bytes| after(&server, &preface[..bytes]));
    assert_eq!(join_all(answers).await, ["", "", ""]);
    server.is_well().await;
}

#[tokio::test]
async fn a_slow_head_gets_an_error() {
    let server = impatient().await;
    let heads = [
        "G",
        "POST /predict HTTP/1.1\r\n",
        "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n",
        // It begins as the preface of HTTP/2 does, and is another thing after all.
        "PRI * HTTP/1.1\r\n",
    ];
    let answers = join_all(heads.map(|head| after(&server, head.as_bytes()))).await;
    for (head, answer) in heads.iter().zip(answers) {
        assert!(
            answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{head:?}: {answer}"
        );
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "header_timeout");
        assert_eq!(body["success"], false);
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_head_that_trickles_is_slow_all_the_same() {
    let server = impatient().await;
    let client = server.raw().await;
    let mut head = b"GET /livez HTTP/1.1\r\n".to_vec();
    head.extend(b"X-Slow: x\r\n".repeat(100_000));
    let mut sent = 0;
    // One byte after the other until the server has had enough, never a pause as long as the limit.
    while client.0.try_read(&mut [0; 1]).is_err() {
        if client.0.try_write(&head[sent..=sent]).is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(sent < head.len(), "the server never had enough");
    server.is_well().await;
}

#[tokio::test]
async fn the_second_head_of_a_connection_is_timed_too() {
    let server = impatient().await;
    let mut client = server.raw().await;
    client.write(&server.get("/livez").wire()).await;
    assert_eq!(client.answer().await.text(), "ok\n");
    client.write(b"GET /li").await;
    let answer = client.until_closed().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.is_well().await;
}

/// Waits until a head that begins now is late.
async fn header_timeout_passes(server: &Server) {
    assert_eq!(after(server, b"").await, "");
}

#[tokio::test]
async fn a_connection_may_idle_for_longer_than_a_head_may_take() {
    let server = impatient().await;
    let mut kept = Connection::http1(server.address).await;
    let mut kept2 = Connection::http2(server.address).await;
    for _ in 0..2 {
        for connection in [&mut kept, &mut kept2] {
            assert_eq!(server.get("/livez").send_on(connection).await.text(), "ok\n");
        }
        header_timeout_passes(&server).await;
    }
    drop((kept, kept2));
    server.is_well().await;
}

#[tokio::test]
async fn a_request_may_take_longer_than_its_head() {
    let server = impatient().await;
    let first = server.occupy().await;
    header_timeout_passes(&server).await;
    header_timeout_passes(&server).await;
    server.engine.release();
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    server.is_well().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let mut setup = Setup::default();
    setup.connections.idle_timeout = Duration::from_millis(200);
    let server = setup.start().await;
    let mut client = server.raw().await;
    client.write(&server.get("/livez").wire()).await;
    assert_eq!(client.answer().await.text(), "ok\n");
    assert_eq!(
        client.until_closed().await,
        "",
        "an idle client owes nothing and hears nothing"
    );
    server.is_well().await;
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed_in_the_end() {
    let mut setup = Setup::default();
    setup.connections.idle_timeout = Duration::from_millis(200);
    let server = setup.start().await;
    // Often, for the end of a request and the watch on its connection are on different threads.
    for _ in 0..10 {
        let mut connection = Connection::http2(server.address).await;
        assert_eq!(server.get("/livez").send_on(&mut connection).await.text(), "ok\n");
        let Connection::Http2(sender) = &mut connection else {
            unreachable!("it was asked for");
        };
        eventually("the connection is closed", async || sender.is_closed()).await;
    }
    server.is_well().await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let mut setup = Setup::default();
    setup.connections.max_connections = 2;
    let server = setup.start().await;
    let mut first = Raw::connect(server.address).await;
    let mut second = Raw::connect(server.address).await;
    for client in [&mut first, &mut second] {
        client.write(&server.get("/livez").wire()).await;
        assert_eq!(client.answer().await.text(), "ok\n");
    }
    let third = server.get("/livez").spawn();
    // The first two are still served, and leaving makes room.
    first.write(&server.get("/livez").wire()).await;
    assert_eq!(first.answer().await.text(), "ok\n");
    assert!(!third.is_finished());
    drop(second);
    let third = tokio::time::timeout(PATIENCE, third).await.unwrap().unwrap();
    assert_eq!(third.text(), "ok\n");
    drop(first);
    server.is_well().await;
}
