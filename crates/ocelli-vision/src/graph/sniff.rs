//! What a file is that is not ONNX, by its first bytes: the mistakes that people make with model files.

use super::GraphError;
use crate::Format;

const HEAD: usize = 512;

/// What the file is instead, with what to do about it; `None` where it may be ONNX.
pub(super) fn lookalike(bytes: &[u8]) -> Option<GraphError> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let text = head.trim_ascii_start().to_ascii_lowercase();
    let begins = |words: &[u8]| text.starts_with(words);
    if let Some(id) = foreign(head, &text) {
        return Some(GraphError::Foreign(Format::called(id)));
    }
    let (looks_like, remedy) = if bytes.is_empty() {
        ("an empty file", "download or export it again")
    } else if begins(b"version https://git-lfs.") {
        (
            "a Git LFS pointer, a placeholder for the file that was not fetched",
            "run `git lfs pull` in its repository",
        )
    } else if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
        ("a zip archive", "unpack it")
    } else if begins(b"<!doctype html") || begins(b"<html") {
        (
            "a web page, which is what a failed download leaves",
            "download the file itself, not the page about it",
        )
    } else if begins(b"<?xml") {
        ("XML", "name the .onnx file")
    } else if at(0, b"\x1f\x8b") {
        ("a gzip archive", "unpack it")
    } else if begins(b"{") || begins(b"[") {
        ("JSON text", "name the .onnx file")
    } else {
        return None;
    };
    Some(GraphError::NotOnnx { looks_like, remedy })
}

/// The format of a model that begins with `head`, which is `text` in small letters.
fn foreign(head: &[u8], text: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let has = |word: &[u8]| memchr::memmem::find(text, word).is_some();
    if at(0, b"PK\x03\x04") {
        return archive(head);
    }
    let is_safetensors = at(8, b"{\"") && head[..8].iter().skip(5).all(|byte| *byte == 0);
    let is_json = text.starts_with(b"{");
    if matches!(head, [0x80, 2..=5, ..]) {
        Some("pickle")
    } else if at(0, b"\x89HDF\r\n\x1a\n") {
        Some("keras")
    } else if is_safetensors {
        Some("weights")
    } else if at(4, b"TFL3") {
        Some("tflite")
    } else if at(4, b"ORTM") {
        Some("ort")
    } else if at(0, b"GGUF") {
        Some("gguf")
    } else if text.starts_with(b"<?xml") && has(b"<net ") {
        Some("openvino")
    } else if is_json && (has(b"\"graph-model\"") || has(b"\"layers-model\"") || has(b"\"modeltopology\"")) {
        Some("tensorflow-js")
    } else if is_json && has(b"\"magic\":\"pir\"") {
        Some("paddle")
    } else {
        None
    }
}

/// Of zip archives, by the name of the first file in them.
fn archive(head: &[u8]) -> Option<&'static str> {
    const NAME: usize = 30;
    let length = head.get(26..28)?;
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let name = str::from_utf8(head.get(NAME..NAME + length)?).ok()?;
    // PyTorch puts everything into one folder, which is called as the file was.
    let inside = name.split_once('/').map(|(_, inside)| inside);
    match (name, inside) {
        ("MAR-INF/MANIFEST.json" | "MAR-INF/", _) => Some("torchserve"),
        ("metadata.json" | "config.json" | "model.weights.h5", _) => Some("keras"),
        (_, Some("archive_format")) => Some("torch-export"),
        (_, Some(inside)) if inside.starts_with("data/weights/") => Some("torch-export"),
        (_, Some("data.pkl" | "version" | "byteorder")) => Some("pytorch"),
        (_, Some(inside)) if inside.starts_with("data/") || inside.starts_with("code/") => Some("pytorch"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mistakes_are_known() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
                "git lfs pull",
            ),
            (b"PK\x03\x04\x14\0", "zip"),
            (&zip("readme.txt"), "zip"),
            (b"<?xml version=\"1.0\"?><note>", "it is XML"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"<HTML>", "web page"),
            (b"\x1f\x8b\x08", "gzip"),
            (b" {\"a\": 1}", "JSON"),
        ] {
            let said = lookalike(bytes)
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(lookalike(b"\x08\x08\x12\x07pytorch").is_none());
    }

    /// The header of a zip archive's first file.
    fn zip(name: &str) -> Vec<u8> {
        let mut head = b"PK\x03\x04".to_vec();
        head.resize(26, 0);
        head.extend((name.len() as u16).to_le_bytes());
        head.extend([0, 0]);
        head.extend(name.as_bytes());
        head
    }

    #[test]
    fn models_in_other_formats_are_known_by_their_first_bytes() {
        let safetensors = [&3000_u64.to_le_bytes()[..], b"{\"__metadata__\":{}"].concat();
        for (bytes, id) in [
            (&b"\x80\x02}q\0"[..], "pickle"),
            (b"\x89HDF\r\n\x1a\n\0", "keras"),
            (&safetensors, "weights"),
            (b"\x1c\0\0\0TFL3", "tflite"),
            (b"\x1c\0\0\0ORTM", "ort"),
            (b"GGUF\x03\0\0\0", "gguf"),
            (
                b"<?xml version=\"1.0\"?>\n<net name=\"a\" version=\"11\">",
                "openvino",
            ),
            (b"{\"format\": \"graph-model\", \"generatedBy\"", "tensorflow-js"),
            (b"{\"modelTopology\": {", "tensorflow-js"),
            (b"{\"base_code\":{\"magic\":\"pir\",", "paddle"),
            (&zip("net/data.pkl"), "pytorch"),
            (&zip("archive/data/0"), "pytorch"),
            (&zip("net/data/weights/weight_0"), "torch-export"),
            (&zip("MAR-INF/MANIFEST.json"), "torchserve"),
            (&zip("metadata.json"), "keras"),
        ] {
            assert_eq!(
                lookalike(bytes),
                Some(GraphError::Foreign(Format::called(id))),
                "{id}"
            );
        }
    }
}
