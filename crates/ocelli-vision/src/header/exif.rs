//! The orientation tag of an EXIF block, which is a small TIFF file, read as Pillow reads it.
//!
//! A block that cannot be read says nothing: the photo is taken as it is stored. The same holds for an orientation that is no
//! integer of up to 4 bytes; the standard demands one of 2, and Pillow takes fractions, too.

use super::{Orientation, directory::Directory};

const TAG_ORIENTATION: u16 = 0x0112;

/// The orientation that `block` declares; `None` for anything that is not a TIFF header with such a tag.
///
/// `block` may begin with JPEG's `Exif\0\0`, once or twice, as some writers leave it there.
pub(super) fn orientation(block: &[u8]) -> Option<Orientation> {
    let mut tiff = block;
    for _ in 0..2 {
        tiff = tiff.strip_prefix(b"Exif\0\0").unwrap_or(tiff);
    }
    let little = match tiff.first_chunk()? {
        b"II*\0" | b"II\0*" => true,
        // The last one is BigTIFF's, which Pillow takes for TIFF in this byte order only.
        b"MM\0*" | b"MM*\0" | b"MM\0+" => false,
        _ => return None,
    };
    Directory::first(tiff, little)?.orientation()
}

impl Directory<'_> {
    pub(super) fn orientation(&self) -> Option<Orientation> {
        Orientation::from_exif(self.find(TAG_ORIENTATION)?.integer(0)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE_SHORT: u16 = 3;
    const TYPE_LONG: u16 = 4;

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

    /// A directory of tags, each of a tag, a type, a count and a value, with `behind` after it, at byte 26 behind one tag.
    fn directory(tags: &[(u16, u16, u32, u32)], behind: &[u8]) -> Vec<u8> {
        let mut block = b"MM\0*\0\0\0\x08".to_vec();
        block.extend((tags.len() as u16).to_be_bytes());
        for &(tag, kind, count, value) in tags {
            block.extend(tag.to_be_bytes());
            block.extend(kind.to_be_bytes());
            block.extend(count.to_be_bytes());
            block.extend(value.to_be_bytes());
        }
        block.extend([0; 4]);
        block.extend(behind);
        block
    }

    #[test]
    fn the_first_tag_that_has_a_value_counts() {
        const SIX: u32 = 6 << 16;
        const MAKER: u16 = 0x010F;
        let six = (TAG_ORIENTATION, TYPE_SHORT, 1, SIX);
        let (turned, unsaid) = (Some(Orientation::Rotate90), None);
        for (tags, expected) in [
            (vec![six, (TAG_ORIENTATION, TYPE_SHORT, 1, 3 << 16)], turned),
            (vec![(TAG_ORIENTATION, TYPE_SHORT, 0, 3 << 16), six], turned),
            (vec![(TAG_ORIENTATION, TYPE_SHORT, 1, 9 << 16), six], unsaid),
            (vec![(TAG_ORIENTATION, TYPE_SHORT, 2, SIX | 3)], turned),
            // Signed numbers of two and four bytes.
            (vec![(TAG_ORIENTATION, 8, 1, SIX)], turned),
            (vec![(TAG_ORIENTATION, 9, 1, 6)], turned),
            // An unknown type, and a text that is longer than the block, are passed over.
            (vec![(MAKER, 77, 9, 60), six], turned),
            (vec![(MAKER, 2, 99_999, 60), six], turned),
            // A text outside of the block ends the directory.
            (vec![(MAKER, 2, 9, 60), six], unsaid),
        ] {
            assert_eq!(orientation(&directory(&tags, &[])), expected, "{tags:?}");
        }
        let elsewhere = [(TAG_ORIENTATION, TYPE_SHORT, 3, 26)];
        assert_eq!(orientation(&directory(&elsewhere, &[0, 6, 0, 3, 0, 3])), turned);
        assert_eq!(orientation(&directory(&elsewhere, &[0, 6, 0, 3, 0])), unsaid);
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
