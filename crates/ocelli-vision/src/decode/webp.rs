//! WebP to RGB: lossy, lossless, and the first frame of an animation.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::size_frame;
use crate::{ImageError, ImageHeader};

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(refusal)?;
    if decoder.dimensions() != (header.width, header.height) {
        return Err(ImageError::Corrupt("its sizes contradict each other".into()));
    }
    let pixels = size_frame(frame, header.width, header.height);
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    frame.resize(pixels * channels, 0);
    decoder.read_image(frame).map_err(refusal)?;
    if channels == 4 {
        for pixel in 0..pixels {
            frame.copy_within(pixel * 4..pixel * 4 + 3, pixel * 3);
        }
        frame.truncate(pixels * 3);
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
