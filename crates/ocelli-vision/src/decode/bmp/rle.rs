//! BMP's run-length coding of 4 and 8 bit indices, as Pillow reads it: a stream of pixels whose rows only matter to runs,
//! which end with theirs.

use crate::{
    ImageError,
    header::bmp::{Bitmap, RLE4},
};

/// The indices of all pixels, one byte each, in the order of the file.
pub(super) fn decode(bytes: &[u8], bitmap: &Bitmap) -> Result<Vec<u8>, ImageError> {
    let width = bitmap.width as usize;
    let nibbles = bitmap.compression == RLE4;
    let pixels = width * bitmap.height as usize;
    let mut indices = Vec::with_capacity(pixels);
    // Where the next run begins in its row. It may lie behind the row's end, after literals that went on in the next one.
    let mut x = 0;
    let mut at = bitmap.pixels;
    while indices.len() < pixels {
        let [count, value] = pair(bytes, &mut at)?;
        match (count, value) {
            (0, 0) => {
                indices.resize(indices.len().next_multiple_of(width), 0);
                x = 0;
            }
            (0, 1) => break,
            (0, 2) => {
                let [right, up] = pair(bytes, &mut at)?;
                let skipped = usize::from(right) + usize::from(up) * width;
                indices.resize((indices.len() + skipped).min(pixels), 0);
                x = indices.len() % width;
            }
            (0, literals) => {
                let count = usize::from(literals).min(pixels - indices.len());
                let stored = if nibbles { count.div_ceil(2) } else { count };
                let row = bytes.get(at..at + stored).ok_or(ImageError::Truncated)?;
                indices.extend(
                    (0..count)
                        .map(|place| index(nibbles, row[if nibbles { place / 2 } else { place }], place)),
                );
                x += usize::from(literals);
                // Literals fill whole 16-bit words of the file.
                at = (at + stored).next_multiple_of(2);
            }
            (run, value) => {
                let run = usize::from(run).min(width.saturating_sub(x));
                let run = run.min(pixels - indices.len());
                indices.extend((0..run).map(|place| index(nibbles, value, place)));
                x += run;
            }
        }
    }
    if indices.len() < pixels {
        return Err(ImageError::Truncated);
    }
    Ok(indices)
}

fn pair(bytes: &[u8], at: &mut usize) -> Result<[u8; 2], ImageError> {
    let pair = bytes.get(*at..).and_then(<[u8]>::first_chunk);
    *at += 2;
    pair.copied().ok_or(ImageError::Truncated)
}

/// The index at an even or odd place: a byte holds two of 4 bits, the upper first.
fn index(nibbles: bool, byte: u8, place: usize) -> u8 {
    match (nibbles, place % 2) {
        (false, _) => byte,
        (true, 0) => byte >> 4,
        (true, _) => byte & 0x0F,
    }
}
