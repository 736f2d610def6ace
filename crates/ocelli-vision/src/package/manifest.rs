//! `model.toml`, schema 1.

use serde::{Deserialize, Serialize};

use crate::{Activation, InputSpec, OutputSpec, RunSpec, package::PackageError};

const SCHEMA: u32 = 1;
const MAX_NAME_LEN: usize = 64;
const MAX_OUTPUTS: usize = 16;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One class per image.
    Classification,
    /// Any number of classes per image.
    Multilabel,
    /// A feature vector per image.
    Embedding,
}

/// `model.toml`, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form; 1.
    pub schema: u32,
    /// What the model is called in addresses and metrics: `[a-z0-9._-]`.
    pub name: String,
    /// Its version, of the same characters.
    pub version: String,
    /// What it is for.
    pub task: Task,
    /// SPDX expression of the weights' licence.
    pub license: Option<String>,
    /// Where the weights come from.
    pub source: Option<String>,
    /// What goes in.
    pub input: InputSpec,
    /// What comes out; the first is the one that is answered by default.
    #[serde(rename = "output")]
    pub outputs: Vec<OutputSpec>,
    /// How it is run, where that differs from the process's options.
    #[serde(default)]
    pub run: RunSpec,
}

impl Manifest {
    /// Parses and checks the text of a `model.toml`.
    ///
    /// # Errors
    /// The first thing that is wrong, with the nearest word that exists where a key or value is unknown.
    pub fn parse(text: &str) -> Result<Self, PackageError> {
        let manifest: Self = toml::from_str(text).map_err(|error| syntax_error(&error))?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Checks what types cannot: names, ranges, and settings that contradict each other.
    ///
    /// # Errors
    /// [`PackageError::Invalid`] for the first value that cannot work.
    pub fn validate(&self) -> Result<(), PackageError> {
        self.check()
            .map_err(|(key, problem)| PackageError::Invalid { key, problem })
    }

    fn check(&self) -> Result<(), (String, String)> {
        if self.schema != SCHEMA {
            let hint = format!("is {}: this version reads schema {SCHEMA}", self.schema);
            return Err(("schema".into(), hint));
        }
        for (key, value) in [("name", &self.name), ("version", &self.version)] {
            check_name(value).map_err(|problem| (key.to_owned(), problem))?;
        }
        self.input
            .validate()
            .map_err(|(key, problem)| (key.to_owned(), problem))?;
        if !(1..=MAX_OUTPUTS).contains(&self.outputs.len()) {
            let hint = format!("has {} tables: write 1 to {MAX_OUTPUTS}", self.outputs.len());
            return Err(("output".into(), hint));
        }
        for (index, output) in self.outputs.iter().enumerate() {
            output
                .validate(self.task, &self.outputs[..index])
                .map_err(|(key, problem)| (format!("output.{key}"), problem))?;
        }
        self.check_task()
            .map_err(|(key, problem)| (format!("output.{key}"), problem))?;
        self.run
            .validate()
            .map_err(|(key, problem)| (format!("run.{key}"), problem))
    }
}

impl Manifest {
    /// Of several outputs one may be for something else than the task; not all of them.
    fn check_task(&self) -> Result<(), (&'static str, String)> {
        let all = |is_so: fn(&OutputSpec) -> bool| self.outputs.iter().all(is_so);
        match self.task {
            Task::Embedding if all(|output| output.labels.is_some()) => Err((
                "labels",
                "is for classes, and task = \"embedding\" gives features: remove it, or write task = \
                 \"classification\""
                    .into(),
            )),
            Task::Embedding if all(|output| output.activation != Activation::None) => Err((
                "activation",
                "makes probabilities, and task = \"embedding\" gives features: write \"none\", or task = \
                 \"classification\""
                    .into(),
            )),
            Task::Multilabel if all(|output| output.activation == Activation::Softmax) => Err((
                "activation",
                "is \"softmax\", which is for one class of several: write \"sigmoid\" (or \"none\" where the graph \
                 ends in it), or task = \"classification\""
                    .into(),
            )),
            _ => Ok(()),
        }
    }
}

/// Names are part of addresses, metrics and Redis keys.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.len() > MAX_NAME_LEN || !name.chars().all(allowed) || !name.starts_with(edge) {
        return Err(format!(
            "is {name:?}: use 1 to {MAX_NAME_LEN} of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
        ));
    }
    Ok(())
}

fn syntax_error(error: &toml::de::Error) -> PackageError {
    PackageError::Syntax {
        message: error.to_string().trim_end().to_owned(),
        suggestion: nearest(error.message()),
    }
}

/// The word nearest to the unknown one in serde's message: "unknown field `heigth`, expected one of `name`, ...".
fn nearest(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ").then(|| quoted.next())??;
    quoted
        .map(|word| (strsim::damerau_levenshtein(unknown, word), word))
        // Beyond half its letters another word is a guess, not a spelling.
        .filter(|(distance, word)| *distance <= word.len().max(unknown.len()) / 2)
        .min()
        .map(|(_, word)| word.to_owned())
}

#[cfg(test)]
mod tests;
