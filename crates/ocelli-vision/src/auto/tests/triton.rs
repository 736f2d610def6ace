use super::*;

const CONFIG: &str = r#"platform: "onnxruntime_onnx" max_batch_size: 8
    output { name: "logits" label_filename: "classes.txt" } instance_group { count: 2 }"#;

fn triton(config: &str) -> TempDir {
    folder(&[
        ("Birds/config.pbtxt", config.as_bytes()),
        ("Birds/classes.txt", b"tit\nrobin\n"),
        ("Birds/2/model.onnx", &square(32, 2)),
        ("Birds/10/model.onnx", &square(48, 2)),
    ])
}

#[test]
fn the_latest_version_or_one_of_them() {
    let folder = triton(CONFIG);
    for (path, version, side) in [
        ("Birds", "10", 48),
        ("Birds/2", "2", 32),
        ("Birds/2/model.onnx", "2", 32),
    ] {
        let resolved = resolve(&folder.path().join(path), &Hints::default()).unwrap();
        let manifest = &resolved.package.card.manifest;
        assert_eq!(resolved.kind, Kind::Triton);
        assert_eq!(
            (manifest.name.as_str(), manifest.version.as_str()),
            ("birds", version)
        );
        assert_eq!(manifest.input.width, side);
        let run = RunSpec {
            instances: Some(2),
            max_batch: Some(8),
            ..RunSpec::default()
        };
        assert_eq!(manifest.run, run);
        assert_eq!(resolved.package.card.labels, [["tit", "robin"]]);
    }
}

#[test]
fn the_latest_of_numbered_folders_is_that_version() {
    let folder = folder(&[
        ("birds/2/model.onnx", &square(32, 2)),
        ("birds/10/model.onnx", &square(48, 2)),
    ]);
    let resolved = resolve(&folder.path().join("birds"), &Hints::default()).unwrap();
    let manifest = &resolved.package.card.manifest;
    assert_eq!((manifest.version.as_str(), manifest.input.width), ("10", 48));
}

#[test]
fn what_is_wrong_is_said_with_its_file() {
    for (config, words) in [
        (
            "platform: \"tensorrt_plan\"",
            ["config.pbtxt", "serves ONNX models"],
        ),
        ("name \"x\"", ["config.pbtxt", "line 1"]),
        ("output { label_filename: \"none.txt\" }", ["none.txt", "missing"]),
        (
            "output { label_filename: \"../../secret\" }",
            ["secret", "missing"],
        ),
        (
            "default_model_filename: \"net.onnx\"",
            ["net.onnx", "is missing: put the model there"],
        ),
    ] {
        let error = error(&triton(config).path().join("Birds"), &Hints::default());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn numbered_folders_need_no_configuration() {
    let folder = folder(&[
        ("Cats/1/model.onnx", &square(32, 2)),
        ("Cats/3/model.onnx", &square(48, 2)),
    ]);
    let resolved = resolve(&folder.path().join("Cats"), &Hints::default()).unwrap();
    assert_eq!(resolved.package.card.manifest.name, "cats");
    assert_eq!(input(&resolved).width, 48);
}
