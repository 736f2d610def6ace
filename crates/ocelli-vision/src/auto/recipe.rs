//! The preprocessing that a source states, before the graph is read.

use super::{Note, tensor::Tensor};
use crate::{
    Align, Channels, Coordinates, InputSpec, InputType, Interpolation, Resampling, ResizePolicy, Rounding,
};

/// The size of nearly every classifier, for graphs and files that leave it open.
const USUAL_SIZE: [u32; 2] = [224, 224];

/// Preprocessing that a preset or a file states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    /// The width and height of the result, if stated.
    pub(super) size: Option<[u32; 2]>,
    /// The file that states it, for messages.
    pub(super) size_from: &'static str,
    pub(super) resize: Resize,
    /// For a model with three channels.
    pub(super) channels: Channels,
    /// `y = (x * scale - mean) / std` of pixels in 0..=255, in the order of `channels`.
    pub(super) scale: f64,
    pub(super) mean: [f64; 3],
    pub(super) std: [f64; 3],
    pub(super) interpolation: Interpolation,
    pub(super) arithmetic: Arithmetic,
}

/// Whose arithmetic resizes, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Arithmetic {
    pub(super) resampler: Resampling,
    pub(super) antialias: bool,
    pub(super) coordinates: Coordinates,
}

impl Arithmetic {
    pub(super) const PILLOW: Self = Self {
        resampler: Resampling::Pillow,
        antialias: true,
        coordinates: Coordinates::HalfPixel,
    };
    pub(super) const TORCH: Self = Self {
        resampler: Resampling::Torch,
        ..Self::PILLOW
    };
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Resize {
    Stretch,
    /// With sizes in pixels, which belong to the size that the same file states.
    Fixed(ResizePolicy),
    /// Keeps the ratio, and keeps this share of it in each direction as the centre.
    Centre {
        share: f64,
    },
    /// The centre of a square that keeps the ratio; stretches where the tensor is none.
    CentreOfSquare,
    /// Stretches, and keeps this share in each direction as the centre (timm's "squash").
    Squash {
        share: f64,
    },
    /// Fits all of it into what this share is the centre of (timm's "border").
    Border {
        share: f64,
        fill: [u8; 3],
    },
}

impl Resize {
    /// The policy for a tensor of this width and height.
    fn policy(self, [width, height]: [u32; 2]) -> ResizePolicy {
        // timm's and torchvision's floor(side / crop_pct).
        let grown = |share: f64| [width, height].map(|side| (f64::from(side) / share).floor() as u32);
        let rounding = Rounding::Even;
        match self {
            Self::Stretch => ResizePolicy::Stretch,
            Self::Fixed(policy) => policy,
            Self::CentreOfSquare if width != height => ResizePolicy::Stretch,
            Self::CentreOfSquare => Self::Centre { share: 1.0 }.policy([width, height]),
            Self::Centre { share } if width == height => ResizePolicy::ShortestEdge {
                size: grown(share)[0],
                rounding,
            },
            Self::Centre { share } => ResizePolicy::Cover {
                size: grown(share),
                rounding,
            },
            Self::Squash { share } if grown(share) == [width, height] => ResizePolicy::Stretch,
            Self::Squash { share } => ResizePolicy::StretchCrop {
                size: grown(share),
                rounding,
            },
            Self::Border { share, fill } => ResizePolicy::Letterbox {
                fill,
                size: Some(grown(share)).filter(|size| *size != [width, height]),
                rounding,
                align: Align::default(),
            },
        }
    }
}

impl Recipe {
    /// The `[input]` table for this recipe and this tensor; notes what neither of them says.
    pub(super) fn input_spec(&self, tensor: Tensor, notes: &mut Vec<Note>) -> Result<InputSpec, String> {
        let size = self.agreed_size(&tensor, notes)?;
        let [width, height] = size;
        let channels = if tensor.is_gray {
            Channels::Gray
        } else {
            self.channels
        };
        let (mut scale, mut mean, mut std) = (self.scale, self.mean, self.std);
        let is_uniform = |of: [f64; 3]| of.iter().all(|value| *value == of[0]);
        if tensor.is_gray && !(is_uniform(mean) && is_uniform(std)) {
            notes.push(Note::warning(format!(
                "`{}` takes grey images, and mean and standard deviation are of colours: the first of each is used; write \
                 the right ones into model.toml (`ocelli model init`)",
                tensor.name
            )));
        }
        if tensor.dtype == InputType::Uint8 && !self.is_plain() {
            notes.push(Note::guessed(format!(
                "the graph normalises by itself, for `{}` takes uint8: scale, mean and standard deviation are left out",
                tensor.name
            )));
            (scale, mean, std) = (1.0, [0.0; 3], [1.0; 3]);
        }
        Ok(InputSpec {
            name: tensor.name,
            dtype: tensor.dtype,
            width,
            height,
            layout: tensor.layout,
            channels,
            scale: scale as f32,
            mean: mean.map(|mean| mean as f32),
            std: std.map(|std| std as f32),
            resize: self.resize.policy(size),
            interpolation: self.interpolation,
            resampler: self.arithmetic.resampler,
            antialias: self.arithmetic.antialias,
            coordinates: self.arithmetic.coordinates,
            exif: true,
        })
    }

    fn is_plain(&self) -> bool {
        (self.scale, self.mean, self.std) == (1.0, [0.0; 3], [1.0; 3])
    }

    fn agreed_size(&self, tensor: &Tensor, notes: &mut Vec<Note>) -> Result<[u32; 2], String> {
        match (self.size, tensor.size()) {
            (None, None) => {
                let (size, found) = match tensor.sides {
                    [None, Some(height)] => (
                        [height; 2],
                        format!("the graph leaves the width open (its height is {height}),"),
                    ),
                    [Some(width), None] => (
                        [width; 2],
                        format!("the graph leaves the height open (its width is {width}),"),
                    ),
                    _ => (USUAL_SIZE, "the graph leaves the size open".to_owned()),
                };
                let [width, height] = size;
                notes.push(Note::guessed(format!(
                    "{width} x {height} pixels, for {found} and no file says it; write it into a model.toml (`ocelli model \
                     init`) where it is another"
                )));
                Ok(size)
            }
            (Some(size), None) | (None, Some(size)) => Ok(size),
            (Some(stated), Some(fixed)) if stated == fixed => Ok(stated),
            (Some([width, height]), Some([fixed_width, fixed_height])) => match self.resize {
                Resize::Stretch | Resize::Fixed(_) => Err(format!(
                    "and {} do not belong together: that makes images of {width} x {height} pixels, and the graph \
                     takes {fixed_width} x {fixed_height}; export the model again, or write a model.toml (`ocelli model \
                     init` with --preset begins one)",
                    self.size_from
                )),
                Resize::Centre { .. }
                | Resize::CentreOfSquare
                | Resize::Squash { .. }
                | Resize::Border { .. } => {
                    notes.push(Note::read(format!(
                        "{fixed_width} x {fixed_height} pixels, as the graph fixes them, instead of {width} x {height}"
                    )));
                    Ok([fixed_width, fixed_height])
                }
            },
        }
    }
}
