//! Which of a graph's outputs is answered, and what has to be applied to it.

mod choice;

use super::{
    Note,
    labels::{self, Labels},
    metadata,
};
use crate::{Activation, FinalOp, Graph, GraphOutput, OutputSpec, PerImage, Pool, Task};
use choice::{Choice, is_tokens};

/// The number of classes of ImageNet-1k; TensorFlow adds one for the background.
const IMAGENET: u64 = 1000;

/// A model's outputs, as its package states them.
#[derive(Debug, PartialEq)]
pub(super) struct Outputs {
    pub(super) task: Task,
    pub(super) spec: OutputSpec,
    /// Names of the classes; none where they cannot be counted, and for features.
    pub(super) labels: Vec<String>,
}

/// What the source states, and the hints for guesses.
#[derive(Default)]
pub(super) struct OutputHints<'a> {
    pub(super) task: Option<Task>,
    pub(super) labels: Option<Labels>,
    pub(super) output: Option<&'a str>,
    /// Whether the task is the user's.
    pub(super) is_stated: bool,
    /// The classes of ImageNet-1k, one a line.
    pub(super) imagenet: Option<&'a str>,
}

impl OutputHints<'_> {
    fn wants_features(&self) -> bool {
        self.task == Some(Task::Embedding) && self.labels.is_none()
    }
}

impl Outputs {
    /// Chooses among the outputs of `graph`; notes what was decided and guessed.
    pub(super) fn choose(
        graph: &Graph,
        mut hints: OutputHints<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, String> {
        let choice = choice::choose(graph, &hints)?;
        let (output, gives) = choice;
        if hints.labels.is_none() && hints.task != Some(Task::Embedding) {
            hints.labels = metadata::labels(graph, &output.tensor.name, gives.row(), notes);
        }
        note_choice(graph, output, &hints, notes);
        let task = task(choice, &hints, notes);
        choice::check(graph, choice, task)?;
        if gives == PerImage::Open {
            notes.push(Note::warning(format!(
                "`{}` is {}: only its first run, when it is loaded, shows whether it can be answered",
                output.tensor.name, output.tensor
            )));
        }
        if task == Task::Embedding {
            return Ok(features(choice, notes));
        }
        let spec = OutputSpec {
            name: output.tensor.name.clone(),
            activation: activation(task, output, notes),
            labels: None,
            labels_source: None,
            threshold: None,
            normalize: false,
            pool: Pool::None,
        };
        let (labels, labels_source) = classes(choice, hints, notes)?;
        Ok(Self {
            task,
            spec: OutputSpec {
                labels: (!labels.is_empty()).then(|| super::LABELS_FILE.to_owned()),
                labels_source,
                ..spec
            },
            labels,
        })
    }
}

/// Holds what a `model.toml` says of an output against the output's form.
pub(super) fn check_stated(
    graph: &Graph,
    output: &GraphOutput,
    spec: &OutputSpec,
) -> Result<(), (&'static str, String)> {
    let gives = graph.per_image(output);
    if matches!(gives, PerImage::Rows(_)) && spec.is_vector() {
        return match spec.pool {
            Pool::First | Pool::Mean => Ok(()),
            Pool::None => Err((
                "output.pool",
                format!(
                    "is missing: `{}` ({}) gives several rows for each image; write pool = \"first\" or \"mean\", or name \
                     another output",
                    output.tensor.name, output.tensor
                ),
            )),
        };
    }
    choice::check(graph, (output, gives), Task::Classification)
        .map_err(|problem| ("output.name", format!("cannot be answered: the model {problem}")))
}

/// Says which output is answered where there are several, and what the user stated.
fn note_choice(graph: &Graph, output: &GraphOutput, hints: &OutputHints<'_>, notes: &mut Vec<Note>) {
    let others: Vec<&str> = graph
        .outputs
        .iter()
        .map(|other| other.tensor.name.as_str())
        .filter(|name| *name != output.tensor.name)
        .collect();
    let why = if hints.output.is_some() {
        ", as --model-output says"
    } else {
        ""
    };
    if !others.is_empty() {
        notes.push(Note::read(format!(
            "output `{}` is answered{why}; left out: {}",
            output.tensor.name,
            others.join(", ")
        )));
    }
    if let Some(task) = hints.task.filter(|_| hints.is_stated) {
        let task = format!("{task:?}").to_ascii_lowercase();
        notes.push(Note::read(format!("task {task}, as --task says")));
    }
}

fn task((output, gives): Choice<'_>, hints: &OutputHints<'_>, notes: &mut Vec<Note>) -> Task {
    let name = output.tensor.name.to_ascii_lowercase();
    let is_one_score = gives == PerImage::Row(Some(1)) && output.final_op == FinalOp::Scores;
    if is_one_score
        && !matches!(hints.task, Some(Task::Multilabel | Task::Embedding))
        && (hints.task.is_some() || hints.labels.is_some() || !names_features(&name))
    {
        notes.push(Note::guessed(format!(
            "`{name}` is one number, whether the one class applies (task multilabel, sigmoid): a softmax over one class \
             is always 1"
        )));
        return Task::Multilabel;
    }
    match (hints.task, output.final_op) {
        (Some(task), _) => task,
        (None, FinalOp::Sigmoid) => {
            notes.push(Note::guessed(format!(
                "several classes may apply (task multilabel), for the graph ends in a sigmoid at `{}`",
                output.tensor.name
            )));
            Task::Multilabel
        }
        (None, FinalOp::Softmax | FinalOp::LogSoftmax) => Task::Classification,
        (None, FinalOp::Scores) if hints.labels.is_some() => Task::Classification,
        (None, FinalOp::Scores) if names_features(&name) => {
            notes.push(Note::guessed(format!(
                "features (task embedding), by the name of output `{}`; --labels FILE makes it classes",
                output.tensor.name
            )));
            Task::Embedding
        }
        (None, FinalOp::Scores) => {
            notes.push(Note::guessed(format!(
                "one class for each image (task classification, softmax over `{}`)",
                output.tensor.name
            )));
            Task::Classification
        }
    }
}

/// Whether an output's name, in lower case, says that it is features.
fn names_features(name: &str) -> bool {
    ["embed", "feature", "pool", "hidden"]
        .iter()
        .any(|word| name.contains(word))
}

/// What makes probabilities of the output, unless the graph has done so.
fn activation(task: Task, output: &GraphOutput, notes: &mut Vec<Note>) -> Activation {
    let wanted = match task {
        Task::Classification => Activation::Softmax,
        Task::Multilabel => Activation::Sigmoid,
        Task::Embedding => return Activation::None,
    };
    let name = &output.tensor.name;
    match (wanted, output.final_op) {
        (_, FinalOp::Scores) | (Activation::Softmax, FinalOp::LogSoftmax) => wanted,
        (_, final_op @ (FinalOp::Softmax | FinalOp::Sigmoid)) => {
            notes.push(Note::read(format!(
                "the graph ends in a {} at `{name}`: nothing is applied to it once more",
                in_words(final_op)
            )));
            Activation::None
        }
        (_, FinalOp::LogSoftmax) => {
            notes.push(Note::warning(format!(
                "the graph ends in a logarithm of a softmax at `{name}`, which suits one class, not several"
            )));
            Activation::Softmax
        }
    }
}

/// The name of a final operator in messages.
pub(super) fn in_words(final_op: FinalOp) -> &'static str {
    match final_op {
        FinalOp::Scores => "score",
        FinalOp::Softmax => "softmax",
        FinalOp::LogSoftmax => "logarithm of a softmax",
        FinalOp::Sigmoid => "sigmoid",
    }
}

/// Feature vectors: one row, or tokens of which the first represents the image.
fn features(choice: Choice<'_>, notes: &mut Vec<Note>) -> Outputs {
    let (output, is_tokens) = (choice.0, is_tokens(choice));
    if is_tokens {
        notes.push(Note::guessed(format!(
            "`{}` is tokens, of which the first represents the image (pool = \"first\"; \"mean\" is the other way)",
            output.tensor.name
        )));
    }
    Outputs {
        task: Task::Embedding,
        spec: OutputSpec {
            name: output.tensor.name.clone(),
            activation: Activation::None,
            labels: None,
            labels_source: None,
            threshold: None,
            normalize: false,
            pool: if is_tokens { Pool::First } else { Pool::None },
        },
        labels: Vec::new(),
    }
}

/// The names of the classes, and their origin.
fn classes(
    (output, gives): Choice<'_>,
    hints: OutputHints<'_>,
    notes: &mut Vec<Note>,
) -> Result<(Vec<String>, Option<String>), String> {
    let name = &output.tensor.name;
    let count = gives.row();
    if let Some(labels) = hints.labels {
        let are_placeholders = labels.are_placeholders();
        let Labels { names, from } = labels;
        if let Some(count) = count {
            labels::check_count(&names, count, name).map_err(|problem| format!("{from}: {problem}"))?;
        }
        notes.push(Note::read(format!("{} labels from {from}", names.len())));
        if are_placeholders {
            notes.push(Note::warning(
                "the labels are placeholders; --labels FILE names the classes",
            ));
        }
        // Clients see it, and need no folders of this machine.
        let source = from.rsplit(['/', '\\']).next().map(str::to_owned);
        return Ok((names, source));
    }
    let Some(count) = count else {
        notes.push(Note::guessed(format!(
            "classes have no names, and the graph leaves open how many `{name}` has; --labels FILE names them"
        )));
        return Ok((Vec::new(), None));
    };
    if count > labels::MOST as u64 {
        return Err(format!(
            "says that `{name}` has {count} classes: check that it is the right file"
        ));
    }
    if let Some(text) = hints
        .imagenet
        .filter(|_| (IMAGENET..=IMAGENET + 1).contains(&count))
    {
        let background = (count > IMAGENET).then(|| "background".to_owned());
        let names: Vec<String> = background
            .into_iter()
            .chain(text.lines().map(str::to_owned))
            .collect();
        notes.push(Note::guessed(format!(
            "the names of ImageNet-1k, for `{name}` has {count} classes; --labels FILE gives others"
        )));
        return Ok((names, Some("ImageNet-1k, by the number of classes".to_owned())));
    }
    notes.push(Note::guessed(format!(
        "classes are called \"class 0\" to \"class {}\"; --labels FILE names them",
        count.saturating_sub(1)
    )));
    let names = (0..count).map(|index| format!("class {index}")).collect();
    Ok((names, Some("numbered".to_owned())))
}
