//! BMP: what its headers say. Where they contradict each other, as Pillow reads them.

use super::bytes::{le16, le32};
use super::{ImageFormat, ImageHeader, Orientation, Storage, pixels};
use crate::ImageError;

const FILE_HEADER: usize = 14;
/// The information header of OS/2: sides of 16 bits, palette entries of 3 bytes.
const OLD: usize = 12;
/// The smallest one since. From [`WITH_MASKS`] on it holds the colour masks, which otherwise follow it.
const USUAL: usize = 40;
const WITH_MASKS: usize = 52;
const WITH_ALPHA_MASK: usize = 56;
/// Rows go from the top down where this is the highest byte of the height.
const NEGATIVE: u32 = 0xFF;

pub(crate) const RAW: u32 = 0;
pub(crate) const RLE8: u32 = 1;
pub(crate) const RLE4: u32 = 2;
pub(crate) const BITFIELDS: u32 = 3;

#[derive(Debug)]
pub(crate) struct Bitmap {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) top_down: bool,
    pub(crate) bits: u32,
    pub(crate) compression: u32,
    /// Where red, green, blue and alpha lie in a pixel's word; zeros if the header does not say.
    pub(crate) masks: [u32; 4],
    pub(crate) palette: Palette,
    pub(crate) pixels: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    pub(crate) at: usize,
    pub(crate) colours: usize,
    /// Bytes of a colour: blue, green, red, and in the newer form one that means nothing.
    pub(crate) entry: usize,
}

impl Bitmap {
    pub(crate) fn read(file: &[u8]) -> Result<Self, ImageError> {
        let word = |at| le32(file, at).ok_or(ImageError::Truncated);
        let half = |at| le16(file, at).map(u32::from).ok_or(ImageError::Truncated);
        let (offset, size) = (word(10)? as usize, word(FILE_HEADER)? as usize);
        let header_end = FILE_HEADER + size;
        if header_end > file.len() {
            return Err(ImageError::Truncated);
        }
        let old = size == OLD;
        if size < USUAL && !old {
            return Err(ImageError::Unsupported(format!(
                "a BMP with a header of {size} bytes"
            )));
        }
        let (width, height, bits) = if old {
            (half(18)?, half(20)?, half(24)?)
        } else {
            (word(18)?, word(22)?, half(28)?)
        };
        let (compression, declared) = if old {
            (RAW, 0)
        } else {
            (word(30)?, word(46)? as usize)
        };
        if !matches!(bits, 1 | 4 | 8 | 16 | 24 | 32) {
            return Err(ImageError::Unsupported(format!("a BMP of {bits} bits per pixel")));
        }
        let top_down = !old && height >> 24 == NEGATIVE;
        let mut masks = [0; 4];
        let mut palette_at = header_end;
        if compression == BITFIELDS {
            let count = if size < WITH_ALPHA_MASK { 3 } else { 4 };
            for (place, mask) in masks.iter_mut().take(count).enumerate() {
                *mask = word(FILE_HEADER + USUAL + 4 * place)?;
            }
            palette_at = palette_at.max(FILE_HEADER + WITH_MASKS);
        }
        let palette = Palette {
            at: palette_at,
            colours: if bits > 8 {
                0
            } else if declared == 0 {
                1 << bits
            } else {
                declared
            },
            entry: if old { 3 } else { 4 },
        };
        let palette_bytes = palette.colours.saturating_mul(palette.entry);
        Ok(Self {
            width,
            height: if top_down { height.wrapping_neg() } else { height },
            top_down,
            bits,
            compression,
            masks,
            palette,
            // Some writers leave the offset out, others forget the palette in it.
            pixels: match offset {
                0 => palette_at.saturating_add(palette_bytes),
                offset if offset == header_end => offset.saturating_add(palette_bytes),
                offset => offset,
            },
        })
    }
}

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    let bitmap = Bitmap::read(file)?;
    Ok(ImageHeader {
        format: ImageFormat::Bmp,
        width: bitmap.width,
        height: bitmap.height,
        orientation: Orientation::Upright,
        // The indices of a run-length coded image.
        storage: Storage {
            extra_bytes: pixels(bitmap.width, bitmap.height),
            ..Storage::default()
        },
    })
}
