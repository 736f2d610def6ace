//! BMP's run-length coding of 4 and 8 bit indices.

use super::{Layout, RLE4};
use crate::ImageError;

/// The indices of all pixels, one byte each, in the order of the file.
pub(super) fn decode(bytes: &[u8], layout: &Layout) -> Result<Vec<u8>, ImageError> {
    let data = bytes.get(layout.data..).ok_or(ImageError::Truncated)?;
    let mut canvas = Canvas {
        indices: vec![0; layout.width * layout.height],
        width: layout.width,
        height: layout.height,
        x: 0,
        y: 0,
    };
    let nibbles = layout.compression == RLE4;
    let mut at = 0;
    while canvas.y < canvas.height {
        let &[count, value] = data
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(ImageError::Truncated)?;
        at += 2;
        match (count, value) {
            (0, 0) => canvas.move_to(0, canvas.y + 1),
            (0, 1) => break,
            (0, 2) => {
                let &[right, up] = data
                    .get(at..)
                    .and_then(<[u8]>::first_chunk)
                    .ok_or(ImageError::Truncated)?;
                at += 2;
                canvas.move_to(canvas.x + usize::from(right), canvas.y + usize::from(up));
            }
            (0, literal) => {
                let length = usize::from(literal);
                let stored = if nibbles { length.div_ceil(2) } else { length };
                let row = data.get(at..at + stored).ok_or(ImageError::Truncated)?;
                for index in 0..length {
                    canvas.put(pixel(
                        nibbles,
                        row[if nibbles { index / 2 } else { index }],
                        index,
                    ));
                }
                // Literals fill whole 16-bit words.
                at += stored.next_multiple_of(2);
            }
            (run, value) => (0..usize::from(run)).for_each(|index| canvas.put(pixel(nibbles, value, index))),
        }
    }
    Ok(canvas.indices)
}

/// The index at an even or odd place: a byte holds two of 4 bits, the upper first.
fn pixel(nibbles: bool, byte: u8, index: usize) -> u8 {
    match (nibbles, index % 2) {
        (false, _) => byte,
        (true, 0) => byte >> 4,
        (true, _) => byte & 0x0F,
    }
}

struct Canvas {
    indices: Vec<u8>,
    width: usize,
    height: usize,
    x: usize,
    y: usize,
}

impl Canvas {
    fn move_to(&mut self, x: usize, y: usize) {
        (self.x, self.y) = (x, y);
    }

    /// Pixels beyond the end of a row are dropped, as Pillow does.
    fn put(&mut self, index: u8) {
        if self.x < self.width && self.y < self.height {
            self.indices[self.y * self.width + self.x] = index;
            self.x += 1;
        }
    }
}
