//! Which model is meant: what users write after `--model`, made into a package with the reasons for it.
//!
//! Owns the forms of a specification and the way from each to files: nothing (the built-in model), a folder or a file
//! of this machine, the hub. What the files mean is `ocelli_vision::auto`'s business.

use std::path::{Path, PathBuf};

use ocelli_vision::auto::{self, AutoError, Hints, Kind, Note, NoteKind};
use ocelli_vision::{ModelPackage, PackageError};

use super::repository::model_inside;
use super::served_model;
use super::served_model::IMAGENET;
use crate::hub::{self, Fetched, HubConfig, HubError, HubSpec};

#[derive(Clone, Debug, PartialEq)]
pub enum ModelLocation {
    BuiltIn,
    Here { path: PathBuf, variant: Option<String> },
    Hub(HubSpec),
}

/// A model that was found and made into a package.
#[derive(Clone, Debug)]
pub struct Opened {
    pub package: ModelPackage,
    /// What it was; nothing of the built-in model.
    pub kind: Option<Kind>,
    /// Its ONNX file; none of the built-in model.
    pub onnx: Option<PathBuf>,
    pub notes: Vec<Note>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// What is on this machine cannot be served.
    #[error(transparent)]
    Auto(#[from] AutoError),
    #[error(transparent)]
    Hub(#[from] HubError),
    /// There is nothing on this machine, and the hub has such names.
    #[error("{source}; did you mean {meant}, a model of the Hugging Face hub?")]
    Elsewhere { source: Box<AutoError>, meant: HubSpec },
    #[error(
        "{folder}: this is a folder of models, not a single model; name one of them, such as {one}, or serve all of them with \
         --model-dir {folder}"
    )]
    Many { folder: PathBuf, one: PathBuf },
    /// The built-in model is broken, which a test forbids.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// An option contradicts a package, which says everything itself.
    #[error("{0} is for a model that --model names: the built-in one knows how photos are prepared")]
    BuiltIn(&'static str),
}

impl ModelLocation {
    /// Understands a specification: a path, `folder#file` or `hf:owner/name[@revision][#file]`.
    pub fn parse(spec: Option<&str>) -> Result<Self, HubError> {
        let Some(spec) = spec else {
            return Ok(Self::BuiltIn);
        };
        if HubSpec::is_meant(spec) {
            return Ok(Self::Hub(spec.parse()?));
        }
        // What exists is meant literally, whatever characters its name has.
        let split = spec
            .rsplit_once('#')
            .filter(|(folder, _)| !Path::new(spec).exists() && Path::new(folder).is_dir());
        Ok(match split {
            Some((folder, file)) => Self::Here {
                path: folder.into(),
                variant: Some(file.to_owned()),
            },
            None => Self::Here {
                path: spec.into(),
                variant: None,
            },
        })
    }
}

/// Opens the model at `spec`, or the built-in one. May fetch it from the hub, and blocks.
pub fn open(
    spec: Option<&str>,
    hints: Hints,
    hub: impl FnOnce() -> Result<HubConfig, HubError>,
) -> Result<Opened, OpenError> {
    match ModelLocation::parse(spec)? {
        ModelLocation::BuiltIn => built_in(&hints),
        ModelLocation::Here { path, variant } => {
            here(&path, Hints { variant, ..hints }).map_err(|error| match error {
                OpenError::Auto(source) => not_a_model(source, spec, path),
                error => error,
            })
        }
        ModelLocation::Hub(spec) => from_hub(&spec, hints, &hub()?),
    }
}

/// What may be meant by a path at which there is no model.
fn not_a_model(source: AutoError, spec: Option<&str>, path: PathBuf) -> OpenError {
    if let Some(meant) = spec.and_then(on_hub) {
        return OpenError::Elsewhere {
            source: Box::new(source),
            meant,
        };
    }
    match model_inside(&path) {
        Some(one) => OpenError::Many { folder: path, one },
        None => OpenError::Auto(source),
    }
}

/// What a specification without `hf:` would name on the hub, if it is no path of this machine. The first part of a mistyped
/// path mostly exists, and an ONNX file is no repository.
fn on_hub(spec: &str) -> Option<HubSpec> {
    let path = Path::new(spec);
    let is_path = path.exists()
        || path.extension().is_some_and(|extension| extension == "onnx")
        || path
            .components()
            .next()
            .is_some_and(|first| Path::new(&first).exists());
    if is_path {
        return None;
    }
    HubSpec::without_scheme(spec)
}

fn built_in(hints: &Hints) -> Result<Opened, OpenError> {
    if let Some(option) = hints.first_option() {
        return Err(OpenError::BuiltIn(option));
    }
    Ok(Opened {
        package: served_model::builtin()?,
        kind: None,
        onnx: None,
        notes: Vec::new(),
    })
}

fn here(path: &Path, hints: Hints) -> Result<Opened, OpenError> {
    let hints = Hints {
        imagenet: Some(IMAGENET),
        ..hints
    };
    let resolved = auto::resolve(path, &hints)?;
    Ok(Opened {
        package: resolved.package,
        kind: Some(resolved.kind),
        onnx: Some(resolved.onnx),
        notes: resolved.notes,
    })
}

fn from_hub(spec: &HubSpec, hints: Hints, config: &HubConfig) -> Result<Opened, OpenError> {
    let fetched = hub::fetch(spec, config)?;
    let mut opened = fetched_here(&fetched, hints)?;
    let note = Note {
        kind: NoteKind::Read,
        text: format!(
            "from the hub: {}, commit {}, {}: {}",
            fetched.spec,
            fetched.commit,
            fetched.onnx.display(),
            fetched.why
        ),
    };
    opened.notes.insert(0, note);
    Ok(opened)
}

/// Opens a model that was fetched from the hub.
pub fn fetched_here(fetched: &Fetched, hints: Hints) -> Result<Opened, OpenError> {
    let repository = fetched.spec.repository.to_string();
    let name = repository.rsplit('/').next().map(str::to_owned);
    let hints = Hints {
        name,
        // Commits of one repository are versions of one model.
        version: Some(fetched.commit.short().to_owned()),
        root: Some(fetched.root.clone()),
        ..hints
    };
    here(&fetched.onnx_path(), hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(path: &Path, variant: Option<&str>) -> ModelLocation {
        ModelLocation::Here {
            path: path.into(),
            variant: variant.map(str::to_owned),
        }
    }

    #[test]
    fn specifications() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("odd#name");
        std::fs::create_dir(&odd).unwrap();
        let parse = |spec: &str| ModelLocation::parse(Some(spec)).unwrap();
        assert_eq!(ModelLocation::parse(None).unwrap(), ModelLocation::BuiltIn);
        let path = folder.path();
        let text = path.to_str().unwrap();
        assert_eq!(parse(text), here(path, None));
        assert_eq!(
            parse(&format!("{text}#onnx/a.onnx")),
            here(path, Some("onnx/a.onnx"))
        );
        assert_eq!(parse(odd.to_str().unwrap()), here(&odd, None));
        assert_eq!(parse("missing#a"), here(Path::new("missing#a"), None));
        assert!(matches!(parse("hf:owner/name@main"), ModelLocation::Hub(_)));
        assert!(ModelLocation::parse(Some("hf:name")).is_err());
    }

    #[test]
    fn the_built_in_model_is_not_told_how_it_is_prepared() {
        let hints = Hints {
            preset: Some(auto::Preset::Raw),
            ..Hints::default()
        };
        let error = open(None, hints, || panic!("the hub is not used")).unwrap_err();
        assert!(error.to_string().starts_with("--preset is for"), "{error}");
        let hints = Hints {
            antialias: Some(false),
            ..Hints::default()
        };
        let error = open(None, hints, || panic!("the hub is not used")).unwrap_err();
        assert!(error.to_string().starts_with("--antialias is for"), "{error}");
        assert!(open(None, Hints::default(), || panic!("the hub is not used")).is_ok());
    }
}
