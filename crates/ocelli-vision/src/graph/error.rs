//! Why a graph cannot be used. The caller puts the path of the file in front.

use crate::Format;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    #[error("{0}")]
    Foreign(&'static Format),
    #[error("is not an ONNX file: it is {looks_like}; {remedy}")]
    NotOnnx {
        looks_like: &'static str,
        remedy: &'static str,
    },
    #[error("is cut off: at least {missing} bytes are missing at its end; copy, download or export it again")]
    Truncated { missing: u64 },
    #[error("is not ONNX, or is damaged: copy, download or export it again")]
    Damaged,
    #[error("has no graph: export the model again")]
    NoGraph,
    #[error(
        "does not say its opset version: it is cut off, or was written by a broken exporter; export it again"
    )]
    NoOpset,
    #[error("has more than {limit} {what}: check that it is the right file")]
    TooMany { what: &'static str, limit: usize },
    #[error("has no input, only weights: export it with its image as an input")]
    NoInput,
    #[error(
        "takes {} inputs ({}), and Ocelli gives a model one image: export the part that takes the image alone, with everything else as constants",
        names.len(),
        names.join(", ")
    )]
    ManyInputs { names: Vec<String> },
}
