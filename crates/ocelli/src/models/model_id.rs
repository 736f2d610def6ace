//! The identity of a model.

/// Names what is served: the same name and version with another digest is another model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    pub name: String,
    pub version: String,
    /// The package's SHA-256, in hexadecimal.
    pub digest: String,
}
