//! What an ONNX file says of itself: what goes in, what comes out, and which other files it needs.
//!
//! Owns a partial reading of ONNX's `ModelProto` (onnx/onnx.proto of ONNX 1.19) that looks at names, shapes and the
//! last operators, and passes over the weights without copying them. It deliberately does not judge whether the graph
//! can be run: the engine has the last word. Files come from elsewhere: no length in one is believed, and what is kept
//! of it is smaller than the file, or a small constant.

mod axes;
mod error;
mod final_op;
mod messages;
mod metadata;
mod sniff;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

pub use axes::PerImage;
pub(crate) use error::GraphError;
use messages::{Model, Parts};
pub(crate) use metadata::Metadata;
use wire::{Fields, Malformed};

/// The newest versions that ONNX Runtime 1.31 runs, found by asking it (it refuses newer ones with an error).
const NEWEST_OPSET: i64 = 26;
const NEWEST_IR: i64 = 13;

/// Domains whose operators ONNX Runtime brings itself.
const KNOWN_DOMAINS: [&str; 8] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
];

/// What an ONNX file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    pub(crate) ir_version: i64,
    /// What wrote it, such as `pytorch 2.9`; may be empty.
    pub(crate) producer: String,
    pub(crate) opset: i64,
    /// Inputs that have to be given: initializers are not among them, though old files list them.
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<GraphOutput>,
    /// Files beside it that hold weights, by name.
    pub external: Vec<ExternalFile>,
    pub(crate) metadata: Metadata,
    /// Domains of operators that ONNX Runtime does not bring.
    foreign_domains: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    pub(crate) element: Element,
    /// The length of each axis, `None` where it may vary; `None` where not even their number is known.
    pub(crate) shape: Option<Vec<Option<u64>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GraphOutput {
    pub(crate) tensor: TensorInfo,
    /// The last operation that decides how to read the numbers.
    pub(crate) final_op: FinalOp,
}

/// What an output went through last. Whatever leaves probabilities what they are is seen through: reshapes, casts,
/// quantisation, clipping and picking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FinalOp {
    /// Nothing that makes probabilities.
    Scores,
    Softmax,
    /// Logarithms of such; softmax gives them back, for it takes off what all have in common.
    LogSoftmax,
    Sigmoid,
}

/// A file with weights, named by the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its name as written, relative to the folder of the ONNX file. Not checked: it may lead anywhere.
    pub name: String,
    /// The bytes that it must have at least.
    pub len: u64,
}

/// The type of a tensor's elements, as far as it matters for images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    Uint8,
    Float16,
    Float32,
    Float64,
    /// Another, by its name in ONNX.
    Other(&'static str),
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uint8 => "uint8",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Other(name) => name,
        })
    }
}

impl fmt::Display for TensorInfo {
    /// `float32 [batch, 3, 224, 224]`, with `?` for other axes that may vary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shape) = &self.shape else {
            return write!(f, "{} of any shape", self.element);
        };
        let axes: Vec<String> = shape
            .iter()
            .enumerate()
            .map(|(axis, len)| match len {
                Some(len) => len.to_string(),
                None if axis == 0 => "batch".to_owned(),
                None => "?".to_owned(),
            })
            .collect();
        write!(f, "{} [{}]", self.element, axes.join(", "))
    }
}

impl Graph {
    /// Reads what the file `bytes` says.
    ///
    /// # Errors
    /// When it is no ONNX file, cut off, damaged, or larger in some count than a model is.
    pub fn read(bytes: &[u8]) -> Result<Self, GraphError> {
        if let Some(error) = sniff::lookalike(bytes) {
            return Err(error);
        }
        let model = Model::read(bytes)?;
        let graph = model.graph.ok_or(GraphError::NoGraph)?;
        let opset = model.opset.ok_or(GraphError::NoOpset)?;
        let Parts {
            nodes,
            inputs,
            outputs,
            used,
        } = Parts::read(graph)?;
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        let final_ops = final_op::final_ops(&nodes, &names, &model.functions)?;
        let foreign_domains = used
            .domains
            .into_iter()
            .filter(|domain| !KNOWN_DOMAINS.contains(domain) && !model.functions.has_domain(domain))
            .map(str::to_owned);
        Ok(Self {
            ir_version: model.ir_version,
            producer: model.producer,
            opset,
            inputs,
            outputs: outputs
                .into_iter()
                .zip(final_ops)
                .map(|(tensor, final_op)| GraphOutput { tensor, final_op })
                .collect(),
            metadata: model.metadata,
            foreign_domains: foreign_domains.collect(),
            external: used
                .files
                .into_iter()
                .map(|(name, len)| ExternalFile {
                    name: name.to_owned(),
                    len,
                })
                .collect(),
        })
    }

    /// Looks at the first bytes of a file, so that a large one that is something else need not be read.
    pub(crate) fn check_head(head: &[u8]) -> Result<(), GraphError> {
        if let Some(error) = sniff::lookalike(head) {
            return Err(error);
        }
        match Fields::of(head).next() {
            Some(Ok(_) | Err(Malformed::CutOff(_))) => Ok(()),
            Some(Err(Malformed::Nonsense)) | None => Err(GraphError::Damaged),
        }
    }

    /// The one input, which is the image.
    pub(crate) fn input(&self) -> Result<&TensorInfo, GraphError> {
        match self.inputs.as_slice() {
            [] => Err(GraphError::NoInput),
            [input] => Ok(input),
            inputs => Err(GraphError::ManyInputs {
                names: inputs.iter().map(|input| input.name.clone()).collect(),
            }),
        }
    }

    pub(crate) fn output(&self, name: &str) -> Option<&GraphOutput> {
        self.outputs.iter().find(|output| output.tensor.name == name)
    }

    /// What each image gets of an output of this graph.
    pub(crate) fn per_image(&self, output: &GraphOutput) -> PerImage {
        let input = self.inputs.first().and_then(|input| input.shape.as_ref());
        let batch = input.and_then(|shape| *shape.first()?);
        PerImage::of_shape(output.tensor.shape.as_deref(), batch)
    }

    /// What may keep ONNX Runtime 1.31 from running it, each in a sentence that says what to do.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.opset > NEWEST_OPSET {
            doubts.push(format!(
                "it is written for opset {}, and ONNX Runtime 1.31 runs opsets up to {NEWEST_OPSET}: export it with \
                 opset_version={NEWEST_OPSET} or lower",
                self.opset
            ));
        }
        if self.ir_version > NEWEST_IR {
            doubts.push(format!(
                "its file format is IR version {}, and ONNX Runtime 1.31 reads versions up to {NEWEST_IR}: export it \
                 with an older `onnx` package",
                self.ir_version
            ));
        }
        if !self.foreign_domains.is_empty() {
            doubts.push(format!(
                "it uses operators of {}, which ONNX Runtime does not bring: export it without custom operators",
                self.foreign_domains.join(", ")
            ));
        }
        doubts
    }
}
