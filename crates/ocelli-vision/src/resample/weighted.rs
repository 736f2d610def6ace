//! Resampling by tables of weights: every row and column is a weighted sum of source pixels, in float32, rounded once.
//!
//! PyTorch's tensors without antialiasing, TensorFlow's `tf.image.resize` and OpenCV's `resize`.

use crate::{
    Orientation,
    geometry::Sampling,
    pixels::BYTES_PER_PIXEL,
    resample::{
        Frame,
        kernels::{Axis, FIXED_ONE, Kernel, Taps},
    },
};

#[derive(Clone, Copy)]
pub(super) struct Method {
    kernel: Kernel,
    /// Weights of 11 bits, as OpenCV's are.
    fixed_point: bool,
    /// Whether halves are rounded up, and not to the nearest even number.
    halves_up: bool,
}

impl Method {
    pub(super) const fn floating(kernel: Kernel) -> Self {
        Self {
            kernel,
            fixed_point: false,
            halves_up: false,
        }
    }

    /// OpenCV's rounding: integers throughout, but for the columns of its cubic filter.
    pub(super) const fn fixed_point(kernel: Kernel) -> Self {
        Self {
            kernel,
            fixed_point: true,
            halves_up: !matches!(kernel, Kernel::Cubic { .. }),
        }
    }

    /// OpenCV's `INTER_AREA` is one where both axes shrink, and like a linear filter elsewhere. Halves of 2 x 2 pixels are
    /// rounded by code of their own.
    pub(super) fn opencv_area(sampling: &Sampling) -> Self {
        let shrinks = |length: f64, count: u32| length >= f64::from(count);
        let source = sampling.source;
        if shrinks(source.width, sampling.width) && shrinks(source.height, sampling.height) {
            let is_half = |length: f64, count: u32| length == 2.0 * f64::from(count);
            Self {
                halves_up: is_half(source.width, sampling.width) && is_half(source.height, sampling.height),
                ..Self::floating(Kernel::Area)
            }
        } else {
            Self::fixed_point(Kernel::AreaGrowing)
        }
    }

    /// Whether OpenCV cuts bits off between its two passes. It does for 8-bit linear filters, so that sums fit into 16 bits.
    fn truncates(self) -> bool {
        self.fixed_point && matches!(self.kernel, Kernel::Linear(_) | Kernel::AreaGrowing)
    }

    fn rounded(self, value: f32) -> u8 {
        let rounded = if self.halves_up {
            (value + 0.5).floor()
        } else {
            value.round_ties_even()
        };
        rounded.clamp(0.0, 255.0) as u8
    }
}

/// Resamples an image that will be turned by `orientation` afterwards: what is not symmetrical is so as it is viewed.
pub(super) fn resample(
    frame: Frame<'_>,
    sampling: &Sampling,
    method: Method,
    orientation: Orientation,
    out: &mut [u8],
) {
    let Sampling { view, source, .. } = *sampling;
    let taps = |start, length, count, view, flipped| {
        axis([start, length], count, view, flipped, method.fixed_point).taps(method.kernel)
    };
    let columns = oriented(orientation.flips_columns(), view.width, |flipped| {
        taps(
            source.left,
            source.width,
            sampling.width,
            [view.left, view.width],
            flipped,
        )
    });
    let rows = oriented(orientation.flips_rows(), view.height, |flipped| {
        taps(
            source.top,
            source.height,
            sampling.height,
            [view.top, view.height],
            flipped,
        )
    });
    if method.truncates() {
        let swapped = orientation.swaps_axes();
        return linear(frame, [view.left, view.top], [&columns, &rows], swapped, out);
    }
    let row_bytes = frame.width as usize * BYTES_PER_PIXEL;
    let (top, left) = (view.top as usize, view.left as usize * BYTES_PER_PIXEL);
    let mut blended = vec![0.0; view.width as usize * BYTES_PER_PIXEL];
    for (out_row, row) in out.chunks_exact_mut(columns.len() * BYTES_PER_PIXEL).zip(rows) {
        blended.fill(0.0);
        for (line, &weight) in (top + row.first..).zip(&row.weights) {
            let line = &frame.pixels[line * row_bytes + left..][..blended.len()];
            for (sum, &byte) in blended.iter_mut().zip(line) {
                *sum += f32::from(byte) * weight;
            }
        }
        let (pixels, _) = blended.as_chunks::<BYTES_PER_PIXEL>();
        let (out_pixels, _) = out_row.as_chunks_mut::<BYTES_PER_PIXEL>();
        for (out, column) in out_pixels.iter_mut().zip(&columns) {
            let mut sums = [0.0; BYTES_PER_PIXEL];
            for (pixel, weight) in pixels[column.first..].iter().zip(&column.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += value * weight;
                }
            }
            *out = sums.map(|sum| method.rounded(sum));
        }
    }
}

/// OpenCV's linear filter (`HResizeLinear` and `VResizeLinear` of `modules/imgproc/src/resize.cpp`): along the viewed rows with
/// sums of 19 bits, of which the lower 4 are cut off; along the viewed columns with products of which the lower 16 are. The
/// viewed rows are the stored columns where the photo will be turned by a right angle.
fn linear(
    frame: Frame<'_>,
    [left, top]: [u32; 2],
    [columns, rows]: [&[Taps]; 2],
    swapped: bool,
    out: &mut [u8],
) {
    let (pixels, _) = frame.pixels.as_chunks::<BYTES_PER_PIXEL>();
    let (out, _) = out.as_chunks_mut::<BYTES_PER_PIXEL>();
    let targets = rows
        .iter()
        .flat_map(|row| columns.iter().map(move |column| (row, column)));
    for (out, (row, column)) in out.iter_mut().zip(targets) {
        let (across, along) = if swapped { (column, row) } else { (row, column) };
        let mut sums = [0_u32; BYTES_PER_PIXEL];
        for (outer, outer_weight) in (across.first..).zip(&across.weights) {
            let mut inner_sums = [0_u32; BYTES_PER_PIXEL];
            for (inner, inner_weight) in (along.first..).zip(&along.weights) {
                let (x, y) = if swapped { (outer, inner) } else { (inner, outer) };
                let pixel = pixels[(y + top as usize) * frame.width as usize + x + left as usize];
                for (sum, byte) in inner_sums.iter_mut().zip(pixel) {
                    *sum += u32::from(byte) * fixed(*inner_weight);
                }
            }
            for (sum, inner) in sums.iter_mut().zip(inner_sums) {
                *sum += (fixed(*outer_weight) * (inner >> 4)) >> 16;
            }
        }
        *out = sums.map(|sum| ((sum + 2) >> 2).min(255) as u8);
    }
}

fn fixed(weight: f32) -> u32 {
    (f64::from(weight) * FIXED_ONE) as u32
}

/// An axis as it is viewed.
fn axis(
    [start, length]: [f64; 2],
    count: u32,
    [view_start, view_length]: [u32; 2],
    flipped: bool,
    fixed_point: bool,
) -> Axis {
    let step = length / f64::from(count);
    let before = start - f64::from(view_start);
    let start = if flipped {
        f64::from(view_length) - before - length
    } else {
        before
    };
    Axis {
        pixels: view_length as usize,
        start,
        step,
        first: (start / step).round() as usize,
        count: count as usize,
        total: (f64::from(view_length) / step).round().max(1.0) as usize,
        fixed_point,
    }
}

/// Taps as they are stored: `viewed` makes them as they are viewed.
fn oriented(flipped: bool, pixels: u32, viewed: impl Fn(bool) -> Vec<Taps>) -> Vec<Taps> {
    let mut taps = viewed(flipped);
    if flipped {
        taps.reverse();
        for taps in &mut taps {
            taps.weights.reverse();
            taps.first = (pixels as usize).saturating_sub(taps.first + taps.weights.len());
        }
    }
    taps
}
