//! What a decoder allocates stays within what [`Decoder::pixel_bytes`] announced. The JPEG library's own memory is
//! not seen here, for it comes from C.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::{alloc::System, fs};

use cap::Cap;
use ocelli_vision::{
    Channels, DecodeLimits, Decoder, ImageFormat, ImageHeader, InputSpec, InputType, Interpolation, Layout,
    ResizePolicy,
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What does not grow with the pixels: tables of the resampling, windows of the decompressors.
const FIXED_BYTES: u64 = 512 << 10;

fn spec(resize: ResizePolicy) -> InputSpec {
    InputSpec {
        name: "image".into(),
        dtype: InputType::Uint8,
        width: 96,
        height: 64,
        layout: Layout::Nhwc,
        channels: Channels::Rgb,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize,
        interpolation: Interpolation::Lanczos,
        antialias: true,
        exif: true,
    }
}

/// Bytes that `work` holds at its peak, above what is held now.
fn peak(work: impl FnOnce()) -> u64 {
    // The maximum never falls, so that each peak is lifted above all before it.
    let before = ALLOCATOR.allocated();
    let lift = vec![0_u8; ALLOCATOR.max_allocated() - before];
    let base = ALLOCATOR.allocated();
    work();
    let peak = ALLOCATOR.max_allocated() - base;
    drop(lift);
    peak as u64
}

/// One test, because the allocator is everybody's.
#[test]
fn pixel_bytes_bounds_what_preparing_takes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/inputs");
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let mut header = None;
        let reading = peak(|| header = ImageHeader::read(&bytes, &DecodeLimits::default()).ok());
        assert!(
            reading < 4096,
            "{} takes {reading} bytes to look at",
            path.display()
        );
        let Some(header) = header else { continue };
        for resize in [ResizePolicy::Stretch, ResizePolicy::ShortestEdge { size: 96 }] {
            let spec = spec(resize);
            let taken = peak(|| {
                let _ = Decoder::new().unwrap().prepare(&bytes, &header, &spec);
            });
            let announced = Decoder::pixel_bytes(&header, &spec);
            // A JPEG with a strange header is copied once.
            let copy = if header.format == ImageFormat::Jpeg {
                bytes.len() as u64
            } else {
                0
            };
            assert!(
                taken <= announced + FIXED_BYTES + copy,
                "{}: {taken} of {announced}",
                path.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked}");
    large_images_are_announced();
}

/// A flat image of 4 megapixels in each lossless format, so that the fixed part does not hide the rest.
fn large_images_are_announced() {
    let (width, height) = (2048, 2048);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    let pixels = vec![77; width as usize * height as usize * 8];
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    drop(pixels);
    let header = ImageHeader::read(&file, &DecodeLimits::default()).unwrap();
    let spec = spec(ResizePolicy::Stretch);
    let announced = Decoder::pixel_bytes(&header, &spec);
    let taken = peak(|| {
        Decoder::new().unwrap().prepare(&file, &header, &spec).unwrap();
    });
    assert!(taken <= announced + FIXED_BYTES, "{taken} of {announced}");
    assert!(taken * 10 > announced * 8, "{announced} is far above {taken}");
}
