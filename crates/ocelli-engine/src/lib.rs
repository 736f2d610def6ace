//! Engines run batches of tensors through a model, and nothing else.
//!
//! This crate owns the seam between the server and the inference runtimes: [`Tensor`], [`Signature`], the
//! [`Backend`] and [`Engine`] traits, the adapters behind them and the search for their shared libraries. It also
//! owns what only an engine can tell: what a batch costs ([`CostTable`]).
//!
//! It knows nothing of images, labels, HTTP or async runtimes. An engine is synchronous and belongs to one thread;
//! the owner of the thread decides about queues, deadlines and what happens after a fault.

pub mod cost;
mod engine;
mod error;
pub mod fake;
#[cfg(feature = "onnxruntime")]
pub mod onnxruntime;
mod signature;
mod tensor;

pub use cost::CostTable;
pub use engine::{Backend, Engine, EngineOptions, ExternalFile, ModelSource};
pub use error::EngineError;
pub use fake::{Fake, FakeCost};
#[cfg(feature = "onnxruntime")]
pub use onnxruntime::OnnxRuntime;
pub use signature::{Signature, TensorSpec};
pub use tensor::{ElementType, Row, Tensor, TensorData, TensorError};
