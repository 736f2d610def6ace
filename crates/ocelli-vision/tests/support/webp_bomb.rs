//! WebP files whose decoders need hundreds of times their size.

use super::riff::chunk;

/// A lossless image of 4 x 4 pixels with so many groups of codes.
pub(crate) fn lossless_bomb(groups: u32, longest: u32) -> Vec<u8> {
    let signature = [0x2F, 3, 0xC0, 0, 0];
    chunk(
        b"VP8L",
        &[&signature, groups_of_codes(groups, longest).as_slice()].concat(),
    )
}

/// Bits, the lowest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }

    /// A code of these lengths, from the first symbol on, each of which is written in four bits.
    fn code(&mut self, lengths: &[u32]) {
        self.put(0, 1);
        // The order of the lengths of lengths is 17, 18, 0, .. 5, 16, 6, .. 15: 0 to 15 have four bits each.
        self.put(19 - 4, 4);
        for place in 0..19 {
            self.put(if matches!(place, 0 | 1 | 8) { 0 } else { 4 }, 3);
        }
        self.put(1, 1);
        self.put(4, 3);
        self.put(lengths.len() as u32 - 2, 10);
        for &length in lengths {
            self.put(
                (0..4).fold(0, |code, bit| code | (length >> bit & 1) << (3 - bit)),
                4,
            );
        }
    }
}

/// A lossless stream of 4 x 4 pixels with so many groups of codes, whose longest are of `longest` bits. A group of ten
/// takes 58 bytes here and 20 KB in a decoder.
pub(crate) fn groups_of_codes(groups: u32, longest: u32) -> Vec<u8> {
    let lengths: Vec<u32> = (1..=longest).chain([longest]).collect();
    let mut bits = Bits::default();
    // No transform, no colour cache; an image of one pixel says which group each block has, and that one is the last.
    bits.put(0, 2);
    bits.put(1, 1);
    bits.put(0, 4);
    for symbol in [(groups - 1) & 0xFF, (groups - 1) >> 8, 0, 0, 0] {
        bits.put(0b101, 3);
        bits.put(symbol, 8);
    }
    for _ in 0..groups * 5 {
        bits.code(&lengths);
    }
    bits.bytes.resize(bits.bytes.len() + 64, 0);
    bits.bytes
}
