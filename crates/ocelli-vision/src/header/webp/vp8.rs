//! What a VP8 key frame (RFC 6386) says of its size and of the places of its data.

use super::{bytes, contradiction};
use crate::ImageError;

/// A tag of 3 bytes, a signature of 3, and the sides.
const HEADER_BYTES: usize = 10;

/// The sides: 14 bits each, the other two are a scale that no decoder applies.
///
/// The decoder fetches memory for the partitions as long as they declare to be, so that those which are longer than
/// the data are refused.
pub(super) fn size(data: &[u8]) -> Result<(u32, u32), ImageError> {
    let tag = bytes::le24(data, 0).ok_or(ImageError::Truncated)?;
    let header = data.get(..HEADER_BYTES).ok_or(ImageError::Truncated)?;
    let is_key = tag & 1 == 0;
    let is_shown = tag >> 4 & 1 == 1;
    if header[3..6] != [0x9D, 1, 0x2A] || !is_key || !is_shown || (tag >> 1 & 7) > 3 {
        return Err(contradiction("lossy data of an unknown kind"));
    }
    let side = |at| bytes::le16(header, at).map_or(0, |side| u32::from(side & 0x3FFF));
    let (width, height) = (side(6), side(8));
    if width == 0 || height == 0 {
        return Err(contradiction("no pixels"));
    }
    let (first, rest) = data[HEADER_BYTES..]
        .split_at_checked((tag >> 5) as usize)
        .ok_or(ImageError::Truncated)?;
    check_partitions(partitions(first), rest)?;
    Ok((width, height))
}

/// The sizes of all partitions but the last, which has what remains, stand before them.
fn check_partitions(count: usize, data: &[u8]) -> Result<(), ImageError> {
    let (sizes, data) = data
        .split_at_checked(3 * (count - 1))
        .ok_or(ImageError::Truncated)?;
    let sizes = sizes.as_chunks::<3>().0.iter();
    let declared: usize = sizes
        .filter_map(|size| bytes::le24(size, 0))
        .map(|size| size as usize)
        .sum();
    if declared > data.len() {
        return Err(ImageError::Truncated);
    }
    Ok(())
}

/// How many partitions of coefficients there are (RFC 6386, 9.2 to 9.5).
fn partitions(first: &[u8]) -> usize {
    let mut bits = Bits::new(first);
    // Colour space and clamping.
    bits.take(2);
    if bits.take(1) == 1 {
        let (map, data) = (bits.take(1), bits.take(1));
        if data == 1 {
            bits.take(1);
            bits.skip_optional(4, 7 + 1);
            bits.skip_optional(4, 6 + 1);
        }
        if map == 1 {
            bits.skip_optional(3, 8);
        }
    }
    // The loop filter: its type, level, sharpness and changes.
    bits.take(1 + 6 + 3);
    if bits.take(1) == 1 && bits.take(1) == 1 {
        bits.skip_optional(8, 6 + 1);
    }
    1 << bits.take(2)
}

/// The boolean decoder of RFC 6386, 7.3, for bits that are as likely set as not. Past the end it reads zeros.
struct Bits<'a> {
    data: std::slice::Iter<'a, u8>,
    value: u32,
    range: u32,
    shifted: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut data = data.iter();
        let mut next = || u32::from(data.next().copied().unwrap_or_default());
        let value = next() << 8 | next();
        Self {
            data,
            value,
            range: 255,
            shifted: 0,
        }
    }

    fn bit(&mut self) -> u32 {
        let split = 1 + (self.range - 1) / 2;
        let set = self.value >= split << 8;
        if set {
            self.range -= split;
            self.value -= split << 8;
        } else {
            self.range = split;
        }
        while self.range < 128 {
            self.value <<= 1;
            self.range <<= 1;
            self.shifted += 1;
            if self.shifted == 8 {
                self.shifted = 0;
                self.value |= u32::from(self.data.next().copied().unwrap_or_default());
            }
        }
        set.into()
    }

    fn take(&mut self, count: u32) -> u32 {
        (0..count).fold(0, |value, _| value << 1 | self.bit())
    }

    /// Passes over `count` values of `size` bits, each behind a bit that says whether it is there.
    fn skip_optional(&mut self, count: u32, size: u32) {
        for _ in 0..count {
            if self.bit() == 1 {
                self.take(size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values and how many bits each has, as [`Bits`] reads them (RFC 6386, 7.3). Up to 56 bits.
    fn encoded(fields: &[(u64, u32)]) -> Vec<u8> {
        let (mut low, mut range, mut shifted) = (0_u64, 255_u64, 0);
        for &(value, count) in fields {
            for bit in (0..count).rev() {
                let split = 1 + (range - 1) / 2;
                if value >> bit & 1 == 1 {
                    low += split;
                    range -= split;
                } else {
                    range = split;
                }
                let shift = range.leading_zeros() - 56;
                range <<= shift;
                low <<= shift;
                shifted += shift;
            }
        }
        (low << (56 - shifted)).to_be_bytes().to_vec()
    }

    const KIND: (u64, u32) = (0b01, 2);
    const NONE: (u64, u32) = (0, 1);
    const FILTER: (u64, u32) = (0x155, 10);

    #[test]
    fn the_number_of_partitions_is_read() {
        for (code, count) in [(0, 1), (1, 2), (2, 4), (3, 8)] {
            let end = (code, 2);
            for fields in [
                vec![KIND, NONE, FILTER, NONE, end],
                // Segments: a map of one probability, and data of one quantizer.
                vec![KIND, (0b110, 3), (1, 1), (0xA5, 8), (0, 2), FILTER, NONE, end],
                vec![
                    KIND,
                    (0b101, 3),
                    (1, 1),
                    (0, 3),
                    (1, 1),
                    (0xA5, 8),
                    (0, 4),
                    FILTER,
                    NONE,
                    end,
                ],
                // A filter's change.
                vec![KIND, NONE, FILTER, (0b11, 2), (0, 7), (1, 1), (0x2A, 7), end],
            ] {
                assert_eq!(partitions(&encoded(&fields)), count, "{fields:?}");
            }
        }
    }

    #[test]
    fn partitions_that_are_longer_than_the_data_are_refused() {
        let first = encoded(&[KIND, NONE, FILTER, NONE, (1, 2)]);
        let frame = |declared: u8, rest: usize| {
            let mut frame = vec![0x10 | (first.len() as u8) << 5, first.len() as u8 >> 3, 0];
            frame.extend([0x9D, 1, 0x2A, 16, 0, 8, 0]);
            frame.extend(&first);
            frame.extend([declared, 0, 0]);
            frame.resize(frame.len() + rest, 0);
            frame
        };
        assert_eq!(size(&frame(9, 9)), Ok((16, 8)));
        assert_eq!(size(&frame(10, 9)), Err(ImageError::Truncated));
    }
}
