//! How a worker ends when its drain takes all of its time, and what hangups do to the drain of any role.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use crate::harness::client::{Answer, Call};
use crate::harness::photos;
use crate::harness::process::{Process, ocelli};
use crate::jobs::over_redis::{new_web, web, worker};
use crate::models::repository::worker::become_known;
use crate::models::repository::{Shelf, maker};
use crate::support::eventually;
use crate::support::redis::{Binary, Options, RedisServer};

const SHORT: [&str; 4] = ["--drain-delay", "0s", "--drain-timeout", "1s"];

#[tokio::test]
async fn a_worker_that_holds_nothing_ends_well_though_its_drain_took_too_long() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let worker = worker(&redis.url(), &SHORT).await;
    let web = web(&redis.url(), &[]).await;
    let photo = photos::grey(1);
    let call = web.post("/predict").form([("image", &photo.bytes[..])]);
    assert_eq!(call.send().await.best(), photo.label());
    worker.metric("ocelli_leases", |leases| leases == 0.0).await;
    // Redis takes what it is sent and answers nothing, so the worker cannot tell web processes that it leaves.
    redis.command::<()>(&["CLIENT", "PAUSE", "600000", "ALL"]).await;
    worker.signal("TERM");
    let (status, log) = worker.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(
        log.iter().any(|line| line.contains("every job was answered")),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_worker_that_still_holds_a_job_when_its_time_is_up_says_so() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let hangs = ["--fake-hang-on", "66"];
    let worker = worker(&redis.url(), &[&SHORT[..], &hangs].concat()).await;
    let web = web(&redis.url(), &["--deadline", "5m", "--max-deadline", "5m"]).await;
    let photo = photos::grey(66);
    let asked = web.post("/predict").form([("image", &photo.bytes[..])]).spawn();
    worker.metric("ocelli_leases", |leases| leases == 1.0).await;
    worker.signal("TERM");
    let (status, log) = worker.ended().await;
    assert_eq!(status, Some(1), "{log:?}");
    assert!(
        log.iter()
            .any(|line| line.contains("drain timeout with unanswered jobs")),
        "{log:?}"
    );
    asked.abort();
}

/// Asks until it is stopped, and says how many answers there were, each of which must be good.
async fn ask_until(call: Call, stop: Arc<AtomicBool>) -> usize {
    let mut answers = 0;
    while !stop.load(Ordering::Acquire) {
        let answer = call.clone().send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answers += 1;
    }
    answers
}

/// Lines that say that the folder was looked at.
const LOOKED: &str = "looked at the repository";

#[tokio::test]
async fn ten_hangups_under_load_fail_no_request_and_leave_the_process_able_to_drain() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "first"));
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    command
        .args([
            "--fake-batch-time",
            "5ms",
            "--fake-image-time",
            "0s",
            "--model-dir",
        ])
        .arg(shelf.path());
    let mut process = Process::start(command).await;
    let stop = Arc::new(AtomicBool::new(false));
    let call = process.post("/predict").form([("image", photos::DOG)]);
    let clients: Vec<_> = (0..4)
        .map(|_| tokio::spawn(ask_until(call.clone(), Arc::clone(&stop))))
        .collect();
    for round in 0..5 {
        let label = format!("round{round}");
        shelf.put("a", ("a", "1", &label));
        // Two at a time: the second arrives while the first is under way.
        process.signals(&["HUP", "HUP"]);
        eventually(&format!("{label} is served"), async || {
            maker(&call.clone().send().await) == label
        })
        .await;
    }
    stop.store(true, Ordering::Release);
    for answers in join_all(clients).await {
        assert!(answers.unwrap() > 0);
    }
    process.logs(LOOKED).await;
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
}

#[tokio::test]
async fn hangups_during_a_drain_change_nothing() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    command
        .args([
            "--fake-batch-time",
            "500ms",
            "--fake-image-time",
            "0s",
            "--max-batch",
            "1",
        ])
        .args(["--deadline", "60s", "--model-dir"])
        .arg(shelf.path());
    let mut process = Process::start(command).await;
    let call = process.post("/predict").form([("image", photos::DOG)]);
    let asked: Vec<_> = (0..6).map(|_| call.clone().spawn()).collect();
    process
        .metric("ocelli_admitted_images", |images| images == 6.0)
        .await;
    process.signal("TERM");
    process.logs("draining").await;
    shelf.put("a", ("a", "1", "new"));
    process.signals(&["HUP"; 10]);
    for answer in join_all(asked).await {
        assert_eq!(maker(&answer.unwrap()), "old");
    }
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(
        log.last().unwrap().contains("everything accepted was answered"),
        "{log:?}"
    );
}

/// One image after the other, so that a drain has something to finish.
const SLOW: [&str; 6] = [
    "--fake-batch-time",
    "400ms",
    "--fake-image-time",
    "0s",
    "--max-batch",
    "1",
];

/// Asks several times, and waits until all are let in and a worker has taken one.
async fn asked_of(web: &Process, worker: &Process) -> Vec<JoinHandle<Answer>> {
    const REQUESTS: u8 = 6;
    let call = web.post("/predict").form([("image", photos::DOG)]);
    let asked = (0..REQUESTS).map(|_| call.clone().spawn()).collect();
    web.metric("ocelli_admitted_images", |images| images == f64::from(REQUESTS))
        .await;
    worker.metric("ocelli_leases", |leases| leases > 0.0).await;
    asked
}

#[tokio::test]
async fn hangups_during_the_drain_of_a_worker_change_nothing() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let of_shelf = [
        "--drain-delay",
        "0s",
        "--model-dir",
        shelf.path().to_str().unwrap(),
    ];
    let mut worker = worker(&redis.url(), &[&SLOW[..], &of_shelf].concat()).await;
    let web = new_web(&redis.url(), &[]).await;
    become_known(&web, &["a/1 ready"]).await;
    let asked = asked_of(&web, &worker).await;
    worker.signal("TERM");
    worker.logs("draining").await;
    shelf.put("a", ("a", "1", "new"));
    worker.signals(&["HUP"; 10]);
    for answer in join_all(asked).await {
        assert_eq!(maker(&answer.unwrap()), "old");
    }
    let (status, log) = worker.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    let looked = log.iter().filter(|line| line.contains(LOOKED)).count();
    assert_eq!(looked, 0, "the folder is not looked at again: {log:?}");
    assert!(log.last().unwrap().contains("stopped"), "{log:?}");
}

#[tokio::test]
async fn hangups_during_the_drain_of_a_web_process_change_nothing() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let worker = worker(&redis.url(), &SLOW).await;
    let mut web = web(&redis.url(), &[]).await;
    let asked = asked_of(&web, &worker).await;
    web.signal("TERM");
    web.logs("draining").await;
    web.signals(&["HUP"; 10]);
    for answer in join_all(asked).await {
        assert_eq!(answer.unwrap().best(), photos::dog().label());
    }
    let (status, log) = web.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(
        log.last().unwrap().contains("everything accepted was answered"),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_hangup_while_a_worker_waits_for_redis_does_not_end_it() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    redis.command::<()>(&["CLIENT", "PAUSE", "600000", "ALL"]).await;
    let mut command = ocelli(&["worker", "--listen", "127.0.0.1:0", "--engine", "fake", "--redis"]);
    command.arg(redis.url());
    let worker = Process::start_worker_early(command).await;
    worker.signals(&["HUP"; 3]);
    worker.signal("TERM");
    let (status, log) = worker.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
}
