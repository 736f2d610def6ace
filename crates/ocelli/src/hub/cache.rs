//! The folder in which a repository is kept: `huggingface_hub`'s own layout, so that one cache serves both.
//!
//! ```text
//! models--owner--name/
//!     blobs/<hash>               a file, checked; <hash>.incomplete is the beginning of one
//!     refs/<branch or tag>       the commit that it named when it was last fetched
//!     snapshots/<commit>/<path>  a link to a blob
//!     .ocelli/<commit>.json      what the commit holds, as the hub listed it (ours; the others leave it alone)
//! .locks/models--owner--name/    locks of blobs that are being fetched
//! ```

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::error::HubError;
use super::hash::Hash;
use super::listing::{Listing, RepoFile};
use super::spec::{Commit, RepoPath, Repository};

/// The longest list of files, in bytes: a hundred thousand of them.
pub(super) const MAX_LISTING: u64 = 32 << 20;

/// How deep folders are looked through, and how many files are taken from them.
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 100_000;

/// Where the files of one repository are kept.
#[derive(Debug)]
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repository: &Repository) -> Self {
        let name = repository.folder();
        Self {
            locks: cache.join(".locks").join(&name),
            folder: cache.join(name),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.folder.join("snapshots")
    }

    /// The folder that looks like the repository at a commit.
    pub(super) fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.snapshots().join(commit.as_str())
    }

    pub(super) fn refs(&self) -> PathBuf {
        self.folder.join("refs")
    }

    /// Where a file is, once it is there.
    pub(super) fn pointer(&self, commit: &Commit, path: &RepoPath) -> PathBuf {
        self.snapshot(commit).join(path.as_str())
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    pub(super) fn blob(&self, hash: &Hash) -> PathBuf {
        self.blobs().join(hash.as_str())
    }

    /// The blob that a file of a snapshot links to, if it is a link.
    pub(super) fn blob_of(&self, pointer: &Path) -> Option<PathBuf> {
        let target = fs::read_link(pointer).ok()?;
        let hash = Hash::new(target.file_name()?.to_str()?)?;
        Some(self.blob(&hash))
    }

    pub(super) fn partial(&self, hash: &Hash) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", hash.as_str()))
    }

    /// The file that is locked while a blob is fetched, by Python as well.
    pub(super) fn lock(&self, hash: &Hash) -> PathBuf {
        self.locks.join(format!("{}.lock", hash.as_str()))
    }

    /// The folder of locks, which goes when the repository goes.
    pub(super) fn locks(&self) -> &Path {
        &self.locks
    }

    /// Whether a file is there, as large as the hub says.
    pub(super) fn has(&self, commit: &Commit, file: &RepoFile) -> bool {
        fs::metadata(self.pointer(commit, &file.path))
            .is_ok_and(|about| about.is_file() && file.size.is_none_or(|size| size == about.len()))
    }

    /// The commit that a revision was last known to name.
    pub(super) fn commit(&self, revision: &RepoPath) -> Option<Commit> {
        Commit::new(revision.as_str()).or_else(|| {
            let text = fs::read_to_string(self.refs().join(revision.as_str())).ok()?;
            Commit::new(text.trim())
        })
    }

    /// Records the commit that a revision names now, and its files.
    pub(super) fn note(&self, revision: &RepoPath, listing: &Listing) -> Result<(), HubError> {
        let list = self.list(&listing.commit);
        if !list.exists() {
            replace(&list, &listing.to_json())?;
        }
        if Commit::new(revision.as_str()).is_some() || self.commit(revision).as_ref() == Some(&listing.commit)
        {
            return Ok(());
        }
        replace(
            &self.refs().join(revision.as_str()),
            listing.commit.as_str().as_bytes(),
        )
    }

    /// What a commit holds: as the hub listed it, or else what other tools have put here. The second says whether it is
    /// the whole.
    pub(super) fn listing(&self, commit: &Commit) -> Option<(Listing, Extent)> {
        let path = self.list(commit);
        let kept = fs::metadata(&path)
            .ok()
            .filter(|about| about.len() <= MAX_LISTING)
            .and_then(|_| Listing::parse(&fs::read(&path).ok()?).ok())
            .filter(|listing| listing.commit == *commit);
        if let Some(listing) = kept {
            return Some((listing, Extent::Whole));
        }
        let files = self.files(commit);
        let found = Listing {
            commit: commit.clone(),
            files,
        };
        (!found.files.is_empty()).then_some((found, Extent::Cached))
    }

    /// The files of a commit that are here.
    pub(super) fn files(&self, commit: &Commit) -> Vec<RepoFile> {
        let mut files = Vec::new();
        collect(&self.snapshot(commit), "", MAX_DEPTH, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// Makes a blob that is here appear in a snapshot.
    pub(super) fn link(&self, commit: &Commit, path: &RepoPath, hash: &Hash) -> Result<(), HubError> {
        let pointer = self.pointer(commit, path);
        let up = "../".repeat(2 + path.as_str().split('/').count() - 1);
        let target = PathBuf::from(format!("{up}blobs/{}", hash.as_str()));
        if fs::read_link(&pointer).is_ok_and(|there| there == target) {
            return Ok(());
        }
        let folder = pointer.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(at(folder))?;
        let new = temporary(&pointer);
        let _ = fs::remove_file(&new);
        symlink(&target, &new)
            .and_then(|()| fs::rename(&new, &pointer))
            .map_err(at(&pointer))
    }

    /// The branches and tags that a commit is known for.
    pub(super) fn known_revisions(&self) -> Vec<RepoPath> {
        let mut files = Vec::new();
        collect(&self.refs(), "", MAX_DEPTH, &mut files);
        files.into_iter().map(|file| file.path).collect()
    }

    pub(super) fn list(&self, commit: &Commit) -> PathBuf {
        self.folder.join(".ocelli").join(format!("{commit}.json"))
    }
}

/// How much of a commit a list of its files names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// What is in the cache.
    Cached,
}

/// Converts an error of the file system into one that names the path.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> HubError {
    move |source| HubError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Puts a small file in place of whatever is there, as a whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(at(folder))?;
    let new = temporary(path);
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .map_err(at(path))
}

/// A name beside `path` that no other process takes.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{:08x}.new", std::process::id(), fastrand::u32(..)));
    name.into()
}

fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<RepoFile>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(path) = name
            .to_str()
            .and_then(|name| RepoPath::new(&format!("{prefix}{name}")))
        else {
            continue;
        };
        // Through links: a file is a link to a blob. One that leads nowhere is no file.
        let Ok(about) = fs::metadata(entry.path()) else {
            continue;
        };
        if about.is_dir() && depth > 0 {
            collect(&entry.path(), &format!("{path}/"), depth - 1, files);
        } else if about.is_file() && files.len() < MAX_FILES {
            files.push(RepoFile {
                path,
                size: Some(about.len()),
                hash: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).unwrap()
    }

    #[test]
    fn files_are_linked_as_python_links_them() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(folder.path(), &Repository::new("a/b").unwrap());
        let commit = Commit::new(&"1".repeat(40)).unwrap();
        let hash = Hash::new(&"2".repeat(40)).unwrap();
        fs::create_dir_all(cache.blob(&hash).parent().unwrap()).unwrap();
        fs::write(cache.blob(&hash), b"content").unwrap();
        for name in ["config.json", "onnx/deep/model.onnx"] {
            // The second time finds what the first has made.
            cache.link(&commit, &path(name), &hash).unwrap();
            cache.link(&commit, &path(name), &hash).unwrap();
            assert_eq!(fs::read(cache.pointer(&commit, &path(name))).unwrap(), b"content");
        }
        let target = fs::read_link(cache.pointer(&commit, &path("config.json"))).unwrap();
        assert_eq!(target, Path::new("../../blobs").join(hash.as_str()));
        let names: Vec<_> = cache.files(&commit).into_iter().map(|file| file.path).collect();
        assert_eq!(names, [path("config.json"), path("onnx/deep/model.onnx")]);
    }

    #[test]
    fn a_revision_is_known_until_the_hub_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(folder.path(), &Repository::new("a/b").unwrap());
        let listing = |digit: &str| Listing {
            commit: Commit::new(&digit.repeat(40)).unwrap(),
            files: vec![RepoFile {
                path: path("config.json"),
                size: None,
                hash: None,
            }],
        };
        let revision = path("refs/pr/1");
        assert_eq!(cache.commit(&revision), None);
        for digit in ["1", "2", "2"] {
            let listing = listing(digit);
            cache.note(&revision, &listing).unwrap();
            assert_eq!(cache.commit(&revision).as_ref(), Some(&listing.commit));
            assert_eq!(cache.listing(&listing.commit), Some((listing, Extent::Whole)));
        }
        // A commit names itself.
        let pinned = path(&"3".repeat(40));
        cache.note(&pinned, &listing("3")).unwrap();
        assert!(!cache.refs().join(pinned.as_str()).exists());
    }
}
