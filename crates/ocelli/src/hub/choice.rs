//! Which files of a repository make a model: a package if there is one, or one of its ONNX files and what describes it.

use super::error::HubError;
use super::listing::{Listing, RepoFile};
use super::names::{HubSpec, RepoPath};

/// What makes a folder a package.
pub(super) const MANIFEST: &str = "model.toml";

/// A package's graph.
const PACKAGE_ONNX: &str = "model.onnx";

/// What describes a model beside its graph, in any of the forms that are understood.
const DESCRIPTIONS: [&str; 3] = ["config.json", "preprocessor_config.json", "labels.txt"];

/// The graph to serve and what it needs.
#[derive(Debug, PartialEq)]
pub(super) struct Choice<'a> {
    /// The ONNX file.
    pub(super) onnx: &'a RepoFile,
    /// Why this one, in words.
    pub(super) why: String,
    /// The other ONNX files that it could have been.
    pub(super) others: Vec<&'a RepoPath>,
    /// What describes it.
    pub(super) descriptions: Vec<&'a RepoFile>,
    /// The package's `model.toml`, if it is one.
    pub(super) manifest: Option<&'a RepoFile>,
}

/// What of `listing` to serve.
pub(super) fn choose<'a>(spec: &HubSpec, listing: &'a Listing) -> Result<Choice<'a>, HubError> {
    let onnx: Vec<&RepoFile> = listing
        .files
        .iter()
        .filter(|file| file.path.as_str().ends_with(".onnx"))
        .collect();
    let names = || onnx.iter().map(|file| file.path.to_string()).collect();
    let (chosen, why) = match &spec.file {
        Some(path) => {
            let named = onnx.iter().find(|file| file.path == *path);
            let named = named.ok_or_else(|| HubError::NoFile {
                repository: spec.repository.clone(),
                file: path.to_string(),
                others: names(),
            })?;
            (*named, "it was named".to_owned())
        }
        None => best(&onnx).ok_or_else(|| HubError::NoModel {
            repository: spec.repository.clone(),
            files: listing.files.iter().map(|file| file.path.to_string()).collect(),
        })?,
    };
    let beside = |name| chosen.path.beside(name).and_then(|path| listing.find(&path));
    Ok(Choice {
        onnx: chosen,
        why,
        others: onnx
            .iter()
            .map(|file| &file.path)
            .filter(|path| **path != chosen.path)
            .collect(),
        descriptions: described_by(&chosen.path)
            .iter()
            .filter_map(|path| listing.find(path))
            .collect(),
        manifest: beside(MANIFEST).filter(|_| chosen.path.name() == PACKAGE_ONNX),
    })
}

/// Every path at which a description of a graph may stand: beside it, and in the folders above.
fn described_by(onnx: &RepoPath) -> Vec<RepoPath> {
    let mut paths = Vec::new();
    let mut folder = onnx.parent();
    loop {
        for name in DESCRIPTIONS {
            paths.extend(match &folder {
                Some(folder) => RepoPath::new(&format!("{folder}/{name}")),
                None => RepoPath::new(name),
            });
        }
        match folder {
            Some(inner) => folder = inner.parent(),
            None => return paths,
        }
    }
}

/// The graph that is served when none is named: a package's, or else the one of the fastest kind on a processor.
fn best<'a>(onnx: &[&'a RepoFile]) -> Option<(&'a RepoFile, String)> {
    let package = onnx.iter().find(|file| file.path.as_str() == PACKAGE_ONNX);
    let rank = |file: &&&RepoFile| {
        let kind = Kind::of(file.path.name());
        (
            kind,
            file.path.as_str().matches('/').count(),
            file.path.as_str().len(),
        )
    };
    let chosen = onnx.iter().min_by_key(rank)?;
    let kind = Kind::of(chosen.path.name());
    match package {
        Some(package) if kind == Kind::Full => Some((*package, Kind::Full.reason().to_owned())),
        _ => Some((*chosen, kind.reason().to_owned())),
    }
}

/// How a graph computes, as far as its name says, the best for a processor first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Int8,
    Full,
    Half,
    /// Four bits, or for other hardware.
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        let stem = name.trim_end_matches(".onnx").to_ascii_lowercase();
        let words: Vec<&str> = stem.split(['_', '-', '.']).collect();
        let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
        if has(&["q4", "q4f16", "bnb4", "int4", "uint4", "q2", "q1", "o4", "arm64"]) {
            Self::Other
        } else if has(&["int8", "uint8", "quantized", "quant", "qint8", "quint8"]) {
            Self::Int8
        } else if has(&["fp16", "float16", "half"]) {
            Self::Half
        } else {
            Self::Full
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Int8 => "int8 computes fastest on a processor",
            Self::Full => "float32 is the fastest there is for a processor",
            Self::Half => "float16 is what there is",
            Self::Other => "there is no other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::names::Commit;

    fn listing(names: &[&str]) -> Listing {
        let file = |name: &&str| RepoFile {
            path: RepoPath::new(name).unwrap(),
            size: None,
            hash: None,
        };
        Listing {
            commit: Commit::new(&"1".repeat(40)).unwrap(),
            files: names.iter().map(file).collect(),
        }
    }

    fn chosen(spec: &str, names: &[&str]) -> String {
        let listing = listing(names);
        match choose(&spec.parse().unwrap(), &listing) {
            Ok(choice) => choice.onnx.path.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_fastest_kind_for_a_processor_is_chosen() {
        for (names, wanted) in [
            (
                &["onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx"][..],
                "onnx/model_int8.onnx",
            ),
            (
                &["onnx/model.onnx", "onnx/model_quantized.onnx"],
                "onnx/model_quantized.onnx",
            ),
            (
                &["onnx/model_fp16.onnx", "onnx/model.onnx", "onnx/model_q4.onnx"],
                "onnx/model.onnx",
            ),
            (
                &["onnx/model_q4f16.onnx", "onnx/model_fp16.onnx"],
                "onnx/model_fp16.onnx",
            ),
            (&["model_qint8_arm64.onnx", "model.onnx"], "model.onnx"),
            (&["deep/er/model.onnx", "onnx/model.onnx"], "onnx/model.onnx"),
            (&["pytorch_model.bin", "graph.onnx"], "graph.onnx"),
        ] {
            assert_eq!(chosen("hf:a/b", names), wanted, "{names:?}");
            let reversed: Vec<&str> = names.iter().rev().copied().collect();
            assert_eq!(chosen("hf:a/b", &reversed), wanted, "{names:?}");
        }
    }

    #[test]
    fn what_is_named_is_taken_or_its_like_are_listed() {
        let names = ["onnx/model.onnx", "onnx/model_int8.onnx", "config.json"];
        assert_eq!(chosen("hf:a/b#onnx/model.onnx", &names), "onnx/model.onnx");
        let said = chosen("hf:a/b#model.onnx", &names);
        assert!(
            said.contains("'model.onnx'") && said.contains("onnx/model.onnx, onnx/model_int8.onnx"),
            "{said}"
        );
    }

    #[test]
    fn without_a_graph_the_tool_that_makes_one_is_named() {
        let said = chosen("hf:a/b", &["config.json", "model.safetensors"]);
        assert!(
            said.contains("tools/to_onnx.py") && said.contains("model.safetensors"),
            "{said}"
        );
    }

    #[test]
    fn descriptions_are_looked_for_beside_the_graph_and_above() {
        let listing = listing(&[
            "config.json",
            "preprocessor_config.json",
            "onnx/config.json",
            "other/config.json",
            "onnx/model.onnx",
        ]);
        let choice = choose(&"hf:a/b".parse().unwrap(), &listing).unwrap();
        let names: Vec<&str> = choice
            .descriptions
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(
            names,
            ["onnx/config.json", "config.json", "preprocessor_config.json"]
        );
        assert!(choice.manifest.is_none());
    }

    #[test]
    fn a_package_is_one_by_its_manifest() {
        let listing = listing(&["model.toml", "labels.txt", "model.onnx", "README.md"]);
        let choice = choose(&"hf:a/b".parse().unwrap(), &listing).unwrap();
        assert_eq!(choice.manifest.unwrap().path.as_str(), "model.toml");
    }
}
