//! Every golden of `tests/goldens`: what Pillow made of an input against what the decoder makes of it.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use ocelli_vision::{Channels, DecodeLimits, Decoder, ImageError, ImageHeader, InputSpec};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    name: String,
    input: String,
    kind: Kind,
    spec: Option<Value>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Resampled by Pillow's filters alone: another order of passes differs by 0.15 and more.
    Exact,
    Lossless,
    Jpeg,
    Lossy,
    Refused,
}

impl Kind {
    /// The largest mean absolute difference of any channel, of 255.
    fn tolerance(self) -> f64 {
        match self {
            Self::Exact => 0.02,
            Self::Lossless => 0.5,
            Self::Jpeg | Self::Lossy => 1.0,
            Self::Refused => unreachable!("a refused input has no pixels"),
        }
    }
}

impl Case {
    fn spec(&self) -> InputSpec {
        let mut spec = self.spec.clone().unwrap_or_else(
            || json!({"width": 8, "height": 8, "resize": {"policy": "stretch"}, "interpolation": "bilinear"}),
        );
        for (key, value) in [("name", "image"), ("dtype", "uint8"), ("layout", "nhwc")] {
            spec[key] = value.into();
        }
        if spec.get("channels").is_none() {
            spec["channels"] = "rgb".into();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn prepare(&self, decoder: &mut Decoder) -> Result<Vec<u8>, ImageError> {
        let bytes = fs::read(folder().join("inputs").join(&self.input)).unwrap();
        let header = ImageHeader::read(&bytes, &DecodeLimits::default())?;
        Ok(self.tensor(decoder.prepare(&bytes, &header, &self.spec())?))
    }

    /// What becomes of prepared pixels, as RGB again.
    fn tensor(&self, rgb: Vec<u8>) -> Vec<u8> {
        let spec = self.spec();
        if spec.channels != Channels::Gray {
            return rgb;
        }
        let mut grey = vec![0; spec.elements()];
        spec.fill(&rgb, &mut grey);
        grey.into_iter().flat_map(|value| [value; 3]).collect()
    }

    fn expected(&self) -> Vec<u8> {
        read_rgb(&folder().join("expected").join(format!("{}.png", self.name))).0
    }
}

/// The pixels and size of an RGB file, read without the crate.
fn read_rgb(path: &Path) -> (Vec<u8>, (u32, u32)) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap()))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb, "{}", path.display());
    (pixels, (info.width, info.height))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&fs::read_to_string(folder().join("cases.json")).unwrap()).unwrap()
}

/// The mean absolute difference of the worst channel.
fn worst_channel(left: &[u8], right: &[u8]) -> f64 {
    assert_eq!(left.len(), right.len());
    let mut sums = [0_u64; 3];
    for (left, right) in left.as_chunks::<3>().0.iter().zip(right.as_chunks::<3>().0) {
        for channel in 0..3 {
            sums[channel] += u64::from(left[channel].abs_diff(right[channel]));
        }
    }
    let pixels = left.len() as f64 / 3.0;
    sums.map(|sum| sum as f64 / pixels)
        .into_iter()
        .fold(0.0, f64::max)
}

#[test]
fn every_golden_equals_pillow() {
    let mut decoder = Decoder::new().unwrap();
    let mut differences: BTreeMap<Kind, Vec<(f64, String)>> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in cases().iter().filter(|case| case.kind != Kind::Refused) {
        match case.prepare(&mut decoder) {
            Ok(pixels) => {
                let difference = worst_channel(&pixels, &case.expected());
                if difference > case.kind.tolerance() {
                    failures.push(format!("{}: {difference:.3}", case.name));
                }
                differences
                    .entry(case.kind)
                    .or_default()
                    .push((difference, case.name.clone()));
            }
            Err(error) => failures.push(format!("{}: {error}", case.name)),
        }
    }
    for (kind, differences) in &mut differences {
        differences.sort_by(|left, right| right.0.total_cmp(&left.0));
        let mean =
            differences.iter().map(|(difference, _)| difference).sum::<f64>() / differences.len() as f64;
        println!(
            "{kind:?}: {} goldens, mean difference {mean:.3} of 255, the worst:",
            differences.len()
        );
        for (difference, name) in differences.iter().take(6) {
            println!("    {difference:.3} {name}");
        }
    }
    assert!(
        failures.is_empty(),
        "{} goldens differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn pixels_in_memory_are_prepared_as_a_file_of_them() {
    let mut decoder = Decoder::new().unwrap();
    let (pixels, size) = read_rgb(&folder().join("inputs/coffee.png"));
    let mut compared = 0;
    for case in cases().iter().filter(|case| case.input == "coffee.png") {
        let prepared = decoder.prepare_pixels(&pixels, size, &case.spec()).unwrap();
        let prepared = case.tensor(prepared);
        assert!(case.prepare(&mut decoder) == Ok(prepared), "{}", case.name);
        compared += 1;
    }
    assert!(compared >= 20, "the cases are missing");
}

#[test]
fn what_pillow_refuses_is_refused() {
    let mut decoder = Decoder::new().unwrap();
    let mut refused = 0;
    for case in cases().iter().filter(|case| case.kind == Kind::Refused) {
        let error = case.prepare(&mut decoder).expect_err(&case.name);
        assert_eq!(
            error == ImageError::Truncated,
            case.name.contains("-cut-"),
            "{}: {error}",
            case.name
        );
        refused += 1;
    }
    assert!(refused >= 9, "the damaged files are missing");
}

/// A failure must not leave the JPEG library in a state that spoils the next photo.
#[test]
fn a_decoder_survives_every_damaged_file() {
    let mut decoder = Decoder::new().unwrap();
    let cases = cases();
    let good = cases
        .iter()
        .find(|case| case.name.starts_with("420-jpg-ratio"))
        .unwrap();
    let expected = good.prepare(&mut decoder).unwrap();
    for damaged in cases.iter().filter(|case| case.name.starts_with("damaged-")) {
        let _ = damaged.prepare(&mut decoder);
        assert!(
            good.prepare(&mut decoder).as_ref() == Ok(&expected),
            "after {}",
            damaged.name
        );
    }
}
