//! Outputs of every form, through the real engine: classes on any axis are answered, and what is no row of scores is refused
//! before the server is ready.

use std::fs;
use std::path::Path;

use prost::Message as _;
use serde_json::Value;

use super::{ModelFolder, onnx, small};
use crate::harness::photos;
use crate::harness::process::onnxruntime;

/// The model of three classes, with its output reshaped to `to` and declared as `shape`.
fn reshaped(to: &[i64], shape: &[i64]) -> Vec<u8> {
    let mut graph = small().graph();
    let mut node = onnx::node("Reshape", "logits", "out");
    node.input.push("to".into());
    graph.node.push(node);
    graph.initializer.push(onnx::TensorProto {
        dims: vec![to.len() as i64],
        data_type: 7,
        name: "to".into(),
        raw_data: to.iter().flat_map(|axis| axis.to_le_bytes()).collect(),
        ..onnx::TensorProto::default()
    });
    graph.output = vec![onnx::value("out", onnx::FLOAT, shape)];
    onnx::model(graph).encode_to_vec()
}

/// A model that returns the photo's channels as probabilities, declared as `shape`.
fn map(shape: &[i64]) -> Vec<u8> {
    let mut graph = small().graph();
    graph.node.push(onnx::node("Sigmoid", "planes", "out"));
    graph.output = vec![onnx::value("out", onnx::FLOAT, shape)];
    onnx::model(graph).encode_to_vec()
}

fn files(model: &[u8]) -> ModelFolder {
    ModelFolder::new(&[
        ("net.onnx", model),
        ("names", b"cat\ndog\ncow\n"),
        ("photo.png", &photos::coloured([255, 0, 0]).bytes),
    ])
}

/// The result of `model check` with these options.
async fn checked(files: &ModelFolder, options: &[&str], library: &Path) -> Value {
    let command = [
        "model",
        "check",
        "--json",
        "net.onnx",
        "photo.png",
        "--preset",
        "unit",
    ];
    let (status, printed, said) = files.run_with(&[&command, options].concat(), Some(library)).await;
    assert_eq!(status, 0, "{options:?}: {said}");
    serde_json::from_str(&printed).unwrap()
}

#[tokio::test]
async fn classes_are_answered_from_any_axis() {
    let Some(library) = onnxruntime() else { return };
    for (to, shape) in [
        (&[-1, 3, 1, 1][..], &[0, 3, 1, 1][..]),
        (&[-1, 3, 1], &[0, 3, 1]),
        (&[-1, 1, 3], &[0, 1, 3]),
        (&[-1, 1, 1, 3], &[0, 1, 1, 3]),
        // The file leaves the shape open.
        (&[-1, 3, 1, 1], &[0, 3, 0, 0]),
        (&[-1, 3, 1, 1], &[0, 0, 0, 0]),
    ] {
        let files = files(&reshaped(to, shape));
        for labels in [&[][..], &["--labels", "names"]] {
            let said = checked(&files, labels, &library).await;
            let best = &said["predictions"][0];
            // The scores are 0, 1 and 2.
            let expected = 2_f64.exp() / (1.0 + 1_f64.exp() + 2_f64.exp());
            assert_eq!(best["index"], 2, "{shape:?}: {said}");
            assert!(
                (best["probability"].as_f64().unwrap() - expected).abs() < 1e-3,
                "{said}"
            );
        }
    }
}

/// The server never becomes ready with such a model.
#[tokio::test]
async fn errors_that_only_a_run_shows_are_refused_before_ready() {
    let Some(library) = onnxruntime() else { return };
    for (model, labels, words) in [
        (map(&[0, 1, 0, 0]), &[][..], "looks like a map"),
        (map(&[0, 3, 0, 0]), &["--labels", "names"], "[batch, 3, 8, 16]"),
        (map(&[0, 0, 0, 0]), &["--labels", "names"], "[batch, 3, 8, 16]"),
        (reshaped(&[3], &[0]), &[], "batch axis"),
    ] {
        let files = files(&model);
        for command in [
            &["serve", "--listen", "127.0.0.1:0", "--model", "net.onnx"][..],
            &["model", "check", "net.onnx", "photo.png"],
            &["predict", "photo.png", "--model", "net.onnx"],
        ] {
            let arguments = [command, labels].concat();
            let (status, _, said) = files.run_with(&arguments, Some(&library)).await;
            assert_eq!(status, 2, "{arguments:?}: {said}");
            for words in [words, "net.onnx", "--model-output"] {
                assert!(said.contains(words), "{arguments:?}: no {words} in {said}");
            }
            assert!(
                !said.contains("model.toml") && !said.contains("ready"),
                "{arguments:?}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn unusable_graphs_are_refused_without_an_engine() {
    let files = files(&map(&[0, 3, 8, 16]));
    super::bad::refused(
        &files,
        "net.onnx",
        &["net.onnx", "`out`", "a map", "--model-output"],
    )
    .await;
    fs::write(files.path("net.onnx"), reshaped(&[3], &[3])).unwrap();
    super::bad::refused(&files, "net.onnx", &["net.onnx", "no batch axis", "export"]).await;
}

/// The same model with the task option.
#[tokio::test]
async fn tokens_are_returned_with_the_task_option() {
    let Some(library) = onnxruntime() else { return };
    let mut graph = small().graph();
    let mut tokens = onnx::node("Reshape", "planes", "tokens");
    tokens.input.push("to".into());
    graph.node.push(tokens);
    graph.initializer.push(onnx::TensorProto {
        dims: vec![3],
        data_type: 7,
        name: "to".into(),
        raw_data: [0_i64, 3, 128]
            .iter()
            .flat_map(|axis| axis.to_le_bytes())
            .collect(),
        ..onnx::TensorProto::default()
    });
    graph
        .output
        .push(onnx::value("tokens", onnx::FLOAT, &[0, 3, 128]));
    let files = files(&onnx::model(graph).encode_to_vec());
    let said = checked(
        &files,
        &["--model-output", "tokens", "--task", "embedding"],
        &library,
    )
    .await;
    assert_eq!(said["output"]["name"], "tokens", "{said}");
    assert_eq!(said["output"]["shape"], serde_json::json!([1, 3, 128]), "{said}");
}
