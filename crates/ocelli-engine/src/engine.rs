//! The two traits of the seam: a [`Backend`] loads models, an [`Engine`] runs batches.

use std::sync::Arc;

use crate::{EngineError, Signature, Tensor};

/// A file of weights that an ONNX file refers to, in memory.
#[derive(Clone, Debug)]
pub struct ExternalFile {
    /// What the ONNX file calls it.
    pub name: String,
    /// Its content, shared by all instances.
    pub bytes: Arc<[u8]>,
}

/// A model to load, as its package describes it.
#[derive(Clone, Copy, Debug)]
pub struct ModelSource<'a> {
    /// What to call the model in error texts.
    pub name: &'a str,
    /// The ONNX file.
    pub onnx: &'a [u8],
    /// Every file of weights that it refers to. An engine reads no file itself.
    pub external: &'a [ExternalFile],
    /// What the package declares. A real engine checks its graph against it; the fake takes it as its own.
    /// Axes that the package leaves open are `None`; an output whose shape is empty may have any.
    pub signature: &'a Signature,
}

/// How to build an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How many threads this instance computes with, the caller of `infer` included. At least 1.
    pub threads: usize,
}

/// One loaded instance of a model, owned by one thread.
pub trait Engine: Send {
    /// What the loaded graph takes and gives. Axes that the graph leaves open and the package fixes are fixed.
    fn signature(&self) -> &Signature;

    /// Runs one batch.
    ///
    /// `inputs` has one tensor for each input of the signature, in its order, with the same first axis (the
    /// batch, at least 1). The answer has one tensor for each output, in the signature's order, and its rows are
    /// in the order of the inputs' rows. Floating-point outputs are `float32`, whatever the graph computes in.
    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError>;
}

/// An inference runtime, shared by all the instances it loads.
pub trait Backend: Send + Sync {
    /// The name that users type, such as `onnxruntime`.
    fn name(&self) -> &'static str;

    /// The version of the runtime in use.
    fn version(&self) -> String;

    /// Whether `infer` occupies [`EngineOptions::threads`] cores of this machine, so that decoders have to leave
    /// them free. A fake that waits does not.
    fn uses_cpu(&self) -> bool;

    /// Loads one instance.
    fn load(&self, model: &ModelSource<'_>, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError>;
}
