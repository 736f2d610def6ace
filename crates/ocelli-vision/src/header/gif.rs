//! GIF: the logical screen, grown where the first frame reaches beyond it, as Pillow does.

use super::{ImageFormat, ImageHeader, Orientation, Storage, bytes};
use crate::ImageError;

const SCREEN_BYTES: usize = 13;

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    let size = || {
        let (width, height) = (bytes::le16(file, 6)?, bytes::le16(file, 8)?);
        let (right, bottom) = first_frame(file)?;
        Some((u32::from(width).max(right), u32::from(height).max(bottom)))
    };
    let (width, height) = size().ok_or(ImageError::Truncated)?;
    Ok(ImageHeader {
        format: ImageFormat::Gif,
        width,
        height,
        orientation: Orientation::Upright,
        // The palette indices.
        storage: Storage {
            extra_bytes_per_pixel: 1,
            ..Storage::default()
        },
    })
}

/// Right and bottom edge of the first frame on the screen.
fn first_frame(file: &[u8]) -> Option<(u32, u32)> {
    let mut at = SCREEN_BYTES + palette_bytes(*file.get(10)?);
    loop {
        match *file.get(at)? {
            // An extension: its label, then blocks of up to 255 bytes, the last one empty.
            0x21 => {
                at += 2;
                loop {
                    let length = usize::from(*file.get(at)?);
                    at += 1 + length;
                    if length == 0 {
                        break;
                    }
                }
            }
            0x2C => {
                let field = |offset| bytes::le16(file, at + offset).map(u32::from);
                return Some((field(1)? + field(5)?, field(3)? + field(7)?));
            }
            // Pillow steps over bytes that begin no block.
            _ => at += 1,
        }
    }
}

fn palette_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 {
        0
    } else {
        3 << ((flags & 7) + 1)
    }
}
