//! Lists the hub's models on this machine, and removes them.
//!
//! The cache is shared with Hugging Face's own tools: files that are not part of a servable model are
//! neither listed nor removed by revision or file. Removing a repository removes everything in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::cache::{RepoCache, at};
use super::config::HubConfig;
use super::error::HubError;
use super::graph;
use super::listing::RepoFile;
use super::spec::{Commit, HubSpec, RepoPath, Repository};

/// A commit of a repository that has an ONNX file here.
#[derive(Clone, Debug)]
pub struct CachedModel {
    pub repository: Repository,
    pub commit: Commit,
    /// The branches and tags that stood for it when they were last asked for.
    pub revisions: Vec<String>,
    /// Its ONNX files, and their bytes without those of files that they keep weights in.
    pub onnx: Vec<(String, u64)>,
    pub bytes: u64,
    /// The folder that looks like the repository.
    pub folder: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Commits, of which nothing is left.
    pub commits: usize,
    /// Files, each counted once however many commits have it.
    pub files: usize,
    pub bytes: u64,
}

pub fn list(config: &HubConfig) -> Result<Vec<CachedModel>, HubError> {
    let mut models = Vec::new();
    for name in names(&config.cache)? {
        let Some(repository) = Repository::of_folder(&name) else {
            continue;
        };
        let cache = RepoCache::new(&config.cache, &repository);
        for commit in commits(&cache)? {
            models.extend(cached(&cache, &repository, commit));
        }
    }
    Ok(models)
}

/// Removes a repository, or a revision of it, or a file of one; and the blobs that nothing else in the cache uses.
pub fn remove(spec: &HubSpec, config: &HubConfig) -> Result<Removed, HubError> {
    let cache = RepoCache::new(&config.cache, &spec.repository);
    let absent = || HubError::NotCached {
        spec: spec.to_string(),
        cache: config.cache.clone(),
    };
    let all = commits(&cache)?;
    let chosen = match &spec.revision {
        None => all.clone(),
        Some(revision) => {
            let commit = cache.commit(revision).filter(|commit| all.contains(commit));
            vec![commit.ok_or_else(absent)?]
        }
    };
    match &spec.file {
        None if chosen.len() == all.len() && cache.folder().exists() => whole(&cache, all.len()),
        None if !chosen.is_empty() => some(&cache, &chosen, |_| true),
        Some(file) if chosen.iter().any(|commit| cache.pointer(commit, file).exists()) => {
            let mut goes: BTreeSet<RepoPath> = BTreeSet::from([file.clone()]);
            for commit in &chosen {
                let found = graph::external(cache.folder(), &cache.pointer(commit, file), file);
                goes.extend(found.unwrap_or_default());
            }
            some(&cache, &chosen, |path| goes.contains(path))
        }
        _ => Err(absent()),
    }
}

fn cached(cache: &RepoCache, repository: &Repository, commit: Commit) -> Option<CachedModel> {
    let files = cache.files(&commit);
    let size = |file: &RepoFile| file.size.unwrap_or_default();
    let onnx: Vec<_> = files
        .iter()
        .filter(|file| file.path.is_onnx())
        .map(|file| (file.path.to_string(), size(file)))
        .collect();
    (!onnx.is_empty()).then(|| CachedModel {
        repository: repository.clone(),
        revisions: revisions(cache, &commit),
        onnx,
        bytes: files.iter().map(size).sum(),
        folder: cache.snapshot(&commit),
        commit,
    })
}

fn whole(cache: &RepoCache, commits: usize) -> Result<Removed, HubError> {
    let mut removed = Removed {
        commits,
        ..Removed::default()
    };
    for name in names(&cache.blobs())? {
        let blob = cache.blobs().join(name);
        removed.files += 1;
        removed.bytes += fs::metadata(&blob).map_err(at(&blob))?.len();
    }
    fs::remove_dir_all(cache.folder()).map_err(at(cache.folder()))?;
    // A downloading process keeps its lock through the open file.
    gone(fs::remove_dir_all(cache.locks())).map_err(at(cache.locks()))?;
    Ok(removed)
}

/// Removes the files of some commits that `goes` selects, and the commits without any other files.
fn some(cache: &RepoCache, chosen: &[Commit], goes: impl Fn(&RepoPath) -> bool) -> Result<Removed, HubError> {
    let mut removed = Removed::default();
    let mut blobs = BTreeSet::new();
    for commit in chosen {
        for file in cache.files(commit).iter().filter(|file| goes(&file.path)) {
            let pointer = cache.pointer(commit, &file.path);
            blobs.extend(cache.blob_of(&pointer));
            fs::remove_file(&pointer).map_err(at(&pointer))?;
        }
        if cache.files(commit).is_empty() {
            removed.commits += 1;
            for revision in revisions(cache, commit) {
                let path = cache.refs().join(revision);
                fs::remove_file(&path).map_err(at(&path))?;
            }
            let list = cache.list(commit);
            gone(fs::remove_file(&list)).map_err(at(&list))?;
            let folder = cache.snapshot(commit);
            fs::remove_dir_all(&folder).map_err(at(&folder))?;
        }
    }
    let mut used = BTreeSet::new();
    for commit in commits(cache)? {
        for file in cache.files(&commit) {
            used.extend(cache.blob_of(&cache.pointer(&commit, &file.path)));
        }
    }
    for blob in blobs.difference(&used) {
        removed.files += 1;
        removed.bytes += fs::metadata(blob).map_err(at(blob))?.len();
        fs::remove_file(blob).map_err(at(blob))?;
    }
    Ok(removed)
}

fn commits(cache: &RepoCache) -> Result<Vec<Commit>, HubError> {
    let names = names(&cache.snapshots())?;
    Ok(names.iter().filter_map(|name| Commit::new(name)).collect())
}

/// The branches and tags that name a commit.
fn revisions(cache: &RepoCache, commit: &Commit) -> Vec<String> {
    cache
        .known_revisions()
        .into_iter()
        .filter(|revision| cache.commit(revision).as_ref() == Some(commit))
        .map(|revision| revision.to_string())
        .collect()
}

/// The names in a folder, in order; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, HubError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(folder))?,
    };
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(at(folder))?;
    names.sort();
    Ok(names)
}

/// A missing file need not be removed.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
