//! What the server says of itself, from before it is ready.

use ocelli_engine::fake::FakeControl;

use crate::harness::photos;
use crate::harness::server::{Server, Setup};

#[tokio::test]
async fn a_server_that_warms_up_lives_and_is_not_ready() {
    let server = Setup::default().begin(FakeControl::hold).await;
    server.held(1).await;
    assert_eq!(server.get("/livez").send().await.text(), "ok\n");
    let answer = server.get("/readyz").send().await;
    answer.refused(503, "not_ready");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(server.metric("ocelli_ready").await, 0.0);
    let models = server.get("/v1/models").send().await.ok();
    assert_eq!(models["models"][0]["state"], "loading");
    assert!(models["models"][0].get("engine").is_none());
    let refused = server.photo(&photos::dog()).send().await;
    refused.refused(503, "not_ready");
    assert_eq!(refused.header("retry-after"), "1");
    server.engine.release();
    server.ready().await;
    assert_eq!(server.get("/readyz").send().await.text(), "ready\n");
    assert_eq!(server.metric("ocelli_ready").await, 1.0);
    server.is_well().await;
}

#[tokio::test]
async fn the_models_say_what_they_are_and_how_they_run() {
    let server = Server::start().await;
    let list = server.get("/v1/models").send().await.ok();
    let models = list["models"].as_array().unwrap();
    assert_eq!(models.len(), 1);
    let model = server.get("/v1/models/efficientnet-lite0").send().await.ok();
    assert_eq!(model, models[0]);
    assert_eq!(model["state"], "ready");
    assert_eq!(model["default"], true);
    assert_eq!(model["classes"], 1000);
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    assert_eq!(model["outputs"][0]["labels_source"], "labels.txt");
    assert_eq!(model["input"]["width"], 224);
    let engine = &model["engine"];
    assert_eq!(engine["name"], "fake");
    assert_eq!(engine["instances"], 1);
    assert_eq!(engine["max_batch"], 8);
    let sizes: Vec<u64> = engine["batch_cost_ms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cost| cost["batch"].as_u64().unwrap())
        .collect();
    // A busy machine may not have had the time for all of them.
    assert!(!sizes.is_empty() && [1, 2, 4, 8].starts_with(&sizes), "{sizes:?}");
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let server = Server::start().await;
    server.is_well().await;
    server
        .post("/predict")
        .send()
        .await
        .refused(400, "invalid_request");
    let answer = server.get("/metrics").send().await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), kind);
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    let mut described = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.ends_with('.') && !help.ends_with(".."), "{line}");
            described.push(name.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(name.starts_with("ocelli_"), "{line}");
            assert!(
                described.iter().any(|described| name.starts_with(described)),
                "{line}"
            );
        }
    }
    for name in [
        "ocelli_requests",
        "ocelli_images",
        "ocelli_dropped",
        "ocelli_phase_seconds",
        "ocelli_batch_size",
        "ocelli_admitted_images",
        "ocelli_admitted_bytes",
        "ocelli_queue_depth",
        "ocelli_connections",
        "ocelli_engine_faults",
        "ocelli_engine_instances",
        "ocelli_batch_cost_seconds",
        "ocelli_ready",
    ] {
        assert!(
            described.iter().any(|described| described == name),
            "{name} is missing"
        );
    }
    let refused = "ocelli_requests_total{route=\"/predict\",status=\"400\",code=\"invalid_request\"}";
    assert_eq!(server.metric(refused).await, 1.0);
}
