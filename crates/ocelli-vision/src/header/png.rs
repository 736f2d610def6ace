//! PNG: IHDR, and the chunks up to the end in search of eXIf.

use super::{ImageFormat, ImageHeader, Orientation, Storage, bytes, exif};
use crate::ImageError;

const SIGNATURE_BYTES: usize = 8;
/// Length, type and checksum.
const CHUNK_OVERHEAD: usize = 12;

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    let at = SIGNATURE_BYTES;
    let (Some(width), Some(height)) = (bytes::be32(file, at + 8), bytes::be32(file, at + 12)) else {
        return Err(ImageError::Truncated);
    };
    if file.get(at + 4..at + 8) != Some(b"IHDR") {
        return Err(ImageError::Corrupt(
            "the PNG does not begin with its header".into(),
        ));
    }
    let interlaced = file.get(at + 20).copied().ok_or(ImageError::Truncated)? != 0;
    let extra_bytes_per_pixel = if interlaced {
        bytes_per_pixel(file[at + 17])
    } else {
        0
    };
    Ok(ImageHeader {
        format: ImageFormat::Png,
        width,
        height,
        orientation: chunks(file).find_map(exif_chunk).unwrap_or(Orientation::Upright),
        storage: Storage {
            extra_bytes_per_pixel,
            ..Storage::default()
        },
    })
}

/// An interlaced image is expanded as a whole, to 8 bits a channel with room for alpha.
fn bytes_per_pixel(colour_type: u8) -> u8 {
    match colour_type {
        0 | 4 => 2,
        _ => 4,
    }
}

fn exif_chunk((kind, body): (&[u8], &[u8])) -> Option<Orientation> {
    (kind == b"eXIf").then(|| exif::orientation(body))?
}

/// The type and data of each whole chunk.
fn chunks(file: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = SIGNATURE_BYTES;
    std::iter::from_fn(move || {
        let length = bytes::be32(file, at)? as usize;
        let kind = file.get(at + 4..at + 8)?;
        let body = file.get(at + 8..(at + 8).checked_add(length)?)?;
        at = at.checked_add(length)?.checked_add(CHUNK_OVERHEAD)?;
        Some((kind, body))
    })
}
