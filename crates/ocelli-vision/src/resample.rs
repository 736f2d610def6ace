//! Resampling, equal to Pillow's (13.0).
//!
//! Without antialiasing it is equal to PyTorch's, and packages may ask for TensorFlow's or OpenCV's. Owns the choice
//! between the implementations and nothing of where the pixels come from or go to. `fast_image_resize` has Pillow's
//! convolution with SIMD; nearest and what is not Pillow's are here, because its nearest can read beyond the image and its
//! filters of a fixed width treat edges in their own way.

mod convolve;
mod kernels;
mod nearest;
mod weighted;

use crate::{Coordinates, ImageError, Interpolation, Orientation, Resampling, geometry::Sampling};

use convolve::Convolver;
use kernels::{Kernel, Shape};
use weighted::Method;

/// Pixels of 4 bytes, row by row.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) pixels: &'a [u8],
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// How to interpolate, for an image that will be turned afterwards.
#[derive(Clone, Copy)]
pub(crate) struct Filter {
    pub(crate) interpolation: Interpolation,
    pub(crate) resampler: Resampling,
    pub(crate) antialias: bool,
    pub(crate) coordinates: Coordinates,
    pub(crate) orientation: Orientation,
}

/// Which implementation, and its filter.
enum Way {
    PillowNearest,
    Convolved(convolve::Kernel),
    Weighted(Method),
}

impl Filter {
    /// For what the checks of a package let pass; what they refuse is resampled by the nearest thing that exists.
    fn way(self, sampling: &Sampling) -> Way {
        match (self.resampler, self.antialias) {
            (Resampling::Pillow | Resampling::Pillow12 | Resampling::Torch, true) => self.pillow(),
            (Resampling::Pillow | Resampling::Pillow12 | Resampling::Torch, false) => self.pytorch(),
            (Resampling::TensorFlow, antialias) => {
                Way::Weighted(Method::floating(self.tensorflow(antialias)))
            }
            (Resampling::OpenCv, _) => Way::Weighted(self.opencv(sampling)),
        }
    }

    fn pillow(self) -> Way {
        Way::Convolved(match self.interpolation {
            Interpolation::Nearest => return Way::PillowNearest,
            Interpolation::Box | Interpolation::Area => convolve::Kernel::BOX,
            Interpolation::Bilinear | Interpolation::Gaussian => convolve::Kernel::BILINEAR,
            Interpolation::Hamming => convolve::Kernel::HAMMING,
            Interpolation::Bicubic | Interpolation::Mitchell => convolve::Kernel::BICUBIC,
            Interpolation::Lanczos | Interpolation::Lanczos5 => convolve::Kernel::LANCZOS,
        })
    }

    /// `interpolate(..., antialias=False, align_corners=False)`.
    fn pytorch(self) -> Way {
        let kernel = match self.interpolation {
            Interpolation::Nearest => return Way::PillowNearest,
            Interpolation::Bilinear => Kernel::Linear(Coordinates::HalfPixel),
            _ => Kernel::Cubic {
                a: -0.75,
                repeats_edge: true,
            },
        };
        Way::Weighted(Method::floating(kernel))
    }

    /// `tf.image.resize`: these filters have operations of their own without antialiasing.
    fn tensorflow(self, widens: bool) -> Kernel {
        let shape = match (self.interpolation, widens) {
            (Interpolation::Nearest, _) => return Kernel::Nearest(self.coordinates),
            (Interpolation::Area | Interpolation::Box, _) => return Kernel::Area,
            (Interpolation::Bilinear, false) => return Kernel::Linear(self.coordinates),
            (Interpolation::Bicubic, false) => {
                return Kernel::Cubic {
                    a: -0.5,
                    repeats_edge: false,
                };
            }
            (Interpolation::Bilinear | Interpolation::Hamming, _) => Shape::Triangle,
            (Interpolation::Bicubic, true) => Shape::Keys,
            (Interpolation::Lanczos, _) => Shape::Lanczos(3.0),
            (Interpolation::Lanczos5, _) => Shape::Lanczos(5.0),
            (Interpolation::Gaussian, _) => Shape::Gaussian,
            (Interpolation::Mitchell, _) => Shape::Mitchell,
        };
        Kernel::Window { shape, widens }
    }

    fn opencv(self, sampling: &Sampling) -> Method {
        Method::fixed_point(match self.interpolation {
            Interpolation::Nearest => Kernel::NearestEdge,
            Interpolation::Area | Interpolation::Box => return Method::opencv_area(sampling),
            Interpolation::Bicubic | Interpolation::Mitchell => Kernel::Cubic {
                a: -0.75,
                repeats_edge: true,
            },
            Interpolation::Lanczos | Interpolation::Lanczos5 => Kernel::Lanczos4,
            _ => Kernel::Linear(Coordinates::HalfPixel),
        })
    }
}

pub(crate) struct Resampler {
    convolver: Convolver,
}

impl Resampler {
    pub(crate) fn new() -> Self {
        Self {
            convolver: Convolver::new(),
        }
    }

    /// Resamples `frame` as `sampling` says into `out`, which holds `sampling.width` x `sampling.height` pixels.
    pub(crate) fn resample(
        &mut self,
        frame: Frame<'_>,
        sampling: &Sampling,
        filter: Filter,
        out: &mut [u8],
    ) -> Result<(), ImageError> {
        let kernel = match filter.way(sampling) {
            Way::PillowNearest => {
                nearest::resample(frame, sampling, filter.orientation, out);
                return Ok(());
            }
            Way::Weighted(method) => {
                weighted::resample(frame, sampling, method, filter.orientation, out);
                return Ok(());
            }
            Way::Convolved(kernel) => kernel,
        };
        // Sizes come from one plan, so that a failure cannot be the image's fault; but it is no reason to panic.
        self.convolver
            .resample(frame, sampling, kernel, out)
            .map_err(|error| ImageError::Corrupt(error.to_string()))
    }

    pub(crate) fn release_scratch_above(&mut self, limit: usize) {
        self.convolver.release_scratch_above(limit);
    }
}
