//! The image processors of Hugging Face's transformers: their defaults, and what each does in its own way.
//!
//! From `transformers` 5.23, `models/*/image_processing_*.py`. Names of all its generations are known: with and without
//! `Fast` and `Pil`, and `FeatureExtractor` for `ImageProcessor`.

use super::preset::{CLIP_MEAN, CLIP_STD, HALF, IMAGENET_MEAN, IMAGENET_STD};
use super::recipe::Arithmetic;
use crate::Interpolation::{self, Bicubic, Bilinear};

/// A processor: what holds where a file leaves a key out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Processor {
    /// Its name without `ImageProcessor`.
    pub(super) name: &'static str,
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

/// What a photo is resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Height and width.
    Sides([u32; 2]),
    /// The shorter edge.
    Edge(u32),
}

/// What a processor does in its own way.
#[derive(Debug, Clone, Copy, PartialEq)]
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

const PLAIN: Processor = Processor {
    name: "ViT",
    resample: Bilinear,
    mean: HALF,
    std: HALF,
    size: Size::Sides([224, 224]),
    is_square: true,
    crops: false,
    crop: 224,
    normalizes: true,
    quirk: Quirk::None,
};

const EDGE: Processor = Processor {
    resample: Bicubic,
    size: Size::Edge(224),
    is_square: false,
    crops: true,
    ..PLAIN
};

const TABLE: [Processor; 15] = [
    PLAIN,
    Processor {
        name: "DeiT",
        resample: Bicubic,
        size: Size::Sides([256, 256]),
        crops: true,
        ..PLAIN
    },
    Processor {
        name: "Beit",
        resample: Bicubic,
        ..PLAIN
    },
    Processor {
        name: "ConvNext",
        size: Size::Edge(384),
        crops: false,
        quirk: Quirk::ConvNext {
            crop_pct: 224.0 / 256.0,
        },
        ..EDGE
    },
    Processor {
        name: "EfficientNet",
        resample: Bicubic,
        size: Size::Sides([346, 346]),
        crop: 289,
        quirk: Quirk::EfficientNet,
        ..PLAIN
    },
    Processor {
        name: "MobileNetV1",
        resample: Bilinear,
        size: Size::Edge(256),
        ..EDGE
    },
    Processor {
        name: "MobileNetV2",
        resample: Bilinear,
        size: Size::Edge(256),
        ..EDGE
    },
    Processor {
        name: "MobileViT",
        crop: 256,
        normalizes: false,
        quirk: Quirk::MobileVit,
        ..EDGE
    },
    Processor {
        name: "Bit",
        mean: CLIP_MEAN,
        std: CLIP_STD,
        ..EDGE
    },
    Processor {
        name: "CLIP",
        mean: CLIP_MEAN,
        std: CLIP_STD,
        ..EDGE
    },
    Processor {
        name: "Siglip",
        resample: Bicubic,
        is_square: false,
        ..PLAIN
    },
    Processor {
        name: "Levit",
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        quirk: Quirk::Levit,
        ..EDGE
    },
    Processor {
        name: "PoolFormer",
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        quirk: Quirk::PoolFormer { crop_pct: 0.9 },
        ..EDGE
    },
    Processor {
        name: "Pvt",
        resample: Bicubic,
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        ..PLAIN
    },
    Processor {
        name: "DINOv3ViT",
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        ..PLAIN
    },
];

/// Model types whose processor has another name (`models/auto/image_processing_auto.py`).
const MODEL_TYPES: [(&str, &str); 34] = [
    ("vit", "ViT"),
    ("vit_msn", "ViT"),
    ("vit_mae", "ViT"),
    ("ijepa", "ViT"),
    ("swin", "ViT"),
    ("swinv2", "ViT"),
    ("swiftformer", "ViT"),
    ("dinat", "ViT"),
    ("deit", "DeiT"),
    ("beit", "Beit"),
    ("data2vec-vision", "Beit"),
    ("convnext", "ConvNext"),
    ("convnextv2", "ConvNext"),
    ("resnet", "ConvNext"),
    ("regnet", "ConvNext"),
    ("cvt", "ConvNext"),
    ("efficientnet", "EfficientNet"),
    ("mobilenet_v1", "MobileNetV1"),
    ("mobilenet_v2", "MobileNetV2"),
    ("mobilevit", "MobileViT"),
    ("mobilevitv2", "MobileViT"),
    ("bit", "Bit"),
    ("dinov2", "Bit"),
    ("focalnet", "Bit"),
    ("hiera", "Bit"),
    ("levit", "Levit"),
    ("poolformer", "PoolFormer"),
    ("pvt", "Pvt"),
    ("dinov3_vit", "DINOv3ViT"),
    ("dinov2_with_registers", "Bit"),
    ("clip", "CLIP"),
    ("clip_vision_model", "CLIP"),
    ("siglip", "Siglip"),
    ("siglip_vision_model", "Siglip"),
];

/// The processor that a file calls `name`, such as `ConvNextFeatureExtractor` or `ViTImageProcessorFast`.
pub(super) fn by_name(name: &str) -> Option<&'static Processor> {
    let name = ["Fast", "Pil"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let name = ["ImageProcessor", "FeatureExtractor"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    TABLE
        .iter()
        .find(|processor| processor.name.eq_ignore_ascii_case(name))
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
    let (_, name) = MODEL_TYPES.iter().find(|(known, _)| *known == model_type)?;
    by_name(name)
}

/// All that are known, for messages.
pub(super) fn names() -> String {
    let names: Vec<String> = TABLE
        .iter()
        .map(|processor| format!("{}ImageProcessor", processor.name))
        .collect();
    names.join(", ")
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
    }

    #[test]
    fn every_model_type_has_its_processor() {
        for (model_type, name) in MODEL_TYPES {
            assert_eq!(by_model_type(model_type).unwrap().name, name);
        }
        assert_eq!(by_model_type("detr"), None);
    }
}
