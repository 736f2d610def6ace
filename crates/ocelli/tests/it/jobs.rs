//! Asynchronous jobs in one process.

mod idempotency;
pub(crate) mod over_redis;
mod webhook_bounds;
pub(crate) mod webhooks;

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::eventually;
use crate::harness::client::{Answer, Call};
use crate::harness::photos::{self, Photo};
use crate::harness::server::{Server, Setup};

const JOBS: &str = "/v1/jobs";

/// A request that submits these photos as a job.
pub(crate) fn job(address: SocketAddr, photos: &[Photo]) -> Call {
    let parts = photos.iter().map(|photo| ("image", &photo.bytes[..]));
    Call::new(address, Method::POST, JOBS).form(parts)
}

/// Checks that the job was accepted; returns its path.
#[track_caller]
pub(crate) fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    let body = answer.json();
    let id = body["id"].as_str().unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(body["state"], "queued");
    let location = answer.header("location");
    assert_eq!(location, format!("{JOBS}/{id}"));
    location.to_owned()
}

pub(crate) async fn ask(address: SocketAddr, job: &str) -> Answer {
    Call::new(address, Method::GET, job).send().await
}

/// Waits until a job is in this state, and returns it.
pub(crate) async fn until(address: SocketAddr, job: &str, state: &str) -> Value {
    let mut last = Value::Null;
    eventually(&format!("the job is {state}"), async || {
        last = ask(address, job).await.ok();
        last["state"] == state
    })
    .await;
    last
}

/// Waits until a job is unknown.
pub(crate) async fn until_gone(address: SocketAddr, job: &str) {
    eventually("the job is forgotten", async || {
        ask(address, job).await.status == 404
    })
    .await;
    ask(address, job).await.refused(404, "unknown_job");
}

/// Checks that the results are those of these photos, in order.
#[track_caller]
pub(crate) fn shows(job: &Value, photos: &[Photo]) {
    let results = job["results"].as_array().unwrap();
    assert_eq!(results.len(), photos.len(), "{job}");
    for (result, photo) in results.iter().zip(photos) {
        assert_eq!(result["predictions"][0]["label"], photo.label(), "{job}");
    }
}

#[tokio::test]
async fn a_job_is_accepted_at_once_and_done_later() {
    let server = Server::start().await;
    server.engine.hold();
    let photos = [photos::dog(), photos::grey(3)];
    let call = job(server.address, &photos);
    let answer = call.send().await;
    assert_eq!(answer.json()["durable"], false);
    let job = accepted(&answer);
    let waiting = ask(server.address, &job).await.ok();
    assert_eq!(waiting["state"], "queued");
    assert_eq!(waiting["model"], "efficientnet-lite0");
    assert!(waiting.get("results").is_none(), "{waiting}");
    server.engine.release();
    let done = until(server.address, &job, "done").await;
    shows(&done, &photos);
    assert_eq!(done["created"], answer.json()["created"]);
    assert_eq!(done["expires"], answer.json()["expires"]);
    assert_eq!(
        ask(server.address, &job).await.ok(),
        done,
        "it can be asked for again"
    );
    assert_eq!(server.metric("ocelli_async_jobs_total").await, 1.0);
    server.is_well().await;
}

#[tokio::test]
async fn every_form_and_parameter_of_a_prediction_makes_a_job() {
    let server = Server::start().await;
    let target = "/v1/jobs?top_k=2&model=efficientnet-lite0";
    let raw = server.post(target).body("image/jpeg", photos::DOG);
    let done = until(server.address, &accepted(&raw.send().await), "done").await;
    assert_eq!(done["results"][0]["predictions"].as_array().unwrap().len(), 2);
    let json = server.post(JOBS).json(&json!({ "images": ["aGk=", "aGk="] }));
    let failed = until(server.address, &accepted(&json.send().await), "failed").await;
    assert_eq!(failed["results"][1]["code"], "invalid_image");
    for (target, status, code) in [
        ("/v1/jobs?model=x", 404, "unknown_model"),
        ("/v1/jobs?top_k=0", 400, "invalid_request"),
        ("/v1/jobs?what=1", 400, "invalid_request"),
    ] {
        let call = server.post(target).body("image/jpeg", photos::DOG);
        call.send().await.refused(status, code);
    }
    let call = server.post(JOBS).header("X-Timeout-Ms", "86400000");
    let text = call
        .body("image/jpeg", photos::DOG)
        .send()
        .await
        .refused(400, "invalid_request");
    assert!(text.contains("--job-deadline"), "{text}");
    server.is_well().await;
}

#[tokio::test]
async fn a_bad_photo_alone_is_refused_and_among_others_fails_alone() {
    let server = Server::start().await;
    let text = Photo::new(&b"text"[..]);
    let call = job(server.address, std::slice::from_ref(&text));
    call.send().await.refused(400, "invalid_image");
    let answer = job(server.address, &[photos::dog(), text]).send().await;
    let done = until(server.address, &accepted(&answer), "done").await;
    assert_eq!(
        done["results"][0]["predictions"][0]["label"],
        photos::dog().label()
    );
    assert_eq!(done["results"][1]["code"], "invalid_image");
    server.is_well().await;
}

#[tokio::test]
async fn a_deleted_job_is_not_computed_and_its_result_is_forgotten() {
    let server = Server::start().await;
    let first = server.occupy().await;
    let waiting = accepted(&job(server.address, &[photos::grey(2)]).send().await);
    assert_eq!(server.delete(&waiting).send().await.status, 204);
    ask(server.address, &waiting).await.refused(404, "unknown_job");
    server.delete(&waiting).send().await.refused(404, "unknown_job");
    server.engine.release();
    first.await.unwrap();
    let done = accepted(&job(server.address, &[photos::grey(3)]).send().await);
    until(server.address, &done, "done").await;
    assert_eq!(server.delete(&done).send().await.status, 204);
    ask(server.address, &done).await.refused(404, "unknown_job");
    assert_eq!(
        server.engine.batch_sizes(),
        [1, 1],
        "what was deleted was not computed"
    );
    server.is_well().await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_fails_and_is_forgotten_in_the_end() {
    let mut setup = Setup::default();
    setup.jobs.ttl = Duration::from_secs(3);
    let server = setup.start().await;
    let first = server.occupy().await;
    let call = job(server.address, &[photos::grey(2)]).header("X-Timeout-Ms", "1");
    let job = accepted(&call.send().await);
    let failed = until(server.address, &job, "failed").await;
    assert_eq!(failed["results"][0]["code"], "deadline_exceeded");
    until_gone(server.address, &job).await;
    server.engine.release();
    first.await.unwrap();
    server.is_well().await;
}

#[tokio::test]
async fn the_same_key_is_the_same_job() {
    let server = Server::start().await;
    let photos = [photos::grey(1), photos::grey(2)];
    let send = async |key: &str, photos: &[Photo]| {
        let call = job(server.address, photos).header("Idempotency-Key", key);
        call.send().await
    };
    let one = accepted(&send("one", &photos).await);
    assert_eq!(accepted(&send("one", &photos).await), one);
    assert_ne!(accepted(&send("two", &photos).await), one);
    send("one", &photos[..1])
        .await
        .refused(422, "idempotency_conflict");
    let swapped = [photos[1].clone(), photos[0].clone()];
    send("one", &swapped).await.refused(422, "idempotency_conflict");
    let text = send(&"x".repeat(129), &photos)
        .await
        .refused(400, "invalid_request");
    assert!(text.contains("Idempotency-Key"), "{text}");
    until(server.address, &one, "done").await;
    assert_eq!(accepted(&send("one", &photos).await), one);
    assert_eq!(server.delete(&one).send().await.status, 204);
    assert_ne!(accepted(&send("one", &photos).await), one, "it is free again");
    eventually("all are done", async || server.engine.items() == 6).await;
    server.is_well().await;
}

#[tokio::test]
async fn what_is_no_id_is_unknown() {
    let server = Server::start().await;
    let unknown = "0".repeat(32);
    for id in ["0", "x", "..", "%2e%2e", "%00", &unknown, &"f".repeat(33), "*"] {
        let target = format!("{JOBS}/{id}");
        ask(server.address, &target).await.refused(404, "unknown_job");
        server.delete(&target).send().await.refused(404, "unknown_job");
    }
    server.is_well().await;
}

#[tokio::test]
async fn only_so_many_are_kept() {
    let mut setup = Setup::default();
    setup.jobs.limit.images = 3;
    let server = setup.start().await;
    let two = [photos::grey(1), photos::grey(2)];
    let first = accepted(&job(server.address, &two).send().await);
    until(server.address, &first, "done").await;
    let answer = job(server.address, &two).send().await;
    let text = answer.refused(429, "too_many_jobs");
    assert!(text.contains("--max-job-images"), "{text}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(server.delete(&first).send().await.status, 204);
    accepted(&job(server.address, &two).send().await);
    eventually("all are done", async || server.engine.items() == 4).await;
    let four = [1, 2, 3, 4].map(photos::grey);
    let never = job(server.address, &four).send().await;
    let text = never.refused(413, "too_large");
    assert!(text.contains("--max-job-images"), "{text}");
    server.is_well().await;
}

#[tokio::test]
async fn only_so_many_bytes_of_results_are_kept() {
    let mut setup = Setup::default();
    // Room for the results of two images with a few classes, but not for one image with all classes.
    setup.jobs.limit.bytes = 3000;
    let server = setup.start().await;
    let two = [photos::grey(1), photos::grey(2)];
    accepted(&job(server.address, &two).send().await);
    let answer = job(server.address, &[photos::grey(3)]).send().await;
    let text = answer.refused(429, "too_many_jobs");
    assert!(text.contains("--max-job-bytes"), "{text}");
    let three = [1, 2, 3].map(photos::grey);
    let never = job(server.address, &three).send().await;
    let text = never.refused(413, "too_large");
    assert!(text.contains("--max-job-bytes"), "{text}");
    assert!(!never.headers.contains_key("retry-after"), "it would never fit");
    eventually("the others are done", async || server.engine.items() == 2).await;
    server.is_well().await;
}

#[tokio::test]
async fn a_full_house_takes_no_jobs_and_a_stopping_one_ends_them() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 2;
    let server = setup.start().await;
    let first = server.occupy().await;
    accepted(&job(server.address, &[photos::grey(2)]).send().await);
    let full = job(server.address, &[photos::grey(3)]).send().await;
    full.refused(429, "queue_full");
    server.engine.release();
    first.await.unwrap();
    server.engine.hold();
    let stuck = accepted(&job(server.address, &[photos::grey(4)]).send().await);
    assert_eq!(ask(server.address, &stuck).await.ok()["state"], "queued");
    server.engine.release();
    assert_eq!(server.stop().await, ocelli::server::ServeEnd::Drained);
}
