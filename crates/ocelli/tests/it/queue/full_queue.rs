//! A full queue: requests that come too late get a true Retry-After, and nothing is lost.

use serde_json::json;

use crate::harness::client::Connection;
use crate::harness::photos;
use crate::harness::server::Setup;
use crate::models::repository::Shelf;

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_the_connection_lives() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 2;
    let server = setup.start().await;
    let first = server.occupy().await;
    let second = server.photo(&photos::grey(2)).spawn();
    server.metric_is("ocelli_admitted_images", 2.0).await;
    let mut connection = Connection::http1(server.address).await;
    for _ in 0..50 {
        let answer = server.photo(&photos::dog()).send_on(&mut connection).await;
        answer.refused(429, "queue_full");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!(seconds >= 1, "{answer:?}");
    }
    // Probes are no photos.
    assert_eq!(server.get("/readyz").send_on(&mut connection).await.status, 200);
    server.engine.release();
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    assert_eq!(second.await.unwrap().best(), photos::grey(2).label());
    let answer = server.photo(&photos::dog()).send_on(&mut connection).await;
    assert_eq!(
        answer.best(),
        photos::dog().label(),
        "the same connection, with room again"
    );
    let refused = "ocelli_requests_total{route=\"/predict\",status=\"429\",code=\"queue_full\"}";
    assert_eq!(server.metric(refused).await, 50.0);
    drop(connection);
    server.is_well().await;
}

#[tokio::test]
async fn a_refused_http2_request_leaves_its_connection_usable() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 1;
    let server = setup.start().await;
    let first = server.occupy().await;
    let mut connection = Connection::http2(server.address).await;
    for _ in 0..50 {
        let answer = server.photo(&photos::dog()).send_on(&mut connection).await;
        answer.refused(429, "queue_full");
    }
    server.engine.release();
    first.await.unwrap().ok();
    let answer = server.photo(&photos::dog()).send_on(&mut connection).await;
    assert_eq!(answer.best(), photos::dog().label());
    drop(connection);
    server.is_well().await;
}

#[tokio::test]
async fn a_request_of_many_images_needs_room_for_all_of_them() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 4;
    let server = setup.start().await;
    let many = |count: usize| {
        let call = server.post("/v1/models/efficientnet-lite0/predict");
        call.form(vec![("image", photos::DOG); count])
    };
    let never = many(5).send().await.refused(413, "too_large");
    assert!(never.contains("--queue-jobs"), "{never}");
    let first = server.occupy().await;
    many(4).send().await.refused(429, "queue_full");
    server.engine.release();
    first.await.unwrap().ok();
    assert_eq!(server.engine.items(), 1, "all of them or none");
    server.metric_is("ocelli_admitted_images", 0.0).await;
    many(4).send().await.ok();
    server.is_well().await;
}

#[tokio::test]
async fn bytes_are_limited_as_slots_are() {
    let mut setup = Setup::default();
    // Room for the pixels of one photo, which are larger than its file.
    setup.pipeline.admission.bytes = 224 * 224 * 3 + 10_000;
    let server = setup.start().await;
    let first = server.occupy().await;
    let refused = server.photo(&photos::dog()).send().await;
    refused.refused(429, "queue_full");
    server.engine.release();
    first.await.unwrap().ok();
    let two = [("image", photos::DOG); 2];
    let many = server.post("/v1/models/efficientnet-lite0/predict").form(two);
    many.send().await.refused(413, "too_large");
    server.is_well().await;
}

#[tokio::test]
async fn base64_is_no_way_around_the_limit_of_a_body() {
    let mut setup = Setup::default();
    setup.http.max_body = 1000;
    let server = setup.start().await;
    let call = server
        .post("/predict")
        .json(&json!({ "image": "x".repeat(1000) }));
    call.send().await.refused(413, "too_large");
    let grey = photos::grey(3);
    assert_eq!(server.photo(&grey).send().await.best(), grey.label());
    server.is_empty().await;
}

#[tokio::test]
async fn a_large_body_is_refused_unread_with_connection_close() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 1;
    let server = setup.start().await;
    let first = server.occupy().await;
    let large = vec![0; 300 * 1024];
    let answer = server.post("/predict").form([("image", &large[..])]).send().await;
    answer.refused(429, "queue_full");
    assert_eq!(answer.header("connection"), "close");
    server.engine.release();
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    server.is_well().await;
}

#[tokio::test]
async fn a_model_that_is_flooded_leaves_the_others_their_share() {
    let shelf = Shelf::new();
    shelf.put("busy", ("busy", "1", "busy"));
    shelf.put("calm", ("calm", "1", "calm"));
    let mut setup = Setup {
        models: Some(shelf.set()),
        ..Setup::default()
    };
    setup.pipeline.admission.jobs = 8;
    let server = setup.start().await;
    server.engine.hold();
    let ask = |model: &str| {
        let call = server.post(&format!("/v1/models/{model}/predict"));
        call.form([("image", photos::DOG)])
    };
    let flood: Vec<_> = (0..4).map(|_| ask("busy").spawn()).collect();
    server.metric_is("ocelli_admitted_images", 4.0).await;
    ask("busy").send().await.refused(429, "queue_full");
    let calm: Vec<_> = (0..2).map(|_| ask("calm").spawn()).collect();
    server.metric_is("ocelli_admitted_images", 6.0).await;
    server.engine.release();
    for (maker_is, asked) in [("busy", flood), ("calm", calm)] {
        for answer in asked {
            let answer = answer.await.unwrap().ok();
            let label = answer["results"][0]["predictions"][0]["label"].as_str().unwrap();
            assert!(label.starts_with(maker_is), "{answer}");
        }
    }
    server.is_empty().await;
}
