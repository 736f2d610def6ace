//! Pillow's convolution (`Resample.c`) through `fast_image_resize`: filters that widen when they shrink.

use std::error::Error;

use fast_image_resize::{
    FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedCroppedImage, TypedImage, TypedImageRef},
    pixels::U8x4,
};

use crate::{
    geometry::{Region, Sampling, SourceBox},
    pixels::BYTES_PER_PIXEL,
    resample::Frame,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A filter and how far it reaches, in target pixels where it shrinks and in source pixels where it does not.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    kind: FilterType,
    support: f64,
}

impl Kernel {
    pub(super) const BOX: Self = Self {
        kind: FilterType::Box,
        support: 0.5,
    };
    pub(super) const HAMMING: Self = Self {
        kind: FilterType::Hamming,
        support: 1.0,
    };
    pub(super) const BILINEAR: Self = Self {
        kind: FilterType::Bilinear,
        support: 1.0,
    };
    pub(super) const BICUBIC: Self = Self {
        kind: FilterType::CatmullRom,
        support: 2.0,
    };
    pub(super) const LANCZOS: Self = Self {
        kind: FilterType::Lanczos3,
        support: 3.0,
    };

    /// First row and number of rows of the view that the vertical pass reads, and at most a few more.
    fn rows(self, sampling: &Sampling) -> (u32, u32) {
        let SourceBox { top, height, .. } = source_in_view(sampling);
        let step = height / f64::from(sampling.height);
        let reach = self.support * step.max(1.0) + 1.0;
        let first = (top + 0.5 * step - reach).max(0.0) as u32;
        let end = (top + height - 0.5 * step + reach).ceil() as u32;
        (first, end.min(sampling.view.height) - first)
    }
}

pub(super) struct Convolver {
    resizer: Resizer,
    between: Vec<u8>,
}

impl Convolver {
    pub(super) fn new() -> Self {
        Self {
            resizer: Resizer::new(),
            between: Vec::new(),
        }
    }

    /// In the order of passes that the sampling asks for.
    pub(super) fn resample(
        &mut self,
        frame: Frame<'_>,
        sampling: &Sampling,
        kernel: Kernel,
        out: &mut [u8],
    ) -> Result<()> {
        let image = TypedImageRef::<U8x4>::from_buffer(frame.width, frame.height, frame.pixels)?;
        let Region {
            left,
            top,
            width,
            height,
        } = sampling.view;
        let view = TypedCroppedImage::from_ref(&image, left, top, width, height)?;
        let out = TypedImage::<U8x4>::from_buffer(sampling.width, sampling.height, out)?;
        if sampling.vertical_first {
            // The library's own order is vertical first.
            self.convolve(&view, source_in_view(sampling), kernel, out)
        } else {
            self.horizontal_first(&view, sampling, kernel, out)
        }
    }

    /// In two steps that have one pass each.
    fn horizontal_first(
        &mut self,
        view: &impl ImageView<Pixel = U8x4>,
        sampling: &Sampling,
        kernel: Kernel,
        out: TypedImage<'_, U8x4>,
    ) -> Result<()> {
        let (first, rows) = kernel.rows(sampling);
        let source = source_in_view(sampling);
        let lines = SourceBox {
            top: first.into(),
            height: rows.into(),
            ..source
        };
        let columns = SourceBox {
            left: 0.0,
            top: source.top - f64::from(first),
            width: sampling.width.into(),
            height: source.height,
        };
        let mut between = std::mem::take(&mut self.between);
        between.resize(sampling.width as usize * rows as usize * BYTES_PER_PIXEL, 0);
        let target = TypedImage::<U8x4>::from_buffer(sampling.width, rows, &mut between)?;
        self.convolve(view, lines, kernel, target)?;
        let image = TypedImageRef::<U8x4>::from_buffer(sampling.width, rows, &between)?;
        self.convolve(&image, columns, kernel, out)?;
        self.between = between;
        Ok(())
    }

    fn convolve(
        &mut self,
        image: &impl ImageView<Pixel = U8x4>,
        source: SourceBox,
        kernel: Kernel,
        mut target: TypedImage<'_, U8x4>,
    ) -> Result<()> {
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(kernel.kind))
            .crop(source.left, source.top, source.width, source.height)
            .use_alpha(false);
        Ok(self.resizer.resize_typed(image, &mut target, &options)?)
    }

    pub(super) fn release_scratch_above(&mut self, limit: usize) {
        if self.between.capacity() > limit {
            self.between = Vec::new();
        }
        if self.resizer.size_of_internal_buffers() > limit {
            self.resizer.reset_internal_buffers();
        }
    }
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
