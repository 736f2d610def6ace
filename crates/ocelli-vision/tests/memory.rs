//! What a decoder allocates stays within what [`Decoder::peak_bytes`] announced, and what reading a graph allocates is
//! small. The JPEG library's own memory is not seen here, for it comes from C.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::{alloc::System, fs};

use cap::Cap;
use ocelli_vision::{
    Channels, DecodeLimits, Decoder, Graph, ImageHeader, InputSpec, InputType, Interpolation, Layout,
    ResizePolicy, Rounding,
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
            let announced = Decoder::peak_bytes(&bytes, &header, &spec);
            assert!(
                taken <= announced + FIXED_BYTES,
                "{}: {taken} of {announced}",
                path.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked}");
    large_images_are_announced();
    hostile_files_are_announced();
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

/// Bits, the lowest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }

    /// A code of these lengths, from the first symbol on, each of which is written in four bits.
    fn code(&mut self, lengths: &[u32]) {
        self.put(0, 1);
        // The order of the lengths of lengths is 17, 18, 0, .. 5, 16, 6, .. 15: 0 to 15 have four bits each.
        self.put(19 - 4, 4);
        for place in 0..19 {
            self.put(if matches!(place, 0 | 1 | 8) { 0 } else { 4 }, 3);
        }
        self.put(1, 1);
        self.put(4, 3);
        self.put(lengths.len() as u32 - 2, 10);
        for &length in lengths {
            self.put(
                (0..4).fold(0, |code, bit| code | (length >> bit & 1) << (3 - bit)),
                4,
            );
        }
    }
}

/// A lossless stream of 4 x 4 pixels with so many groups of codes, whose longest are of `longest` bits.
fn groups_of_codes(groups: u32, longest: u32) -> Vec<u8> {
    let lengths: Vec<u32> = (1..=longest).chain([longest]).collect();
    let mut bits = Bits::default();
    // No transform, no colour cache; an image of one pixel says which group each block has, and that one is the last.
    bits.put(0, 2);
    bits.put(1, 1);
    bits.put(0, 4);
    for symbol in [(groups - 1) & 0xFF, (groups - 1) >> 8, 0, 0, 0] {
        bits.put(0b101, 3);
        bits.put(symbol, 8);
    }
    for _ in 0..groups * 5 {
        bits.code(&lengths);
    }
    bits.bytes.resize(bits.bytes.len() + 64, 0);
    bits.bytes
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut chunk = kind.to_vec();
    chunk.extend((body.len() as u32).to_le_bytes());
    chunk.extend(body);
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

fn webp(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    let mut file = b"RIFF".to_vec();
    file.extend((body.len() as u32 + 4).to_le_bytes());
    file.extend(b"WEBP");
    file.extend(body);
    file
}

/// Files whose decoders need far more than their pixels.
fn hostile_files_are_announced() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/inputs");
    // 4 x 4 pixels.
    let signature = [0x2F, 3, 0xC0, 0, 0];
    let lossless = |groups, longest| {
        chunk(
            b"VP8L",
            &[&signature[..], &groups_of_codes(groups, longest)].concat(),
        )
    };
    let extended = |flags| chunk(b"VP8X", &[flags, 0, 0, 0, 3, 0, 0, 3, 0, 0]);
    let alpha = chunk(b"ALPH", &[&[1][..], &groups_of_codes(3000, 10)].concat());
    let lossy = {
        let (start, mut file) = (20, fs::read(format!("{folder}/lossy.webp")).unwrap());
        let length = u32::from_le_bytes(*file[16..].first_chunk().unwrap()) as usize;
        // Its first blocks are enough for 4 x 4 pixels.
        file[start + 6..start + 10].copy_from_slice(&[4, 0, 4, 0]);
        chunk(b"VP8 ", &file[start..start + length])
    };
    let frame = [
        &[0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 0, 0, 0, 0][..],
        &lossless(3000, 10),
    ]
    .concat();
    let comment = vec![7; 8 << 20];
    let mut text = b"\x89PNG\r\n\x1a\n".to_vec();
    let png = fs::read(format!("{folder}/noise-5x4.png")).unwrap();
    text.extend(&png[8..33]);
    text.extend((comment.len() as u32).to_be_bytes());
    text.extend(b"eXIf");
    text.extend(&comment);
    text.extend([0; 4]);
    text.extend(&png[33..]);
    let gif = fs::read(format!("{folder}/small-frame.gif")).unwrap();
    let begin = 13 + (3 << ((gif[10] & 7) + 1));
    let mut remark = gif[..begin].to_vec();
    remark.extend([0x21, 0xFE]);
    comment.chunks(255).for_each(|block| {
        remark.push(block.len() as u8);
        remark.extend(block);
    });
    remark.push(0);
    remark.extend(&gif[begin..]);

    for (name, file, least) in [
        ("groups of codes", webp(&[lossless(3000, 10)]), 50 << 20),
        ("groups of long codes", webp(&[lossless(3000, 15)]), 50 << 20),
        (
            "groups of codes in alpha",
            webp(&[extended(0x10), alpha, lossy]),
            50 << 20,
        ),
        (
            "groups of codes in a frame",
            webp(&[extended(2), chunk(b"ANIM", &[0; 6]), chunk(b"ANMF", &frame)]),
            50 << 20,
        ),
        ("metadata in a PNG", text, 0),
        ("a comment in a GIF", remark, 0),
    ] {
        let header = ImageHeader::read(&file, &DecodeLimits::default()).unwrap();
        let spec = spec(ResizePolicy::Stretch);
        let (mut announced, mut outcome) = (0, Ok(Vec::new()));
        let looking = peak(|| announced = Decoder::peak_bytes(&file, &header, &spec));
        assert!(looking < 4096, "{name}: {looking} bytes to find out");
        let taken = peak(|| outcome = Decoder::new().unwrap().prepare(&file, &header, &spec));
        outcome.unwrap();
        assert!(taken >= least, "{name}: takes only {taken}");
        assert!(taken <= announced + FIXED_BYTES, "{name}: {taken} of {announced}");
        assert!(
            announced < 3 * taken + 3 * file.len() as u64 + FIXED_BYTES,
            "{name}: {announced} is far above {taken}"
        );
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
