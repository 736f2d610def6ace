//! A real model with several outputs, on the real engine, in one process and over Redis: each output can be
//! requested, in the form that its package specifies.

use std::path::Path;

use serde_json::Value;

use crate::eventually;
use crate::harness::photos;
use crate::harness::photos::Photo;
use crate::harness::process::{Process, ocelli, onnxruntime, run};
use crate::support::redis::{Binary, Options, RedisServer};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/heads");

const COLOUR: [u8; 3] = [200, 10, 130];

async fn ask(process: &Process, target: &str, photo: &Photo) -> Value {
    let call = process.post(target).form([("image", &photo.bytes[..])]);
    call.send().await.ok()["results"][0].clone()
}

/// The expected outputs of the graph for a photo of one colour.
async fn answers_by_hand(process: &Process) {
    let photo = photos::coloured(COLOUR);
    let [red, green, blue] = COLOUR.map(f64::from);
    let close = |value: &Value, wanted: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - wanted).abs() < 1e-4, "{value} is not {wanted}");
    };

    let kinds = ask(process, "/v1/models/heads/predict", &photo).await;
    assert_eq!(kinds["predictions"][0]["label"], "reddish");
    let odds = ((green - red) / 64.0).exp();
    close(&kinds["predictions"][0]["probability"], 1.0 / (1.0 + odds));
    assert_eq!(kinds["predictions"].as_array().unwrap().len(), 2);

    let tags = ask(process, "/v1/models/heads/predict?output=tags", &photo).await;
    let labels: Vec<&str> = tags["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["red", "blue"], "green is below the package's threshold");
    close(
        &tags["predictions"][1]["probability"],
        1.0 / (1.0 + (128.0 - blue).exp()),
    );

    let tokens = ask(process, "/v1/models/heads/embed", &photo).await;
    for (channel, wanted) in [red, green, blue].into_iter().enumerate() {
        close(&tokens["embedding"][channel], wanted);
    }
    assert_eq!(
        tokens["embedding"].as_array().unwrap().len(),
        3,
        "one vector of 64 tokens"
    );
    let length = (red * red + green * green + blue * blue).sqrt();
    let unit = ask(
        process,
        "/v1/models/heads/embed?output=tokens&normalize=true",
        &photo,
    )
    .await;
    close(&unit["embedding"][0], red / length);
}

/// Numbers that are not classes are not returned as classes.
async fn a_vector_is_not_a_list_of_classes(process: &Process) {
    let call = process.post("/v1/models/heads/predict?output=tokens");
    let refused = call.form([("image", photos::DOG)]).send().await;
    let text = refused.refused(400, "invalid_request");
    assert!(text.contains("/v1/models/heads/embed?output=tokens"), "{text}");
    let outputs = process.get("/v1/models/heads").send().await.ok()["outputs"].clone();
    assert_eq!(outputs[2]["name"], "tokens");
    assert_eq!(outputs[2]["threshold"], Value::Null, "{outputs}");
    assert_eq!(outputs[1]["threshold"], 0.5, "{outputs}");
}

fn with_engine<'a>(arguments: &[&'a str], engine: &'a Path) -> Vec<&'a str> {
    let engine = engine.to_str().unwrap();
    [arguments, &["--model", PACKAGE, "--onnxruntime", engine]].concat()
}

#[tokio::test]
async fn each_output_is_computed_in_one_process() {
    let Some(engine) = onnxruntime() else { return };
    let arguments = with_engine(&["serve", "--listen", "127.0.0.1:0"], &engine);
    let serve = Process::start(ocelli(&arguments)).await;
    answers_by_hand(&serve).await;
    a_vector_is_not_a_list_of_classes(&serve).await;
}

#[tokio::test]
async fn each_output_is_computed_by_a_worker() {
    let (Some(engine), Some(binary)) = (onnxruntime(), Binary::redis()) else {
        return;
    };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let url = redis.url();
    let arguments = ["worker", "--listen", "127.0.0.1:0", "--redis", &url];
    let _worker = Process::start_worker(ocelli(&with_engine(&arguments, &engine))).await;
    let web = Process::start(ocelli(&["web", "--listen", "127.0.0.1:0", "--redis", &url])).await;
    eventually("the web process knows the model", async || {
        web.get("/v1/models").send().await.ok()["models"][0]["state"] == "ready"
    })
    .await;
    answers_by_hand(&web).await;

    let photo = photos::coloured(COLOUR);
    let call = web
        .post("/v1/jobs?output=tags&threshold=0")
        .form([("image", &photo.bytes[..])]);
    let job = call.send().await.header("location").to_owned();
    let mut done = Value::Null;
    eventually("the job is done", async || {
        done = web.get(&job).send().await.ok();
        done["state"] == "done"
    })
    .await;
    let tags = done["results"][0]["predictions"].as_array().unwrap();
    assert_eq!(tags.len(), 3, "its own threshold: {tags:?}");
}

#[tokio::test]
async fn the_command_prints_any_output() {
    let Some(engine) = onnxruntime() else { return };
    let photo = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(photo.path(), &photos::coloured(COLOUR).bytes).unwrap();
    let path = photo.path().to_str().unwrap();
    for (output, wanted) in [("tags", "100.00 %  red"), ("kinds", "%  greenish")] {
        let arguments = with_engine(&["predict", path, "--output", output], &engine);
        let printed = run(ocelli(&arguments), b"").await;
        let text = String::from_utf8(printed.stdout).unwrap();
        assert!(text.contains(wanted), "{text}");
    }
    let arguments = with_engine(&["predict", path, "--output", "claws"], &engine);
    let refused = run(ocelli(&arguments), b"").await;
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text.contains("kinds, tags, tokens"), "{text}");
}
