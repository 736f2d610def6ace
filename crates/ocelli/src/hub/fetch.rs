//! One model, from its name to its files: what the revision holds, what of that is wanted, and one file after the other.

use std::fs;
use std::path::PathBuf;

use ocelli_vision::{Files, Manifest};

use super::Fetched;
use super::cache::{Extent, RepoCache, at};
use super::client::{About, Client};
use super::config::HubConfig;
use super::download::Download;
use super::error::HubError;
use super::graph::{self, MAX_ONNX};
use super::hash::Hash;
use super::listing::{Listing, RepoFile};
use super::select::{Choice, choose};
use super::spec::{Commit, HubSpec, RepoPath};

/// The largest file of each other kind, in bytes. What does not fit in an ONNX file stands in files beside it.
const MAX_TEXT: u64 = 16 << 20;
const MAX_EXTERNAL: u64 = 16 << 30;

/// Sees to it that a model is on this machine.
pub(super) fn run(spec: &HubSpec, config: &HubConfig) -> Result<Fetched, HubError> {
    let visit = Fetch {
        spec,
        config,
        revision: spec.revision(),
        cache: RepoCache::new(&config.cache, &spec.repository),
    };
    let (listing, client) = visit.listing()?;
    let choice = choose(spec, &listing)?;
    let mut stay = FetchSession {
        visit: &visit,
        listing: &listing,
        client,
        bytes: 0,
        fetched: 0,
    };
    stay.obtain_all(&choice)?;
    Ok(Fetched {
        spec: spec.clone(),
        folder: visit.cache.snapshot(&listing.commit),
        root: visit.cache.folder().to_owned(),
        onnx: PathBuf::from(choice.onnx.path.as_str()),
        why: choice.why,
        bytes: stay.bytes,
        fetched: stay.fetched,
        commit: listing.commit.clone(),
    })
}

/// Who is visited, and what is known of it.
struct Fetch<'a> {
    spec: &'a HubSpec,
    config: &'a HubConfig,
    revision: RepoPath,
    cache: RepoCache,
}

/// A visit that found the door open.
struct FetchSession<'a> {
    visit: &'a Fetch<'a>,
    listing: &'a Listing,
    /// Where files that are not in the cache come from; nowhere when nothing may be asked.
    client: Option<Client>,
    bytes: u64,
    fetched: u64,
}

/// Where a file is that is here.
enum CachedFile {
    Snapshot,
    Blob(Hash),
}

impl Fetch<'_> {
    /// What the revision holds. The hub is asked, unless that is forbidden or the revision is a commit whose list is
    /// here, for that never changes. When the hub cannot be reached, the cache has to do.
    fn listing(&self) -> Result<(Listing, Option<Client>), HubError> {
        let cached = || {
            let commit = self.cache.commit(&self.revision)?;
            self.cache.listing(&commit)
        };
        if self.config.offline {
            let (listing, _) = cached().ok_or_else(|| self.offline("it"))?;
            tracing::info!(model = %self.spec, commit = %listing.commit, "from the cache: HF_HUB_OFFLINE is set");
            return Ok((listing, None));
        }
        let client = Client::new(self.config);
        if Commit::new(self.revision.as_str()).is_some()
            && let Some((listing, Extent::Whole)) = cached()
        {
            return Ok((listing, Some(client)));
        }
        match client.listing(self.spec) {
            Ok(listing) => {
                // A cache that cannot be written may have all that is wanted, as in an image that was made for it.
                if let Err(error) = self.cache.note(&self.revision, &listing) {
                    tracing::warn!(%error, "what the hub said is not noted");
                }
                Ok((listing, Some(client)))
            }
            Err(error @ (HubError::Unreachable { .. } | HubError::Failing { .. })) => {
                let Some((listing, _)) = cached() else {
                    return Err(error);
                };
                let commit = &listing.commit;
                tracing::warn!(model = %self.spec, %commit, %error, "from the cache: the hub does not answer");
                Ok((listing, Some(client)))
            }
            Err(error) => Err(error),
        }
    }

    fn offline(&self, missing: &str) -> HubError {
        HubError::Offline {
            spec: self.spec.to_string(),
            missing: missing.to_owned(),
            cache: self.config.cache.clone(),
        }
    }

    fn no_file(&self, file: &str) -> HubError {
        HubError::NoFile {
            repository: self.spec.repository.clone(),
            file: file.to_owned(),
            others: Vec::new(),
        }
    }
}

impl FetchSession<'_> {
    /// The graph comes first, for it says which files it needs, and appears last, so that where it is the rest is, too.
    fn obtain_all(&mut self, choice: &Choice<'_>) -> Result<(), HubError> {
        for file in self.descriptions(choice)? {
            self.obtain(file, MAX_TEXT)?;
        }
        let place = self.bring(choice.onnx, MAX_ONNX)?;
        let path = match &place {
            CachedFile::Snapshot => self.pointer(choice.onnx),
            CachedFile::Blob(hash) => self.visit.cache.blob(hash),
        };
        for path in graph::external(self.visit.cache.folder(), &path, &choice.onnx.path)? {
            let file = self.listing.find(&path);
            let file = file.ok_or_else(|| self.visit.no_file(path.as_str()))?;
            self.obtain(file, MAX_EXTERNAL)?;
        }
        self.show(choice.onnx, &place)
    }

    /// What describes the model. Of a package it has to be read first which labels it names.
    fn descriptions<'c>(&mut self, choice: &Choice<'c>) -> Result<Vec<&'c RepoFile>, HubError>
    where
        Self: 'c,
    {
        let Some(manifest) = choice.manifest else {
            return Ok(choice.descriptions.clone());
        };
        self.obtain(manifest, MAX_TEXT)?;
        let path = self.pointer(manifest);
        let text = Files::within(self.visit.cache.folder())?.read_text(&path, MAX_TEXT)?;
        let parsed = Manifest::parse(&text).map_err(|source| HubError::Package { path, source })?;
        let labels = parsed
            .outputs
            .iter()
            .filter_map(|output| output.labels.as_deref());
        labels
            .map(|name| {
                let path = manifest.path.beside(name);
                let file = path.and_then(|path| self.listing.find(&path));
                file.ok_or_else(|| self.visit.no_file(name))
            })
            .collect()
    }

    /// Sees to it that a file is in the snapshot.
    fn obtain(&mut self, file: &RepoFile, limit: u64) -> Result<(), HubError> {
        let place = self.bring(file, limit)?;
        self.show(file, &place)
    }

    /// Sees to it that a file is here.
    fn bring(&mut self, file: &RepoFile, limit: u64) -> Result<CachedFile, HubError> {
        let Fetch {
            spec,
            cache,
            revision,
            ..
        } = self.visit;
        let commit = &self.listing.commit;
        if cache.has(commit, file) {
            return Ok(CachedFile::Snapshot);
        }
        let client = self.client.as_ref();
        let client = client.ok_or_else(|| self.visit.offline(file.path.as_str()))?;
        let about = About {
            repository: &spec.repository,
            revision: revision.as_str(),
            file: Some(&file.path),
        };
        let (hash, size) = match (&file.hash, file.size) {
            (Some(hash), Some(size)) => (hash.clone(), size),
            _ => client.describe(about, commit, file)?,
        };
        if size > limit {
            return Err(HubError::TooLarge {
                repository: spec.repository.clone(),
                file: file.path.to_string(),
                bytes: size,
                limit,
            });
        }
        let download = Download {
            client,
            cache,
            about,
            commit,
            path: &file.path,
            hash: &hash,
            size,
        };
        self.fetched += download.run()?;
        Ok(CachedFile::Blob(hash))
    }

    /// Makes a file that is here appear in the snapshot.
    fn show(&mut self, file: &RepoFile, place: &CachedFile) -> Result<(), HubError> {
        if let CachedFile::Blob(hash) = place {
            self.visit.cache.link(&self.listing.commit, &file.path, hash)?;
        }
        let pointer = self.pointer(file);
        self.bytes += fs::metadata(&pointer).map_err(at(&pointer))?.len();
        Ok(())
    }

    fn pointer(&self, file: &RepoFile) -> PathBuf {
        self.visit.cache.pointer(&self.listing.commit, &file.path)
    }
}
