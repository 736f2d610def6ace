//! `ocelli model show`.

use prost::Message as _;
use serde_json::{Value, json};

use super::{ModelFolder, Small, small};

async fn shown(files: &ModelFolder, arguments: &[&str]) -> Value {
    let arguments = [&["model", "show", "--json"], arguments].concat();
    serde_json::from_str(&files.prints(&arguments).await).unwrap()
}

fn kinds(shown: &Value) -> Vec<&str> {
    let notes = shown["notes"].as_array().unwrap();
    notes.iter().map(|note| note["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_hugging_face_folder_needs_no_guesses() {
    let files = ModelFolder::pets(&small());
    let printed = files.prints(&["model", "show", "pets"]).await;
    for words in [
        "pets version 1\n",
        "kind     Hugging Face folder\n",
        "pets/onnx/model.onnx, ",
        "input    pixels, float32 [batch, 3, 8, 16], rgb\n",
        "photo    rotated by EXIF, stretched to 16 x 8, bilinear (as PyTorch), antialias on\n",
        "values   (x * 0.003921569 - mean) / std",
        "output   logits, softmax; 3 labels: cat, dog, cow\n",
        "  - onnx/model.onnx: the only ONNX file\n",
        "  - 3 labels from config.json (id2label)\n",
    ] {
        assert!(printed.contains(words), "{words}\n{printed}");
    }
    assert!(!printed.contains("guessed"), "{printed}");
}

#[tokio::test]
async fn a_bare_onnx_file_is_guessed_except_for_given_options() {
    let files = ModelFolder::new(&[("birds.onnx", &small().bytes()), ("names", b"tit\nrobin\nowl\n")]);
    let guessed = shown(&files, &["birds.onnx"]).await;
    assert_eq!(kinds(&guessed), ["guess", "guess", "guess"]);
    assert_eq!(guessed["kind"], "ONNX file");
    assert_eq!(guessed["package"]["name"], "birds");
    let arguments = [
        "birds.onnx",
        "--preset",
        "keras-caffe",
        "--labels",
        "names",
        "--interpolation",
        "nearest",
    ];
    let said = shown(&files, &arguments).await;
    assert_eq!(kinds(&said), ["read", "read"], "{said}");
    let input = &said["package"]["input"];
    assert_eq!(
        (&input["channels"], &input["interpolation"]),
        (&json!("bgr"), &json!("nearest"))
    );
    assert_eq!(said["labels"], json!([3]));
    assert_ne!(said["digest"], guessed["digest"]);
}

/// An export of Ultralytics needs no options and no guesses.
#[tokio::test]
async fn metadata_of_the_onnx_file_is_shown_with_its_source() {
    let mut file = super::onnx::model(small().graph());
    for (key, value) in [
        ("author", "Ultralytics"),
        ("task", "classify"),
        ("names", "{0: 'tit', 1: \"owl's\", 2: 'robin'}"),
    ] {
        file.metadata_props.push(super::onnx::StringStringEntryProto {
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    let files = ModelFolder::new(&[("birds.onnx", &file.encode_to_vec())]);
    let printed = files.prints(&["model", "show", "birds.onnx"]).await;
    for words in [
        "3 labels: tit, owl's, robin\n",
        "  - 3 labels from the ONNX metadata `names`\n",
        "  - photos are prepared as preset yolo-cls says, for the ONNX metadata names Ultralytics",
    ] {
        assert!(printed.contains(words), "{words}\n{printed}");
    }
    assert!(!printed.contains("guessed: photos"), "{printed}");
    files
        .prints(&["model", "init", "birds.onnx", "--out", "mine"])
        .await;
    let written = std::fs::read_to_string(files.path("mine/labels.txt")).unwrap();
    assert_eq!(written, "tit\nowl's\nrobin\n");
}

/// The filter has the name of its library, and antialiasing is always shown.
#[tokio::test]
async fn the_resize_settings_are_shown_completely() {
    let files = ModelFolder::new(&[("own.onnx", &small().bytes())]);
    for (arguments, words) in [
        (
            &["--preset", "image-dataset"][..],
            "stretched to 16 x 8, bilinear (as TensorFlow), antialias off\n",
        ),
        (
            &["--preset", "image-dataset", "--antialias", "on"],
            "bilinear (as TensorFlow), antialias on\n",
        ),
        (
            &["--preset", "flow-from-directory"],
            "stretched to 16 x 8, nearest, antialias on\n",
        ),
        (&["--preset", "opencv-area"], "area (as OpenCV), antialias off\n"),
        (
            &["--preset", "tfjs"],
            "bilinear (as TensorFlow), antialias off, coordinates align-corners\n",
        ),
        (
            &[
                "--preset",
                "keras-tf",
                "--interpolation",
                "bilinear",
                "--antialias",
                "off",
            ],
            "stretched to 16 x 8, bilinear, antialias off\n",
        ),
    ] {
        let printed = files
            .prints(&[&["model", "show", "own.onnx"], arguments].concat())
            .await;
        assert!(printed.contains(words), "{words}\n{printed}");
        // The package written from it has the same settings.
        let json = shown(&files, &[&["own.onnx"], arguments].concat()).await;
        let antialias = words.contains("antialias on");
        assert_eq!(json["package"]["input"]["antialias"], antialias, "{json}");
    }
}

#[tokio::test]
async fn one_of_several_files_can_be_selected() {
    let files = ModelFolder::pets(&small());
    std::fs::copy(
        files.path("pets/onnx/model.onnx"),
        files.path("pets/onnx/model_int8.onnx"),
    )
    .unwrap();
    for (spec, file) in [
        ("pets", "onnx/model_int8.onnx"),
        ("pets#model.onnx", "onnx/model.onnx"),
        ("pets#onnx/model_int8.onnx", "onnx/model_int8.onnx"),
        ("pets/onnx/model.onnx", "onnx/model.onnx"),
    ] {
        let shown = shown(&files, &[spec]).await;
        assert!(shown["file"].as_str().unwrap().ends_with(file), "{shown}");
        assert_eq!(shown["labels"], json!([3]), "{spec}: its configuration is found");
    }
}

#[tokio::test]
async fn the_built_in_model_is_shown_by_default() {
    let shown = shown(&ModelFolder::new(&[]), &[]).await;
    assert_eq!(shown["package"]["name"], "efficientnet-lite0");
    assert_eq!(shown["file"], Value::Null);
}

#[tokio::test]
async fn a_triton_model_is_recognised() {
    let config = br#"platform: "onnxruntime_onnx" max_batch_size: 4 output { label_filename: "names.txt" }"#;
    let model = Small {
        final_op: Some("Softmax"),
        ..small()
    };
    let files = ModelFolder::new(&[
        ("Birds/config.pbtxt", config),
        ("Birds/names.txt", b"tit\nrobin\nowl\n"),
        ("Birds/3/model.onnx", &model.bytes()),
    ]);
    let shown = shown(&files, &["Birds", "--preset", "raw"]).await;
    let package = &shown["package"];
    assert_eq!(
        (&package["name"], &package["version"]),
        (&json!("birds"), &json!("3"))
    );
    assert_eq!(package["run"]["max_batch"], 4);
    assert_eq!(package["output"][0]["activation"], "none", "{shown}");
}
