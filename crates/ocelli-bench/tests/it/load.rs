//! How much is sent, over how many connections, and when it ends.

use std::time::Duration;

use http::Uri;
use ocelli_bench::{BenchError, Load, Phase, Stop, run, run_until};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::server::{Server, answer, good, good_on_the_wire, read_request};

#[tokio::test]
async fn a_closed_loop_sends_the_count_over_one_connection_a_client() {
    let server = Server::start(|_, _| good()).await;
    let mut config = server.bench(100);
    config.load = Load::Closed { concurrency: 3 };
    let report = run(config, |_| {}).await.unwrap();
    assert_eq!((report.requests, report.ok, report.failed), (100, 100, 0));
    assert_eq!((server.requests(), server.connections()), (100, 3));
    // The first one was opened before the measurement.
    assert_eq!((report.connections, report.connections_opened), (3, 2));
    assert!(!report.interrupted);
    let latency = report.latency_ms.unwrap();
    assert!(latency.min <= latency.p50 && latency.p50 <= latency.p999 && latency.p999 <= latency.max);
    assert!(report.images_per_s > 0.0 && report.generator.cpu_s > 0.0);
}

#[tokio::test]
async fn an_open_loop_keeps_to_its_connections() {
    let server = Server::start(|_, _| good()).await;
    let mut config = server.bench(100);
    config.load = Load::Open { rate: 5000.0 };
    config.max_connections = 2;
    let report = run(config, |_| {}).await.unwrap();
    assert_eq!((report.requests, report.ok, report.unsent), (100, 100, 0));
    assert_eq!(server.requests(), 100);
    assert!(server.connections() <= 2);
}

#[tokio::test]
async fn an_open_loop_goes_on_while_nothing_is_answered() {
    // The first three requests are held until the fourth has come: a loop that waits for answers, or that
    // may open three connections only, never gets there.
    let (server, listener) = Server::bind().await;
    let counts = server.clone();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..4 {
            let mut stream = counts.accept(&listener).await;
            assert!(read_request(&mut stream).await);
            streams.push(stream);
        }
        for stream in &mut streams {
            stream.write_all(good_on_the_wire().as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    let mut config = server.bench(4);
    config.load = Load::Open { rate: 1000.0 };
    config.max_connections = 4;
    let report = run(config, |_| {}).await.unwrap();
    assert_eq!((report.ok, server.connections()), (4, 4));
}

#[tokio::test]
async fn the_warm_up_is_sent_but_not_reported() {
    let server = Server::start(|_, _| good()).await;
    let mut config = server.bench(5);
    config.warmup = Duration::from_millis(20);
    let report = run(config, |_| {}).await.unwrap();
    assert_eq!(report.requests, 5);
    assert_eq!(report.bytes_sent, 5 * 6);
    assert!(server.requests() > 5);
}

#[tokio::test]
async fn a_run_ends_with_a_warm_up_that_fails_as_a_whole() {
    let body = r#"{"success":false,"error":"there is no /wrong","code":"unknown_route"}"#;
    let server = Server::start(move |_, _| answer(404, body)).await;
    for load in [Load::Closed { concurrency: 3 }, Load::Open { rate: 500.0 }] {
        let before = server.requests();
        let mut config = server.bench(1);
        config.url = Uri::try_from(format!("http://{}/wrong", server.address)).unwrap();
        config.load = load;
        config.warmup = Duration::from_millis(20);
        let error = run(config, |_| {}).await.unwrap_err();
        let text = error.to_string();
        let BenchError::WarmUp { requests, .. } = error else {
            panic!("{text}")
        };
        let last = "the last one with 404 unknown_route: there is no /wrong";
        let address = server.address;
        assert_eq!(
            text,
            format!("every warm-up request to http://{address}/wrong failed ({requests} in all), {last}")
        );
        // Measured ones may start while the last of the warm-up are not answered yet.
        let measured = (server.requests() - before) as u64 - requests;
        assert!(measured <= 4, "{measured} of them were sent");
    }
}

#[tokio::test]
async fn a_run_goes_on_after_a_warm_up_that_fails_in_part() {
    // The last answer of the warm-up is bad, and one before it was good.
    let server = Server::start(|number, _| if number == 0 { good() } else { answer(503, "") }).await;
    let mut config = server.bench(5);
    config.warmup = Duration::from_millis(20);
    let report = run(config, |_| {}).await.unwrap();
    assert_eq!((report.requests, report.failed), (5, 5));
}

#[tokio::test]
async fn a_duration_ends_the_run() {
    let server = Server::start(|_, _| good()).await;
    for load in [Load::Closed { concurrency: 2 }, Load::Open { rate: 500.0 }] {
        let before = server.requests();
        let mut config = server.bench(1);
        config.load = load;
        config.stop = Stop::Duration(Duration::from_millis(30));
        let report = run(config, |_| {}).await.unwrap();
        assert!(report.ok > 0 && !report.interrupted);
        assert_eq!(report.ok as usize, server.requests() - before);
    }
}

#[tokio::test]
async fn a_cancelled_run_reports_what_it_has() {
    // Three answers, then silence; the fourth request cancels the run.
    let (heard, mut fourth) = mpsc::channel(1);
    let (server, listener) = Server::bind().await;
    let counts = server.clone();
    tokio::spawn(async move {
        let mut stream = counts.accept(&listener).await;
        for _ in 0..3 {
            assert!(read_request(&mut stream).await);
            stream.write_all(good_on_the_wire().as_bytes()).await.unwrap();
        }
        assert!(read_request(&mut stream).await);
        heard.send(()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let cancel = async move { fourth.recv().await.unwrap() };
    let report = run_until(server.bench(100), cancel, |_| {}).await.unwrap();
    assert!(report.interrupted);
    assert_eq!((report.requests, report.ok, report.abandoned), (4, 3, 1));
    assert!(
        report.warnings[0].contains("interrupted"),
        "{:?}",
        report.warnings
    );
}

#[tokio::test]
async fn progress_ends_at_the_end() {
    let server = Server::start(|_, _| good()).await;
    let mut last = None;
    run(server.bench(10), |progress| last = Some(progress))
        .await
        .unwrap();
    let last = last.unwrap();
    assert_eq!(
        (last.phase, last.ok, last.failed, last.in_flight),
        (Phase::Draining, 10, 0, 0)
    );
    assert!((last.fraction - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    let (server, listener) = Server::bind().await;
    drop(listener);
    let error = run(server.bench(1), |_| {}).await.unwrap_err();
    assert!(matches!(error, BenchError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("start the server first"), "{error}");
}
