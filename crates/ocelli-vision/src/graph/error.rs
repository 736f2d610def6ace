//! Why a graph cannot be used, in words for whoever has the file. Whoever knows its path puts it in front.

use crate::Format;

/// A graph that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The file is a model in another format.
    #[error("{0}")]
    Foreign(&'static Format),
    /// The file is something else.
    #[error("is not an ONNX file: it is {looks_like}; {remedy}")]
    NotOnnx {
        /// What it is.
        looks_like: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The file ends too early.
    #[error("is cut off: at least {missing} bytes are missing at its end; copy, download or export it again")]
    Truncated {
        /// How much is missing of the part that the file breaks off in.
        missing: u64,
    },
    /// The file has the length that it says, and not the content.
    #[error("is not ONNX, or is damaged: copy, download or export it again")]
    Damaged,
    /// There is a model and no graph in it.
    #[error("has no graph: export the model again")]
    NoGraph,
    /// It does not say which operators it means.
    #[error(
        "does not say its opset version: it is cut off, or was written by a broken exporter; export it again"
    )]
    NoOpset,
    /// There is more of something than a model has.
    #[error("has more than {limit} {what}: check that it is the right file")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Nothing goes in.
    #[error("has no input, only weights: export it with its image as an input")]
    NoInput,
    /// An image alone is not enough for it.
    #[error(
        "takes {} inputs ({}), and Ocelli gives a model one image: export the part that takes the image alone, with everything else as constants",
        names.len(),
        names.join(", ")
    )]
    ManyInputs {
        /// Their names.
        names: Vec<String>,
    },
}
