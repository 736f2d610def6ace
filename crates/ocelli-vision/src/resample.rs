//! Resampling, equal to Pillow's.
//!
//! Owns the choice between three implementations and nothing of where the pixels come from or go to.
//! `fast_image_resize` has Pillow's convolution with SIMD; nearest and the filters of fixed width are here, because
//! its nearest can read beyond the image and its fixed-width filters treat edges in their own way.

mod convolve;
mod fixed;
mod nearest;

use crate::{ImageError, Interpolation, Orientation, geometry::Sampling};

use convolve::{Convolver, Kernel};

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
    pub(crate) antialias: bool,
    pub(crate) orientation: Orientation,
}

/// Resamples and keeps its scratch buffers.
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
        let kernel = match (filter.interpolation, filter.antialias) {
            (Interpolation::Nearest, _) => {
                nearest::resample(frame, sampling, filter.orientation, out);
                return Ok(());
            }
            (Interpolation::Bilinear, false) => {
                fixed::resample(frame, sampling, fixed::Kernel::Bilinear, out);
                return Ok(());
            }
            (Interpolation::Bicubic | Interpolation::Lanczos, false) => {
                fixed::resample(frame, sampling, fixed::Kernel::Bicubic, out);
                return Ok(());
            }
            (Interpolation::Bilinear, true) => Kernel::BILINEAR,
            (Interpolation::Bicubic, true) => Kernel::BICUBIC,
            (Interpolation::Lanczos, true) => Kernel::LANCZOS,
        };
        // Sizes come from one plan, so that a failure cannot be the image's fault; but it is no reason to panic.
        self.convolver
            .resample(frame, sampling, kernel, filter.orientation, out)
            .map_err(|error| ImageError::Corrupt(error.to_string()))
    }

    pub(crate) fn release_scratch_above(&mut self, limit: usize) {
        self.convolver.release_scratch_above(limit);
    }
}
