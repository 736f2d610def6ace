//! Valid and invalid photos, most of them generated here.

use std::sync::{Arc, LazyLock};

use ocelli::models::served_model;
use ocelli_engine::fake::class_of;
use ocelli_vision::{DecodeLimits, Decoder, ImageHeader, ModelPackage};

/// The bytes of an image file.
#[derive(Clone, Debug)]
pub(crate) struct Photo {
    pub(crate) bytes: Arc<[u8]>,
}

/// The built-in model. Its digest is slow without optimisation, so it is computed once.
pub(crate) static PACKAGE: LazyLock<ModelPackage> = LazyLock::new(|| served_model::builtin().unwrap());

/// A beagle, 500 x 375. MIT licence, see `data/README.md`.
pub(crate) const DOG: &[u8] = include_bytes!("../../data/dog.jpg");

/// A synthetic picture saved as a progressive JPEG.
const PROGRESSIVE: &[u8] = include_bytes!("../../data/progressive.jpg");

impl Photo {
    pub(crate) fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into() }
    }

    /// The pixels that the built-in model receives.
    fn pixels(&self) -> Vec<u8> {
        let header = ImageHeader::read(&self.bytes, &DecodeLimits::default()).unwrap();
        let spec = &PACKAGE.card.manifest.input;
        let mut pixels = vec![0; spec.elements()];
        let decoded = Decoder::new().unwrap().prepare(&self.bytes, &header, spec);
        spec.fill(&decoded.unwrap(), &mut pixels);
        pixels
    }

    /// The label that the fake engine returns.
    pub(crate) fn label(&self) -> &'static str {
        let labels = &PACKAGE.card.labels[0];
        &labels[class_of(&self.pixels(), labels.len())]
    }
}

pub(crate) fn dog() -> Photo {
    Photo::new(DOG)
}

/// A small photo of one grey, from 1 to 100; each has another class with the fake engine.
pub(crate) fn grey(level: u8) -> Photo {
    assert!((1..=100).contains(&level), "greys beyond would repeat classes");
    png(8, 8, png::ColorType::Grayscale, png::BitDepth::Eight, level)
}

/// A small photo of one colour.
pub(crate) fn coloured(rgb: [u8; 3]) -> Photo {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 8, 8);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&rgb.repeat(64)).unwrap();
    writer.finish().unwrap();
    Photo::new(bytes)
}

/// The first bytes of the pixels that the engine receives for [`grey`].
pub(crate) fn grey_marker(level: u8) -> [u8; 4] {
    [level; 4]
}

/// A valid PNG whose pixels unpack to 1 GB.
pub(crate) fn bomb() -> Photo {
    static BOMB: LazyLock<Photo> = LazyLock::new(|| {
        let side = 18_920;
        let bomb = png(side, side, png::ColorType::Grayscale, png::BitDepth::One, 0);
        assert!(u64::from(side).pow(2) * 3 > 1 << 30 && bomb.bytes.len() < 100_000);
        bomb
    });
    BOMB.clone()
}

/// A PNG that declares this size and contains little data.
pub(crate) fn header_only(width: u32, height: u32) -> Photo {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    drop(encoder.write_header().unwrap());
    Photo::new(bytes)
}

fn png(width: u32, height: u32, color: png::ColorType, depth: png::BitDepth, byte: u8) -> Photo {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().unwrap();
    let row = (width as usize * color.samples() * depth as usize).div_ceil(8);
    writer
        .write_image_data(&vec![byte; row * height as usize])
        .unwrap();
    writer.finish().unwrap();
    Photo::new(bytes)
}

/// A progressive JPEG whose last scan is repeated until there are `scans`.
pub(crate) fn with_scans(scans: usize) -> Photo {
    let starts: Vec<usize> = PROGRESSIVE
        .windows(2)
        .enumerate()
        .filter_map(|(at, window)| (window == [0xFF, 0xDA]).then_some(at))
        .collect();
    let end = PROGRESSIVE.len() - 2;
    assert_eq!(
        PROGRESSIVE[end..],
        [0xFF, 0xD9],
        "the file ends with its end of image"
    );
    let last = &PROGRESSIVE[*starts.last().unwrap()..end];
    let mut bytes = PROGRESSIVE[..end].to_vec();
    for _ in starts.len()..scans {
        bytes.extend_from_slice(last);
    }
    bytes.extend_from_slice(&PROGRESSIVE[end..]);
    Photo::new(bytes)
}

/// A BMP of 16 bits a pixel whose colour masks are all zero.
pub(crate) fn without_masks() -> Photo {
    let (side, header) = (8_u32, 14 + 40 + 12);
    let pixels = vec![0; side as usize * side as usize * 2];
    let mut bytes = b"BM".to_vec();
    for word in [
        header + pixels.len() as u32,
        0,
        header,
        40,
        side,
        side,
        16 << 16 | 1,
        3,
    ] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(header as usize, 0);
    bytes.extend(pixels);
    Photo::new(bytes)
}

#[test]
fn each_grey_has_a_class_of_its_own() {
    let labels: std::collections::HashSet<_> = (1..=100).map(|level| grey(level).label()).collect();
    assert_eq!(labels.len(), 100);
}
