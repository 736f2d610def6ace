//! What the tables of a lossless WebP take, found without building them.
//!
//! A lossless image may use 65,536 groups of five Huffman codes, whatever its size, and a code of ten bytes has a table of
//! 4 KB. So the size of the file and of the image say nothing about the memory that its decoder takes. This reads the
//! stream up to its pixels, in constant memory, and adds up what `image-webp` allocates for each code.

/// Green with lengths and the largest colour cache.
const MAX_SYMBOLS: usize = 280 + (1 << 11);
/// Red, blue and alpha have a byte; distances have 40 symbols.
const ALPHABETS: [usize; 5] = [280, 256, 256, 256, 40];
const MAX_LENGTH: usize = 15;
const MAX_TABLE_BITS: usize = 10;
/// Codes longer than the table's have nodes of this size, two for each.
const NODE_BYTES: u64 = 16;
/// A code's own structure, thrice because the vector of groups grows by copying, and what the allocator adds to its two
/// vectors.
const CODE_BYTES: u64 = 3 * 56 + 2 * 16;
/// The order in which the lengths of the code of lengths are stored.
const LENGTHS_ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Bytes of the tables of a lossless stream for `width` x `height` pixels.
pub(super) fn of_stream(stream: &[u8], width: u32, height: u32) -> u64 {
    let mut scan = Scan {
        bits: Bits { bytes: stream, at: 0 },
        bytes: 0,
    };
    // Where the stream is damaged, its decoder stops too.
    let _ = scan.image(width, height);
    scan.bytes
}

struct Scan<'a> {
    bits: Bits<'a>,
    bytes: u64,
}

impl Scan<'_> {
    fn image(&mut self, width: u32, height: u32) -> Option<()> {
        let mut width = width;
        let mut seen = [false; 4];
        while self.bits.take(1)? == 1 {
            let kind = self.bits.take(2)?;
            if std::mem::replace(&mut seen[kind as usize], true) {
                return None;
            }
            match kind {
                // A predictor or a multiplier for each block.
                0 | 1 => {
                    let block = self.bits.take(3)? + 2;
                    self.blocks(blocks(width, block), blocks(height, block))?;
                }
                3 => {
                    let colours = self.bits.take(8)? + 1;
                    self.blocks(colours, 1)?;
                    let packed = match colours {
                        0..=2 => 3,
                        3..=4 => 2,
                        5..=16 => 1,
                        _ => 0,
                    };
                    width = blocks(width, packed);
                }
                // Green is subtracted, which takes no data.
                _ => {}
            }
        }
        let cache = self.cache()?;
        let groups = if self.bits.take(1)? == 1 {
            let block = self.bits.take(3)? + 2;
            self.blocks(blocks(width, block), blocks(height, block))? + 1
        } else {
            1
        };
        let mut code = Code::new();
        for _ in 0..groups {
            for symbols in ALPHABETS {
                let cached = if symbols == ALPHABETS[0] { cache } else { 0 };
                self.code(symbols + cached, &mut code)?;
            }
        }
        Some(())
    }

    fn cache(&mut self) -> Option<usize> {
        if self.bits.take(1)? == 0 {
            return Some(0);
        }
        let bits = self.bits.take(4)?;
        (1..=11).contains(&bits).then_some(1 << bits)
    }

    /// Passes over a small image with a pixel for each block, and tells the largest of its numbers of 16 bits (red and
    /// green), which is the last group of codes where the image says which one each block has. Pixels that are copied
    /// have numbers that were there.
    fn blocks(&mut self, width: u32, height: u32) -> Option<u32> {
        let cache = self.cache()?;
        let mut codes: [Code; 5] = std::array::from_fn(|_| Code::new());
        for (code, symbols) in codes.iter_mut().zip(ALPHABETS) {
            let cached = if symbols == ALPHABETS[0] { cache } else { 0 };
            self.code(symbols + cached, code)?;
        }
        let [green, red, blue, alpha, distance] = &codes;
        let (pixels, mut done, mut largest) = (u64::from(width) * u64::from(height), 0, 0);
        while done < pixels {
            let symbol = green.read(&mut self.bits)?;
            match symbol {
                0..=255 => {
                    largest = largest.max(red.read(&mut self.bits)? << 8 | symbol);
                    blue.read(&mut self.bits)?;
                    alpha.read(&mut self.bits)?;
                    done += 1;
                }
                256..=279 => {
                    done += self.number(symbol - 256)?;
                    let symbol = distance.read(&mut self.bits)?;
                    self.number(symbol)?;
                }
                _ => done += 1,
            }
        }
        Some(largest)
    }

    /// A length or distance, whose upper bits are the symbol.
    fn number(&mut self, symbol: u32) -> Option<u64> {
        if symbol < 4 {
            return Some(u64::from(symbol) + 1);
        }
        let extra = (symbol - 2) >> 1;
        Some((u64::from(2 + (symbol & 1)) << extra) + u64::from(self.bits.take(extra)?) + 1)
    }

    /// Reads a code and counts what it takes.
    fn code(&mut self, symbols: usize, code: &mut Code) -> Option<()> {
        self.bytes += CODE_BYTES;
        if self.bits.take(1)? == 1 {
            let two = self.bits.take(1)? == 1;
            let long = self.bits.take(1)?;
            let first = self.bits.take(1 + 7 * long)?;
            let second = if two { Some(self.bits.take(8)?) } else { None };
            code.set_plain(first, second);
            self.bytes += if two { 3 * NODE_BYTES + 2 * 4 } else { 0 };
            return Some(());
        }
        let mut lengths = [0; MAX_SYMBOLS];
        let count = 4 + self.bits.take(4)? as usize;
        for &place in &LENGTHS_ORDER[..count] {
            lengths[place] = self.bits.take(3)? as u8;
        }
        code.build(&lengths[..LENGTHS_ORDER.len()])?;
        lengths.fill(0);
        self.lengths(code, &mut lengths[..symbols])?;
        code.build(&lengths[..symbols])?;
        self.bytes += code.table_bytes();
        Some(())
    }

    fn lengths(&mut self, code: &Code, lengths: &mut [u8]) -> Option<()> {
        let most = if self.bits.take(1)? == 1 {
            let bits = 2 + 2 * self.bits.take(3)?;
            2 + self.bits.take(bits)? as usize
        } else {
            lengths.len()
        };
        let (mut at, mut last) = (0, 8);
        for _ in 0..most {
            if at >= lengths.len() {
                break;
            }
            let symbol = code.read(&mut self.bits)?;
            let (value, repeats) = match symbol {
                0..=15 => (symbol as u8, 1),
                16 => (last, 3 + self.bits.take(2)?),
                17 => (0, 3 + self.bits.take(3)?),
                _ => (0, 11 + self.bits.take(7)?),
            };
            if value != 0 {
                last = value;
            }
            let end = at + repeats as usize;
            lengths.get_mut(at..end)?.fill(value);
            at = end;
        }
        Some(())
    }
}

/// How many blocks of `1 << bits` cover `side`.
fn blocks(side: u32, bits: u32) -> u32 {
    side.div_ceil(1 << bits)
}

struct Code {
    counts: [u16; MAX_LENGTH + 1],
    /// By length, then in their order. A code of a single one takes no bits.
    symbols: [u16; MAX_SYMBOLS],
    single: bool,
}

impl Code {
    fn new() -> Self {
        Self {
            counts: [0; MAX_LENGTH + 1],
            symbols: [0; MAX_SYMBOLS],
            single: true,
        }
    }

    fn set_plain(&mut self, first: u32, second: Option<u32>) {
        self.single = second.is_none();
        self.counts = [0; MAX_LENGTH + 1];
        self.counts[1] = 2;
        self.symbols[0] = first as u16;
        self.symbols[1] = second.unwrap_or_default() as u16;
    }

    /// `None` where the lengths make no code.
    fn build(&mut self, lengths: &[u8]) -> Option<()> {
        self.counts = [0; MAX_LENGTH + 1];
        for &length in lengths {
            self.counts[usize::from(length)] += 1;
        }
        self.counts[0] = 0;
        let used: u16 = self.counts.iter().sum();
        self.single = used == 1;
        let mut starts = [0; MAX_LENGTH + 2];
        let mut room: i32 = 1;
        for length in 1..=MAX_LENGTH {
            room = 2 * room - i32::from(self.counts[length]);
            starts[length + 1] = starts[length] + self.counts[length];
            if room < 0 {
                return None;
            }
        }
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, length)| **length != 0) {
            let start = &mut starts[usize::from(length)];
            self.symbols[usize::from(*start)] = symbol as u16;
            *start += 1;
        }
        (self.single || used > 1 && room == 0).then_some(())
    }

    fn table_bytes(&self) -> u64 {
        if self.single {
            return 0;
        }
        let longest = self
            .counts
            .iter()
            .rposition(|&count| count > 0)
            .unwrap_or_default();
        let table = longest.min(MAX_TABLE_BITS);
        let beyond: u64 = self.counts[table + 1..]
            .iter()
            .map(|&count| u64::from(count))
            .sum();
        (4 << table) + 2 * beyond * NODE_BYTES
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<u32> {
        if self.single {
            return Some(self.symbols[0].into());
        }
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for &count in &self.counts[1..] {
            let count = u32::from(count);
            code = code << 1 | bits.take(1)?;
            first <<= 1;
            if code < first + count {
                return Some(self.symbols[(index + code - first) as usize].into());
            }
            index += count;
            first += count;
        }
        None
    }
}

/// Bits, the lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// At most 16. `None` past the end.
    fn take(&mut self, count: u32) -> Option<u32> {
        let end = self.at + count as usize;
        if end > self.bytes.len() * 8 {
            return None;
        }
        let first = self.at / 8;
        let word = (0..3).fold(0, |word, place| {
            word | u32::from(self.bytes.get(first + place).copied().unwrap_or_default()) << (8 * place)
        });
        let bits = word >> (self.at % 8) & ((1 << count) - 1);
        self.at = end;
        Some(bits)
    }
}
