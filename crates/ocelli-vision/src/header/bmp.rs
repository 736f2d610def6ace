//! BMP: size from the old (12 bytes, 16-bit) or the newer information header.

use super::{ImageFormat, ImageHeader, Orientation, Storage, bytes};
use crate::ImageError;

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    let size = || {
        if bytes::le32(file, 14)? == 12 {
            return Some((
                u32::from(bytes::le16(file, 18)?),
                u32::from(bytes::le16(file, 20)?),
            ));
        }
        // A negative height means rows from the top down.
        Some((
            bytes::le32(file, 18)?,
            (bytes::le32(file, 22)? as i32).unsigned_abs(),
        ))
    };
    let (width, height) = size().ok_or(ImageError::Truncated)?;
    Ok(ImageHeader {
        format: ImageFormat::Bmp,
        width,
        height,
        orientation: Orientation::Upright,
        // The indices of a run-length coded image.
        storage: Storage {
            extra_bytes_per_pixel: 1,
            ..Storage::default()
        },
    })
}
