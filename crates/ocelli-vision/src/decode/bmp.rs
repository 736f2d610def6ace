//! BMP to RGB: 1, 4 and 8 bits with a palette, 16 to 32 bits with the masks that occur, run-length coding.
//!
//! Written here because it is small and because no light crate refuses what is cut off and decodes what Pillow does.

mod rle;

use super::size_frame;
use crate::{
    ImageError, ImageHeader,
    header::bytes::{le16, le32},
};

const FILE_HEADER: usize = 14;
const RAW: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;

type Palette = [[u8; 4]; 256];
type Pixels = [[u8; 4]];

/// Where the pixels lie and how they are coded.
struct Layout {
    width: usize,
    height: usize,
    top_down: bool,
    bits: u16,
    compression: u32,
    data: usize,
}

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let layout = Layout::read(bytes, header).ok_or(ImageError::Truncated)?;
    let frame = size_frame(frame, header.width, header.height);
    match (layout.bits, layout.compression) {
        (1 | 4 | 8, RAW) => {
            let palette = palette(bytes, &layout);
            let bits = usize::from(layout.bits);
            layout.rows(bytes, frame, |row, out| indices(row, bits, out, &palette))
        }
        (8, RLE8) | (4, RLE4) => {
            let indices = rle::decode(bytes, &layout)?;
            let palette = palette(bytes, &layout);
            let rows = indices.chunks_exact(layout.width);
            for (row, out) in rows.zip(layout.lines(frame)) {
                self::indices(row, 8, out, &palette);
            }
            Ok(())
        }
        (16 | 24 | 32, RAW | BITFIELDS) => {
            let unpack = unpacker(bytes, &layout)?;
            layout.rows(bytes, frame, unpack)
        }
        (bits, compression) => Err(ImageError::Unsupported(format!(
            "a BMP of {bits} bits and compression {compression}"
        ))),
    }
}

impl Layout {
    fn read(bytes: &[u8], header: &ImageHeader) -> Option<Self> {
        let old = le32(bytes, FILE_HEADER)? == 12;
        let size = le32(bytes, FILE_HEADER)? as usize;
        let bits = if old { le16(bytes, 24)? } else { le16(bytes, 28)? };
        let compression = if old || size < 20 { RAW } else { le32(bytes, 30)? };
        Some(Self {
            width: header.width as usize,
            height: header.height as usize,
            top_down: !old && (le32(bytes, 22)? as i32) < 0,
            bits,
            compression,
            data: le32(bytes, 10)? as usize,
        })
    }

    /// The lines of `frame` in the order of the file.
    fn lines<'a>(&self, frame: &'a mut Pixels) -> Box<dyn Iterator<Item = &'a mut Pixels> + 'a> {
        let lines = frame.chunks_exact_mut(self.width);
        if self.top_down {
            Box::new(lines)
        } else {
            Box::new(lines.rev())
        }
    }

    /// Unpacks each row of the file, which is padded to 4 bytes, to its line.
    fn rows(
        &self,
        bytes: &[u8],
        frame: &mut Pixels,
        unpack: impl Fn(&[u8], &mut Pixels),
    ) -> Result<(), ImageError> {
        let stride = (self.width * usize::from(self.bits)).div_ceil(32) * 4;
        let data = bytes.get(self.data..).ok_or(ImageError::Truncated)?;
        // The last row's padding may be missing.
        let used = (self.width * usize::from(self.bits)).div_ceil(8);
        for (index, line) in self.lines(frame).enumerate() {
            let row = data
                .get(index * stride..index * stride + used)
                .ok_or(ImageError::Truncated)?;
            unpack(row, line);
        }
        Ok(())
    }
}

/// Unpacks indices of `bits` bits, the first pixel in the highest ones.
fn indices(row: &[u8], bits: usize, out: &mut Pixels, palette: &Palette) {
    let per_byte = 8 / bits;
    let mask = (1_usize << bits) - 1;
    for (x, pixel) in out.iter_mut().enumerate() {
        let shift = 8 - bits * (x % per_byte + 1);
        *pixel = palette[(usize::from(row[x / per_byte]) >> shift) & mask];
    }
}

/// The palette between the header and the pixels, 3 bytes an entry in the old form and 4 since. Entries that are
/// missing are greys, as in the palette that Pillow begins with.
fn palette(bytes: &[u8], layout: &Layout) -> Palette {
    let mut palette: Palette = std::array::from_fn(|index| [index as u8; 4]);
    let size = le32(bytes, FILE_HEADER).unwrap_or_default() as usize;
    let (entry, declared) = if size == 12 {
        (3, 0)
    } else {
        (4, le32(bytes, 46).unwrap_or_default() as usize)
    };
    let colours = if size >= 36 && declared != 0 {
        declared
    } else {
        1 << layout.bits
    };
    let entries = bytes
        .get(FILE_HEADER + size..)
        .unwrap_or_default()
        .chunks_exact(entry);
    for (colour, entry) in palette.iter_mut().zip(entries).take(colours) {
        *colour = [entry[2], entry[1], entry[0], 0];
    }
    palette
}

type Unpack = Box<dyn Fn(&[u8], &mut Pixels)>;

fn unpacker(bytes: &[u8], layout: &Layout) -> Result<Unpack, ImageError> {
    let step = usize::from(layout.bits / 8);
    let masks = if layout.compression == BITFIELDS {
        let mask = |index: usize| le32(bytes, 54 + 4 * index).ok_or(ImageError::Truncated);
        [mask(0)?, mask(1)?, mask(2)?]
    } else if layout.bits == 16 {
        [0x7C00, 0x3E0, 0x1F]
    } else {
        [0xFF_0000, 0xFF00, 0xFF]
    };
    // A header that leaves its masks empty means the usual order.
    let masks = if masks == [0; 3] {
        [0xFF_0000, 0xFF00, 0xFF]
    } else {
        masks
    };
    if masks == [0xFF_0000, 0xFF00, 0xFF] {
        return Ok(Box::new(move |row, out| {
            for (pixel, source) in out.iter_mut().zip(row.chunks_exact(step)) {
                *pixel = [source[2], source[1], source[0], 0];
            }
        }));
    }
    let channels = masks.map(Channel::new);
    let [Some(red), Some(green), Some(blue)] = channels else {
        return Err(ImageError::Unsupported("a BMP with these colour masks".into()));
    };
    Ok(Box::new(move |row, out| {
        for (pixel, source) in out.iter_mut().zip(row.chunks_exact(step)) {
            let mut word = [0; 4];
            word[..step].copy_from_slice(source);
            let word = u32::from_le_bytes(word);
            *pixel = [red.of(word), green.of(word), blue.of(word), 0];
        }
    }))
}

/// A colour channel inside a pixel's word.
#[derive(Clone, Copy)]
struct Channel {
    shift: u32,
    max: u32,
}

impl Channel {
    /// `None` for a mask with gaps, of no bits or of more than 8.
    fn new(mask: u32) -> Option<Self> {
        let shift = mask.trailing_zeros();
        let max = mask.checked_shr(shift)?;
        ((1..=255).contains(&max) && (max + 1).is_power_of_two()).then_some(Self { shift, max })
    }

    /// Widened to 8 bits with Pillow's rounding down.
    fn of(self, word: u32) -> u8 {
        (((word >> self.shift) & self.max) * 255 / self.max) as u8
    }
}
