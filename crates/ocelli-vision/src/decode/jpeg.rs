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

    /// Decodes at 1/`scale` into `frame`, as packed RGB.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        header: &ImageHeader,
        scale: u32,
        frame: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        let factor = ScalingFactor::new(1, scale as usize);
        match self.decode_once(bytes, header, factor, frame) {
            Ok(()) => {}
            Err(error) => {
                // After a failure inside the header, the library goes on in the middle of the old file.
                self.turbo = decompressor()?;
                self.recover(&error, bytes, header, factor, frame)?;
            }
        }
        if header.storage.four_channels {
            let pixels = super::scaled_size(header, scale);
            inverted_cmyk_to_rgb(frame, pixels.0 as usize * pixels.1 as usize);
        }
        Ok(())
    }

    /// Tells oddities from failures. The wrapper refuses a file whose header alone gives a warning, before any
    /// pixel: such a header is written anew without what libjpeg stumbles over.
    fn recover(
        &mut self,
        error: &Error,
        bytes: &[u8],
        header: &ImageHeader,
        factor: ScalingFactor,
        frame: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        if self.turbo.read_header(bytes).is_ok() {
            return ignore_warning(error);
        }
        self.turbo = decompressor()?;
        let lean = lean::rewrite(bytes, header.storage.four_channels)?;
        let again = self.decode_once(&lean, header, factor, frame);
        if let Err(error) = again {
            self.turbo = decompressor()?;
            self.turbo.read_header(&lean).map_err(|error| refusal(&error))?;
            return ignore_warning(&error);
        }
        Ok(())
    }

    fn decode_once(
        &mut self,
        bytes: &[u8],
        header: &ImageHeader,
        factor: ScalingFactor,
        frame: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.turbo.set_scaling_factor(factor)?;
        let format = if header.storage.four_channels {
            PixelFormat::CMYK
        } else {
            PixelFormat::RGB
        };
        let (width, height) = (
            factor.scale(header.width as usize),
            factor.scale(header.height as usize),
        );
        let pitch = width * format.size();
        frame.resize(pitch * height, 0);
        self.turbo.decompress(
            bytes,
            Image {
                pixels: frame.as_mut_slice(),
                width,
                pitch,
                height,
                format,
            },
        )
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
/// every JPEG of four channels. In place: `frame` shrinks from 4 to 3 bytes a pixel.
fn inverted_cmyk_to_rgb(frame: &mut Vec<u8>, pixels: usize) {
    for pixel in 0..pixels {
        let [c, m, y, k] = [0, 1, 2, 3].map(|channel| frame[pixel * 4 + channel]);
        for (channel, ink) in [c, m, y].into_iter().enumerate() {
            frame[pixel * 3 + channel] = k - multiply(255 - ink, k);
        }
    }
    frame.truncate(pixels * 3);
}

/// `MULDIV255` in Pillow's `ImagingUtils.h`: a * b / 255, rounded.
fn multiply(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}
