//! PNG to RGB: greys and palettes expanded, 16 bits a channel cut to the upper 8, alpha dropped.

use std::io::{Cursor, ErrorKind};

use png::{ColorType, DecodeOptions, DecodingError, Reader, Transformations};

use super::size_frame;
use crate::{ImageError, ImageHeader};

/// What the decoder may allocate for itself; it needs a few rows, of at most 65,535 x 8 bytes.
const MAX_INTERNAL_BYTES: usize = 16 << 20;

/// What does not grow with the pixels: a chunk in a buffer that grows by doubling.
pub(super) fn fixed_bytes(bytes: &[u8]) -> u64 {
    bytes.len().min(MAX_INTERNAL_BYTES) as u64
}

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let mut options = DecodeOptions::default();
    // As Pillow: whatever is damaged before the image makes the file suspect.
    options.set_skip_ancillary_crc_failures(false);
    // Compressed texts and profiles would be unpacked for nothing.
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(png::Limits {
        bytes: MAX_INTERNAL_BYTES,
    });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(refusal)?;
    let frame = size_frame(frame, header.width, header.height);
    if reader.info().interlaced {
        return decode_interlaced(&mut reader, frame);
    }
    let channels = reader.output_color_type().0;
    for out in frame.chunks_exact_mut(header.width as usize) {
        if channels == ColorType::Rgba {
            let row = reader.read_row(out.as_flattened_mut()).map_err(refusal)?;
            row.ok_or(ImageError::Truncated)?;
        } else {
            let row = reader.next_row().map_err(refusal)?.ok_or(ImageError::Truncated)?;
            expand(row.data(), channels, out);
        }
    }
    // Compares the last checksum. Pillow needs nothing behind the pixels.
    match reader.next_row().map_err(refusal) {
        Err(ImageError::Truncated) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Rows of an interlaced image come in seven passes: the image is there when all of it is.
fn decode_interlaced(reader: &mut Reader<Cursor<&[u8]>>, frame: &mut [[u8; 4]]) -> Result<(), ImageError> {
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| ImageError::Corrupt("its size overflows".into()))?;
    let mut expanded = vec![0; size];
    let info = reader.next_frame(&mut expanded).map_err(refusal)?;
    expand(&expanded, info.color_type, frame);
    Ok(())
}

/// As Pillow's `convert("RGB")`: alpha is dropped, whatever colour it hid.
fn expand(source: &[u8], channels: ColorType, out: &mut [[u8; 4]]) {
    match channels {
        ColorType::Grayscale | ColorType::Indexed => {
            for (out, &grey) in out.iter_mut().zip(source) {
                *out = [grey; 4];
            }
        }
        ColorType::GrayscaleAlpha => {
            for (out, &[grey, alpha]) in out.iter_mut().zip(source.as_chunks().0) {
                *out = [grey, grey, grey, alpha];
            }
        }
        ColorType::Rgb => {
            for (out, &[r, g, b]) in out.iter_mut().zip(source.as_chunks().0) {
                *out = [r, g, b, 0];
            }
        }
        ColorType::Rgba => out.as_flattened_mut().copy_from_slice(source),
    }
}

fn refusal(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => ImageError::Truncated,
        other => ImageError::Corrupt(other.to_string()),
    }
}
