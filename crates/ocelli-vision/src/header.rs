//! What an image file declares about itself, read without decoding a pixel.
//!
//! Owns telling formats apart, reading sizes and orientation, and the limits on them. It allocates nothing that
//! grows with what a file declares, and passes over the file's bytes at most once.

pub(crate) mod bmp;
pub(crate) mod bytes;
pub(crate) mod directory;
mod exif;
pub(crate) mod gif;
pub(crate) mod jpeg;
mod png;
mod sniff;
pub(crate) mod tiff;
pub(crate) mod webp;

use crate::ImageError;

/// The longest side of any image, in pixels: what JPEG's 16 bits can say. The tables of a resampling grow with
/// the side and not with the area, so that the limit on pixels does not bound them.
pub(crate) const MAX_SIDE: u32 = 65_535;

/// What an image may cost, checked against its header before anything is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The most pixels (width x height) that an image may declare.
    pub max_pixels: u64,
    /// The most scans that a JPEG may hold (a baseline file has 1, a progressive one about 10).
    pub max_scans: u32,
}

impl Default for DecodeLimits {
    /// 50 megapixels and 32 scans.
    fn default() -> Self {
        Self {
            max_pixels: 50_000_000,
            max_scans: 32,
        }
    }
}

/// A file format, recognised by the first bytes and never by a name or a content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// JPEG: baseline, progressive, greyscale, CMYK, YCCK.
    Jpeg,
    /// PNG of every colour type and depth.
    Png,
    /// WebP, lossy or lossless; of an animation, the first frame.
    WebP,
    /// GIF; of an animation, the first frame.
    Gif,
    Bmp,
    /// TIFF of 8 bits a channel; of several pages, the first.
    Tiff,
}

/// How to turn the stored pixels for viewing: the EXIF `Orientation` tag (0x0112), in its order from 1 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Orientation {
    /// 1: as stored.
    #[default]
    Upright,
    /// 2: mirrored left to right.
    MirrorHorizontal,
    /// 3: turned by 180 degrees.
    Rotate180,
    /// 4: mirrored top to bottom.
    MirrorVertical,
    /// 5: mirrored along the main diagonal.
    Transpose,
    /// 6: to be turned by 90 degrees clockwise.
    Rotate90,
    /// 7: mirrored along the other diagonal.
    Transverse,
    /// 8: to be turned by 270 degrees clockwise.
    Rotate270,
}

impl Orientation {
    /// The orientation of an EXIF value; `None` outside 1..=8.
    pub fn from_exif(value: u32) -> Option<Self> {
        Some(match value {
            1 => Self::Upright,
            2 => Self::MirrorHorizontal,
            3 => Self::Rotate180,
            4 => Self::MirrorVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => return None,
        })
    }

    /// Whether width and height change places.
    pub fn swaps_axes(self) -> bool {
        matches!(
            self,
            Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270
        )
    }

    /// Whether the stored columns run from right to left of whichever viewed axis they become.
    pub(crate) fn flips_columns(self) -> bool {
        matches!(
            self,
            Self::MirrorHorizontal | Self::Rotate180 | Self::Transverse | Self::Rotate270
        )
    }

    /// Whether the stored rows run from bottom to top of whichever viewed axis they become.
    pub(crate) fn flips_rows(self) -> bool {
        matches!(
            self,
            Self::MirrorVertical | Self::Rotate180 | Self::Rotate90 | Self::Transverse
        )
    }
}

/// What a file says about its image: enough to refuse it, to reserve memory for it and to plan its decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageHeader {
    /// The file format.
    pub format: ImageFormat,
    /// Width in pixels as stored, before orientation.
    pub width: u32,
    /// Height in pixels as stored, before orientation.
    pub height: u32,
    /// How to turn it, from EXIF; [`Orientation::Upright`] where the file says nothing usable.
    pub orientation: Orientation,
    /// What the decoder of this format holds in memory.
    pub(crate) storage: Storage,
}

/// What a decoder holds beside its RGB output, and whether it can decode at a fraction of the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Storage {
    /// Bytes that are held while decoding, beside the RGB frame.
    pub(crate) extra_bytes: u64,
    /// JPEG that can be decoded at 1/2 and 1/4.
    pub(crate) scalable: bool,
    pub(crate) four_channels: bool,
}

/// The pixels of an image that declares these sides.
fn pixels(width: u32, height: u32) -> u64 {
    u64::from(width) * u64::from(height)
}

impl ImageHeader {
    /// Reads the header of `bytes` and checks it against `limits`. Cheap: no pixel is decoded.
    ///
    /// A JPEG is followed to its end of image, which finds both a missing end and the number of scans.
    ///
    /// # Errors
    /// Any [`ImageError`]: nothing recognisable, too large, or already known to be damaged.
    pub fn read(bytes: &[u8], limits: &DecodeLimits) -> Result<Self, ImageError> {
        let header = match sniff::format(bytes)? {
            ImageFormat::Jpeg => jpeg::read(bytes, limits)?,
            ImageFormat::Png => png::read(bytes)?,
            ImageFormat::WebP => webp::read(bytes)?,
            ImageFormat::Gif => gif::read(bytes)?,
            ImageFormat::Bmp => bmp::read(bytes)?,
            ImageFormat::Tiff => tiff::read(bytes)?,
        };
        header.check(limits)?;
        Ok(header)
    }

    fn check(&self, limits: &DecodeLimits) -> Result<(), ImageError> {
        let Self { width, height, .. } = *self;
        if width == 0 || height == 0 {
            return Err(ImageError::Corrupt(format!(
                "it declares {width} x {height} pixels"
            )));
        }
        if pixels(width, height) > limits.max_pixels {
            return Err(ImageError::TooManyPixels {
                width,
                height,
                limit: limits.max_pixels,
            });
        }
        if width.max(height) > MAX_SIDE {
            return Err(ImageError::TooLong {
                width,
                height,
                limit: MAX_SIDE,
            });
        }
        Ok(())
    }
}
