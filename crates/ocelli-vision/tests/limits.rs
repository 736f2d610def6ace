//! What is refused before a pixel is decoded, and what the refusal says.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod support;
#[path = "support/tiff.rs"]
mod tiff;

use ocelli_vision::{DecodeLimits, Decoder, ImageError, ImageHeader, InputSpec, Interpolation, ResizePolicy};
use support::{golden, spec};
use tiff::{file, plain};

fn read(bytes: &[u8]) -> Result<ImageHeader, ImageError> {
    ImageHeader::read(bytes, &DecodeLimits::default())
}

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    file.extend(width.to_be_bytes());
    file.extend(height.to_be_bytes());
    file.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(b"\0\0\0\0IDAT\0\0\0\0");
    file
}

fn bmp_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([1, 0, 24, 0]);
    file.resize(54, 0);
    file
}

fn gif_header(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([0, 0, 0, 0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0]);
    file
}

fn tiff_header(width: u16, height: u16) -> Vec<u8> {
    file(plain(width, height, 3, 2), &[], &[&[]])
}

/// An animation, of which no frame needs to fill the canvas.
fn webp_header(width: u32, height: u32) -> Vec<u8> {
    let frame = golden("lossless.webp").split_off(12);
    let mut chunks = b"WEBPVP8X\x0a\0\0\0\x02\0\0\0".to_vec();
    chunks.extend(&(width - 1).to_le_bytes()[..3]);
    chunks.extend(&(height - 1).to_le_bytes()[..3]);
    chunks.extend(b"ANIM\x06\0\0\0\0\0\0\0\0\0ANMF");
    chunks.extend((16 + frame.len() as u32).to_le_bytes());
    chunks.extend([0; 16]);
    chunks.extend(frame);
    let mut file = b"RIFF".to_vec();
    file.extend((chunks.len() as u32).to_le_bytes());
    file.extend(chunks);
    file
}

/// A progressive JPEG with its last scan repeated until it holds `scans`.
fn jpeg_of_scans(scans: usize) -> Vec<u8> {
    let file = golden("grey-progressive.jpg");
    let starts: Vec<usize> = file
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| *pair == [0xFF, 0xDA])
        .map(|(at, _)| at)
        .collect();
    let last = *starts.last().unwrap();
    let body = &file[last..file.len() - 2];
    let mut many = file[..last].to_vec();
    for _ in starts.len() - 1..scans {
        many.extend(body);
    }
    many.extend([0xFF, 0xD9]);
    many
}

fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    let mut file = golden("420.jpg");
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

#[test]
fn a_header_of_400_megapixels_is_refused_in_every_format() {
    let expected = Err(ImageError::TooManyPixels {
        width: 20_000,
        height: 20_000,
        limit: 50_000_000,
    });
    assert_eq!(read(&png_header(20_000, 20_000)), expected);
    assert_eq!(read(&bmp_header(20_000, 20_000)), expected);
    assert_eq!(read(&gif_header(20_000, 20_000)), expected);
    assert_eq!(read(&webp_header(20_000, 20_000)), expected);
    assert_eq!(read(&tiff_header(20_000, 20_000)), expected);
    assert_eq!(read(&jpeg_header(20_000, 20_000)), expected);
}

#[test]
fn the_limit_on_pixels_is_inclusive() {
    assert!(read(&png_header(10_000, 5_000)).is_ok());
    assert!(matches!(
        read(&png_header(10_000, 5_001)),
        Err(ImageError::TooManyPixels { .. })
    ));
    let limits = DecodeLimits {
        max_pixels: 6,
        max_scans: 1,
    };
    assert!(ImageHeader::read(&png_header(2, 3), &limits).is_ok());
    assert!(ImageHeader::read(&png_header(7, 1), &limits).is_err());
}

/// The tables of a resampling grow with the longer side, which the number of pixels does not bound.
#[test]
fn a_side_beyond_what_jpeg_can_say_is_refused() {
    assert!(read(&png_header(65_535, 1)).is_ok());
    let refusal = read(&png_header(1, 65_536));
    assert_eq!(
        refusal,
        Err(ImageError::TooLong {
            width: 1,
            height: 65_536,
            limit: 65_535
        })
    );
}

#[test]
fn a_header_without_pixels_is_refused() {
    assert!(matches!(read(&png_header(0, 9)), Err(ImageError::Corrupt(_))));
    assert!(matches!(read(&jpeg_header(9, 0)), Err(ImageError::Corrupt(_))));
}

/// 44 KB of zeros, compressed a thousandfold, behind an honest header.
#[test]
fn a_png_that_unpacks_to_a_gigabyte_is_refused_by_its_header() {
    let mut bomb = png_header(18_919, 18_919);
    bomb.resize(44 << 10, 0);
    assert!(matches!(read(&bomb), Err(ImageError::TooManyPixels { .. })));
}

#[test]
fn a_jpeg_of_a_hundred_scans_is_refused_and_one_of_32_is_not() {
    assert_eq!(
        read(&jpeg_of_scans(100)),
        Err(ImageError::TooManyScans { limit: 32 })
    );
    assert_eq!(
        read(&jpeg_of_scans(33)),
        Err(ImageError::TooManyScans { limit: 32 })
    );
    let allowed = jpeg_of_scans(32);
    let header = read(&allowed).unwrap();
    assert!(
        Decoder::new()
            .unwrap()
            .prepare(&allowed, &header, &small())
            .is_ok()
    );
}

#[test]
fn what_is_no_image_is_named() {
    let cases: [(&[u8], &str); 13] = [
        (b"hello, world", "text"),
        (b"BMW is a maker of cars", "text"),
        (b"  {\"image\": 1}", "JSON"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"<svg xmlns='...'>", "SVG"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"II+\0........", "BigTIFF"),
        (b"\0\0\0\x18ftypheic....", "HEIC"),
        (b"\0\0\0\x18ftypavif....", "AVIF"),
        (b"\0\0\0\x18ftypisom....", "a video"),
        (b"data:image/png;base64,AAAA", "a data URL"),
        (b"https://example.org/dog.jpg", "a URL"),
        (b"\x1f\x8b\x08......", "gzip"),
    ];
    for (bytes, name) in cases {
        assert_eq!(
            read(bytes),
            Err(ImageError::Unrecognized {
                looks_like: Some(name)
            })
        );
    }
    assert_eq!(
        read(&[7, 0, 1, 2, 3, 200]),
        Err(ImageError::Unrecognized { looks_like: None })
    );
}

#[test]
fn every_refusal_says_what_to_do() {
    let refusals = [
        read(b""),
        read(b"text"),
        read(&[7; 3]),
        read(&png_header(60_000, 60_000)),
        read(&png_header(70_000, 1)),
        read(&jpeg_of_scans(40)),
        read(&golden("420.jpg")[..900]),
        read(&png_header(0, 0)),
    ];
    for refusal in refusals {
        let text = refusal.unwrap_err().to_string();
        let (problem, advice) = text.rsplit_once(": ").unwrap();
        assert!(
            !problem.is_empty() && (advice.contains("send") || advice.contains("save")),
            "{text}"
        );
    }
}

#[test]
fn a_signature_that_is_cut_off_is_a_file_that_ends_early() {
    for name in ["420.jpg", "rgba.png", "lossy.webp", "plain.gif", "plain.bmp"] {
        let file = golden(name);
        for length in [3, 8, 11, 13, 16, 20, 24] {
            let refusal = read(&file[..length]);
            let known = matches!(
                refusal,
                Err(ImageError::Truncated | ImageError::Unrecognized { .. })
            );
            assert!(known || refusal.is_ok(), "{name} of {length} bytes: {refusal:?}");
        }
    }
    assert_eq!(read(&golden("rgba.png")[..6]), Err(ImageError::Truncated));
    assert_eq!(read(b"RIFF\x10\0\0\0"), Err(ImageError::Truncated));
}

#[test]
fn files_that_end_early_are_refused_in_every_format() {
    let mut decoder = Decoder::new().unwrap();
    for name in [
        "420.jpg",
        "progressive.jpg",
        "rgba.png",
        "interlaced.png",
        "lossy.webp",
        "lossless.webp",
    ]
    .into_iter()
    .chain(["plain.gif", "plain.bmp", "palette.bmp", "rle-8.bmp"])
    .chain(["plain.tif", "lzw.tif", "alpha.tif", "grey.tif", "tiles.tif"])
    {
        let file = golden(name);
        let cut = &file[..file.len() * 2 / 3];
        let outcome = read(cut).and_then(|header| decoder.prepare(cut, &header, &small()));
        assert_eq!(outcome, Err(ImageError::Truncated), "{name}");
    }
}

fn small() -> InputSpec {
    spec(16, 16, ResizePolicy::Stretch, Interpolation::Bilinear)
}
