//! What the metadata of ONNX files says, and what wins over it.

use super::*;
use crate::graph::testing::StringStringEntryProto;

const ULTRALYTICS: [(&str, &str); 4] = [
    ("author", "Ultralytics"),
    ("task", "classify"),
    ("imgsz", "[24, 32]"),
    ("names", "{0: 'tit', 1: \"owl's\", 2: 'robin'}"),
];

/// A model of three classes with this metadata.
fn with(entries: &[(&str, &str)], input: &[i64]) -> Vec<u8> {
    let small = Small {
        input,
        classes: 3,
        final_op: Some("Softmax"),
        ..small()
    };
    let mut file = model(small.graph());
    file.metadata_props = entries
        .iter()
        .map(|(key, value)| StringStringEntryProto {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    file.encode_to_vec()
}

fn made(entries: &[(&str, &str)]) -> Resolved {
    resolved(&folder(&[("net.onnx", &with(entries, &[0, 3, 32, 32]))]))
}

fn labels(resolved: &Resolved) -> &[String] {
    &resolved.package.card.labels[0]
}

#[test]
fn labels_are_read_and_their_source_is_named() {
    for (key, text) in [
        ("names", "{0: 'tit', 1: \"owl's\", 2: 'robin'}"),
        ("labels", r#"["tit", "owl's", "robin"]"#),
        ("classes", "tit, owl's, robin"),
        ("character", "tit\nowl's\nrobin"),
    ] {
        let resolved = made(&[(key, text)]);
        assert_eq!(labels(&resolved), ["tit", "owl's", "robin"], "{key}");
        let source = format!("the ONNX metadata `{key}`");
        let output = &resolved.package.card.manifest.outputs[0];
        assert_eq!(output.labels_source.as_deref(), Some(source.as_str()));
        let said = notes(&resolved);
        assert!(said.contains(&format!("3 labels from {source}")), "{said}");
        // These keys alone do not say how photos are prepared.
        assert!(
            said.contains("guessed: photos are prepared as preset torchvision"),
            "{said}"
        );
    }
}

/// Never an error: the model runs without them.
#[test]
fn what_cannot_be_used_is_a_note() {
    let long = format!("['{}']", "x".repeat(4 << 20));
    for (text, words) in [
        (
            "{0: 'tit', 1: 'owl'}",
            "2 labels, but output `logits` has 3 classes",
        ),
        ("{0: 'tit', 1: 'owl', 5: 'robin'}", "no name for class 2"),
        ("{0: 'tit', 1: 'owl', 2: 'robin", "has no end"),
        (long.as_str(), "more than 4 MiB"),
    ] {
        let resolved = made(&[("names", text)]);
        assert_eq!(labels(&resolved), ["class 0", "class 1", "class 2"], "{words}");
        let said = notes(&resolved);
        assert!(
            said.contains("warning: the ONNX metadata `names` is not used as labels") && said.contains(words),
            "{said}"
        );
    }
    // Another key may be right.
    let resolved = made(&[("names", "tit"), ("classes", "tit,owl,robin")]);
    assert_eq!(labels(&resolved)[2], "robin");
    assert!(notes(&resolved).contains("`names` is not used"));
}

#[test]
fn files_and_options_win_over_metadata() {
    let onnx = with(&ULTRALYTICS, &[0, 3, 32, 32]);
    let beside = folder(&[("net.onnx", &onnx), ("labels.txt", b"a\nb\nc\n")]);
    assert_eq!(labels(&resolved(&beside)), ["a", "b", "c"]);
    let given = Hints {
        labels: Some(beside.path().join("labels.txt")),
        ..preset(Preset::Unit)
    };
    let resolved_with = resolve(&beside.path().join("net.onnx"), &given).unwrap();
    assert_eq!(input(&resolved_with).resize, ResizePolicy::Stretch);
    let config = br#"{"architectures": ["ViTForImageClassification"], "model_type": "vit",
                      "id2label": {"0": "x", "1": "y", "2": "z"}}"#;
    let preprocessor =
        br#"{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}"#;
    let transformers = resolved(&folder(&[
        ("net.onnx", &onnx),
        ("config.json", config),
        ("preprocessor_config.json", preprocessor),
    ]));
    assert_eq!(labels(&transformers), ["x", "y", "z"]);
    assert!(
        !notes(&transformers).contains("metadata"),
        "{}",
        notes(&transformers)
    );
    assert!(input(&transformers).mean != [0.0; 3]);
}

/// `classify_transforms` of Ultralytics: the shorter edge of a square, and the exact size of anything else.
#[test]
fn classifiers_of_ultralytics_are_prepared_as_there() {
    for (shape, entries, size, resize) in [
        (
            &[0, 3, 32, 32][..],
            &ULTRALYTICS[..],
            [32, 32],
            ResizePolicy::ShortestEdge {
                size: 32,
                rounding: Rounding::Even,
            },
        ),
        (&[0, 3, 0, 0], &ULTRALYTICS, [32, 24], ResizePolicy::Stretch),
        (
            &[0, 3, 0, 0],
            &[ULTRALYTICS[0], ULTRALYTICS[1], ("imgsz", "64")],
            [64, 64],
            ResizePolicy::ShortestEdge {
                size: 64,
                rounding: Rounding::Even,
            },
        ),
    ] {
        let resolved = resolved(&folder(&[("net.onnx", &with(entries, shape))]));
        let input = input(&resolved);
        assert_eq!(([input.width, input.height], input.resize), (size, resize));
        assert_eq!(
            (
                input.scale,
                input.mean,
                input.std,
                input.interpolation,
                input.antialias
            ),
            (1.0 / 255.0, [0.0; 3], [1.0; 3], Interpolation::Bilinear, true)
        );
        let said = notes(&resolved);
        assert!(
            said.contains("preset yolo-cls") && !said.contains("guessed: photos"),
            "{said}"
        );
        assert_eq!(
            said.contains("from the ONNX metadata `imgsz`"),
            shape[2] == 0,
            "{said}"
        );
    }
    let wrong = [ULTRALYTICS[0], ULTRALYTICS[1], ("imgsz", "[24, 32, 3]")];
    let resolved = resolved(&folder(&[("net.onnx", &with(&wrong, &[0, 3, 0, 0]))]));
    let said = notes(&resolved);
    assert!(
        said.contains("`imgsz` is not used") && said.contains("guessed: 224 x 224"),
        "{said}"
    );
}

#[test]
fn the_preset_can_be_named() {
    let resolved = resolve(
        folder(&[("net.onnx", &with(&[], &[0, 3, 32, 32]))]).path(),
        &preset("yolo-cls".parse().unwrap()),
    )
    .unwrap();
    assert!(matches!(
        input(&resolved).resize,
        ResizePolicy::ShortestEdge { size: 32, .. }
    ));
}

/// Even where its output looks like a row of classes, unless the user says what it is.
#[test]
fn another_task_is_refused() {
    let onnx = with(&[("author", "Ultralytics"), ("task", "obb")], &[0, 3, 32, 32]);
    let alone = folder(&[("net.onnx", &onnx)]);
    let said = error(alone.path(), &Hints::default());
    for words in [
        "net.onnx",
        "metadata says task `obb`",
        "`logits` (float32 [batch, 3]",
        "--task",
    ] {
        assert!(said.contains(words), "no {words} in {said}");
    }
    for hints in [
        Hints {
            task: Some(Task::Classification),
            ..Hints::default()
        },
        Hints {
            output: Some("logits".into()),
            ..Hints::default()
        },
    ] {
        assert!(resolve(alone.path(), &hints).is_ok(), "{hints:?}");
    }
    assert!(
        resolve(
            folder(&[("net.onnx", &with(&[("task", "sorting")], &[0, 3, 32, 32]))]).path(),
            &Hints::default()
        )
        .is_ok()
    );
}

#[test]
fn features_have_no_labels() {
    let folder = folder(&[("net.onnx", &with(&ULTRALYTICS, &[0, 3, 32, 32]))]);
    let hints = Hints {
        task: Some(Task::Embedding),
        ..Hints::default()
    };
    let resolved = resolve(folder.path(), &hints).unwrap();
    assert_eq!(labels(&resolved).len(), 0);
}
