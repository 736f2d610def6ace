//! Whatever the bytes: an answer or an error, never a panic, and never more pixels than were asked for.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod support;

use std::fs;

use ocelli_vision::{DecodeLimits, Decoder, ImageHeader, InputSpec, Interpolation, ResizePolicy, Rounding};
use proptest::{prelude::*, sample::Index};
use support::{FOLDER, golden, spec};

/// Small, so that a header that was flipped to a large size costs no time.
const LIMITS: DecodeLimits = DecodeLimits {
    max_pixels: 300_000,
    max_scans: 16,
};

fn input(exif: bool, antialias: bool) -> InputSpec {
    let resize = ResizePolicy::ShortestEdge {
        size: 28,
        rounding: Rounding::Even,
    };
    InputSpec {
        antialias,
        exif,
        ..spec(24, 16, resize, Interpolation::Bicubic)
    }
}

fn check(bytes: &[u8]) {
    let Ok(header) = ImageHeader::read(bytes, &LIMITS) else {
        return;
    };
    assert!(u64::from(header.width) * u64::from(header.height) <= LIMITS.max_pixels);
    let mut decoder = Decoder::new().unwrap();
    for spec in [input(true, true), input(false, false)] {
        if let Ok(pixels) = decoder.prepare(bytes, &header, &spec) {
            assert_eq!(pixels.len(), spec.elements());
        }
    }
}

fn inputs() -> Vec<Vec<u8>> {
    let files = fs::read_dir(FOLDER).unwrap();
    let mut names: Vec<_> = files
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
        .iter()
        .map(|name| golden(name))
        .filter(|file| file.len() < 20_000)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_behind_any_signature(kind in 0..7_usize, tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let signature: [&[u8]; 7] =
            [b"", b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"RIFF\x40\0\0\0WEBPVP8", b"GIF89a", b"BM", b"II*\0\x08\0\0\0"];
        check(&[signature[kind], &tail].concat());
    }

    #[test]
    fn truncated_files(file in any::<Index>(), length in any::<Index>()) {
        let files = inputs();
        let file = file.get(&files);
        check(&file[..length.index(file.len())]);
    }

    #[test]
    fn files_with_flipped_bits(
        file in any::<Index>(),
        flips in prop::collection::vec((any::<Index>(), 0..8_u8, any::<bool>()), 1..12),
    ) {
        let files = inputs();
        let mut file = file.get(&files).clone();
        for (at, bit, early) in flips {
            // Most of what a parser trusts stands at the beginning.
            let range = if early { file.len().min(200) } else { file.len() };
            file[at.index(range)] ^= 1 << bit;
        }
        check(&file);
    }

    #[test]
    fn files_with_pieces_moved(file in any::<Index>(), from in any::<Index>(), to in any::<Index>(), length in 1..64_usize) {
        let files = inputs();
        let mut file = file.get(&files).clone();
        let (from, to) = (from.index(file.len()), to.index(file.len()));
        let length = length.min(file.len() - from.max(to));
        file.copy_within(from..from + length, to);
        check(&file);
    }
}
