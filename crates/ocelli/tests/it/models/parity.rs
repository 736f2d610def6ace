//! The same numbers as the libraries that models are trained with: each golden of `tests/parity` is one library's own
//! pipeline on photos, and Ocelli has to find out by itself how to do the same.

mod golden;

use std::fmt::Write as _;

use ocelli::executor::batch;
use ocelli::models::served_model::ServedModel;
use ocelli_engine::onnxruntime::Search;
use ocelli_engine::{Backend as _, Engine, EngineOptions, OnnxRuntime, Tensor, TensorData};
use ocelli_vision::{
    Activation, Channels, DecodeLimits, Decoder, ImageHeader, InputSpec, InputType, Layout, ModelCard,
    ModelPackage, rank,
};

use self::golden::{Ending, Golden, Photo};
use crate::harness::process::{self, Process, ocelli};

/// Maximum mean difference from the library's tensor, in 255ths of the range from black to white.
const PIXELS: f64 = 0.5;
/// How far any output may be, as a share of the range that the library's outputs span (their maximum minus their
/// minimum).
const SPREAD: f64 = 0.01;
/// The same for a model that computes in 8 bits: there a pixel that is off by one may change how an activation is rounded.
const QUANTISED_SPREAD: f64 = 0.02;
/// Maximum difference of a returned probability.
const PROBABILITY: f64 = 0.01;

/// The differences between Ocelli and a library on one photo.
struct Difference {
    /// Of the tensor, in 255ths.
    mean: f64,
    max: f64,
    /// The largest of the outputs, as a share of their range; `None` without an engine.
    outputs: Option<f64>,
    /// Its limit.
    limit: f64,
    same_top: bool,
}

#[test]
fn ocelli_agrees_with_the_training_libraries() {
    let engine = process::onnxruntime().map(|library| {
        let search = Search::new(Some(library), None, |_| None);
        OnnxRuntime::locate(&search).unwrap()
    });
    let mut table = String::new();
    let mut failures = Vec::new();
    for golden in Golden::all() {
        match compare(&golden, engine.as_ref()) {
            Err(problem) => failures.push(format!("{}: {problem}", golden.name)),
            Ok(differences) => {
                for (photo, difference) in golden.photos.iter().zip(&differences) {
                    let line = difference.line(&golden.name, photo.name());
                    if !difference.is_within_limits() {
                        failures.push(line.clone());
                    }
                    writeln!(table, "{line}").unwrap();
                }
            }
        }
    }
    println!("{table}");
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

impl Difference {
    fn is_within_limits(&self) -> bool {
        self.mean <= PIXELS && self.outputs.is_none_or(|share| share <= self.limit) && self.same_top
    }

    fn line(&self, case: &str, photo: &str) -> String {
        let Self { mean, max, .. } = self;
        let outputs = self
            .outputs
            .map_or("-".into(), |share| format!("{:.4} %", share * 100.0));
        let top = if self.same_top { "same" } else { "OTHER" };
        format!("{case:<30} {photo:<8} pixels {mean:.4}, at most {max:6.2}; outputs {outputs}; top 5 {top}")
    }
}

/// One difference per photo, or the error of the model.
fn compare(golden: &Golden, backend: Option<&OnnxRuntime>) -> Result<Vec<Difference>, String> {
    let mut package = golden.resolve()?;
    package.card.manifest.input.exif = golden.exif;
    let card = package.card.clone();
    let output = described_alike(golden, &card)?;
    let limit = if golden.output.quantised {
        QUANTISED_SPREAD
    } else {
        SPREAD
    };
    let mut engine = backend.map(|backend| load(backend, package)).transpose()?;
    golden
        .photos
        .iter()
        .map(|photo| {
            let tensor = tensor(&golden.photo(photo), &card.manifest.input)?;
            let (mean, max) = difference_of_pixels(golden, photo, &tensor)?;
            let Some(engine) = &mut engine else {
                return Ok(Difference {
                    mean,
                    max,
                    outputs: None,
                    limit,
                    same_top: true,
                });
            };
            let outputs = engine.infer(&[tensor]).map_err(|error| error.to_string())?;
            let TensorData::F32(values) = outputs[output].data() else {
                return Err("outputs are not floats".to_owned());
            };
            Ok(Difference {
                mean,
                max,
                outputs: Some(difference_of_outputs(photo, values, golden.output.ending)?),
                limit,
                same_top: same_top(photo, values, golden.output.activation, &card.labels[output]),
            })
        })
        .collect()
}

/// The index of the golden's output in the package, if the package agrees with the library.
fn described_alike(golden: &Golden, card: &ModelCard) -> Result<usize, String> {
    let input = &card.manifest.input;
    let found = (
        match input.layout {
            Layout::Nchw => "nchw",
            Layout::Nhwc => "nhwc",
        },
        match input.channels {
            Channels::Rgb => "rgb",
            Channels::Bgr => "bgr",
            Channels::Gray => "gray",
            Channels::Gray3 => "gray3",
        },
        match input.dtype {
            InputType::Uint8 => "uint8",
            InputType::Float32 => "float32",
            InputType::Float16 => "float16",
        },
    );
    let form = &golden.input;
    let wanted = (form.layout.as_str(), form.channels.as_str(), form.dtype.as_str());
    if found != wanted {
        return Err(format!("the input is {found:?} instead of {wanted:?}"));
    }
    let outputs = &card.manifest.outputs;
    let output = outputs
        .iter()
        .position(|output| output.name == golden.output.name);
    let output = output.ok_or(format!("no output {:?} among {outputs:?}", golden.output.name))?;
    let (found, wanted) = (outputs[output].activation, golden.output.activation);
    if found != wanted {
        return Err(format!("the activation is {found:?} instead of {wanted:?}"));
    }
    Ok(output)
}

fn load(backend: &OnnxRuntime, package: ModelPackage) -> Result<Box<dyn Engine>, String> {
    let (_, file) = ServedModel::split(package);
    let options = EngineOptions { threads: 1 };
    backend
        .load(&file.source(), &options)
        .map_err(|error| error.to_string())
}

/// Ocelli's input tensor.
fn tensor(photo: &[u8], spec: &InputSpec) -> Result<Tensor, String> {
    let header = ImageHeader::read(photo, &DecodeLimits::default()).map_err(|error| error.to_string())?;
    let rgb = Decoder::new().unwrap().prepare(photo, &header, spec);
    let rgb = rgb.map_err(|error| error.to_string())?;
    Ok(batch::input(spec, &[&rgb], None).unwrap())
}

/// The mean and the largest difference, in 255ths of the library's range from black to white.
fn difference_of_pixels(golden: &Golden, photo: &Photo, tensor: &Tensor) -> Result<(f64, f64), String> {
    let values: Vec<f64> = match tensor.data() {
        TensorData::U8(values) => values.iter().map(|&value| value.into()).collect(),
        TensorData::F32(values) => values.iter().map(|&value| value.into()).collect(),
        TensorData::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
    };
    let form = &golden.input;
    let channels = form.black.len();
    let mut expected = golden.pixels(photo);
    if form.channels == "bgr" {
        expected.reverse();
    }
    let area = expected[0].len();
    if values.len() != area * channels {
        let shape = tensor.shape();
        return Err(format!(
            "the tensor is {shape:?} instead of {channels} channels of {area} pixels"
        ));
    }
    let (mut sum, mut max) = (0.0, 0.0_f64);
    for (index, value) in values.iter().enumerate() {
        let (channel, pixel) = if form.layout == "nchw" {
            (index / area, index % area)
        } else {
            (index % channels, index / channels)
        };
        let (black, white) = (form.black[channel], form.white[channel]);
        let difference = ((value - black) / (white - black) * 255.0 - expected[channel][pixel]).abs();
        sum += difference;
        max = max.max(difference);
    }
    Ok((sum / values.len() as f64, max))
}

/// The largest difference, as a share of the range of what the library answers; of probabilities, as the scores that
/// they were made from.
fn difference_of_outputs(photo: &Photo, values: &[f32], ending: Option<Ending>) -> Result<f64, String> {
    if values.len() != photo.values.len() {
        return Err(format!(
            "{} outputs instead of {}",
            values.len(),
            photo.values.len()
        ));
    }
    let score = |value: f64| match ending {
        None => value,
        // Up to a common constant.
        Some(Ending::Softmax) => value.ln(),
        Some(Ending::Sigmoid) => (value / (1.0 - value)).ln(),
    };
    let expected: Vec<f64> = photo.values.iter().map(|&value| score(value)).collect();
    let most = expected.iter().copied().fold(f64::MIN, f64::max);
    let least = expected.iter().copied().fold(f64::MAX, f64::min);
    let apart = expected
        .iter()
        .zip(values)
        .map(|(expected, &value)| (expected - score(value.into())).abs());
    Ok(apart.fold(0.0, f64::max) / (most - least))
}

fn same_top(photo: &Photo, values: &[f32], activation: Activation, labels: &[String]) -> bool {
    let best = rank(values, activation, photo.top.len());
    best.iter()
        .zip(&photo.top)
        .all(|((index, score), (wanted, label, expected))| {
            index == wanted
                && labels.get(*index) == Some(label)
                && (f64::from(*score) - expected).abs() <= PROBABILITY
        })
}

/// The tutorial's request to the real server: its Keras ResNet50, a hub folder, and the built-in model.
#[tokio::test]
async fn predict_returns_the_labels_of_the_library() {
    let Some(library) = process::onnxruntime() else {
        return;
    };
    for name in ["keras-resnet50", "transformers-hub-resnet", "builtin"] {
        let golden = Golden::named(name);
        let place = tempfile::tempdir().unwrap();
        let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--instances", "1"]);
        command.env("OCELLI_ONNXRUNTIME", &library);
        let options = [
            ("--model", golden.model(&place)),
            ("--labels", golden.labels()),
            ("--preset", golden.options.preset.as_ref().map(Into::into)),
        ];
        for (option, value) in options {
            value
                .into_iter()
                .for_each(|value| _ = command.arg(option).arg(value));
        }
        let server = Process::start(command).await;
        for photo in &golden.photos {
            let bytes = golden.photo(photo);
            let answer = server
                .post("/predict")
                .form([("image", bytes.as_slice())])
                .send()
                .await
                .ok();
            assert_eq!(answer["success"], true);
            let predictions = answer["predictions"].as_array().unwrap();
            assert_eq!(predictions.len(), photo.top.len());
            for (prediction, (_, label, probability)) in predictions.iter().zip(&photo.top) {
                assert_eq!(prediction["label"], label.as_str(), "{name}: {answer}");
                let difference = prediction["probability"].as_f64().unwrap() - probability;
                assert!(difference.abs() <= PROBABILITY, "{name}: {answer}");
            }
        }
    }
}
