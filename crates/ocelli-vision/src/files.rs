//! Reading files that others may have written: regular ones, inside a folder, up to a size.
//!
//! A package comes from a hub, an archive or a shared folder. A symlink in it must not make the server read what its
//! owner keeps elsewhere, a pipe must not hang it, and a wrong file must not fill its memory.

use std::{
    fs::{self, File},
    io::{self, Read},
    iter,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file that was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages describe the variants")]
pub enum FileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} leads to {}, outside {}: put the file itself there",
        path.display(),
        target.display(),
        root.display()
    )]
    Outside {
        path: PathBuf,
        target: PathBuf,
        root: PathBuf,
    },
    #[error("{} is no file but a {kind}: put a file there", path.display())]
    NotAFile { path: PathBuf, kind: &'static str },
    #[error("{} is {len} bytes and may be {limit} at most: check that it is the right file", path.display())]
    TooLarge { path: PathBuf, len: u64, limit: u64 },
    #[error("{} is not UTF-8 text: save it as UTF-8", path.display())]
    NotUtf8 { path: PathBuf },
}

impl FileError {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A folder, and nothing outside it.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Files below `root`, wherever that itself is linked from.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn within(root: &Path) -> Result<Self, FileError> {
        let root = fs::canonicalize(root).map_err(|source| read_error(root, source))?;
        Ok(Self { root })
    }

    /// The length of a file in bytes, without opening it.
    pub(crate) fn len(&self, path: &Path) -> Result<u64, FileError> {
        Ok(self.find(path)?.1)
    }

    /// The whole file, which has at most `limit` bytes.
    ///
    /// # Errors
    /// When it is missing, unreadable, larger, outside the folder, or no file.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
        let failed = |source| read_error(path, source);
        let (file, len) = self.open(path, limit)?;
        let mut bytes = Vec::new();
        usize::try_from(len)
            .ok()
            .and_then(|len| bytes.try_reserve_exact(len).ok())
            .ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
        // A file that grows meanwhile is read as long as it was.
        file.take(len).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// The first `len` bytes of a file that has at most `limit`.
    pub(crate) fn read_head(&self, path: &Path, len: u64, limit: u64) -> Result<Vec<u8>, FileError> {
        let (file, _) = self.open(path, limit)?;
        let mut bytes = Vec::new();
        file.take(len)
            .read_to_end(&mut bytes)
            .map_err(|source| read_error(path, source))?;
        Ok(bytes)
    }

    /// The first `len` bytes of a file that has at most `limit`, as shared memory: read into place, since they may
    /// fill half of the memory.
    pub(crate) fn read_shared(&self, path: &Path, len: u64, limit: u64) -> Result<Arc<[u8]>, FileError> {
        let failed = |source| read_error(path, source);
        let (mut file, _) = self.open(path, limit)?;
        let len = usize::try_from(len).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        // What is shared can only be allocated for good or for bad, which ends the process. A place as large, asked for
        // and given back, says whether there is one.
        Vec::<u8>::new()
            .try_reserve_exact(len)
            .map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        let mut bytes: Arc<[u8]> = iter::repeat_n(0, len).collect();
        if let Some(bytes) = Arc::get_mut(&mut bytes) {
            file.read_exact(bytes).map_err(failed)?;
        }
        Ok(bytes)
    }

    /// The whole file, which is UTF-8 of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when it is not UTF-8.
    pub fn read_text(&self, path: &Path, limit: u64) -> Result<String, FileError> {
        String::from_utf8(self.read(path, limit)?).map_err(|_| FileError::NotUtf8 { path: path.into() })
    }

    fn open(&self, path: &Path, limit: u64) -> Result<(File, u64), FileError> {
        let (real, len) = self.find(path)?;
        if len > limit {
            return Err(FileError::TooLarge {
                path: path.into(),
                len,
                limit,
            });
        }
        let file = File::open(real).map_err(|source| read_error(path, source))?;
        Ok((file, len))
    }

    /// Where a file really is, and its length. What is checked is what is opened: no name is followed twice.
    fn find(&self, path: &Path) -> Result<(PathBuf, u64), FileError> {
        let failed = |source| read_error(path, source);
        let real = fs::canonicalize(path).map_err(failed)?;
        if !real.starts_with(&self.root) {
            return Err(FileError::Outside {
                path: path.into(),
                target: real,
                root: self.root.clone(),
            });
        }
        let metadata = fs::metadata(&real).map_err(failed)?;
        if !metadata.is_file() {
            // Opening a pipe would block until another process writes.
            let kind = if metadata.is_dir() {
                "folder"
            } else {
                "pipe or a device"
            };
            return Err(FileError::NotAFile {
                path: path.into(),
                kind,
            });
        }
        Ok((real, metadata.len()))
    }
}

fn read_error(path: &Path, source: io::Error) -> FileError {
    FileError::Read {
        path: path.into(),
        source,
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    /// A folder `in` with a file of 4 bytes, beside a secret.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/file"), "text").unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        folder
    }

    fn read(folder: &tempfile::TempDir, name: &str) -> Result<Vec<u8>, FileError> {
        let root = folder.path().join("in");
        Files::within(&root).unwrap().read(&root.join(name), 4)
    }

    #[test]
    fn files_inside_are_read_also_through_links() {
        let folder = folder();
        symlink("file", folder.path().join("in/link")).unwrap();
        for name in ["file", "link", "../in/file"] {
            assert_eq!(read(&folder, name).unwrap(), b"text", "{name}");
        }
        symlink(folder.path().join("in"), folder.path().join("root")).unwrap();
        let root = folder.path().join("root");
        let files = Files::within(&root).unwrap();
        assert_eq!(&files.read_shared(&root.join("file"), 4, 4).unwrap()[..], b"text");
    }

    #[test]
    fn only_the_beginning_that_is_needed_is_read_and_what_cannot_be_held_is_refused() {
        let folder = folder();
        let root = folder.path().join("in");
        let files = Files::within(&root).unwrap();
        assert_eq!(&files.read_shared(&root.join("file"), 2, 4).unwrap()[..], b"te");
        let error = files.read_shared(&root.join("file"), 1 << 60, 4).unwrap_err();
        assert!(matches!(error, FileError::Read { .. }), "{error}");
    }

    #[test]
    fn nothing_outside_is_read() {
        let folder = folder();
        symlink("../secret", folder.path().join("in/link")).unwrap();
        symlink("/dev/zero", folder.path().join("in/zero")).unwrap();
        // Begins with the same letters, and is another folder.
        fs::create_dir(folder.path().join("in2")).unwrap();
        fs::write(folder.path().join("in2/file"), "text").unwrap();
        for name in ["link", "zero", "../secret", "../in2/file"] {
            let error = read(&folder, name).unwrap_err();
            assert!(matches!(error, FileError::Outside { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let folder = folder();
        let pipe = folder.path().join("in/pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::create_dir(folder.path().join("in/folder")).unwrap();
        for (name, kind) in [("pipe", "pipe"), ("folder", "folder")] {
            let text = read(&folder, name).unwrap_err().to_string();
            assert!(text.contains(&format!("no file but a {kind}")), "{text}");
        }
    }

    #[test]
    fn limits_are_inclusive_and_errors_name_the_file() {
        let folder = folder();
        fs::write(folder.path().join("in/long"), "12345").unwrap();
        let error = read(&folder, "long").unwrap_err();
        assert!(
            matches!(error, FileError::TooLarge { len: 5, limit: 4, .. }),
            "{error}"
        );
        let error = read(&folder, "none").unwrap_err();
        let path = folder.path().join("in/none").display().to_string();
        assert!(error.is_missing() && error.to_string().contains(&path), "{error}");
        fs::write(folder.path().join("in/latin"), b"caf\xe9").unwrap();
        let root = folder.path().join("in");
        let error = Files::within(&root)
            .unwrap()
            .read_text(&root.join("latin"), 4)
            .unwrap_err();
        assert!(matches!(error, FileError::NotUtf8 { .. }), "{error}");
    }
}
