//! Models that cannot be served: exit status 2 and one line with the path and the remedy, before anything is bound.

use std::fs;
use std::os::unix::fs::symlink;

use prost::Message as _;

use super::{ModelFolder, onnx, small};

/// All commands that open a model report the same error.
pub(super) async fn refused(files: &ModelFolder, spec: &str, words: &[&str]) {
    for command in [
        &["model", "show", spec][..],
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--engine",
            "fake",
            "--model",
            spec,
        ],
    ] {
        let error = files.fails(command).await;
        for word in words {
            assert!(error.contains(word), "{command:?}: no {word:?} in {error}");
        }
    }
}

/// Hub names are often copied without `hf:`.
#[tokio::test]
async fn a_hub_name_is_recognised() {
    let files = ModelFolder::new(&[("models/net/notes.txt", b"x")]);
    let here: &[&[&str]] = &[
        &["serve", "--listen", "127.0.0.1:0", "--model"],
        &["model", "show"],
        &["model", "pull"],
        &["model", "remove"],
    ];
    for command in here {
        for (spec, meant) in [
            ("microsoft/resnet-50", "hf:microsoft/resnet-50"),
            ("microsoft/resnet-50@main", "hf:microsoft/resnet-50@main"),
        ] {
            let said = files.fails(&[command, &[spec][..]].concat()).await;
            assert!(
                said.contains(&format!("did you mean {meant}")),
                "{command:?}: {said}"
            );
        }
    }
    for path in [
        "models/missing",
        "models/net",
        "elsewhere/net.onnx",
        "resnet",
        "/a/b",
    ] {
        let said = files.fails(&["model", "show", path]).await;
        assert!(!said.contains("did you mean hf:"), "{path}: {said}");
    }
}

/// `--model` and `--model-dir` are easily confused.
#[tokio::test]
async fn a_folder_of_models_is_recognised() {
    let files = ModelFolder::new(&[("models/cats/model.onnx", b"x"), ("models/notes.txt", b"x")]);
    for command in [
        &["serve", "--listen", "127.0.0.1:0", "--model", "models"][..],
        &["model", "show", "models"],
    ] {
        let said = files.fails(command).await;
        assert!(said.contains("such as models/cats"), "{command:?}: {said}");
        assert!(said.contains("--model-dir models"), "{command:?}: {said}");
    }
}

#[tokio::test]
async fn damaged_files_are_named() {
    let whole = small().bytes();
    let mut two = small().graph();
    two.input.push(onnx::value("mask", onnx::FLOAT, &[0, 1]));
    let mut far = small().graph();
    far.initializer.push(onnx::external("w", "../w.bin", 0, 8));
    let mut gone = small().graph();
    gone.initializer.push(onnx::external("w", "w.bin", 0, 8));
    let files = ModelFolder::new(&[
        ("cut.onnx", &whole[..whole.len() / 2]),
        ("pointer.onnx", b"version https://git-lfs.github.com/spec/v1\n"),
        ("two.onnx", &onnx::model(two).encode_to_vec()),
        ("far.onnx", &onnx::model(far).encode_to_vec()),
        ("gone.onnx", &onnx::model(gone).encode_to_vec()),
        ("weights.pt", b"\x80\x02}q\0."),
    ]);
    refused(&files, "cut.onnx", &["cut.onnx", "is cut off", "download"]).await;
    refused(&files, "pointer.onnx", &["pointer.onnx", "git lfs pull"]).await;
    refused(&files, "two.onnx", &["two.onnx", "2 inputs (pixels, mask)"]).await;
    refused(
        &files,
        "far.onnx",
        &["far.onnx", "../w.bin", "outside its folder"],
    )
    .await;
    refused(&files, "gone.onnx", &["gone.onnx", "w.bin", "is missing"]).await;
    refused(
        &files,
        "weights.pt",
        &["weights.pt is TorchScript or holds weights", "tools/to_onnx.py"],
    )
    .await;
    refused(&files, "nothing", &["nothing", "name a folder"]).await;
    refused(
        &files,
        "/dev/zero",
        &["/dev/zero: is a pipe or a device", "into a file"],
    )
    .await;
}

#[tokio::test]
async fn wrong_configurations_are_named_with_the_key() {
    let files = ModelFolder::pets(&small());
    let write = |name: &str, text: &str| fs::write(files.path(name), text).unwrap();
    write(
        "pets/preprocessor_config.json",
        r#"{"image_processor_type": "DonutImageProcessor"}"#,
    );
    refused(
        &files,
        "pets",
        &["preprocessor_config.json", "DonutImageProcessor", "--preset"],
    )
    .await;
    write(
        "pets/preprocessor_config.json",
        r#"{"image_processor_type": "ViTImageProcessor", "size": "big"}"#,
    );
    refused(&files, "pets", &["preprocessor_config.json", "`size` is \"big\""]).await;
    write("pets/preprocessor_config.json", "{");
    refused(&files, "pets", &["preprocessor_config.json", "not valid JSON"]).await;
    write(
        "pets/preprocessor_config.json",
        r#"{"image_processor_type": "ViTImageProcessor", "size": [8, 16]}"#,
    );
    write("pets/config.json", r#"{"id2label": {"0": "cat"}}"#);
    refused(&files, "pets", &["1 label, but output `logits` has 3 classes"]).await;
    let huge = fs::File::create(files.path("pets/config.json")).unwrap();
    huge.set_len(1 << 33).unwrap();
    refused(&files, "pets", &["config.json", "16777216 at most"]).await;
}

#[tokio::test]
async fn invalid_packages_are_refused() {
    let files = ModelFolder::pets(&small());
    files.prints(&["model", "init", "pets", "--out", "mine"]).await;
    let toml = fs::read_to_string(files.path("mine/model.toml")).unwrap();
    let write = |text: &str| fs::write(files.path("mine/model.toml"), text).unwrap();
    write(&toml.replace("width", "widht"));
    let error = files.fails(&["model", "show", "mine"]).await;
    assert!(error.contains("did you mean `width`"), "{error}");
    write(&toml);
    fs::write(files.path("mine/labels.txt"), "cat\ndog\ncow\nhen\n").unwrap();
    refused(
        &files,
        "mine",
        &["labels.txt", "4 labels, but output `logits` has 3 classes"],
    )
    .await;
    fs::remove_file(files.path("mine/labels.txt")).unwrap();
    refused(&files, "mine", &["labels.txt", "missing"]).await;
    symlink("/etc/hostname", files.path("mine/labels.txt")).unwrap();
    refused(&files, "mine", &["labels.txt", "leads to /etc/hostname"]).await;
    let error = files.fails(&["model", "show", "mine", "--preset", "raw"]).await;
    assert!(
        error.contains("model.toml") && error.contains("--preset"),
        "{error}"
    );
}

#[tokio::test]
async fn options_without_a_model_are_refused() {
    let files = ModelFolder::new(&[]);
    let error = files.fails(&["model", "show", "--preset", "raw"]).await;
    assert!(
        error.contains("--preset is for a model that --model names"),
        "{error}"
    );
    let (status, _, said) = files.run(&["model", "show", "--preset", "keras"]).await;
    assert_eq!(status, 2);
    assert!(said.contains("keras-caffe"), "{said}");
}
