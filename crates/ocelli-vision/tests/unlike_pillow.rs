//! What is done otherwise than Pillow does, on purpose, as `docs/models.md` says.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::fs;
use std::path::Path;

use ocelli_vision::{DecodeLimits, Decoder, ImageHeader, InputSpec, Orientation};
use serde_json::json;

/// Says that the photo is to be turned by 90 degrees.
const XMP: &str = r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"#;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/inputs");
    fs::read(folder.join(name)).unwrap()
}

fn header(bytes: &[u8]) -> ImageHeader {
    ImageHeader::read(bytes, &DecodeLimits::default()).unwrap()
}

/// As it lies, at its own size.
fn pixels(bytes: &[u8]) -> Vec<u8> {
    let header = header(bytes);
    let spec: InputSpec = serde_json::from_value(json!({
        "name": "image", "dtype": "uint8", "layout": "nhwc", "channels": "rgb", "interpolation": "nearest",
        "width": header.width, "height": header.height, "resize": {"policy": "stretch"},
    }))
    .unwrap();
    Decoder::new().unwrap().prepare(bytes, &header, &spec).unwrap()
}

/// A JPEG with one more segment behind its first marker.
fn jpeg_with_xmp() -> Vec<u8> {
    let body = [b"http://ns.adobe.com/xap/1.0/\0", XMP.as_bytes()].concat();
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    let mut bytes = golden("444.jpg");
    bytes.splice(2..2, [&[0xff, 0xe1][..], &length, &body].concat());
    bytes
}

/// The same picture with a text chunk in front of its pixels.
fn png_with_xmp(rgb: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .add_itxt_chunk("XML:com.adobe.xmp".to_owned(), XMP.to_owned())
        .unwrap();
    encoder.write_header().unwrap().write_image_data(rgb).unwrap();
    bytes
}

/// A WebP of the extended form, with XMP in the place of EXIF, which is its last chunk.
fn webp_with_xmp() -> Vec<u8> {
    let mut bytes = golden("exif-6-lossless.webp");
    let at = bytes.windows(4).rposition(|four| four == b"EXIF").unwrap();
    bytes.truncate(at);
    bytes.extend(b"XMP ");
    bytes.extend(u32::try_from(XMP.len()).unwrap().to_le_bytes());
    bytes.extend(XMP.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let length = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    // The flags of the extended header: XMP instead of EXIF.
    bytes[20] = bytes[20] & !0b1000 | 0b100;
    bytes
}

/// Pillow turns such photos; training code that asks for neither turns none.
#[test]
fn an_orientation_in_xmp_alone_turns_nothing() {
    let plain = golden("444.jpg");
    assert_eq!(header(&jpeg_with_xmp()).orientation, Orientation::Upright);
    assert!(pixels(&jpeg_with_xmp()) == pixels(&plain));

    let size = (header(&plain).width, header(&plain).height);
    let png = png_with_xmp(&pixels(&plain), size);
    assert_eq!(header(&png).orientation, Orientation::Upright);
    assert!(pixels(&png) == pixels(&plain));

    assert_eq!(
        header(&golden("exif-6-lossless.webp")).orientation,
        Orientation::Rotate90
    );
    assert_eq!(header(&webp_with_xmp()).orientation, Orientation::Upright);
    assert!(!pixels(&webp_with_xmp()).is_empty());
}

/// EXIF counts, whatever XMP beside it says.
#[test]
fn an_orientation_in_exif_counts_beside_xmp() {
    let mut bytes = golden("exif-3.jpg");
    let body = [b"http://ns.adobe.com/xap/1.0/\0", XMP.as_bytes()].concat();
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    bytes.splice(2..2, [&[0xff, 0xe1][..], &length, &body].concat());
    assert_eq!(header(&bytes).orientation, Orientation::Rotate180);
}

/// `convert("RGB")` of Pillow makes white of whatever is above 255, which leaves nothing of a photo of 16 bits.
#[test]
fn grey_of_16_bits_keeps_its_upper_8() {
    let samples: [u16; 6] = [0, 255, 256, 0x1234, 0x80ff, 0xffff];
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    let samples: Vec<u8> = samples.into_iter().flat_map(u16::to_be_bytes).collect();
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&samples)
        .unwrap();
    let expected: Vec<u8> = [0, 0, 1, 0x12, 0x80, 0xff]
        .into_iter()
        .flat_map(|grey| [grey; 3])
        .collect();
    assert_eq!(pixels(&bytes), expected);
}
