//! Photos from files and folders. Reads them whole and never decodes them: what a server makes of a broken
//! photo is its own affair, and worth measuring.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::BenchError;

/// How deep folders are searched.
const MAX_DEPTH: usize = 8;

/// Files in folders count as photos under these extensions, in either case.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// A photo as it will be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Photo {
    /// The file's path, sent as the file name of the multipart part.
    pub name: String,
    pub bytes: Bytes,
}

impl fmt::Debug for Photo {
    /// The size stands for the content, which nobody wants to find in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Photo")
            .field("name", &self.name)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// How much [`load_photos`] may read. All photos stay in memory during the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhotoLimit {
    /// The most photos.
    pub count: usize,
    /// The most bytes, of all photos together.
    pub bytes: u64,
}

/// Reads photos from files and folders, sorted by path, each file once.
///
/// A file is taken whatever its name; a folder is searched, eight levels deep, for the extensions jpg,
/// jpeg, png, webp, gif and bmp.
///
/// # Errors
///
/// A path that cannot be read, an empty file, no photo at all, or more than `limit`: a silent choice among
/// the photos would make runs incomparable.
pub fn load_photos(paths: &[PathBuf], limit: PhotoLimit) -> Result<Vec<Photo>, BenchError> {
    let mut files = Vec::new();
    for path in paths {
        let meta = fs::metadata(path).map_err(|source| unreadable(path, source))?;
        if meta.is_dir() {
            search(path, MAX_DEPTH, limit, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    files.sort_unstable();
    files.dedup();
    if let Some(path) = files.get(limit.count) {
        return Err(too_many(path, limit));
    }
    let mut photos = Vec::with_capacity(files.len());
    let mut room = limit.bytes;
    for path in files {
        let bytes = read(&path, room).map_err(|source| unreadable(&path, source))?;
        let bytes = bytes.ok_or_else(|| BenchError::TooManyPhotos {
            path: path.clone(),
            limit: format!("{} bytes", limit.bytes),
        })?;
        room -= bytes.len() as u64;
        photos.push(Photo {
            name: path.display().to_string(),
            bytes,
        });
    }
    if photos.is_empty() {
        let searched: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(BenchError::NoPhotos {
            searched: searched.join(", "),
        });
    }
    Ok(photos)
}

/// Collects the photos of a folder. Links to folders are not followed: they may form a ring.
fn search(
    folder: &Path,
    depth: usize,
    limit: PhotoLimit,
    files: &mut Vec<PathBuf>,
) -> Result<(), BenchError> {
    for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
        if kind.is_dir() {
            if depth == 0 {
                let source = io::Error::other(format!("folders are nested more than {MAX_DEPTH} deep"));
                return Err(unreadable(&path, source));
            }
            search(&path, depth - 1, limit, files)?;
        } else if is_photo(&path) && path.is_file() {
            // The same file may come from two arguments, so the final check is made after sorting; this
            // one only bounds the list.
            if files.len() > limit.count.saturating_mul(2) {
                return Err(too_many(&path, limit));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn is_photo(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(extension))
}

/// The content of a file, or nothing where it exceeds `room`.
fn read(path: &Path, room: u64) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that fits from one that does not, whatever its metadata say.
    File::open(path)?
        .take(room.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(io::Error::other("the file is empty"));
    }
    Ok((bytes.len() as u64 <= room).then(|| bytes.into()))
}

fn unreadable(path: &Path, source: io::Error) -> BenchError {
    BenchError::Photo {
        path: path.to_owned(),
        source,
    }
}

fn too_many(path: &Path, limit: PhotoLimit) -> BenchError {
    BenchError::TooManyPhotos {
        path: path.to_owned(),
        limit: format!("{} photos", limit.count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: PhotoLimit = PhotoLimit { count: 4, bytes: 100 };

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn names(photos: &[Photo], folder: &tempfile::TempDir) -> Vec<String> {
        let prefix = format!("{}/", folder.path().display());
        photos
            .iter()
            .map(|photo| photo.name.strip_prefix(&prefix).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn folders_give_photos_sorted_and_once() {
        let folder = folder(&[
            ("b.JPEG", b"b"),
            ("a/z.png", b"az"),
            ("notes.txt", b"no"),
            ("c.webp", b"c"),
        ]);
        let paths = [folder.path().join("c.webp"), folder.path().to_owned()];
        let photos = load_photos(&paths, LIMIT).unwrap();
        assert_eq!(names(&photos, &folder), ["a/z.png", "b.JPEG", "c.webp"]);
        assert_eq!(photos[0].bytes, "az");
    }

    #[test]
    fn a_named_file_is_taken_whatever_its_name() {
        let folder = folder(&[("photo.dat", b"x")]);
        let photos = load_photos(&[folder.path().join("photo.dat")], LIMIT).unwrap();
        assert_eq!(names(&photos, &folder), ["photo.dat"]);
    }

    #[test]
    fn limits_hold_exactly() {
        let four = folder(&[
            ("1.jpg", b"1"),
            ("2.jpg", b"2"),
            ("3.jpg", b"3"),
            ("4.jpg", &[0; 97]),
        ]);
        let paths = [four.path().to_owned()];
        assert_eq!(load_photos(&paths, LIMIT).unwrap().len(), 4);
        let error = load_photos(&paths, PhotoLimit { count: 3, ..LIMIT })
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("limit of 3 photos") && error.contains("4.jpg"),
            "{error}"
        );
        let error = load_photos(&paths, PhotoLimit { bytes: 99, ..LIMIT })
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("limit of 99 bytes") && error.contains("4.jpg"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_sent_is_an_error_that_names_it() {
        let folder = folder(&[("empty.jpg", b""), ("texts/a.txt", b"a")]);
        let missing = load_photos(&[folder.path().join("none.jpg")], LIMIT)
            .unwrap_err()
            .to_string();
        assert!(missing.contains("none.jpg"), "{missing}");
        let empty = load_photos(&[folder.path().to_owned()], LIMIT)
            .unwrap_err()
            .to_string();
        assert!(
            empty.contains("empty.jpg") && empty.contains("is empty"),
            "{empty}"
        );
        let nothing = load_photos(&[folder.path().join("texts")], LIMIT)
            .unwrap_err()
            .to_string();
        assert!(
            nothing.contains("no photo found") && nothing.contains("texts"),
            "{nothing}"
        );
    }

    #[test]
    fn endless_folders_are_refused() {
        let deep = format!("{}a.jpg", "d/".repeat(MAX_DEPTH + 1));
        let folder = folder(&[(&deep, b"a")]);
        let error = load_photos(&[folder.path().to_owned()], LIMIT)
            .unwrap_err()
            .to_string();
        assert!(error.contains("nested"), "{error}");
    }
}
