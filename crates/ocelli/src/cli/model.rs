//! The options for a model and its engine.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use ocelli_vision::auto::Preset;
use ocelli_vision::{Channels, Interpolation, Task};

use super::duration;

#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct SourceArgs {
    /// Folder, .onnx file or hf:owner/name [default: a built-in ImageNet model]
    ///
    /// A folder holds an Ocelli package or a model of Hugging Face, timm or Triton; folder#file selects one of several
    /// files. hf:owner/name[@revision][#file] is a model on the Hugging Face hub. The built-in model is
    /// EfficientNet-Lite0.
    #[arg(long, env = "OCELLI_MODEL", value_name = "SPEC")]
    pub model: Option<String>,
    #[command(flatten)]
    pub hints: HintArgs,
}

/// Settings that a model's files may lack. An option replaces what the files contain.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub struct HintArgs {
    /// Preprocessing, for a model whose files do not describe it
    #[arg(long, env = "OCELLI_PRESET", value_name = "NAME", value_parser = preset())]
    pub preset: Option<Preset>,
    /// Class names, for a model without them: one per line, or JSON
    #[arg(long, env = "OCELLI_LABELS", value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Resize filter [default: from the model or preset]
    #[arg(long, env = "OCELLI_INTERPOLATION", value_enum, value_name = "NAME")]
    pub interpolation: Option<Filter>,
    /// Antialias when shrinking [default: from the model or preset]
    ///
    /// Pillow antialiases; the tensor operations of TensorFlow and PyTorch do not, by default.
    #[arg(long, env = "OCELLI_ANTIALIAS", value_enum, value_name = "SWITCH")]
    pub antialias: Option<Antialias>,
    /// Channels of the input [default: from the model or preset]
    #[arg(long, env = "OCELLI_CHANNELS", value_enum, value_name = "NAME")]
    pub channels: Option<ChannelOrder>,
    /// Output to return [default: the one that looks like scores or features]
    #[arg(long, env = "OCELLI_MODEL_OUTPUT", value_name = "NAME")]
    pub model_output: Option<String>,
    /// Task of that output [default: from the files or its shape]
    #[arg(long, env = "OCELLI_TASK", value_enum, value_name = "NAME")]
    pub task: Option<TaskName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// One class per image
    Classification,
    /// Any number of classes per image
    Multilabel,
    /// Feature vector
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChannelOrder {
    /// Red, green, blue
    Rgb,
    /// Blue, green, red, the order of OpenCV
    Bgr,
    /// One grey channel
    #[value(alias = "grey")]
    Gray,
    /// Three equal grey channels
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Antialias {
    /// Widen the filter by the factor by which the image shrinks
    On,
    /// Keep the width of the filter
    Off,
}

impl From<Antialias> for bool {
    fn from(antialias: Antialias) -> Self {
        antialias == Antialias::On
    }
}

/// A resize filter as Pillow implements it, or as the library of the chosen preset does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Filter {
    /// Nearest pixel
    Nearest,
    /// Linear
    Bilinear,
    /// Cubic
    Bicubic,
    /// Lanczos with three lobes, four in OpenCV
    Lanczos,
    /// Mean of the nearest pixels (Pillow)
    Box,
    /// Hamming (Pillow)
    Hamming,
    /// Mean of the covered pixels (TensorFlow, OpenCV)
    Area,
    /// Lanczos with five lobes (TensorFlow)
    Lanczos5,
    /// Gaussian (TensorFlow)
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
    /// ONNX Runtime library [default: searched for]
    ///
    /// The search covers the folder of the executable, the system's library paths and installed Python packages.
    #[arg(long, env = "OCELLI_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// Number of batches computed at once [default: one per core]
    #[arg(long, env = "OCELLI_INSTANCES")]
    pub instances: Option<NonZeroUsize>,
    /// Threads per batch [default: cores / instances]
    #[arg(long, env = "OCELLI_THREADS_PER_INSTANCE")]
    pub threads_per_instance: Option<NonZeroUsize>,
    /// Maximum batch size [default: measured at startup]
    ///
    /// The measured size is the largest whose time per image is within 10 % of the best.
    #[arg(long, env = "OCELLI_MAX_BATCH", value_parser = max_batch)]
    pub max_batch: Option<usize>,
    /// Time to wait for a full batch while idle
    #[arg(long, env = "OCELLI_MAX_DELAY", default_value = "0s", value_parser = duration)]
    pub max_delay: Duration,
    /// Time that --engine fake takes for a batch of any size
    #[arg(long, hide = true, default_value = "0s", value_parser = duration)]
    pub fake_batch_time: Duration,
    /// Time that --engine fake takes for each image, in addition to the time for the batch
    #[arg(long, hide = true, default_value = "20ms", value_parser = duration)]
    pub fake_image_time: Duration,
    /// First byte of the pixels that makes --engine fake abort the process, as a crash would; never 0, because the
    /// warm-up runs on zeros
    #[arg(long, hide = true, value_name = "BYTE", value_parser = clap::value_parser!(u8).range(1..))]
    pub fake_crash_on: Option<u8>,
    /// First byte of the pixels that makes --engine fake hang
    #[arg(long, hide = true, value_name = "BYTE", value_parser = clap::value_parser!(u8).range(1..))]
    pub fake_hang_on: Option<u8>,
    /// First byte of the pixels that makes --engine fake panic
    #[arg(long, hide = true, value_name = "BYTE", value_parser = clap::value_parser!(u8).range(1..))]
    pub fake_panic_on: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// ONNX Runtime on the CPU
    Onnxruntime,
    /// Waits and returns made-up scores; for tests and benchmarks of everything else
    Fake,
}

fn max_batch(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    text.parse()
        .ok()
        .filter(|batch| (1..=MOST).contains(batch))
        .ok_or(format!("must be a whole number from 1 to {MOST}"))
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
    fn presets_have_names_and_aliases() {
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
    fn antialiasing_is_on_off_or_not_given() {
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
    fn channels_have_the_names_that_packages_use() {
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
    fn the_batch_size_is_checked() {
        assert_eq!(max_batch("32"), Ok(32));
        assert!(max_batch("0").is_err() && max_batch("1025").is_err());
    }
}
