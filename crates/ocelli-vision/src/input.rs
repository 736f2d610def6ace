//! What a model takes: the tensor's shape and arithmetic, and the way from a photo to it.

mod fill;
mod filter;
mod recover;
mod resize;

use serde::{Deserialize, Serialize};

pub use fill::TensorElement;
pub(crate) use fill::luma;
pub use filter::{Coordinates, Interpolation, Resampling};

/// The largest side of a model's input, in pixels.
const MAX_SIDE: u32 = 4096;
/// The largest side that a photo is resized to before its centre is cut out, in pixels.
const MAX_RESIZED: u32 = 2 * MAX_SIDE;

/// Element type of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// The pixels themselves, 0..=255; normalisation is part of the graph.
    Uint8,
    /// Normalised pixels.
    Float32,
    /// Normalised pixels in half precision: computed in single precision, rounded once.
    Float16,
}

/// Order of the tensor's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channels, height, width (PyTorch).
    Nchw,
    /// Batch, height, width, channels (TensorFlow).
    Nhwc,
}

/// The channels of the tensor and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red (OpenCV, Caffe). `mean` and `std` are in this order too.
    Bgr,
    /// One channel: ITU-R 601 luma as Pillow's `convert("L")` computes it, before the photo is resized.
    Gray,
    /// The same three times.
    Gray3,
}

impl Channels {
    /// What it is called in a `model.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
            Self::Gray => "gray",
            Self::Gray3 => "gray3",
        }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr | Self::Gray3 => 3,
            Self::Gray => 1,
        }
    }

    pub(crate) fn is_grey(self) -> bool {
        matches!(self, Self::Gray | Self::Gray3)
    }
}

/// From a photo of any size to the tensor's width and height.
///
/// Sizes are width, height. What is resized beyond the tensor is cut down to its centre; what is resized to less is
/// centred on black (on `fill` for a letterbox), an odd rest giving the right and the bottom one pixel more.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "resize::Table")]
pub enum ResizePolicy {
    /// Both axes to the target, ignoring the aspect ratio (Keras `load_img(target_size=...)`).
    Stretch,
    /// Both axes to `size`, ignoring the aspect ratio, then the centre (transformers' BEiT, DeiT and EfficientNet;
    /// timm's crop mode "squash").
    StretchCrop {
        /// Width and height after the resize, in pixels.
        size: [u32; 2],
        /// Where the centre begins.
        rounding: Rounding,
    },
    /// The shorter edge to `size`, then the centre of the target's size (torchvision `Resize` + `CenterCrop`).
    ShortestEdge {
        /// Length of the shorter edge after the resize, in pixels.
        size: u32,
        /// Where the centre begins, and how the longer edge is rounded.
        rounding: Rounding,
    },
    /// The smallest size of the same aspect ratio that covers `size`, then the centre (timm's `ResizeKeepRatio` for
    /// targets that are not square).
    Cover {
        /// Width and height that are covered, in pixels.
        size: [u32; 2],
        /// Where the centre begins.
        rounding: Rounding,
    },
    /// The centre square of side `min(width, height) * ratio`, then resized (EfficientNet's reference).
    CropRatio {
        /// Share of the shorter edge that is kept, above 0 and at most 1.
        ratio: f64,
    },
    /// The centre of the target's aspect ratio, then resized (Keras' `smart_resize` and `crop_to_aspect_ratio=True`).
    CropAspect,
    /// The largest size of the same aspect ratio inside `size`, then placed on `fill` (timm's crop mode "border").
    Letterbox {
        /// Red, green and blue of the bars.
        fill: [u8; 3],
        /// Width and height that the photo fits into, in pixels; the target's if absent.
        size: Option<[u32; 2]>,
        /// How sides between two pixels are rounded.
        rounding: Rounding,
        /// Where the photo lies.
        align: Align,
    },
    /// The target's height and a width in the same aspect ratio, rounded up and at most the target's, at the left on
    /// `fill` (PaddleOCR's `resize_norm_img` of direction classifiers and recognisers).
    FitHeight {
        /// Red, green and blue of the rest.
        fill: [u8; 3],
    },
}

impl ResizePolicy {
    pub(crate) fn fill(self) -> [u8; 3] {
        match self {
            Self::Letterbox { fill, .. } | Self::FitHeight { fill } => fill,
            _ => [0; 3],
        }
    }
}

/// Where a letterboxed photo lies on its bars; an odd rest gives the right and the bottom one pixel more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// In the middle.
    #[default]
    Center,
    /// At the left edge, in the middle from top to bottom.
    Left,
    /// At the upper edge, in the middle from left to right.
    Top,
    /// In the upper left corner.
    TopLeft,
}

impl Align {
    /// What it is called in a `model.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Left => "left",
            Self::Top => "top",
            Self::TopLeft => "top-left",
        }
    }
}

/// Where a centre crop begins when half of the rest lies between two pixels. Of a letterbox: the sides of the photo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// `int(round(rest / 2))`, halves to the even number: torchvision and timm.
    #[default]
    Even,
    /// `rest // 2`: transformers. A letterbox: TensorFlow's `resize_with_pad`.
    Down,
    /// The same, of a longer edge that is rounded to the nearest pixel and not down (PaddleClas). Only with
    /// [`ResizePolicy::ShortestEdge`].
    Nearest,
}

/// The `[input]` table of `model.toml`: the tensor and how to make it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Name of the graph's input.
    pub name: String,
    /// Element type.
    pub dtype: InputType,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Order of the axes.
    pub layout: Layout,
    /// Channels and their order.
    pub channels: Channels,
    /// `y = (x * scale - mean) / std` per channel, x in 0..=255.
    #[serde(default = "one")]
    pub scale: f32,
    /// Subtracted after scaling, per channel of the tensor; a grey input uses the first.
    #[serde(default)]
    pub mean: [f32; 3],
    /// Divides last, per channel of the tensor; a grey input uses the first.
    #[serde(default = "ones")]
    pub std: [f32; 3],
    /// From the photo's size to the tensor's.
    pub resize: ResizePolicy,
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// Whose arithmetic applies it.
    #[serde(default)]
    pub resampler: Resampling,
    /// Widen the filter when shrinking, as Pillow always does and torch does with `antialias=True`.
    #[serde(default = "yes")]
    pub antialias: bool,
    /// Where a pixel of the result lies in the photo.
    #[serde(default)]
    pub coordinates: Coordinates,
    /// Apply the EXIF orientation.
    #[serde(default = "yes")]
    pub exif: bool,
}

fn one() -> f32 {
    1.0
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

fn yes() -> bool {
    true
}

impl InputSpec {
    /// The tensor's shape for `images` images.
    pub fn shape(&self, images: usize) -> [usize; 4] {
        let (height, width) = (self.height as usize, self.width as usize);
        let channels = self.channels.count();
        match self.layout {
            Layout::Nchw => [images, channels, height, width],
            Layout::Nhwc => [images, height, width, channels],
        }
    }

    /// Elements of the tensor per image: height x width x channels.
    pub fn elements(&self) -> usize {
        self.pixels() * self.channels.count()
    }

    /// Whether the prepared pixels are the tensor, byte for byte: `uint8`, `nhwc`, `rgb`.
    pub fn is_identity(&self) -> bool {
        self.dtype == InputType::Uint8 && self.layout == Layout::Nhwc && self.channels == Channels::Rgb
    }

    pub(crate) fn pixels(&self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Checks what types cannot: ranges, and settings that contradict each other.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.name.is_empty() {
            return Err((
                "input.name",
                "is empty: write the name of the graph's input".into(),
            ));
        }
        for (key, side) in [("input.width", self.width), ("input.height", self.height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err((key, format!("is {side}: it must be from 1 to {MAX_SIDE} pixels")));
            }
        }
        self.validate_normalisation()?;
        self.validate_resize()?;
        self.resampler
            .check(self.interpolation, self.antialias, self.coordinates)
    }

    fn validate_normalisation(&self) -> Result<(), (&'static str, String)> {
        let plain = self.scale == one() && self.mean == [0.0; 3] && self.std == ones();
        if self.dtype == InputType::Uint8 && !plain {
            let hint = "is \"uint8\", which takes the pixels as they are: remove scale, mean and std, or use \"float32\"";
            return Err(("input.dtype", hint.into()));
        }
        if !self.scale.is_finite() || self.scale == 0.0 {
            return Err((
                "input.scale",
                format!("is {}: it must be a finite number other than 0", self.scale),
            ));
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            return Err((
                "input.mean",
                format!("is {:?}: each must be a finite number", self.mean),
            ));
        }
        if self.std.iter().any(|std| !std.is_finite() || *std == 0.0) {
            return Err((
                "input.std",
                format!("is {:?}: each must be a finite number other than 0", self.std),
            ));
        }
        Ok(())
    }

    fn validate_resize(&self) -> Result<(), (&'static str, String)> {
        let size = |sides: &[u32]| {
            let wrong = sides.iter().find(|side| !(1..=MAX_RESIZED).contains(*side));
            wrong.map_or(Ok(()), |side| {
                let hint = format!("is {side}: it must be from 1 to {MAX_RESIZED} pixels");
                Err(("input.resize.size", hint))
            })
        };
        match &self.resize {
            ResizePolicy::ShortestEdge { size: edge, .. } => size(&[*edge]),
            ResizePolicy::StretchCrop { size: sides, .. }
            | ResizePolicy::Cover { size: sides, .. }
            | ResizePolicy::Letterbox {
                size: Some(sides), ..
            } => size(sides),
            ResizePolicy::CropRatio { ratio } if !(*ratio > 0.0 && *ratio <= 1.0) => Err((
                "input.resize.ratio",
                format!("is {ratio}: it must be above 0 and at most 1"),
            )),
            ResizePolicy::Stretch
            | ResizePolicy::CropRatio { .. }
            | ResizePolicy::CropAspect
            | ResizePolicy::FitHeight { .. }
            | ResizePolicy::Letterbox { size: None, .. } => Ok(()),
        }
    }
}
