//! Photos to tensors and scores to labels, with the arithmetic of the library that the model was trained with.
//!
//! This crate owns: what a model package declares ([`ModelPackage`], [`InputSpec`]), reading image headers under
//! limits ([`ImageHeader`]), decoding, orienting, cropping and resizing to packed 8-bit RGB ([`Decoder`]),
//! normalising into a tensor ([`InputSpec::fill`]) and back ([`InputSpec::recover_rgb`]), and turning scores into ranked classes
//! ([`rank`]).
//!
//! It deliberately knows nothing of threads, async runtimes, inference engines or protocols: every function
//! computes on the caller's thread, and memory is bounded by what the header declared and the limits allowed.
//! The reference for every pixel is Pillow; `tests/goldens` holds the evidence.

pub mod auto;
mod decode;
mod error;
mod files;
mod formats;
mod geometry;
mod graph;
mod header;
mod input;
mod orient;
mod package;
mod pixels;
mod resample;
mod scores;

pub use decode::Decoder;
pub use error::ImageError;
pub use files::{FileError, Files};
pub use formats::Format;
pub(crate) use graph::{ExternalFile, FinalOp, GraphError, GraphOutput};
pub use graph::{Graph, PerImage};
pub(crate) use header::ImageFormat;
pub use header::{DecodeLimits, ImageHeader, Orientation};
pub use input::{
    Align, Channels, Coordinates, InputSpec, InputType, Interpolation, Layout, Resampling, ResizePolicy,
    Rounding, TensorElement,
};
pub(crate) use package::ExternalData;
pub use package::{
    Activation, Manifest, ModelCard, ModelPackage, OutputSpec, PackageError, Pool, RunSpec, Task,
};
pub use scores::{l2_normalize, rank, sigmoid, softmax, top_k};
