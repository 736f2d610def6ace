use ocelli_vision::ImageError;

use crate::{
    changed, exif, picture, refused,
    riff::{chunk, webp},
    support::golden,
};

const ANIMATION: u8 = 2;
const EXIF: u8 = 8;
const ALPHA: u8 = 0x10;
/// Where the first chunk begins.
const FIRST: usize = 12;

fn header(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let sides = [width, height].map(|side| (side - 1).to_le_bytes());
    let sides = sides.iter().flat_map(|side| &side[..3]);
    let body: Vec<u8> = [flags, 0, 0, 0].iter().chain(sides).copied().collect();
    chunk(b"VP8X", &body)
}

/// The chunks of a file behind its header.
fn content(name: &str, from: usize) -> Vec<u8> {
    golden(name).split_off(from)
}

/// 83 x 62 pixels.
fn lossless() -> Vec<u8> {
    content("lossless.webp", FIRST)
}

/// A frame at an even place.
fn frame(left: u8, top: u8, flags: u8, image: &[u8]) -> Vec<u8> {
    let place = [left / 2, 0, 0, top / 2, 0, 0, 82, 0, 0, 61, 0, 0, 40, 0, 0, flags];
    chunk(b"ANMF", &[&place, image].concat())
}

fn corrupt(file: &[u8], what: &str) {
    let refusal = refused(file);
    assert!(matches!(refusal, ImageError::Corrupt(_)), "{what}: {refusal}");
}

#[test]
fn a_webp_that_announces_more_than_it_has_is_refused() {
    for name in ["lossless.webp", "lossy.webp"] {
        let mut file = golden(name);
        picture(&file);
        // Bytes behind the end do no harm.
        file.extend([0; 10]);
        picture(&file);
        let announced = u32::from_le_bytes(file[4..8].try_into().unwrap());
        for wrong in [file.len() as u32, announced - 2, 0] {
            file[4..8].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(refused(&file), ImageError::Truncated, "{name}, {wrong}");
        }
    }
}

/// Whatever its flags say, nothing lies below it.
#[test]
fn the_first_frame_is_not_blended() {
    let file = golden("animated.webp");
    let flags = 67;
    assert_eq!(file[flags], 2, "blending is off");
    let seen = picture(&file);
    for byte in [0, 1, 3] {
        assert_eq!(picture(&changed(&file, flags, byte)), seen, "{byte}");
    }
    // Its own data, not its header, say how large it is.
    assert_eq!(picture(&changed(&file, 58, 7)), seen);
}

#[test]
fn what_is_no_frame_is_passed_over() {
    let file = golden("animated.webp");
    for (at, was) in [(44, b"ANMF"), (68, b"VP8L")] {
        assert_eq!(&file[at..at + 4], was);
        // The second frame covers a part of the canvas.
        assert_eq!(picture(&changed(&file, at, 0)).sum(), 773_300, "byte {at}");
    }
}

#[test]
fn a_frame_is_put_where_it_says() {
    let still = picture(&golden("lossless.webp"));
    let anim = chunk(b"ANIM", &[9; 6]);
    let frame = frame(2, 4, 0, &lossless());
    let seen = picture(&webp(&[&header(ANIMATION, 90, 70), &anim, &frame]));
    assert_eq!(seen.size(), (90, 70));
    for (y, x) in (0..70).flat_map(|y| (0..90).map(move |x| (y, x))) {
        let inside = (2..85).contains(&x) && (4..66).contains(&y);
        let expected = if inside { still.at(x - 2, y - 4) } else { [0; 3] };
        assert_eq!(seen.at(x, y), expected, "{x}, {y}");
    }
}

#[test]
fn an_alpha_channel_without_its_flag_is_passed_over() {
    let file = golden("lossy-alpha.webp");
    assert_eq!(file[20], ALPHA);
    let seen = picture(&file);
    let without = changed(&file, 20, 0);
    assert_eq!(picture(&without), seen);
    // A flag alone makes no channel.
    let image = content("lossy.webp", FIRST);
    let flagged = webp(&[&header(ALPHA, 83, 62), &image]);
    assert_eq!(picture(&flagged), picture(&golden("lossy.webp")));
}

#[test]
fn an_exif_chunk_without_its_flag_says_nothing() {
    let file = |flags| webp(&[&header(flags, 83, 62), &lossless(), &chunk(b"EXIF", &exif(6))]);
    assert_eq!(picture(&file(EXIF)).size(), (62, 83));
    assert_eq!(picture(&file(0)).size(), (83, 62));
}

#[test]
fn chunks_that_contradict_each_other_are_refused() {
    let (lossless, lossy) = (lossless(), content("lossy.webp", FIRST));
    let alpha = &content("lossy-alpha.webp", 30)[..50];
    let image = &content("lossy-alpha.webp", 80);
    let anim = chunk(b"ANIM", &[0; 6]);
    let whole = frame(0, 0, 0, &lossless);
    let still = |flags| header(flags, 83, 62);
    for (what, chunks) in [
        ("an unknown flag", vec![&still(1)[..], &lossless]),
        ("a canvas of another size", vec![&header(0, 84, 62), &lossless]),
        ("two headers", vec![&still(0), &still(0), &lossless]),
        ("two images", vec![&still(0), &lossless, &lossy]),
        ("alpha behind its image", vec![&still(ALPHA), image, alpha]),
        ("alpha of a lossless image", vec![&still(ALPHA), alpha, &lossless]),
        ("no image", vec![&still(ALPHA), alpha]),
        (
            "an image in an animation",
            vec![&still(ANIMATION), &anim, &lossless],
        ),
        ("a frame in no animation", vec![&still(ANIMATION), &whole]),
        ("a frame without the flag", vec![&still(0), &anim, &whole]),
        (
            "a second frame outside",
            vec![&still(ANIMATION), &anim, &whole, &frame(2, 0, 0, &lossless)],
        ),
    ] {
        corrupt(&webp(&chunks), what);
    }
    let half = &lossless[..lossless.len() / 2];
    assert_eq!(refused(&webp(&[&still(0), half])), ImageError::Truncated);
}

#[test]
fn lossy_data_of_an_unknown_kind_are_refused() {
    let file = golden("lossy.webp");
    let tag = FIRST + 8;
    // Bits: not a key frame, a version, whether it is shown.
    for byte in [file[tag] | 1, file[tag] | 8, file[tag] & !0x10] {
        corrupt(&changed(&file, tag, byte), "tag");
    }
    corrupt(&changed(&file, tag + 3, 0), "signature");
    // The length of the first partition.
    assert_eq!(refused(&changed(&file, tag + 2, 0xFF)), ImageError::Truncated);
}
