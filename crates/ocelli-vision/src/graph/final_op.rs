//! What made an output: its last operator, seen through those that only change how the numbers are written or which of
//! them there are, and through functions that the file brings itself.

use std::collections::HashMap;

use super::{
    FinalOp, GraphError,
    messages::{Function, Functions},
    wire::{Fields, Value, text},
};

const DEEPEST: usize = 8;
/// Bytes of functions that are read: functions that call functions can stand for more than any file holds.
const MOST_BYTES: usize = 1 << 28;

pub(super) fn final_ops(
    nodes: &[&[u8]],
    outputs: &[&str],
    functions: &Functions<'_>,
) -> Result<Vec<FinalOp>, GraphError> {
    let mut walk = Walk {
        functions,
        bytes_left: MOST_BYTES,
    };
    let origins = walk.origins(nodes, outputs, 0)?;
    Ok(origins
        .into_iter()
        .map(|origin| match origin {
            Origin::FinalOp(final_op) => final_op,
            Origin::Tensor(_) => FinalOp::Scores,
        })
        .collect())
}

#[derive(Clone, Copy)]
enum Origin<'a> {
    /// From an operation that says what the numbers are.
    FinalOp(FinalOp),
    /// From a tensor that nothing here makes, such as an input of a function.
    Tensor(&'a str),
}

#[derive(Clone, Copy)]
enum Goal<'a> {
    /// It becomes the output of this index.
    Output(usize),
    /// The output of this index is divided by it, so that a softmax is written out if it is the sum of the tensor `of`
    /// that was divided.
    Sum { of: &'a str, output: usize },
    /// The output of this index is it divided by its sum, so that a softmax is written out if it is an exponential.
    Exponential { output: usize },
}

struct Walk<'a, 'f> {
    functions: &'f Functions<'a>,
    bytes_left: usize,
}

impl<'a> Walk<'a, '_> {
    /// The origin of each of `outputs`.
    ///
    /// ONNX demands that nodes are in an order in which each comes after those that it reads, so one walk from the last
    /// node to the first meets every chain from its end.
    fn origins(
        &mut self,
        nodes: &[&'a [u8]],
        outputs: &[&'a str],
        depth: usize,
    ) -> Result<Vec<Origin<'a>>, GraphError> {
        let mut origins = vec![Origin::FinalOp(FinalOp::Scores); outputs.len()];
        let mut wanted = Wanted::default();
        for (index, output) in outputs.iter().enumerate() {
            wanted.add(output, Goal::Output(index));
        }
        for bytes in nodes.iter().rev() {
            if wanted.0.is_empty() {
                break;
            }
            let node = Node::read(bytes)?;
            for place in 0..node.outputs.len() {
                for goal in wanted.0.remove(node.outputs[place]).unwrap_or_default() {
                    match goal {
                        Goal::Output(index) => match self.origin(&node, place, depth)? {
                            Origin::FinalOp(final_op) => origins[index] = Origin::FinalOp(final_op),
                            Origin::Tensor(name) => wanted.add(name, goal),
                        },
                        Goal::Sum { of, output } if node.is("ReduceSum") && node.input(0) == of => {
                            wanted.add(of, Goal::Exponential { output });
                        }
                        Goal::Exponential { output } if node.is("Exp") => {
                            origins[output] = Origin::FinalOp(FinalOp::Softmax);
                        }
                        Goal::Sum { .. } | Goal::Exponential { .. } => {}
                    }
                    if let (Goal::Output(output), true) = (goal, node.is("Div")) {
                        let of = node.input(0);
                        wanted.add(node.input(1), Goal::Sum { of, output });
                    }
                }
            }
        }
        for (name, goals) in wanted.0 {
            for goal in goals {
                if let Goal::Output(index) = goal {
                    origins[index] = Origin::Tensor(name);
                }
            }
        }
        Ok(origins)
    }

    /// Where the output of a node comes from that stands at `place`.
    fn origin(&mut self, node: &Node<'a>, place: usize, depth: usize) -> Result<Origin<'a>, GraphError> {
        if let Some(function) = self.functions.get(node.domain, node.operator) {
            return self.origin_in(function, node, place, depth);
        }
        Ok(match node.operator {
            "Split" => Origin::Tensor(node.input(0)),
            _ if place > 0 => Origin::FinalOp(FinalOp::Scores),
            "Softmax" | "QLinearSoftmax" => Origin::FinalOp(FinalOp::Softmax),
            "LogSoftmax" => Origin::FinalOp(FinalOp::LogSoftmax),
            "Sigmoid" | "QLinearSigmoid" => Origin::FinalOp(FinalOp::Sigmoid),
            "Identity" | "Cast" | "CastLike" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze"
            | "Transpose" | "Dropout" | "QuantizeLinear" | "DequantizeLinear" | "Clip" | "Slice"
            | "Gather" => Origin::Tensor(node.input(0)),
            "Concat" if node.inputs.len() == 1 => Origin::Tensor(node.input(0)),
            _ => Origin::FinalOp(FinalOp::Scores),
        })
    }

    /// The same of a node that calls `function`.
    fn origin_in(
        &mut self,
        function: &'a [u8],
        call: &Node<'a>,
        place: usize,
        depth: usize,
    ) -> Result<Origin<'a>, GraphError> {
        const UNKNOWN: Origin<'_> = Origin::FinalOp(FinalOp::Scores);
        let (Some(left), true) = (self.bytes_left.checked_sub(function.len()), depth < DEEPEST) else {
            return Ok(UNKNOWN);
        };
        self.bytes_left = left;
        let function = Function::read(function)?;
        let Some(output) = function.outputs.get(place) else {
            return Ok(UNKNOWN);
        };
        let origins = self.origins(&function.nodes, &[*output], depth + 1)?;
        Ok(match origins.first() {
            Some(Origin::Tensor(name)) => function
                .inputs
                .iter()
                .position(|input| input == name)
                .map_or(UNKNOWN, |place| Origin::Tensor(call.input(place))),
            Some(&origin) => origin,
            None => UNKNOWN,
        })
    }
}

/// The tensors that are looked for, and why.
#[derive(Default)]
struct Wanted<'a>(HashMap<&'a str, Vec<Goal<'a>>>);

impl<'a> Wanted<'a> {
    fn add(&mut self, tensor: &'a str, goal: Goal<'a>) {
        self.0.entry(tensor).or_default().push(goal);
    }
}

struct Node<'a> {
    domain: &'a str,
    operator: &'a str,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, GraphError> {
        let mut node = Self {
            domain: "",
            operator: "",
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(name)) => node.inputs.push(text(name)?),
                (2, Value::Bytes(name)) => node.outputs.push(text(name)?),
                (4, Value::Bytes(name)) => node.operator = text(name)?,
                (7, Value::Bytes(name)) => node.domain = text(name)?,
                _ => {}
            }
        }
        Ok(node)
    }

    fn is(&self, operator: &str) -> bool {
        self.operator == operator
    }

    /// The name of an input; empty where it has fewer.
    fn input(&self, place: usize) -> &'a str {
        self.inputs.get(place).copied().unwrap_or_default()
    }
}
