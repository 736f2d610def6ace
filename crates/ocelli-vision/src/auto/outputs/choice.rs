//! Chooses the output to answer, and refuses graphs without a usable one.

use super::{OutputHints, metadata, names_features};
use crate::{
    Graph, GraphOutput, PerImage, Task,
    graph::{Element, TensorInfo},
};

/// Names that exporters give to feature vectors, the best first.
const FEATURES: [&str; 5] = [
    "image_embeds",
    "pooler_output",
    "embedding",
    "feature",
    "last_hidden_state",
];

/// Words in names of outputs that only detectors have.
const OF_DETECTORS: [&str; 3] = ["box", "detection", "num_dets"];

/// An output, and what each image gets of it.
pub(super) type Choice<'a> = (&'a GraphOutput, PerImage);

/// The output that the user names, or the one that is most likely meant.
pub(super) fn choose<'a>(graph: &'a Graph, hints: &OutputHints<'_>) -> Result<Choice<'a>, String> {
    if let Some(name) = hints.output {
        return named(graph, name);
    }
    // What files or the user say of the task wins over how things are called.
    if hints.task.is_none() {
        refuse_detectors(graph)?;
    }
    let outputs: Vec<Choice<'a>> = graph
        .outputs
        .iter()
        .filter(|output| is_number(&output.tensor))
        .map(|output| (output, graph.per_image(output)))
        .collect();
    let find = |fits: &dyn Fn(&Choice<'_>) -> bool| outputs.iter().find(|choice| fits(choice)).copied();
    let is_row = |choice: &Choice<'_>| matches!(choice.1, PerImage::Row(_));
    let is_open = |choice: &Choice<'_>| choice.1 == PerImage::Open;
    let is_logits = |choice: &Choice<'_>| choice.0.tensor.name == "logits";
    let wants_features = hints.wants_features();
    let can_be_features = |choice: &Choice<'_>| is_row(choice) || is_open(choice) || is_tokens(*choice);
    let by_name = FEATURES
        .iter()
        .filter(|_| wants_features)
        .find_map(|name| find(&|choice| choice.0.tensor.name.contains(name) && can_be_features(choice)));
    by_name
        .or_else(|| find(&|choice| is_logits(choice) && is_row(choice)))
        .or_else(|| find(&is_row))
        .or_else(|| find(&|choice| is_logits(choice) && is_open(choice)))
        .or_else(|| find(&is_open))
        .or_else(|| find(&|choice| is_tokens(*choice) && (wants_features || is_named_features(choice.0))))
        .ok_or_else(|| nothing_to_answer(graph))
}

/// Whether an output is tokens x features, or may be.
pub(super) fn is_tokens((output, gives): Choice<'_>) -> bool {
    let has_three_axes = output.tensor.shape.as_ref().is_some_and(|shape| shape.len() == 3);
    matches!(gives, PerImage::Rows(_)) || (gives == PerImage::Open && has_three_axes)
}

/// Checks that a `task` can be made of an output.
pub(super) fn check(graph: &Graph, (output, gives): Choice<'_>, task: Task) -> Result<(), String> {
    match gives {
        PerImage::Row(_) | PerImage::Open => Ok(()),
        PerImage::Rows(_) if task == Task::Embedding => Ok(()),
        PerImage::Rows(_) | PerImage::Map => Err(format!(
            "cannot be served with its output {}: {}",
            shown(graph, output),
            WHAT_IS_ANSWERED
        )),
        PerImage::NoBatch => Err(no_batch(output)),
    }
}

/// Which outputs can be answered, and what to do about others.
const WHAT_IS_ANSWERED: &str = "Ocelli answers one row of numbers for each image, [batch, classes] or [batch, features], \
                                and no detections, masks or maps. Export the model with such an output; if another \
                                output is one, name it with --model-output NAME; if an output is tokens x features, add \
                                --task embedding, which takes the first token";

fn named<'a>(graph: &'a Graph, name: &str) -> Result<Choice<'a>, String> {
    let Some(output) = graph.output(name) else {
        return Err(format!(
            "has no output `{name}`, which --model-output names; it has {}",
            all(graph)
        ));
    };
    if !is_number(&output.tensor) {
        return Err(format!(
            "cannot be served with its output {}, which --model-output names: scores and features are float32, float16 or float64",
            shown(graph, output)
        ));
    }
    let choice = (output, graph.per_image(output));
    // Whether rows suit depends on the task.
    if choice.1 == PerImage::Map {
        check(graph, choice, Task::Embedding)?;
    }
    if choice.1 == PerImage::NoBatch {
        return Err(no_batch(output));
    }
    Ok(choice)
}

/// A row beside boxes is no row of classes.
fn refuse_detectors(graph: &Graph) -> Result<(), String> {
    if let Some(task) = metadata::made_for(graph) {
        return Err(format!(
            "is no classifier: its metadata says task `{task}`. Its outputs are {}: {WHAT_IS_ANSWERED}",
            all(graph)
        ));
    }
    let is_of_detectors = |output: &&GraphOutput| {
        let name = output.tensor.name.to_ascii_lowercase();
        OF_DETECTORS.iter().any(|word| name.contains(word))
    };
    match graph.outputs.iter().find(is_of_detectors) {
        None => Ok(()),
        Some(output) => Err(format!(
            "seems to be a detector, for it has an output `{}`. Its outputs are {}: {WHAT_IS_ANSWERED}",
            output.tensor.name,
            all(graph)
        )),
    }
}

fn nothing_to_answer(graph: &Graph) -> String {
    let numbers: Vec<&GraphOutput> = graph
        .outputs
        .iter()
        .filter(|output| is_number(&output.tensor))
        .collect();
    if let [output] = numbers.as_slice()
        && graph.per_image(output) == PerImage::NoBatch
    {
        return no_batch(output);
    }
    format!(
        "gives no scores or features. Its outputs are {}: {WHAT_IS_ANSWERED}",
        all(graph)
    )
}

/// An output of `[classes]`.
fn no_batch(output: &GraphOutput) -> String {
    let axes = output.tensor.shape.iter().flatten();
    let axes: Vec<String> = axes
        .map(|axis| axis.map_or("?".to_owned(), |axis| axis.to_string()))
        .collect();
    let with_batch = [&["batch".to_owned()], axes.as_slice()].concat().join(", ");
    format!(
        "has no batch axis in its output `{}` ({}): the first axis must count the images. Export the model with an \
         output of [{with_batch}]: do not squeeze or index the batch away before the export, and make the first axis of \
         input and output dynamic (torch.onnx.export: dynamic_axes, or dynamic_shapes)",
        output.tensor.name,
        with_axes(&output.tensor, &axes)
    )
}

/// The tensor of an output without a batch, whose first axis would otherwise be shown as one.
fn with_axes(tensor: &TensorInfo, axes: &[String]) -> String {
    format!("{} [{}]", tensor.element, axes.join(", "))
}

/// Every output, as messages show it.
fn all(graph: &Graph) -> String {
    let outputs: Vec<String> = graph.outputs.iter().map(|output| shown(graph, output)).collect();
    outputs.join(", ")
}

/// An output with its form, in words.
fn shown(graph: &Graph, output: &GraphOutput) -> String {
    let form = match graph.per_image(output) {
        _ if !is_number(&output.tensor) => "",
        PerImage::Row(_) => ", one row for each image",
        PerImage::Rows(_) => ", several rows for each image",
        PerImage::Map => ", a map for each image",
        PerImage::Open => ", of a form that only a run shows",
        PerImage::NoBatch => ", without a batch axis",
    };
    format!("`{}` ({}{form})", output.tensor.name, output.tensor)
}

fn is_number(tensor: &TensorInfo) -> bool {
    matches!(
        tensor.element,
        Element::Float16 | Element::Float32 | Element::Float64
    )
}

fn is_named_features(output: &GraphOutput) -> bool {
    names_features(&output.tensor.name.to_ascii_lowercase())
}
