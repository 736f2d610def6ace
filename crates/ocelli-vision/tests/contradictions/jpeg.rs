use ocelli_vision::ImageError;

use crate::{changed, exif, picture, refused, support::golden};

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let mut segment = vec![0xFF, marker];
    segment.extend((body.len() as u16 + 2).to_be_bytes());
    segment.extend(body);
    segment
}

/// A photo of 181 x 121 pixels with `segments` in front.
fn photo(segments: &[Vec<u8>]) -> Vec<u8> {
    let file = golden("420.jpg");
    [&file[..2], &segments.concat(), &file[2..]].concat()
}

const STORED: (u32, u32) = (181, 121);
const TURNED: (u32, u32) = (121, 181);

fn tagged(block: &[u8]) -> Vec<u8> {
    segment(0xE1, &[b"Exif\0\0", block].concat())
}

#[test]
fn markers_that_mean_nothing_before_the_image_are_refused() {
    let file = golden("420.jpg");
    assert_eq!(file[3], 0xE0, "the first segment's marker");
    for marker in (0x01..=0xBF).chain([0xC8, 0xD8, 0xDE, 0xDF]).chain(0xF0..=0xFD) {
        let refusal = refused(&changed(&file, 3, marker));
        assert!(
            matches!(refusal, ImageError::Corrupt(_)),
            "{marker:#x}: {refusal}"
        );
    }
    // Of applications, and a comment.
    for marker in (0xE1..=0xEF).chain([0xFE]) {
        assert_eq!(picture(&changed(&file, 3, marker)).size(), STORED, "{marker:#x}");
    }
}

#[test]
fn an_exif_block_of_several_segments_is_put_together() {
    let block = exif(6);
    let (start, end) = block.split_at(14);
    for parts in [
        vec![&block[..]],
        vec![start, end],
        vec![b"", &block],
        vec![&block, &exif(3)],
    ] {
        let segments: Vec<_> = parts.iter().map(|part| tagged(part)).collect();
        assert_eq!(picture(&photo(&segments)).size(), TURNED, "{parts:?}");
    }
    assert_eq!(picture(&photo(&[tagged(start)])).size(), STORED);
}

#[test]
fn an_exif_block_behind_the_start_of_the_image_says_nothing() {
    let file = golden("progressive.jpg");
    let scans: Vec<_> = file
        .windows(2)
        .enumerate()
        .filter_map(|(at, pair)| (pair == [0xFF, 0xDA]).then_some(at))
        .collect();
    let with_block = |at: usize| [&file[..at], &tagged(&exif(6)), &file[at..]].concat();
    assert_eq!(picture(&with_block(scans[0])).size(), TURNED);
    assert_eq!(picture(&with_block(scans[1])).size(), STORED);
}

/// Pillow takes BigTIFF's number for TIFF's, and signed numbers for others.
#[test]
fn an_exif_block_of_an_odd_kind_is_read() {
    let file = golden("exif-6.jpg");
    let turned = picture(&file);
    assert_eq!(turned.size(), (61, 83));
    for (at, was, byte) in [(33, 0x2A, 0x2B), (43, 3, 8)] {
        assert_eq!(file[at], was);
        assert_eq!(picture(&changed(&file, at, byte)), turned, "byte {at}");
    }
}
