//! Web and worker as real processes over a real Redis: what users see is what one process shows them, and a Redis that
//! is not as it must be is named.

use std::fs;
use std::path::Path;
use std::process::Output;

use ocelli::output::timing::Phases;

use crate::harness::photos;
use crate::harness::process::{Process, ocelli, run};
use crate::harness::server::value;
use crate::jobs::over_redis::{web, worker};
use crate::support::redis::{Binary, Options, RedisServer};

#[tokio::test]
async fn answers_headers_and_metrics_are_those_of_one_process() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let worker = worker(&redis.url(), &[]).await;
    let web = web(&redis.url(), &[]).await;
    let serve = Process::fake(&[]).await;
    let dog = photos::dog();
    for process in [&web, &serve] {
        let answer = process
            .post("/predict")
            .form([("image", &dog.bytes[..])])
            .send()
            .await;
        assert_eq!(answer.ok()["predictions"][0]["label"], dog.label());
        let timing = answer.header("server-timing");
        for (phase, _) in Phases::default().named() {
            assert!(
                timing.contains(&format!("{phase};dur=")),
                "{phase} is missing from {timing}"
            );
        }
        let model = process.get("/v1/models/efficientnet-lite0").send().await.ok();
        assert_eq!(
            (&model["state"], &model["engine"]["name"]),
            (&"ready".into(), &"fake".into())
        );
        assert_eq!(model["default"], true);
        assert!(
            model["engine"]["batch_cost_ms"]
                .as_array()
                .is_some_and(|costs| !costs.is_empty())
        );
        let urgent = process.post("/predict").header("X-Priority", "soon");
        let refused = urgent.form([("image", &dog.bytes[..])]).send().await;
        assert_eq!(refused.status, 400);
    }
    let metrics = web.get("/metrics").send().await;
    assert_eq!(value(metrics.text(), "ocelli_images_total"), 1.0);
    assert_eq!(value(metrics.text(), "ocelli_workers"), 1.0);
    assert_eq!(
        value(metrics.text(), "ocelli_phase_seconds_count{phase=\"infer\"}"),
        1.0
    );
    let spent = value(metrics.text(), "ocelli_phase_seconds_sum{phase=\"infer\"}");
    assert!(spent > 0.0, "the worker says how long it took");
    let labels = "{model=\"efficientnet-lite0\",version=\"1\"}";
    for name in ["depth", "in_flight", "oldest_seconds"] {
        let name = format!("ocelli_model_queue_{name}{labels}");
        assert!(
            metrics.text().contains(&name),
            "{name} is missing from\n{}",
            metrics.text()
        );
    }
    let metrics = worker.get("/metrics").send().await;
    assert!(value(metrics.text(), "ocelli_batch_size_count") >= 1.0);
    assert_eq!(
        worker.get("/predict").send().await.status,
        404,
        "a worker answers probes only"
    );
}

#[tokio::test]
async fn a_priority_has_a_stream_of_its_own() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = worker(&redis.url(), &[]).await;
    let web = web(&redis.url(), &[]).await;
    let dog = photos::dog();
    for priority in ["high", "low", "high"] {
        let call = web.post("/predict").header("X-Priority", priority);
        assert_eq!(call.form([("image", &dog.bytes[..])]).send().await.status, 200);
    }
    for (priority, wanted) in [("high", "2"), ("normal", "0"), ("low", "1")] {
        let keys = redis.keys().await;
        let stream = keys
            .iter()
            .find(|key| key.ends_with(&format!(":jobs:{priority}")))
            .expect("the worker made it");
        let info: Vec<redis::Value> = redis.command(&["XINFO", "STREAM", stream]).await;
        let told = format!("{info:?}");
        let added = told
            .split("entries-added")
            .nth(1)
            .and_then(|rest| rest.split("int(").nth(1))
            .and_then(|rest| rest.split(')').next());
        assert_eq!(added, Some(wanted), "{priority}: {told}");
    }
}

#[tokio::test]
async fn another_package_under_a_name_that_is_served_is_refused() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = worker(&redis.url(), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/efficientnet-lite0");
    for file in ["model.toml", "model.onnx", "labels.txt"] {
        fs::copy(package.join(file), folder.path().join(file)).unwrap();
    }
    let toml = fs::read_to_string(package.join("model.toml")).unwrap();
    fs::write(folder.path().join("model.toml"), toml + "\n# other bytes\n").unwrap();
    let model = folder.path().to_str().unwrap();
    let url = redis.url();
    let listen = [
        "worker",
        "--listen",
        "127.0.0.1:0",
        "--redis",
        &url,
        "--model",
        model,
    ];
    let (status, text) = ends(&listen).await;
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("give it another version in model.toml"), "{text}");
    let named = text.matches(photos::PACKAGE.card.digest()).count();
    assert_eq!(named, 1, "both digests are named, and once: {text}");
}

/// What a command says that must end by itself, and not for lack of a model.
async fn ends(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = ocelli(arguments);
    if arguments.first() == Some(&"worker") {
        command.args(["--engine", "fake"]);
    }
    let Output { status, stderr, .. } = run(command, b"").await;
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_redis_that_would_lose_work_or_lets_nobody_in_is_named() {
    // What follows is what these files say.
    for configuration in [
        include_str!("../../../../../deploy/valkey.conf"),
        include_str!("../../../../../deploy/kubernetes/valkey.yaml"),
    ] {
        assert!(configuration.contains("Ocelli refuses any other policy at start"));
    }
    assert!(include_str!("../../../../../docs/scale-out.md").contains("so Ocelli refuses it at start"));
    let Some(binary) = Binary::redis() else { return };
    let evicting = Options::default()
        .set("maxmemory", "64mb")
        .set("maxmemory-policy", "allkeys-lru");
    let evicting = RedisServer::start(&binary, evicting).await;
    let small = Options::default().set("maxmemory", "64mb");
    let small = RedisServer::start(&binary, small).await;
    let locked = Options::default().set("requirepass", "right");
    let locked = RedisServer::start(&binary, locked).await;
    let wrong = format!("redis://:wrong@{}", locked.address());
    let without = format!("redis://{}", locked.address());
    let cases = [
        (
            vec!["web", "--redis", "http://localhost"],
            "not the URL of a Redis",
        ),
        (vec!["web"], "--redis"),
        (
            vec!["worker", "--redis", &wrong],
            "check the user and the password",
        ),
        (
            vec!["web", "--redis", &without],
            "check the user and the password",
        ),
        (
            vec!["queue", "status", "--redis", &wrong],
            "check the user and the password",
        ),
    ];
    let (evicting, small) = (evicting.url(), small.url());
    let more = [
        (vec!["web", "--redis", &evicting], "noeviction"),
        (vec!["worker", "--redis", &evicting], "noeviction"),
        (
            vec!["web", "--redis", &small],
            "for a full queue and its replies (--queue-bytes)",
        ),
        (
            vec!["web", "--redis", &small, "--queue-bytes", "60MiB"],
            "for the results of asynchronous jobs (--max-job-bytes)",
        ),
    ];
    for (arguments, says) in cases.into_iter().chain(more) {
        let listen: &[&str] = match arguments[0] {
            "queue" => &[],
            _ => &["--listen", "127.0.0.1:0"],
        };
        let (status, text) = ends(&[&arguments[..], listen].concat()).await;
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
        assert!(
            text.contains(says),
            "{arguments:?} does not say {says:?}:\n{text}"
        );
        assert!(!text.contains("wrong@"), "the password is in the log:\n{text}");
    }
}
