use ocelli_vision::ImageError;

use crate::{changed, picture, refused, support::golden};

/// Four pixels whose indices are 0 to 3, in the middle of a screen of 4 x 2.
fn gif(palette: [[u8; 3]; 2], extensions: &[u8]) -> Vec<u8> {
    let mut file = b"GIF89a\x04\0\x02\0\x80\0\0".to_vec();
    file.extend(palette.as_flattened());
    file.extend(extensions);
    file.extend(b",\x01\0\0\0\x02\0\x02\0\0");
    // Codes of three bits, and of four from the eighth on: clear, 0 to 3, end.
    file.extend(b"\x02\x03\x44\x34\x05\0;");
    file
}

/// A control block, with a transparent index or without.
fn control(transparent: Option<u8>) -> Vec<u8> {
    let (flags, index) = transparent.map_or((0, 9), |index| (1, index));
    vec![0x21, 0xF9, 4, flags, 0, 0, index, 0]
}

#[test]
fn indices_beyond_the_palette_are_black() {
    let seen = picture(&gif([[10, 20, 30], [40, 50, 60]], &[]));
    let [first, second, black] = [[10, 20, 30], [40, 50, 60], [0; 3]];
    let rows = [[first, first, second, first], [first, black, black, first]];
    assert_eq!(seen.rgb.as_chunks().0, rows.as_flattened());
}

#[test]
fn indices_beyond_a_palette_of_greys_are_greys() {
    let seen = picture(&gif([[0; 3], [1; 3]], &[]));
    let rows = [[0, 0, 1, 0], [0, 2, 3, 0]];
    let greys: Vec<_> = rows.as_flattened().iter().flat_map(|&grey| [grey; 3]).collect();
    assert_eq!(seen.rgb, greys);
}

#[test]
fn what_a_frame_does_not_cover_has_the_last_transparent_index() {
    let palette = [[10, 20, 30], [40, 50, 60]];
    let corner = |blocks: &[Option<u8>]| {
        let extensions: Vec<_> = blocks.iter().flat_map(|&index| control(index)).collect();
        picture(&gif(palette, &extensions)).at(0, 0)
    };
    assert_eq!(corner(&[None]), palette[0]);
    assert_eq!(corner(&[Some(1)]), palette[1]);
    assert_eq!(corner(&[Some(200)]), [0; 3]);
    assert_eq!(corner(&[Some(1), None]), palette[1]);
    assert_eq!(corner(&[Some(1), Some(0)]), palette[0]);
}

#[test]
fn a_comment_that_swallows_the_first_frame_shows_the_second() {
    let file = golden("animated.gif");
    // The length of the first block of the comment that precedes the first frame.
    let comment = 783;
    assert_eq!(&file[comment - 2..=comment], [0x21, 0xFE, 26]);
    let seen = picture(&changed(&file, comment, 200));
    // Index 64 of a palette of 64 colours.
    assert_eq!(seen.at(25, 6), [0; 3]);
}

#[test]
fn a_first_frame_without_a_side_is_refused() {
    let file = golden("plain.gif");
    picture(&file);
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
