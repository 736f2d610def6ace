//! WebP to RGB: lossy, lossless, and the first frame of an animation.

mod tables;

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::{BYTES_PER_PIXEL, size_frame};
use crate::{ImageError, ImageHeader};

/// What the tables of a lossless image take.
pub(super) fn table_bytes(bytes: &[u8], header: &ImageHeader) -> u64 {
    tables::bytes(bytes, header.width, header.height)
}

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(refusal)?;
    if decoder.dimensions() != (header.width, header.height) {
        return Err(ImageError::Corrupt("its sizes contradict each other".into()));
    }
    let pixels = size_frame(frame, header.width, header.height);
    if decoder.has_alpha() {
        return decoder.read_image(pixels.as_flattened_mut()).map_err(refusal);
    }
    // Decoded to the front of the buffer and spread from the back, which never overtakes itself.
    let count = pixels.len();
    decoder.read_image(&mut frame[..count * 3]).map_err(refusal)?;
    for pixel in (0..count).rev() {
        frame.copy_within(pixel * 3..pixel * 3 + 3, pixel * BYTES_PER_PIXEL);
    }
    Ok(())
}

fn refusal(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => ImageError::Truncated,
        DecodingError::BitStreamError => ImageError::Truncated,
        other => ImageError::Corrupt(other.to_string()),
    }
}
