//! Interpolation that does not widen when it shrinks, as torch's `interpolate(..., antialias=False)`
//! (`align_corners=False`): bilinear reads 2 pixels per axis, bicubic 4 with a = -0.75; beyond an edge, the edge's
//! pixel repeats. Computed in float32, rounded once, halves to even, as torchvision does for 8-bit tensors.

use crate::{decode::BYTES_PER_PIXEL, geometry::Sampling, resample::Frame};

#[derive(Clone, Copy)]
pub(super) enum Kernel {
    Bilinear,
    Bicubic,
}

/// Up to four source positions of one target position, with their weights.
struct Taps {
    positions: [usize; 4],
    weights: [f32; 4],
}

pub(super) fn resample(frame: Frame<'_>, sampling: &Sampling, kernel: Kernel, out: &mut [u8]) {
    let Sampling { view, source, .. } = *sampling;
    let columns = taps(
        kernel,
        source.left,
        source.width,
        sampling.width,
        view.left,
        view.width,
    );
    let rows = taps(
        kernel,
        source.top,
        source.height,
        sampling.height,
        view.top,
        view.height,
    );
    let row_bytes = frame.width as usize * BYTES_PER_PIXEL;
    let mut blended = vec![0.0; row_bytes];
    for (out_row, row) in out.chunks_exact_mut(columns.len() * BYTES_PER_PIXEL).zip(rows) {
        let line = |tap: usize| &frame.pixels[row.positions[tap] * row_bytes..][..row_bytes];
        let lines = line(0).iter().zip(line(1)).zip(line(2)).zip(line(3));
        for (sum, (((&a, &b), &c), &d)) in blended.iter_mut().zip(lines) {
            let [wa, wb, wc, wd] = row.weights;
            *sum = f32::from(a) * wa + f32::from(b) * wb + f32::from(c) * wc + f32::from(d) * wd;
        }
        let (pixels, _) = blended.as_chunks::<BYTES_PER_PIXEL>();
        let (out_pixels, _) = out_row.as_chunks_mut::<BYTES_PER_PIXEL>();
        for (out, column) in out_pixels.iter_mut().zip(&columns) {
            *out = [0, 1, 2, 3].map(|channel| {
                let taps = column.positions.iter().zip(&column.weights);
                let sum: f32 = taps
                    .map(|(&position, weight)| pixels[position][channel] * weight)
                    .sum();
                sum.round_ties_even().clamp(0.0, 255.0) as u8
            });
        }
    }
}

fn taps(kernel: Kernel, start: f64, length: f64, count: u32, view_start: u32, view_length: u32) -> Vec<Taps> {
    let step = length / f64::from(count);
    let (first, last) = (i64::from(view_start), i64::from(view_start + view_length) - 1);
    (0..count)
        .map(|index| {
            let centre = start + (f64::from(index) + 0.5) * step - 0.5;
            let below = centre.floor();
            let fraction = (centre - below) as f32;
            let position = |offset: i64| (below as i64 + offset).clamp(first, last) as usize;
            Taps {
                positions: [-1, 0, 1, 2].map(position),
                weights: kernel.weights(fraction),
            }
        })
        .collect()
}

impl Kernel {
    /// Weights of the pixels at -1, 0, 1 and 2 from the one below the centre, which is `t` beyond it.
    fn weights(self, t: f32) -> [f32; 4] {
        match self {
            Self::Bilinear => [0.0, 1.0 - t, t, 0.0],
            Self::Bicubic => [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)],
        }
    }
}

const A: f32 = -0.75;

/// Keys' cubic for a distance up to 1.
fn inner(x: f32) -> f32 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// Keys' cubic for a distance from 1 to 2.
fn outer(x: f32) -> f32 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}
