//! What stands in a request, and what is read from an answer.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use ocelli_bench::{BenchConfig, BodyForm, run};

use crate::server::{GOOD, Server, good, photo};

/// Runs a benchmark and returns the requests that the server saw.
async fn seen(requests: u64, change: impl FnOnce(&mut BenchConfig)) -> Vec<Request<Bytes>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server::start(move |_, request| {
        log.lock().unwrap().push(request);
        good()
    })
    .await;
    let mut config = server.bench(requests);
    change(&mut config);
    assert_eq!(run(config, |_| {}).await.unwrap().ok, requests);
    std::mem::take(&mut seen.lock().unwrap())
}

#[tokio::test]
async fn photos_take_turns() {
    let seen = seen(5, |config| {
        config.photos = vec![photo("a", b"aa"), photo("b", b"b")];
    })
    .await;
    let bodies: Vec<_> = seen.iter().map(Request::body).collect();
    assert_eq!(bodies, ["aa", "b", "aa", "b", "aa"]);
}

#[tokio::test]
async fn a_raw_request_is_complete() {
    let mut host = String::new();
    let seen = seen(1, |config| {
        host = config.url.authority().unwrap().to_string();
        config.url = Uri::try_from(format!("http://{host}/v1/models/m/predict?top_k=1")).unwrap();
    })
    .await;
    let request = &seen[0];
    assert_eq!(
        (request.method(), request.uri().to_string().as_str()),
        (&Method::POST, "/v1/models/m/predict?top_k=1")
    );
    let header = |name| request.headers()[name].to_str().unwrap();
    assert_eq!(
        (header("host"), header("content-type"), header("content-length")),
        (host.as_str(), "image/jpeg", "6")
    );
    assert_eq!(request.body(), &b"\xff\xd8\xffdog"[..]);
}

#[tokio::test]
async fn a_multipart_request_is_understood_by_a_parser() {
    let seen = seen(1, |config| config.body = BodyForm::Multipart).await;
    assert_eq!(seen[0].uri(), "/predict");
    let boundary = multer::parse_boundary(seen[0].headers()["content-type"].to_str().unwrap()).unwrap();
    let body = seen[0].body().clone();
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
    let mut multipart = multer::Multipart::new(stream, boundary);
    let field = multipart.next_field().await.unwrap().unwrap();
    assert_eq!(
        (field.name(), field.file_name()),
        (Some("image"), Some("dog.jpg"))
    );
    assert_eq!(field.headers()["content-type"], "image/jpeg");
    assert_eq!(field.bytes().await.unwrap(), &b"\xff\xd8\xffdog"[..]);
    assert!(multipart.next_field().await.unwrap().is_none());
}

#[tokio::test]
async fn server_timing_is_averaged() {
    let server = Server::start(|number, _| {
        let timing = format!("decode;dur={}, queue;dur=0.25", number + 1);
        Response::builder()
            .header("server-timing", timing)
            .body(Full::from(GOOD))
            .unwrap()
    })
    .await;
    let report = run(server.bench(3), |_| {}).await.unwrap();
    let timings: Vec<_> = report
        .server_timing
        .iter()
        .map(|t| (t.name.as_str(), t.mean_ms, t.count))
        .collect();
    assert_eq!(timings, [("decode", 2.0, 3), ("queue", 0.25, 3)]);
}

#[tokio::test]
async fn a_chunked_answer_is_put_together() {
    let (first, second) = GOOD.split_at(20);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
         {:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let server = Server::start_raw(chunked).await;
    let report = run(server.bench(2), |_| {}).await.unwrap();
    assert_eq!((report.ok, server.connections()), (2, 2));
}
