use super::*;
use crate::Resampling;

#[test]
fn a_resnet_is_prepared_as_its_processor_does() {
    let folder = hugging_face(
        224,
        r#"{"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "do_normalize": true,
            "do_resize": true, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
            "resample": 3, "size": 224}"#,
    );
    let resolved = resolved(&folder);
    let input = input(&resolved);
    assert_eq!(resolved.kind, Kind::HuggingFace);
    assert_eq!(
        (input.width, input.height, input.layout),
        (224, 224, Layout::Nchw)
    );
    assert_eq!((input.scale, input.mean), (1.0 / 255.0, [0.485, 0.456, 0.406]));
    let edge = ResizePolicy::ShortestEdge {
        size: 256,
        rounding: Rounding::Down,
    };
    assert_eq!(input.resize, edge);
    let card = &resolved.package.card;
    assert_eq!(card.labels, [["cat", "dog", "cow"]]);
    assert_eq!(card.manifest.task, Task::Classification);
    assert_eq!(card.manifest.outputs[0].activation, Activation::Softmax);
    let notes = notes(&resolved);
    assert!(notes.contains("onnx/model.onnx: the only ONNX file"), "{notes}");
    assert!(notes.contains("3 labels from config.json (id2label)"), "{notes}");
    assert!(!notes.contains("guessed"), "{notes}");
}

/// Each processor's own file with nothing in it but its name: the defaults of transformers.
#[test]
fn defaults_of_every_processor() {
    let edge = |size| ResizePolicy::ShortestEdge {
        size,
        rounding: Rounding::Down,
    };
    let cut = |size| ResizePolicy::StretchCrop {
        size: [size, size],
        rounding: Rounding::Down,
    };
    for (name, side, resize, mean) in [
        ("ViTImageProcessor", 224, ResizePolicy::Stretch, 0.5),
        ("ViTImageProcessorFast", 224, ResizePolicy::Stretch, 0.5),
        ("DeiTImageProcessor", 224, cut(256), 0.5),
        ("BeitFeatureExtractor", 224, ResizePolicy::Stretch, 0.5),
        ("ConvNextImageProcessor", 384, ResizePolicy::Stretch, 0.5),
        ("EfficientNetImageProcessor", 346, ResizePolicy::Stretch, 0.5),
        ("MobileNetV1ImageProcessor", 224, edge(256), 0.5),
        ("MobileNetV2ImageProcessor", 224, edge(256), 0.5),
        ("MobileViTImageProcessor", 256, edge(224), 0.0),
        ("BitImageProcessor", 224, edge(224), 0.481_454_66),
        ("CLIPImageProcessor", 224, edge(224), 0.481_454_66),
        ("SiglipImageProcessor", 224, ResizePolicy::Stretch, 0.5),
        ("LevitImageProcessor", 224, edge(256), 0.485),
        ("PoolFormerImageProcessor", 224, edge(248), 0.485),
        ("PvtImageProcessor", 224, ResizePolicy::Stretch, 0.485),
        ("DINOv3ViTImageProcessor", 224, ResizePolicy::Stretch, 0.485),
        ("SegformerImageProcessor", 512, ResizePolicy::Stretch, 0.485),
        ("ChineseCLIPImageProcessor", 224, edge(224), 0.481_454_66),
    ] {
        let folder = hugging_face(side, &format!(r#"{{"image_processor_type": "{name}"}}"#));
        let resolved = resolved(&folder);
        let input = input(&resolved);
        assert_eq!((input.resize, input.mean[0]), (resize, mean), "{name}");
        let bgr = name.starts_with("MobileViT");
        assert_eq!(input.channels == Channels::Bgr, bgr, "{name}");
    }
}

/// transformers 5: `ViTImageProcessor` is torchvision's, `ViTImageProcessorPil` Pillow's.
#[test]
fn tensors_and_images_are_resized_in_their_own_order() {
    for (name, resampler) in [
        ("ViTImageProcessor", Resampling::Torch),
        ("ViTImageProcessorFast", Resampling::Torch),
        ("ViTFeatureExtractor", Resampling::Torch),
        ("ViTImageProcessorPil", Resampling::Pillow),
    ] {
        let folder = hugging_face(
            64,
            &format!(r#"{{"image_processor_type": "{name}", "size": 64}}"#),
        );
        assert_eq!(input(&resolved(&folder)).resampler, resampler, "{name}");
    }
}

#[test]
fn sizes_of_every_generation() {
    let stretched =
        |size: &str| format!(r#"{{"image_processor_type": "ViTImageProcessor", "size": {size}}}"#);
    for size in ["64", "[64, 64]", r#"{"height": 64, "width": 64}"#] {
        assert_eq!(input(&resolved(&hugging_face(64, &stretched(size)))).width, 64);
    }
    let crop =
        r#"{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 72}, "crop_size": 64}"#;
    let folder = hugging_face(64, crop);
    assert!(matches!(
        input(&resolved(&folder)).resize,
        ResizePolicy::ShortestEdge { size: 72, .. }
    ));
    for (size, word) in [
        (
            r#"{"shortest_edge": 64, "longest_edge": 100}"#,
            "`size` must have height",
        ),
        (
            r#"{"max_height": 64, "max_width": 64}"#,
            "`size` must have height",
        ),
        (r#"{"height": -1, "width": 64}"#, "`size.height` is -1"),
        (r#""64""#, "`size` is \"64\""),
    ] {
        let error = error(hugging_face(64, &stretched(size)).path(), &Hints::default());
        assert!(
            error.contains(word) && error.contains("preprocessor_config.json"),
            "{error}"
        );
    }
}

#[test]
fn what_is_switched_off_is_left_out() {
    let folder = hugging_face(
        224,
        r#"{"image_processor_type": "ViTImageProcessor", "do_normalize": false, "do_rescale": true,
            "rescale_factor": 0.00392156862745098, "resample": 0}"#,
    );
    let resolved_one = resolved(&folder);
    let one = input(&resolved_one);
    assert_eq!((one.scale, one.mean, one.std), (1.0 / 255.0, [0.0; 3], [1.0; 3]));
    assert_eq!(one.interpolation, Interpolation::Nearest);
    let folder = hugging_face(
        224,
        r#"{"image_processor_type": "ViTImageProcessor", "do_rescale": false, "image_mean": 127.5, "image_std": [127.5]}"#,
    );
    let resolved_two = resolved(&folder);
    let two = input(&resolved_two);
    assert_eq!((two.scale, two.mean, two.std), (1.0, [127.5; 3], [127.5; 3]));
}

/// `((x / 127.5 - 1) - 0) / 1`, then divided by the deviation once more.
#[test]
fn efficientnet_offsets_and_divides_twice() {
    let folder = hugging_face(
        224,
        r#"{"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 224, "width": 224},
            "rescale_factor": 0.00784313725490196, "rescale_offset": true, "include_top": true,
            "image_mean": [0.5, 0, 0], "image_std": [0.5, 2, 1]}"#,
    );
    let resolved = resolved(&folder);
    let input = input(&resolved);
    assert_eq!(
        (input.scale, input.mean, input.std),
        (1.0 / 127.5, [1.5, 1.0, 1.0], [0.25, 4.0, 1.0])
    );
}

#[test]
fn what_libraries_do_and_ocelli_does_not_is_refused() {
    for (keys, word) in [
        (r#""do_pad": true"#, "`do_pad` pads"),
        (r#""resample": 6"#, "`resample` is 6"),
        (
            r#""do_resize": false, "do_center_crop": true"#,
            "`do_resize` is false",
        ),
        (r#""do_normalize": "yes""#, "`do_normalize` is \"yes\""),
        (r#""image_mean": [1, 2]"#, "`image_mean` is [1,2]"),
    ] {
        let text = format!(r#"{{"image_processor_type": "ViTImageProcessor", {keys}}}"#);
        let error = error(hugging_face(224, &text).path(), &Hints::default());
        assert!(error.contains(word), "{error}");
    }
    let hints = Hints {
        interpolation: Some(Interpolation::Bicubic),
        ..Hints::default()
    };
    let folder = hugging_face(
        224,
        r#"{"image_processor_type": "ViTImageProcessor", "resample": 6}"#,
    );
    let resolved = resolve(folder.path(), &hints).unwrap();
    assert_eq!(input(&resolved).interpolation, Interpolation::Bicubic);
}

#[test]
fn a_size_that_the_graph_does_not_take_is_refused() {
    let folder = hugging_face(
        256,
        r#"{"image_processor_type": "ViTImageProcessor", "size": 224}"#,
    );
    let error = error(folder.path(), &Hints::default());
    assert!(
        error.contains("224 x 224 pixels, and the graph takes 256 x 256")
            && error.contains("and preprocessor_config.json do not belong together"),
        "{error}"
    );
}

fn task(config: &str) -> Result<Resolved, String> {
    let folder = folder(&[
        ("config.json", config.as_bytes()),
        (
            "preprocessor_config.json",
            br#"{"image_processor_type": "ViTImageProcessor"}"#,
        ),
        ("model.onnx", &square(224, 3)),
    ]);
    resolve(folder.path(), &Hints::default()).map_err(|error| error.to_string())
}

#[test]
fn tasks() {
    let many = task(
        r#"{"architectures": ["ViTForImageClassification"], "problem_type": "multi_label_classification",
            "id2label": {"0": "a", "1": "b", "2": "c"}}"#,
    );
    let manifest = many.unwrap().package.card.manifest;
    assert_eq!(
        (manifest.task, manifest.outputs[0].activation),
        (Task::Multilabel, Activation::Sigmoid)
    );
    let features =
        task(r#"{"architectures": ["Dinov2Model"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}"#).unwrap();
    let manifest = &features.package.card.manifest;
    assert_eq!(
        (manifest.task, manifest.outputs[0].activation),
        (Task::Embedding, Activation::None)
    );
    assert_eq!(features.package.card.labels, [[""; 0]]);
    for (config, word) in [
        (
            r#"{"architectures": ["DetrForObjectDetection"]}"#,
            "`architectures[0]` is DetrForObjectDetection",
        ),
        (
            r#"{"id2label": {"0": "a", "1": "b"}}"#,
            "2 labels, but output `logits` has 3 classes",
        ),
        (r#"{"id2label": ["a", "b"]}"#, "`id2label` must be an object"),
        (r#"{"id2label": "#, "config.json is not valid JSON"),
    ] {
        let error = task(config).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

const OWN: &str = r#"{"architectures": ["MyCatNet"], "id2label": {"0": "tabby", "1": "lynx", "2": "puma"}}"#;
const OWN_UNNAMED: &str = r#"{"architectures": ["MyCatNet"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}"#;
const FEATURES: &str = r#"{"architectures": ["Dinov2Model"]}"#;

/// A folder with three classes' names beside the model.
fn with_labels_beside(config: &str) -> TempDir {
    folder(&[
        ("config.json", config.as_bytes()),
        (
            "preprocessor_config.json",
            br#"{"image_processor_type": "ViTImageProcessor"}"#,
        ),
        ("model.onnx", &square(224, 3)),
        ("labels.txt", b"a\nb\nc\n"),
    ])
}

#[test]
fn labels_make_a_classifier_of_an_own_class() {
    let own = task(OWN).unwrap().package.card;
    assert_eq!(
        (own.manifest.task, own.labels[0][2].as_str()),
        (Task::Classification, "puma")
    );
    let many = OWN.replace(
        "{\"arch",
        "{\"problem_type\": \"multi_label_classification\", \"arch",
    );
    assert_eq!(task(&many).unwrap().package.card.manifest.task, Task::Multilabel);
    let beside = with_labels_beside(OWN_UNNAMED);
    assert_eq!(resolved(&beside).package.card.labels, [["a", "b", "c"]]);
    let unnamed = task(OWN_UNNAMED).unwrap();
    assert_eq!(unnamed.package.card.manifest.task, Task::Embedding);
}

#[test]
fn features_have_no_labels() {
    let folder = with_labels_beside(FEATURES);
    let resolved = resolved(&folder);
    assert_eq!(resolved.package.card.manifest.task, Task::Embedding);
    let notes = notes(&resolved);
    assert!(notes.contains("warning: the 3 labels from"), "{notes}");
    let given = Hints {
        labels: Some(folder.path().join("labels.txt")),
        ..Hints::default()
    };
    let message = error(folder.path(), &given);
    assert!(
        message.contains("Dinov2Model") && message.contains("leave --labels away"),
        "{message}"
    );
    fs::write(folder.path().join("config.json"), OWN_UNNAMED).unwrap();
    let own = resolve(folder.path(), &given).unwrap();
    assert_eq!(own.package.card.manifest.task, Task::Classification);
}

#[test]
fn placeholders_are_no_names() {
    let unnamed = r#"{"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}"#;
    assert!(notes(&task(unnamed).unwrap()).contains("warning: the labels are placeholders"));
}

#[test]
fn without_a_processor_file_the_model_type_decides() {
    let config =
        br#"{"architectures": ["SwinForImageClassification"], "model_type": "swin", "image_size": 96}"#;
    let folder = folder(&[("config.json", config), ("model.onnx", &square(96, 3))]);
    let resolved = resolved(&folder);
    assert_eq!((input(&resolved).width, input(&resolved).mean), (96, [0.5; 3]));
    assert!(notes(&resolved).contains("guessed: the defaults of ViTImageProcessor"));
}

#[test]
fn a_size_that_no_file_states_is_the_graphs() {
    let edge = |size| ResizePolicy::ShortestEdge {
        size,
        rounding: Rounding::Down,
    };
    let cut = ResizePolicy::StretchCrop {
        size: [110, 110],
        rounding: Rounding::Down,
    };
    for (model_type, side, resize) in [
        ("resnet", 224, edge(256)),
        ("resnet", 384, ResizePolicy::Stretch),
        ("vit", 96, ResizePolicy::Stretch),
        ("deit", 96, cut),
        ("mobilenet_v2", 112, edge(128)),
        ("dinov2", 98, edge(98)),
    ] {
        let config =
            format!(r#"{{"architectures": ["AForImageClassification"], "model_type": "{model_type}"}}"#);
        let model = square(side, 3);
        let folder = folder(&[("config.json", config.as_bytes()), ("model.onnx", &model)]);
        let resolved = resolved(&folder);
        assert_eq!(
            (i64::from(input(&resolved).width), input(&resolved).resize),
            (side, resize),
            "{model_type}"
        );
        // A size that is stated is believed.
        let stated = config.replace("{\"arch", "{\"image_size\": 64, \"arch");
        fs::write(folder.path().join("config.json"), stated).unwrap();
        let message = error(folder.path(), &Hints::default());
        assert!(
            message.contains("and config.json do not belong together"),
            "{message}"
        );
    }
    let unsaid = hugging_face(96, r#"{"image_processor_type": "ViTImageProcessor"}"#);
    assert_eq!(input(&resolved(&unsaid)).width, 96);
}

#[test]
fn a_graph_of_open_size_is_for_what_its_configuration_says() {
    let config =
        br#"{"architectures": ["ViTForImageClassification"], "model_type": "vit", "image_size": 48}"#;
    let processor = br#"{"image_processor_type": "ViTImageProcessor", "do_resize": false}"#;
    let open = Small {
        input: &[0, 3, 0, 0],
        classes: 3,
        ..small()
    };
    let folder = folder(&[
        ("config.json", config),
        ("preprocessor_config.json", processor),
        ("model.onnx", &open.bytes()),
    ]);
    for hints in [Hints::default(), preset(Preset::KerasCaffe)] {
        let resolved = resolve(folder.path(), &hints).unwrap();
        assert_eq!((input(&resolved).width, input(&resolved).height), (48, 48));
        let text = notes(&resolved);
        assert!(!text.contains("no file says it"), "{text}");
    }
}

/// transformers 5 writes a processor of images and texts as one file.
#[test]
fn an_image_processor_may_be_part_of_a_processor() {
    let config =
        br#"{"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"}"#;
    let processor = br#"{"processor_class": "CLIPProcessor",
        "image_processor": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 80}, "crop_size": 64}}"#;
    let model = square(64, 3);
    let folder = folder(&[
        ("config.json", config),
        ("processor_config.json", processor),
        ("model.onnx", &model),
    ]);
    let size = |resolved: &Resolved| match input(resolved).resize {
        ResizePolicy::ShortestEdge { size, .. } => size,
        other => panic!("{other:?}"),
    };
    let whole = resolved(&folder);
    assert_eq!(size(&whole), 80);
    let text = notes(&whole);
    assert!(
        text.contains("preprocessing from processor_config.json (CLIPImageProcessor)"),
        "{text}"
    );
    // Older versions keep only the names of classes there.
    fs::write(
        folder.path().join("processor_config.json"),
        r#"{"processor_class": "CLIPProcessor"}"#,
    )
    .unwrap();
    assert_eq!(size(&resolved(&folder)), 64);
    fs::write(folder.path().join("processor_config.json"), processor).unwrap();
    fs::write(
        folder.path().join("preprocessor_config.json"),
        r#"{"image_processor_type": "CLIPImageProcessor", "size": 72, "crop_size": 64}"#,
    )
    .unwrap();
    assert_eq!(
        size(&resolved(&folder)),
        72,
        "the image processor's own file is first"
    );
}

#[test]
fn a_variant_can_be_named() {
    let folder = hugging_face(224, r#"{"image_processor_type": "ViTImageProcessor"}"#);
    let other = folder.path().join("onnx/model_fp16.onnx");
    fs::write(&other, square(224, 3)).unwrap();
    assert!(resolved(&folder).onnx.ends_with("onnx/model.onnx"));
    for variant in ["model_fp16.onnx", "onnx/model_fp16.onnx"] {
        let hints = Hints {
            variant: Some(variant.into()),
            ..Hints::default()
        };
        assert!(
            resolve(folder.path(), &hints)
                .unwrap()
                .onnx
                .ends_with("onnx/model_fp16.onnx")
        );
    }
    // Its configuration is above.
    let by_path = resolve(&other, &Hints::default()).unwrap();
    assert_eq!(by_path.kind, Kind::HuggingFace);
    let hints = Hints {
        variant: Some("model_int8.onnx".into()),
        ..Hints::default()
    };
    assert!(error(folder.path(), &hints).contains("it has onnx/model.onnx, onnx/model_fp16.onnx"));
}

/// optimum exports every axis open, under names.
#[test]
fn open_axes_are_those_of_pytorch() {
    let folder = hugging_face(224, r#"{"image_processor_type": "ViTImageProcessor"}"#);
    let mut graph = small().graph();
    graph.input[0] = value("pixels", FLOAT, &[0, 0, 0, 0]);
    graph.output[0] = value("logits", FLOAT, &[0, 3]);
    fs::write(
        folder.path().join("onnx/model.onnx"),
        model(graph).encode_to_vec(),
    )
    .unwrap();
    let resolved = resolved(&folder);
    let input = input(&resolved);
    assert_eq!(
        (input.layout, input.width, input.channels),
        (Layout::Nchw, 224, Channels::Rgb)
    );
    assert!(!notes(&resolved).contains("guessed"), "{}", notes(&resolved));
}
