//! The image processors of Hugging Face's transformers: their defaults, and what each does in its own way (`processors.json`).
//!
//! From `transformers` 5.23, `models/*/image_processing_*.py`. Names of all its generations are known: with and without
//! `Fast` and `Pil`, and `FeatureExtractor` for `ImageProcessor`.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::recipe::Arithmetic;
use crate::Interpolation;

/// A processor: what holds where a file leaves a key out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Processor {
    /// Its name without `ImageProcessor`.
    pub(super) name: String,
    pub(super) resample: Interpolation,
    pub(super) mean: [f64; 3],
    pub(super) std: [f64; 3],
    pub(super) size: Size,
    /// Whether a size that is one number means a square; the shorter edge otherwise.
    pub(super) is_square: bool,
    /// `do_center_crop`, and the side of `crop_size`.
    pub(super) crops: bool,
    pub(super) crop: u32,
    pub(super) normalizes: bool,
    pub(super) quirk: Quirk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    Sides([u32; 2]),
    Edge(u32),
}

/// What a processor does in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Quirk {
    None,
    /// Below 384: the shorter edge to `size / crop_pct`, then the centre; from 384 on a plain stretch.
    ConvNext {
        crop_pct: f64,
    },
    /// The shorter edge to 256/224 of the size.
    Levit,
    /// The shorter edge to `size / crop_pct`.
    PoolFormer {
        crop_pct: f64,
    },
    /// `rescale_offset` subtracts 1; `include_top` divides by the deviation once more.
    EfficientNet,
    /// Blue first, and never normalised.
    MobileVit,
}

/// What is known of processors, here and in the converter (`tools/conversion/processors.py`), which reads the same file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    processors: Vec<Processor>,
    /// Model types and the names of their processors (`models/auto/image_processing_auto.py`).
    model_types: BTreeMap<String, String>,
    /// Processors whose settings look plain and mean something else, with what they do.
    different: BTreeMap<String, String>,
    /// The settings of resizing, cropping, rescaling and normalising.
    steps: Vec<String>,
    /// Settings that leave the pixels of photos as they are.
    inert: Vec<String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let table = serde_json::from_str(include_str!("processors.json"));
    table.expect("a test parses it")
});

/// The name of the class that a file calls `class`, without what its generations add, as in `ConvNextFeatureExtractor` or
/// `ViTImageProcessorFast`.
fn base(class: &str) -> &str {
    let strip = |name, ends: [&str; 2]| {
        ends.iter()
            .find_map(|end| str::strip_suffix(name, end))
            .unwrap_or(name)
    };
    strip(
        strip(class, ["Fast", "Pil"]),
        ["ImageProcessor", "FeatureExtractor"],
    )
}

pub(super) fn by_name(class: &str) -> Option<&'static Processor> {
    let name = base(class);
    TABLE
        .processors
        .iter()
        .find(|processor| processor.name.eq_ignore_ascii_case(name))
}

/// What a processor does that its settings do not say, where that is known.
pub(super) fn difference(class: &str) -> Option<&'static str> {
    TABLE.different.get(base(class)).map(String::as_str)
}

/// Whether a setting is of resizing, cropping, rescaling and normalising, or leaves the pixels as they are.
pub(super) fn is_plain(setting: &str) -> bool {
    TABLE
        .steps
        .iter()
        .chain(&TABLE.inert)
        .any(|known| known == setting)
}

/// Whose arithmetic the class that a file names resizes with. Classes of transformers 5 resize PyTorch's tensors, but for
/// those that say that they use Pillow.
pub(super) fn arithmetic(class: Option<&str>) -> Arithmetic {
    if class.is_some_and(|class| class.ends_with("Pil")) {
        Arithmetic::PILLOW
    } else {
        Arithmetic::TORCH
    }
}

/// The processor of a model type, such as `resnet`.
pub(super) fn by_model_type(model_type: &str) -> Option<&'static Processor> {
    by_name(TABLE.model_types.get(model_type)?)
}

pub(super) fn names() -> String {
    let names = TABLE.processors.iter().map(|processor| &*processor.name);
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_generation_are_one_processor() {
        for name in [
            "ConvNextImageProcessor",
            "ConvNextImageProcessorFast",
            "ConvNextImageProcessorPil",
            "ConvNextFeatureExtractor",
            "ConvNeXTImageProcessor",
        ] {
            assert_eq!(by_name(name).unwrap().name, "ConvNext", "{name}");
        }
        assert_eq!(by_name("DetrImageProcessor"), None);
        assert!(difference("PerceiverImageProcessorPil").is_some());
    }

    #[test]
    fn every_name_in_the_table_is_one_processor() {
        for processor in &TABLE.processors {
            assert_eq!(by_name(&processor.name), Some(processor));
            assert_eq!(difference(&processor.name), None);
        }
        for (model_type, name) in &TABLE.model_types {
            assert_eq!(by_model_type(model_type).unwrap().name, *name);
        }
        assert_eq!(by_model_type("detr"), None);
    }
}
