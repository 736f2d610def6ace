//! TIFF: what the tags of its first page say. One of the kinds that cameras and scanners write for colours of 8 bits.

use super::{
    ImageFormat, ImageHeader, Orientation, Storage,
    directory::{Directory, Values},
    pixels,
};
use crate::ImageError;

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const COLOURS: u16 = 262;
const BIT_ORDER: u16 = 266;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES: u16 = 277;
const ROWS_PER_STRIP: u16 = 278;
const STRIP_LENGTHS: u16 = 279;
const PLANES: u16 = 284;
const PREDICTOR: u16 = 317;
const PALETTE: u16 = 320;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_LENGTHS: u16 = 325;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;

const SHORT: u16 = 3;
const LONG: u16 = 4;
/// Red, then green, then blue, of 16 bits each.
const PALETTE_NUMBERS: u32 = 3 * 256;
/// Sides of tiles. Writers take multiples of 16, and smaller ones would cost more time than their pixels.
const TILE_SIDES: std::ops::RangeInclusive<u32> = 16..=8192;

/// What the samples of a pixel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    Grey,
    /// 0 is white.
    InvertedGrey,
    Rgb,
    /// The colours are those of the pixel on black.
    RgbTimesAlpha,
    Palette,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

#[derive(Debug)]
pub(crate) struct Page<'a> {
    directory: Directory<'a>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) colours: Colours,
    pub(crate) samples: u32,
    pub(crate) compression: Compression,
    /// Each sample is stored as the difference from the one on its left.
    pub(crate) differences: bool,
    pub(crate) block: (u32, u32),
    offsets: Values<'a>,
    lengths: Option<Values<'a>>,
}

/// The tags of a page. Those that decide about pixels must be what the standard says: shorts or longs.
#[derive(Clone, Copy, Debug)]
struct Tags<'a>(Directory<'a>);

impl<'a> Tags<'a> {
    fn list(&self, tag: u16) -> Result<Option<Values<'a>>, ImageError> {
        match self.0.declared(tag) {
            None => Ok(None),
            Some((SHORT | LONG, 1..)) => self.0.find(tag).ok_or(ImageError::Truncated).map(Some),
            Some(_) => Err(odd(tag)),
        }
    }

    fn one(&self, tag: u16) -> Result<Option<u32>, ImageError> {
        match self.list(tag)? {
            None => Ok(None),
            Some(values) if values.count == 1 => Ok(values.integer(0)),
            Some(_) => Err(odd(tag)),
        }
    }

    /// The first number that is not `expected`, of one for each channel, or one for all.
    fn other_than(&self, tag: u16, expected: u32, unsaid: u32) -> Result<Option<u32>, ImageError> {
        let Some(values) = self.list(tag)? else {
            return Ok(Some(unsaid).filter(|&value| value != expected));
        };
        let mut values = (0..values.count as usize).map_while(|index| values.integer(index));
        Ok(values.find(|&value| value != expected))
    }
}

impl<'a> Page<'a> {
    pub(crate) fn read(file: &'a [u8]) -> Result<Self, ImageError> {
        let directory = Directory::first(file, file.starts_with(b"II")).ok_or(ImageError::Truncated)?;
        let tags = Tags(directory);
        let (Some(width), Some(height)) = (tags.one(WIDTH)?, tags.one(HEIGHT)?) else {
            return Err(corrupt("does not say how large it is"));
        };
        let samples = tags.one(SAMPLES)?.unwrap_or(1);
        check_samples(tags, samples)?;
        let (compression, differences) = match tags.one(COMPRESSION)?.unwrap_or(1) {
            1 => (Compression::None, false),
            5 => (Compression::Lzw, true),
            8 | 32_946 => (Compression::Deflate, true),
            32_773 => (Compression::PackBits, false),
            other => return Err(unsupported(&format!("compression {other}"))),
        };
        let differences = match tags.one(PREDICTOR)? {
            None | Some(1) => false,
            Some(2) => differences,
            Some(other) => return Err(unsupported(&format!("predictor {other}"))),
        };
        let tiled = directory.declared(TILE_OFFSETS).is_some();
        let (block, offsets, lengths) = if tiled {
            let sides = (
                tags.one(TILE_WIDTH)?.unwrap_or(0),
                tags.one(TILE_HEIGHT)?.unwrap_or(0),
            );
            if !TILE_SIDES.contains(&sides.0) || !TILE_SIDES.contains(&sides.1) {
                return Err(unsupported(&format!("tiles of {} x {}", sides.0, sides.1)));
            }
            (sides, tags.list(TILE_OFFSETS)?, tags.list(TILE_LENGTHS)?)
        } else {
            let rows = tags.one(ROWS_PER_STRIP)?.unwrap_or(height).min(height);
            if rows == 0 {
                return Err(corrupt("has strips of no rows"));
            }
            (
                (width, rows),
                tags.list(STRIP_OFFSETS)?,
                tags.list(STRIP_LENGTHS)?,
            )
        };
        let page = Self {
            width,
            height,
            colours: colours(tags, samples)?,
            samples,
            compression,
            differences,
            block,
            offsets: offsets.ok_or_else(|| corrupt("has no pixels"))?,
            lengths,
            directory,
        };
        page.check()?;
        Ok(page)
    }

    fn check(&self) -> Result<(), ImageError> {
        let (width, height) = self.block;
        let blocks = pixels(self.width.div_ceil(width.max(1)), self.height.div_ceil(height));
        let fits = |values: Values<'_>| u64::from(values.count) == blocks;
        // Only pixels that are not compressed end by themselves.
        let known = self.lengths.map_or(self.compression == Compression::None, fits);
        if !known || !fits(self.offsets) {
            return Err(corrupt("does not say where its pixels are"));
        }
        if self.colours == Colours::Palette && self.palette().is_none() {
            return Err(corrupt("has no palette of 256 colours"));
        }
        Ok(())
    }

    /// The compressed bytes of a strip or tile, which may go on behind its end if nothing says where that is.
    pub(crate) fn data(&self, file: &'a [u8], index: usize) -> Result<&'a [u8], ImageError> {
        let offset = self.offsets.integer(index).ok_or(ImageError::Truncated)?;
        let data = file.get(offset as usize..).ok_or(ImageError::Truncated)?;
        let length = match self.lengths {
            Some(lengths) => lengths.integer(index).ok_or(ImageError::Truncated)? as usize,
            None => data.len(),
        };
        data.get(..length).ok_or(ImageError::Truncated)
    }

    pub(crate) fn palette(&self) -> Option<[[u8; 4]; 256]> {
        let numbers = self.directory.find(PALETTE)?;
        if numbers.count != PALETTE_NUMBERS {
            return None;
        }
        let number = |index| numbers.integer(index).map(|number| (number >> 8) as u8);
        let mut palette = [[0; 4]; 256];
        for (index, colour) in palette.iter_mut().enumerate() {
            *colour = [number(index)?, number(256 + index)?, number(512 + index)?, 0];
        }
        Some(palette)
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        let (width, height) = self.block;
        u64::from(width) * u64::from(height.min(self.height)) * u64::from(self.samples)
    }
}

/// Eight bits each, unsigned, all of a pixel side by side.
fn check_samples(tags: Tags<'_>, samples: u32) -> Result<(), ImageError> {
    if let Some(bits) = tags.other_than(BITS, 8, 1)? {
        return Err(unsupported(&format!("{bits} bits per channel")));
    }
    if let Some(format) = tags.other_than(SAMPLE_FORMAT, 1, 1)? {
        return Err(unsupported(&format!("numbers of format {format}")));
    }
    if tags.one(BIT_ORDER)?.unwrap_or(1) != 1 {
        return Err(unsupported("another order of bits"));
    }
    if tags.one(PLANES)?.unwrap_or(1) != 1 && samples > 1 {
        return Err(unsupported("channels in planes of their own"));
    }
    Ok(())
}

fn colours(tags: Tags<'_>, samples: u32) -> Result<Colours, ImageError> {
    let extra = tags.list(EXTRA_SAMPLES)?.and_then(|values| values.integer(0));
    Ok(match (tags.one(COLOURS)?, samples, extra) {
        (Some(0), 1, None) => Colours::InvertedGrey,
        (Some(1), 1, None) | (Some(1), 2, _) => Colours::Grey,
        (Some(2), 3, None) | (Some(2), 4, None | Some(0 | 2)) => Colours::Rgb,
        (Some(2), 4, Some(1)) => Colours::RgbTimesAlpha,
        (Some(3), 1, None) => Colours::Palette,
        (kind, ..) => {
            let kind = kind.map_or("no".into(), |kind| kind.to_string());
            return Err(unsupported(&format!(
                "{samples} channels and colours of kind {kind}"
            )));
        }
    })
}

fn corrupt(what: &str) -> ImageError {
    ImageError::Corrupt(format!("the TIFF {what}"))
}

fn odd(tag: u16) -> ImageError {
    corrupt(&format!("has an odd value for tag {tag}"))
}

fn unsupported(what: &str) -> ImageError {
    ImageError::Unsupported(format!("a TIFF with {what}"))
}

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    let page = Page::read(file)?;
    Ok(ImageHeader {
        format: ImageFormat::Tiff,
        width: page.width,
        height: page.height,
        orientation: page.directory.orientation().unwrap_or(Orientation::Upright),
        storage: Storage {
            extra_bytes: page.block_bytes(),
            ..Storage::default()
        },
    })
}
