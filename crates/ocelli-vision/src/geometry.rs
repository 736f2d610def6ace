//! Which source pixels become which target pixels: pure arithmetic on sizes, no pixels.
//!
//! Every policy becomes one *sampling*: a box of the image is resampled to a size and placed on the tensor.
//! It is planned in the viewed (oriented) image, where the policies are defined, and then turned into the stored
//! one, so that only the small result has to be turned.

use crate::{Align, ImageHeader, InputSpec, Interpolation, Orientation, Resampling, ResizePolicy, Rounding};

/// How much larger than the result a JPEG must still be, per axis, when it is decoded at a fraction of its size.
///
/// Measured on 25 sharp 500 x 375 photos as mean difference from a full decode of the worst photo, bicubic: at 1/2,
/// 3.4 of 255 with 1.5 times, 1.8 with 2, 1.1 with 2.5; at 1/4, 1.4 with 2.5. A photo of 12 megapixels, which is
/// 2.95 times as large at 1/4 as a tensor of 224 x 224 needs, has less detail per pixel and stays below 0.5.
/// At 1/8 each block is one pixel, which is 3 away whatever the rest, and no faster: reading the file is what costs.
const SPARE: f64 = 2.5;

/// Photos with fewer pixels are decoded at their full size: they are sharp, so that a fraction of them differs by up to
/// 0.6 of 255 from what the training libraries make of them, and decoding them takes 2 ms.
const SMALL: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rectangle<T> {
    pub(crate) left: T,
    pub(crate) top: T,
    pub(crate) width: T,
    pub(crate) height: T,
}

/// Whole pixels of an image.
pub(crate) type Region = Rectangle<u32>;

/// A part of an image that may begin and end between pixels.
pub(crate) type SourceBox = Rectangle<f64>;

/// What to resample, to which size, and where it goes on the tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// Pixels that a filter may read: beyond them it ends as at the edge of an image.
    pub(crate) view: Region,
    /// The part that becomes the result; inside `view`.
    pub(crate) source: SourceBox,
    /// Size of the result, at least 1 x 1.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Where the result lies on the tensor, which it fills unless it was resized to less.
    pub(crate) left: u32,
    pub(crate) top: u32,
    /// Whether columns are resampled before rows. The order shows: values beyond black and white, which filters with
    /// negative weights make, are cut off after each pass.
    pub(crate) vertical_first: bool,
}

/// The sampling of an image as it is stored, and the turn that its result needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// In stored pixels at full size; `width` and `height` of the result are the stored image's too.
    pub(crate) sampling: Sampling,
    pub(crate) orientation: Orientation,
    /// Divisor of both sides at which a JPEG is decoded: 1, 2 or 4.
    pub(crate) scale: u32,
}

impl Plan {
    pub(crate) fn new(header: &ImageHeader, spec: &InputSpec) -> Self {
        let orientation = if spec.exif {
            header.orientation
        } else {
            Orientation::Upright
        };
        let (width, height) = (header.width, header.height);
        let (viewed_width, viewed_height) = if orientation.swaps_axes() {
            (height, width)
        } else {
            (width, height)
        };
        let sampling = Sampling::new(viewed_width, viewed_height, spec).stored(orientation, width, height);
        // A filter that does not widen reads the very pixels that it names: averaging them first would change it.
        let averages = spec.antialias && spec.interpolation != Interpolation::Nearest;
        let small = u64::from(width) * u64::from(height) < SMALL;
        let scale = if averages && header.storage.scalable && !small {
            sampling.scale()
        } else {
            1
        };
        Self {
            sampling,
            orientation,
            scale,
        }
    }

    pub(crate) fn of_pixels(width: u32, height: u32, spec: &InputSpec) -> Self {
        Self {
            sampling: Sampling::new(width, height, spec),
            orientation: Orientation::Upright,
            scale: 1,
        }
    }
}

impl Sampling {
    fn new(width: u32, height: u32, spec: &InputSpec) -> Self {
        let all = Region {
            left: 0,
            top: 0,
            width,
            height,
        };
        match spec.resize {
            ResizePolicy::Stretch => Self::of(all, spec),
            ResizePolicy::CropRatio { ratio } => Self::of(central_square(width, height, ratio), spec),
            ResizePolicy::StretchCrop { size, rounding } => centre(all, size, rounding, spec),
            ResizePolicy::ShortestEdge { size, rounding } => {
                centre(all, shortest_edge(width, height, size, rounding), rounding, spec)
            }
            ResizePolicy::Cover { size, rounding } => {
                centre(all, keep_ratio(width, height, size, f64::min), rounding, spec)
            }
            ResizePolicy::CropAspect => {
                let crop = central_aspect(width, height, [spec.width, spec.height]);
                // Pillow's filters read beyond a box that is resized, and other libraries crop first.
                let view = match spec.resampler {
                    Resampling::Pillow | Resampling::Pillow12 => all,
                    Resampling::Torch | Resampling::TensorFlow | Resampling::OpenCv => crop,
                };
                Self {
                    source: crop.into(),
                    ..Self::of(view, spec)
                }
            }
            ResizePolicy::FitHeight { .. } => Self {
                left: 0,
                ..centre(all, fit_height(width, height, spec), Rounding::Even, spec)
            },
            ResizePolicy::Letterbox { .. } => Self::letterbox(all, spec),
        }
    }

    fn letterbox(all: Region, spec: &InputSpec) -> Self {
        let ResizePolicy::Letterbox {
            size,
            rounding,
            align,
            ..
        } = spec.resize
        else {
            return Self::of(all, spec);
        };
        let target = [spec.width, spec.height];
        let limit = size.unwrap_or(target);
        let (inner, place) = match rounding {
            Rounding::Even | Rounding::Nearest => {
                let inner = keep_ratio(all.width, all.height, limit, f64::max);
                ([inner[0].min(limit[0]), inner[1].min(limit[1])], None)
            }
            Rounding::Down => {
                let exact = resized_with_pad(all, limit);
                let place = [0, 1].map(|axis| ((target[axis] as f32 - exact[axis]) / 2.0).max(0.0) as u32);
                (exact.map(|side| (side as u32).max(1)), Some(place))
            }
        };
        let mut sampling = centre(all, inner, Rounding::Even, spec);
        if let Some([left, top]) = place {
            (sampling.left, sampling.top) = (left, top);
        }
        if matches!(align, Align::Left | Align::TopLeft) {
            sampling.left = 0;
        }
        if matches!(align, Align::Top | Align::TopLeft) {
            sampling.top = 0;
        }
        sampling
    }

    /// All of `view` to all of the tensor.
    fn of(view: Region, spec: &InputSpec) -> Self {
        Self {
            view,
            source: view.into(),
            width: spec.width,
            height: spec.height,
            left: 0,
            top: 0,
            vertical_first: spec.resampler.is_vertical_first(view, [spec.width, spec.height]),
        }
    }

    /// The same sampling of the stored image, of `width` x `height`, whose viewed form this one is of.
    /// Its place on the tensor stays as it is viewed.
    fn stored(self, orientation: Orientation, width: u32, height: u32) -> Self {
        let mut stored = self;
        if orientation.swaps_axes() {
            stored.view = self.view.transposed();
            stored.source = self.source.transposed();
            (stored.width, stored.height) = (self.height, self.width);
            stored.vertical_first = !self.vertical_first;
        }
        if orientation.flips_columns() {
            stored.view.left = width - stored.view.left - stored.view.width;
            stored.source.left = f64::from(width) - stored.source.left - stored.source.width;
        }
        if orientation.flips_rows() {
            stored.view.top = height - stored.view.top - stored.view.height;
            stored.source.top = f64::from(height) - stored.source.top - stored.source.height;
        }
        stored
    }

    /// The largest divisor that leaves the source [`SPARE`] times as large as the result in both axes.
    fn scale(&self) -> u32 {
        let leaves_enough = |scale: u32| {
            let scale = f64::from(scale);
            self.source.width / scale >= SPARE * f64::from(self.width)
                && self.source.height / scale >= SPARE * f64::from(self.height)
        };
        [4, 2]
            .into_iter()
            .find(|&scale| leaves_enough(scale))
            .unwrap_or(1)
    }

    /// The same sampling of an image that was decoded at 1/`scale`, of `width` x `height` pixels.
    pub(crate) fn scaled(&self, scale: u32, width: u32, height: u32) -> Self {
        if scale == 1 {
            return *self;
        }
        let divisor = f64::from(scale);
        let end = |start: u32, length: u32, limit: u32| (start + length).div_ceil(scale).min(limit);
        let (left, top) = (self.view.left / scale, self.view.top / scale);
        Self {
            view: Region {
                left,
                top,
                width: end(self.view.left, self.view.width, width) - left,
                height: end(self.view.top, self.view.height, height) - top,
            },
            source: SourceBox {
                left: self.source.left / divisor,
                top: self.source.top / divisor,
                width: self.source.width / divisor,
                height: self.source.height / divisor,
            },
            ..*self
        }
    }
}

impl Resampling {
    /// `ImagingResampleInner` in `Resample.c` of Pillow 13.0, where `image` is what is resized to `size`.
    fn is_vertical_first(self, image: Region, size: [u32; 2]) -> bool {
        let shrinks_by = |from: u32, to: u32| i64::from(from) - i64::from(to);
        let rows = shrinks_by(image.height, size[1]);
        match self {
            Self::Pillow => rows > 0 && rows > 2 * shrinks_by(image.width, size[0]),
            // TensorFlow and OpenCV cut off nothing between the passes.
            Self::Pillow12 | Self::Torch | Self::TensorFlow | Self::OpenCv => false,
        }
    }
}

impl<T> Rectangle<T> {
    fn transposed(self) -> Self {
        Self {
            left: self.top,
            top: self.left,
            width: self.height,
            height: self.width,
        }
    }
}

impl From<Region> for SourceBox {
    fn from(region: Region) -> Self {
        Self {
            left: region.left.into(),
            top: region.top.into(),
            width: region.width.into(),
            height: region.height.into(),
        }
    }
}

/// `int(min(width, height) * ratio)`, offsets rounded up: `preprocessing.py` of the EfficientNet reference.
fn central_square(width: u32, height: u32, ratio: f64) -> Region {
    let side = ((f64::from(width.min(height)) * ratio) as u32).max(1);
    Region {
        left: (width - side).div_ceil(2),
        top: (height - side).div_ceil(2),
        width: side,
        height: side,
    }
}

/// `smart_resize` in Keras' `image_utils.py`: the centre of the target's aspect ratio.
fn central_aspect(width: u32, height: u32, target: [u32; 2]) -> Region {
    // A side for the other one, in the target's ratio.
    let side = |other: u32, of: u32, to: u32| u64::from(other) * u64::from(to) / u64::from(of);
    let inside = |side: u64, limit: u32| side.clamp(1, limit.into()) as u32;
    let crop_width = inside(side(height, target[1], target[0]), width);
    let crop_height = inside(side(width, target[0], target[1]), height);
    Region {
        left: (width - crop_width) / 2,
        top: (height - crop_height) / 2,
        width: crop_width,
        height: crop_height,
    }
}

/// `resize_norm_img` in PaddleOCR: the width is `ceil(height * ratio)`, where that is not too wide.
fn fit_height(width: u32, height: u32, spec: &InputSpec) -> [u32; 2] {
    let wanted = (f64::from(spec.height) * (f64::from(width) / f64::from(height))).ceil();
    [(wanted as u32).clamp(1, spec.width), spec.height]
}

/// TensorFlow's `resize_with_pad`, in single precision, which decides what is rounded down to: the sides before that.
fn resized_with_pad(all: Region, limit: [u32; 2]) -> [f32; 2] {
    let sides = [all.width as f32, all.height as f32];
    let ratio = (sides[0] / limit[0] as f32).max(sides[1] / limit[1] as f32);
    sides.map(|side| side / ratio)
}

/// torchvision's `Resize(size)`: the longer edge is `int(size * long / short)`. PaddleClas' `ResizeImage(resize_short)`:
/// it is `int(round(long * (size / short)))`.
fn shortest_edge(width: u32, height: u32, size: u32, rounding: Rounding) -> [u32; 2] {
    let (short, long) = (width.min(height), width.max(height));
    let longer = match rounding {
        // `size * long` in integers, divided as Python divides them.
        Rounding::Even | Rounding::Down => (u64::from(size) * u64::from(long)) as f64 / f64::from(short),
        Rounding::Nearest => (f64::from(long) * (f64::from(size) / f64::from(short))).round_ties_even(),
    };
    let longer = longer as u32;
    if width <= height {
        [size, longer]
    } else {
        [longer, size]
    }
}

/// timm's `ResizeKeepRatio`, each side `round(side / ratio)` with Python's rounding: `choose` picks the smaller ratio
/// to cover `size`, the larger one to fit into it.
fn keep_ratio(width: u32, height: u32, size: [u32; 2], choose: fn(f64, f64) -> f64) -> [u32; 2] {
    let (width, height) = (f64::from(width), f64::from(height));
    let ratio = choose(height / f64::from(size[1]), width / f64::from(size[0]));
    [width, height].map(|side| ((side / ratio).round_ties_even() as u32).max(1))
}

/// All of the image resized to `resized`, and of that the centre of the tensor's size; what is smaller than the
/// tensor is placed in its middle (an odd rest gives the right and the bottom one pixel more). torchvision's
/// `CenterCrop((height, width))`: the part of the photo that the crop of the resized photo shows.
fn centre(all: Region, resized: [u32; 2], rounding: Rounding, spec: &InputSpec) -> Sampling {
    let axis = |full: u32, resized: u32, target: u32| {
        let rest = resized.saturating_sub(target);
        let start = match rounding {
            Rounding::Even => (f64::from(rest) / 2.0).round_ties_even(),
            Rounding::Down | Rounding::Nearest => f64::from(rest / 2),
        };
        let shown = resized.min(target);
        // Multiplied first, so that the whole of an axis is exactly that.
        let source = |pixels: f64| pixels * f64::from(full) / f64::from(resized);
        let place = target.saturating_sub(resized) / 2;
        (source(start), source(shown.into()), shown, place)
    };
    let (left, source_width, width, place_left) = axis(all.width, resized[0], spec.width);
    let (top, source_height, height, place_top) = axis(all.height, resized[1], spec.height);
    Sampling {
        view: all,
        source: SourceBox {
            left,
            top,
            width: source_width,
            height: source_height,
        },
        width,
        height,
        left: place_left,
        top: place_top,
        vertical_first: spec.resampler.is_vertical_first(all, resized),
    }
}

#[cfg(test)]
mod tests;
