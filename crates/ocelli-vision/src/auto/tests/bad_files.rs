use std::os::unix::fs::symlink;

use super::*;

fn damaged(bytes: &[u8]) -> String {
    let folder = folder(&[("net.onnx", bytes)]);
    error(&folder.path().join("net.onnx"), &Hints::default())
}

#[test]
fn a_broken_onnx_file_is_named_with_what_to_do() {
    let whole = small().bytes();
    assert!(damaged(&whole[..whole.len() / 2]).contains("net.onnx is cut off"));
    assert!(damaged(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    assert!(damaged(b"\x80\x02}q\0").contains("net.onnx is a Python pickle"));
    let mut two = small().graph();
    two.input.push(value("mask", FLOAT, &[0, 1]));
    assert!(damaged(&model(two).encode_to_vec()).contains("2 inputs (pixels, mask)"));
    let mut flat = small().graph();
    flat.input[0] = value("pixels", FLOAT, &[0, 10]);
    assert!(damaged(&model(flat).encode_to_vec()).contains("no batch of images"));
    let mut strings = small().graph();
    strings.output[0] = value("logits", 8, &[0, 10]);
    assert!(damaged(&model(strings).encode_to_vec()).contains("gives no scores"));
}

#[test]
fn a_newer_opset_is_a_warning_for_the_engine_has_the_last_word() {
    let mut newer = model(small().graph());
    newer.opset_import[0].version = 99;
    let folder = folder(&[("net.onnx", &newer.encode_to_vec())]);
    assert!(notes(&resolved(&folder)).contains("warning: it is written for opset 99"));
}

#[test]
fn files_of_weights_are_never_opened() {
    // Opening one of these would be another error.
    for name in [
        "net.pt",
        "net.PTH",
        "net.h5",
        "net.keras",
        "net.mar",
        "net.safetensors",
        "net.bin",
    ] {
        let folder = folder(&[(name, b"")]);
        let error = error(&folder.path().join(name), &Hints::default());
        assert!(error.contains("tools/to_onnx.py"), "{error}");
    }
    let folder = folder(&[("pytorch_model.bin", b""), ("config.json", b"{}")]);
    assert!(error(folder.path(), &Hints::default()).contains("tools/to_onnx.py"));
}

/// Larger than any model, and empty: it must not be read to be refused.
#[test]
fn a_file_of_two_gigabytes_is_refused_at_once() {
    let folder = folder(&[("net.onnx", &small().bytes())]);
    let path = folder.path().join("net.onnx");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((2 << 30) + 1).unwrap();
    assert!(error(&path, &Hints::default()).contains("net.onnx is 2147483649 bytes"));
    // As large as one may be, but no ONNX from the first byte.
    let file = fs::File::create(&path).unwrap();
    file.set_len(2 << 30).unwrap();
    assert!(error(&path, &Hints::default()).contains("is not ONNX, or is damaged"));
}

#[test]
fn a_configuration_without_end_is_refused() {
    let folder = hugging_face(224, "{}");
    let file = fs::File::create(folder.path().join("config.json")).unwrap();
    file.set_len(1 << 30).unwrap();
    assert!(error(folder.path(), &Hints::default()).contains("config.json is 1073741824 bytes"));
    fs::write(folder.path().join("config.json"), "[".repeat(100_000)).unwrap();
    assert!(error(folder.path(), &Hints::default()).contains("config.json is not valid JSON"));
}

fn with_weights(name: &str, length: u64) -> Vec<u8> {
    let mut graph = small().graph();
    graph.initializer.push(external("extra", name, 0, length));
    model(graph).encode_to_vec()
}

#[test]
fn weights_beside_the_file_come_with_it() {
    let folder = folder(&[
        ("onnx/model.onnx", &with_weights("model.onnx_data", 8)),
        ("onnx/model.onnx_data", &[7; 8]),
    ]);
    let external = &resolved(&folder).package.external;
    assert_eq!(external.len(), 1);
    assert_eq!(
        (external[0].name.as_str(), &external[0].bytes[..]),
        ("model.onnx_data", &[7; 8][..])
    );
}

#[test]
fn weights_that_are_missing_cut_off_or_elsewhere_are_named() {
    let secret = folder(&[("secret", &[1; 8])]);
    let secret = secret.path().join("secret");
    for (name, words) in [
        ("w.bin", ["w.bin", "is missing"]),
        ("short.bin", ["short.bin", "has 4 bytes of the 8"]),
        ("../w.bin", ["w.bin", "outside its folder"]),
        (secret.to_str().unwrap(), ["secret", "outside its folder"]),
        ("linked.bin", ["linked.bin", "put the file itself there"]),
    ] {
        let folder = folder(&[("net.onnx", &with_weights(name, 8)), ("short.bin", &[0; 4])]);
        symlink(&secret, folder.path().join("linked.bin")).unwrap();
        let error = error(&folder.path().join("net.onnx"), &Hints::default());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn links_stay_within_the_folder_or_the_root() {
    let cache = folder(&[("blobs/abc", &small().bytes()), ("snapshots/1/README", b"")]);
    let snapshot = cache.path().join("snapshots/1");
    symlink("../../blobs/abc", snapshot.join("net.onnx")).unwrap();
    let message = error(&snapshot, &Hints::default());
    assert!(message.contains("put the file itself there"), "{message}");
    let hints = Hints {
        root: Some(cache.path().into()),
        ..Hints::default()
    };
    assert!(resolve(&snapshot, &hints).is_ok());
}

#[test]
fn what_is_not_there_is_said() {
    let folder = folder(&[("README.md", b"")]);
    assert!(error(&folder.path().join("nothing"), &Hints::default()).contains("name a folder"));
    assert!(error(folder.path(), &Hints::default()).contains("holds no ONNX file"));
}
