//! The texts that exporters keep in an ONNX file beside the graph (`metadata_props`), as far as they are used.

use super::wire::{Fields, Malformed, Value};

/// Keys that say something about images or classes.
const KEYS: [&str; 7] = [
    "names",
    "labels",
    "classes",
    "character",
    "imgsz",
    "task",
    "author",
];

/// A text beyond this length is not kept: the 21,843 names of ImageNet-21k with their synonyms have 1 MB.
const MOST_BYTES: usize = 4 << 20;

/// What a file's metadata says under the keys that matter; the first of entries with the same key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata(Vec<(&'static str, Result<String, &'static str>)>);

impl Metadata {
    /// The text under a key; the error is why there is one that cannot be read.
    pub(crate) fn get(&self, key: &str) -> Option<Result<&str, &'static str>> {
        let (_, text) = self.0.iter().find(|(known, _)| *known == key)?;
        Some(text.as_deref().map_err(|problem| *problem))
    }

    pub(super) fn add(&mut self, entry: &[u8]) -> Result<(), Malformed> {
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        for field in Fields::of(entry) {
            match field? {
                (1, Value::Bytes(found)) => key = found,
                (2, Value::Bytes(found)) => value = found,
                _ => {}
            }
        }
        let Some(key) = KEYS.into_iter().find(|known| known.as_bytes() == key) else {
            return Ok(());
        };
        if self.get(key).is_none() {
            self.0.push((key, text(value)));
        }
        Ok(())
    }
}

fn text(value: &[u8]) -> Result<String, &'static str> {
    if value.len() > MOST_BYTES {
        return Err("it has more than 4 MiB");
    }
    let text = std::str::from_utf8(value).map_err(|_| "it is not UTF-8")?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::graph::testing::StringStringEntryProto;

    fn read(entries: &[(&str, &str)]) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in entries {
            let entry = StringStringEntryProto {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
            };
            metadata.add(&entry.encode_to_vec()).unwrap();
        }
        metadata
    }

    #[test]
    fn only_texts_that_are_used_are_kept_and_only_once() {
        let metadata = read(&[
            ("names", "a"),
            ("names", "b"),
            ("stride", "32"),
            ("task", "detect"),
        ]);
        assert_eq!(metadata.get("names"), Some(Ok("a")));
        assert_eq!(metadata.get("task"), Some(Ok("detect")));
        assert_eq!(metadata.get("stride"), None);
        let many: Vec<_> = (0..10_000).map(|_| ("character", "x")).collect();
        assert_eq!(read(&many).0.len(), 1);
    }

    #[test]
    fn long_texts_and_other_encodings_are_no_reason_to_refuse_a_model() {
        let long = "x".repeat(MOST_BYTES + 1);
        let metadata = read(&[("names", &long), ("labels", &long[1..])]);
        assert_eq!(metadata.get("names"), Some(Err("it has more than 4 MiB")));
        assert_eq!(metadata.get("labels").unwrap().map(str::len), Ok(MOST_BYTES));
        let mut metadata = Metadata::default();
        metadata.add(b"\x0a\x05names\x12\x01\xff").unwrap();
        assert_eq!(metadata.get("names"), Some(Err("it is not UTF-8")));
        assert!(metadata.add(b"\x0a\x05na").is_err());
    }
}
