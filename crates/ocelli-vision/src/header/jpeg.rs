//! JPEG markers (ITU-T T.81, annex B), followed the way that libjpeg follows them.
//!
//! libjpeg invents an end of image where a file stops, and its wrapper reports that like any harmless oddity.
//! So the end is looked for here: what decides between "damaged, as Pillow decodes it" and "incomplete, as Pillow
//! refuses it" is whether the end-of-image marker is reached.

use std::borrow::Cow;

use super::{DecodeLimits, ImageFormat, ImageHeader, Orientation, Storage, bytes, exif, pixels};
use crate::ImageError;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const APP1: u8 = 0xE1;
const EXIF: &[u8] = b"Exif\0\0";
/// Blocks of several segments are joined up to about this length. The orientation is at their beginning.
const MAX_EXIF_BYTES: usize = 256 << 10;

pub(super) fn read(bytes: &[u8], limits: &DecodeLimits) -> Result<ImageHeader, ImageError> {
    let mut markers = Markers::new(bytes);
    let mut frame: Option<Frame> = None;
    let mut exif: Option<Cow<'_, [u8]>> = None;
    let mut scans = 0;
    let mut streamed = false;
    loop {
        let segment = markers.next()?;
        match segment.code {
            EOI => break,
            code if scans == 0 && !may_stand_before_the_image(code) => {
                let problem = format!("a JPEG with a marker of code {code:#04x} before its image");
                return Err(ImageError::Corrupt(problem));
            }
            APP1 if scans == 0 && segment.body.starts_with(EXIF) => match &mut exif {
                None => exif = Some(segment.body.into()),
                // A block that is too long for one segment goes on in the next.
                Some(block) if block.len() < MAX_EXIF_BYTES => {
                    block.to_mut().extend(&segment.body[EXIF.len()..]);
                }
                Some(_) => {}
            },
            SOS => {
                scans += 1;
                if scans > limits.max_scans {
                    return Err(ImageError::TooManyScans {
                        limit: limits.max_scans,
                    });
                }
                let one_scan = frame
                    .as_ref()
                    .is_some_and(|frame| frame.is_complete_in(segment.body));
                streamed |= one_scan && scans == 1;
                // A photo straight from a camera: one scan, and its end is the file's.
                if one_scan && bytes.ends_with(&[0xFF, EOI]) {
                    break;
                }
            }
            code if is_frame(code) && frame.is_none() => frame = Some(Frame::read(code, segment.body)?),
            _ => {}
        }
    }
    let frame = frame.ok_or_else(|| ImageError::Corrupt("the JPEG holds no image".into()))?;
    if scans == 0 {
        return Err(ImageError::Corrupt("the JPEG holds no image".into()));
    }
    Ok(ImageHeader {
        format: ImageFormat::Jpeg,
        width: frame.width,
        height: frame.height,
        orientation: exif
            .and_then(|block| exif::orientation(&block))
            .unwrap_or(Orientation::Upright),
        storage: frame.storage(streamed),
    })
}

/// Whether Pillow and libjpeg know a marker that comes before the first scan: frames, tables, restarts, applications'
/// segments, comments and the end. The decoder would skip the others.
fn may_stand_before_the_image(code: u8) -> bool {
    matches!(code, 0xC0..=0xC7 | 0xC9..=0xD7 | EOI..=0xDD | 0xE0..=0xEF | 0xFE)
}

/// Start of frame, except the three codes of that range which mean something else (DHT, JPG, DAC).
fn is_frame(code: u8) -> bool {
    matches!(code, 0xC0..=0xCF) && !matches!(code, 0xC4 | 0xC8 | 0xCC)
}

struct Frame {
    width: u32,
    height: u32,
    components: u8,
    coefficient_bytes: u64,
    progressive: bool,
    lossless: bool,
}

impl Frame {
    fn read(code: u8, body: &[u8]) -> Result<Self, ImageError> {
        let (Some(&precision), Some(height), Some(width), Some(&components)) = (
            body.first(),
            bytes::be16(body, 1),
            bytes::be16(body, 3),
            body.get(5),
        ) else {
            return Err(ImageError::Corrupt("the JPEG's frame header is too short".into()));
        };
        if precision != 8 {
            return Err(ImageError::Unsupported(format!(
                "a JPEG of {precision} bits per channel"
            )));
        }
        if !matches!(components, 1 | 3 | 4) {
            return Err(ImageError::Unsupported(format!(
                "a JPEG of {components} channels"
            )));
        }
        let (width, height) = (width.into(), height.into());
        Ok(Self {
            width,
            height,
            components,
            coefficient_bytes: coefficient_bytes(&body[6..], width, height),
            progressive: matches!(code, 0xC2 | 0xC6 | 0xCA | 0xCE),
            lossless: matches!(code, 0xC3 | 0xC7 | 0xCB | 0xCF),
        })
    }

    /// Whether the scan with this header holds all of the image, so that libjpeg streams it and reads no other.
    fn is_complete_in(&self, scan: &[u8]) -> bool {
        !self.progressive && scan.first() == Some(&self.components)
    }

    /// `streamed`: the first scan holds all of the image. Otherwise libjpeg keeps all coefficients.
    fn storage(&self, streamed: bool) -> Storage {
        Storage {
            extra_bytes: if streamed { 0 } else { self.coefficient_bytes },
            scalable: !self.lossless,
            four_channels: self.components == 4,
        }
    }
}

/// Bytes of all components' coefficients, from the identifier, sampling factors and table that a frame header has for each
/// component. They are held in blocks of 8 x 8, and as many of those as the factor says are never divided.
fn coefficient_bytes(components: &[u8], width: u32, height: u32) -> u64 {
    const BLOCK_BYTES: u64 = 64 * 2;
    let (components, _) = components.as_chunks::<3>();
    let factors = components
        .iter()
        .map(|&[_, factors, _]| (u32::from(factors >> 4).max(1), u32::from(factors & 0xF).max(1)));
    let (widest, highest) = factors
        .clone()
        .fold((1, 1), |(h, v), factor| (h.max(factor.0), v.max(factor.1)));
    let blocks =
        |side: u32, factor: u32, largest: u32| (side * factor).div_ceil(8 * largest).next_multiple_of(factor);
    factors
        .map(|(h, v)| pixels(blocks(width, h, widest), blocks(height, v, highest)) * BLOCK_BYTES)
        .sum()
}

/// A marker and the bytes of its segment, without its length.
pub(crate) struct Segment<'a> {
    pub(crate) code: u8,
    pub(crate) body: &'a [u8],
}

/// The markers of a JPEG file after its first, in order.
pub(crate) struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    /// What lies behind the last segment.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next marker, past any bytes that belong to none: stray ones, which Pillow and libjpeg skip too, and the
    /// entropy-coded data behind a start of scan, in which 0xFF is followed by 0 or is a restart marker.
    pub(crate) fn next(&mut self) -> Result<Segment<'a>, ImageError> {
        let code = loop {
            self.at += memchr::memchr(0xFF, self.rest()).ok_or(ImageError::Truncated)?;
            self.at += self.rest().iter().take_while(|&&byte| byte == 0xFF).count();
            let code = *self.rest().first().ok_or(ImageError::Truncated)?;
            self.at += 1;
            if code != 0 {
                break code;
            }
        };
        // Restart markers, TEM and the two ends have no length.
        if matches!(code, 0x01 | 0xD0..=SOI | EOI) {
            return Ok(Segment { code, body: &[] });
        }
        let length = usize::from(bytes::be16(self.rest(), 0).ok_or(ImageError::Truncated)?);
        let body = self.rest().get(..length).ok_or(ImageError::Truncated)?;
        self.at += length;
        let body = body
            .get(2..)
            .ok_or_else(|| ImageError::Corrupt("a JPEG segment of no length".into()))?;
        Ok(Segment { code, body })
    }
}
