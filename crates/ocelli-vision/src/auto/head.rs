//! What comes out of a model, as its files and its user say.

use super::{Note, labels::Labels};
use crate::Task;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Head {
    pub(super) task: Option<Task>,
    pub(super) labels: Option<Labels>,
    /// What to say of classes without a classifier.
    pub(super) bare: Option<Bare>,
}

/// An architecture whose name says no purpose.
#[derive(Debug, PartialEq)]
pub(super) struct Bare {
    pub(super) class: String,
    /// Whether it is named as transformers names those that give features; else it is a class of its own.
    pub(super) gives_features: bool,
}

impl Bare {
    pub(super) fn of(class: &str) -> Self {
        let gives_features = ["Model", "ModelWithProjection", "Backbone"]
            .iter()
            .any(|end| class.ends_with(end));
        Self {
            class: class.to_owned(),
            gives_features,
        }
    }
}

impl Head {
    /// What the user says of the task (`--task`) takes the place of what files say.
    pub(super) fn said_to_be(self, task: Option<Task>) -> Self {
        let Some(task) = task else { return self };
        Self {
            task: Some(task),
            labels: self.labels.filter(|_| task != Task::Embedding),
            bare: None,
        }
    }

    /// The labels that are `given` (`--labels`), or `beside` the model, decide where the configuration does not.
    pub(super) fn with_labels(
        self,
        given: Option<Labels>,
        beside: Option<Labels>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, String> {
        let is_given = given.is_some();
        let labels = given.or(self.labels).or(beside);
        let Some(bare) = &self.bare else {
            if is_given && self.task == Some(Task::Embedding) {
                return Err(
                    "gives features and has no classes (config.json, or --task): leave --labels away".into(),
                );
            }
            let labels = labels.filter(|_| self.task != Some(Task::Embedding));
            return Ok(Self { labels, ..self });
        };
        let class = &bare.class;
        match labels {
            Some(labels) if !bare.gives_features => {
                let task = self.task.unwrap_or(Task::Classification);
                notes.push(Note::read(format!(
                    "{class} (config.json) has labels, so it is a classifier"
                )));
                Ok(Self {
                    task: Some(task),
                    labels: Some(labels),
                    ..self
                })
            }
            Some(_) if is_given => Err(format!(
                "gives features and has no classes (config.json: {class}): leave --labels away"
            )),
            labels => {
                notes.push(Note::read(format!(
                    "task embedding, from config.json: {class} has no classifier"
                )));
                notes.extend(labels.map(|labels| {
                    let count = labels.names.len();
                    Note::warning(format!(
                        "the {count} labels from {} are left out, for features have no classes",
                        labels.from
                    ))
                }));
                Ok(Self {
                    task: Some(Task::Embedding),
                    labels: None,
                    ..self
                })
            }
        }
    }
}
