//! Weights that an ONNX file keeps in files beside it.

use std::{fmt, sync::Arc};

/// One file of weights, read into memory.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalData {
    /// What the ONNX file calls it (`location` of its tensors).
    pub name: String,
    /// Its content, shared by whoever loads it.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for ExternalData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}
