//! Serving models in common layouts.

use super::{ModelFolder, Small, small, softmax_in_disguise};
use crate::harness::photos;
use crate::harness::process::{Process, ocelli, onnxruntime};

/// A server of the model `spec` in `files`.
async fn serves(files: &ModelFolder, arguments: &[&str]) -> Option<Process> {
    let library = onnxruntime()?;
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--model"]);
    command
        .args(arguments)
        .current_dir(files.folder.path())
        .env("OCELLI_ONNXRUNTIME", library);
    Some(Process::start(command).await)
}

#[tokio::test]
async fn a_hugging_face_folder_is_served_with_its_labels() {
    let files = ModelFolder::pets(&small());
    let Some(process) = serves(&files, &["pets"]).await else {
        return;
    };
    let photo = photos::coloured([255, 0, 0]);
    let answer = process
        .post("/v1/models/pets/predict")
        .body("image/png", photo.bytes.to_vec())
        .send()
        .await;
    let body = answer.ok();
    let best = &body["results"][0]["predictions"][0];
    assert_eq!(best["label"], "cow");
    let model = process.get("/v1/models/pets").send().await.ok();
    assert_eq!(model["outputs"][0]["labels_source"], "config.json (id2label)");
    // The scores are 0, 1 and 2.
    let expected = 2_f64.exp() / (1.0 + 1_f64.exp() + 2_f64.exp());
    assert!(
        (best["probability"].as_f64().unwrap() - expected).abs() < 1e-4,
        "{body}"
    );
}

#[tokio::test]
async fn probabilities_from_the_graph_are_returned_unchanged() {
    let model = Small {
        final_op: Some("Softmax"),
        ..small()
    };
    let files = ModelFolder::pets(&model);
    let Some(process) = serves(&files, &["pets"]).await else {
        return;
    };
    let photo = photos::coloured([255, 0, 0]);
    let answer = process
        .post("/predict")
        .form([("image", &photo.bytes[..])])
        .send()
        .await;
    let probability = answer.ok()["predictions"][0]["probability"].as_f64().unwrap();
    let expected = 2_f64.exp() / (1.0 + 1_f64.exp() + 2_f64.exp());
    assert!((probability - expected).abs() < 1e-4, "{probability}");
}

#[tokio::test]
async fn a_second_softmax_is_a_warning_at_the_start() {
    let files = ModelFolder::new(&[("birds.onnx", &softmax_in_disguise())]);
    let Some(mut process) = serves(&files, &["birds.onnx"]).await else {
        return;
    };
    let line = process.logs("gives numbers from 0 to 1 that sum to 1").await;
    assert!(line.contains("WARN") && line.contains("model=birds"), "{line}");
    assert!(line.contains("ocelli model init"), "{line}");
}

#[tokio::test]
async fn guesses_are_warnings_at_the_start() {
    let files = ModelFolder::new(&[("birds.onnx", &small().bytes())]);
    let Some(mut process) = serves(&files, &["birds.onnx"]).await else {
        return;
    };
    let line = process
        .logs("guessed: photos are prepared as preset torchvision")
        .await;
    assert!(line.contains("WARN"), "{line}");
    let models = process.get("/v1/models").send().await.ok();
    assert_eq!(models["models"][0]["name"], "birds", "{models}");
}
