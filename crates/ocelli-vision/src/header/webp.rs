//! WebP: the three kinds of first chunk, and the EXIF chunk of the extended form.

use super::{ImageFormat, ImageHeader, Orientation, Storage, bytes, exif};
use crate::ImageError;

const RIFF_BYTES: usize = 12;
/// Where the first chunk's data begin, behind its type and length.
const BODY: usize = RIFF_BYTES + 8;

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    // The length counts what follows it. Bytes behind that are ignored, as libwebp ignores them.
    let announced = bytes::le32(file, 4).ok_or(ImageError::Truncated)? as usize;
    let first = bytes::le32(file, RIFF_BYTES + 4).ok_or(ImageError::Truncated)? as usize;
    if announced > file.len() - 8 || first > announced.saturating_sub(BODY - 8) {
        return Err(ImageError::Truncated);
    }
    let kind = file
        .get(RIFF_BYTES..RIFF_BYTES + 4)
        .ok_or(ImageError::Truncated)?;
    // What the decoder holds: the planes of a lossy image (1.5); the ARGB form of a lossless one (4) and, in all, a pixel for
    // each block of 16 (0.9).
    let (size, extra_bytes_per_pixel) = match kind {
        b"VP8 " => (lossy(file), 2),
        b"VP8L" => (lossless(file), 5),
        b"VP8X" => (extended(file), extended_bytes(file)),
        _ => {
            return Err(ImageError::Corrupt(
                "the WebP does not begin with an image".into(),
            ));
        }
    };
    let (width, height) = size.ok_or(ImageError::Truncated)?;
    Ok(ImageHeader {
        format: ImageFormat::WebP,
        width,
        height,
        orientation: orientation(file).unwrap_or(Orientation::Upright),
        storage: Storage {
            extra_bytes_per_pixel,
            ..Storage::default()
        },
    })
}

fn extended_bytes(file: &[u8]) -> u8 {
    const ANIMATION: u8 = 0x02;
    const ALPHA: u8 = 0x10;
    match file.get(BODY).copied().unwrap_or_default() {
        // A canvas and a frame of RGBA.
        flags if flags & ANIMATION != 0 => 8,
        // Planes, and alpha in its ARGB form and alone.
        flags if flags & ALPHA != 0 => 8,
        _ => 5,
    }
}

/// A VP8 key frame (RFC 6386, 9.1): 14 bits each, the other two are a scale that no decoder applies.
fn lossy(file: &[u8]) -> Option<(u32, u32)> {
    let (width, height) = (bytes::le16(file, BODY + 6)?, bytes::le16(file, BODY + 8)?);
    Some((u32::from(width & 0x3FFF), u32::from(height & 0x3FFF)))
}

/// A VP8L header: a signature byte, then 14 bits each, less one.
fn lossless(file: &[u8]) -> Option<(u32, u32)> {
    let bits = bytes::le32(file, BODY + 1)?;
    Some(((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
}

/// The canvas of a VP8X header: 24 bits each, less one.
fn extended(file: &[u8]) -> Option<(u32, u32)> {
    Some((bytes::le24(file, BODY + 4)? + 1, bytes::le24(file, BODY + 7)? + 1))
}

fn orientation(file: &[u8]) -> Option<Orientation> {
    let mut at = RIFF_BYTES;
    loop {
        let length = bytes::le32(file, at + 4)? as usize;
        let body = at.checked_add(8)?;
        let end = body.checked_add(length)?;
        if file.get(at..at + 4)? == b"EXIF" {
            return exif::orientation(file.get(body..end)?);
        }
        // Chunks are padded to an even length.
        at = end.checked_add(length & 1)?;
    }
}
