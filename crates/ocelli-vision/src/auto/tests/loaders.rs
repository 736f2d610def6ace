//! The behaviour of other libraries' loaders, as presets and as options of the user.

use super::*;
use crate::{Coordinates, Interpolation, Resampling};

const UNIT: f32 = 1.0 / 255.0;

fn prepared(hints: &Hints) -> InputSpec {
    let resolved = resolved_alone(hints).unwrap();
    resolved.package.card.manifest.input
}

fn resolved_alone(hints: &Hints) -> Result<Resolved, AutoError> {
    let folder = folder(&[("own.onnx", &small().bytes())]);
    resolve(&folder.path().join("own.onnx"), hints)
}

#[test]
fn presets_of_loaders_say_whose_arithmetic_resizes() {
    use Interpolation::{Area, Bicubic, Bilinear, Lanczos, Nearest};
    let (half, align, asymmetric) = (
        Coordinates::HalfPixel,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    );
    let (pillow, tensorflow, opencv) = (Resampling::Pillow, Resampling::TensorFlow, Resampling::OpenCv);
    let (rgb, bgr) = (Channels::Rgb, Channels::Bgr);
    for (name, resampler, interpolation, antialias, coordinates, channels, scale) in [
        ("image-dataset", tensorflow, Bilinear, false, half, rgb, 1.0),
        (
            "image_dataset_from_directory",
            tensorflow,
            Bilinear,
            false,
            half,
            rgb,
            1.0,
        ),
        ("tf-image-resize", tensorflow, Bilinear, false, half, rgb, 1.0),
        ("image-dataset-unit", tensorflow, Bilinear, false, half, rgb, UNIT),
        ("load-img", pillow, Nearest, true, half, rgb, 1.0),
        ("flow-from-directory", pillow, Nearest, true, half, rgb, UNIT),
        ("image-data-generator", pillow, Nearest, true, half, rgb, UNIT),
        ("opencv", opencv, Bilinear, false, half, bgr, UNIT),
        ("opencv-linear", opencv, Bilinear, false, half, bgr, UNIT),
        ("opencv-area", opencv, Area, false, half, bgr, UNIT),
        ("opencv-cubic", opencv, Bicubic, false, half, bgr, UNIT),
        ("opencv-lanczos4", opencv, Lanczos, false, half, bgr, UNIT),
        ("tfjs", tensorflow, Bilinear, false, align, rgb, UNIT),
        (
            "tfjs-align-corners",
            tensorflow,
            Bilinear,
            false,
            align,
            rgb,
            UNIT,
        ),
        (
            "tfjs-asymmetric",
            tensorflow,
            Bilinear,
            false,
            asymmetric,
            rgb,
            UNIT,
        ),
    ] {
        let input = prepared(&preset(name.parse().unwrap()));
        assert_eq!(
            (
                input.resampler,
                input.interpolation,
                input.antialias,
                input.coordinates
            ),
            (resampler, interpolation, antialias, coordinates),
            "{name}"
        );
        assert_eq!((input.channels, input.scale), (channels, scale), "{name}");
        assert_eq!((input.mean, input.std), ([0.0; 3], [1.0; 3]), "{name}");
        assert_eq!(input.resize, ResizePolicy::Stretch, "{name}");
    }
}

#[test]
fn a_user_says_the_filter_and_antialiasing_instead_of_a_preset() {
    let own = |name: &str, interpolation, antialias| {
        prepared(&Hints {
            interpolation,
            antialias,
            ..preset(name.parse().unwrap())
        })
    };
    let area = own("image-dataset", Some(Interpolation::Area), None);
    assert_eq!(
        (area.resampler, area.interpolation, area.antialias),
        (Resampling::TensorFlow, Interpolation::Area, false)
    );
    assert!(own("image-dataset", None, Some(true)).antialias);
    let plain = own("keras-caffe", Some(Interpolation::Bilinear), Some(false));
    assert_eq!(
        (
            plain.resampler,
            plain.interpolation,
            plain.antialias,
            plain.channels
        ),
        (Resampling::Pillow, Interpolation::Bilinear, false, Channels::Bgr)
    );
    // Instead of what files say, too.
    let folder = hugging_face(
        32,
        r#"{"image_processor_type": "ViTImageProcessor", "resample": 2}"#,
    );
    let hints = Hints {
        antialias: Some(false),
        ..Hints::default()
    };
    let resolved = resolve(folder.path(), &hints).unwrap();
    assert!(!input(&resolved).antialias);
}

#[test]
fn a_user_says_the_channels_instead_of_a_preset() {
    let with = |channels| Hints {
        channels: Some(channels),
        ..preset(Preset::OpenCvLinear)
    };
    for channels in [Channels::Rgb, Channels::Bgr, Channels::Gray3] {
        assert_eq!(prepared(&with(channels)).channels, channels);
    }
    let error = resolved_alone(&with(Channels::Gray)).unwrap_err().to_string();
    assert!(
        error.contains("takes 3 channels, and --channels says gray"),
        "{error}"
    );
}

#[test]
fn what_a_library_does_not_have_is_refused() {
    for (name, interpolation, antialias, words) in [
        (
            "opencv",
            None,
            Some(true),
            "`input.antialias` is true, which OpenCV has not",
        ),
        (
            "opencv",
            Some(Interpolation::Gaussian),
            None,
            "it has nearest, bilinear, bicubic, area, lanczos",
        ),
        (
            "keras-tf",
            Some(Interpolation::Area),
            None,
            "the resampler \"pillow\" does not have",
        ),
        (
            "keras-tf",
            Some(Interpolation::Lanczos),
            Some(false),
            "`input.antialias` is false",
        ),
        (
            "tfjs",
            None,
            Some(true),
            "`input.coordinates` is \"align-corners\"",
        ),
    ] {
        let hints = Hints {
            interpolation,
            antialias,
            ..preset(name.parse().unwrap())
        };
        let error = resolved_alone(&hints).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Made anew from what is written, so that a package states it too.
#[test]
fn a_package_states_all_of_it() {
    let resolved = resolved_alone(&preset(Preset::TfjsAlignCorners)).unwrap();
    let text = resolved.package.card.manifest.to_toml();
    for line in [
        "resampler = \"tensorflow\"\n",
        "antialias = false\n",
        "coordinates = \"align-corners\"\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let text = resolved_alone(&preset(Preset::KerasTf)).unwrap();
    let text = text.package.card.manifest.to_toml();
    assert!(
        !text.contains("resampler") && !text.contains("coordinates"),
        "{text}"
    );
}
