//! What made an output: its last operator, seen through those that only change how the numbers are written.

use std::collections::HashMap;

use super::{
    Ending, GraphError,
    wire::{Fields, Value, text},
};

/// The ending of each of `outputs`.
///
/// ONNX demands that nodes are in an order in which each comes after those that it reads, so one walk from the last
/// node to the first meets every chain from its end.
pub(super) fn endings(nodes: &[&[u8]], outputs: &[&str]) -> Result<Vec<Ending>, GraphError> {
    let mut endings = vec![Ending::Scores; outputs.len()];
    // For each tensor that is looked for: the outputs that it becomes.
    let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, output) in outputs.iter().enumerate() {
        wanted.entry(output).or_default().push(index);
    }
    for bytes in nodes.iter().rev() {
        if wanted.is_empty() {
            break;
        }
        let node = Node::read(bytes)?;
        let Some(made) = wanted.remove(node.output) else {
            continue;
        };
        match node.operator {
            "Softmax" | "QLinearSoftmax" => made.iter().for_each(|&index| endings[index] = Ending::Softmax),
            "LogSoftmax" => made.iter().for_each(|&index| endings[index] = Ending::LogSoftmax),
            "Sigmoid" | "QLinearSigmoid" => made.iter().for_each(|&index| endings[index] = Ending::Sigmoid),
            "Identity" | "Cast" | "CastLike" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze"
            | "Dropout" | "QuantizeLinear" | "DequantizeLinear" => {
                wanted.entry(node.input).or_default().extend(made);
            }
            _ => {}
        }
    }
    Ok(endings)
}

/// The parts of a `NodeProto` that matter: its operator, its first input and its first output.
struct Node<'a> {
    operator: &'a str,
    input: &'a str,
    output: &'a str,
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, GraphError> {
        let (mut operator, mut input, mut output) = ("", None, None);
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(name)) if input.is_none() => input = Some(text(name)?),
                (2, Value::Bytes(name)) if output.is_none() => output = Some(text(name)?),
                (4, Value::Bytes(name)) => operator = text(name)?,
                _ => {}
            }
        }
        Ok(Self {
            operator,
            input: input.unwrap_or_default(),
            output: output.unwrap_or_default(),
        })
    }
}
