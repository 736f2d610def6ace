//! Every way to fail, told apart.

use std::time::Duration;

use http::{Response, header};
use http_body_util::Full;
use ocelli_bench::{Report, run};
use tokio::io::AsyncWriteExt;

use crate::server::{GOOD, Server, answer, good, read_request};

/// The failures of a report as text, most frequent first.
fn failures(report: &Report) -> Vec<String> {
    report
        .failures
        .iter()
        .map(|failed| format!("{} {}", failed.count, failed.failure))
        .collect()
}

/// What three requests to a server with this raw answer come to.
async fn three_raw(answer: impl Into<bytes::Bytes>) -> Vec<String> {
    let server = Server::start_raw(answer).await;
    let report = run(server.bench(3), |_| {}).await.unwrap();
    assert_eq!((report.requests, report.ok + report.failed), (3, 3));
    failures(&report)
}

#[tokio::test]
async fn statuses_come_with_the_servers_code() {
    let server = Server::start(|number, _| match number % 4 {
        0 => answer(429, r#"{"success":false,"error":"full","code":"queue_full"}"#),
        1 => answer(500, "not json"),
        2 => answer(200, r#"{"success":false}"#),
        _ => good(),
    })
    .await;
    let report = run(server.bench(11), |_| {}).await.unwrap();
    assert_eq!((report.ok, report.failed), (2, 9));
    assert_eq!(failures(&report), ["3 429 queue_full", "3 500", "3 bad answer"]);
    assert_eq!(
        server.connections(),
        1,
        "an error that was read whole leaves the connection usable"
    );
}

#[tokio::test]
async fn latencies_are_those_of_good_answers() {
    let server = Server::start(|_, _| answer(503, "")).await;
    let report = run(server.bench(3), |_| {}).await.unwrap();
    assert_eq!((report.failed, report.latency_ms), (3, None));
}

#[tokio::test]
async fn a_cut_in_the_middle_of_an_answer() {
    let half = format!("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{GOOD}");
    assert_eq!(three_raw(half).await, ["3 connection cut"]);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_head() {
    assert_eq!(three_raw("HTTP/1.1 200 OK\r\ncont").await, ["3 connection cut"]);
}

#[tokio::test]
async fn a_cut_before_the_answer() {
    assert_eq!(three_raw("").await, ["3 connection cut"]);
}

#[tokio::test]
async fn something_that_is_not_http() {
    assert_eq!(three_raw("220 mail.example ESMTP\r\n\r\n").await, ["3 not HTTP"]);
}

#[tokio::test]
async fn an_answer_beyond_the_limit() {
    let mut large = b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n".to_vec();
    large.resize(large.len() + 2_000_000, b' ');
    assert_eq!(three_raw(large).await, ["3 answer too large"]);
}

#[tokio::test]
async fn silence_is_a_timeout_and_costs_the_connection() {
    let server = Server::start_silent().await;
    let mut config = server.bench(3);
    config.request_timeout = Duration::from_millis(10);
    let report = run(config, |_| {}).await.unwrap();
    assert_eq!(failures(&report), ["3 timeout"]);
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn half_an_answer_and_silence_is_a_timeout() {
    let (server, listener) = Server::bind().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_request(&mut stream).await);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    });
    let mut config = server.bench(1);
    config.request_timeout = Duration::from_millis(10);
    let report = run(config, |_| {}).await.unwrap();
    assert_eq!(failures(&report), ["1 timeout"]);
}

#[tokio::test]
async fn a_server_that_goes_away_refuses() {
    let (server, listener) = Server::bind().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        assert!(read_request(&mut stream).await);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{GOOD}",
            GOOD.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let report = run(server.bench(3), |_| {}).await.unwrap();
    assert_eq!(
        (report.ok, failures(&report)),
        (1, vec!["2 connection refused".to_owned()])
    );
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_gets_new_connections() {
    let server = Server::start(|_, _| {
        Response::builder()
            .header(header::CONNECTION, "close")
            .body(Full::from(GOOD))
            .unwrap()
    })
    .await;
    let report = run(server.bench(5), |_| {}).await.unwrap();
    assert_eq!((report.ok, report.failed), (5, 0));
    assert_eq!((server.connections(), report.connections_opened), (5, 4));
}
