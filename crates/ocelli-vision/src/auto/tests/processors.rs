//! Image processors of transformers that are not in the table.

use super::*;
use crate::Resampling;

/// What a file of transformers 5 says of a processor that only resizes, crops, rescales and normalises.
const PLAIN: &str = r#""do_resize": true, "size": {"height": 64, "width": 64}, "resample": 3, "do_rescale": true,
    "rescale_factor": 0.00392156862745098, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]"#;

fn file(class: &str, settings: &str) -> String {
    format!(r#"{{"image_processor_type": "{class}", {settings}}}"#)
}

fn read(class: &str, settings: &str) -> Result<Resolved, String> {
    let folder = hugging_face(64, &file(class, settings));
    resolve(folder.path(), &Hints::default()).map_err(|error| error.to_string())
}

#[test]
fn plain_settings_are_followed_with_a_note() {
    let known = read("ViTImageProcessor", PLAIN).unwrap();
    let beside = format!(
        r#"{PLAIN}, "do_convert_rgb": true, "do_pad": false, "pad_size": null, "do_thumbnail": false, "patch": null,
           "_processor_class": "MyProcessor""#
    );
    for settings in [PLAIN, &beside] {
        let unknown = read("BlipImageProcessor", settings).unwrap();
        assert_eq!(input(&unknown), input(&known));
        let notes = notes(&unknown);
        assert!(
            notes.contains("guessed: preprocessing from preprocessor_config.json: Ocelli does not know BlipImageProcessor")
                && notes.contains("ocelli model check"),
            "{notes}"
        );
    }
    assert!(!notes(&known).contains("does not know"));
    let pil = read("BlipImageProcessorPil", PLAIN).unwrap();
    assert_eq!(input(&pil).resampler, Resampling::Pillow);
    let nameless = folder(&[
        (
            "config.json",
            br#"{"architectures": ["MyNetForImageClassification"]}"#,
        ),
        ("preprocessor_config.json", format!("{{{PLAIN}}}").as_bytes()),
        ("model.onnx", &square(64, 3)),
    ]);
    assert!(notes(&resolved(&nameless)).contains("a processor without a name"));
}

#[test]
fn crops_and_values_are_followed_as_they_stand() {
    let cropped = r#""do_resize": true, "size": {"shortest_edge": 80}, "resample": 2, "do_center_crop": true, "crop_size":
        {"height": 64, "width": 64}, "do_rescale": false, "do_normalize": true, "image_mean": [1, 2, 3], "image_std": [4, 5, 6]"#;
    let resolved = read("MyOwnImageProcessor", cropped).unwrap();
    let input = input(&resolved);
    let edge = ResizePolicy::ShortestEdge {
        size: 80,
        rounding: Rounding::Down,
    };
    assert_eq!(
        (input.resize, input.interpolation),
        (edge, Interpolation::Bilinear)
    );
    assert_eq!(
        (input.scale, input.mean, input.std),
        (1.0, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    );
}

#[test]
fn what_settings_do_not_say_is_refused() {
    for (settings, word) in [
        (
            r#""do_thumbnail": true"#,
            "and `do_thumbnail` is more than resizing",
        ),
        (
            r#""size_divisor": 32"#,
            "and `size_divisor` is more than resizing",
        ),
        (r#""do_center_crop": true"#, "and has no `crop_size`"),
        (
            r#""crop_size": {"height": 64, "width": 64}"#,
            "and has no `do_center_crop`",
        ),
        (r#""do_pad": true"#, "and `do_pad` is more than resizing"),
    ] {
        let message = read("DonutImageProcessor", &format!("{PLAIN}, {settings}")).unwrap_err();
        for word in [
            "DonutImageProcessor, which Ocelli does not know",
            word,
            "ConvNext",
            "Segformer",
            "--preset vit",
            "ocelli model init SPEC --preset vit --out DIR",
        ] {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    for (from, to, word) in [
        (
            r#""do_resize": true"#,
            r#""do_resize": false"#,
            "`do_resize: true`",
        ),
        (r#""do_resize": true, "#, "", "`do_resize: true`"),
        (r#""resample": 3, "#, "", "has no `resample`"),
        (r#""do_normalize": true, "#, "", "has no `do_normalize`"),
        (r#", "image_std": [0.5, 0.5, 0.5]"#, "", "has no `image_std`"),
        (
            r#"{"height": 64, "width": 64}"#,
            "64",
            "neither height and width nor shortest_edge",
        ),
        (r#""size": {"height": 64, "width": 64}, "#, "", "has no `size`"),
    ] {
        assert!(PLAIN.contains(from), "{from}");
        let message = read("MyOwnImageProcessor", &PLAIN.replace(from, to)).unwrap_err();
        assert!(message.contains(word), "{word}: {message}");
    }
    let folder = hugging_face(64, &file("DonutImageProcessor", r#""do_thumbnail": true"#));
    let resolved = resolve(folder.path(), &preset(Preset::Vit)).unwrap();
    assert_eq!(input(&resolved).resize, ResizePolicy::Stretch);
    let names = &resolved.package.card.labels[0];
    assert_eq!(names.len(), 3, "labels are still the folder's");
}

/// Its settings are plain: it crops first, by their ratio.
#[test]
fn processors_that_do_something_else_than_they_say_are_refused() {
    for class in [
        "PerceiverImageProcessor",
        "PerceiverFeatureExtractor",
        "DepthProImageProcessorFast",
    ] {
        let message = read(class, PLAIN).unwrap_err();
        assert!(
            message.contains(class)
                && message.contains("cannot follow: it")
                && message.contains("--preset vit"),
            "{message}"
        );
    }
}

#[test]
fn a_refusal_names_the_preset_with_the_same_mean() {
    for (settings, expected) in [
        (r#""do_normalize": false"#, "unit"),
        (r#""image_mean": [0.5, 0.5, 0.5]"#, "vit"),
        (r#""image_mean": [0.4815, 0.4578, 0.4082]"#, "clip"),
        (
            r#""image_mean": [0.485, 0.456, 0.406], "size": 224"#,
            "keras-torch",
        ),
        (
            r#""image_mean": [0.485, 0.456, 0.406], "size": {"shortest_edge": 256}"#,
            "torchvision",
        ),
        (r#""do_normalize": true"#, "torchvision"),
    ] {
        for class in ["ViTImageProcessor", "DonutImageProcessor"] {
            let message = read(class, &format!(r#"{settings}, "do_pad": true"#)).unwrap_err();
            assert!(
                message.contains(&format!("--preset {expected} or another one")),
                "{expected}: {message}"
            );
        }
    }
}
