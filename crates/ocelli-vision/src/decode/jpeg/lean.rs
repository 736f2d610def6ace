//! A JPEG's header written anew, with the segments that decide about pixels and nothing else.

use crate::{ImageError, header::jpeg::Markers};

const SOS: u8 = 0xDA;
const EOI: u8 = 0xD9;
const APP0: u8 = 0xE0;
const APP14: u8 = 0xEE;

/// Copies `bytes` without stray bytes between segments, profiles, metadata and versions that libjpeg warns of.
/// What follows the first start of scan stays as it is: warnings there do not keep pixels back.
pub(super) fn rewrite(bytes: &[u8], four_channels: bool) -> Result<Vec<u8>, ImageError> {
    let mut lean = Vec::with_capacity(bytes.len());
    lean.extend([0xFF, 0xD8]);
    let mut markers = Markers::new(bytes);
    loop {
        let segment = markers.next()?;
        match segment.code {
            EOI => return Err(ImageError::Corrupt("the JPEG holds no image".into())),
            // JFIF decides about colours (YCbCr), whatever its version: give it the one that is known.
            APP0 if segment.body.starts_with(b"JFIF\0") => push(&mut lean, APP0, JFIF),
            APP14 => push(&mut lean, APP14, &known_transform(segment.body, four_channels)),
            0xC0..=0xCF | 0xDB | 0xDD => push(&mut lean, segment.code, segment.body),
            SOS => {
                push(&mut lean, SOS, segment.body);
                lean.extend(markers.rest());
                return Ok(lean);
            }
            _ => {}
        }
    }
}

/// JFIF 1.01 without a density.
const JFIF: &[u8] = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0";

/// Adobe's transform, the last of 12 bytes, is 0 for none, 1 for YCbCr and 2 for YCCK. libjpeg takes any other
/// for the one that fits the number of channels, and warns.
fn known_transform(body: &[u8], four_channels: bool) -> Vec<u8> {
    let mut body = body.to_vec();
    if body.starts_with(b"Adobe")
        && let Some(transform) = body.get_mut(11)
        && *transform != 0
    {
        *transform = if four_channels { 2 } else { 1 };
    }
    body
}

fn push(lean: &mut Vec<u8>, code: u8, body: &[u8]) {
    // A segment came from a file, where its length fitted 16 bits.
    let length = (body.len() + 2) as u16;
    lean.extend([0xFF, code]);
    lean.extend(length.to_be_bytes());
    lean.extend(body);
}
