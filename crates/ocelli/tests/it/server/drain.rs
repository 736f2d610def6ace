//! The end: what was accepted is answered, and then it is over.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::Method;
use ocelli::server::ServeEnd;
use ocelli_engine::fake::FakeControl;

use crate::eventually;
use crate::harness::client::{Call, Connection, Raw};
use crate::harness::photos;
use crate::harness::process::Process;
use crate::harness::server::{Server, Setup};
use crate::jobs::over_redis;
use crate::support::redis::{Binary, Options, RedisServer};

/// What a client saw of a server that is stopping.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    /// Requests that were sent on an open connection and got no whole answer.
    cut: Vec<String>,
}

/// Sends one photo after the other until no connection can be had any more.
async fn keep_asking(address: SocketAddr) -> Seen {
    let call = Call::new(address, Method::POST, "/predict").form([("image", photos::DOG)]);
    let mut seen = Seen::default();
    // A refused connection is the end: such a request was not accepted.
    while let Ok(mut connection) = Connection::try_http1(address).await {
        loop {
            match call.clone().try_send_on(&mut connection).await {
                Ok(answer) if answer.status == 200 => seen.answered += 1,
                Ok(answer) => seen.cut.push(format!("{answer:?}")),
                // The connection had ended before anything was sent, so there is somewhere else to ask.
                Err(error) if error.is_canceled() => break,
                Err(error) => seen.cut.push(format!("{error:?}")),
            }
            let Connection::Http1(sender) = &mut connection else {
                unreachable!("it was asked for");
            };
            if sender.ready().await.is_err() {
                break;
            }
        }
    }
    seen
}

async fn drains_under_load(signal: &str) {
    let process = Process::fake(&["--fake-batch-time", "5ms", "--fake-image-time", "0s"]).await;
    let clients: Vec<_> = (0..32)
        .map(|_| tokio::spawn(keep_asking(process.address)))
        .collect();
    process
        .metric("ocelli_images_total", |images| images >= 100.0)
        .await;
    process.signal(signal);
    let seen: Vec<Seen> = join_all(clients).await.into_iter().map(Result::unwrap).collect();
    let cut: Vec<&String> = seen.iter().flat_map(|seen| &seen.cut).collect();
    assert!(cut.is_empty(), "{} requests were cut: {cut:?}", cut.len());
    assert!(seen.iter().all(|seen| seen.answered > 0), "{seen:?}");
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(
        log.iter()
            .any(|line| line.contains("draining") && line.contains(signal)),
        "{log:?}"
    );
    assert!(
        log.last()
            .unwrap()
            .contains("stopped; everything accepted was answered"),
        "{log:?}"
    );
}

#[tokio::test]
async fn sigterm_under_load_answers_everything_that_was_accepted() {
    drains_under_load("TERM").await;
}

#[tokio::test]
async fn ctrl_c_under_load_answers_everything_that_was_accepted() {
    drains_under_load("INT").await;
}

#[tokio::test]
async fn readiness_fails_first_while_photos_are_still_taken() {
    let process = Process::fake(&["--fake-image-time", "1ms", "--drain-delay", "5s"]).await;
    let mut kept = Connection::http1(process.address).await;
    process.get("/readyz").send_on(&mut kept).await;
    process.signal("TERM");
    eventually("readiness fails", async || {
        process.get("/readyz").send().await.status == 503
    })
    .await;
    // On a connection of its own and on one that was there before, which is asked to go.
    for call in [None, Some(&mut kept)] {
        let photo = process.post("/predict").form([("image", photos::DOG)]);
        let answer = match call {
            None => photo.send().await,
            Some(connection) => photo.send_on(connection).await,
        };
        assert_eq!(answer.best(), photos::dog().label());
        assert_eq!(answer.header("connection"), "close");
    }
    process.get("/readyz").send().await.refused(503, "not_ready");
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test]
async fn signals_that_follow_each_other_at_once_are_one_request() {
    for signals in [["TERM", "TERM"], ["INT", "INT"], ["TERM", "INT"]] {
        let process = Process::fake(&["--fake-batch-time", "500ms", "--fake-image-time", "0s"]).await;
        let asked = process.post("/predict").form([("image", photos::DOG)]).spawn();
        process
            .metric("ocelli_admitted_images", |images| images == 1.0)
            .await;
        process.signals(&signals);
        assert_eq!(asked.await.unwrap().best(), photos::dog().label());
        let (status, log) = process.ended().await;
        assert_eq!(status, Some(0), "{signals:?}: {log:?}");
    }
}

#[tokio::test]
async fn a_web_process_leaves_redis_though_a_request_is_not_answered_in_time() {
    /// A grey on which the worker's engine never comes back.
    const MARKED: u8 = 66;
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = over_redis::worker(&redis.url(), &["--fake-hang-on", "66"]).await;
    let patience = [
        "--deadline",
        "5m",
        "--max-deadline",
        "5m",
        "--drain-timeout",
        "1s",
    ];
    let web = over_redis::web(&redis.url(), &patience).await;
    let photo = photos::grey(MARKED);
    let asked = web.post("/predict").form([("image", &photo.bytes[..])]).spawn();
    web.metric("ocelli_admitted_images", |images| images == 1.0).await;
    let replies = async || redis.keys().await.iter().any(|key| key.contains(":replies:"));
    assert!(replies().await, "it has a place for replies");
    web.signal("TERM");
    let (status, log) = web.ended().await;
    assert_eq!(status, Some(1), "{log:?}");
    assert!(log.last().unwrap().contains("not answered in time"), "{log:?}");
    assert!(!replies().await, "the parts behind the connections have ended");
    asked.abort();
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let mut process = Process::fake(&["--fake-image-time", "1ms", "--drain-delay", "1h"]).await;
    process.signal("TERM");
    process.logs("draining").await;
    // It counts from a second after the first on.
    eventually("a second signal ends it", async || {
        let ended = process.has_ended();
        if !ended {
            process.signal("INT");
        }
        ended
    })
    .await;
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(1), "{log:?}");
    assert!(log.last().unwrap().contains("second signal"), "{log:?}");
}

/// The start of a photo's request, and its rest.
fn halves(process: &Process) -> (Vec<u8>, Vec<u8>) {
    let wire = process.post("/predict").form([("image", photos::DOG)]).wire();
    (wire[..1000].to_vec(), wire[1000..].to_vec())
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_refused_and_holds_nothing_up() {
    let process = Process::fake(&["--fake-image-time", "1ms", "--drain-timeout", "1h"]).await;
    let (begin, _) = halves(&process);
    let mut stuck = Raw::connect(process.address).await;
    stuck.write(&begin).await;
    process
        .metric("ocelli_receiving_requests", |requests| requests == 1.0)
        .await;
    process.signal("TERM");
    let answer = stuck.answer().await;
    let text = answer.refused(503, "not_ready");
    assert!(text.contains("body has not arrived"), "{text}");
    assert_eq!(answer.header("connection"), "close");
    // The client keeps its end open.
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(
        log.last().unwrap().contains("everything accepted was answered"),
        "{log:?}"
    );
    drop(stuck);
}

#[tokio::test]
async fn a_body_that_was_on_its_way_when_the_signal_came_is_answered() {
    let mut process = Process::fake(&["--fake-image-time", "1ms", "--drain-delay", "500ms"]).await;
    let (begin, rest) = halves(&process);
    let mut client = Raw::connect(process.address).await;
    client.write(&begin).await;
    process
        .metric("ocelli_receiving_requests", |requests| requests == 1.0)
        .await;
    process.signal("TERM");
    process.logs("draining").await;
    client.write(&rest).await;
    assert_eq!(client.answer().await.best(), photos::dog().label());
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test]
async fn half_a_head_holds_nothing_up() {
    let patient = ["--header-timeout", "1h", "--drain-timeout", "1h"];
    let process = Process::fake(&[&["--fake-image-time", "1ms"][..], &patient].concat()).await;
    let mut stuck = Raw::connect(process.address).await;
    stuck.write(b"GET /livez HTTP/1.1\r\nHost").await;
    process
        .metric("ocelli_connections", |connections| connections == 2.0)
        .await;
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(
        log.iter().any(|line| line.contains("closing connections")),
        "{log:?}"
    );
    drop(stuck);
}

/// Over HTTP/2, a client that lets the server send nothing of a response and answers no ping either.
#[tokio::test]
async fn a_response_that_is_not_taken_holds_nothing_up() {
    let patient = ["--response-timeout", "1h", "--drain-timeout", "1h"];
    let process = Process::fake(&[&["--fake-image-time", "1ms"][..], &patient].concat()).await;
    let mut client = Raw::connect(process.address).await;
    client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // SETTINGS with INITIAL_WINDOW_SIZE 0.
    client.write(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await;
    // HEADERS of `GET /openapi.json`, authority `x`: indexed fields and two literals.
    let mut headers = vec![0x82, 0x86, 0x04, 13];
    headers.extend(b"/openapi.json");
    headers.extend([0x01, 1, b'x']);
    client
        .write(&[0, 0, u8::try_from(headers.len()).unwrap(), 1, 5, 0, 0, 0, 1])
        .await;
    client.write(&headers).await;
    process
        .metric("ocelli_response_bytes", |bytes| bytes > 1000.0)
        .await;
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    drop(client);
}

#[tokio::test]
async fn a_signal_during_the_start_ends_it() {
    let mut server = Setup::default().begin(FakeControl::hold).await;
    server.held(1).await;
    server.begin_to_stop();
    // What loads cannot be stopped, so the process ends without it.
    assert_eq!(server.ended().await.unwrap(), ServeEnd::Drained);
}

#[tokio::test]
async fn what_was_queued_when_the_end_began_is_computed() {
    let mut server = Server::start().await;
    let first = server.occupy().await;
    let queued: Vec<_> = (2..=30)
        .map(|level| (level, server.photo(&photos::grey(level)).spawn()))
        .collect();
    server.metric_is("ocelli_admitted_images", 30.0).await;
    server.begin_to_stop();
    let address = server.address;
    eventually("no connection can be had", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    server.engine.release();
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    for (level, answer) in queued {
        assert_eq!(answer.await.unwrap().best(), photos::grey(level).label());
    }
    let engine = server.engine.clone();
    assert_eq!(server.stop().await, ServeEnd::Drained);
    assert_eq!(engine.live_instances(), 0, "its threads have ended");
}

#[tokio::test]
async fn a_drain_that_is_cut_short_says_so() {
    let mut setup = Setup::default();
    setup.drain.timeout = Duration::from_millis(100);
    let server = setup.start().await;
    let first = server.occupy().await;
    assert_eq!(server.stop().await, ServeEnd::CutShort);
    first.abort();
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut setup = Setup::default();
    setup.drain.timeout = crate::PATIENCE;
    let server = setup.start().await;
    let mut http1 = Connection::http1(server.address).await;
    let mut http2 = Connection::http2(server.address).await;
    server.get("/livez").send_on(&mut http1).await;
    server.get("/livez").send_on(&mut http2).await;
    let silent = server.raw().await;
    server.metric_is("ocelli_connections", 4.0).await;
    assert_eq!(server.stop().await, ServeEnd::Drained);
    drop((http1, http2, silent));
}
