//! WebP files of any chunks.

pub(crate) fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut chunk = kind.to_vec();
    chunk.extend((body.len() as u32).to_le_bytes());
    chunk.extend(body);
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

pub(crate) fn webp(chunks: &[&[u8]]) -> Vec<u8> {
    let body = [b"WEBP", chunks.concat().as_slice()].concat();
    chunk(b"RIFF", &body)
}
