//! The form of decoded pixels.

/// Frames are red, green, blue and a byte that means nothing: SIMD code is twice as fast on 4 bytes as on 3, and
/// half of the formats have a fourth channel that is dropped.
pub(crate) const BYTES_PER_PIXEL: usize = 4;
