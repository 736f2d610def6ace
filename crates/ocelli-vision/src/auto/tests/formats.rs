//! Models in other formats: the sentence of each, wherever the file is met.

use super::*;
use crate::Format;

/// Files that are called as `pattern` says, and what makes them one of a pair; the first is the one to speak of in a folder.
fn files(format: &Format, pattern: &str) -> Vec<String> {
    let name = pattern.replacen('*', "Net", 1).replace('*', "1");
    if format.is_paired() {
        return vec!["Net.bin".to_owned(), name];
    }
    vec![name]
}

fn in_folder(prefix: &str, names: &[String]) -> TempDir {
    let paths: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    let files: Vec<(&str, &[u8])> = paths.iter().map(|path| (path.as_str(), &b""[..])).collect();
    folder(&files)
}

#[track_caller]
fn said(path: &Path, name: &str, format: &Format) {
    let error = error(path, &Hints::default());
    assert!(error.contains(&format!("{name} {format}")), "{path:?}: {error}");
}

#[test]
fn each_gets_its_one_sentence_wherever_it_is_met() {
    for format in Format::all() {
        for pattern in format.files() {
            let names = files(format, pattern);
            let here = in_folder("", &names);
            for name in &names {
                said(&here.path().join(name), name, format);
            }
            said(here.path(), &names[0], format);
            // A package that lacks its model.
            let manifest = packages::package("softmax", packages::LABELS, b"");
            fs::remove_file(manifest.path().join("model.onnx")).unwrap();
            for name in &names {
                fs::write(manifest.path().join(name), b"").unwrap();
            }
            said(manifest.path(), &names[0], format);
            // Triton's layout, whose platform is refused as well.
            let triton = in_folder("1/", &names);
            fs::write(triton.path().join("config.pbtxt"), "platform: \"tensorrt_plan\"").unwrap();
            said(triton.path(), &names[0], format);
        }
    }
}

#[test]
fn some_are_folders() {
    for (name, id) in [("Net.mlpackage", "core-ml"), ("model.savedmodel", "saved-model")] {
        let here = folder(&[(&format!("{name}/Manifest.json"), b"{}")]);
        said(&here.path().join(name), name, Format::called(id));
        said(here.path(), name, Format::called(id));
    }
    // As TensorFlow Serving has them.
    let served = folder(&[("1/saved_model.pb", b""), ("1/variables/variables.index", b"")]);
    said(served.path(), "saved_model.pb", Format::called("saved-model"));
}

/// An ONNX file beside others is served.
#[test]
fn an_onnx_file_wins() {
    let folder = folder(&[
        ("net.onnx", &small().bytes()),
        ("net.safetensors", b""),
        ("saved_model.pb", b""),
    ]);
    assert_eq!(resolved(&folder).onnx, folder.path().join("net.onnx"));
}
