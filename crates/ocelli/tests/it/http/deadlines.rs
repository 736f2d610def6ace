//! Requests whose deadline has passed.

use std::time::Duration;

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
