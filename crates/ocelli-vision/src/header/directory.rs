//! The first directory of a TIFF file, which EXIF blocks are, read as Pillow reads it.

use super::bytes;

const ENTRY_BYTES: usize = 12;
/// Longer values are elsewhere in the file.
const INLINE_BYTES: u64 = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory<'a> {
    file: &'a [u8],
    little: bool,
    entries: usize,
    at: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    file: &'a [u8],
    little: bool,
    kind: u16,
    pub(crate) count: u32,
    at: usize,
}

impl<'a> Directory<'a> {
    /// The directory that the file's header names.
    pub(crate) fn first(file: &'a [u8], little: bool) -> Option<Self> {
        let at = u32_at(file, little, 4)? as usize;
        let entries = usize::from(u16_at(file, little, at)?);
        Some(Self {
            file,
            little,
            entries,
            at: at + 2,
        })
    }

    /// The type and count of the first entry with this tag, whatever they are.
    pub(crate) fn declared(&self, tag: u16) -> Option<(u16, u32)> {
        let Self { file, little, .. } = *self;
        (0..self.entries).find_map(|index| {
            let at = self.at.checked_add(index * ENTRY_BYTES)?;
            let found = u16_at(file, little, at)? == tag;
            found.then_some((u16_at(file, little, at + 2)?, u32_at(file, little, at + 4)?))
        })
    }

    /// The values of the first entry with this tag that has some. The directory ends before an entry whose values lie
    /// outside of the file.
    pub(crate) fn find(&self, tag: u16) -> Option<Values<'a>> {
        let Self { file, little, .. } = *self;
        let mut elsewhere = 0;
        for index in 0..self.entries {
            let at = self.at.checked_add(index * ENTRY_BYTES)?;
            let (found, kind) = (u16_at(file, little, at)?, u16_at(file, little, at + 2)?);
            let (count, value) = (u32_at(file, little, at + 4)?, u32_at(file, little, at + 8)?);
            let Some(unit) = unit_bytes(kind) else { continue };
            let mut at = at + 8;
            let size = u64::from(count) * unit;
            if size > INLINE_BYTES {
                // All together, values are no larger than the file.
                elsewhere += size;
                if elsewhere > file.len() as u64 {
                    continue;
                }
                at = value as usize;
                file.get(at..)?.get(..size as usize)?;
            }
            if found == tag && count > 0 {
                return Some(Values {
                    file,
                    little,
                    kind,
                    count,
                    at,
                });
            }
        }
        None
    }
}

impl Values<'_> {
    /// One of the numbers, if they are whole ones. Negative ones come out as large ones.
    pub(crate) fn integer(&self, index: usize) -> Option<u32> {
        if index >= self.count as usize {
            return None;
        }
        match self.kind {
            6 => self.file.get(self.at + index).map(|&byte| byte.into()),
            3 | 8 => u16_at(self.file, self.little, self.at + 2 * index).map(u32::from),
            4 | 9 | 13 => u32_at(self.file, self.little, self.at + 4 * index),
            _ => None,
        }
    }
}

/// Bytes of a number of this type; `None` for one that is passed over.
fn unit_bytes(kind: u16) -> Option<u64> {
    Some(match kind {
        // Bytes, text, signed bytes, anything.
        1 | 2 | 6 | 7 => 1,
        // Shorts and signed ones.
        3 | 8 => 2,
        // Longs, signed ones, floats, offsets of directories.
        4 | 9 | 11 | 13 => 4,
        // Fractions and signed ones, doubles, longs of 8 bytes.
        5 | 10 | 12 | 16 => 8,
        _ => return None,
    })
}

fn u16_at(file: &[u8], little: bool, at: usize) -> Option<u16> {
    if little {
        bytes::le16(file, at)
    } else {
        bytes::be16(file, at)
    }
}

fn u32_at(file: &[u8], little: bool, at: usize) -> Option<u32> {
    if little {
        bytes::le32(file, at)
    } else {
        bytes::be32(file, at)
    }
}
