//! What a decoder allocates stays within what [`Decoder::pixel_bytes`] announced, and what reading a graph allocates is
//! small. The JPEG library's own memory is not seen here, for it comes from C.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::{alloc::System, fs};

use cap::Cap;
use ocelli_vision::{
    Channels, DecodeLimits, Decoder, Graph, ImageFormat, ImageHeader, InputSpec, InputType, Interpolation,
    Layout, ResizePolicy, Rounding,
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What does not grow with the pixels: tables of the resampling, windows of the decompressors.
const FIXED_BYTES: u64 = 512 << 10;

const EDGE: ResizePolicy = ResizePolicy::ShortestEdge {
    size: 96,
    rounding: Rounding::Even,
};

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
        for resize in [ResizePolicy::Stretch, EDGE] {
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
    graphs_are_read_without_their_weights();
}

/// A field of a protobuf message that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// 16 MB of weights in one file, and in another nothing but the smallest parts that there are, which a structure for
/// each would make fifty times as large.
fn graphs_are_read_without_their_weights() {
    let model = |graph: &[u8]| {
        let opset = field(8, &[0x10, 17]);
        [&[0x08, 8][..], &field(7, graph), &opset].concat()
    };
    let weights = field(5, &field(9, &vec![7; 16 << 20]));
    let nodes = field(1, &[]).repeat(1 << 20);
    let names = field(11, &field(1, b"x")).repeat(1 << 14);
    for (file, most) in [
        (model(&weights), 4096),
        (model(&nodes), 32 << 20),
        (model(&names), 8 << 20),
    ] {
        let taken = peak(|| {
            Graph::read(&file).unwrap();
        });
        assert!(taken <= most, "{taken} of {most} for {} bytes", file.len());
    }
}

/// 4 megapixels, so that the fixed part does not hide the rest.
const SIDE: u32 = 2048;

fn large_images_are_announced() {
    let samples = |per_pixel: usize| vec![77_u8; SIDE as usize * SIDE as usize * per_pixel];
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, SIDE, SIDE);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&samples(8))
        .unwrap();

    let webp = |colours: image_webp::ColorType, per_pixel: usize| {
        let mut file = Vec::new();
        let encoder = image_webp::WebPEncoder::new(&mut file);
        encoder.encode(&samples(per_pixel), SIDE, SIDE, colours).unwrap();
        file
    };
    let mut gif = Vec::new();
    let side = SIDE as u16;
    let frame = gif::Frame {
        width: side,
        height: side,
        buffer: samples(1).into(),
        ..gif::Frame::default()
    };
    gif::Encoder::new(&mut gif, side, side, &[7; 768])
        .unwrap()
        .write_frame(&frame)
        .unwrap();
    drop(frame);

    for (name, file) in [
        ("png", png),
        ("webp", webp(image_webp::ColorType::Rgb8, 3)),
        ("webp with alpha", webp(image_webp::ColorType::Rgba8, 4)),
        ("gif", gif),
    ] {
        let header = ImageHeader::read(&file, &DecodeLimits::default()).unwrap();
        let spec = spec(ResizePolicy::Stretch);
        let announced = Decoder::pixel_bytes(&header, &spec);
        let taken = peak(|| {
            Decoder::new().unwrap().prepare(&file, &header, &spec).unwrap();
        });
        assert!(taken <= announced + FIXED_BYTES, "{name}: {taken} of {announced}");
        assert!(
            taken * 10 > announced * 4,
            "{name}: {announced} is far above {taken}"
        );
    }
}
