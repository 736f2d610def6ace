//! What a decoder allocates stays within what [`Decoder::peak_bytes`] announced, and what reading a graph allocates is
//! small. The JPEG library's own memory comes from C and is measured in `memory_of_libjpeg.rs`.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

#[path = "support/riff.rs"]
mod riff;
mod support;
#[path = "support/tiff.rs"]
mod tiff_file;
#[path = "support/webp_bomb.rs"]
mod webp_bomb;

use std::{alloc::System, fs};

use cap::Cap;
use ocelli_vision::{
    DecodeLimits, Decoder, Graph, ImageError, ImageHeader, InputSpec, Interpolation, Manifest, Resampling,
    ResizePolicy, Rounding,
};
use riff::{chunk, webp};
use support::{FOLDER, golden, spec};
use tiff_file::{file, plain};
use webp_bomb::{groups_of_codes, lossless_bomb};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Damaged images and models, see `corpus/make_corpus.py`.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");

/// What does not grow with the pixels: tables of the resampling, windows of the decompressors.
const FIXED_BYTES: u64 = 512 << 10;

const EDGE: ResizePolicy = ResizePolicy::ShortestEdge {
    size: 96,
    rounding: Rounding::Even,
};

fn input(resize: ResizePolicy) -> InputSpec {
    spec(96, 64, resize, Interpolation::Lanczos)
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
    let mut checked = 0;
    let damaged = format!("{CORPUS}/images");
    for entry in [FOLDER, &damaged]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
    {
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
            let spec = input(resize);
            let taken = peak(|| {
                let _ = Decoder::new().unwrap().prepare(&bytes, &header, &spec);
            });
            let announced = Decoder::peak_bytes(&bytes, &header, &spec);
            assert!(
                taken <= announced + FIXED_BYTES,
                "{}: {taken} of {announced}",
                path.display()
            );
            checked += 1;
        }
        weights_are_announced(&bytes, &header);
    }
    assert!(checked > 600, "{checked}");
    large_images_are_announced();
    hostile_files_are_announced();
    partitions_that_are_not_there_are_refused();
    graphs_are_read_without_their_weights();
    damaged_models_take_little();
}

/// The widest filter that is computed with tables, to a small tensor.
fn weights_are_announced(bytes: &[u8], header: &ImageHeader) {
    let spec = InputSpec {
        width: 3,
        height: 2,
        resampler: Resampling::TensorFlow,
        interpolation: Interpolation::Lanczos5,
        ..input(ResizePolicy::Stretch)
    };
    let taken = peak(|| {
        let _ = Decoder::new().unwrap().prepare(bytes, header, &spec);
    });
    let announced = Decoder::peak_bytes(bytes, header, &spec);
    assert!(
        taken <= announced + FIXED_BYTES,
        "{header:?}: {taken} of {announced}"
    );
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

/// Whether they are read or refused.
fn damaged_models_take_little() {
    for entry in fs::read_dir(format!("{CORPUS}/models")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let taken = peak(|| match std::str::from_utf8(&bytes) {
            Ok(text) if path.extension().unwrap() == "toml" => drop(Manifest::parse(text)),
            _ => drop(Graph::read(&bytes)),
        });
        let most = 64 * bytes.len() as u64 + FIXED_BYTES;
        assert!(taken <= most, "{}: {taken} of {most}", path.display());
    }
}

/// A picture of `side` x `side` whose header is all there is, but for `data`.
fn bmp(side: u32, bits: u16, compression: u32, data: &[u8]) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    file.extend([side, side].map(u32::to_le_bytes).as_flattened());
    file.extend([[1, 0], bits.to_le_bytes()].as_flattened());
    file.extend(compression.to_le_bytes());
    file.resize(54, 0);
    file.extend(data);
    file
}

/// The data of a lossy picture that say it has other sides.
fn lossy(width: u16, height: u16) -> Vec<u8> {
    let mut file = golden("lossy.webp").split_off(20);
    file[6..8].copy_from_slice(&width.to_le_bytes());
    file[8..10].copy_from_slice(&height.to_le_bytes());
    chunk(b"VP8 ", &file)
}

/// An extended header, of a canvas of `side` x `side`.
fn extended(flags: u8, side: u32) -> Vec<u8> {
    let [low, middle, ..] = (side - 1).to_le_bytes();
    chunk(b"VP8X", &[flags, 0, 0, 0, low, middle, 0, low, middle, 0])
}

/// An animation of one frame of 4 x 4 pixels.
fn animation(side: u32, image: &[u8]) -> Vec<u8> {
    let place = [0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 0, 0, 0, 0];
    let frame = chunk(b"ANMF", &[&place, image].concat());
    webp(&[&extended(2, side), &chunk(b"ANIM", &[0; 6]), &frame])
}

const METADATA_BYTES: usize = 8 << 20;

fn png_with_metadata() -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = png::Encoder::new(&mut file, 1, 1).write_header().unwrap();
    writer
        .write_chunk(png::chunk::eXIf, &vec![7; METADATA_BYTES])
        .unwrap();
    writer.write_image_data(&[7]).unwrap();
    drop(writer);
    file
}

/// Colours without data.
fn tiff(side: u16, changes: &[(u16, &[u16])]) -> Vec<u8> {
    file(plain(side, side, 3, 2), changes, &[&[]])
}

fn gif_with_a_comment() -> Vec<u8> {
    let gif = golden("small-frame.gif");
    let begin = 13 + (3 << ((gif[10] & 7) + 1));
    let mut file = gif[..begin].to_vec();
    file.extend([0x21, 0xFE]);
    for block in vec![7; METADATA_BYTES].chunks(255) {
        file.push(block.len() as u8);
        file.extend(block);
    }
    file.push(0);
    file.extend(&gif[begin..]);
    file
}

/// Files whose decoders need far more than their length or their pixels, and what they take at least.
fn hostile_files() -> Vec<(&'static str, Vec<u8>, u64)> {
    let bomb = lossless_bomb(3000, 10);
    let alpha = chunk(b"ALPH", &[&[1][..], &groups_of_codes(3000, 10)].concat());
    let side = SIDE as u16;
    let all = u64::from(SIDE) * u64::from(SIDE);
    vec![
        ("groups of codes", webp(&[&bomb]), 50 << 20),
        (
            "groups of long codes",
            webp(&[&lossless_bomb(3000, 15)]),
            50 << 20,
        ),
        (
            "groups of codes in alpha",
            webp(&[&extended(0x10, 4), &alpha, &lossy(4, 4)]),
            50 << 20,
        ),
        ("groups of codes in a frame", animation(4, &bomb), 50 << 20),
        ("a small frame", animation(SIDE, &lossy(4, 4)), all * 4),
        (
            "few lossy data for many pixels",
            webp(&[&lossy(side, side)]),
            all * 5,
        ),
        ("metadata in a PNG", png_with_metadata(), METADATA_BYTES as u64),
        ("a comment in a GIF", gif_with_a_comment(), 0),
        ("few runs in a BMP", bmp(SIDE, 8, 1, &[0, 1]), all * 5),
        ("no pixels in a BMP", bmp(SIDE, 24, 0, &[]), all * 4),
        ("no pixels in a TIFF", tiff(SIDE as u16, &[]), all * 7),
        (
            "a large tile for few pixels",
            tiff(16, &[(322, &[4096]), (323, &[16])]),
            4096 * 16 * 3,
        ),
    ]
}

/// Whether they are decoded or refused.
fn hostile_files_are_announced() {
    for (name, file, least) in hostile_files() {
        let header = ImageHeader::read(&file, &DecodeLimits::default()).unwrap();
        let spec = input(ResizePolicy::Stretch);
        let mut announced = 0;
        let looking = peak(|| announced = Decoder::peak_bytes(&file, &header, &spec));
        assert!(looking < 4096, "{name}: {looking} bytes to find out");
        let taken = peak(|| {
            let _ = Decoder::new().unwrap().prepare(&file, &header, &spec);
        });
        assert!(taken >= least, "{name}: takes only {taken}");
        assert!(taken <= announced + FIXED_BYTES, "{name}: {taken} of {announced}");
        assert!(
            announced < 3 * taken + 3 * file.len() as u64 + FIXED_BYTES,
            "{name}: {announced} is far above {taken}"
        );
    }
}

/// Lossy data with eight partitions, of which the first is said to have 16 MB.
fn partitions_that_are_not_there_are_refused() {
    let mut frame = vec![0x10 | 2 << 5, 0, 0, 0x9D, 1, 0x2A, 4, 0, 4, 0];
    // The first partition: fourteen bits for other things, and two for the number of partitions.
    frame.extend([0, 3]);
    frame.extend([0xFF; 3 * 7]);
    frame.resize(100, 0);
    let file = webp(&[&chunk(b"VP8 ", &frame)]);
    let mut outcome = None;
    let taken = peak(|| outcome = Some(ImageHeader::read(&file, &DecodeLimits::default())));
    assert_eq!(outcome.unwrap(), Err(ImageError::Truncated));
    assert!(taken < 4096, "{taken}");
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
        let spec = input(ResizePolicy::Stretch);
        let announced = Decoder::peak_bytes(&file, &header, &spec);
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
