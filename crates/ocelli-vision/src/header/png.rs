//! PNG: IHDR, and the chunks up to the end in search of eXIf, of which the last one counts.
//!
//! As in Pillow, chunks before the image must be whole, of a type of letters and, which the decoder checks, have the
//! checksum that it declares. What a chunk says that does not decide about pixels is not judged: a profile that cannot be
//! unpacked, a gamma of three bytes. Behind the image nothing but the orientation is looked at.

use super::{ImageFormat, ImageHeader, Orientation, Storage, bytes, exif, pixels};
use crate::ImageError;

const SIGNATURE_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;

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
    let expanded = if interlaced {
        pixels(width, height).saturating_mul(bytes_per_pixel(file[at + 17]))
    } else {
        0
    };
    let orientation = exif_block(file)?.and_then(exif::orientation);
    Ok(ImageHeader {
        format: ImageFormat::Png,
        width,
        height,
        orientation: orientation.unwrap_or(Orientation::Upright),
        storage: Storage {
            extra_bytes: expanded,
            ..Storage::default()
        },
    })
}

/// An interlaced image is expanded as a whole, to 8 bits a channel with room for alpha.
fn bytes_per_pixel(colour_type: u8) -> u64 {
    match colour_type {
        0 | 4 => 2,
        _ => 4,
    }
}

fn exif_block(file: &[u8]) -> Result<Option<&[u8]>, ImageError> {
    let mut rest = &file[SIGNATURE_BYTES..];
    let mut image_seen = false;
    let mut block = None;
    loop {
        let unread = rest;
        match Chunk::take(&mut rest) {
            Some(chunk) if chunk.kind == b"IEND" => return Ok(block),
            Some(chunk) if chunk.is_of_letters() => {
                image_seen |= chunk.kind == b"IDAT";
                if chunk.kind == b"eXIf" {
                    block = Some(chunk.body);
                }
            }
            Some(_) if image_seen => return Ok(block),
            Some(_) => {
                let problem = "the PNG has a chunk of no type before its image";
                return Err(ImageError::Corrupt(problem.into()));
            }
            None => {
                return match unread.get(4..8) {
                    // The decoder looks for the rest of an image that is cut off. The end has no contents.
                    Some(b"IDAT" | b"IEND") => Ok(block),
                    None if image_seen => Ok(block),
                    _ => Err(ImageError::Truncated),
                };
            }
        }
    }
}

struct Chunk<'a> {
    kind: &'a [u8; 4],
    body: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes the next chunk off `rest`, if it is whole.
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let length = bytes::be32(rest, 0)? as usize;
        let kind = rest.get(4..)?.first_chunk()?;
        let (body, after) = rest.get(8..)?.split_at_checked(length)?;
        *rest = after.get(CHECKSUM_BYTES..)?;
        Some(Self { kind, body })
    }

    /// Pillow takes digits and underscores, too.
    fn is_of_letters(&self) -> bool {
        self.kind
            .iter()
            .all(|&letter| letter.is_ascii_alphanumeric() || letter == b'_')
    }
}
