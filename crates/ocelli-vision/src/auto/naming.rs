//! Names for models whose files do not state one.

use std::path::Path;

use super::variant;

/// As long as a package's name may be.
const MOST: usize = 64;

/// A name of the characters that a package's name may have, as near to `text` as possible; `model` where nothing is left.
#[must_use]
pub fn name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-') {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches(['.', '_', '-']);
    let name = name.get(..MOST).unwrap_or(name).trim_end_matches(['.', '_', '-']);
    if name.is_empty() {
        "model".to_owned()
    } else {
        name.to_owned()
    }
}

/// The most specific part of a path: names that every model has (`model.onnx`, `onnx`, a version) are skipped.
pub(super) fn of_path(path: &Path) -> String {
    // A path such as `.` has no names of its own.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let says_something = |part: &&str| match part.strip_suffix(".onnx") {
        Some(stem) => variant::family(stem) != "model",
        None => !matches!(*part, "onnx" | "model" | "/") && part.chars().any(|c| !c.is_ascii_digit()),
    };
    let mut parts = absolute.iter().rev().filter_map(|part| part.to_str());
    let found = parts.find(says_something).unwrap_or("model");
    name(found.strip_suffix(".onnx").unwrap_or(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_what_they_may_have() {
        for (text, expected) in [
            ("ResNet 50 (v2)", "resnet-50-v2"),
            ("../up", "up"),
            ("Modèle", "mod-le"),
            ("!!", "model"),
            ("vit_base.patch16-224", "vit_base.patch16-224"),
        ] {
            assert_eq!(name(text), expected);
        }
        assert_eq!(name(&"x".repeat(100)).len(), MOST);
    }

    #[test]
    fn the_part_of_a_path_that_says_most() {
        for (path, expected) in [
            ("/models/Cats/1/model.onnx", "cats"),
            ("/models/vit/onnx/model_quantized.onnx", "vit"),
            ("/models/resnet18.onnx", "resnet18"),
            ("/models/bird-net/", "bird-net"),
            ("/models/model_of_cats", "model_of_cats"),
        ] {
            assert_eq!(of_path(Path::new(path)), expected);
        }
    }
}
