use super::*;
use crate::Interpolation;

pub(super) fn package(activation: &str, labels: &[u8], model: &[u8]) -> TempDir {
    let toml = format!(
        r#"
schema = 1
name = "tiny"
version = "7"
task = "classification"
[input]
name = "pixels"
dtype = "float32"
width = 32
height = 24
layout = "nchw"
channels = "rgb"
resize = {{ policy = "stretch" }}
interpolation = "bilinear"
[[output]]
name = "logits"
activation = "{activation}"
labels = "labels.txt"
"#
    );
    folder(&[
        ("model.toml", toml.as_bytes()),
        ("model.onnx", model),
        ("labels.txt", labels),
    ])
}

pub(super) const LABELS: &[u8] = b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";

#[test]
fn a_package_is_taken_as_it_is() {
    let folder = package("softmax", LABELS, &small().bytes());
    let loaded = ModelPackage::load(folder.path()).unwrap();
    for name in ["", "model.toml", "model.onnx"] {
        let resolved = resolve(&folder.path().join(name), &Hints::default()).unwrap();
        assert_eq!((resolved.kind, resolved.notes.len()), (Kind::Package, 0));
        assert_eq!(resolved.package.card.digest(), loaded.card.digest());
    }
}

/// Each option that its `model.toml` answers.
#[test]
fn a_package_is_not_told_how_photos_are_prepared() {
    let folder = package("softmax", LABELS, &small().bytes());
    for (option, hints) in [
        ("--preset", preset(Preset::Raw)),
        (
            "--interpolation",
            Hints {
                interpolation: Some(Interpolation::Area),
                ..Hints::default()
            },
        ),
        (
            "--antialias",
            Hints {
                antialias: Some(false),
                ..Hints::default()
            },
        ),
        (
            "--channels",
            Hints {
                channels: Some(Channels::Bgr),
                ..Hints::default()
            },
        ),
    ] {
        let error = error(folder.path(), &hints);
        assert!(error.contains(&format!("says what {option} would")), "{error}");
    }
}

/// Grey three times suits a graph of three channels, and no graph of one.
#[test]
fn grey_in_three_channels_is_for_a_graph_of_three() {
    let with = |channels: &str| {
        let folder = package("softmax", LABELS, &small().bytes());
        let path = folder.path().join("model.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"rgb\"", channels)).unwrap();
        folder
    };
    let folder = with("\"gray3\"");
    assert_eq!(input(&resolved(&folder)).channels, Channels::Gray3);
    let error = error(with("\"gray\"").path(), &Hints::default());
    assert!(error.contains("`input.channels`"), "{error}");
}

#[test]
fn what_the_graph_has_squashed_is_not_squashed_again() {
    for (activation, ending) in [("softmax", "Softmax"), ("sigmoid", "Sigmoid")] {
        let model = Small {
            final_op: Some(ending),
            ..small()
        };
        let folder = package(activation, LABELS, &model.bytes());
        let resolved = resolved(&folder);
        let card = &resolved.package.card;
        assert_eq!(card.manifest.outputs[0].activation, Activation::None);
        // A web process elsewhere knows the package by these.
        let restored =
            crate::ModelCard::restore(card.toml.clone(), card.labels.clone(), card.digest().into());
        assert_eq!(restored.unwrap().manifest, card.manifest);
        assert_ne!(
            card.digest(),
            ModelPackage::load(folder.path()).unwrap().card.digest()
        );
        assert!(
            notes(&resolved).contains("warning: model.toml applies a"),
            "{}",
            notes(&resolved)
        );
    }
    let model = Small {
        final_op: Some("Softmax"),
        ..small()
    };
    let right = resolved(&package("none", LABELS, &model.bytes()));
    assert!(right.notes.is_empty());
}

#[test]
fn labels_are_counted() {
    let folder = package("softmax", b"a\nb\n", &small().bytes());
    let message = error(folder.path(), &Hints::default());
    assert!(
        message.contains("labels.txt: 2 labels, but output `logits` has 10 classes"),
        "{message}"
    );
}

#[test]
fn a_softmax_over_one_class_is_refused() {
    let model = Small {
        classes: 1,
        ..small()
    };
    let message = error(
        package("softmax", b"tumour\n", &model.bytes()).path(),
        &Hints::default(),
    );
    assert!(
        message.contains("model.toml: `output.activation` is \"softmax\"") && message.contains("\"sigmoid\""),
        "{message}"
    );
    assert!(
        resolve(
            package("sigmoid", b"tumour\n", &model.bytes()).path(),
            &Hints::default()
        )
        .is_ok()
    );
}

#[test]
fn what_the_graph_contradicts_is_named() {
    let folder = package("softmax", LABELS, &small().bytes());
    let manifest = folder.path().join("model.toml");
    let right = fs::read_to_string(&manifest).unwrap();
    for (from, to, key) in [
        ("\"pixels\"", "\"image\"", "`input.name` is \"image\""),
        ("\"float32\"", "\"float16\"", "`input.dtype`"),
        (
            "width = 32",
            "width = 33",
            "`input.width` makes 33 where the graph has 32",
        ),
        ("height = 24", "height = 25", "`input.height`"),
        ("\"nchw\"", "\"nhwc\"", "`input.layout`"),
        ("\"rgb\"", "\"gray\"", "`input.channels`"),
        (
            "\"logits\"",
            "\"scores\"",
            "`output.name` is \"scores\", and the graph has `logits`",
        ),
    ] {
        fs::write(&manifest, right.replace(from, to)).unwrap();
        let message = error(folder.path(), &Hints::default());
        assert!(message.contains(&format!("model.toml: {key}")), "{message}");
    }
}

#[test]
fn options_that_a_package_answers_are_refused() {
    let folder = package("softmax", LABELS, &small().bytes());
    let message = error(folder.path(), &preset(Preset::Vit));
    assert!(
        message.contains("model.toml") && message.contains("--preset"),
        "{message}"
    );
}
