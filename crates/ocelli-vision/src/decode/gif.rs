//! The first frame of a GIF to RGB, on the logical screen.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::size_frame;
use crate::{ImageError, ImageHeader};

type Palette = [[u8; 4]; 256];

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let pixels = u64::from(header.width) * u64::from(header.height);
    if let Some(limit) = NonZeroU64::new(pixels) {
        options.set_memory_limit(MemoryLimit::Bytes(limit));
    }
    let mut decoder = options.read_info(bytes).map_err(refusal)?;
    let first = decoder
        .read_next_frame()
        .map_err(refusal)?
        .ok_or(ImageError::Truncated)?
        .clone();
    let palette = palette(decoder.palette().map_err(refusal)?);
    let canvas = size_frame(frame, header.width, header.height);

    // Pillow's screen holds the transparent index where the frame does not reach, and index 0 without one.
    let background = palette[usize::from(first.transparent.unwrap_or(0))];
    canvas.fill(background);
    let (left, width) = (usize::from(first.left), usize::from(first.width));
    if width == 0 {
        return Ok(());
    }
    let rows = canvas
        .chunks_exact_mut(header.width as usize)
        .skip(usize::from(first.top));
    for (row, indices) in rows.zip(first.buffer.chunks_exact(width)) {
        let out = row.get_mut(left..left + width).ok_or_else(outside)?;
        for (pixel, &index) in out.iter_mut().zip(indices) {
            *pixel = palette[usize::from(index)];
        }
    }
    Ok(())
}

/// Indices beyond the file's palette are the greys of the palette that Pillow begins with.
fn palette(colours: &[u8]) -> Palette {
    let mut palette = std::array::from_fn(|index| [index as u8; 4]);
    for (entry, &[r, g, b]) in palette.iter_mut().zip(colours.as_chunks().0) {
        *entry = [r, g, b, 0];
    }
    palette
}

fn outside() -> ImageError {
    ImageError::Corrupt("its first frame lies outside the image".into())
}

fn refusal(error: DecodingError) -> ImageError {
    match error {
        DecodingError::UnexpectedEof => ImageError::Truncated,
        DecodingError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated
        }
        other => ImageError::Corrupt(other.to_string()),
    }
}
