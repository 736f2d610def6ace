//! Makes packages of models in other layouts: finds the inputs and outputs of a model from the files around it.
//!
//! Owns the rules for Hugging Face folders, timm's `config.json`, Triton's repositories, presets and bare ONNX files.
//! Each decision is noted with the file or rule that it comes from, or as a guess.
//! It deliberately neither downloads nor runs anything: `ocelli model check` tells whether the numbers are right.

mod agreement;
mod error;
mod files;
mod head;
mod hugging_face;
mod json;
mod labels;
mod metadata;
mod naming;
mod outputs;
mod preset;
mod processors;
mod python;
mod recipe;
mod resolve;
mod settings;
mod source;
mod tensor;
#[cfg(test)]
mod tests;
mod text_proto;
mod timm;
mod triton;
mod unknown;
mod variant;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use error::AutoError;
pub use naming::name as model_name;
pub use preset::Preset;
pub use source::LABEL_FILES;
pub use variant::choose_variant;

use crate::{Channels, Interpolation, ModelPackage, Task};

/// Name of the labels in packages that are made.
const LABELS_FILE: &str = "labels.txt";

/// The options of a user about a model, and what the caller knows of it.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// How photos are prepared, instead of what files say.
    pub preset: Option<Preset>,
    /// A file of class names, instead of those that files say: one a line, or JSON.
    pub labels: Option<PathBuf>,
    /// The resampling filter, instead of the one that files or the preset say.
    pub interpolation: Option<Interpolation>,
    /// Whether the filter widens where a photo shrinks, instead of what files or the preset say.
    pub antialias: Option<bool>,
    /// The channels of a tensor of three, instead of what files or the preset say.
    pub channels: Option<Channels>,
    /// Which of the graph's outputs is answered, by its name.
    pub output: Option<String>,
    /// What that output is, instead of what files say or its form suggests.
    pub task: Option<Task>,
    /// The model's name; by default made from the folder's name.
    pub name: Option<String>,
    /// Its version; by default `1`, or the number of its folder.
    pub version: Option<String>,
    /// Which of several ONNX files, relative to the folder.
    pub variant: Option<String>,
    /// A folder that links may lead into, larger than the model's own.
    pub root: Option<PathBuf>,
    /// The names of the 1,000 classes of ImageNet-1k, one a line, for models that are known or guessed to have them.
    pub imagenet: Option<&'static str>,
}

impl Hints {
    /// The first option that says how the model is interpreted, by its name on the command line. Packages take none.
    #[must_use]
    pub fn first_option(&self) -> Option<&'static str> {
        let given = [
            ("--preset", self.preset.is_some()),
            ("--labels", self.labels.is_some()),
            ("--interpolation", self.interpolation.is_some()),
            ("--antialias", self.antialias.is_some()),
            ("--channels", self.channels.is_some()),
            ("--model-output", self.output.is_some()),
            ("--task", self.task.is_some()),
        ];
        given
            .iter()
            .find(|(_, is_given)| *is_given)
            .map(|(option, _)| *option)
    }
}

/// What a model was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A package, with a `model.toml`.
    Package,
    /// A Hugging Face folder.
    HuggingFace,
    /// A folder with a `config.json` of timm.
    Timm,
    /// A model of a Triton repository.
    Triton,
    /// An ONNX file alone.
    Onnx,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Package => "package",
            Self::HuggingFace => "Hugging Face folder",
            Self::Timm => "timm folder",
            Self::Triton => "Triton model",
            Self::Onnx => "ONNX file",
        })
    }
}

/// A decision and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How sure it is.
    pub kind: NoteKind,
    /// What was decided.
    pub text: String,
}

/// How sure a decision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoteKind {
    /// A file, the graph or the user says so.
    Read,
    /// Nothing says so; it is what such models mostly do.
    Guess,
    /// Something may not work.
    Warning,
}

impl Note {
    fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    fn read(text: impl Into<String>) -> Self {
        Self::new(NoteKind::Read, text)
    }

    fn guessed(text: impl Into<String>) -> Self {
        Self::new(NoteKind::Guess, text)
    }

    fn warning(text: impl Into<String>) -> Self {
        Self::new(NoteKind::Warning, text)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            NoteKind::Read => "",
            NoteKind::Guess => "guessed: ",
            NoteKind::Warning => "warning: ",
        })?;
        f.write_str(&self.text)
    }
}

/// An interpreted model.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The package to serve.
    pub package: ModelPackage,
    /// What it was found as.
    pub kind: Kind,
    /// The ONNX file.
    pub onnx: PathBuf,
    /// The decisions, in order.
    pub notes: Vec<Note>,
}

/// Makes a package of what is at `path`: a folder or an ONNX file.
///
/// # Errors
/// When it is no model that can be served, with the file, what is wrong and what to do.
pub fn resolve(path: &Path, hints: &Hints) -> Result<Resolved, AutoError> {
    resolve::resolve(path, hints)
}
