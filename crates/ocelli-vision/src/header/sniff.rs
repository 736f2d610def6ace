//! Which format the first bytes announce, and what else they look like when it is none that is taken.

use crate::{ImageError, ImageFormat};

/// Enough to see past a byte order mark and leading blanks of a text.
const PREFIX: usize = 64;

pub(super) fn format(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    match bytes {
        [] => Err(ImageError::Empty),
        // The third byte is the next marker's 0xFF: two bytes alone would take any text in some encodings.
        [0xFF, 0xD8, 0xFF, ..] => Ok(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Ok(ImageFormat::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(ImageFormat::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(ImageFormat::Gif),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Ok(ImageFormat::Tiff),
        [b'B', b'M', ..] if is_bmp(bytes) => Ok(ImageFormat::Bmp),
        _ if is_start_of_signature(bytes) => Err(ImageError::Truncated),
        _ => Err(ImageError::Unrecognized {
            looks_like: looks_like(bytes),
        }),
    }
}

/// "BM" alone begins many texts; the size of the header that follows takes few values.
fn is_bmp(bytes: &[u8]) -> bool {
    match super::bytes::le32(bytes, 14) {
        Some(size) => matches!(size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124),
        None => false,
    }
}

fn is_start_of_signature(bytes: &[u8]) -> bool {
    let signatures: [&[u8]; 3] = [&[0xFF, 0xD8, 0xFF], b"\x89PNG\r\n\x1a\n", b"GIF89a"];
    bytes.len() >= 2 && signatures.iter().any(|signature| signature.starts_with(bytes))
        || bytes.len() < 12 && bytes.starts_with(b"RIFF")
}

fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    let prefix = &bytes[..bytes.len().min(PREFIX)];
    if let Some(brand) = prefix.get(4..12).and_then(|field| field.strip_prefix(b"ftyp")) {
        return Some(match brand {
            b"avif" | b"avis" => "AVIF",
            b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1" => "HEIC",
            _ => "a video",
        });
    }
    let signatures: [(&[u8], &str); 10] = [
        (b"%PDF", "PDF"),
        (b"II+\0", "BigTIFF"),
        (b"MM\0+", "BigTIFF"),
        (b"\0\0\x01\0", "an icon"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "gzip"),
        (b"8BPS", "a Photoshop file"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    ];
    if let Some((_, name)) = signatures
        .iter()
        .find(|(signature, _)| prefix.starts_with(signature))
    {
        return Some(name);
    }
    text(prefix)
}

fn text(prefix: &[u8]) -> Option<&'static str> {
    let plain = prefix
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(prefix)
        .trim_ascii_start()
        .to_ascii_lowercase();
    // Control characters occur in no text; bytes above 127 may be a letter that the prefix cut in two.
    if plain
        .iter()
        .any(|&byte| byte < 0x20 && !byte.is_ascii_whitespace())
    {
        return None;
    }
    Some(match plain.as_slice() {
        [b'<', ..] if plain.starts_with(b"<svg") => "SVG",
        [b'<', ..] if plain.starts_with(b"<!doctype html") || plain.starts_with(b"<html") => "HTML",
        [b'<', ..] => "XML or HTML",
        [b'{' | b'[', ..] => "JSON",
        _ if plain.starts_with(b"data:image/") => "a data URL",
        _ if plain.starts_with(b"http://") || plain.starts_with(b"https://") => "a URL",
        _ if std::str::from_utf8(&plain).map_or_else(|error| error.error_len().is_none(), |_| true) => "text",
        _ => return None,
    })
}
