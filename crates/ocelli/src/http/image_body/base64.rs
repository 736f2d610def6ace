//! Base64 in either alphabet, with or without padding, in one line or many.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, STANDARD_PAD_INDIFFERENT};
use bytes::Bytes;

/// Characters decoded at once when a text has to be cleaned first. A multiple of 4, so that each block stands alone.
const BLOCK: usize = 4096;

/// Decodes a text, whose `data:` URL prefix is skipped.
pub(super) fn decode(text: &str) -> Result<Bytes, String> {
    let text = payload(text)?.trim_ascii();
    let decoded = match STANDARD_PAD_INDIFFERENT.decode(text) {
        Ok(decoded) => decoded,
        Err(_) => clean(text)?,
    };
    Ok(decoded.into())
}

/// The text without the prefix of a `data:` URL. Other URLs are a mistake.
fn payload(text: &str) -> Result<&str, String> {
    let scheme = text.split(':').next().unwrap_or_default();
    if scheme.len() == text.len() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(text);
    }
    if !scheme.eq_ignore_ascii_case("data") {
        return Err("it is a URL, and URLs are not fetched; send the image itself in base64".to_owned());
    }
    match text.split_once(";base64,") {
        Some((_, encoded)) => Ok(encoded),
        None => Err("its data: URL has no ;base64, before the data".to_owned()),
    }
}

/// Decodes base64 with white space or in the URL-safe alphabet, without a copy of the text, which may be large.
fn clean(text: &str) -> Result<Vec<u8>, String> {
    let unpadded = text.trim_end_matches(|end: char| end == '=' || end.is_ascii_whitespace());
    let padding = text[unpadded.len()..]
        .bytes()
        .filter(|byte| *byte == b'=')
        .count();
    let mut decoded = Vec::with_capacity(unpadded.len() / 4 * 3 + 3);
    let mut block = Vec::with_capacity(BLOCK);
    let mut characters = 0;
    for (offset, byte) in unpadded.bytes().enumerate() {
        block.push(match byte {
            b'-' => b'+',
            b'_' => b'/',
            b'+' | b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => byte,
            _ if byte.is_ascii_whitespace() => continue,
            _ => {
                let shown = unpadded.get(offset..).and_then(|rest| rest.chars().next());
                let shown = shown.unwrap_or(char::REPLACEMENT_CHARACTER);
                return Err(format!("it is not valid base64: {shown:?} at offset {offset}"));
            }
        });
        characters += 1;
        if block.len() == BLOCK {
            append(&block, &mut decoded)?;
            block.clear();
        }
    }
    if padding > 0 && (characters + padding) % 4 != 0 {
        return Err("it is not valid base64: its padding is wrong, or part of it is missing".to_owned());
    }
    append(&block, &mut decoded)?;
    Ok(decoded)
}

fn append(block: &[u8], decoded: &mut Vec<u8>) -> Result<(), String> {
    STANDARD_NO_PAD
        .decode_vec(block, decoded)
        .map_err(|_| "it is not valid base64: its last character is incomplete".to_owned())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (text, advice) in [
            ("http://example.com/a.jpg", "URLs are not fetched"),
            ("s3://bucket/a.jpg", "URLs are not fetched"),
            ("data:image/svg+xml,<svg/>", ";base64,"),
            ("a*k=", "'*' at offset 1"),
            ("aaé=", "'é' at offset 2"),
            ("photo.jpg", "'.' at offset 5"),
            ("aGk==", "padding"),
            ("aGk_a", "incomplete"),
            ("a", "incomplete"),
            ("aG=k", "'=' at offset 2"),
        ] {
            let error = decode(text).expect_err(text);
            assert!(error.contains(advice), "{text}: {error}");
        }
        assert_eq!(decode("DATA:image/png;base64,aGk=").as_deref(), Ok(&b"hi"[..]));
    }

    proptest! {
        #[test]
        fn every_way_to_write_it_is_read(
            bytes in prop::collection::vec(any::<u8>(), 0..10_000),
            line in 1_usize..100,
            way in 0..4,
        ) {
            let text = match way {
                0 => STANDARD.encode(&bytes),
                1 => URL_SAFE.encode(&bytes),
                2 => URL_SAFE_NO_PAD.encode(&bytes),
                _ => STANDARD_NO_PAD.encode(&bytes),
            };
            prop_assert_eq!(decode(&text), Ok(Bytes::from(bytes.clone())));
            let mut lines = String::new();
            for (index, character) in text.chars().enumerate() {
                lines.extend((index % line == 0).then_some("\r\n"));
                lines.push(character);
            }
            prop_assert_eq!(decode(&lines), Ok(Bytes::from(bytes)));
        }
    }
}
