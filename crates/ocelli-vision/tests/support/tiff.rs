//! TIFF files of any tags.

const TILE_WIDTH: u16 = 322;

/// A file of these tags, in their order, whose strips or tiles are `blocks`. Tags have shorts, places and lengths have longs.
pub(crate) fn tiff(tags: &[(u16, &[u16])], blocks: &[&[u8]]) -> Vec<u8> {
    let tiled = tags.iter().any(|&(tag, _)| tag == TILE_WIDTH);
    let lengths: Vec<u32> = blocks.iter().map(|block| block.len() as u32).collect();
    let entries = tags.len() + 2;
    let mut behind: Vec<u8> = Vec::new();
    let start = 8 + 2 + 12 * entries + 4;
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((entries as u16).to_le_bytes());
    let mut entry = |tag: u16, kind: u16, count: usize, bytes: &[u8]| {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend((count as u32).to_le_bytes());
        let mut value = bytes.to_vec();
        if bytes.len() > 4 {
            value = ((start + behind.len()) as u32).to_le_bytes().to_vec();
            behind.extend(bytes);
        }
        value.resize(4, 0);
        file.extend(value);
    };
    let mut room = 8 * lengths.len();
    for &(tag, values) in tags {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        room += if bytes.len() > 4 { bytes.len() } else { 0 };
        entry(tag, 3, values.len(), &bytes);
    }
    // Behind all lists, of which those of one block are none.
    let mut at = (start + room) as u32;
    let mut offsets = Vec::new();
    for length in &lengths {
        offsets.extend(at.to_le_bytes());
        at += length;
    }
    let lengths: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
    let (places, sizes) = if tiled { (324, 325) } else { (273, 279) };
    entry(places, 4, blocks.len(), &offsets);
    entry(sizes, 4, blocks.len(), &lengths);
    file.extend([0; 4]);
    file.extend(behind);
    file.resize(start + room, 0);
    file.extend(blocks.concat());
    file
}

/// The tags of an image of 8 bits in one strip that is not compressed. `kind`: 2 is red, green and blue.
pub(crate) fn plain(width: u16, height: u16, samples: u16, kind: u16) -> Vec<(u16, Vec<u16>)> {
    vec![
        (256, vec![width]),
        (257, vec![height]),
        (258, vec![8; samples.into()]),
        (259, vec![1]),
        (262, vec![kind]),
        (277, vec![samples]),
        (278, vec![height]),
    ]
}

/// `tags` with others, or with other values.
pub(crate) fn file(mut tags: Vec<(u16, Vec<u16>)>, changes: &[(u16, &[u16])], blocks: &[&[u8]]) -> Vec<u8> {
    for &(tag, values) in changes {
        tags.retain(|&(other, _)| other != tag);
        tags.push((tag, values.to_vec()));
    }
    let tags: Vec<_> = tags.iter().map(|(tag, values)| (*tag, &values[..])).collect();
    tiff(&tags, blocks)
}
