//! Models from the Hugging Face hub: `hf:owner/name[@revision][#file]` made into files of this machine.
//!
//! Owns names, the cache, the network and the selection of files. What the files mean is
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
    /// Bytes that were downloaded now; 0 if all of it was in the cache.
    pub fetched: u64,
}

/// Downloads a model unless it is in the cache. Blocks.
pub fn fetch(spec: &HubSpec, config: &HubConfig) -> Result<Fetched, HubError> {
    fetch::run(spec, config)
}

impl Fetched {
    #[must_use]
    pub fn onnx_path(&self) -> PathBuf {
        self.folder.join(&self.onnx)
    }
}
