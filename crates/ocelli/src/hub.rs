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
mod choice;
mod client;
mod config;
mod download;
mod error;
mod hash;
mod listing;
mod names;
mod progress;

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_vision::Manifest;

use cache::{Extent, RepoCache, at};
use choice::{Choice, choose};
use client::{About, Client};
pub use config::{HubConfig, Token};
use download::Download;
pub use error::HubError;
use listing::{Listing, RepoFile};
pub use names::{Commit, HubSpec, RepoPath, Repository};

/// The largest file of each kind, in bytes. An ONNX file is a protobuf message, which ends at 2 GiB; what does not fit
/// in there stands in files beside it.
const MAX_TEXT: u64 = 16 << 20;
const MAX_ONNX: u64 = 2 << 30;
const MAX_EXTERNAL: u64 = 16 << 30;

/// A model of the hub that is on this machine.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What was asked for.
    pub spec: HubSpec,
    /// The commit that it is.
    pub commit: Commit,
    /// The folder that looks like the repository. Its files are links that stay within [`Fetched::root`].
    pub folder: PathBuf,
    /// Where everything of the repository is kept.
    pub root: PathBuf,
    /// The ONNX file, within the folder.
    pub onnx: PathBuf,
    /// Whether it is a package, with a `model.toml` beside the ONNX file.
    pub is_package: bool,
    /// Why this ONNX file was chosen.
    pub why: String,
    /// The ONNX files that were not.
    pub others: Vec<String>,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes that came over the network just now; 0 where all of it was in the cache.
    pub fetched: u64,
}

/// Sees to it that a model is on this machine, and says where. Blocks.
///
/// # Errors
/// When it is not to be had; see [`HubError`].
pub fn fetch(spec: &HubSpec, config: &HubConfig) -> Result<Fetched, HubError> {
    let visit = Visit {
        spec,
        config,
        cache: RepoCache::new(&config.cache, &spec.repository),
    };
    visit.run()
}

/// One look for one model.
struct Visit<'a> {
    spec: &'a HubSpec,
    config: &'a HubConfig,
    cache: RepoCache,
}

/// What of a model is here.
#[derive(Default)]
struct Tally {
    bytes: u64,
    fetched: u64,
}

/// Where files that are not in the cache come from.
enum Source {
    Hub(Box<Client>),
    /// From nowhere: nothing may be asked, or nobody answers.
    Nowhere,
}

impl Visit<'_> {
    fn run(&self) -> Result<Fetched, HubError> {
        let (listing, source) = self.listing()?;
        let choice = choose(self.spec, &listing)?;
        let mut tally = Tally::default();
        for file in self.small_files(&choice, &listing, &source, &mut tally)? {
            self.obtain(file, MAX_TEXT, &listing, &source, &mut tally)?;
        }
        for file in external_files(&choice.onnx.path, &listing) {
            self.obtain(file, MAX_EXTERNAL, &listing, &source, &mut tally)?;
        }
        // Last, so that where it is the rest is, too.
        self.obtain(choice.onnx, MAX_ONNX, &listing, &source, &mut tally)?;
        Ok(Fetched {
            spec: self.spec.clone(),
            folder: self.cache.snapshot(&listing.commit),
            root: self.cache.folder().to_owned(),
            onnx: PathBuf::from(choice.onnx.path.as_str()),
            is_package: choice.manifest.is_some(),
            others: choice.others.iter().map(ToString::to_string).collect(),
            why: choice.why,
            bytes: tally.bytes,
            fetched: tally.fetched,
            commit: listing.commit.clone(),
        })
    }

    /// What the revision holds. The hub is asked, unless that is forbidden or the revision is a commit whose list is
    /// here, for that never changes. When the hub cannot be reached, the cache has to do.
    fn listing(&self) -> Result<(Listing, Source), HubError> {
        let cached = || {
            let commit = self.cache.commit(&self.spec.revision)?;
            self.cache.listing(&commit)
        };
        let client = || Source::Hub(Box::new(Client::new(self.config)));
        if self.config.offline {
            let (listing, _) = cached().ok_or_else(|| self.offline("it"))?;
            tracing::info!(model = %self.spec, commit = %listing.commit, "from the cache: HF_HUB_OFFLINE is set");
            return Ok((listing, Source::Nowhere));
        }
        if Commit::new(self.spec.revision.as_str()).is_some()
            && let Some((listing, Extent::Whole)) = cached()
        {
            return Ok((listing, client()));
        }
        let hub = Client::new(self.config);
        match hub.listing(self.spec) {
            Ok(listing) => {
                self.cache.note(&self.spec.revision, &listing)?;
                Ok((listing, Source::Hub(Box::new(hub))))
            }
            Err(error @ (HubError::Unreachable { .. } | HubError::Failing { .. })) => {
                let Some((listing, _)) = cached() else {
                    return Err(error);
                };
                tracing::warn!(model = %self.spec, commit = %listing.commit, %error, "from the cache: the hub does not answer");
                Ok((listing, Source::Hub(Box::new(hub))))
            }
            Err(error) => Err(error),
        }
    }

    /// What describes the model. Of a package it has to be read first which labels it names.
    fn small_files<'a>(
        &self,
        choice: &Choice<'a>,
        listing: &'a Listing,
        source: &Source,
        tally: &mut Tally,
    ) -> Result<Vec<&'a RepoFile>, HubError> {
        let Some(manifest) = choice.manifest else {
            return Ok(choice.descriptions.clone());
        };
        self.obtain(manifest, MAX_TEXT, listing, source, tally)?;
        let path = self.cache.pointer(&listing.commit, &manifest.path);
        let text = fs::read_to_string(&path).map_err(at(&path))?;
        let parsed = Manifest::parse(&text).map_err(|source| HubError::Package { path, source })?;
        let labels = parsed
            .outputs
            .iter()
            .filter_map(|output| output.labels.as_deref());
        labels
            .map(|name| {
                let file = manifest.path.beside(name).and_then(|path| listing.find(&path));
                file.ok_or_else(|| HubError::NoFile {
                    repository: self.spec.repository.clone(),
                    file: name.to_owned(),
                    others: Vec::new(),
                })
            })
            .collect()
    }

    /// Sees to it that a file is in the snapshot.
    fn obtain(
        &self,
        file: &RepoFile,
        limit: u64,
        listing: &Listing,
        source: &Source,
        tally: &mut Tally,
    ) -> Result<(), HubError> {
        let commit = &listing.commit;
        if !self.cache.has(commit, file) {
            let Source::Hub(client) = source else {
                return Err(self.offline(file.path.as_str()));
            };
            let about = About {
                repository: &self.spec.repository,
                revision: self.spec.revision.as_str(),
                file: Some(&file.path),
            };
            let (hash, size) = match (&file.hash, file.size) {
                (Some(hash), Some(size)) => (hash.clone(), size),
                _ => client.describe(about, commit, file)?,
            };
            if size > limit {
                return Err(HubError::TooLarge {
                    repository: self.spec.repository.clone(),
                    file: file.path.to_string(),
                    bytes: size,
                    limit,
                });
            }
            let download = Download {
                client,
                cache: &self.cache,
                about,
                commit,
                path: &file.path,
                hash: &hash,
                size,
            };
            tally.fetched += download.run()?;
            self.cache.link(commit, &file.path, &hash)?;
        }
        let pointer = self.cache.pointer(commit, &file.path);
        tally.bytes += fs::metadata(&pointer).map_err(at(&pointer))?.len();
        Ok(())
    }

    fn offline(&self, missing: &str) -> HubError {
        HubError::Offline {
            spec: self.spec.to_string(),
            missing: missing.to_owned(),
            cache: self.config.cache.clone(),
        }
    }
}

/// The files that hold a graph's weights beside it, by the names that exporters give them.
fn external_files<'a>(onnx: &RepoPath, listing: &'a Listing) -> Vec<&'a RepoFile> {
    let name = onnx.as_str();
    let stem = name.trim_end_matches(".onnx");
    let belongs = |path: &str| {
        let of_name = path.strip_prefix(name);
        let numbered = of_name
            .and_then(|rest| rest.strip_prefix("_data"))
            .is_some_and(|rest| {
                rest.is_empty()
                    || rest
                        .strip_prefix('_')
                        .is_some_and(|number| number.parse::<u16>().is_ok())
            });
        numbered || of_name == Some(".data") || path.strip_prefix(stem) == Some(".data")
    };
    listing
        .files
        .iter()
        .filter(|file| belongs(file.path.as_str()))
        .collect()
}

/// The folder to read a model from.
impl Fetched {
    /// Where the ONNX file is.
    #[must_use]
    pub fn onnx_path(&self) -> PathBuf {
        self.folder.join(&self.onnx)
    }

    /// The folder of the ONNX file, which is a package's folder.
    #[must_use]
    pub fn package_folder(&self) -> PathBuf {
        self.onnx_path()
            .parent()
            .map_or_else(|| self.folder.clone(), Path::to_owned)
    }
}
