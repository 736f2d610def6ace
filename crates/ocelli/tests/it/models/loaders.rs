//! Compares the presets for other libraries' loaders with the results of these libraries.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ModelFolder, Small, small};
use crate::harness::process::onnxruntime;

/// Size of the header of a NumPy file.
const NPY_HEADER: usize = 128;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ocelli-vision/tests/goldens")
}

const UNIT: f64 = 1.0 / 255.0;

/// The options, the tensor value of one step of 255, and the golden.
const CASES: [(&[&str], f64, &str); 13] = [
    (
        &["--preset", "image-dataset"],
        1.0,
        "image-dataset-coffee-png-40x36",
    ),
    (
        &["--preset", "image-dataset-unit"],
        UNIT,
        "image-dataset-coffee-png-40x36",
    ),
    (
        &["--preset", "image-dataset", "--antialias", "on"],
        1.0,
        "tensorflow-bilinear-antialias-coffee-png-40x36",
    ),
    (
        &["--preset", "image-dataset", "--interpolation", "area"],
        1.0,
        "tensorflow-area-plain-coffee-png-40x36",
    ),
    (
        &[
            "--preset",
            "raw",
            "--interpolation",
            "bilinear",
            "--antialias",
            "off",
        ],
        1.0,
        "image-dataset-coffee-png-40x36",
    ),
    (
        &["--preset", "load-img"],
        1.0,
        "load-img-nearest-coffee-png-40x36",
    ),
    (
        &["--preset", "flow-from-directory"],
        UNIT,
        "flow-from-directory-coffee-png-40x36",
    ),
    (
        &["--preset", "opencv-linear"],
        UNIT,
        "opencv-bilinear-coffee-png-40x36",
    ),
    (&["--preset", "opencv-area"], UNIT, "opencv-area-coffee-png-40x36"),
    (
        &["--preset", "opencv-cubic"],
        UNIT,
        "opencv-bicubic-coffee-png-40x36",
    ),
    (
        &["--preset", "opencv-lanczos4"],
        UNIT,
        "opencv-lanczos-coffee-png-40x36",
    ),
    (
        &["--preset", "tfjs-align-corners"],
        UNIT,
        "tensorflow-align-corners-bilinear-coffee-png-40x36",
    ),
    (
        &["--preset", "tfjs-asymmetric"],
        UNIT,
        "tensorflow-asymmetric-bilinear-coffee-png-40x36",
    ),
];

/// A library's values from 0 to 255, channels last: (value + 256) * 64 as 16-bit samples.
fn made_by_the_library(name: &str) -> Vec<f64> {
    let file = fs::File::open(goldens().join("libraries").join(format!("{name}.png"))).unwrap();
    let mut reader = png::Decoder::new(std::io::BufReader::new(file))
        .read_info()
        .unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut bytes).unwrap();
    let (samples, _) = bytes.as_chunks::<2>();
    samples
        .iter()
        .map(|sample| f64::from(u16::from_be_bytes(*sample)) / 64.0 - 256.0)
        .collect()
}

/// The mean difference of 255 between the model's input and the library's values.
async fn difference(arguments: &[&str], scale: f64, golden: &str) -> Option<f64> {
    let library = onnxruntime()?;
    let model = Small {
        input: &[0, 36, 40, 3],
        ..small()
    };
    let photo = fs::read(goldens().join("inputs/coffee.png")).unwrap();
    let files = ModelFolder::new(&[("own.onnx", &model.bytes()), ("photo.png", &photo)]);
    let command = ["model", "check", "own.onnx", "photo.png", "--save-input", "x.npy"];
    let (status, _, said) = files
        .run_with(&[&command, arguments].concat(), Some(&library))
        .await;
    assert_eq!(status, 0, "{said}");
    let saved = fs::read(files.path("x.npy")).unwrap();
    let (numbers, _) = saved[NPY_HEADER..].as_chunks::<4>();
    let expected = made_by_the_library(golden);
    assert_eq!(numbers.len(), expected.len());
    let pairs = numbers.iter().zip(&expected);
    let sum: f64 = pairs
        .map(|(bytes, value)| (f64::from(f32::from_le_bytes(*bytes)) / scale - value).abs())
        .sum();
    Some(sum / expected.len() as f64)
}

#[tokio::test]
async fn a_preset_makes_the_numbers_of_its_library() {
    for (arguments, scale, golden) in CASES {
        let Some(difference) = difference(arguments, scale, golden).await else {
            return;
        };
        assert!(difference <= 0.5, "{arguments:?}: {difference}");
    }
    // The former preprocessing of models from Keras' guide.
    let before = difference(&["--preset", "raw"], 1.0, "image-dataset-coffee-png-40x36").await;
    assert!(before.unwrap() > 2.0, "{before:?}");
}
