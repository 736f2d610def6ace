//! Turning and placing the small result.

use crate::{Orientation, geometry::Sampling, pixels::BYTES_PER_PIXEL};

/// Copies `result`, resampled as stored (`sampling.width` x `sampling.height`), to its viewed place on a `canvas`
/// of packed RGB that is `canvas_width` wide.
pub(crate) fn place(
    result: &[[u8; BYTES_PER_PIXEL]],
    sampling: &Sampling,
    orientation: Orientation,
    canvas: &mut [u8],
    canvas_width: u32,
) {
    let (stored_width, stored_height) = (sampling.width as usize, sampling.height as usize);
    let swaps = orientation.swaps_axes();
    let (width, height) = if swaps {
        (stored_height, stored_width)
    } else {
        (stored_width, stored_height)
    };
    let (target, _) = canvas.as_chunks_mut::<3>();
    let lines = target
        .chunks_exact_mut(canvas_width as usize)
        .skip(sampling.top as usize)
        .take(height);
    let left = sampling.left as usize;
    let lines = lines.map(|line| &mut line[left..left + width]);
    if orientation == Orientation::Upright {
        for (line, source) in lines.zip(result.chunks_exact(width)) {
            for (pixel, &[r, g, b, _]) in line.iter_mut().zip(source) {
                *pixel = [r, g, b];
            }
        }
        return;
    }
    for (y, line) in lines.enumerate() {
        for (x, pixel) in line.iter_mut().enumerate() {
            let (column, row) = if swaps { (y, x) } else { (x, y) };
            let column = if orientation.flips_columns() {
                stored_width - 1 - column
            } else {
                column
            };
            let row = if orientation.flips_rows() {
                stored_height - 1 - row
            } else {
                row
            };
            let [r, g, b, _] = result[row * stored_width + column];
            *pixel = [r, g, b];
        }
    }
}
