use crate::picture;

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

#[test]
fn pixels_that_begin_nowhere_or_in_the_palette_are_looked_for_behind_it() {
    let colours = [9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4];
    for offset in [0, 54] {
        assert_eq!(picture(&colour(offset)).rgb, colours, "24 bits, offset {offset}");
    }
    let colours = [103, 53, 3, 104, 54, 4, 101, 51, 1, 102, 52, 2];
    for offset in [0, 54, 70] {
        assert_eq!(
            picture(&with_palette(offset)).rgb,
            colours,
            "8 bits, offset {offset}"
        );
    }
}
