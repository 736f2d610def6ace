//! WebP to RGB: lossy, lossless, and the first frame of an animation.
//!
//! Frames of an animation are taken out of it: the decoder's own animations blend the first frame with nothing, which
//! changes the colours of what is transparent.

mod tables;

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::size_frame;
use crate::pixels::BYTES_PER_PIXEL;
use crate::{ImageError, ImageHeader, header::webp::Picture};

/// What does not grow with the pixels: the tables of a lossless image, and a copy of the file with only its picture.
pub(super) fn fixed_bytes(bytes: &[u8]) -> u64 {
    let Ok(picture) = Picture::read(bytes) else {
        return 0;
    };
    let streams = picture.lossless_streams();
    let tables: u64 = streams
        .map(|stream| tables::of_stream(stream, picture.width, picture.height))
        .sum();
    tables + bytes.len() as u64
}

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let picture = Picture::read(bytes)?;
    let file = if bytes[12..].starts_with(b"VP8X") {
        Cow::Owned(picture.alone())
    } else {
        Cow::Borrowed(bytes)
    };
    let mut decoder = WebPDecoder::new(Cursor::new(&file[..])).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    if (width, height) != (picture.width, picture.height) {
        return Err(ImageError::Corrupt("its sizes contradict each other".into()));
    }
    if picture.fills_canvas() {
        return read_image(&mut decoder, frame);
    }
    let mut pixels = Vec::new();
    read_image(&mut decoder, &mut pixels)?;
    let canvas = size_frame(frame, header.width, header.height);
    canvas.fill([0; BYTES_PER_PIXEL]);
    let rows = canvas
        .chunks_exact_mut(header.width as usize)
        .skip(picture.top as usize);
    let (pixels, _) = pixels.as_chunks();
    for (row, pixels) in rows.zip(pixels.chunks_exact(width as usize)) {
        row[picture.left as usize..][..width as usize].copy_from_slice(pixels);
    }
    Ok(())
}

fn read_image(decoder: &mut WebPDecoder<Cursor<&[u8]>>, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let (width, height) = decoder.dimensions();
    let pixels = size_frame(frame, width, height);
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
