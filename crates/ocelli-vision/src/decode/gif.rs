//! The first frame of a GIF to RGB, on the logical screen.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::size_frame;
use crate::{ImageError, ImageHeader, header::gif::first_frame};

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
        .next_frame_info()
        .map_err(refusal)?
        .ok_or(ImageError::Truncated)?;
    let (left, top) = (usize::from(first.left), usize::from(first.top));
    let (width, height) = (usize::from(first.width), usize::from(first.height));
    let transparent = first_frame(bytes).and_then(|frame| frame.transparent);
    let background = transparent.unwrap_or(0);
    if left + width > header.width as usize || top + height > header.height as usize {
        return Err(ImageError::Corrupt(
            "its first frame lies outside the image".into(),
        ));
    }
    let palette = palette(decoder.palette().map_err(refusal)?);
    let mut indices = vec![0; width * height];
    decoder.read_into_buffer(&mut indices).map_err(refusal)?;

    let canvas = size_frame(frame, header.width, header.height);
    // Pillow's screen holds the transparent index where the frame does not reach, and index 0 without one.
    canvas.fill(palette[usize::from(background)]);
    let rows = canvas.chunks_exact_mut(header.width as usize).skip(top);
    for (row, indices) in rows.zip(indices.chunks_exact(width.max(1))) {
        for (pixel, &index) in row[left..left + width].iter_mut().zip(indices) {
            *pixel = palette[usize::from(index)];
        }
    }
    Ok(())
}

/// Indices beyond the file's palette are black, or greys where its colours are those, too.
fn palette(colours: &[u8]) -> Palette {
    let greys: Palette = std::array::from_fn(|index| [index as u8; 4]);
    let colours = colours.as_chunks::<3>().0;
    if colours
        .iter()
        .zip(&greys)
        .all(|(colour, grey)| colour == &grey[..3])
    {
        return greys;
    }
    let mut palette = [[0; 4]; 256];
    for (entry, &[r, g, b]) in palette.iter_mut().zip(colours) {
        *entry = [r, g, b, 0];
    }
    palette
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
