//! Why an image was refused, in words for whoever sent it.

/// The formats that [`ImageHeader::read`](crate::ImageHeader::read) takes, as users read them.
pub(crate) const ACCEPTED: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

/// An image that cannot be used, and what its sender can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image is empty (0 bytes): send the bytes of a {ACCEPTED} file")]
    Empty,
    /// The first bytes are those of no format that is taken.
    #[error("the bytes are not an image that can be read{}: send a {ACCEPTED} file", looks_like.map(|kind| format!(" (they look like {kind})")).unwrap_or_default())]
    Unrecognized {
        /// What the bytes seem to be instead, for example `"HEIC"` or `"text"`.
        looks_like: Option<&'static str>,
    },
    /// The header declares more pixels than the limit allows.
    #[error(
        "the image is {width} x {height} pixels, above the limit of {limit} pixels: send a smaller version"
    )]
    TooManyPixels {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// The limit in pixels.
        limit: u64,
    },
    /// One side is longer than any file format of cameras can say; resampling tables grow with the side.
    #[error(
        "the image is {width} x {height} pixels and no side may be above {limit}: send a smaller version"
    )]
    TooLong {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// The limit of one side in pixels.
        limit: u32,
    },
    /// A JPEG of more scans than the limit: each scan costs a pass over the whole image.
    #[error("the JPEG has more than {limit} scans: save it again as a baseline JPEG")]
    TooManyScans {
        /// The limit in scans.
        limit: u32,
    },
    /// The file ends before the image does.
    #[error("the image ends early, a part of the file is missing: send the whole file")]
    Truncated,
    /// The file breaks the rules of its own format.
    #[error("the image is damaged ({0}): open it in an image editor and save it again")]
    Corrupt(String),
    /// A valid file of a kind that is not decoded.
    #[error("{0} is not supported: convert the image to a plain JPEG or PNG")]
    Unsupported(String),
}
