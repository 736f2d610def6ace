use super::*;

fn bare(model: &Small<'_>, hints: &Hints) -> Resolved {
    let folder = folder(&[("birds.onnx", &model.bytes())]);
    resolve(&folder.path().join("birds.onnx"), hints).unwrap()
}

#[test]
fn what_no_file_states_is_called_a_guess() {
    let resolved = bare(&small(), &Hints::default());
    let manifest = &resolved.package.card.manifest;
    assert_eq!((manifest.name.as_str(), resolved.kind), ("birds", Kind::Onnx));
    assert_eq!((manifest.input.width, manifest.input.height), (32, 24));
    assert_eq!(resolved.package.card.labels[0][9], "class 9");
    let guesses = resolved.notes.iter().filter(|note| note.kind == NoteKind::Guess);
    let guesses: Vec<String> = guesses.map(ToString::to_string).collect();
    for (guess, words) in guesses
        .iter()
        .zip(["preset torchvision", "one class for each", "\"class 0\""])
    {
        assert!(guess.contains(words), "{guess}");
    }
    assert_eq!(guesses.len(), 3, "{guesses:?}");
}

/// The tutorial's model: Keras' ResNet50, channels last.
#[test]
fn a_preset_says_how_photos_are_prepared() {
    let keras = Small {
        input: &[0, 224, 224, 3],
        classes: 1000,
        final_op: Some("Softmax"),
        ..small()
    };
    let names: String = (0..1000).map(|index| format!("name {index}\n")).collect();
    let hints = Hints {
        imagenet: Some(names.leak()),
        ..preset(Preset::KerasCaffe)
    };
    let resolved = bare(&keras, &hints);
    let input = input(&resolved);
    assert_eq!((input.layout, input.channels), (Layout::Nhwc, Channels::Bgr));
    assert_eq!(
        (input.scale, input.mean, input.std),
        (1.0, [103.939, 116.779, 123.68], [1.0; 3])
    );
    assert_eq!(
        (input.resize, input.interpolation),
        (ResizePolicy::Stretch, Interpolation::Bicubic)
    );
    let card = &resolved.package.card;
    assert_eq!(card.manifest.outputs[0].activation, Activation::None);
    assert_eq!(card.labels[0][999], "name 999");
    let notes = notes(&resolved);
    assert!(
        notes.contains("the graph ends in a softmax at `logits`"),
        "{notes}"
    );
    assert!(notes.contains("guessed: the names of ImageNet-1k"), "{notes}");
}

#[test]
fn layouts_types_and_channels_come_from_the_graph() {
    for (elem_type, shape, dtype, layout, channels, scale) in [
        (
            UINT8,
            &[0, 24, 32, 3],
            InputType::Uint8,
            Layout::Nhwc,
            Channels::Rgb,
            1.0,
        ),
        (
            FLOAT16,
            &[0, 3, 24, 32],
            InputType::Float16,
            Layout::Nchw,
            Channels::Rgb,
            1.0 / 255.0,
        ),
        (
            FLOAT,
            &[1, 24, 32, 1],
            InputType::Float32,
            Layout::Nhwc,
            Channels::Gray,
            1.0 / 255.0,
        ),
        (
            FLOAT,
            &[0, 24, 32, 3],
            InputType::Float32,
            Layout::Nhwc,
            Channels::Rgb,
            1.0 / 127.5,
        ),
    ] {
        let model = Small {
            elem_type,
            input: shape,
            ..small()
        };
        let resolved = bare(&model, &Hints::default());
        let input = input(&resolved);
        assert_eq!(
            (input.dtype, input.layout, input.channels),
            (dtype, layout, channels)
        );
        assert_eq!((input.scale, input.width), (scale, 32));
    }
}

#[test]
fn sides_that_the_graph_leaves_open_are_guessed() {
    for (shape, side, words) in [
        (&[0, 3, 0, 0], 224, "for the graph leaves the size open and"),
        (
            &[0, 3, 32, 0],
            32,
            "for the graph leaves the width open (its height is 32), and",
        ),
        (
            &[0, 3, 0, 32],
            32,
            "for the graph leaves the height open (its width is 32), and",
        ),
    ] {
        let open = Small {
            input: shape,
            ..small()
        };
        let resolved = bare(&open, &Hints::default());
        assert_eq!((input(&resolved).width, input(&resolved).height), (side, side));
        let notes = notes(&resolved);
        assert!(
            notes.contains(&format!("guessed: {side} x {side} pixels, {words}")),
            "{notes}"
        );
        assert!(notes.contains("`ocelli model init`"), "{notes}");
    }
}

#[test]
fn uint8_pixels_stay_as_they_are_whatever_the_preset() {
    let model = Small {
        elem_type: UINT8,
        input: &[0, 24, 32, 3],
        ..small()
    };
    let resolved = bare(&model, &preset(Preset::Torchvision));
    assert_eq!((input(&resolved).scale, input(&resolved).std), (1.0, [1.0; 3]));
    assert!(notes(&resolved).contains("guessed: the graph normalises by itself"));
}

#[test]
fn endings_say_what_classes_mean() {
    for (ending, task, activation) in [
        ("Softmax", Task::Classification, Activation::None),
        ("LogSoftmax", Task::Classification, Activation::Softmax),
        ("Sigmoid", Task::Multilabel, Activation::None),
    ] {
        let model = Small {
            final_op: Some(ending),
            ..small()
        };
        let manifest = bare(&model, &Hints::default()).package.card.manifest;
        assert_eq!(
            (manifest.task, manifest.outputs[0].activation),
            (task, activation),
            "{ending}"
        );
    }
}

#[test]
fn a_package_that_cannot_be_made_is_told_with_the_onnx_file() {
    let huge = Small {
        input: &[0, 3, 9000, 9000],
        ..small()
    };
    let folder = folder(&[("net.onnx", &huge.bytes())]);
    let message = error(folder.path(), &Hints::default());
    assert!(
        message.contains("net.onnx: makes a package whose `input.width`") && !message.contains("model.toml"),
        "{message}"
    );
}

#[test]
fn one_score_is_whether_the_class_applies() {
    let one = Small {
        classes: 1,
        ..small()
    };
    let resolved = bare(&one, &Hints::default());
    let manifest = &resolved.package.card.manifest;
    assert_eq!(
        (manifest.task, manifest.outputs[0].activation),
        (Task::Multilabel, Activation::Sigmoid)
    );
    assert!(notes(&resolved).contains("guessed: `logits` is one number"));
}

#[test]
fn tokens_are_features_of_which_the_first_is_taken() {
    let mut graph = small().graph();
    graph.output = vec![value("last_hidden_state", FLOAT, &[0, 5, 8])];
    let folder = folder(&[("net.onnx", &model(graph).encode_to_vec())]);
    let manifest = resolved(&folder).package.card.manifest;
    assert_eq!(
        (manifest.task, manifest.outputs[0].pool),
        (Task::Embedding, Pool::First)
    );
}

#[test]
fn labels_may_be_given_and_must_be_enough() {
    let folder = folder(&[
        ("birds.onnx", &small().bytes()),
        (
            "ten.json",
            br#"["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]"#,
        ),
        ("nine.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\n"),
    ]);
    let with = |name: &str| Hints {
        labels: Some(folder.path().join(name)),
        ..Hints::default()
    };
    let onnx = folder.path().join("birds.onnx");
    let resolved = resolve(&onnx, &with("ten.json")).unwrap();
    assert_eq!(resolved.package.card.labels[0][9], "j");
    assert!(
        !notes(&resolved).contains("one class for each"),
        "labels make it a classifier for sure"
    );
    let short = error(&onnx, &with("nine.txt"));
    assert!(
        short.contains("nine.txt: 9 labels, but output `logits` has 10 classes"),
        "{short}"
    );
    assert!(error(&onnx, &with("none.txt")).contains("none.txt"));
}

#[test]
fn a_file_of_labels_beside_the_model_is_taken() {
    let folder = folder(&[("birds.onnx", &square(32, 2)), ("labels.txt", b"tit\nrobin\n")]);
    assert_eq!(resolved(&folder).package.card.labels, [["tit", "robin"]]);
}

#[test]
fn colours_of_a_preset_are_no_greys() {
    let grey = Small {
        input: &[0, 1, 24, 32],
        ..small()
    };
    let folder = folder(&[("net.onnx", &grey.bytes())]);
    for (choice, warned) in [
        (Preset::Torchvision, true),
        (Preset::KerasCaffe, true),
        (Preset::KerasTf, false),
    ] {
        let resolved = resolve(&folder.path().join("net.onnx"), &preset(choice)).unwrap();
        assert_eq!(notes(&resolved).contains("takes grey images"), warned, "{choice}");
    }
}
