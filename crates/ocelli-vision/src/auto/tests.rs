mod bad_files;
mod bare;
mod formats;
mod hugging_face;
mod loaders;
mod metadata;
mod outputs;
mod packages;
mod processors;
mod timm;
mod triton;

use std::{fs, path::Path};

use prost::Message as _;
use tempfile::TempDir;

use super::*;
use crate::{
    Activation, Channels, InputSpec, InputType, Layout, Pool, ResizePolicy, Rounding, RunSpec, Task,
    graph::testing::{FLOAT, FLOAT16, Small, UINT8, external, model, value},
};

/// A model of 10 classes for pictures of 32 x 24 pixels.
fn small() -> Small<'static> {
    Small {
        elem_type: FLOAT,
        input: &[0, 3, 24, 32],
        classes: 10,
        final_op: None,
    }
}

fn square(side: i64, classes: usize) -> Vec<u8> {
    let input = [0, 3, side, side];
    Small {
        input: &input,
        classes,
        ..small()
    }
    .bytes()
}

/// A folder of these files, whose name says nothing.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::Builder::new().prefix("net-").tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn resolved(folder: &TempDir) -> Resolved {
    resolve(folder.path(), &Hints::default()).unwrap()
}

fn error(path: &Path, hints: &Hints) -> String {
    resolve(path, hints).unwrap_err().to_string()
}

fn input(resolved: &Resolved) -> &InputSpec {
    &resolved.package.card.manifest.input
}

fn notes(resolved: &Resolved) -> String {
    resolved.notes.iter().map(|note| format!("{note}\n")).collect()
}

fn preset(preset: Preset) -> Hints {
    Hints {
        preset: Some(preset),
        ..Hints::default()
    }
}

/// A Hugging Face folder with a model of `side` and 3 classes.
fn hugging_face(side: i64, preprocessor: &str) -> TempDir {
    let config = r#"{"architectures": ["ResNetForImageClassification"], "model_type": "resnet",
                     "id2label": {"0": "cat", "2": "cow", "1": "dog"}}"#;
    folder(&[
        ("config.json", config.as_bytes()),
        ("preprocessor_config.json", preprocessor.as_bytes()),
        ("onnx/model.onnx", &square(side, 3)),
    ])
}

#[test]
fn every_preset_has_its_row_and_can_be_named() {
    for preset in Preset::all() {
        assert_eq!(preset.name().parse(), Ok(preset));
        for alias in preset.aliases() {
            assert_eq!(alias.parse(), Ok(preset));
        }
        assert!(!preset.about().is_empty());
    }
    let names: Vec<&str> = Preset::all()
        .flat_map(|preset| [&[preset.name()], preset.aliases()].concat())
        .collect();
    let once: std::collections::BTreeSet<&&str> = names.iter().collect();
    assert_eq!(
        (once.len(), names.len() >= 31),
        (names.len(), true),
        "a name is used twice"
    );
    assert!(
        "kera"
            .parse::<Preset>()
            .unwrap_err()
            .contains("keras-caffe, keras-tf")
    );
}
