//! Resampling packed RGB, equal to Pillow's.
//!
//! Owns the choice between three implementations and nothing of where the pixels come from or go to.
//! `fast_image_resize` has Pillow's convolution with SIMD; nearest and the filters of fixed width are here, because
//! its nearest can read beyond the image and its fixed-width filters treat edges in their own way.

mod fixed;
mod nearest;

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedCroppedImage, TypedImage, TypedImageRef},
    pixels::U8x3,
};

use crate::{
    ImageError, Interpolation, Orientation,
    geometry::{Sampling, SourceBox},
};

/// Packed RGB pixels, row by row.
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

/// Resamples `frame` as `sampling` says into `out`, which holds `sampling.width` x `sampling.height` pixels.
pub(crate) fn resample(
    resizer: &mut Resizer,
    frame: Frame<'_>,
    sampling: &Sampling,
    filter: Filter,
    out: &mut [u8],
) -> Result<(), ImageError> {
    let widening = match (filter.interpolation, filter.antialias) {
        (Interpolation::Nearest, _) => {
            nearest::resample(frame, sampling, filter.orientation, out);
            return Ok(());
        }
        (Interpolation::Bilinear, true) => FilterType::Bilinear,
        (Interpolation::Bicubic, true) => FilterType::CatmullRom,
        (Interpolation::Lanczos, true) => FilterType::Lanczos3,
        (Interpolation::Bilinear, false) => {
            fixed::resample(frame, sampling, fixed::Kernel::Bilinear, out);
            return Ok(());
        }
        (Interpolation::Bicubic | Interpolation::Lanczos, false) => {
            fixed::resample(frame, sampling, fixed::Kernel::Bicubic, out);
            return Ok(());
        }
    };
    convolve(resizer, frame, sampling, widening, out).map_err(|error| ImageError::Corrupt(error.to_string()))
}

fn convolve(
    resizer: &mut Resizer,
    frame: Frame<'_>,
    sampling: &Sampling,
    kind: FilterType,
    out: &mut [u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let view = sampling.view;
    let image = TypedImageRef::<U8x3>::from_buffer(frame.width, frame.height, frame.pixels)?;
    let image = TypedCroppedImage::from_ref(&image, view.left, view.top, view.width, view.height)?;
    let mut result = TypedImage::<U8x3>::from_buffer(sampling.width, sampling.height, out)?;
    let SourceBox {
        left,
        top,
        width,
        height,
    } = source_in_view(sampling);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(kind))
        .crop(left, top, width, height)
        .use_alpha(false);
    resizer.resize_typed(&image, &mut result, &options)?;
    Ok(())
}

/// The source in coordinates of the view, kept inside it: a sum of rounded numbers may end a hair beyond.
fn source_in_view(sampling: &Sampling) -> SourceBox {
    let axis = |start: f64, length: f64, view_start: u32, view_length: u32| {
        let limit = f64::from(view_length);
        let start = (start - f64::from(view_start)).clamp(0.0, limit);
        let mut length = length.min(limit - start);
        if start + length > limit {
            length = length.next_down();
        }
        (start, length)
    };
    let Sampling { source, view, .. } = sampling;
    let (left, width) = axis(source.left, source.width, view.left, view.width);
    let (top, height) = axis(source.top, source.height, view.top, view.height);
    SourceBox {
        left,
        top,
        width,
        height,
    }
}
