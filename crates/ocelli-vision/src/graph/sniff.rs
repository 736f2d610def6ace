//! What a file is that is not ONNX, by its first bytes: the mistakes that people make with model files.

use super::GraphError;

/// How many bytes decide.
const HEAD: usize = 512;

/// What the file is instead, with what to do about it; `None` where it may be ONNX.
pub(super) fn lookalike(bytes: &[u8]) -> Option<GraphError> {
    const CONVERT: &str = "make an ONNX file of it with tools/to_onnx.py";
    let head = &bytes[..bytes.len().min(HEAD)];
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let text = head.trim_ascii_start().to_ascii_lowercase();
    let begins = |words: &[u8]| text.starts_with(words);
    let (looks_like, remedy) = if bytes.is_empty() {
        ("an empty file", "download or export it again")
    } else if begins(b"version https://git-lfs.") {
        (
            "a Git LFS pointer, which stands for the file that was not fetched",
            "run `git lfs pull` in its repository",
        )
    } else if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
        (
            "a zip archive (PyTorch's .pt, Keras' .keras and TorchServe's .mar are zip archives)",
            CONVERT,
        )
    } else if matches!(head, [0x80, 2..=5, ..]) {
        ("a Python pickle, which Ocelli never opens", CONVERT)
    } else if at(0, b"\x89HDF\r\n\x1a\n") {
        ("an HDF5 file (Keras' .h5)", CONVERT)
    } else if at(8, b"{\"") && bytes[..8].iter().skip(5).all(|byte| *byte == 0) {
        ("a safetensors file, which holds weights and no graph", CONVERT)
    } else if at(4, b"TFL3") {
        ("a TensorFlow Lite file", CONVERT)
    } else if at(4, b"ORTM") {
        (
            "a file in ONNX Runtime's own format (.ort)",
            "use the .onnx file that it was made from",
        )
    } else if begins(b"<!doctype html") || begins(b"<html") {
        (
            "a web page, which is what a failed download leaves",
            "download the file itself, not the page about it",
        )
    } else if begins(b"<?xml") {
        (
            "XML (OpenVINO keeps graphs so)",
            "use the .onnx file that it was made from",
        )
    } else if at(0, b"\x1f\x8b") {
        ("a gzip archive", "unpack it")
    } else if begins(b"{") || begins(b"[") {
        ("JSON text", "name the .onnx file")
    } else {
        return None;
    };
    Some(GraphError::NotOnnx { looks_like, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mistakes_are_known() {
        let safetensors = [&3000_u64.to_le_bytes()[..], b"{\"__metadata__\":{}"].concat();
        for (bytes, word) in [
            (&b""[..], "empty"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
                "git lfs pull",
            ),
            (b"PK\x03\x04\x14\0", "zip"),
            (b"\x80\x02}q\0", "pickle"),
            (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
            (&safetensors, "safetensors"),
            (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
            (b"\x1c\0\0\0ORTM", ".ort"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"<HTML>", "web page"),
            (b"<?xml version=\"1.0\"?>", "OpenVINO"),
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
}
