//! The report on one photo: statistics of the input tensor and of the scores, and the best classes.

use std::fmt;

use ocelli_engine::{Tensor, TensorData};
use ocelli_vision::{InputSpec, Layout};
use serde::Serialize;
use serde_json::{Value, json};

use crate::inference::json_output::labelled;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::{Output, OutputRequest};

/// How many values of a tensor to show.
const FIRST: usize = 5;

pub(super) struct Report {
    input: Summary,
    /// In the tensor's order of channels.
    channels: Vec<Statistics>,
    output: Summary,
    scores: Statistics,
    /// Label, index and probability, best first; empty for a model of feature vectors.
    best: Vec<(String, Option<usize>, f32)>,
}

struct Summary {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    first: Vec<f64>,
}

/// The standard deviation is that of the population, as NumPy's `std`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Statistics {
    min: f64,
    mean: f64,
    max: f64,
    std: f64,
}

impl Statistics {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count().max(1) as f64;
        let mean = values.clone().sum::<f64>() / count;
        let variance = values.clone().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Self {
            min: values.clone().fold(f64::INFINITY, f64::min),
            mean,
            max: values.fold(f64::NEG_INFINITY, f64::max),
            std: variance.sqrt(),
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, mean, max, std } = self;
        write!(f, "min {min:.4}, mean {mean:.4}, max {max:.4}, std {std:.4}")
    }
}

impl Summary {
    fn of(name: &str, tensor: &Tensor, values: &[f64]) -> Self {
        Self {
            name: name.to_owned(),
            dtype: tensor.element_type().to_string(),
            shape: tensor.shape().to_vec(),
            first: values.iter().take(FIRST).copied().collect(),
        }
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "dtype": self.dtype, "shape": self.shape, "first": self.first})
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.dtype, self.shape)
    }
}

impl Report {
    pub(super) fn new(
        model: &ServedModel,
        want: &OutputRequest,
        input: &Tensor,
        output: &Tensor,
        result: &Output,
    ) -> Self {
        let spec = model.input();
        let output_name = model
            .output(want.output)
            .map_or("", |output| output.name.as_str());
        let (numbers, scores) = (numbers(input), numbers(output));
        let best = match result {
            Output::Classes(classes) => labelled(model.labels_of(want.output), classes)
                .into_iter()
                .map(|class| (class.label.into_owned(), class.index, class.probability))
                .collect(),
            Output::Vector(_) => Vec::new(),
        };
        Self {
            channels: channels(spec, &numbers),
            input: Summary::of(&spec.name, input, &numbers),
            output: Summary::of(output_name, output, &scores),
            scores: Statistics::of(scores.iter().copied()),
            best,
        }
    }

    pub(super) fn json(&self, file: &str) -> Value {
        let best: Vec<Value> = self
            .best
            .iter()
            .map(|(label, index, probability)| {
                json!({"label": label, "index": index, "probability": probability})
            })
            .collect();
        json!({
            "file": file,
            "input": self.input.json(),
            "channels": self.channels,
            "output": self.output.json(),
            "scores": self.scores,
            "predictions": best,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  input    {}", self.input)?;
        for (index, channel) in self.channels.iter().enumerate() {
            writeln!(f, "           channel {index}: {channel}")?;
        }
        writeln!(f, "           first values {}", list(&self.input.first))?;
        writeln!(f, "  output   {}", self.output)?;
        writeln!(f, "           {}", self.scores)?;
        writeln!(f, "           first values {}", list(&self.output.first))?;
        for (place, (label, index, probability)) in self.best.iter().enumerate() {
            let index = index.map(|index| format!(" ({index})")).unwrap_or_default();
            let heading = if place == 0 { "best" } else { "" };
            writeln!(f, "  {heading:<8} {:6.2} %  {label}{index}", probability * 100.0)?;
        }
        Ok(())
    }
}

fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
    values.join(" ")
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    match tensor.data() {
        TensorData::U8(values) => values.iter().map(|&value| f64::from(value)).collect(),
        TensorData::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        TensorData::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
    }
}

/// The statistics of each channel of one image.
fn channels(spec: &InputSpec, numbers: &[f64]) -> Vec<Statistics> {
    let pixels = spec.width as usize * spec.height as usize;
    let count = spec.elements() / pixels;
    (0..count)
        .map(|channel| {
            // Consecutive values of a channel are `step` apart.
            let (start, step) = match spec.layout {
                Layout::Nchw => (channel * pixels, 1),
                Layout::Nhwc => (channel, count),
            };
            Statistics::of(numbers.iter().skip(start).step_by(step).take(pixels).copied())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ocelli_vision::{Channels, Coordinates, InputType, Interpolation, Resampling, ResizePolicy};

    use super::*;

    #[test]
    fn statistics_match_numpy() {
        let statistics = Statistics::of([1.0, 2.0, 3.0, 6.0].into_iter());
        let expected = Statistics {
            min: 1.0,
            mean: 3.0,
            max: 6.0,
            std: 3.5_f64.sqrt(),
        };
        assert_eq!(statistics, expected);
    }

    #[test]
    fn channels_are_read_from_both_layouts() {
        let spec = |layout| InputSpec {
            name: "x".into(),
            dtype: InputType::Float32,
            width: 2,
            height: 1,
            layout,
            channels: Channels::Rgb,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            resize: ResizePolicy::Stretch,
            interpolation: Interpolation::Bilinear,
            resampler: Resampling::default(),
            coordinates: Coordinates::default(),
            antialias: true,
            exif: true,
        };
        let means = |layout, numbers: [f64; 6]| -> Vec<f64> {
            let channels = channels(&spec(layout), &numbers);
            channels.iter().map(|channel| channel.mean).collect()
        };
        assert_eq!(
            means(Layout::Nchw, [0.0, 2.0, 10.0, 12.0, 20.0, 22.0]),
            [1.0, 11.0, 21.0]
        );
        assert_eq!(
            means(Layout::Nhwc, [0.0, 10.0, 20.0, 2.0, 12.0, 22.0]),
            [1.0, 11.0, 21.0]
        );
    }
}
