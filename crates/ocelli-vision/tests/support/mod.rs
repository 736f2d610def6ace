//! What the tests of images share.

use std::fs;

use ocelli_vision::{
    Channels, Coordinates, InputSpec, InputType, Interpolation, Layout, Resampling, ResizePolicy,
};

/// The images that Pillow wrote, see `goldens/README.md`.
pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/inputs");

pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path = format!("{FOLDER}/{name}");
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An input of bytes in red, green and blue.
pub(crate) fn spec(width: u32, height: u32, resize: ResizePolicy, interpolation: Interpolation) -> InputSpec {
    InputSpec {
        name: "image".into(),
        dtype: InputType::Uint8,
        width,
        height,
        layout: Layout::Nhwc,
        channels: Channels::Rgb,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize,
        interpolation,
        resampler: Resampling::default(),
        coordinates: Coordinates::default(),
        antialias: true,
        exif: true,
    }
}
