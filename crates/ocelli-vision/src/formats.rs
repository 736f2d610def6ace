//! Formats of models that are not ONNX: which files are in one, and what to do with them instead.
//!
//! Owns the sentence about each format (`formats.toml`, which the converter reads, too). Every place that meets such a file
//! says that sentence: a file or a folder that is named, a package, a repository here or on the hub, and an ONNX file that is
//! something else inside. It looks at names alone and opens nothing.

use std::{fmt, path::Path, sync::LazyLock};

use serde::Deserialize;

static TABLE: LazyLock<Vec<Format>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("formats.toml"))
        .expect("formats.toml is part of the program, and tested");
    table.format
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    format: Vec<Format>,
}

/// A format of models that Ocelli does not serve. Displayed as what to say of a file in it, behind the file's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Format {
    id: String,
    files: Vec<String>,
    #[serde(default)]
    parts: Vec<String>,
    #[serde(default)]
    paired: bool,
    sentence: String,
}

impl Format {
    /// All that are known, those that can be converted first.
    pub fn all() -> &'static [Self] {
        &TABLE
    }

    /// The format of the file at `path` by its name and by the names beside it.
    pub fn of_path(path: &Path) -> Option<&'static Self> {
        let name = path.file_name()?.to_str()?;
        Self::of_name(name, |other| path.with_file_name(other).exists())
    }

    /// The file of a folder to name in an error, and its format: the first in the table. Names may have
    /// folders in front, with `/` between, and those with the fewest come first.
    pub fn among<'a>(names: &[&'a str]) -> Option<(&'a str, &'static Self)> {
        let formats = names.iter().filter_map(|&path| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let is_beside = |other: &str| {
                names.iter().any(|path| {
                    let other_path = path.rsplit_once('/').unwrap_or(("", path));
                    other_path == (folder, other)
                })
            };
            // A package of Core ML is a folder.
            let around = folder
                .split('/')
                .find_map(|folder| Self::of_name(folder, |_| false));
            Some((path, around.or_else(|| Self::of_name(name, is_beside))?))
        });
        formats.min_by_key(|(path, format)| (format.rank(), path.matches('/').count(), *path))
    }

    /// The names of its files: patterns in lower case, in which `*` stands for any characters.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Whether a file is in this format only beside another one (`.bin`).
    pub fn is_paired(&self) -> bool {
        self.paired
    }

    /// The sentence to append to the file's name.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    pub(crate) fn called(id: &str) -> &'static Self {
        let found = TABLE.iter().find(|format| format.id == id);
        found.expect("names of formats in this crate are tested against formats.toml")
    }

    fn of_name(name: &str, is_beside: impl Fn(&str) -> bool) -> Option<&'static Self> {
        let lower = name.to_ascii_lowercase();
        let partner = TABLE.iter().find(|format| {
            let stem = format
                .parts
                .iter()
                .find_map(|part| lower.strip_suffix(part.as_str()));
            let stem = stem.and_then(|stem| name.get(..stem.len()));
            stem.is_some_and(|stem| {
                let mut whole = format.files.iter().filter_map(|file| file.strip_prefix('*'));
                whole.any(|ending| is_beside(&format!("{stem}{ending}")))
            })
        });
        partner.or_else(|| {
            let fitting = TABLE.iter().filter_map(|format| {
                let files = format.files.iter().filter(|pattern| fits(pattern, &lower));
                let length = files.map(String::len).max()?;
                let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
                let has_part = || {
                    format
                        .parts
                        .iter()
                        .any(|part| is_beside(&format!("{stem}{part}")))
                };
                (!format.paired || has_part()).then_some((length, format))
            });
            fitting
                .max_by_key(|(length, _)| *length)
                .map(|(_, format)| format)
        })
    }

    fn rank(&self) -> usize {
        TABLE
            .iter()
            .position(|format| format.id == self.id)
            .unwrap_or(TABLE.len())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Whether `name` is as `pattern` says, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return name == pattern;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else {
            return false;
        };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Option<&'static str> {
        Format::of_name(name, |_| false).map(|format| format.id.as_str())
    }

    #[test]
    fn names_say_the_format_and_the_longest_pattern_counts() {
        for (name, id) in [
            ("Net.PT", "pytorch"),
            ("net.pt2", "torch-export"),
            ("net.keras", "keras"),
            ("net.weights.h5", "tensorflow-weights"),
            ("pytorch_model-00001-of-00002.bin", "weights"),
            ("group1-shard1of3.bin", "tensorflow-js"),
            ("group1-shard1of3", "tensorflow-js"),
            ("net.weights.bin", "tensorflow-js"),
            ("inference.json", "paddle"),
            ("model.json", "tensorflow-js"),
            ("frozen_inference_graph.pb", "frozen-graph"),
            ("saved_model.pb", "saved-model"),
        ] {
            assert_eq!(of(name), Some(id), "{name}");
        }
        for name in ["net.onnx", "config.json", "labels.txt", "net", "tflite", "net.pb"] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn a_file_beside_another_may_belong_to_it() {
        let beside = |name: &str, other: &str| {
            Format::of_name(name, |asked| asked == other).map(|format| format.id.as_str())
        };
        assert_eq!(beside("net.bin", "net.xml"), Some("openvino"));
        assert_eq!(beside("Net.BIN", "Net.param"), Some("device"));
        assert_eq!(beside("net.bin", "other.xml"), Some("weights"));
        // XML is much else.
        assert_eq!(beside("net.xml", "net.bin"), Some("openvino"));
        assert_eq!(of("net.xml"), None);
    }

    #[test]
    fn of_several_files_the_one_that_can_be_converted_is_named() {
        let among =
            |names: &[&'static str]| Format::among(names).map(|(name, format)| (name, format.id.as_str()));
        for (names, expected) in [
            (
                &[
                    "config.json",
                    "openvino/net.xml",
                    "openvino/net.bin",
                    "pytorch_model.bin",
                    "tf_model.h5",
                ][..],
                Some(("pytorch_model.bin", "weights")),
            ),
            (&["net.bin", "net.xml"], Some(("net.bin", "openvino"))),
            (&["a/net.tflite", "net.tflite"], Some(("net.tflite", "tflite"))),
            (
                &[
                    "net.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
                    "README.md",
                ],
                Some((
                    "net.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
                    "core-ml",
                )),
            ),
            (&["README.md"], None),
        ] {
            assert_eq!(among(names), expected);
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.pt", "net.pt", true),
            ("*.pt", "net.pt2", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("group*-shard*.bin", "group1-shard1of1.bin", true),
            ("model.json", "my-model.json", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// A sentence that begins with a verb, follows a name, and has no end of its own.
    #[test]
    fn sentences_follow_a_name() {
        for format in Format::all() {
            let sentence = format.sentence();
            assert!(
                ["is ", "holds "].iter().any(|verb| sentence.starts_with(verb)),
                "{sentence}"
            );
            assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
            assert_eq!(sentence.matches('`').count() % 2, 0, "{sentence}");
            let twins = Format::all().iter().filter(|other| other.id == format.id);
            assert_eq!(twins.count(), 1, "{}", format.id);
        }
    }
}
