//! Headers that contradict their files are read as Pillow 13 reads them, or refused as it refuses them. What is expected
//! below is what Pillow gives.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod bmp;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

#[path = "../support/riff.rs"]
mod riff;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tiff.rs"]
mod tiff_file;

use ocelli_vision::{DecodeLimits, Decoder, ImageError, ImageHeader, Interpolation, ResizePolicy};
use support::spec;

/// A whole image as it is viewed: packed RGB.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let pixel = (y * self.width + x) as usize;
        self.rgb.as_chunks().0[pixel]
    }

    fn sum(&self) -> u64 {
        self.rgb.iter().map(|&byte| u64::from(byte)).sum()
    }

    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

fn decoded(file: &[u8]) -> Result<Picture, ImageError> {
    let header = ImageHeader::read(file, &DecodeLimits::default())?;
    let (mut width, mut height) = (header.width, header.height);
    if header.orientation.swaps_axes() {
        (width, height) = (height, width);
    }
    let spec = spec(width, height, ResizePolicy::Stretch, Interpolation::Nearest);
    let rgb = Decoder::new()?.prepare(file, &header, &spec)?;
    Ok(Picture { width, height, rgb })
}

fn picture(file: &[u8]) -> Picture {
    decoded(file).unwrap()
}

fn refused(file: &[u8]) -> ImageError {
    decoded(file).expect_err("Pillow refuses it")
}

/// `file` with another byte at one place.
fn changed(file: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at] = byte;
    file
}

/// An EXIF block whose only tag turns the photo.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec();
    block[19] = orientation;
    block
}
