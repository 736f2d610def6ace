//! What the metadata of an ONNX file says of classes and images: Ultralytics' `names`, `imgsz` and `task`, Paddle's
//! `character`, and `labels` and `classes` of others.
//!
//! Nothing here refuses a model that would run without metadata: each unusable entry becomes a note with the reason. Files
//! beside the model and options take precedence.

use std::path::Path;

use super::{
    Note, Preset,
    labels::{self, Labels},
    python,
};
use crate::Graph;

/// Keys of names of classes, the most reliable first, and whether commas separate the names.
const NAMES: [(&str, bool); 4] = [
    ("names", true),
    ("labels", true),
    ("classes", true),
    ("character", false),
];

/// Tasks that are not classes, as Ultralytics and others call them.
const NOT_CLASSES: [&str; 9] = [
    "detect",
    "segment",
    "semantic",
    "pose",
    "obb",
    "object-detection",
    "image-segmentation",
    "semantic-segmentation",
    "instance-segmentation",
];

/// The names of the classes of `output`, which has `classes` of them.
pub(super) fn labels(
    graph: &Graph,
    output: &str,
    classes: Option<u64>,
    notes: &mut Vec<Note>,
) -> Option<Labels> {
    for (key, has_commas) in NAMES {
        let Some(text) = graph.metadata.get(key) else {
            continue;
        };
        let names = text
            .map_err(str::to_owned)
            .and_then(|text| names(text, has_commas))
            .and_then(|names| match classes {
                None => Err(format!(
                    "the graph leaves open how many classes `{output}` has; --labels FILE names them all the same"
                )),
                Some(classes) => labels::check_count(&names, classes, output).map(|()| names),
            });
        match names {
            Ok(names) => {
                let from = format!("the ONNX metadata `{key}`");
                return Some(Labels { names, from });
            }
            Err(problem) => notes.push(Note::warning(format!(
                "the ONNX metadata `{key}` is not used as labels: {problem}"
            ))),
        }
    }
    None
}

/// Names as JSON or as Python prints them, else one a line, else with commas between them.
fn names(text: &str, has_commas: bool) -> Result<Vec<String>, String> {
    let text = text.trim_matches(['\u{feff}', '\r', '\n']);
    let names = if text.trim_start().starts_with(['{', '[', '(']) {
        // JSON is not always Python, and Python is mostly not JSON.
        labels::parse_json(Path::new("it"), text).or_else(|_| python::names(text))?
    } else if text.contains('\n') {
        text.lines().map(|line| line.trim().to_owned()).collect()
    } else if has_commas {
        text.split(',').map(|name| name.trim().to_owned()).collect()
    } else {
        vec![text.trim().to_owned()]
    };
    match names.iter().position(String::is_empty) {
        _ if names.len() > labels::MOST => Err(format!("it has more than {} names", labels::MOST)),
        Some(empty) => Err(format!("it has no name for class {empty}")),
        None => Ok(names),
    }
}

/// The preset of the library that trained the model.
pub(super) fn preset(graph: &Graph) -> Option<Preset> {
    let is = |key, value| graph.metadata.get(key) == Some(Ok(value));
    (is("author", "Ultralytics") && is("task", "classify")).then_some(Preset::YoloCls)
}

/// A task that is not one of classes.
pub(super) fn made_for(graph: &Graph) -> Option<&str> {
    let task = graph.metadata.get("task")?.ok()?;
    NOT_CLASSES.contains(&task).then_some(task)
}

/// Width and height of `imgsz`, which has the height first: `[480, 640]`, or `640` for both.
pub(super) fn size(graph: &Graph, notes: &mut Vec<Note>) -> Option<[u32; 2]> {
    let text = graph.metadata.get("imgsz")?;
    let size = text.ok().and_then(sides);
    if size.is_none() {
        notes.push(Note::warning(
            "the ONNX metadata `imgsz` is not used: it is neither a number of pixels nor a list of height and width",
        ));
    }
    size
}

fn sides(text: &str) -> Option<[u32; 2]> {
    let text = text.trim();
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .or_else(|| text.strip_prefix('(')?.strip_suffix(')'))
        .unwrap_or(text);
    let mut sides = inner
        .split(',')
        .map(|side| side.trim().parse::<u32>().ok().filter(|&side| side > 0));
    let height = sides.next()??;
    let width = match sides.next() {
        None => height,
        Some(width) => width?,
    };
    sides.next().is_none().then_some([width, height])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_names() {
        for text in [
            "{0: 'cat', 1: 'dog'}",
            "['cat', 'dog']",
            r#"["cat", "dog"]"#,
            r#"{"0": "cat", "1": "dog"}"#,
            r#"{"dog": 1, "cat": 0}"#,
            "cat\ndog",
            "cat\r\ndog\r\n",
            "cat, dog",
        ] {
            assert_eq!(names(text, true).unwrap(), ["cat", "dog"], "{text}");
        }
        // A comma is a character.
        assert_eq!(names(",", false).unwrap(), [","]);
        assert_eq!(names("a\n,", false).unwrap(), ["a", ","]);
        for (text, words) in [
            ("", "no name for class 0"),
            ("cat,,dog", "no name for class 1"),
            ("{0: 'cat', 5: 'dog'}", "no name for class 1"),
            ("{0: 'cat", "no end"),
            ("[[1]]", "begins neither"),
        ] {
            let said = names(text, true).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn sizes_have_the_height_first() {
        for (text, size) in [
            ("[480, 640]", Some([640, 480])),
            ("(480, 640)", Some([640, 480])),
            ("[224]", Some([224, 224])),
            (" 224 ", Some([224, 224])),
            ("[0, 640]", None),
            ("[-1, 640]", None),
            ("[1, 2, 3]", None),
            ("[]", None),
            ("[480, 640", None),
            ("big", None),
            ("99999999999", None),
        ] {
            assert_eq!(sides(text), size, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[\\[\\](){}:,'\"\\\\ 0-9a-f\n-]{0,60}", has_commas in any::<bool>()) {
            let _ = names(&text, has_commas);
            let _ = sides(&text);
        }
    }
}
