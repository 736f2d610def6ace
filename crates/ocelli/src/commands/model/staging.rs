//! Writes the files of a package, all or none.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

pub(super) struct PackagePart<'a> {
    /// Relative to the package's folder.
    pub(super) name: String,
    pub(super) content: &'a [u8],
    /// A file with the same content, to hard-link instead of copying.
    pub(super) original: Option<PathBuf>,
}

/// Files that are written beside their destination. Unless they are committed, drop removes them and the folders created
/// for them.
#[derive(Default)]
pub(super) struct Staging {
    files: Vec<(PathBuf, PathBuf)>,
    /// Outermost first.
    folders: Vec<PathBuf>,
}

impl Staging {
    /// Writes a part of the package in `dir` and returns how: kept, linked or written.
    pub(super) fn add(&mut self, dir: &Path, part: &PackagePart<'_>) -> io::Result<&'static str> {
        let path = dir.join(&part.name);
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Follows symbolic links, so that the hard link shares the file itself.
        let original = part
            .original
            .as_ref()
            .and_then(|original| original.canonicalize().ok());
        if original
            .as_deref()
            .is_some_and(|original| is_same_file(original, &path))
        {
            return Ok("kept");
        }
        if let Some(folder) = path.parent() {
            self.create(folder)?;
        }
        let new = temporary(&path);
        self.files.push((new.clone(), path));
        // Hard links fail across disks and on some file systems; then the file is copied.
        if original.is_some_and(|original| fs::hard_link(original, &new).is_ok()) {
            return Ok("linked");
        }
        fs::write(&new, part.content)?;
        Ok("written")
    }

    /// Moves all files to their destinations, in the order in which they were written.
    ///
    /// # Errors
    /// When a file cannot be moved, with its path; the files before it are in place.
    pub(super) fn commit(mut self) -> Result<(), (PathBuf, io::Error)> {
        self.folders.clear();
        for (new, path) in &self.files {
            fs::rename(new, path).map_err(|error| (path.clone(), error))?;
        }
        self.files.clear();
        Ok(())
    }

    /// Creates a folder and its missing parents.
    fn create(&mut self, folder: &Path) -> io::Result<()> {
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let missing: Vec<PathBuf> = folder
            .ancestors()
            .take_while(is_missing)
            .map(Path::to_owned)
            .collect();
        self.folders.extend(missing.into_iter().rev());
        fs::create_dir_all(folder)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Files that cannot be removed stay; the user who sees the error looks into the folder.
        for (new, _) in &self.files {
            drop(fs::remove_file(new));
        }
        for folder in self.folders.iter().rev() {
            drop(fs::remove_dir(folder));
        }
    }
}

/// A unique name beside `path`.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{:08x}.new", std::process::id(), fastrand::u32(..)));
    name.into()
}

/// Whether both names refer to one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part<'a>(name: &str, content: &'a [u8], original: Option<PathBuf>) -> PackagePart<'a> {
        PackagePart {
            name: name.to_owned(),
            content,
            original,
        }
    }

    #[test]
    fn uncommitted_files_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("new/package");
        let mut staging = Staging::default();
        assert_eq!(staging.add(&dir, &part("deep/a", b"a", None)).unwrap(), "written");
        assert_eq!(staging.add(&dir, &part("b", b"b", None)).unwrap(), "written");
        assert!(!dir.join("b").exists(), "not before the commit");
        drop(staging);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn existing_files_and_folders_stay() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("b"), "old").unwrap();
        fs::create_dir(home.path().join("folder")).unwrap();
        let mut staging = Staging::default();
        staging.add(home.path(), &part("b", b"new", None)).unwrap();
        let error = staging.add(home.path(), &part("folder", b"", None)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        drop(staging);
        assert_eq!(fs::read(home.path().join("b")).unwrap(), b"old");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn existing_content_is_linked_or_kept() {
        let home = tempfile::tempdir().unwrap();
        let original = home.path().join("original");
        fs::write(&original, "weights").unwrap();
        let dir = home.path().join("package");
        let weights = part("model.onnx", b"weights", Some(original.clone()));
        let mut staging = Staging::default();
        assert_eq!(staging.add(&dir, &weights).unwrap(), "linked");
        staging.commit().unwrap();
        assert!(is_same_file(&original, &dir.join("model.onnx")));
        let mut staging = Staging::default();
        assert_eq!(staging.add(&dir, &weights).unwrap(), "kept");
        drop(staging);
        assert_eq!(fs::read(dir.join("model.onnx")).unwrap(), b"weights");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
