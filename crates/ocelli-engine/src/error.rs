//! Errors of engines, one for each reaction to them.

/// An error of a backend or an engine.
///
/// The texts are for operators and logs. Only [`EngineError::BadInput`] describes something that the caller of
/// `infer` did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages describe the fields")]
pub enum EngineError {
    /// No runtime library was found. `hint` says how to get one.
    #[error("{library} was not found ({searched}): {hint}")]
    LibraryMissing {
        library: &'static str,
        searched: String,
        hint: String,
    },
    /// A library was found, and it cannot be used.
    #[error("{path} cannot be used: {reason}; {hint}")]
    LibraryUnusable {
        path: String,
        reason: String,
        hint: String,
    },
    /// The model file is broken, or the runtime does not support it.
    #[error("model {model} cannot be loaded: {reason}")]
    LoadFailed { model: String, reason: String },
    /// The model loads, but is not what its package declares.
    #[error("model {model} is not what its package declares: {reason}")]
    SignatureMismatch { model: String, reason: String },
    /// The tensors do not fit the model. The instance is fine and can be used again.
    #[error("the input does not fit the model: {0}")]
    BadInput(String),
    /// The run failed. The instance must not be used again: drop it and load another.
    #[error("the engine failed: {0}")]
    Fault(String),
}

impl EngineError {
    /// Whether the instance that returned this error must be rebuilt before its next batch.
    pub fn needs_rebuild(&self) -> bool {
        matches!(self, Self::Fault(_))
    }
}
