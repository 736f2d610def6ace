//! Tasks of models: the best class, any number of classes, feature vectors; and the selection of outputs.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ocelli_vision::ModelPackage;
use serde_json::Value;

use crate::harness::photos;
use crate::harness::server::{Server, Setup};

/// A package for the fake engine, whose scores are 20, 18, .. 2 from the class of the photo on and 0 elsewhere.
fn package(task: &str, outputs: &str) -> ModelPackage {
    package_of(task, outputs, 16)
}

/// The same with this many classes.
fn package_of(task: &str, outputs: &str, classes: usize) -> ModelPackage {
    let toml = format!(
        r#"
schema = 1
name = "m"
version = "1"
task = "{task}"
[input]
name = "image"
dtype = "uint8"
width = 8
height = 8
layout = "nhwc"
channels = "rgb"
resize = {{ policy = "stretch" }}
interpolation = "bilinear"
{outputs}"#
    );
    let labels: String = (0..classes).map(|class| format!("class {class}\n")).collect();
    ModelPackage::from_parts(&toml, Cow::Borrowed(b"the fake engine reads no graph"), &labels).unwrap()
}

async fn server(task: &str, outputs: &str) -> Server {
    Setup {
        package: package(task, outputs),
        ..Setup::default()
    }
    .start()
    .await
}

const SCENES: &str = r#"
[[output]]
name = "scenes"
activation = "sigmoid"
labels = "labels.txt"
threshold = 0.999
"#;

const FEATURES: &str = r#"
[[output]]
name = "features"
activation = "none"
"#;

async fn predictions(server: &Server, target: &str) -> Vec<Value> {
    let grey = photos::grey(1);
    let answer = server
        .post(target)
        .form([("image", &grey.bytes[..])])
        .send()
        .await
        .ok();
    answer["results"][0]["predictions"].as_array().unwrap().clone()
}

async fn embedding(server: &Server, target: &str) -> Vec<f64> {
    let grey = photos::grey(1);
    let answer = server
        .post(target)
        .form([("image", &grey.bytes[..])])
        .send()
        .await
        .ok();
    let vector = answer["results"][0]["embedding"].as_array().unwrap();
    vector.iter().map(|number| number.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_multilabel_model_answers_every_class_above_its_threshold() {
    let server = server("multilabel", SCENES).await;
    let all = predictions(&server, "/v1/models/m/predict").await;
    // 1 / (1 + exp(-s)) is above 0.999 for the scores 20, 18, .. 8.
    assert_eq!(all.len(), 7, "{all:?}");
    let probabilities: Vec<f64> = all
        .iter()
        .map(|class| class["probability"].as_f64().unwrap())
        .collect();
    assert!(
        probabilities
            .iter()
            .all(|probability| (0.999..=1.0).contains(probability))
    );
    assert!(probabilities.is_sorted_by(|left, right| left >= right));
    assert_eq!(
        predictions(&server, "/v1/models/m/predict?top_k=2").await,
        all[..2]
    );
    assert_eq!(
        predictions(&server, "/v1/models/m/predict?threshold=0.51")
            .await
            .len(),
        10
    );
    assert_eq!(
        predictions(&server, "/v1/models/m/predict?threshold=0")
            .await
            .len(),
        16
    );
    let model = server.get("/v1/models/m").send().await.ok();
    assert_eq!(model["task"], "multilabel");
    assert!((model["outputs"][0]["threshold"].as_f64().unwrap() - 0.999).abs() < 1e-6);
}

#[tokio::test]
async fn classes_are_ranked_by_their_scores_where_probabilities_are_equal() {
    // Of seven classes the photo's is the last, with the score 20; the sigmoid of 20 and that of the next, 18, are both 1.
    let server = Setup {
        package: package_of("multilabel", &SCENES.replace("0.999", "0"), 7),
        ..Setup::default()
    }
    .start()
    .await;
    let grey = photos::grey(2);
    for (query, expected) in [("", &[6, 0, 1, 2, 3, 4, 5][..]), ("?top_k=1", &[6])] {
        let call = server.post(&format!("/v1/models/m/predict{query}"));
        let answer = call.form([("image", &grey.bytes[..])]).send().await.ok();
        let predictions = answer["results"][0]["predictions"].as_array().unwrap();
        let order: Vec<u64> = predictions
            .iter()
            .map(|prediction| prediction["index"].as_u64().unwrap())
            .collect();
        assert_eq!(order, expected, "{answer}");
        assert_eq!(predictions[0]["probability"], 1.0);
    }
}

#[tokio::test]
async fn a_multilabel_model_without_a_threshold_uses_one_half() {
    let server = server("multilabel", &SCENES.replace("threshold = 0.999", "")).await;
    // The six classes with the score 0 have a probability of exactly one half.
    assert_eq!(predictions(&server, "/v1/models/m/predict").await.len(), 16);
    assert_eq!(
        predictions(&server, "/v1/models/m/predict?threshold=0.501")
            .await
            .len(),
        10
    );
}

#[tokio::test]
async fn a_classifier_applies_a_threshold_only_on_request() {
    let server = Server::start().await;
    let best = |query: &'static str| {
        let call = server.post(&format!("/predict{query}"));
        async {
            let answer = call.body("image/jpeg", photos::DOG).send().await.ok();
            answer["predictions"].as_array().unwrap().len()
        }
    };
    assert_eq!(best("").await, 5);
    // The softmax of 20, 18, 16, ..: 0.86, 0.12, 0.016.
    assert_eq!(best("?threshold=0.5").await, 1);
    assert_eq!(best("?threshold=0.1").await, 2);
    assert_eq!(best("?threshold=1").await, 0);
    let refused = server
        .post("/predict?threshold=2")
        .body("image/jpeg", photos::DOG)
        .send()
        .await;
    assert!(refused.refused(400, "invalid_request").contains("from 0 to 1"));
}

#[tokio::test]
async fn an_embedding_has_both_encodings_and_length_one_on_request() {
    let server = server("embedding", FEATURES).await;
    let vector = embedding(&server, "/v1/models/m/embed").await;
    assert_eq!(vector.len(), 1000);
    assert_eq!(vector.iter().copied().fold(0.0, f64::max), 20.0);
    let unit = embedding(&server, "/v1/models/m/embed?normalize=true").await;
    let length: f64 = unit.iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-6, "{length}");

    let grey = photos::grey(1);
    let call = server.post("/v1/models/m/embed?encoding=base64");
    let answer = call.form([("image", &grey.bytes[..])]).send().await.ok();
    let bytes = BASE64_STANDARD
        .decode(answer["results"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let numbers = bytes.as_chunks::<4>().0.iter();
    let numbers: Vec<f64> = numbers.map(|&bytes| f32::from_le_bytes(bytes).into()).collect();
    assert_eq!(numbers, vector);
    server.is_empty().await;
}

#[tokio::test]
async fn each_image_of_an_embedding_request_succeeds_or_fails_alone() {
    let server = server("embedding", &format!("{FEATURES}normalize = true\n")).await;
    let grey = photos::grey(3);
    let parts = [
        ("images", &grey.bytes[..]),
        ("images", b"no image"),
        ("images", &grey.bytes[..]),
    ];
    let answer = server.post("/v1/models/m/embed").form(parts).send().await.ok();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0], results[2]);
    assert_eq!(results[1]["code"], "invalid_image");
    let length: f64 = results[0]["embedding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap().powi(2))
        .sum();
    assert!((length - 1.0).abs() < 1e-6, "the package asks for it: {length}");
}

#[tokio::test]
async fn a_job_returns_the_result_of_its_models_task() {
    let server = server("embedding", FEATURES).await;
    let grey = photos::grey(1);
    let call = server.post("/v1/jobs?normalize=true");
    let accepted = call.form([("image", &grey.bytes[..])]).send().await;
    assert_eq!(accepted.status, 202);
    let target = accepted.header("location").to_owned();
    let mut job = Value::Null;
    crate::eventually("the job is done", async || {
        job = server.get(&target).send().await.ok();
        job["state"] == "done"
    })
    .await;
    let vector = job["results"][0]["embedding"].as_array().unwrap();
    let length: f64 = vector.iter().map(|number| number.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-6, "{length}");
}

#[tokio::test]
async fn each_of_several_outputs_can_be_requested() {
    let kinds = SCENES
        .replace("scenes", "kinds")
        .replace("sigmoid", "softmax")
        .replace("threshold = 0.999", "");
    let server = server("classification", &format!("{kinds}{SCENES}{FEATURES}")).await;
    assert_eq!(predictions(&server, "/v1/models/m/predict").await.len(), 5);
    let scenes = predictions(&server, "/v1/models/m/predict?output=scenes&top_k=16").await;
    assert_eq!(scenes.len(), 7, "its own threshold: {scenes:?}");
    assert_eq!(
        embedding(&server, "/v1/models/m/embed").await.len(),
        1000,
        "the first that is a vector"
    );
    let names: Vec<Value> = server.get("/v1/models/m").send().await.ok()["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| output["name"].clone())
        .collect();
    assert_eq!(names, ["kinds", "scenes", "features"]);
}

#[tokio::test]
async fn requests_for_another_task_are_refused_with_the_right_route() {
    let classifier = server(
        "classification",
        &format!("{SCENES}{FEATURES}").replace("threshold = 0.999", ""),
    )
    .await;
    let embedder = server("embedding", FEATURES).await;
    let grey = photos::grey(1);
    for (server, target, advice) in [
        (&embedder, "/predict", "/v1/models/m/embed"),
        (&embedder, "/v1/models/m/predict", "/v1/models/m/embed"),
        (
            &embedder,
            "/v1/models/m/embed?top_k=3",
            "output, normalize and encoding",
        ),
        (&embedder, "/v1/models/m/embed?normalize=yes", "true or false"),
        (&embedder, "/v1/models/m/embed?output=x", "features"),
        (&embedder, "/v1/jobs?top_k=3", "classes only"),
        (
            &classifier,
            "/v1/models/m/embed?output=scenes",
            "/v1/models/m/predict",
        ),
        (&classifier, "/v1/models/m/predict?output=x", "scenes, features"),
        (&classifier, "/v1/jobs?normalize=true", "feature vectors only"),
    ] {
        let answer = server
            .post(target)
            .form([("image", &grey.bytes[..])])
            .send()
            .await;
        let error = answer.refused(400, "invalid_request");
        assert!(error.contains(advice), "{target}: {error}");
        server.is_empty().await;
    }
}
