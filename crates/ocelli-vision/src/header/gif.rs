//! GIF: the logical screen, grown where the first frame reaches beyond it, as Pillow does.

use super::{ImageFormat, ImageHeader, Orientation, Storage, bytes, pixels};
use crate::ImageError;

const SCREEN_BYTES: usize = 13;
/// The extension with a frame's transparent index.
const CONTROL: u8 = 0xF9;

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    let sizes = || Some((bytes::le16(file, 6)?, bytes::le16(file, 8)?, first_frame(file)?));
    let (width, height, frame) = sizes().ok_or(ImageError::Truncated)?;
    if frame.width == 0 || frame.height == 0 {
        // The screen alone has no pixels.
        return Err(ImageError::Corrupt(
            "the first frame of the GIF has no pixels".into(),
        ));
    }
    let width = u32::from(width).max(frame.left + frame.width);
    let height = u32::from(height).max(frame.top + frame.height);
    Ok(ImageHeader {
        format: ImageFormat::Gif,
        width,
        height,
        orientation: Orientation::Upright,
        // The palette indices.
        storage: Storage {
            extra_bytes: pixels(width, height),
            ..Storage::default()
        },
    })
}

/// Where a frame is on the screen, in pixels.
pub(crate) struct Frame {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    /// The index that means no colour: that of the last control block which has one.
    pub(crate) transparent: Option<u8>,
}

pub(crate) fn first_frame(file: &[u8]) -> Option<Frame> {
    let mut transparent = None;
    let mut at = SCREEN_BYTES + palette_bytes(*file.get(10)?);
    loop {
        match *file.get(at)? {
            // An extension: its label, then blocks of up to 255 bytes, the last one empty.
            0x21 => {
                if let Some([CONTROL, 4, flags, _, _, index, ..]) = file.get(at + 1..)
                    && flags & 1 == 1
                {
                    transparent = Some(*index);
                }
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
                return Some(Frame {
                    left: field(1)?,
                    top: field(3)?,
                    width: field(5)?,
                    height: field(7)?,
                    transparent,
                });
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
