//! The log line of a request that fails: it has the id that the response names, the model and the cause, once.

use crate::harness::client::Call;
use crate::harness::photos;
use crate::harness::process::Process;
use crate::jobs::over_redis::{web, worker};
use crate::support::redis::{Binary, Options, RedisServer};

/// A grey that makes the engine panic.
const MARKED: u8 = 66;

fn photo(process: &Process, id: &str, levels: &[u8]) -> Call {
    let photos: Vec<_> = levels.iter().map(|level| photos::grey(*level)).collect();
    let route = match levels {
        [_] => "/predict",
        _ => "/v1/models/efficientnet-lite0/predict",
    };
    process
        .post(route)
        .header("x-request-id", id)
        .form(photos.iter().map(|photo| ("image", &photo.bytes[..])))
}

/// Stops a process, and gives the lines of its log that name the request.
async fn lines_about(process: Process, id: &str) -> Vec<String> {
    process.signal("TERM");
    let (_, log) = process.ended().await;
    log.into_iter().filter(|line| line.contains(id)).collect()
}

#[track_caller]
fn says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
}

#[tokio::test]
async fn an_engine_that_fails_is_in_the_line_of_its_request() {
    let marked = MARKED.to_string();
    let process = Process::fake(&["--fake-panic-on", &marked]).await;
    let failed = photo(&process, "one-photo", &[MARKED]).send().await;
    failed.refused(500, "internal");
    let lines = lines_about(process, "one-photo").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let model = "model=\"efficientnet-lite0\" version=\"1\"";
    says(
        &lines[0],
        &["ERROR", "route=\"/predict\"", model, "cause=", "it panicked"],
    );
}

#[tokio::test]
async fn each_image_that_fails_among_others_has_its_line() {
    let marked = MARKED.to_string();
    let process = Process::fake(&["--fake-panic-on", &marked, "--max-batch", "1"]).await;
    let answer = photo(&process, "two-photos", &[9, MARKED]).send().await.ok();
    assert_eq!(answer["results"][1]["code"], "internal");
    let lines = lines_about(process, "two-photos").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    says(&lines[0], &["image=1", "it panicked"]);
}

#[tokio::test]
async fn an_engine_of_another_process_is_named_with_its_worker() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let marked = MARKED.to_string();
    let _worker = worker(&redis.url(), &["--fake-panic-on", &marked]).await;
    let web = web(&redis.url(), &[]).await;
    let failed = photo(&web, "far-away", &[MARKED]).send().await;
    failed.refused(500, "internal");
    let lines = lines_about(web, "far-away").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    says(&lines[0], &["on worker ", "it panicked"]);
}

#[tokio::test]
async fn a_broker_that_refuses_a_job_is_in_the_line_of_its_request() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = worker(&redis.url(), &[]).await;
    let web = web(&redis.url(), &[]).await;
    redis.command::<()>(&["ACL", "SETUSER", "default", "-xadd"]).await;
    let failed = photo(&web, "no-memory", &[9]).send().await;
    failed.refused(503, "broker_unavailable");
    let lines = lines_about(web, "no-memory").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    says(
        &lines[0],
        &["code=\"broker_unavailable\"", "cause=Redis at ", "SUBMIT"],
    );
}
