//! What `ocelli predict` is asked to look at: arguments turned into files.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ocelli_vision::{DecodeLimits, ImageError, ImageHeader};

/// In folders, files with these extensions are photos, and those whose first bytes say so.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// How deep folders are searched.
const MAX_DEPTH: usize = 16;

/// The most that is read of one file. Larger ones are not photos within any limit of pixels.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// Where a photo comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// An argument that leads to no photo, and why.
    Nothing {
        /// The argument or the folder.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The files of the folders that are left out.
#[derive(Debug, Default)]
pub(super) struct LeftOut(Vec<PathBuf>);

impl LeftOut {
    /// Says which, if there are any: among them may be photos in a format that is not decoded.
    pub(super) fn warn(&self) {
        if !self.0.is_empty() {
            tracing::warn!("{self}");
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Files that are named; a folder may hold thousands of others.
        const NAMED: usize = 10;
        let count = self.0.len();
        write!(
            f,
            "left out {count} files that are no JPEG, PNG, WebP, GIF, BMP or TIFF: "
        )?;
        for (index, path) in self.0.iter().take(NAMED).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", path.display())?;
        }
        if count > NAMED {
            write!(f, " and {} more", count - NAMED)?;
        }
        Ok(())
    }
}

impl Source {
    /// What to call it in answers.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".to_owned(),
            Self::Nothing { name, .. } => name.clone(),
        }
    }

    /// Why it cannot be read, where that is known without reading it.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::File(path) => fs::metadata(path).err().map(|error| error.to_string()),
            Self::Stdin => None,
            Self::Nothing { reason, .. } => Some(reason.clone()),
        }
    }

    /// Reads the photo.
    pub(super) fn read(&self) -> Result<Bytes, String> {
        match self {
            Self::File(path) => read(fs::File::open(path)),
            Self::Stdin => read(Ok(io::stdin().lock())),
            Self::Nothing { reason, .. } => Err(reason.clone()),
        }
    }
}

fn read(source: io::Result<impl io::Read>) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    source
        .and_then(|source| source.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes, which no photo is"));
    }
    Ok(Bytes::from(bytes))
}

/// Every photo that the arguments lead to, in their order, and what is left out; folders and patterns sorted by name.
pub(super) fn expand(arguments: &[String]) -> (Vec<Source>, LeftOut) {
    let mut left_out = LeftOut::default();
    let sources = arguments
        .iter()
        .flat_map(|argument| expand_one(argument, &mut left_out))
        .collect();
    (sources, left_out)
}

fn expand_one(argument: &str, left_out: &mut LeftOut) -> Vec<Source> {
    if argument == "-" {
        return vec![Source::Stdin];
    }
    let nothing = |reason: String| {
        vec![Source::Nothing {
            name: argument.to_owned(),
            reason,
        }]
    };
    let path = Path::new(argument);
    // What exists is meant literally, whatever characters its name has.
    if path.is_dir() {
        let mut found = Vec::new();
        search(path, MAX_DEPTH, &mut found, left_out);
        return if found.is_empty() {
            nothing("the folder holds no photos".to_owned())
        } else {
            found
        };
    }
    if path.exists() || !argument.contains(['*', '?', '[']) {
        return vec![Source::File(path.to_path_buf())];
    }
    match glob::glob(argument) {
        Err(error) => nothing(format!("it is not a valid pattern: {error}")),
        Ok(matches) => {
            let mut found = Vec::new();
            for entry in matches {
                match entry {
                    Ok(path) if path.is_dir() => search(&path, MAX_DEPTH, &mut found, left_out),
                    Ok(path) => found.push(Source::File(path)),
                    Err(error) => found.push(unreadable(error.path(), error.error())),
                }
            }
            if found.is_empty() {
                nothing("no file matches this pattern".to_owned())
            } else {
                found
            }
        }
    }
}

fn search(folder: &Path, depth: usize, found: &mut Vec<Source>, left_out: &mut LeftOut) {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> = match entries {
        Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
        Err(error) => return found.push(unreadable(folder, &error)),
    };
    paths.sort_unstable();
    for path in paths {
        // Links to folders are not followed: they can lead round in circles.
        if path.is_dir() && !path.is_symlink() && depth > 0 {
            search(&path, depth - 1, found, left_out);
        } else if path.is_file() && is_photo(&path) {
            found.push(Source::File(path));
        } else {
            left_out.0.push(path);
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Source {
    Source::Nothing {
        name: path.display().to_string(),
        reason: error.to_string(),
    }
}

fn is_photo(path: &Path) -> bool {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
        || begins_as_photo(path)
}

/// Whether the first bytes are those of a photo, whatever the file is called.
fn begins_as_photo(path: &Path) -> bool {
    /// Enough for every signature.
    const PREFIX: u64 = 64;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(PREFIX).read_to_end(&mut bytes));
    // Its header ends early, of course; what counts is that it is one.
    let header = ImageHeader::read(&bytes, &DecodeLimits::default());
    read.is_ok() && !matches!(header, Err(ImageError::Empty | ImageError::Unrecognized { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_patterns_are_found_and_misses_are_told() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path();
        fs::create_dir_all(root.join("deep/er")).expect("folders");
        fs::create_dir(root.join("empty")).expect("folder");
        for name in ["b.jpg", "a.PNG", "notes.txt", "deep/er/c.webp", "odd[1].jpg"] {
            fs::write(root.join(name), "x y z").expect("file");
        }
        fs::create_dir(root.join("phone")).expect("folder");
        fs::write(root.join("phone/IMG_1"), b"\xff\xd8\xff\xe0\0\x10JFIF").expect("file");
        fs::write(root.join("phone/IMG_2.heic"), b"\0\0\0\x18ftypheic\0\0\0\0").expect("file");
        let names = |arguments: &[&str]| -> Vec<String> {
            let arguments: Vec<String> = arguments
                .iter()
                .map(|name| root.join(name).display().to_string())
                .collect();
            let prefix = format!("{}/", root.display());
            expand(&arguments)
                .0
                .iter()
                .map(|source| match source {
                    Source::Nothing { .. } => "nothing".to_owned(),
                    found => found.name().replace(&prefix, ""),
                })
                .collect()
        };
        assert_eq!(names(&["."]).len(), 5);
        assert_eq!(
            names(&["phone"]),
            ["phone/IMG_1"],
            "a file without an extension is looked into"
        );
        let (_, left_out) = expand(&[root.display().to_string()]);
        assert_eq!(
            left_out.0,
            [root.join("notes.txt"), root.join("phone/IMG_2.heic")]
        );
        let said = left_out.to_string();
        assert!(
            said.contains("left out 2 files") && said.contains("IMG_2.heic"),
            "{said}"
        );
        assert_eq!(names(&["deep", "b.jpg"]), ["deep/er/c.webp", "b.jpg"]);
        assert_eq!(names(&["*.jpg"]), ["b.jpg", "odd[1].jpg"]);
        assert_eq!(
            names(&["odd[1].jpg"]),
            ["odd[1].jpg"],
            "an existing file is not a pattern"
        );
        assert_eq!(
            names(&["notes.txt"]),
            ["notes.txt"],
            "a named file is taken whatever its name"
        );
        assert_eq!(names(&["empty", "*.gif"]), ["nothing", "nothing"]);
        assert_eq!(names(&["missing.jpg"]), ["missing.jpg"]);
        assert!(Source::File(root.join("missing.jpg")).read().is_err());
    }
}
