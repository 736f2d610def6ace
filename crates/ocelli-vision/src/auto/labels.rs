//! Names of classes, as people keep them: a line each, or JSON as Hugging Face, Keras and own scripts write it.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Number, Value};

use super::{
    AutoError,
    json::{Document, Place},
};

/// More classes than any classifier has; ImageNet-21k has 21,843.
pub(super) const MOST: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) names: Vec<String>,
    /// Such as `config.json (id2label)`.
    pub(super) from: String,
}

impl Labels {
    /// Whether they are what transformers writes for classes without names.
    pub(super) fn are_placeholders(&self) -> bool {
        self.names.iter().all(|name| name.starts_with("LABEL_"))
    }
}

/// Reads the text of a file of labels: JSON where it is some, else a label a line.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<String>, AutoError> {
    let text = text.trim_start_matches('\u{feff}');
    let json = text
        .trim_start()
        .starts_with(['{', '['])
        .then(|| Document::parse(path, text));
    let is_called_json = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let names = match json {
        Some(Ok(document)) => of_json(&document.root())?,
        Some(Err(error)) if is_called_json => return Err(error),
        // A name may begin with a bracket.
        _ => text
            .trim_end()
            .lines()
            .map(|line| line.trim().to_owned())
            .collect(),
    };
    if names.is_empty() {
        return Err(AutoError::unsuitable(path, "has no labels: write one a line"));
    }
    Ok(names)
}

pub(super) fn parse_json(path: &Path, text: &str) -> Result<Vec<String>, AutoError> {
    of_json(&Document::parse(path, text)?.root())
}

/// A list of names, an object from numbers to names (`id2label`, Keras' class index) or from names to numbers
/// (`class_indices`, `label2id`), or one of these under its usual key.
fn of_json(place: &Place<'_>) -> Result<Vec<String>, AutoError> {
    if let Some(inner) = [
        "id2label",
        "label_names",
        "object_type_names",
        "labels",
        "classes",
        "names",
    ]
    .iter()
    .find_map(|key| place.get(key))
    {
        return of_json(&inner);
    }
    match place.value() {
        Value::Array(_) => Ok(place.read::<Vec<Name>>()?.into_iter().map(Name::into_text).collect()),
        Value::Object(entries) if entries.values().all(Value::is_u64) => {
            let pairs = entries.iter().map(|(name, index)| (index.as_u64(), name.clone()));
            in_order(place, pairs.collect())
        }
        Value::Object(_) => by_number(place),
        _ => Err(place.error("is no list of labels: write [\"cat\", \"dog\"], {\"0\": \"cat\", \"1\": \"dog\"}, or plain lines")),
    }
}

/// An object from numbers, as texts, to names.
pub(super) fn by_number(place: &Place<'_>) -> Result<Vec<String>, AutoError> {
    if !place.value().is_object() {
        return Err(place.error("must be an object such as {\"0\": \"cat\", \"1\": \"dog\"}"));
    }
    let names: BTreeMap<String, Name> = place.read()?;
    let pairs = names
        .into_iter()
        .map(|(index, name)| (index.parse().ok(), name.into_text()));
    in_order(place, pairs.collect())
}

/// A name, a number such as the label of a digit, or Keras' pair of WordNet's identifier and a name.
#[derive(Deserialize)]
#[serde(untagged, expecting = "it must be a text")]
enum Name {
    Text(String),
    Number(Number),
    Pair(IgnoredAny, String),
}

impl Name {
    fn into_text(self) -> String {
        match self {
            Self::Text(name) | Self::Pair(_, name) => name.trim().to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// The names in the order of their numbers, which must be 0, 1, 2 and so on.
fn in_order(place: &Place<'_>, pairs: Vec<(Option<u64>, String)>) -> Result<Vec<String>, AutoError> {
    if pairs.len() > MOST {
        return Err(place.error(format!(
            "has more than {MOST} labels: check that it is the right file"
        )));
    }
    let count = pairs.len();
    let mut sorted = BTreeMap::new();
    for (index, name) in pairs {
        let index = index.ok_or_else(|| {
            place.error("has a key that is no number: write {\"0\": \"cat\", \"1\": \"dog\"}")
        })?;
        sorted.insert(index, name);
    }
    if let Some(missing) = (0..count as u64).find(|index| !sorted.contains_key(index)) {
        return Err(place.error(format!(
            "has no name for class {missing}: every class from 0 on needs one"
        )));
    }
    Ok(sorted.into_values().collect())
}

/// Checks that there is a name for each of the classes of an output.
pub(super) fn check_count(names: &[String], classes: u64, output: &str) -> Result<(), String> {
    let count = names.len() as u64;
    if count == classes {
        return Ok(());
    }
    let is_background = names.first().is_some_and(|first| {
        let first = first.to_ascii_lowercase();
        first.contains("background") || first == "dummy"
    });
    let remedy = match (count, classes) {
        (_, 1) if count == 2 => {
            "one number says how likely the second of two classes is (sigmoid), and the first is the rest: leave only \
             the second label"
        }
        _ if classes == count + 1 && !is_background => {
            "models from TensorFlow often have a class for the background before all others: if this one does, put a \
             line `background` before the first label"
        }
        _ if count == classes + 1 && is_background => {
            "the first label is the background class that this model does not have: remove it"
        }
        _ => "write one label for each class, in the order of training",
    };
    let (labels, s) = (plural(count, "label"), plural(classes, "class"));
    Err(format!("{labels}, but output `{output}` has {s}: {remedy}"))
}

fn plural(count: u64, word: &str) -> String {
    match (count, word.ends_with('s')) {
        (1, _) => format!("1 {word}"),
        (_, true) => format!("{count} {word}es"),
        (_, false) => format!("{count} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        parse(Path::new("labels"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_each() {
        let expected = ["cat", "", "crane", "crane"].map(String::from);
        assert_eq!(parsed("\u{feff}cat\r\n\n crane\ncrane\n\n\n").unwrap(), expected);
        assert!(parsed(" \n").unwrap_err().contains("one a line"));
    }

    #[test]
    fn every_json_form() {
        for text in [
            r#"["cat", "dog"]"#,
            r#" {"1": "dog", "0": "cat"}"#,
            r#"{"0": ["n02121620", "cat"], "1": ["n02084071", "dog"]}"#,
            r#"{"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}"#,
            r#"{"dog": 1, "cat": 0}"#,
            r#"{"label_names": ["cat", "dog"]}"#,
            r#"{"object_type_names": ["cat", "dog"]}"#,
        ] {
            assert_eq!(parsed(text).unwrap(), ["cat", "dog"], "{text}");
        }
        // Numbers, not texts: 10 comes after 2.
        let many: Vec<String> = (0..12)
            .map(|index| format!("\"{index}\": \"c{index}\""))
            .collect();
        let names = parsed(&format!("{{{}}}", many.join(","))).unwrap();
        assert_eq!((names[2].as_str(), names[10].as_str()), ("c2", "c10"));
    }

    #[test]
    fn json_of_another_form_is_refused_with_its_place() {
        for (text, word) in [
            (r#"{"0": "cat", "2": "dog"}"#, "no name for class 1"),
            (r#"{"cat": "0"}"#, "no number"),
            (r#"{"id2label": {"0": 1.5, "x": {}}}"#, "id2label"),
            (r#"["cat", {}]"#, "`[1]`"),
            (r#"{"names": ["cat", {}]}"#, "`names[1]`"),
            (r#"{"": {}}"#, "`\"\"`"),
            ("[1.5, 2, 3, {}]", "`[3]`"),
            ("{\"0\": {}}", "`0`"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn names_may_begin_with_a_bracket() {
        assert_eq!(parsed("[other]\ncat\n").unwrap(), ["[other]", "cat"]);
        let error = parse(Path::new("labels.json"), "[\"cat\"").unwrap_err();
        assert!(error.to_string().contains("not valid JSON"), "{error}");
    }

    #[test]
    fn counts_must_match_and_known_mistakes_have_a_remedy() {
        let names = |count: usize, first: &str| {
            let mut names = vec![String::from("x"); count];
            names[0] = first.into();
            names
        };
        assert_eq!(check_count(&names(3, "a"), 3, "logits"), Ok(()));
        for (names, classes, words) in [
            (
                names(1000, "tench"),
                1001,
                [
                    "1000 labels, but output `logits` has 1001 classes",
                    "before the first label",
                ],
            ),
            (names(1001, "background"), 1000, ["1001 labels", "remove it"]),
            (
                names(2, "ham"),
                1,
                ["has 1 class:", "leave only the second label"],
            ),
            (names(5, "a"), 7, ["5 labels", "one label for each class"]),
        ] {
            let error = check_count(&names, classes, "logits").unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
