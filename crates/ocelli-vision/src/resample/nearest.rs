//! Pillow's `NEAREST`: each target pixel is the source pixel under its centre.

use crate::{Orientation, geometry::Sampling, pixels::BYTES_PER_PIXEL, resample::Frame};

/// The other filters are symmetrical, so that an image may be turned after them. Here a centre between two pixels
/// belongs to the right one (or lower one) as it is *viewed*: hence `orientation`.
pub(super) fn resample(frame: Frame<'_>, sampling: &Sampling, orientation: Orientation, out: &mut [u8]) {
    let Sampling { view, source, .. } = *sampling;
    let columns = Axis {
        start: source.left,
        length: source.width,
        first: view.left,
        count: view.width,
    }
    .positions(sampling.width, orientation.flips_columns());
    let rows = Axis {
        start: source.top,
        length: source.height,
        first: view.top,
        count: view.height,
    }
    .positions(sampling.height, orientation.flips_rows());
    let row_bytes = frame.width as usize * BYTES_PER_PIXEL;
    for (out_row, row) in out.chunks_exact_mut(columns.len() * BYTES_PER_PIXEL).zip(rows) {
        let (pixels, _) = frame.pixels[row * row_bytes..][..row_bytes].as_chunks::<BYTES_PER_PIXEL>();
        let (out_pixels, _) = out_row.as_chunks_mut::<BYTES_PER_PIXEL>();
        for (out, &column) in out_pixels.iter_mut().zip(&columns) {
            *out = pixels[column];
        }
    }
}

/// One axis of the source box, and of the pixels that may be read.
struct Axis {
    start: f64,
    length: f64,
    first: u32,
    count: u32,
}

impl Axis {
    fn positions(&self, targets: u32, flipped: bool) -> Vec<usize> {
        let (first, count) = (self.first as usize, self.count as usize);
        let offset = self.start - f64::from(self.first);
        if flipped {
            let offset = f64::from(self.count) - offset - self.length;
            let mut positions = self.centres(offset, targets);
            positions.reverse();
            positions
                .iter()
                .map(|position| first + count - 1 - position)
                .collect()
        } else {
            self.centres(offset, targets)
                .iter()
                .map(|position| first + position)
                .collect()
        }
    }

    /// `ImagingScaleAffine` in `Geometry.c`, which adds up the steps; the sums decide where a centre meets an edge.
    fn centres(&self, offset: f64, targets: u32) -> Vec<usize> {
        let step = self.length / f64::from(targets);
        let last = self.count as usize - 1;
        let mut centre = offset + step * 0.5;
        let mut next = || {
            let position = (centre.max(0.0) as usize).min(last);
            centre += step;
            position
        };
        (0..targets).map(|_| next()).collect()
    }
}
