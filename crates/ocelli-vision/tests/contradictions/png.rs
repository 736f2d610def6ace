use ocelli_vision::ImageError;

use crate::{changed, exif, picture, refused};

/// A picture of 3 x 2 greys, with chunks before and behind its image.
fn png(before: &[([u8; 4], &[u8])], behind: &[([u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = png::Encoder::new(&mut file, 3, 2).write_header().unwrap();
    for (kind, body) in before {
        writer.write_chunk(png::chunk::ChunkType(*kind), body).unwrap();
    }
    writer.write_image_data(&[1, 2, 3, 4, 5, 6]).unwrap();
    for (kind, body) in behind {
        writer.write_chunk(png::chunk::ChunkType(*kind), body).unwrap();
    }
    writer.finish().unwrap();
    file
}

/// Where the type of the first chunk of this kind stands.
fn chunk(file: &[u8], kind: &[u8]) -> usize {
    file.windows(4).position(|word| word == kind).unwrap()
}

const TEXT: ([u8; 4], &[u8]) = (*b"tEXt", b"title\0text");

#[test]
fn a_chunk_before_the_image_must_fit_its_checksum() {
    let file = png(&[TEXT], &[TEXT]);
    let (before, behind) = (chunk(&file, b"tEXt"), file.len() - 12 - 8);
    picture(&file);
    for at in [before + 3, before + 6, before + 15] {
        let mut file = file.clone();
        file[at] ^= 1;
        assert!(matches!(refused(&file), ImageError::Corrupt(_)), "byte {at}");
    }
    // Behind the image they do no harm.
    let mut file = file.clone();
    file[behind] ^= 1;
    picture(&file);
}

#[test]
fn a_chunk_before_the_image_must_have_a_type_and_an_end() {
    picture(&png(&[(*b"te_1", b"abc")], &[]));
    let refusal = refused(&png(&[(*b"tE\0t", b"abc")], &[]));
    assert!(matches!(refusal, ImageError::Corrupt(_)), "{refusal}");
    picture(&png(&[], &[(*b"tE\0t", b"abc")]));

    let file = png(&[TEXT], &[]);
    assert_eq!(refused(&file[..chunk(&file, b"tEXt") + 6]), ImageError::Truncated);
}

#[test]
fn the_checksum_of_the_pixels_is_compared_and_what_follows_them_is_not_needed() {
    let file = png(&[], &[]);
    let (image, end) = (chunk(&file, b"IDAT"), chunk(&file, b"IEND"));
    picture(&file[..end - 4]);
    picture(&file[..end - 8]);
    // A length of the end means nothing.
    picture(&changed(&file, end - 1, 9));
    let mut damaged = file.clone();
    damaged[end - 5] ^= 1;
    assert!(matches!(refused(&damaged), ImageError::Corrupt(_)));
    assert_eq!(refused(&file[..image + 10]), ImageError::Truncated);
    let file = png(&[], &[TEXT]);
    assert_eq!(refused(&file[..chunk(&file, b"tEXt") + 6]), ImageError::Truncated);
}

#[test]
fn the_last_exif_chunk_counts() {
    let (upright, turned) = (exif(1), exif(6));
    let (upright, turned) = ((*b"eXIf", &upright[..]), (*b"eXIf", &turned[..]));
    for (before, behind, size) in [
        (vec![turned], vec![], (2, 3)),
        (vec![turned, upright], vec![], (3, 2)),
        (vec![upright], vec![turned], (2, 3)),
        (vec![turned, (*b"eXIf", b"MM")], vec![], (3, 2)),
    ] {
        assert_eq!(
            picture(&png(&before, &behind)).size(),
            size,
            "{before:?} {behind:?}"
        );
    }
}
