use super::*;
use crate::Align;

fn timm(size: i64, settings: &str) -> TempDir {
    let config = format!(
        r#"{{"architecture": "resnet18", "num_classes": 2, "label_names": ["n1", "dog"],
             "label_descriptions": {{"n1": "cat"}},
             "pretrained_cfg": {{"license": "apache-2.0", "input_size": [3, 64, 64], {settings}}}}}"#
    );
    folder(&[
        ("config.json", config.as_bytes()),
        ("model.onnx", &square(size, 2)),
    ])
}

#[test]
fn crop_modes() {
    let (rounding, mean) = (Rounding::Even, r#""mean": [0.5, 0.4, 0.3]"#);
    for (settings, expected) in [
        (
            r#""crop_pct": 0.9"#,
            ResizePolicy::ShortestEdge { size: 71, rounding },
        ),
        (r#""crop_pct": 1.0, "crop_mode": "squash""#, ResizePolicy::Stretch),
        (
            r#""crop_pct": 0.9, "crop_mode": "squash""#,
            ResizePolicy::StretchCrop {
                size: [71, 71],
                rounding,
            },
        ),
        (
            r#""crop_pct": 0.9, "crop_mode": "border""#,
            ResizePolicy::Letterbox {
                fill: [128, 102, 76],
                size: Some([71, 71]),
                rounding: Rounding::Even,
                align: Align::Center,
            },
        ),
    ] {
        let resolved = resolved(&timm(64, &format!("{settings}, {mean}")));
        assert_eq!(resolved.kind, Kind::Timm);
        assert_eq!(input(&resolved).resize, expected, "{settings}");
        assert_eq!(input(&resolved).std, [0.229, 0.224, 0.225]);
    }
    let error = error(timm(64, r#""crop_mode": "corner""#).path(), &Hints::default());
    assert!(
        error.contains("`pretrained_cfg.crop_mode` is \"corner\""),
        "{error}"
    );
}

#[test]
fn labels_licence_and_interpolation() {
    let random = resolved(&timm(64, r#""interpolation": "random""#));
    assert_eq!(input(&random).interpolation, Interpolation::Bilinear);
    let card = &random.package.card;
    assert_eq!(card.labels, [["cat", "dog"]]);
    assert_eq!(card.manifest.license.as_deref(), Some("apache-2.0"));
    let error = error(
        timm(64, r#""interpolation": "mks2013""#).path(),
        &Hints::default(),
    );
    assert!(error.contains("--interpolation"), "{error}");
}

#[test]
fn a_graph_of_the_test_size_is_prepared_for_it() {
    let keys = r#""crop_pct": 0.9, "test_input_size": [3, 96, 96], "test_crop_pct": 1.0"#;
    let tested = resolved(&timm(96, keys));
    assert!(matches!(
        input(&tested).resize,
        ResizePolicy::ShortestEdge { size: 96, .. }
    ));
    // Another size: as the graph says, with the share of the configuration.
    let other = resolved(&timm(90, keys));
    assert!(matches!(
        input(&other).resize,
        ResizePolicy::ShortestEdge { size: 100, .. }
    ));
    assert!(notes(&other).contains("90 x 90 pixels, as the graph fixes them, instead of 64 x 64"));
}

#[test]
fn oblong_sizes_are_covered() {
    let config = br#"{"architecture": "x", "input_size": [3, 24, 32], "crop_pct": 0.5, "num_classes": 10}"#;
    let folder = folder(&[("config.json", config), ("model.onnx", &small().bytes())]);
    let resolved = resolved(&folder);
    let expected = ResizePolicy::Cover {
        size: [64, 48],
        rounding: Rounding::Even,
    };
    assert_eq!(input(&resolved).resize, expected);
    assert!(notes(&resolved).contains("\"class 0\" to \"class 9\""));
}

#[test]
fn a_model_without_classes_gives_features() {
    let config = br#"{"architecture": "x", "num_classes": 0, "pretrained_cfg": {}}"#;
    let folder = folder(&[("config.json", config), ("model.onnx", &square(224, 10))]);
    assert_eq!(resolved(&folder).package.card.manifest.task, Task::Embedding);
}
