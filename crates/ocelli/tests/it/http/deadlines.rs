//! Requests whose deadline has passed.

use std::time::Duration;

use ocelli_engine::FakeCost;
use tokio::task::JoinHandle;

use crate::harness::client::Answer;
use crate::harness::photos;
use crate::harness::server::{Server, Setup};

const PASSED: &str = "ocelli_dropped_total{reason=\"deadline_passed\"}";

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_is_answered_and_nothing_is_computed() {
    let server = Server::start().await;
    let first = server.occupy().await;
    let call = server.photo(&photos::dog()).header("x-timeout-ms", "200");
    let late = call.send().await;
    assert!(late.refused(504, "deadline_exceeded").contains("200ms"));
    server.metric_is("ocelli_admitted_images", 1.0).await;
    server.engine.release();
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    server.metric_is(PASSED, 1.0).await;
    assert_eq!(server.engine.items(), 1);
    server.is_well().await;
}

#[tokio::test]
async fn a_deadline_that_passes_before_the_decoder_is_answered_and_nothing_is_decoded() {
    let mut setup = Setup::default();
    setup.pipeline.cores = 1;
    setup.engine_uses_cores = true;
    setup.http.deadline = Duration::from_millis(300);
    let server = setup.start().await;
    server.engine.hold();
    let first = server
        .photo(&photos::grey(1))
        .header("x-timeout-ms", "100000")
        .spawn();
    server.held(1).await;
    let late = server.photo(&photos::dog()).send().await;
    late.refused(504, "deadline_exceeded");
    server.engine.release();
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    server.metric_is(PASSED, 1.0).await;
    assert_eq!(server.engine.items(), 1);
    server.is_empty().await;
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_engine_is_answered_too() {
    let server = Server::start().await;
    server.engine.hold();
    let late = server
        .photo(&photos::dog())
        .header("x-timeout-ms", "200")
        .send()
        .await;
    late.refused(504, "deadline_exceeded");
    assert_eq!(server.engine.at_gate(), 1, "it was being computed");
    server.engine.release();
    server.is_well().await;
}

#[tokio::test]
async fn images_of_one_request_are_late_one_by_one() {
    let server = Server::start().await;
    let first = server.occupy().await;
    let call = server.post("/v1/models/efficientnet-lite0/predict");
    let both = [("image", photos::DOG), ("image", &b"no image"[..])];
    let answer = call.header("x-timeout-ms", "200").form(both).send().await.ok();
    assert_eq!(answer["results"][0]["code"], "deadline_exceeded");
    assert_eq!(answer["results"][1]["code"], "invalid_image");
    server.engine.release();
    first.await.unwrap().ok();
    assert_eq!(server.engine.items(), 1);
    server.is_well().await;
}

/// A server whose engine takes at least 20 ms an image, with `count` images of low priority in its queue that wait until it is
/// released.
async fn backlog(count: usize) -> (Server, Vec<JoinHandle<Answer>>) {
    let setup = Setup {
        cost: FakeCost {
            fixed: Duration::ZERO,
            per_item: Duration::from_millis(20),
        },
        ..Setup::default()
    };
    let server = setup.start().await;
    server.engine.hold();
    let low = |_| {
        let photo = photos::grey(1);
        server.photo(&photo).header("x-priority", "low").spawn()
    };
    let waiting: Vec<_> = (0..count).map(low).collect();
    server.metric_is("ocelli_admitted_images", count as f64).await;
    (server, waiting)
}

#[tokio::test]
async fn a_deadline_that_the_queue_puts_out_of_reach_is_refused_before_the_body() {
    let (server, waiting) = backlog(120).await;
    let mut client = server.raw().await;
    let head = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: image/jpeg\r\nX-Timeout-Ms: 500\r\n\
                X-Priority: low\r\nContent-Length: 1000\r\n\r\n";
    client.write(head.as_bytes()).await;
    let refused = client.answer().await;
    assert!(refused.refused(429, "deadline_unreachable").contains("500 ms"));
    // At least 120 images of 20 ms and its batch of 8, less the time that the request allows.
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!(after >= 3, "{refused:?}");
    assert_eq!(server.metric("ocelli_admitted_images").await, 120.0);
    server.engine.release();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().best(), photos::grey(1).label());
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_deadline_is_in_reach_of_a_priority_that_overtakes_the_queue() {
    let (server, waiting) = backlog(60).await;
    let ask = |priority: &'static str| {
        let call = server.photo(&photos::dog()).header("x-timeout-ms", "700");
        call.header("x-priority", priority)
    };
    ask("low").send().await.refused(429, "deadline_unreachable");
    let high = ask("high").spawn();
    server.metric_is("ocelli_admitted_images", 61.0).await;
    server.engine.release();
    high.await.unwrap();
    for answer in waiting {
        answer.await.unwrap();
    }
    server.is_well().await;
}

#[tokio::test]
async fn jobs_have_time_and_are_not_refused_for_what_is_before_them() {
    let (server, waiting) = backlog(60).await;
    let job = server.post("/v1/jobs").header("x-timeout-ms", "500");
    let dog = photos::dog();
    let accepted = job.form([("image", &dog.bytes[..])]).send().await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    server.engine.release();
    for answer in waiting {
        answer.await.unwrap();
    }
}
