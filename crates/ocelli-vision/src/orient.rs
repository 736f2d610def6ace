//! Turning and placing the small result.

use crate::{Orientation, geometry::Sampling};

/// Copies `result`, resampled as stored (`sampling.width` x `sampling.height`), to its viewed place on a
/// `canvas` of packed RGB that is `canvas_width` wide.
pub(crate) fn place(
    result: &[u8],
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
    let (source, _) = result.as_chunks::<3>();
    let (target, _) = canvas.as_chunks_mut::<3>();
    let rows = target
        .chunks_exact_mut(canvas_width as usize)
        .skip(sampling.top as usize)
        .take(height);
    for (y, row) in rows.enumerate() {
        let row = &mut row[sampling.left as usize..][..width];
        for (x, pixel) in row.iter_mut().enumerate() {
            let (column, line) = if swaps { (y, x) } else { (x, y) };
            let column = if orientation.flips_columns() {
                stored_width - 1 - column
            } else {
                column
            };
            let line = if orientation.flips_rows() {
                stored_height - 1 - line
            } else {
                line
            };
            *pixel = source[line * stored_width + column];
        }
    }
}
