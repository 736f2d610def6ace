//! The options of what is served and how it is computed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use ocelli_vision::auto::Preset;
use ocelli_vision::{Channels, Interpolation, Task};

use super::duration;

/// A model and how to run it.
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Inference engine
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct SourceArgs {
    /// Folder, .onnx file or hf:owner/name [default: a built-in ImageNet model]
    ///
    /// A folder is a package, a Hugging Face or timm model, or one of Triton's; folder#file names one of several
    /// files. hf:owner/name[@revision][#file] is a model of the Hugging Face hub. The built-in model is
    /// EfficientNet-Lite0.
    #[arg(long, env = "OCELLI_MODEL", value_name = "SPEC")]
    pub model: Option<String>,
    /// What its files do not say.
    #[command(flatten)]
    pub hints: HintArgs,
}

/// What a model's files may not say.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub struct HintArgs {
    /// Preprocessing of a model whose files do not describe it
    #[arg(long, env = "OCELLI_PRESET", value_name = "NAME", value_parser = preset())]
    pub preset: Option<Preset>,
    /// Class names of a model without: one per line, or JSON
    #[arg(long, env = "OCELLI_LABELS", value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Resize filter [default: the one of the model or preset]
    #[arg(long, env = "OCELLI_INTERPOLATION", value_enum, value_name = "NAME")]
    pub interpolation: Option<Filter>,
    /// Whether that filter widens where a photo shrinks
    ///
    /// Instead of what the preset or the files say: on for Pillow, off for tensors of TensorFlow and PyTorch.
    #[arg(long, env = "OCELLI_ANTIALIAS", value_enum, value_name = "SWITCH")]
    pub antialias: Option<Antialias>,
    /// Channels of the input [default: those of the model or preset]
    #[arg(long, env = "OCELLI_CHANNELS", value_enum, value_name = "NAME")]
    pub channels: Option<ChannelOrder>,
    /// Which output of the graph to answer, by its name [default: the one that looks like scores or features]
    #[arg(long, env = "OCELLI_MODEL_OUTPUT", value_name = "NAME")]
    pub model_output: Option<String>,
    /// What that output is [default: what the files say, or what its form suggests]
    #[arg(long, env = "OCELLI_TASK", value_enum, value_name = "NAME")]
    pub task: Option<TaskName>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// One class for each image
    Classification,
    /// Any number of classes for each image
    Multilabel,
    /// A feature vector
    Embedding,
}

impl From<TaskName> for Task {
    fn from(task: TaskName) -> Self {
        match task {
            TaskName::Classification => Self::Classification,
            TaskName::Multilabel => Self::Multilabel,
            TaskName::Embedding => Self::Embedding,
        }
    }
}

/// The channels of a model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChannelOrder {
    /// Red, green, blue
    Rgb,
    /// Blue, green, red, as OpenCV reads photos
    Bgr,
    /// One channel of grey
    #[value(alias = "grey")]
    Gray,
    /// Grey in three channels
    #[value(alias = "grey3")]
    Gray3,
}

impl From<ChannelOrder> for Channels {
    fn from(order: ChannelOrder) -> Self {
        match order {
            ChannelOrder::Rgb => Self::Rgb,
            ChannelOrder::Bgr => Self::Bgr,
            ChannelOrder::Gray => Self::Gray,
            ChannelOrder::Gray3 => Self::Gray3,
        }
    }
}

/// Whether a filter widens where a photo shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Antialias {
    /// It does
    On,
    /// It does not
    Off,
}

impl From<Antialias> for bool {
    fn from(antialias: Antialias) -> Self {
        antialias == Antialias::On
    }
}

/// A filter to resize with, as Pillow has it, or the library whose preset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Filter {
    /// The nearest pixel
    Nearest,
    /// Linear
    Bilinear,
    /// Cubic
    Bicubic,
    /// Lanczos' of three lobes; OpenCV's of four
    Lanczos,
    /// The mean of what is nearest (Pillow)
    Box,
    /// Hamming's (Pillow)
    Hamming,
    /// The mean of what is covered (TensorFlow, OpenCV)
    Area,
    /// Lanczos' of five lobes (TensorFlow)
    Lanczos5,
    /// Gauss' (TensorFlow)
    Gaussian,
    /// Mitchell's cubic (TensorFlow)
    Mitchell,
}

impl From<Filter> for Interpolation {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Nearest => Self::Nearest,
            Filter::Bilinear => Self::Bilinear,
            Filter::Bicubic => Self::Bicubic,
            Filter::Lanczos => Self::Lanczos,
            Filter::Box => Self::Box,
            Filter::Hamming => Self::Hamming,
            Filter::Area => Self::Area,
            Filter::Lanczos5 => Self::Lanczos5,
            Filter::Gaussian => Self::Gaussian,
            Filter::Mitchell => Self::Mitchell,
        }
    }
}

/// Names a preset; the table of them is the library's.
fn preset() -> impl TypedValueParser<Value = Preset> {
    let values = Preset::all().map(|preset| {
        PossibleValue::new(preset.name())
            .aliases(preset.aliases())
            .help(preset.about())
    });
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Preset>())
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Inference engine
    #[arg(long, env = "OCELLI_ENGINE", hide = true, value_enum, default_value_t = EngineKind::Onnxruntime)]
    pub engine: EngineKind,
    /// ONNX Runtime library
    ///
    /// By default it is searched for beside the executable, in the system's paths and in installed Python packages.
    #[arg(long, env = "OCELLI_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// Batches computed at once [default: one per core]
    #[arg(long, env = "OCELLI_INSTANCES")]
    pub instances: Option<NonZeroUsize>,
    /// Threads per batch [default: cores / instances]
    #[arg(long, env = "OCELLI_THREADS_PER_INSTANCE")]
    pub threads_per_instance: Option<NonZeroUsize>,
    /// Maximum batch size [default: measured at start]
    ///
    /// The measured size is the largest within 10 % of the best time per image.
    #[arg(long, env = "OCELLI_MAX_BATCH", value_parser = max_batch)]
    pub max_batch: Option<usize>,
    /// Wait for a full batch while the engine is idle
    #[arg(long, env = "OCELLI_MAX_DELAY", default_value = "0s", value_parser = duration)]
    pub max_delay: Duration,
    /// The time that --engine fake takes for a batch, whatever its size
    #[arg(long, hide = true, default_value = "0s", value_parser = duration)]
    pub fake_batch_time: Duration,
    /// The time that --engine fake takes for each image of a batch, on top
    #[arg(long, hide = true, default_value = "20ms", value_parser = duration)]
    pub fake_image_time: Duration,
    /// The first byte of the pixels at which --engine fake ends its process, as a crash would; for tests of what happens
    /// then. Warm-up computes zeros.
    #[arg(long, hide = true, value_name = "BYTE", value_parser = clap::value_parser!(u8).range(1..))]
    pub fake_crash_on: Option<u8>,
    /// The same, at which it never comes back
    #[arg(long, hide = true, value_name = "BYTE", value_parser = clap::value_parser!(u8).range(1..))]
    pub fake_hang_on: Option<u8>,
    /// The same, at which it panics
    #[arg(long, hide = true, value_name = "BYTE", value_parser = clap::value_parser!(u8).range(1..))]
    pub fake_panic_on: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// ONNX Runtime on the processor
    Onnxruntime,
    /// Waits and makes scores up; for tests and benchmarks of everything else
    Fake,
}

fn max_batch(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    text.parse()
        .ok()
        .filter(|batch| (1..=MOST).contains(batch))
        .ok_or(format!("a whole number from 1 to {MOST}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        hints: HintArgs,
    }

    #[test]
    fn presets_are_named_and_have_other_names() {
        for (name, preset) in [
            ("keras-caffe", Preset::KerasCaffe),
            ("torch", Preset::Torchvision),
        ] {
            let parsed = Only::try_parse_from(["x", "--preset", name]).unwrap();
            assert_eq!(parsed.hints.preset, Some(preset));
        }
        assert!(Only::try_parse_from(["x", "--preset", "keras"]).is_err());
    }

    #[test]
    fn antialiasing_is_on_or_off_or_not_said() {
        let parsed = |args: &[&str]| {
            let args = ["x"].iter().chain(args);
            Only::try_parse_from(args).map(|only| only.hints.antialias.map(bool::from))
        };
        assert_eq!(parsed(&["--antialias", "on"]).unwrap(), Some(true));
        assert_eq!(parsed(&["--antialias", "off"]).unwrap(), Some(false));
        assert_eq!(parsed(&[]).unwrap(), None);
        assert!(parsed(&["--antialias", "yes"]).is_err());
    }

    #[test]
    fn channels_are_those_of_a_package() {
        for (name, channels) in [
            ("rgb", Channels::Rgb),
            ("bgr", Channels::Bgr),
            ("grey", Channels::Gray),
            ("gray3", Channels::Gray3),
        ] {
            let parsed = Only::try_parse_from(["x", "--channels", name]).unwrap();
            assert_eq!(parsed.hints.channels.map(Channels::from), Some(channels));
        }
    }

    #[test]
    fn batches_are_checked() {
        assert_eq!(max_batch("32"), Ok(32));
        assert!(max_batch("0").is_err() && max_batch("1025").is_err());
    }
}
