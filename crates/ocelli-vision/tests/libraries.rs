//! What TensorFlow, Keras and OpenCV themselves made of photos (`tests/goldens/libraries`) against what becomes of them
//! here: the numbers of the tensor, of pixels that both decode alike.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use ocelli_vision::{Channels, DecodeLimits, Decoder, ImageHeader, InputSpec};
use serde::Deserialize;
use serde_json::Value;

/// The largest mean difference of any channel, of 255.
const LIMIT: f64 = 0.5;
/// Of values where a library computes in floats, and ours are rounded to 8 bits: a quarter.
const ROUNDED: f64 = 0.27;
/// OpenCV's filters are the same, but for the linear one at the edges of photos that grow.
const OPENCV: f64 = 0.0;
const OPENCV_LINEAR: f64 = 0.01;
/// OpenCV's packages for x86 compute its cubic filter with Intel's IPP, which has an arithmetic of its own.
const OPENCV_CUBIC: f64 = 0.04;
/// Pillow's filters are the same.
const PILLOW: f64 = 0.02;

#[derive(Deserialize)]
struct Case {
    name: String,
    input: String,
    spec: Value,
}

impl Case {
    /// With 32-bit numbers of 0 to 255, channels last.
    fn spec(&self) -> InputSpec {
        let mut spec = self.spec.clone();
        for (key, value) in [("name", "image"), ("dtype", "float32"), ("layout", "nhwc")] {
            spec[key] = value.into();
        }
        if spec.get("channels").is_none() {
            spec["channels"] = "rgb".into();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn tensor(&self, decoder: &mut Decoder) -> Vec<f32> {
        let spec = self.spec();
        let bytes = fs::read(folder().join("inputs").join(&self.input)).unwrap();
        let header = ImageHeader::read(&bytes, &DecodeLimits::default()).unwrap();
        let rgb = decoder.prepare(&bytes, &header, &spec).unwrap();
        let mut tensor = vec![0.0; spec.elements()];
        spec.fill(&rgb, &mut tensor);
        if spec.channels == Channels::Gray {
            return tensor.into_iter().flat_map(|value| [value; 3]).collect();
        }
        tensor
    }

    /// The library's values: (value + 256) * 64 as 16 bits.
    fn expected(&self) -> Vec<f64> {
        let path = folder().join("libraries").join(format!("{}.png", self.name));
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap()))
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

    /// The largest mean difference of any channel, and the largest difference and the mean one from values that were
    /// cut off at 0 and 255.
    fn differences(&self, decoder: &mut Decoder) -> (f64, f64, f64) {
        let (ours, theirs) = (self.tensor(decoder), self.expected());
        assert_eq!(ours.len(), theirs.len(), "{}", self.name);
        let pairs = || ours.iter().map(|value| f64::from(*value)).zip(&theirs);
        let count = ours.len() as f64;
        let of_channel = |channel: usize| {
            let differences = pairs()
                .skip(channel)
                .step_by(3)
                .map(|(ours, theirs)| (ours - theirs).abs());
            differences.sum::<f64>() * 3.0 / count
        };
        let cut = || pairs().map(|(ours, theirs)| (ours - theirs.clamp(0.0, 255.0)).abs());
        (
            [0, 1, 2].map(of_channel).into_iter().fold(0.0, f64::max),
            cut().fold(0.0, f64::max),
            cut().sum::<f64>() / count,
        )
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&fs::read_to_string(folder().join("libraries.json")).unwrap()).unwrap()
}

#[test]
fn every_golden_equals_its_library() {
    let mut decoder = Decoder::new().unwrap();
    let mut failures = Vec::new();
    let mut seen = [0; 3];
    for case in cases() {
        let (mean, worst, cut_mean) = case.differences(&mut decoder);
        let (library, is_right) = match case.spec["resampler"].as_str() {
            Some("tensorflow") => (0, worst <= 1.0 && cut_mean <= ROUNDED),
            // The rest is half a step away.
            Some("opencv") if case.name.starts_with("paddleocr") => (1, worst <= 1.0),
            Some("opencv") if case.spec["interpolation"] == "bilinear" => {
                (1, worst <= 1.0 && cut_mean <= OPENCV_LINEAR)
            }
            Some("opencv") if case.spec["interpolation"] == "bicubic" => {
                (1, worst <= 1.0 && cut_mean <= OPENCV_CUBIC)
            }
            Some("opencv") => (1, worst <= 1.0 && cut_mean <= OPENCV),
            _ => (2, cut_mean <= PILLOW),
        };
        seen[library] += 1;
        if mean > LIMIT || !is_right {
            failures.push(format!(
                "{}: mean {mean:.3}, worst {worst:.3}, mean of those in range {cut_mean:.5}",
                case.name
            ));
        }
    }
    println!("{seen:?} goldens of TensorFlow, OpenCV and Pillow");
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(
        seen.iter().all(|count| *count >= 25),
        "the goldens are missing: {seen:?}"
    );
}

/// The goldens must be able to tell the ways apart: taken for Pillow's, those without antialiasing are far away.
#[test]
fn another_librarys_filter_is_seen() {
    let mut decoder = Decoder::new().unwrap();
    let mut compared = 0;
    for mut case in cases() {
        let is_shrunk = case.input == "coffee.png" && case.name.ends_with("-40x36");
        let filter = case.spec["interpolation"].as_str().unwrap().to_owned();
        if !is_shrunk
            || case.spec["antialias"] != false
            || !["bilinear", "bicubic"].contains(&filter.as_str())
        {
            continue;
        }
        for key in ["resampler", "antialias", "coordinates"] {
            case.spec.as_object_mut().unwrap().remove(key);
        }
        let (mean, ..) = case.differences(&mut decoder);
        assert!(mean > 2.0, "{}: {mean}", case.name);
        compared += 1;
    }
    assert!(compared >= 8, "the goldens are missing");
}
