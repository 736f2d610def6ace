//! Headers that contradict their files are read as Pillow 13 reads them, or refused as it refuses them. The pixels below are
//! Pillow's.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use ocelli_vision::{DecodeLimits, Decoder, ImageError, ImageHeader, InputSpec, Manifest};

/// Bytes before the palette or the pixels: the file's header and the image's.
const HEADERS: usize = 14 + 40;

/// A BMP of 2 x 2 pixels whose header says that they begin at `offset`.
fn bmp(offset: u32, bits: u16, palette: &[u8], rows: &[u8]) -> Vec<u8> {
    let length = (HEADERS + palette.len() + rows.len()) as u32;
    let mut file = b"BM".to_vec();
    for word in [length, 0, offset, 40, 2, 2] {
        file.extend(word.to_le_bytes());
    }
    file.extend(1_u16.to_le_bytes());
    file.extend(bits.to_le_bytes());
    for word in [0, rows.len() as u32, 0, 0, (palette.len() / 4) as u32, 0] {
        file.extend(word.to_le_bytes());
    }
    assert_eq!(file.len(), HEADERS);
    file.extend(palette);
    file.extend(rows);
    file
}

/// Rows from the bottom up, blue first, each filled up to four bytes.
fn colour(offset: u32) -> Vec<u8> {
    bmp(
        offset,
        24,
        &[],
        &[1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0],
    )
}

fn with_palette(offset: u32) -> Vec<u8> {
    let palette: Vec<u8> = (1..=4)
        .flat_map(|index| [index, index + 50, index + 100, 0])
        .collect();
    bmp(offset, 8, &palette, &[0, 1, 0, 0, 2, 3, 0, 0])
}

fn spec() -> InputSpec {
    let text = r#"
        schema = 1
        name = "test"
        version = "1"
        task = "classification"
        [input]
        name = "image"
        dtype = "uint8"
        width = 2
        height = 2
        layout = "nhwc"
        channels = "rgb"
        resize = { policy = "stretch" }
        interpolation = "nearest"
        [[output]]
        name = "logits"
        activation = "softmax"
    "#;
    Manifest::parse(text).unwrap().input
}

fn pixels(file: &[u8]) -> Vec<u8> {
    let header = ImageHeader::read(file, &DecodeLimits::default()).unwrap();
    Decoder::new().unwrap().prepare(file, &header, &spec()).unwrap()
}

#[test]
fn a_bmp_whose_pixels_begin_nowhere_or_inside_its_palette_has_them_behind_its_headers() {
    let colours = [9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4];
    for offset in [0, 54] {
        assert_eq!(pixels(&colour(offset)), colours, "24 bits, offset {offset}");
    }
    let colours = [103, 53, 3, 104, 54, 4, 101, 51, 1, 102, 52, 2];
    for offset in [0, 54, 70] {
        assert_eq!(pixels(&with_palette(offset)), colours, "8 bits, offset {offset}");
    }
}

fn refused(file: &[u8]) -> ImageError {
    let read = ImageHeader::read(file, &DecodeLimits::default());
    let decoded = read.and_then(|header| Decoder::new().unwrap().prepare(file, &header, &spec()));
    decoded.expect_err("Pillow refuses it")
}

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/inputs");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

#[test]
fn a_gif_whose_first_frame_has_no_side_is_refused() {
    let file = golden("plain.gif");
    assert_eq!(pixels(&file).len(), 12);
    let mut frame = 13 + (3 << ((file[10] & 7) + 1));
    // Extensions: a label, then blocks, the last one empty.
    while file[frame] == 0x21 {
        frame += 2;
        while file[frame] != 0 {
            frame += 1 + usize::from(file[frame]);
        }
        frame += 1;
    }
    assert_eq!(file[frame], 0x2C);
    for side in [5, 7] {
        let mut file = file.clone();
        file[frame + side..frame + side + 2].fill(0);
        assert!(matches!(refused(&file), ImageError::Corrupt(_)), "{side}");
    }
}

#[test]
fn a_webp_that_announces_more_than_it_has_is_refused() {
    for name in ["lossless.webp", "lossy.webp"] {
        let mut file = golden(name);
        assert_eq!(pixels(&file).len(), 12);
        // Bytes behind the end do no harm.
        file.extend([0; 10]);
        assert_eq!(pixels(&file).len(), 12, "{name}");
        let announced = u32::from_le_bytes(file[4..8].try_into().unwrap());
        for wrong in [file.len() as u32, announced - 2, 0] {
            file[4..8].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(refused(&file), ImageError::Truncated, "{name}, {wrong}");
        }
    }
}
