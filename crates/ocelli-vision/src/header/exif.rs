//! The orientation tag of an EXIF block, which is a small TIFF file.

use super::{Orientation, bytes};

const TAG_ORIENTATION: u16 = 0x0112;
const TYPE_SHORT: u16 = 3;
const TYPE_LONG: u16 = 4;
const ENTRY_BYTES: usize = 12;

/// The orientation that `block` declares; `None` for anything that is not a TIFF header with such a tag.
///
/// `block` may begin with JPEG's `Exif\0\0`, as some WebP writers leave it there.
pub(super) fn orientation(block: &[u8]) -> Option<Orientation> {
    let tiff = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let reader = Reader {
        tiff,
        little: tiff.starts_with(b"II*\0"),
    };
    if !reader.little && !tiff.starts_with(b"MM\0*") {
        return None;
    }
    let directory = reader.u32(4)? as usize;
    let entries = usize::from(reader.u16(directory)?);
    (0..entries).find_map(|index| reader.entry(directory.checked_add(2 + index * ENTRY_BYTES)?))
}

struct Reader<'a> {
    tiff: &'a [u8],
    little: bool,
}

impl Reader<'_> {
    fn entry(&self, at: usize) -> Option<Orientation> {
        if self.u16(at)? != TAG_ORIENTATION {
            return None;
        }
        match self.u16(at.checked_add(2)?)? {
            TYPE_SHORT => Orientation::from_exif(u32::from(self.u16(at.checked_add(8)?)?)),
            TYPE_LONG => Orientation::from_exif(self.u32(at.checked_add(8)?)?),
            _ => None,
        }
    }

    fn u16(&self, at: usize) -> Option<u16> {
        if self.little {
            bytes::le16(self.tiff, at)
        } else {
            bytes::be16(self.tiff, at)
        }
    }

    fn u32(&self, at: usize) -> Option<u32> {
        if self.little {
            bytes::le32(self.tiff, at)
        } else {
            bytes::be32(self.tiff, at)
        }
    }
}
