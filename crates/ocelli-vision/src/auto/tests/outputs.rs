//! Which axis holds the classes, which output is answered, and which graphs are refused.

use super::*;
use crate::graph::testing::{ValueInfoProto, node};

/// A graph with these outputs.
fn with(outputs: Vec<ValueInfoProto>) -> TempDir {
    let mut graph = small().graph();
    graph.output = outputs;
    folder(&[("net.onnx", &model(graph).encode_to_vec())])
}

fn one(name: &str, shape: &[i64]) -> TempDir {
    with(vec![value(name, FLOAT, shape)])
}

fn stated(output: Option<&str>, task: Option<Task>) -> Hints {
    Hints {
        output: output.map(str::to_owned),
        task,
        ..Hints::default()
    }
}

fn refusal(folder: &TempDir, hints: &Hints) -> String {
    error(folder.path(), hints)
}

fn made(folder: &TempDir, hints: &Hints) -> Resolved {
    resolve(folder.path(), hints).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn classes_may_stand_on_any_axis() {
    for shape in [
        &[0, 10][..],
        &[0, 10, 1],
        &[0, 10, 1, 1],
        &[0, 1, 10],
        &[0, 1, 1, 10],
        &[1, 10, 1, 1],
    ] {
        let resolved = made(&one("logits", shape), &Hints::default());
        let manifest = &resolved.package.card.manifest;
        assert_eq!(
            (manifest.task, manifest.outputs[0].activation),
            (Task::Classification, Activation::Softmax),
            "{shape:?}"
        );
        assert_eq!(resolved.package.card.labels[0].len(), 10, "{shape:?}");
    }
    let resolved = made(&one("logits", &[0, 1, 1, 1]), &Hints::default());
    assert_eq!(resolved.package.card.manifest.task, Task::Multilabel);
}

/// Pooled features of a convolutional network.
#[test]
fn features_may_have_axes_of_one() {
    let manifest = made(&one("pooler_output", &[0, 8, 1, 1]), &Hints::default())
        .package
        .card
        .manifest;
    assert_eq!(
        (manifest.task, manifest.outputs[0].pool),
        (Task::Embedding, Pool::None)
    );
}

#[test]
fn an_output_without_a_batch_says_how_to_export_it() {
    for shape in [&[10][..], &[10, 1, 1]] {
        for hints in [Hints::default(), stated(Some("scores"), None)] {
            let said = refusal(&one("scores", shape), &hints);
            for words in ["net.onnx", "`scores`", "no batch axis", "[batch, 10", "export"] {
                assert!(said.contains(words), "{shape:?}: no {words} in {said}");
            }
        }
    }
}

#[test]
fn what_is_no_row_is_refused_with_its_form() {
    for (name, shape, form) in [
        (
            "output0",
            &[1, 10, 49][..],
            "`output0` (float32 [1, 10, 49], several rows",
        ),
        (
            "map",
            &[0, 21, 64, 64],
            "`map` (float32 [batch, 21, 64, 64], a map",
        ),
        (
            "map",
            &[0, 1, 8, 8],
            "`map` (float32 [batch, 1, 8, 8], several rows",
        ),
    ] {
        let folder = one(name, shape);
        let said = refusal(&folder, &Hints::default());
        for words in [form, "net.onnx", "--model-output", "--task embedding"] {
            assert!(said.contains(words), "{name}: no {words} in {said}");
        }
        // Naming it makes no classifier of it.
        let named = stated(Some(name), Some(Task::Classification));
        assert!(refusal(&folder, &named).contains(form));
    }
}

/// Not even with labels, which are for classes.
#[test]
fn labels_make_no_classifier_of_a_map() {
    let mut graph = small().graph();
    graph.output = vec![value("map", FLOAT, &[0, 2, 8, 8])];
    let folder = folder(&[
        ("net.onnx", &model(graph).encode_to_vec()),
        ("labels.txt", b"cat\ndog\n"),
    ]);
    assert!(refusal(&folder, &Hints::default()).contains("a map"));
}

#[test]
fn a_row_beside_others_is_taken() {
    let folder = with(vec![
        value("map", FLOAT, &[0, 21, 64, 64]),
        value("probs", FLOAT, &[0, 10, 1, 1]),
    ]);
    let resolved = made(&folder, &Hints::default());
    assert_eq!(resolved.package.card.manifest.outputs[0].name, "probs");
    assert!(notes(&resolved).contains("left out: map"), "{}", notes(&resolved));
}

/// 100 scores of 100 boxes are no 100 classes.
#[test]
fn rows_of_detectors_are_not_taken_unless_named() {
    let folder = with(vec![
        value("boxes", FLOAT, &[0, 100, 4]),
        value("scores", FLOAT, &[0, 100]),
    ]);
    let said = refusal(&folder, &Hints::default());
    assert!(
        said.contains("detector") && said.contains("`boxes`") && said.contains("`scores`"),
        "{said}"
    );
    let resolved = made(&folder, &stated(Some("scores"), None));
    assert_eq!(resolved.package.card.manifest.outputs[0].name, "scores");
    assert!(notes(&resolved).contains("as --model-output says"));
}

#[test]
fn what_the_user_says_of_an_output_wins() {
    let folder = with(vec![
        value("logits", FLOAT, &[0, 10]),
        value("tokens", FLOAT, &[0, 5, 8]),
    ]);
    let manifest = |hints: &Hints| made(&folder, hints).package.card.manifest;
    assert_eq!(manifest(&Hints::default()).outputs[0].name, "logits");
    let tokens = manifest(&stated(Some("tokens"), Some(Task::Embedding)));
    assert_eq!(
        (
            tokens.task,
            tokens.outputs[0].name.as_str(),
            tokens.outputs[0].pool
        ),
        (Task::Embedding, "tokens", Pool::First)
    );
    let several = manifest(&stated(None, Some(Task::Multilabel)));
    assert_eq!(
        (several.task, several.outputs[0].activation),
        (Task::Multilabel, Activation::Sigmoid)
    );
    let said = refusal(&folder, &stated(Some("probs"), None));
    assert!(
        said.contains("no output `probs`") && said.contains("`logits` (") && said.contains("`tokens` ("),
        "{said}"
    );
}

#[test]
fn features_have_no_labels_even_if_a_file_beside_names_some() {
    let folder = folder(&[("net.onnx", &square(32, 2)), ("labels.txt", b"tit\nrobin\n")]);
    let resolved = made(&folder, &stated(None, Some(Task::Embedding)));
    let card = &resolved.package.card;
    assert_eq!((card.manifest.task, card.labels[0].len()), (Task::Embedding, 0));
    let both = Hints {
        labels: Some(folder.path().join("labels.txt")),
        ..stated(None, Some(Task::Embedding))
    };
    assert!(refusal(&folder, &both).contains("leave --labels away"));
}

#[test]
fn open_axes_are_a_warning_until_a_run() {
    for shape in [&[0, 1, 0, 0][..], &[0, 10, 0, 0]] {
        let resolved = made(&one("map", shape), &Hints::default());
        let said = notes(&resolved);
        assert!(
            said.contains("warning: `map`") && said.contains("first run"),
            "{said}"
        );
    }
    assert!(!notes(&made(&one("logits", &[0, 0]), &Hints::default())).contains("first run"));
}

#[test]
fn tokens_are_told_by_their_name() {
    for shape in [&[0, 197, 768][..], &[0, 0, 768]] {
        let resolved = made(&one("last_hidden_state", shape), &Hints::default());
        let output = &resolved.package.card.manifest.outputs[0];
        assert_eq!(output.pool, Pool::First, "{shape:?}");
    }
    assert!(refusal(&one("out", &[0, 197, 768]), &Hints::default()).contains("--task embedding"));
}

/// A model.toml names an output: an unusable one is refused before an engine loads it.
#[test]
fn a_package_cannot_make_classes_of_a_map() {
    let toml = |activation: &str, more: &str| {
        format!(
            "schema = 1\nname = \"net\"\nversion = \"1\"\ntask = \"{}\"\n[input]\nname = \"pixels\"\ndtype = \"float32\"\n\
             width = 32\nheight = 24\nlayout = \"nchw\"\nchannels = \"rgb\"\nresize = {{ policy = \"stretch\" }}\n\
             interpolation = \"bilinear\"\n[[output]]\nname = \"out\"\nactivation = \"{activation}\"\n{more}\n",
            if activation == "none" {
                "embedding"
            } else {
                "classification"
            }
        )
    };
    let package = |shape: &[i64], activation: &str, more: &str| {
        let mut graph = small().graph();
        graph.output = vec![value("out", FLOAT, shape)];
        graph.node.push(node("Identity", "logits", "out"));
        folder(&[
            ("model.toml", toml(activation, more).as_bytes()),
            ("model.onnx", &model(graph).encode_to_vec()),
        ])
    };
    for (shape, activation, key, words) in [
        (&[0, 21, 8, 8][..], "softmax", "output.name", "a map"),
        (&[0, 21, 8, 8], "none", "output.name", "a map"),
        (&[0, 10, 49], "softmax", "output.name", "several rows"),
        (&[0, 10, 49], "none", "output.pool", "pool = \"first\""),
        (&[10], "softmax", "output.name", "no batch axis"),
    ] {
        let said = refusal(&package(shape, activation, ""), &Hints::default());
        assert!(
            said.contains(&format!("model.toml: `{key}`")) && said.contains(words),
            "{shape:?} {activation}: {said}"
        );
    }
    made(
        &package(&[0, 10, 49], "none", "pool = \"mean\""),
        &Hints::default(),
    );
    made(&package(&[0, 10, 1, 1], "softmax", ""), &Hints::default());
    let said = refusal(
        &package(&[0, 10, 1, 1], "softmax", ""),
        &stated(Some("out"), None),
    );
    assert!(said.contains("says what --model-output would"), "{said}");
}
