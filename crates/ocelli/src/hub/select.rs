//! Which files of a repository make a model: a package if there is one, or one of its ONNX files and what describes it.

use ocelli_vision::Format;
use ocelli_vision::auto::{LABEL_FILES, choose_variant};

use super::error::HubError;
use super::listing::{Listing, RepoFile};
use super::spec::{HubSpec, RepoPath};

const MANIFEST: &str = "model.toml";

const PACKAGE_ONNX: &str = "model.onnx";

/// Files that describe a model without a package, besides files of labels.
const DESCRIPTIONS: [&str; 3] = ["config.json", "preprocessor_config.json", "processor_config.json"];

/// The graph to serve and what it needs.
#[derive(Debug, PartialEq)]
pub(super) struct Choice<'a> {
    pub(super) onnx: &'a RepoFile,
    /// Why this one and which others there are, in words.
    pub(super) why: String,
    pub(super) descriptions: Vec<&'a RepoFile>,
    pub(super) manifest: Option<&'a RepoFile>,
}

/// What of `listing` to serve.
pub(super) fn choose<'a>(spec: &HubSpec, listing: &'a Listing) -> Result<Choice<'a>, HubError> {
    let onnx: Vec<&RepoFile> = listing.files.iter().filter(|file| file.path.is_onnx()).collect();
    refuse_foreign(spec, listing)?;
    if onnx.is_empty() {
        let names: Vec<&str> = listing.files.iter().map(|file| file.path.as_str()).collect();
        return Err(HubError::NoModel {
            repository: spec.repository.clone(),
            foreign: Format::among(&names).map(|(file, format)| (file.to_owned(), format)),
            files: names.into_iter().map(str::to_owned).collect(),
        });
    }
    let (chosen, why) = match &spec.file {
        Some(path) => named(spec, path, &onnx)?,
        None => best(spec, listing, &onnx)?,
    };
    let manifest = chosen.path.beside(MANIFEST);
    Ok(Choice {
        onnx: chosen,
        why,
        descriptions: described_by(&chosen.path)
            .iter()
            .filter_map(|path| listing.find(path))
            .collect(),
        manifest: manifest
            .filter(|_| chosen.path.name() == PACKAGE_ONNX)
            .and_then(|path| listing.find(&path)),
    })
}

/// Refuses a file that the user wants and that is a model in another format.
fn refuse_foreign(spec: &HubSpec, listing: &Listing) -> Result<(), HubError> {
    let named = spec.file.as_ref().and_then(|path| listing.find(path));
    let names: Vec<&str> = named.iter().map(|file| file.path.as_str()).collect();
    match Format::among(&names) {
        Some((file, format)) => Err(HubError::Foreign {
            repository: spec.repository.clone(),
            file: file.to_owned(),
            format,
        }),
        None => Ok(()),
    }
}

fn named<'a>(
    spec: &HubSpec,
    path: &RepoPath,
    onnx: &[&'a RepoFile],
) -> Result<(&'a RepoFile, String), HubError> {
    let paths = |skipped: Option<&RepoPath>| -> Vec<String> {
        let others = onnx.iter().filter(|file| Some(&file.path) != skipped);
        others.map(|file| file.path.to_string()).collect()
    };
    let found = onnx.iter().find(|file| file.path == *path);
    let found = found.ok_or_else(|| HubError::NoFile {
        repository: spec.repository.clone(),
        file: path.to_string(),
        others: paths(None),
    })?;
    let why = match paths(Some(path)).as_slice() {
        [] => "named, and the only ONNX file".to_owned(),
        others => format!("named; there are also {}", others.join(", ")),
    };
    Ok((found, why))
}

/// A package's graph, or else the one that suits this machine best.
fn best<'a>(
    spec: &HubSpec,
    listing: &Listing,
    onnx: &[&'a RepoFile],
) -> Result<(&'a RepoFile, String), HubError> {
    let is_package = listing.files.iter().any(|file| file.path.as_str() == MANIFEST);
    let graph = onnx.iter().find(|file| file.path.as_str() == PACKAGE_ONNX);
    if let Some(graph) = graph.filter(|_| is_package) {
        return Ok((graph, format!("the repository is a package, with a {MANIFEST}")));
    }
    let names: Vec<&str> = onnx.iter().map(|file| file.path.as_str()).collect();
    let unclear = || HubError::Unclear {
        spec: spec.to_string(),
        files: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let variant = choose_variant(&names).map_err(|_| unclear())?;
    let found = onnx.iter().find(|file| file.path.as_str() == variant.name);
    found.map(|file| (*file, variant.why)).ok_or_else(unclear)
}

/// Every path at which a description of a graph may be: beside it, and in the folders above.
fn described_by(onnx: &RepoPath) -> Vec<RepoPath> {
    let mut paths = Vec::new();
    let mut folder = onnx.parent();
    loop {
        for name in DESCRIPTIONS.iter().chain(&LABEL_FILES) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::spec::Commit;

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
    fn the_best_of_a_kind_is_chosen_and_different_models_are_not_mixed_up() {
        let names = ["onnx/model.onnx", "onnx/model_int8.onnx", "config.json"];
        assert_eq!(chosen("hf:a/b", &names), "onnx/model_int8.onnx");
        // A package says everything of its own graph, and nothing of others.
        let package = ["model.toml", "model.onnx", "model_int8.onnx"];
        assert_eq!(chosen("hf:a/b", &package), "model.onnx");
        for names in [["cats.onnx", "dogs.onnx"], ["deep/er/a.onnx", "deep/er/b.onnx"]] {
            let said = chosen("hf:a/b@v1", &names);
            assert!(
                said.contains(&names.join(", ")) && said.contains("hf:a/b@v1#"),
                "{said}"
            );
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
    fn models_in_other_formats_get_their_one_sentence() {
        for format in Format::all() {
            for pattern in format.files() {
                let name = pattern.replacen('*', "net", 1).replace('*', "1");
                let names = match format.is_paired() {
                    true => vec!["config.json", "net.bin", &name],
                    false => vec!["config.json", &name],
                };
                let sentence = format!("{} {format}", names[1]);
                let said = chosen("hf:a/b", &names);
                assert!(
                    said.contains(&format!(
                        "a/b has no ONNX file that can be served: {sentence}; it has"
                    )),
                    "{said}"
                );
                // Named, beside an ONNX file.
                if !format.is_paired() {
                    let said = chosen(&format!("hf:a/b#{name}"), &[&names[..], &["net.onnx"]].concat());
                    assert_eq!(said, format!("a/b: {sentence}"));
                }
            }
        }
        let said = chosen("hf:a/b", &["README.md"]);
        assert_eq!(said, "a/b has no ONNX file that can be served; it has README.md");
    }

    #[test]
    fn descriptions_are_looked_for_beside_the_graph_and_above() {
        let listing = listing(&[
            "config.json",
            "preprocessor_config.json",
            "processor_config.json",
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
            [
                "onnx/config.json",
                "config.json",
                "preprocessor_config.json",
                "processor_config.json"
            ]
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
