//! Models from the Hugging Face hub: `hf:owner/name[@revision][#file]` made into files of this machine.
//!
//! Owns names, the cache, the network and the decision which files of a repository are wanted. What the files mean is
//! `ocelli-vision`'s business. `hf-hub`, which would be the crate for this, brings a second HTTP stack, a second
//! cryptography library and a storage protocol of its own (225 packages), and checks no hashes; so this speaks to the
//! hub with `ureq` and keeps `huggingface_hub`'s cache itself.
//!
//! Nothing of the hub's is trusted: names of files are checked before anything is written, files before they get their
//! names, and everything has a limit.

mod cache;
pub(crate) mod cache_index;
mod client;
mod config;
mod download;
mod error;
pub(crate) mod fetch;
mod graph;
mod hash;
mod listing;
mod progress;
pub(crate) mod select;
pub(crate) mod spec;

use std::path::PathBuf;

pub use cache_index::{CachedModel, Removed, list, remove};
pub use config::{HubConfig, Token};
pub use error::HubError;
pub use spec::{Commit, HubSpec, RepoPath, Repository};

/// A model of the hub that is on this machine.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub spec: HubSpec,
    /// The commit that it is.
    pub commit: Commit,
    /// The folder that looks like the repository. Its files are links that stay within [`Fetched::root`].
    pub folder: PathBuf,
    /// Where everything of the repository is kept.
    pub root: PathBuf,
    /// The ONNX file, within the folder.
    pub onnx: PathBuf,
    /// Why this ONNX file was chosen, and which others there are.
    pub why: String,
    pub bytes: u64,
    /// Bytes that came over the network just now; 0 where all of it was in the cache.
    pub fetched: u64,
}

/// Sees to it that a model is on this machine, and says where. Blocks.
///
/// # Errors
/// When it cannot be fetched; see [`HubError`].
pub fn fetch(spec: &HubSpec, config: &HubConfig) -> Result<Fetched, HubError> {
    fetch::run(spec, config)
}

impl Fetched {
    /// Where the ONNX file is.
    #[must_use]
    pub fn onnx_path(&self) -> PathBuf {
        self.folder.join(&self.onnx)
    }
}
