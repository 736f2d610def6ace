//! `ocelli model check`: real runs of small models whose numbers can be computed by hand.

use std::fs;

use prost::Message as _;
use serde_json::{Value, json};

use super::{ModelFolder, Small, onnx, small, softmax_in_disguise};
use crate::harness::photos;
use crate::harness::process::onnxruntime;

/// The JSON line of `model check` for a photo of one colour.
async fn checked(files: &ModelFolder, arguments: &[&str]) -> Option<Value> {
    let library = onnxruntime()?;
    fs::write(files.path("photo.png"), &photos::coloured([40, 100, 200]).bytes).unwrap();
    let arguments = [&["model", "check", "--json"], arguments, &["photo.png"]].concat();
    let (status, printed, said) = files.run_with(&arguments, Some(&library)).await;
    assert_eq!(status, 0, "{said}");
    Some(serde_json::from_str(&printed).unwrap())
}

#[track_caller]
fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!(
        (value - expected).abs() < 1e-3 * expected.abs().max(1.0),
        "{value} is not {expected}"
    );
}

#[tokio::test]
async fn the_numbers_of_a_hugging_face_model() {
    let files = ModelFolder::pets(&small());
    let Some(said) = checked(&files, &["pets"]).await else {
        return;
    };
    assert_eq!(said["input"]["shape"], json!([1, 3, 8, 16]));
    assert_eq!(said["input"]["dtype"], "float32");
    for (channel, value) in [40.0, 100.0, 200.0].into_iter().enumerate() {
        near(&said["channels"][channel]["mean"], value / 255.0);
        near(&said["channels"][channel]["std"], 0.0);
    }
    assert_eq!(said["output"]["shape"], json!([1, 3]));
    near(&said["scores"]["max"], 2.0 * 40.0 / 255.0);
    near(&said["output"]["first"][1], 40.0 / 255.0);
    assert_eq!(said["predictions"][0]["label"], "cow");
    assert_eq!(said["predictions"].as_array().unwrap().len(), 3);
}

/// The tutorial's preprocessing: channels last, blue first, minus the means.
#[tokio::test]
async fn keras_caffe_has_blue_first() {
    let model = Small {
        input: &[0, 8, 16, 3],
        ..small()
    };
    let files = ModelFolder::new(&[("net.onnx", &model.bytes())]);
    let Some(said) = checked(&files, &["net.onnx", "--preset", "keras-caffe"]).await else {
        return;
    };
    assert_eq!(said["input"]["shape"], json!([1, 8, 16, 3]));
    for (channel, value) in [200.0 - 103.939, 100.0 - 116.779, 40.0 - 123.68]
        .into_iter()
        .enumerate()
    {
        near(&said["channels"][channel]["mean"], value);
    }
    near(&said["output"]["first"][2], 2.0 * (200.0 - 103.939));
}

#[tokio::test]
async fn channels_come_in_the_order_that_the_option_names() {
    let files = ModelFolder::new(&[("net.onnx", &small().bytes())]);
    let grey = (40.0 * 299.0 + 100.0 * 587.0 + 200.0 * 114.0) / 1000.0;
    for (channels, means) in [
        ("rgb", [40.0, 100.0, 200.0]),
        ("bgr", [200.0, 100.0, 40.0]),
        ("gray3", [grey; 3]),
    ] {
        let arguments = ["net.onnx", "--preset", "raw", "--channels", channels];
        let Some(said) = checked(&files, &arguments).await else {
            return;
        };
        for (channel, mean) in means.into_iter().enumerate() {
            let found = said["channels"][channel]["mean"].as_f64().unwrap();
            assert!((found - mean).abs() <= 0.5, "{channels}: {found} is not {mean}");
        }
    }
    let arguments = [
        "model",
        "show",
        "net.onnx",
        "--preset",
        "raw",
        "--channels",
        "gray",
    ];
    let (status, _, said) = files.run(&arguments).await;
    assert_eq!(status, 2, "{said}");
    assert!(
        said.contains("takes 3 channels, and --channels says gray: choose rgb, bgr or gray3"),
        "{said}"
    );
}

#[tokio::test]
async fn every_element_type_runs() {
    for (elem_type, dtype, shape, scale) in [
        (onnx::UINT8, "uint8", &[0, 8, 16, 3], 1.0),
        (onnx::FLOAT16, "float16", &[0, 3, 8, 16], 255.0),
        (onnx::FLOAT, "float32", &[1, 1, 8, 16], 255.0),
    ] {
        let model = Small {
            elem_type,
            input: shape,
            ..small()
        };
        let files = ModelFolder::new(&[("net.onnx", &model.bytes())]);
        let Some(said) = checked(&files, &["net.onnx", "--preset", "unit"]).await else {
            return;
        };
        assert_eq!(said["input"]["dtype"], dtype);
        // Grey is Pillow's: (40 * 19595 + 100 * 38470 + 200 * 7471) / 65536.
        let first = if shape[1] == 1 { 93.0 } else { 40.0 };
        near(&said["channels"][0]["mean"], first / scale);
    }
}

/// The weights of the classes are external, and passed to the runtime from memory.
#[tokio::test]
async fn weights_in_another_file_are_used() {
    let mut graph = small().graph();
    let weights = graph.initializer.remove(0);
    let mut outside = onnx::external("weights", "deep/weights.bin", 4, weights.raw_data.len() as u64);
    outside.dims = weights.dims;
    graph.initializer.push(outside);
    let content = [&[9; 4][..], &weights.raw_data].concat();
    let files = ModelFolder::new(&[
        ("net.onnx", &onnx::model(graph).encode_to_vec()),
        ("deep/weights.bin", &content),
    ]);
    let Some(said) = checked(&files, &["net.onnx", "--preset", "raw"]).await else {
        return;
    };
    near(&said["output"]["first"][2], 80.0);
}

#[tokio::test]
async fn the_text_report_includes_failures() {
    let Some(library) = onnxruntime() else { return };
    let files = ModelFolder::pets(&small());
    fs::write(files.path("a.png"), &photos::coloured([40, 100, 200]).bytes).unwrap();
    fs::write(files.path("b.png"), b"no photo").unwrap();
    let arguments = [
        "model",
        "check",
        "pets",
        "a.png",
        "b.png",
        "--save-input",
        "x.npy",
    ];
    let (status, printed, said) = files.run_with(&arguments, Some(&library)).await;
    assert_eq!(status, 1, "{said}");
    for words in [
        "pets version 1\n",
        "\na.png\n  input    pixels float32 [1, 3, 8, 16]\n",
        "channel 0: min 0.1569, mean 0.1569, max 0.1569, std 0.0000\n",
        "first values 0.0000 0.1569 0.3137\n",
        "%  cow (2)\n",
        "\nb.png\n  error ",
    ] {
        assert!(printed.contains(words), "{words}\n{printed}");
    }
    let saved = fs::read(files.path("x.npy")).unwrap();
    assert_eq!(saved.len(), 128 + 4 * 3 * 8 * 16, "the photo that could be read");
    assert!(String::from_utf8_lossy(&saved[..128]).contains("(1, 3, 8, 16)"));
    assert_eq!(saved[128..132], (40.0_f32 * (1.0 / 255.0)).to_le_bytes());
}

#[tokio::test]
async fn a_photo_that_takes_too_much_memory_is_refused_before_it_is_decoded() {
    let Some(library) = onnxruntime() else { return };
    let files = ModelFolder::pets(&small());
    fs::write(files.path("a.png"), &photos::coloured([40, 100, 200]).bytes).unwrap();
    let arguments = ["model", "check", "pets", "a.png", "--max-decoding-bytes", "1"];
    let (status, printed, said) = files.run_with(&arguments, Some(&library)).await;
    assert_eq!(status, 1, "{said}");
    assert!(printed.contains("raise --max-decoding-bytes"), "{printed}");
}

/// The results stay unchanged, because the softmax may be intended.
#[tokio::test]
async fn a_second_softmax_is_reported() {
    let files = ModelFolder::new(&[("net.onnx", &softmax_in_disguise())]);
    let Some(said) = checked(&files, &["net.onnx"]).await else {
        return;
    };
    let warnings = said["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].as_str().unwrap().contains("sum to 1"), "{said}");
    let library = onnxruntime();
    let arguments = ["model", "check", "net.onnx", "photo.png"];
    let (_, printed, _) = files.run_with(&arguments, library.as_deref()).await;
    let warning = printed.find("  - warning: whatever the image, `logits` gives numbers from 0 to 1");
    assert!(warning.unwrap() < printed.find("photo.png").unwrap(), "{printed}");
    assert!(printed.contains("activation = \"none\""), "{printed}");

    // If the package has no activation, nothing is applied and there is no warning.
    files
        .prints(&["model", "init", "net.onnx", "--out", "mine"])
        .await;
    let path = files.path("mine/model.toml");
    let text = fs::read_to_string(&path).unwrap();
    let edited = text.replace("activation = \"softmax\"", "activation = \"none\"");
    assert_ne!(text, edited);
    fs::write(&path, edited).unwrap();
    let said = checked(&files, &["mine"]).await.unwrap();
    assert_eq!(said["warnings"], json!([]));
    near(
        &said["predictions"][0]["probability"],
        said["scores"]["max"].as_f64().unwrap(),
    );
    assert_eq!(
        checked(&ModelFolder::pets(&small()), &["pets"]).await.unwrap()["warnings"],
        json!([])
    );
}

#[tokio::test]
async fn a_graph_that_the_runtime_refuses_is_reported_with_the_reason() {
    let Some(library) = onnxruntime() else { return };
    let mut newer = onnx::model(small().graph());
    newer.opset_import[0].version = 99;
    let files = ModelFolder::new(&[
        ("net.onnx", &newer.encode_to_vec()),
        ("a.png", &photos::grey(3).bytes),
    ]);
    let (status, printed, said) = files
        .run_with(&["model", "check", "net.onnx", "a.png"], Some(&library))
        .await;
    assert_eq!(status, 2, "{printed}");
    assert!(
        printed.contains("warning: it is written for opset 99"),
        "{printed}"
    );
    assert!(
        said.contains("model net (net.onnx) cannot be loaded")
            && said.contains("till opset")
            && said.contains("opset_version"),
        "{said}"
    );
}

/// Declared shapes are trusted until the runtime has loaded the file.
#[tokio::test]
async fn a_graph_whose_output_differs_from_its_declaration_is_refused() {
    let Some(library) = onnxruntime() else { return };
    let mut graph = small().graph();
    graph.output[0] = onnx::value("logits", onnx::FLOAT, &[0, 5]);
    let files = ModelFolder::new(&[
        ("nets/net.onnx", &onnx::model(graph).encode_to_vec()),
        ("a.png", &photos::grey(3).bytes),
    ]);
    files
        .prints(&["model", "init", "nets/net.onnx", "--out", "mine"])
        .await;
    let options = "--model-output, --task and --labels, or export the model again";
    let manifest = "correct mine/model.toml if it is wrong, or export the model again";
    for (spec, file, remedy, other) in [
        ("nets/net.onnx", "nets/net.onnx", options, "model.toml"),
        ("mine", "mine/model.onnx", manifest, "--labels"),
    ] {
        for command in [
            &["model", "check", spec, "a.png"][..],
            &["serve", "--listen", "127.0.0.1:0", "--model", spec],
        ] {
            let (status, printed, said) = files.run_with(command, Some(&library)).await;
            assert_eq!(status, 2, "{printed}");
            let error = said.lines().find(|line| line.starts_with("ocelli: ")).unwrap();
            for part in [file, "[batch, 5]", "[batch, 3]", remedy] {
                assert!(error.contains(part), "{command:?}: no {part} in {said}");
            }
            assert!(!error.contains(other), "{command:?}: {error}");
        }
    }
}
