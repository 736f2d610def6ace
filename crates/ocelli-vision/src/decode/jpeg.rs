//! JPEG through libjpeg-turbo: exactly the pixels that Pillow, which uses the same library, decodes.

mod lean;

use turbojpeg::{Decompressor, Error, Image, PixelFormat, ScalingFactor};

use crate::{ImageError, ImageHeader};

/// libjpeg's warnings, by how they begin (`jerror.h`): after them the pixels are there. The wrapper reports them
/// as errors like any other; Pillow ignores them all.
const WARNINGS: [&str; 6] = [
    "Corrupt JPEG data: ",
    "Inconsistent progression sequence",
    "Invalid SOS parameters for sequential JPEG",
    "Unknown Adobe color transform code",
    "Warning: unknown JFIF revision number",
    "Application transferred too many scanlines",
];
/// The warning of a file that ends inside its image. The header's check finds those first.
const ENDS_EARLY: &str = "Premature end of JPEG file";

pub(super) struct JpegDecoder {
    turbo: Decompressor,
}

impl JpegDecoder {
    pub(super) fn new() -> Result<Self, ImageError> {
        Ok(Self {
            turbo: decompressor()?,
        })
    }

    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        header: &ImageHeader,
        scale: u32,
        frame: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        let result = self.decode_checked(bytes, header, scale, frame);
        if result.is_err() {
            // After a failure inside a header, the library would go on in the middle of the old file.
            self.turbo = decompressor()?;
        }
        result
    }

    fn decode_checked(
        &mut self,
        bytes: &[u8],
        header: &ImageHeader,
        scale: u32,
        frame: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        // The wrapper refuses a file whose header alone gives a warning, before any pixel: such a header is
        // written anew without what libjpeg stumbles over.
        let lean;
        let mut bytes = bytes;
        if self.turbo.read_header(bytes).is_err() {
            lean = lean::rewrite(bytes, header.storage.four_channels)?;
            bytes = &lean;
            self.turbo = decompressor()?;
        }
        let seen = self.turbo.read_header(bytes).map_err(|error| refusal(&error))?;
        if (seen.width, seen.height) != (header.width as usize, header.height as usize) {
            // It would leave a part of the frame as the photo before has left it.
            return Err(ImageError::Corrupt("its sizes contradict each other".into()));
        }

        let factor = ScalingFactor::new(1, scale as usize);
        self.turbo
            .set_scaling_factor(factor)
            .map_err(|error| refusal(&error))?;
        let format = if header.storage.four_channels {
            PixelFormat::CMYK
        } else {
            PixelFormat::RGBX
        };
        let (width, height) = (factor.scale(seen.width), factor.scale(seen.height));
        let pitch = width * format.size();
        frame.resize(pitch * height, 0);
        let image = Image {
            pixels: frame.as_mut_slice(),
            width,
            pitch,
            height,
            format,
        };
        self.turbo
            .decompress(bytes, image)
            .or_else(|error| ignore_warning(&error))?;
        if header.storage.four_channels {
            inverted_cmyk_to_rgb(frame);
        }
        Ok(())
    }
}

fn decompressor() -> Result<Decompressor, ImageError> {
    Decompressor::new().map_err(|error| refusal(&error))
}

fn ignore_warning(error: &Error) -> Result<(), ImageError> {
    match error {
        Error::TurboJpegError(message) if WARNINGS.iter().any(|warning| message.starts_with(warning)) => {
            Ok(())
        }
        _ => Err(refusal(error)),
    }
}

fn refusal(error: &Error) -> ImageError {
    match error {
        Error::TurboJpegError(message) if message.starts_with(ENDS_EARLY) => ImageError::Truncated,
        Error::TurboJpegError(message) => ImageError::Corrupt(message.clone()),
        other => ImageError::Corrupt(other.to_string()),
    }
}

/// `cmyk2rgb` in Pillow's `Convert.c`, on samples that are stored inverted, as Adobe does and Pillow assumes of
/// every JPEG of four channels.
fn inverted_cmyk_to_rgb(frame: &mut [u8]) {
    for pixel in frame.as_chunks_mut::<4>().0 {
        let [c, m, y, k] = *pixel;
        let [r, g, b] = [c, m, y].map(|ink| k - multiply(255 - ink, k));
        *pixel = [r, g, b, k];
    }
}

/// `MULDIV255` in Pillow's `ImagingUtils.h`: a * b / 255, rounded.
fn multiply(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}
