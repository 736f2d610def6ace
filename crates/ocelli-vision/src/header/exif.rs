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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A directory of one other tag and the orientation.
    fn block(little: bool, kind: u16, value: u16) -> Vec<u8> {
        let u16 = |value: u16| {
            if little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let u32 = |value: u32| {
            if little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut block = if little {
            b"II*\0".to_vec()
        } else {
            b"MM\0*".to_vec()
        };
        block.extend(u32(8));
        block.extend(u16(2));
        for (tag, kind, value) in [(0x0100, 3, 4), (TAG_ORIENTATION, kind, value)] {
            block.extend(u16(tag));
            block.extend(u16(kind));
            block.extend(u32(1));
            if kind == TYPE_LONG {
                block.extend(u32(value.into()));
            } else {
                block.extend(u16(value));
                block.extend([0, 0]);
            }
        }
        block
    }

    #[test]
    fn both_byte_orders_and_integer_types() {
        for little in [true, false] {
            for kind in [TYPE_SHORT, TYPE_LONG] {
                assert_eq!(orientation(&block(little, kind, 6)), Some(Orientation::Rotate90));
            }
        }
        let prefixed = [b"Exif\0\0", block(true, TYPE_SHORT, 8).as_slice()].concat();
        assert_eq!(orientation(&prefixed), Some(Orientation::Rotate270));
    }

    #[test]
    fn values_that_mean_nothing_are_ignored() {
        for value in [0, 9, 65_535] {
            assert_eq!(orientation(&block(true, TYPE_SHORT, value)), None);
        }
        assert_eq!(orientation(&block(true, 2, 6)), None);
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), None);
    }

    proptest! {
        #[test]
        fn garbage_is_no_orientation_or_one(mut tail in prop::collection::vec(any::<u8>(), 0..80), flip in any::<bool>()) {
            let mut bytes = if flip { b"II*\0\x08\0\0\0".to_vec() } else { b"MM\0*\0\0\0\x08".to_vec() };
            bytes.append(&mut tail);
            orientation(&bytes);
        }
    }
}
