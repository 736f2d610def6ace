//! Model files of strangers: whatever stands in them, a package that is within its limits or an error, never a panic.

use std::fs;
use std::path::Path;

use ocelli_vision::auto::{self, Hints};
use ocelli_vision::{Graph, Manifest, ModelPackage};
use proptest::{prelude::*, sample::Index};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/models");
const BUILTIN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../models/efficientnet-lite0/model.toml"
);
const HEADS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ocelli/tests/data/heads/model.onnx"
);

/// Values and pieces that a manifest may hold where another belongs.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "1",
    "224",
    "4096",
    "4097",
    "65536",
    "4294967295",
    "18446744073709551616",
    "1e308",
    "1e-308",
    "nan",
    "-inf",
    "true",
    "\"\"",
    "\"stretch\"",
    "\"embedding\"",
    "\"../model.onnx\"",
    "[]",
    "[0, 0, 0]",
    "[1e-40, 1, 1]",
    "{}",
    "{ policy = \"letterbox\", size = [1, 8192] }",
    "{ policy = \"shortest-edge\", size = 8193 }",
    "{ policy = \"crop-ratio\", ratio = 1e-300 }",
    "[input]",
    "[[output]]",
    "[run]",
    "\u{0}",
    "\u{202e}",
];

/// What holds of every manifest that is accepted, however it came about.
fn check(manifest: &Manifest) {
    const MOST_ELEMENTS: usize = 4096 * 4096 * 3;
    let input = &manifest.input;
    assert!((1..=MOST_ELEMENTS).contains(&input.elements()), "{input:?}");
    assert!(manifest.outputs.len() <= 16);
    assert!(manifest.name.len() <= 64 && !manifest.name.contains(['/', '\0']));
    let finite = input
        .mean
        .iter()
        .chain(&input.std)
        .all(|number| number.is_finite());
    assert!(
        finite && input.scale.is_finite() && !input.std.contains(&0.0),
        "{input:?}"
    );
}

#[test]
fn the_corpus_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, onnx) = (folder.path().join("model.toml"), folder.path().join("model.onnx"));
    fs::write(folder.path().join("labels.txt"), "cat\ndog\n").unwrap();
    let mut files = 0;
    for entry in fs::read_dir(CORPUS).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let damaged = if path.extension().unwrap() == "toml" {
            fs::copy(HEADS, &onnx).unwrap();
            &manifest
        } else {
            fs::copy(BUILTIN, &manifest).unwrap();
            &onnx
        };
        fs::write(damaged, &bytes).unwrap();
        if let Ok(package) = ModelPackage::load(folder.path()) {
            check(&package.card.manifest);
        }
        survives_alone(&path);
        files += 1;
    }
    assert!(files > 100, "{files}");
}

/// A model file that nothing describes, which Ocelli describes itself.
fn survives_alone(path: &Path) {
    if path.extension().is_some_and(|extension| extension == "onnx")
        && let Ok(resolved) = auto::resolve(path, &Hints::default())
    {
        check(&resolved.package.card.manifest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_manifest_with_other_values_is_within_its_limits_or_refused(
        changes in prop::collection::vec((any::<Index>(), 0..WORDS.len(), any::<bool>()), 1..4),
    ) {
        let text = fs::read_to_string(BUILTIN).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (line, word, replaces) in changes {
            let line = line.get_mut(&mut lines);
            let key = line.split('=').next().unwrap().to_owned();
            *line = if replaces { format!("{key}= {}", WORDS[word]) } else { format!("{line}\n{}", WORDS[word]) };
        }
        if let Ok(manifest) = Manifest::parse(&lines.join("\n")) {
            check(&manifest);
        }
    }

    #[test]
    fn a_manifest_of_any_letters_is_refused(text in "[a-z=\\[\\]{}\"'\\\\.,#\n 0-9\u{0}]{0,120}") {
        prop_assert!(Manifest::parse(&text).is_err());
    }

    /// Two graphs joined at any place: each field is valid somewhere, and no length agrees with what it counts.
    #[test]
    fn graphs_that_are_grafted_are_survived(cut in any::<Index>(), graft in any::<Index>(), times in 1..40_usize) {
        let bytes = fs::read(HEADS).unwrap();
        let (cut, graft) = (cut.index(bytes.len()), graft.index(bytes.len()));
        let grafted = [&bytes[..cut], &bytes[graft..].repeat(times)].concat();
        let _ = Graph::read(&grafted);
    }
}
