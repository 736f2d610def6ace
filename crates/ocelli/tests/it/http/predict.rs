//! One photo, in every form in which it may come.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::json;

use crate::harness::client::{Answer, Call, Connection};
use crate::harness::photos;
use crate::harness::server::Server;

#[track_caller]
fn shows_the_dog(answer: &Answer) {
    assert_eq!(answer.best(), photos::dog().label());
    let body = answer.json();
    let predictions = body["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 5, "the tutorial's five");
    let probabilities: Vec<f64> = predictions
        .iter()
        .map(|prediction| prediction["probability"].as_f64().unwrap())
        .collect();
    assert!(
        probabilities.is_sorted_by(|a, b| a >= b),
        "best first: {probabilities:?}"
    );
    // The fake's scores are 20, 18, 16 and so on: softmax makes the first 1 - e^-2, about 0.865.
    assert!((probabilities[0] - 0.8647).abs() < 0.001, "{probabilities:?}");
}

#[tokio::test]
async fn a_photo_is_taken_in_every_form() {
    let server = Server::start().await;
    let dog = photos::dog();
    let base64 = STANDARD.encode(&dog.bytes);
    let post = || server.post("/predict");
    let calls = [
        server.photo(&dog),
        post().body("image/jpeg", photos::DOG),
        post().body("application/octet-stream", photos::DOG),
        // What `curl --data-binary @dog.jpg` claims to send.
        post().body("application/x-www-form-urlencoded", photos::DOG),
        post().json(&json!({ "image": base64 })),
        post().json(&json!({ "image": format!("data:image/jpeg;base64,{base64}") })),
        post().form([("comment", &b"hello"[..]), ("image", photos::DOG)]),
    ];
    for call in calls {
        shows_the_dog(&call.send().await);
    }
    server.is_well().await;
}

#[tokio::test]
async fn formats_and_content_types_need_not_agree() {
    let server = Server::start().await;
    let grey = photos::grey(9);
    let answer = server.post("/predict").body("image/jpeg", grey.bytes.to_vec());
    assert_eq!(answer.send().await.best(), grey.label());
    let progressive = photos::with_scans(1);
    assert_eq!(
        server.photo(&progressive).send().await.best(),
        progressive.label()
    );
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::start().await;
    let mut connection = Connection::http1(server.address).await;
    for level in 1..=20 {
        let grey = photos::grey(level);
        let answer = server.photo(&grey).send_on(&mut connection).await;
        assert_eq!(answer.best(), grey.label());
    }
    // Its own connection and the one that asks.
    server.metric_is("ocelli_connections", 2.0).await;
    drop(connection);
    server.is_empty().await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let server = Server::start().await;
    let mut connection = Connection::http2(server.address).await;
    for _ in 0..3 {
        shows_the_dog(&server.photo(&photos::dog()).send_on(&mut connection).await);
    }
    let refused = server.post("/predict").send_on(&mut connection).await;
    refused.refused(400, "invalid_request");
    drop(connection);
    server.is_well().await;
}

#[tokio::test]
async fn requests_that_share_an_http2_connection_do_not_wait_for_each_other() {
    let server = Server::start().await;
    server.engine.hold();
    let Connection::Http2(sender) = Connection::http2(server.address).await else {
        unreachable!("it was asked for");
    };
    let held = tokio::spawn({
        let call = server.photo(&photos::grey(1));
        let mut connection = Connection::Http2(sender.clone());
        async move { call.send_on(&mut connection).await }
    });
    server.held(1).await;
    let alive = server.get("/livez").send_on(&mut Connection::Http2(sender)).await;
    assert_eq!(alive.text(), "ok\n");
    server.engine.release();
    assert_eq!(held.await.unwrap().best(), photos::grey(1).label());
    server.is_well().await;
}

#[tokio::test]
async fn every_phase_of_an_answer_is_timed() {
    let server = Server::start().await;
    let answer = server.photo(&photos::dog()).send().await;
    let timing = answer.header("server-timing");
    let phases: Vec<(&str, f64)> = timing
        .split(", ")
        .map(|phase| phase.split_once(";dur=").unwrap())
        .map(|(name, ms)| (name, ms.parse().unwrap()))
        .collect();
    let names: Vec<&str> = phases.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["receive", "wait", "decode", "queue", "fill", "infer"]);
    assert!(phases[2].1 > 0.0, "decoding takes time: {timing}");
    for name in names {
        let counted = format!("ocelli_phase_seconds_count{{phase=\"{name}\"}}");
        assert_eq!(server.metric(&counted).await, 1.0, "{counted}");
    }
    assert_eq!(server.metric("ocelli_images_total").await, 1.0);
}

#[tokio::test]
async fn a_clients_request_id_is_echoed_if_it_can_stand_in_a_log() {
    let server = Server::start().await;
    let sent = |id: &str| server.get("/livez").header("x-request-id", id).send();
    assert_eq!(sent("order-66/a").await.header("x-request-id"), "order-66/a");
    let longest = "x".repeat(128);
    assert_eq!(sent(&longest).await.header("x-request-id"), longest);
    let made = server.get("/livez").send().await;
    assert_eq!(made.header("x-request-id").len(), 32);
    for bad in ["two words", "tab\there", "", &"x".repeat(129)] {
        let answer = sent(bad).await;
        let id = answer.header("x-request-id");
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{bad:?} became {id}"
        );
    }
    let refused = server
        .post("/predict")
        .header("x-request-id", "mine")
        .send()
        .await;
    assert_eq!(refused.header("x-request-id"), "mine");
    refused.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_client_that_waits_for_a_go_ahead_gets_it() {
    let server = Server::start().await;
    let call = Call::new(server.address, Method::POST, "/predict")
        .header("expect", "100-continue")
        .form([("image", photos::DOG)]);
    let wire = call.wire();
    let head = wire.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut client = server.raw().await;
    client.write(&wire[..head]).await;
    assert_eq!(client.line().await, "HTTP/1.1 100 Continue\r\n");
    assert_eq!(client.line().await, "\r\n");
    client.write(&wire[head..]).await;
    shows_the_dog(&client.answer().await);
    drop(client);
    server.is_well().await;
}
