//! Fetches one model: lists the files of the revision, selects those that are needed, and downloads one after the other.

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

/// Maximum size of files other than the ONNX file, in bytes.
const MAX_TEXT: u64 = 16 << 20;
const MAX_EXTERNAL: u64 = 16 << 30;

pub(super) fn run(spec: &HubSpec, config: &HubConfig) -> Result<Fetched, HubError> {
    let fetch = Fetch {
        spec,
        config,
        revision: spec.revision(),
        cache: RepoCache::new(&config.cache, &spec.repository),
    };
    let (listing, client) = fetch.listing()?;
    let choice = choose(spec, &listing)?;
    let mut session = FetchSession {
        fetch: &fetch,
        listing: &listing,
        client,
        bytes: 0,
        fetched: 0,
    };
    session.obtain_all(&choice)?;
    Ok(Fetched {
        spec: spec.clone(),
        folder: fetch.cache.snapshot(&listing.commit),
        root: fetch.cache.folder().to_owned(),
        onnx: PathBuf::from(choice.onnx.path.as_str()),
        why: choice.why,
        bytes: session.bytes,
        fetched: session.fetched,
        commit: listing.commit.clone(),
    })
}

struct Fetch<'a> {
    spec: &'a HubSpec,
    config: &'a HubConfig,
    revision: RepoPath,
    cache: RepoCache,
}

/// A fetch whose revision was found.
struct FetchSession<'a> {
    fetch: &'a Fetch<'a>,
    listing: &'a Listing,
    /// `None` offline.
    client: Option<Client>,
    bytes: u64,
    fetched: u64,
}

enum CachedFile {
    Snapshot,
    Blob(Hash),
}

impl Fetch<'_> {
    /// The files of the revision, as the hub lists them. The cache's list is used offline, when the hub cannot be reached, and
    /// for a commit, which never changes.
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
                // A read-only cache may have all the files, as in a container image.
                if let Err(error) = self.cache.note(&self.revision, &listing) {
                    tracing::warn!(%error, "the list of the hub's files is not cached");
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
    /// Downloads the graph before the files of weights that it names, and links it last, so that a linked graph is complete.
    fn obtain_all(&mut self, choice: &Choice<'_>) -> Result<(), HubError> {
        for file in self.descriptions(choice)? {
            self.obtain(file, MAX_TEXT)?;
        }
        let place = self.download(choice.onnx, MAX_ONNX)?;
        let path = match &place {
            CachedFile::Snapshot => self.pointer(choice.onnx),
            CachedFile::Blob(hash) => self.fetch.cache.blob(hash),
        };
        for path in graph::external(self.fetch.cache.folder(), &path, &choice.onnx.path)? {
            let file = self.listing.find(&path);
            let file = file.ok_or_else(|| self.fetch.no_file(path.as_str()))?;
            self.obtain(file, MAX_EXTERNAL)?;
        }
        self.link(choice.onnx, &place)
    }

    /// The files that describe the model. A package's manifest is fetched here, since it names the labels.
    fn descriptions<'c>(&mut self, choice: &Choice<'c>) -> Result<Vec<&'c RepoFile>, HubError>
    where
        Self: 'c,
    {
        let Some(manifest) = choice.manifest else {
            return Ok(choice.descriptions.clone());
        };
        self.obtain(manifest, MAX_TEXT)?;
        let path = self.pointer(manifest);
        let text = Files::within(self.fetch.cache.folder())?.read_text(&path, MAX_TEXT)?;
        let parsed = Manifest::parse(&text).map_err(|source| HubError::Package { path, source })?;
        let labels = parsed
            .outputs
            .iter()
            .filter_map(|output| output.labels.as_deref());
        labels
            .map(|name| {
                let path = manifest.path.beside(name);
                let file = path.and_then(|path| self.listing.find(&path));
                file.ok_or_else(|| self.fetch.no_file(name))
            })
            .collect()
    }

    /// Downloads a file if needed, and links it into the snapshot.
    fn obtain(&mut self, file: &RepoFile, limit: u64) -> Result<(), HubError> {
        let place = self.download(file, limit)?;
        self.link(file, &place)
    }

    /// Downloads a file unless it is in the snapshot.
    fn download(&mut self, file: &RepoFile, limit: u64) -> Result<CachedFile, HubError> {
        let Fetch {
            spec,
            cache,
            revision,
            ..
        } = self.fetch;
        let commit = &self.listing.commit;
        if cache.has(commit, file) {
            return Ok(CachedFile::Snapshot);
        }
        let client = self.client.as_ref();
        let client = client.ok_or_else(|| self.fetch.offline(file.path.as_str()))?;
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

    fn link(&mut self, file: &RepoFile, place: &CachedFile) -> Result<(), HubError> {
        if let CachedFile::Blob(hash) = place {
            self.fetch.cache.link(&self.listing.commit, &file.path, hash)?;
        }
        let pointer = self.pointer(file);
        self.bytes += fs::metadata(&pointer).map_err(at(&pointer))?.len();
        Ok(())
    }

    fn pointer(&self, file: &RepoFile) -> PathBuf {
        self.fetch.cache.pointer(&self.listing.commit, &file.path)
    }
}
