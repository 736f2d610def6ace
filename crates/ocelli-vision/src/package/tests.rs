use std::fs;

use prost::Message;

use super::*;
use crate::graph::testing::{self, Small};

const TOML: &str = r#"
schema = 1
name = "tiny"
version = "1"
task = "classification"
license = "Apache-2.0"
source = "made up"
[input]
name = "image"
dtype = "uint8"
width = 8
height = 8
layout = "nhwc"
channels = "rgb"
resize = { policy = "stretch" }
interpolation = "bilinear"
[[output]]
name = "logits"
activation = "softmax"
labels = "labels.txt"
"#;

fn package(toml: &str, onnx: &'static [u8], labels: &str) -> ModelPackage {
    ModelPackage::from_parts(toml, Cow::Borrowed(onnx), labels).unwrap()
}

fn onnx() -> Vec<u8> {
    let small = Small {
        elem_type: testing::UINT8,
        input: &[0, 8, 8, 3],
        classes: 3,
        final_op: None,
    };
    small.bytes()
}

fn folder(labels: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        (MANIFEST_FILE, TOML.as_bytes()),
        (ONNX_FILE, &onnx()),
        ("labels.txt", labels),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

#[test]
fn a_folder_and_its_parts_are_the_same_package() {
    let folder = folder(b"crane\ncat\ncrane\n");
    let loaded = ModelPackage::load(folder.path()).unwrap();
    let made = ModelPackage::from_parts(TOML, onnx().into(), "crane\ncat\ncrane\n").unwrap();
    assert_eq!(loaded.card.labels, [["crane", "cat", "crane"]]);
    assert_eq!(loaded.card.manifest, made.card.manifest);
    assert_eq!(loaded.card.digest(), made.card.digest());
}

#[test]
fn windows_line_ends_do_not_stick_to_labels() {
    assert_eq!(package(TOML, b"onnx", "cat\r\ndog").card.labels, [["cat", "dog"]]);
}

#[test]
fn what_editors_put_around_labels_is_no_label() {
    let labels = |text: &str| package(TOML, b"onnx", text).card.labels[0].clone();
    assert_eq!(labels("\u{feff}cat\n\ndog\n\n"), ["cat", "", "dog"]);
    assert_eq!(labels("cat\ndog\n\n\n"), ["cat", "dog", ""]);
    let unnamed = built(&["cat", ""], Vec::new()).unwrap();
    assert_eq!(unnamed.card.labels, [["cat", ""]]);
}

#[test]
fn every_part_counts_for_the_digest_and_no_byte_moves_between_parts() {
    let digests = [
        package(TOML, b"onnx", "cat"),
        package(&format!("{TOML}\n"), b"onnx", "cat"),
        package(TOML, b"onny", "cat"),
        package(TOML, b"onnx", "cow"),
        package(TOML, b"onnxc", "at"),
    ]
    .map(|package| package.card.digest().to_owned());
    for (index, digest) in digests.iter().enumerate() {
        assert_eq!(digest.len(), 64);
        assert!(!digests[..index].contains(digest), "{index}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder(b"cat");
    fs::remove_file(folder.path().join("labels.txt")).unwrap();
    let error = ModelPackage::load(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("labels.txt") && error.contains("model.onnx"),
        "{error}"
    );
}

#[test]
fn labels_in_another_encoding_are_refused() {
    let folder = folder(b"caf\xe9\n");
    assert!(matches!(
        ModelPackage::load(folder.path()),
        Err(PackageError::File(FileError::NotUtf8 { .. }))
    ));
}

fn built(labels: &[&str], external: Vec<ExternalData>) -> Result<ModelPackage, PackageError> {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    let manifest = Manifest::parse(TOML).unwrap();
    ModelPackage::build(manifest, onnx().into(), external, &[labels])
}

fn weights(name: &str, bytes: &'static [u8]) -> ExternalData {
    ExternalData {
        name: name.into(),
        bytes: bytes.into(),
    }
}

#[test]
fn what_is_built_and_written_is_read_as_the_same() {
    let package = built(&["crane", " big\r\ncat ", "", "crane"], Vec::new()).unwrap();
    assert_eq!(package.card.labels, [["crane", "big  cat", "", "crane"]]);
    let folder = folder((package.card.labels[0].join("\n") + "\n").as_bytes());
    fs::write(folder.path().join(MANIFEST_FILE), package.card.manifest.to_toml()).unwrap();
    let loaded = ModelPackage::load(folder.path()).unwrap();
    assert_eq!(loaded.card.digest(), package.card.digest());
    assert_eq!(loaded.card.labels, package.card.labels);
}

/// Digests stay the same across versions. The expected ones are from Python's `hashlib`.
#[test]
fn digests_stay_what_they_were() {
    let digest = "a37935203fb1e94d0d9ff1137d219ff635768dd6371a0b7b8d0037208efa74e4";
    assert_eq!(package(TOML, b"onnx", "cat").card.digest(), digest);
}

#[test]
fn external_data_counts_for_the_digest_whatever_its_order() {
    let digest = |external| built(&["cat"], external).unwrap().card.digest().to_owned();
    let (one, two) = (weights("a", b"1"), weights("b", b"2"));
    let both = digest(vec![one.clone(), two.clone()]);
    assert_eq!(both, digest(vec![two.clone(), one.clone()]));
    let others = [
        vec![],
        vec![one.clone()],
        vec![weights("a", b"2"), weights("b", b"1")],
    ];
    for other in others {
        assert_ne!(both, digest(other));
    }
}

#[test]
fn labels_must_be_what_the_manifest_announces() {
    let text = built(&[], Vec::new()).unwrap_err().to_string();
    assert!(text.contains("no labels"), "{text}");
    let mut manifest = Manifest::parse(TOML).unwrap();
    let twin = OutputSpec {
        name: "other".into(),
        ..manifest.outputs[0].clone()
    };
    manifest.outputs.push(twin);
    let build = |manifest: &Manifest, labels: &[Vec<String>]| {
        ModelPackage::build(manifest.clone(), Cow::Borrowed(b"onnx"), Vec::new(), labels)
    };
    let list = |label: &str| vec![label.to_owned()];
    assert!(build(&manifest, &[list("cat"), list("cat")]).is_ok());
    assert!(build(&manifest, &[list("cat"), list("dog")]).is_err());
    assert!(build(&manifest, &[list("cat")]).is_err());
    manifest.outputs[1].labels = None;
    assert!(build(&manifest, &[list("cat"), list("cat")]).is_err());
    assert!(build(&manifest, &[list("cat"), Vec::new()]).is_ok());
    manifest.name = "Not a name".into();
    let text = build(&manifest, &[list("cat"), Vec::new()])
        .unwrap_err()
        .to_string();
    assert!(text.contains("`name`"), "{text}");
}

#[test]
fn the_error_about_a_typo_names_the_folder() {
    let folder = folder(b"cat");
    fs::write(folder.path().join(MANIFEST_FILE), TOML.replace("width", "widht")).unwrap();
    let text = ModelPackage::load(folder.path()).unwrap_err().to_string();
    let path = folder.path().display().to_string();
    assert!(
        text.starts_with(&path) && text.contains("did you mean `width`?"),
        "{text}"
    );
}

fn refusal(folder: &tempfile::TempDir) -> String {
    let text = ModelPackage::load(folder.path()).unwrap_err().to_string();
    assert!(text.contains(&folder.path().display().to_string()), "{text}");
    text
}

#[test]
fn a_package_of_another_framework_is_sent_to_the_converter() {
    let folder = folder(b"cat");
    let model = folder.path().join(ONNX_FILE);
    fs::rename(&model, folder.path().join("resnet.onnx")).unwrap();
    assert!(refusal(&folder).contains("rename resnet.onnx"));
    fs::rename(folder.path().join("resnet.onnx"), folder.path().join("model.pt")).unwrap();
    let text = refusal(&folder);
    assert!(
        text.contains("model.pt") && text.contains("tools/to_onnx.py"),
        "{text}"
    );
    fs::write(&model, b"PK\x03\x04 a zip").unwrap();
    assert!(refusal(&folder).contains("is a zip archive"));
    fs::write(&model, b"\x89HDF\r\n\x1a\n").unwrap();
    assert!(refusal(&folder).contains("model.onnx is a Keras model"));
}

#[test]
fn an_onnx_file_that_is_cut_off_or_huge_is_refused() {
    let folder = folder(b"cat");
    let model = folder.path().join(ONNX_FILE);
    fs::write(&model, &onnx()[..onnx().len() / 2]).unwrap();
    assert!(refusal(&folder).contains("is cut off"));
    fs::File::create(&model)
        .unwrap()
        .set_len(MAX_ONNX_BYTES + 1)
        .unwrap();
    assert!(refusal(&folder).contains("at most"));
}

#[test]
fn weights_beside_the_onnx_file_belong_to_the_package() {
    let folder = folder(b"cat");
    let mut graph = Small {
        elem_type: testing::UINT8,
        input: &[0, 8, 8, 3],
        classes: 1,
        final_op: None,
    }
    .graph();
    graph.initializer = vec![testing::external("weights", "model.onnx_data", 0, 12)];
    fs::write(
        folder.path().join(ONNX_FILE),
        testing::model(graph).encode_to_vec(),
    )
    .unwrap();
    assert!(refusal(&folder).contains("model.onnx_data"));
    let digests = [b"0123456789ab", b"0123456789ac"].map(|bytes| {
        fs::write(folder.path().join("model.onnx_data"), bytes).unwrap();
        let package = ModelPackage::load(folder.path()).unwrap();
        assert_eq!(&package.external[0].bytes[..], bytes);
        package.card.digest().to_owned()
    });
    assert_ne!(digests[0], digests[1]);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_inside_the_root_only() {
    let cache = tempfile::tempdir().unwrap();
    let folder = folder(b"cat");
    fs::rename(folder.path(), cache.path().join("snapshot")).unwrap();
    fs::create_dir(folder.path()).unwrap();
    let dir = cache.path().join("snapshot");
    fs::rename(dir.join(ONNX_FILE), cache.path().join("blob")).unwrap();
    std::os::unix::fs::symlink("../blob", dir.join(ONNX_FILE)).unwrap();
    assert!(matches!(
        ModelPackage::load(&dir),
        Err(PackageError::File(FileError::Outside { .. }))
    ));
    assert!(ModelPackage::load_within(&dir, cache.path()).is_ok());
}
