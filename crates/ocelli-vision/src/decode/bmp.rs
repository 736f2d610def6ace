//! BMP to RGB: 1, 4 and 8 bits with a palette, 16 to 32 bits with the masks that Pillow knows, run-length coding.
//!
//! Written here because it is small and because no light crate refuses what is cut off and decodes what Pillow does.

mod rle;

use super::size_frame;
use crate::{
    ImageError, ImageHeader,
    header::bmp::{BITFIELDS, Bitmap, RAW, RLE4, RLE8},
};

type Colours = [[u8; 4]; 256];
type Pixels = [[u8; 4]];

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let bitmap = Bitmap::read(bytes)?;
    let frame = size_frame(frame, header.width, header.height);
    match (bitmap.bits, bitmap.compression) {
        (1 | 4 | 8, RAW) => {
            let colours = colours(bytes, &bitmap)?;
            let bits = bitmap.bits as usize;
            rows(bytes, &bitmap, frame, |row, out| {
                for (x, pixel) in out.iter_mut().enumerate() {
                    *pixel = colours[index(row, bits, x)];
                }
            })
        }
        (1 | 4 | 8, RLE8 | RLE4) => {
            let colours = colours(bytes, &bitmap)?;
            let indices = rle::decode(bytes, &bitmap)?;
            let rows = indices.chunks_exact(bitmap.width as usize);
            for (row, out) in rows.zip(lines(&bitmap, frame)) {
                for (pixel, &index) in out.iter_mut().zip(row) {
                    *pixel = colours[usize::from(index)];
                }
            }
            Ok(())
        }
        (16 | 24 | 32, RAW | BITFIELDS) => rows(bytes, &bitmap, frame, unpacker(&bitmap)?),
        (bits, compression) => Err(ImageError::Unsupported(format!(
            "a BMP of {bits} bits and compression {compression}"
        ))),
    }
}

/// The lines of `frame` in the order of the file.
fn lines<'a>(bitmap: &Bitmap, frame: &'a mut Pixels) -> Box<dyn Iterator<Item = &'a mut Pixels> + 'a> {
    let lines = frame.chunks_exact_mut(bitmap.width as usize);
    if bitmap.top_down {
        Box::new(lines)
    } else {
        Box::new(lines.rev())
    }
}

/// Unpacks each row of the file, which is padded to 4 bytes, to its line.
fn rows(
    bytes: &[u8],
    bitmap: &Bitmap,
    frame: &mut Pixels,
    unpack: impl Fn(&[u8], &mut Pixels),
) -> Result<(), ImageError> {
    let bits = bitmap.width as usize * bitmap.bits as usize;
    let stride = bits.div_ceil(32) * 4;
    let data = bytes.get(bitmap.pixels..).ok_or(ImageError::Truncated)?;
    // The last row's padding may be missing.
    let used = bits.div_ceil(8);
    for (index, line) in lines(bitmap, frame).enumerate() {
        let row = data
            .get(index * stride..index * stride + used)
            .ok_or(ImageError::Truncated)?;
        unpack(row, line);
    }
    Ok(())
}

/// The index of pixel `x`, of `bits` bits: the first pixel lies in the highest ones.
fn index(row: &[u8], bits: usize, x: usize) -> usize {
    let per_byte = 8 / bits;
    let shift = 8 - bits * (x % per_byte + 1);
    (usize::from(row[x / per_byte]) >> shift) & ((1 << bits) - 1)
}

/// The colours of indices. Those without one are black, as the palette that Pillow begins with.
fn colours(bytes: &[u8], bitmap: &Bitmap) -> Result<Colours, ImageError> {
    let palette = bitmap.palette;
    if palette.colours > 256 {
        let problem = format!("its palette has {} colours", palette.colours);
        return Err(ImageError::Corrupt(problem));
    }
    let mut colours: Colours = [[0; 4]; 256];
    let entries = bytes.get(palette.at..).unwrap_or_default();
    let entries = entries.chunks_exact(palette.entry).take(palette.colours);
    for (colour, entry) in colours.iter_mut().zip(entries) {
        *colour = [entry[2], entry[1], entry[0], 0];
    }
    let Some(depth) = make_grey(&mut colours, palette.colours) else {
        return Ok(colours);
    };
    if bitmap.compression == RAW && bitmap.bits != depth {
        // Pillow reads such pixels as if they had `depth` bits.
        let bits = bitmap.bits;
        return Err(ImageError::Unsupported(format!(
            "a BMP of {bits} bits whose palette is that of {depth}"
        )));
    }
    Ok(colours)
}

/// Where the first `count` colours are black and white, or each index as a grey, gives all others the same meaning, and
/// tells the bits of such a pixel.
fn make_grey(colours: &mut Colours, count: usize) -> Option<u32> {
    let greys: Colours = std::array::from_fn(|index| {
        let grey = match (count, index) {
            (0..=2, 1..) => 255,
            _ => index as u8,
        };
        [grey, grey, grey, 0]
    });
    if colours[..count] != greys[..count] {
        return None;
    }
    *colours = greys;
    Some(if count > 2 { 8 } else { 1 })
}

type Unpack = Box<dyn Fn(&[u8], &mut Pixels)>;

/// The masks of red, green, blue and alpha that Pillow reads at each depth; the alpha of 32 bits is dropped.
const MASKS: [(u32, [u32; 4]); 11] = [
    (16, [0xF800, 0x7E0, 0x1F, 0]),
    (16, [0x7C00, 0x3E0, 0x1F, 0]),
    (24, [0xFF_0000, 0xFF00, 0xFF, 0]),
    (32, [0xFF_0000, 0xFF00, 0xFF, 0]),
    (32, [0xFF00_0000, 0xFF_0000, 0xFF00, 0]),
    (32, [0xFF00_0000, 0xFF00, 0xFF, 0]),
    (32, [0xFF00_0000, 0xFF_0000, 0xFF00, 0xFF]),
    (32, [0xFF, 0xFF00, 0xFF_0000, 0xFF00_0000]),
    (32, [0xFF_0000, 0xFF00, 0xFF, 0xFF00_0000]),
    (32, [0xFF00_0000, 0xFF00, 0xFF, 0xFF_0000]),
    // A header that leaves its masks empty means the usual order.
    (32, [0; 4]),
];

fn unpacker(bitmap: &Bitmap) -> Result<Unpack, ImageError> {
    const USUAL: [u32; 3] = [0xFF_0000, 0xFF00, 0xFF];
    let step = bitmap.bits as usize / 8;
    let mut masks = bitmap.masks;
    if step < 4 {
        masks[3] = 0;
    }
    let masks = match (bitmap.compression, bitmap.bits) {
        (BITFIELDS, bits) if !MASKS.contains(&(bits, masks)) => {
            return Err(ImageError::Unsupported("a BMP with these colour masks".into()));
        }
        (BITFIELDS, _) if masks != [0; 4] => [masks[0], masks[1], masks[2]],
        (_, 16) => [0x7C00, 0x3E0, 0x1F],
        _ => USUAL,
    };
    if masks == USUAL {
        return Ok(Box::new(move |row, out| {
            for (pixel, source) in out.iter_mut().zip(row.chunks_exact(step)) {
                *pixel = [source[2], source[1], source[0], 0];
            }
        }));
    }
    Ok(Box::new(move |row, out| {
        for (pixel, source) in out.iter_mut().zip(row.chunks_exact(step)) {
            let mut word = [0; 4];
            word[..step].copy_from_slice(source);
            let [r, g, b] = masks.map(|mask| channel(u32::from_le_bytes(word), mask));
            *pixel = [r, g, b, 0];
        }
    }))
}

/// The bits of `mask`, widened to 8 with Pillow's rounding down.
fn channel(word: u32, mask: u32) -> u8 {
    let shift = mask.trailing_zeros();
    (((word & mask) >> shift) * 255 / (mask >> shift)) as u8
}
