use super::*;
use crate::{
    Activation, Align, Channels, Coordinates, InputType, Interpolation, Layout, Pool, Resampling,
    ResizePolicy, Rounding,
};

const FULL: &str = r#"
schema = 1
name = "efficientnet-lite0"
version = "1"
task = "classification"
license = "Apache-2.0"
source = "somewhere"
[input]
name = "image"
dtype = "float32"
width = 224
height = 192
layout = "nchw"
channels = "bgr"
scale = 0.5
mean = [1.0, 2.0, 3.0]
std = [4.0, 5.0, 6.0]
resize = { policy = "crop-ratio", ratio = 0.875 }
interpolation = "bilinear"
resampler = "tensorflow"
antialias = false
coordinates = "align-corners"
exif = false
[[output]]
name = "logits"
activation = "softmax"
labels = "labels.txt"
"#;

fn error(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "{from}");
    Manifest::parse(&FULL.replace(from, to)).unwrap_err().to_string()
}

fn resize(table: &str) -> Result<ResizePolicy, PackageError> {
    let text = FULL.replace(r#"{ policy = "crop-ratio", ratio = 0.875 }"#, table);
    Manifest::parse(&text).map(|manifest| manifest.input.resize)
}

#[test]
fn a_full_manifest() {
    let manifest = Manifest::parse(FULL).unwrap();
    let expected = InputSpec {
        name: "image".into(),
        dtype: InputType::Float32,
        width: 224,
        height: 192,
        layout: Layout::Nchw,
        channels: Channels::Bgr,
        scale: 0.5,
        mean: [1.0, 2.0, 3.0],
        std: [4.0, 5.0, 6.0],
        resize: ResizePolicy::CropRatio { ratio: 0.875 },
        interpolation: Interpolation::Bilinear,
        resampler: Resampling::TensorFlow,
        antialias: false,
        coordinates: Coordinates::AlignCorners,
        exif: false,
    };
    assert_eq!(manifest.input, expected);
    assert_eq!(
        (manifest.task, manifest.outputs[0].activation),
        (Task::Classification, Activation::Softmax)
    );
}

#[test]
fn what_may_be_left_out_has_a_default() {
    let kept = |line: &&str| {
        ![
            "scale",
            "mean",
            "std",
            "resampler",
            "antialias",
            "coordinates",
            "exif",
            "license",
            "source",
            "labels",
        ]
        .iter()
        .any(|key| line.starts_with(key))
    };
    let text: Vec<&str> = FULL.lines().filter(kept).collect();
    let Manifest { input, outputs, .. } = Manifest::parse(&text.join("\n")).unwrap();
    assert_eq!((input.scale, input.mean, input.std), (1.0, [0.0; 3], [1.0; 3]));
    assert_eq!(
        (input.resampler, input.coordinates),
        (Resampling::Pillow, Coordinates::HalfPixel)
    );
    assert!(input.antialias && input.exif && outputs[0].labels.is_none());
}

#[test]
fn every_resize_policy() {
    assert_eq!(
        resize(r#"{ policy = "stretch" }"#).unwrap(),
        ResizePolicy::Stretch
    );
    let (even, down) = (Rounding::Even, Rounding::Down);
    for (table, policy) in [
        (
            r#"{ policy = "stretch", size = [256, 128], rounding = "down" }"#,
            ResizePolicy::StretchCrop {
                size: [256, 128],
                rounding: down,
            },
        ),
        (
            r#"{ policy = "shortest-edge", size = 100 }"#,
            ResizePolicy::ShortestEdge {
                size: 100,
                rounding: even,
            },
        ),
        (
            r#"{ policy = "shortest-edge", size = 256, rounding = "down" }"#,
            ResizePolicy::ShortestEdge {
                size: 256,
                rounding: down,
            },
        ),
        (
            r#"{ policy = "shortest-edge", size = 256, rounding = "nearest" }"#,
            ResizePolicy::ShortestEdge {
                size: 256,
                rounding: Rounding::Nearest,
            },
        ),
        (
            r#"{ policy = "cover", size = [256, 128] }"#,
            ResizePolicy::Cover {
                size: [256, 128],
                rounding: even,
            },
        ),
    ] {
        assert_eq!(resize(table).unwrap(), policy, "{table}");
    }
}

#[test]
fn policies_that_pad_or_crop() {
    for (table, policy) in [
        (
            r#"{ policy = "letterbox", fill = [114, 114, 114], size = [256, 128] }"#,
            ResizePolicy::Letterbox {
                fill: [114; 3],
                size: Some([256, 128]),
                rounding: Rounding::Even,
                align: Align::Center,
            },
        ),
        (
            r#"{ policy = "letterbox", rounding = "down", align = "top-left" }"#,
            ResizePolicy::Letterbox {
                fill: [0; 3],
                size: None,
                rounding: Rounding::Down,
                align: Align::TopLeft,
            },
        ),
        (r#"{ policy = "crop-aspect" }"#, ResizePolicy::CropAspect),
        (
            r#"{ policy = "fit-height", fill = [128, 127, 126] }"#,
            ResizePolicy::FitHeight {
                fill: [128, 127, 126],
            },
        ),
        (
            r#"{ policy = "fit-height" }"#,
            ResizePolicy::FitHeight { fill: [0; 3] },
        ),
        (
            r#"{ policy = "letterbox" }"#,
            ResizePolicy::Letterbox {
                fill: [0; 3],
                size: None,
                rounding: Rounding::Even,
                align: Align::Center,
            },
        ),
    ] {
        assert_eq!(resize(table).unwrap(), policy, "{table}");
    }
}

#[test]
fn resize_tables_that_mean_nothing() {
    for wrong in [
        r#"{ policy = "shortest-edge", size = 0 }"#,
        r#"{ policy = "shortest-edge", size = [256, 256] }"#,
        r#"{ policy = "cover", size = 256 }"#,
        r#"{ policy = "cover", size = [256, 8193] }"#,
        r#"{ policy = "cover", size = [256, 256], ratio = 0.5 }"#,
        r#"{ policy = "stretch", rounding = "down" }"#,
        r#"{ policy = "stretch", size = [256, 256], rounding = "nearest" }"#,
        r#"{ policy = "cover", size = [256, 256], rounding = "nearest" }"#,
        r#"{ policy = "letterbox", rounding = "nearest" }"#,
        r#"{ policy = "letterbox", size = [1, 0] }"#,
        r#"{ policy = "letterbox", size = 3 }"#,
        r#"{ policy = "letterbox", align = "right" }"#,
        r#"{ policy = "stretch", align = "left" }"#,
        r#"{ policy = "cover", size = [9, 9], fill = [0, 0, 0] }"#,
        r#"{ policy = "crop-aspect", size = [9, 9] }"#,
        r#"{ policy = "crop-aspect", rounding = "down" }"#,
        r#"{ policy = "crop-ratio" }"#,
        r#"{ policy = "crop-ratio", ratio = 0.5, rounding = "down" }"#,
        r#"{ policy = "fit-height", align = "left" }"#,
        r#"{ policy = "fit-height", size = [9, 9] }"#,
        r#"{ policy = "shortest-edge", size = 100000 }"#,
        r#"{ policy = "shortest-edge" }"#,
        r#"{ policy = "crop-ratio", ratio = 0.0 }"#,
        r#"{ policy = "crop-ratio", ratio = 1.01 }"#,
        r#"{ policy = "crop-ratio", ratio = nan }"#,
        r#"{ policy = "stretch", size = 3 }"#,
        r#"{ policy = "letterbox", fill = [0, 0, 256] }"#,
    ] {
        assert!(resize(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn unknown_words_get_the_nearest_known_one() {
    for (from, to, nearest) in [
        ("width", "widht", "width"),
        ("interpolation", "interpolate", "interpolation"),
        ("\"bilinear\"", "\"bilinera\"", "bilinear"),
        ("\"tensorflow\"", "\"tensorflw\"", "tensorflow"),
        ("align-corners", "align-corner", "align-corners"),
        ("\"softmax\"", "\"soft-max\"", "softmax"),
        ("license", "licence", "license"),
        ("\"crop-ratio\"", "\"crop_ratio\"", "crop-ratio"),
        ("activation", "activaton", "activation"),
        ("[[output]]", "[run]\nmax-batch = 4\n[[output]]", "max_batch"),
        ("labels = ", "treshold = 0.1\nlabels = ", "threshold"),
        ("\"float32\"", "\"float-16\"", "float16"),
        ("labels = ", "pool = \"fist\"\nlabels = ", "first"),
    ] {
        let text = error(from, to);
        assert!(text.contains(&format!("did you mean `{nearest}`")), "{text}");
    }
    assert!(!error("exif", "colour_management").contains("did you mean"));
}

#[test]
fn values_that_cannot_work_name_their_key() {
    for (from, to, key) in [
        ("schema = 1", "schema = 2", "schema"),
        ("efficientnet-lite0", "Efficient Net", "name"),
        ("efficientnet-lite0", "", "name"),
        ("efficientnet-lite0", "../up", "name"),
        ("version = \"1\"", "version = \"a/b\"", "version"),
        ("name = \"image\"", "name = \"\"", "input.name"),
        ("width = 224", "width = 0", "input.width"),
        ("height = 192", "height = 4097", "input.height"),
        ("scale = 0.5", "scale = 0.0", "input.scale"),
        ("mean = [1.0", "mean = [inf", "input.mean"),
        ("std = [4.0", "std = [0.0", "input.std"),
        ("\"float32\"", "\"uint8\"", "input.dtype"),
        ("\"bilinear\"", "\"box\"", "input.interpolation"),
        ("\"bilinear\"", "\"bicubic\"", "input.coordinates"),
        ("antialias = false", "antialias = true", "input.coordinates"),
        ("\"tensorflow\"", "\"pillow\"", "input.coordinates"),
        ("name = \"logits\"", "name = \"\"", "output.name"),
        ("\"labels.txt\"", "\"../labels.txt\"", "output.labels"),
        ("\"labels.txt\"", "\"/etc/passwd\"", "output.labels"),
        ("labels = ", "threshold = 0.5\nlabels = ", "output.threshold"),
        ("labels = ", "normalize = true\nlabels = ", "output.normalize"),
        ("labels = ", "pool = \"mean\"\nlabels = ", "output.pool"),
        ("[[output]]", "[run]\nmax_batch = 0\n[[output]]", "run.max_batch"),
        (
            "[[output]]",
            "[run]\nmax_delay_ms = 60001\n[[output]]",
            "run.max_delay_ms",
        ),
    ] {
        let text = error(from, to);
        assert!(text.contains(&format!("`{key}` ")), "{to}: {text}");
    }
}

#[test]
fn each_output_is_declared_once_and_there_is_one() {
    let output = "[[output]]\nname = \"logits\"\nactivation = \"none\"\n";
    assert!(Manifest::parse(&format!("{FULL}{output}")).is_err());
    assert!(Manifest::parse(&format!("{FULL}{}", output.replace("logits", "features"))).is_ok());
    let without = FULL.split("[[output]]").next().unwrap();
    assert!(Manifest::parse(without).is_err());
    assert!(Manifest::parse(&without.replace("[input]", "output = []\n[input]")).is_err());
}

#[test]
fn what_an_output_is_for_decides_what_it_may_say() {
    let multilabel = FULL.replace("\"classification\"", "\"multilabel\"");
    let with = |activation: &str, keys: &str| {
        let text = multilabel.replace(
            "activation = \"softmax\"",
            &format!("activation = \"{activation}\"\n{keys}"),
        );
        Manifest::parse(&text).map(|manifest| manifest.outputs[0].threshold)
    };
    assert_eq!(with("sigmoid", "threshold = 0.25").unwrap(), Some(0.25));
    assert_eq!(with("none", "threshold = 0").unwrap(), Some(0.0));
    assert_eq!(with("sigmoid", "").unwrap(), None);
    assert!(with("softmax", "threshold = 0.25").is_err());
    assert!(with("sigmoid", "threshold = 1.5").is_err());
    let features = FULL.replace("labels = \"labels.txt\"", "normalize = true\npool = \"first\"");
    assert!(Manifest::parse(&features).is_err());
    let output = Manifest::parse(&features.replace("softmax", "none"))
        .unwrap()
        .outputs[0]
        .clone();
    assert_eq!((output.normalize, output.pool), (true, Pool::First));
}

#[test]
fn a_task_and_its_outputs_do_not_contradict_each_other() {
    for (from, to, also, key) in [
        ("\"classification\"", "\"embedding\"", None, "`output.labels`"),
        (
            "\"classification\"",
            "\"embedding\"",
            Some("labels = \"labels.txt\""),
            "`output.activation`",
        ),
        (
            "\"classification\"",
            "\"multilabel\"",
            None,
            "`output.activation`",
        ),
    ] {
        let text = FULL.replace(from, to).replace(also.unwrap_or("\0"), "");
        let error = Manifest::parse(&text).unwrap_err().to_string();
        assert!(
            error.contains(key) && error.contains("\"classification\""),
            "{error}"
        );
        // A second output that suits the task.
        let second = "[[output]]\nname = \"other\"\nactivation = \"none\"\n";
        assert!(Manifest::parse(&format!("{text}{second}")).is_ok());
    }
}

#[test]
fn a_model_may_say_how_it_is_run() {
    assert_eq!(Manifest::parse(FULL).unwrap().run, RunSpec::default());
    let text = format!("{FULL}[run]\nmax_batch = 4\nmax_delay_ms = 0\n");
    let run = Manifest::parse(&text).unwrap().run;
    assert_eq!(
        (run.max_batch, run.max_delay_ms, run.instances),
        (Some(4), Some(0), None)
    );
}
