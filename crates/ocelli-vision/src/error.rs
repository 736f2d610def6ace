//! Why an image was refused.

/// The formats that [`ImageHeader::read`](crate::ImageHeader::read) takes, as users read them.
pub(crate) const ACCEPTED: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

/// An image that cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages describe the variants")]
pub enum ImageError {
    #[error("the image is empty (0 bytes): send the bytes of a {ACCEPTED} file")]
    Empty,
    #[error("the bytes are not an image that can be read{}: send a {ACCEPTED} file", looks_like.map(|kind| format!(" (they look like {kind})")).unwrap_or_default())]
    Unrecognized { looks_like: Option<&'static str> },
    #[error(
        "the image is {width} x {height} pixels, above the limit of {limit} pixels: send a smaller version"
    )]
    TooManyPixels { width: u32, height: u32, limit: u64 },
    #[error(
        "the image is {width} x {height} pixels and no side may be above {limit}: send a smaller version"
    )]
    TooLong { width: u32, height: u32, limit: u32 },
    #[error("the JPEG has more than {limit} scans: save it again as a baseline JPEG")]
    TooManyScans { limit: u32 },
    #[error("the image ends early, a part of the file is missing: send the whole file")]
    Truncated,
    #[error("the image is damaged ({0}): open it in an image editor and save it again")]
    Corrupt(String),
    #[error("{0} is not supported: convert the image to a plain JPEG or PNG")]
    Unsupported(String),
}
