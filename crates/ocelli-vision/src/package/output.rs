//! The `[[output]]` tables of `model.toml`.

use serde::{Deserialize, Serialize};

use crate::Task;

/// The function that makes results of an output's raw scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Probabilities that sum to 1.
    Softmax,
    /// Independent probabilities.
    Sigmoid,
    /// The scores as they are.
    None,
}

/// How an output of `[batch, tokens, features]` becomes one feature vector per image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Not at all: the output is answered as it is.
    #[default]
    None,
    /// The first token (a transformer's class token).
    First,
    /// The mean of all tokens.
    Mean,
}

/// One `[[output]]` table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Name of the graph's output.
    pub name: String,
    /// What to apply to it.
    pub activation: Activation,
    /// File of class names beside `model.toml`, one a line.
    pub labels: Option<String>,
    /// Where the class names are from, for people.
    pub labels_source: Option<String>,
    /// For tasks with several classes per image: responses omit classes with a score below this;
    /// [`OutputSpec::DEFAULT_THRESHOLD`] if absent and the task is multilabel.
    pub threshold: Option<f32>,
    /// Feature vectors: divide by the Euclidean length.
    #[serde(default)]
    pub normalize: bool,
    /// Feature vectors: from tokens to one vector.
    #[serde(default)]
    pub pool: Pool,
}

impl OutputSpec {
    /// The least score of a multilabel class if the package does not state one.
    pub const DEFAULT_THRESHOLD: f32 = 0.5;

    /// Whether its numbers are returned as they are: without an activation, and without labels.
    #[must_use]
    pub fn is_vector(&self) -> bool {
        self.activation == Activation::None && self.labels.is_none()
    }

    /// Checks what types cannot; `before` are the tables above this one.
    pub(super) fn validate(&self, task: Task, before: &[Self]) -> Result<(), (&'static str, String)> {
        if self.name.is_empty() {
            return Err(("name", "is empty: write the name of the graph's output".into()));
        }
        if before.iter().any(|other| other.name == self.name) {
            return Err((
                "name",
                format!("\"{}\" occurs twice: declare each output once", self.name),
            ));
        }
        // A package is data from elsewhere: its labels may not reach outside its own folder.
        if let Some(file) = &self.labels
            && (file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', '\0']))
        {
            return Err((
                "labels",
                format!("is {file:?}: write the name of a file beside model.toml"),
            ));
        }
        self.validate_threshold(task)?;
        self.validate_features()
    }

    fn validate_threshold(&self, task: Task) -> Result<(), (&'static str, String)> {
        let Some(threshold) = self.threshold else {
            return Ok(());
        };
        if task != Task::Multilabel && self.activation != Activation::Sigmoid {
            let hint = "is for task = \"multilabel\" or activation = \"sigmoid\", where several classes may apply: remove it".into();
            return Err(("threshold", hint));
        }
        if self.activation == Activation::Softmax {
            let hint = "is for independent scores: use activation = \"sigmoid\" (or \"none\" where the graph ends in it)";
            return Err(("threshold", hint.into()));
        }
        if !(0.0..=1.0).contains(&threshold) {
            return Err(("threshold", format!("is {threshold}: it must be from 0 to 1")));
        }
        Ok(())
    }

    fn validate_features(&self) -> Result<(), (&'static str, String)> {
        let key = if self.normalize {
            "normalize"
        } else if self.pool != Pool::None {
            "pool"
        } else {
            return Ok(());
        };
        if self.activation != Activation::None || self.labels.is_some() {
            let hint = "is for feature vectors: use activation = \"none\" and no labels, or remove it".into();
            return Err((key, hint));
        }
        Ok(())
    }
}
