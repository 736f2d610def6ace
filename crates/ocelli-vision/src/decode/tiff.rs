//! The first page of a TIFF to RGB: greys, colours and palettes of 8 bits, in strips or tiles.
//!
//! Written here because it is small, and because no light crate reads palettes and takes no more memory than a strip. The
//! decompressors are those of other formats.

use std::io::{ErrorKind, Read};

use flate2::bufread::ZlibDecoder;
use weezl::{BitOrder, LzwStatus};

use super::size_frame;
use crate::{
    ImageError, ImageHeader,
    header::tiff::{Colours, Compression, Page},
};

pub(super) fn decode(bytes: &[u8], header: &ImageHeader, frame: &mut Vec<u8>) -> Result<(), ImageError> {
    let page = Page::read(bytes)?;
    let frame = size_frame(frame, header.width, header.height);
    let palette = page.palette().unwrap_or([[0; 4]; 256]);
    let samples = page.samples as usize;
    let (width, height) = (page.width as usize, page.height as usize);
    let (block_width, block_height) = (page.block.0 as usize, page.block.1 as usize);
    let across = width.div_ceil(block_width);
    let mut block = vec![0; page.block_bytes() as usize];
    for index in 0..across * height.div_ceil(block_height) {
        let (left, top) = (index % across * block_width, index / across * block_height);
        let rows = block_height.min(height - top);
        let block = &mut block[..rows * block_width * samples];
        decompress(page.compression, page.data(bytes, index)?, block)?;
        let lines = frame.chunks_exact_mut(width).skip(top);
        for (row, line) in block.chunks_exact_mut(block_width * samples).zip(lines) {
            if page.differences {
                for at in samples..row.len() {
                    row[at] = row[at].wrapping_add(row[at - samples]);
                }
            }
            for (pixel, out) in row.chunks_exact(samples).zip(&mut line[left..]) {
                *out = colour(page.colours, pixel, &palette);
            }
        }
    }
    Ok(())
}

fn colour(colours: Colours, pixel: &[u8], palette: &[[u8; 4]; 256]) -> [u8; 4] {
    match (colours, pixel) {
        (Colours::Palette, &[index, ..]) => palette[usize::from(index)],
        (Colours::InvertedGrey, &[grey, ..]) => [!grey; 4],
        (Colours::RgbTimesAlpha, &[r, g, b, alpha]) => [r, g, b, alpha].map(|times| {
            (u32::from(times) * 255)
                .checked_div(alpha.into())
                .map_or(0, |colour| colour.min(255) as u8)
        }),
        (Colours::Rgb | Colours::RgbTimesAlpha, &[r, g, b, ..]) => [r, g, b, 0],
        (_, pixel) => [pixel[0]; 4],
    }
}

/// Fills `block`. What follows in `data` is ignored.
fn decompress(compression: Compression, data: &[u8], block: &mut [u8]) -> Result<(), ImageError> {
    match compression {
        Compression::None => {
            let data = data.get(..block.len()).ok_or(ImageError::Truncated)?;
            block.copy_from_slice(data);
            Ok(())
        }
        Compression::Deflate => {
            ZlibDecoder::new(data)
                .read_exact(block)
                .map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => ImageError::Truncated,
                    _ => ImageError::Corrupt(error.to_string()),
                })
        }
        Compression::Lzw => lzw(data, block),
        Compression::PackBits => pack_bits(data, block).ok_or(ImageError::Truncated),
    }
}

fn lzw(mut data: &[u8], mut block: &mut [u8]) -> Result<(), ImageError> {
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
    while !block.is_empty() {
        let step = decoder.decode_bytes(data, block);
        data = &data[step.consumed_in..];
        block = &mut block[step.consumed_out..];
        let status = step
            .status
            .map_err(|error| ImageError::Corrupt(error.to_string()))?;
        if !block.is_empty() && !matches!(status, LzwStatus::Ok) {
            return Err(ImageError::Truncated);
        }
    }
    Ok(())
}

/// Runs: a count less one and as many bytes, or 257 less a count and one byte.
fn pack_bits(mut data: &[u8], mut block: &mut [u8]) -> Option<()> {
    while !block.is_empty() {
        let (&head, rest) = data.split_first()?;
        data = rest;
        let count = match head {
            0..128 => usize::from(head) + 1,
            128 => continue,
            129.. => 257 - usize::from(head),
        };
        let (out, after) = block.split_at_mut(count.min(block.len()));
        let taken = if head < 128 { count } else { 1 };
        let run = data.get(..taken)?;
        if head < 128 {
            out.copy_from_slice(&run[..out.len()]);
        } else {
            out.fill(run[0]);
        }
        (data, block) = (&data[taken..], after);
    }
    Some(())
}
