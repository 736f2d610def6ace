use ocelli_vision::ImageError;

use crate::{
    changed, picture, refused,
    support::golden,
    tiff_file::{file, plain},
};

/// Two pixels above two others.
const COLOURS: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const RGB: u16 = 2;

fn with(changes: &[(u16, &[u16])], blocks: &[&[u8]]) -> Vec<u8> {
    file(plain(2, 2, 3, RGB), changes, blocks)
}

#[test]
fn strips_are_put_together() {
    let (upper, lower) = COLOURS.split_at(6);
    assert_eq!(picture(&with(&[], &[&COLOURS])).rgb, COLOURS);
    assert_eq!(picture(&with(&[(278, &[1])], &[upper, lower])).rgb, COLOURS);
    // More rows than there are.
    assert_eq!(picture(&with(&[(278, &[9])], &[&COLOURS])).rgb, COLOURS);
}

#[test]
fn colours_are_those_that_the_tags_say() {
    let grey = |kind| picture(&file(plain(2, 1, 1, kind), &[], &[&[10, 250]])).rgb;
    assert_eq!(grey(1), [10, 10, 10, 250, 250, 250]);
    assert_eq!(grey(0), [245, 245, 245, 5, 5, 5], "white is zero");

    let pixels = [100, 50, 0, 100, 7, 8, 9, 0];
    let alpha = |extra: u16| picture(&file(plain(2, 1, 4, RGB), &[(338, &[extra])], &[&pixels])).rgb;
    assert_eq!(alpha(2), [100, 50, 0, 7, 8, 9]);
    assert_eq!(alpha(1), [255, 127, 0, 0, 0, 0], "colours times alpha");
}

#[test]
fn what_is_not_decoded_is_named() {
    for (changes, what) in [
        (vec![(258, &[16, 16, 16][..])], "16 bits per channel"),
        (vec![(259, &[7][..])], "compression 7"),
        (vec![(262, &[6][..])], "colours of kind 6"),
        (vec![(277, &[2][..])], "2 channels"),
        (vec![(284, &[2][..])], "planes of their own"),
        (vec![(339, &[3, 3, 3][..])], "numbers of format 3"),
        (vec![(322, &[8][..]), (323, &[8][..])], "tiles of 8 x 8"),
    ] {
        let refusal = refused(&with(&changes, &[&COLOURS]));
        assert!(matches!(refusal, ImageError::Unsupported(_)), "{what}: {refusal}");
        assert!(refusal.to_string().contains(what), "{refusal}");
    }
}

#[test]
fn tags_that_contradict_each_other_are_refused() {
    for (what, changes) in [
        ("more strips than places", vec![(278, &[1][..])]),
        ("strips of no rows", vec![(278, &[0][..])]),
        ("two widths", vec![(256, &[2, 2][..])]),
        ("no palette", vec![(262, &[3][..]), (277, &[1][..])]),
        (
            "a short palette",
            vec![(262, &[3][..]), (277, &[1][..]), (320, &[1, 2, 3][..])],
        ),
    ] {
        let refusal = refused(&with(&changes, &[&COLOURS]));
        assert!(matches!(refusal, ImageError::Corrupt(_)), "{what}: {refusal}");
    }
    let whole = with(&[], &[&COLOURS]);
    assert_eq!(refused(&with(&[], &[&COLOURS[..11]])), ImageError::Truncated);
    assert_eq!(refused(&whole[..whole.len() - 1]), ImageError::Truncated);
    // The type of the width: text.
    assert!(matches!(refused(&changed(&whole, 12, 2)), ImageError::Corrupt(_)));
}

#[test]
fn compressed_pixels_end_where_the_tags_say() {
    for name in ["lzw.tif", "alpha.tif", "grey.tif"] {
        let file = golden(name);
        let seen = picture(&file);
        let mut entries = file.windows(4);
        let lengths = entries
            .position(|entry| matches!(entry, [0x17, 1, 3 | 4, 0]))
            .unwrap();
        // The tag becomes an unknown one.
        let refusal = refused(&changed(&file, lengths + 1, 0x7F));
        assert!(matches!(refusal, ImageError::Corrupt(_)), "{name}: {refusal}");
        assert_eq!(picture(&[&file[..], b"more"].concat()), seen, "{name}");
    }
}
