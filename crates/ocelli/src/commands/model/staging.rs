//! The files of a package, which appear when all of them are written, or not at all.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A file of the package and what it is made of.
pub(super) struct PackagePart<'a> {
    /// Relative to the package's folder.
    pub(super) name: String,
    pub(super) content: &'a [u8],
    /// The same content on this machine, which a hard link may share.
    pub(super) original: Option<PathBuf>,
}

/// Files that are written beside where they belong. Those that are not put there are removed, with the folders that were
/// made for them.
#[derive(Default)]
pub(super) struct Staging {
    files: Vec<(PathBuf, PathBuf)>,
    /// The outermost first.
    folders: Vec<PathBuf>,
}

impl Staging {
    /// Writes a part of the package in `dir`, and says how.
    pub(super) fn add(&mut self, dir: &Path, part: &PackagePart<'_>) -> io::Result<&'static str> {
        let path = dir.join(&part.name);
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Links followed, so that what is shared is the file itself.
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
            self.make(folder)?;
        }
        let new = temporary(&path);
        self.files.push((new.clone(), path));
        // Another disk, or a system without hard links: then a copy.
        if original.is_some_and(|original| fs::hard_link(original, &new).is_ok()) {
            return Ok("linked");
        }
        fs::write(&new, part.content)?;
        Ok("written")
    }

    /// Puts all files where they belong, in the order in which they were written.
    ///
    /// # Errors
    /// For the file that is named; those before it are there.
    pub(super) fn commit(mut self) -> Result<(), (PathBuf, io::Error)> {
        self.folders.clear();
        for (new, path) in &self.files {
            fs::rename(new, path).map_err(|error| (path.clone(), error))?;
        }
        self.files.clear();
        Ok(())
    }

    /// Makes a folder and those above it, as far as they are missing.
    fn make(&mut self, folder: &Path) -> io::Result<()> {
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
        // Whoever hears of the failure looks there; what cannot be removed is seen then.
        for (new, _) in &self.files {
            drop(fs::remove_file(new));
        }
        for folder in self.folders.iter().rev() {
            drop(fs::remove_dir(folder));
        }
    }
}

/// A name beside `path` that no other process takes.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{:08x}.new", std::process::id(), fastrand::u32(..)));
    name.into()
}

/// Whether both are one file, by this name or that.
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
    fn what_is_not_put_there_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("new/package");
        let mut staging = Staging::default();
        assert_eq!(staging.add(&dir, &part("deep/a", b"a", None)).unwrap(), "written");
        assert_eq!(staging.add(&dir, &part("b", b"b", None)).unwrap(), "written");
        assert!(!dir.join("b").exists(), "not before all are there");
        drop(staging);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_and_folders_of_others_stay() {
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
    fn what_is_there_already_is_shared_or_kept() {
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
