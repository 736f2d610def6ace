//! Expands the arguments of `ocelli predict` into files.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use bytes::Bytes;
use ocelli_vision::{DecodeLimits, ImageError, ImageHeader};

/// In folders, files with these extensions are photos, and those that begin as one.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Extensions of images in other formats, some of which are text. The log names those that are skipped.
const UNDECODED: [&str; 16] = [
    "heic", "heif", "avif", "jxl", "jp2", "psd", "dng", "cr2", "cr3", "nef", "arw", "svg", "eps", "ppm",
    "pgm", "pbm",
];

const MAX_DEPTH: usize = 16;

/// Maximum bytes to read from one file. No photo within the limits of pixels is larger.
const MAX_FILE: u64 = 256 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    File(PathBuf),
    Stdin,
    /// An argument or a folder that yields no photo.
    Nothing {
        name: String,
        reason: String,
    },
}

/// The files of folders that are skipped.
#[derive(Debug, Default)]
struct Skipped {
    /// They may hold photos in a format that is not decoded, or cannot be read.
    undecoded: Vec<PathBuf>,
    /// Hidden files and text.
    no_images: Vec<PathBuf>,
}

impl Skipped {
    fn log(&self) {
        if !self.undecoded.is_empty() {
            tracing::warn!("{self}");
        }
        if !self.no_images.is_empty() {
            tracing::info!(files = self.no_images.len(), "skipped hidden files and text");
        }
    }

    /// Removes files that are read because another argument names them, and duplicates.
    fn without(&mut self, known: &mut HashSet<Source>) {
        let mut is_new = |path: &PathBuf| known.insert(identity(&Source::File(path.clone())));
        self.undecoded.retain(&mut is_new);
        self.no_images.retain(&mut is_new);
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A folder may hold thousands of other files; the message lists this many.
        const NAMED: usize = 10;
        let count = self.undecoded.len();
        let noun = if count == 1 { "file" } else { "files" };
        write!(
            f,
            "skipped {count} {noun} (not JPEG, PNG, WebP, GIF, BMP or TIFF): "
        )?;
        for (index, path) in self.undecoded.iter().take(NAMED).enumerate() {
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
    /// Its name in the output.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".to_owned(),
            Self::Nothing { name, .. } => name.clone(),
        }
    }

    /// Why it cannot be read, if that is known without reading it.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::File(path) => fs::metadata(path).err().map(|error| error.to_string()),
            Self::Stdin => None,
            Self::Nothing { reason, .. } => Some(reason.clone()),
        }
    }

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
        return Err(format!("larger than {MAX_FILE} bytes, the limit for a photo"));
    }
    Ok(Bytes::from(bytes))
}

/// Every photo that the arguments lead to, once, in the order in which they are named first; folders and patterns are sorted
/// by name. Logs which files are skipped.
pub(super) fn find(arguments: &[String]) -> Vec<Source> {
    let (sources, skipped) = expand(arguments);
    skipped.log();
    sources
}

fn expand(arguments: &[String]) -> (Vec<Source>, Skipped) {
    let mut skipped = Skipped::default();
    let mut sources: Vec<Source> = arguments
        .iter()
        .flat_map(|argument| expand_one(argument, &mut skipped))
        .collect();
    let mut known = HashSet::new();
    sources.retain(|source| known.insert(identity(source)));
    skipped.without(&mut known);
    (sources, skipped)
}

/// The absolute path without symbolic links, which is the same for all names of a source. Hard links count as separate
/// files: users who copy that way expect a result for each. Inode numbers are not used, because some network file systems
/// give one number to several files, and a photo would get no result.
fn identity(source: &Source) -> Source {
    match source {
        Source::File(path) => Source::File(path.canonicalize().unwrap_or_else(|_| path.clone())),
        Source::Stdin | Source::Nothing { .. } => source.clone(),
    }
}

fn expand_one(argument: &str, skipped: &mut Skipped) -> Vec<Source> {
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
    // An existing file is taken literally, even if its name looks like a pattern.
    if path.is_dir() {
        let mut found = Vec::new();
        search(path, 0, &mut found, skipped);
        return if found.is_empty() {
            nothing("the folder contains no photos".to_owned())
        } else {
            found
        };
    }
    if path.exists() || !argument.contains(['*', '?', '[']) {
        return vec![Source::File(path.to_path_buf())];
    }
    match glob::glob(argument) {
        Err(error) => nothing(format!("not a valid pattern: {error}")),
        Ok(matches) => {
            let mut found = Vec::new();
            for entry in matches {
                match entry {
                    Ok(path) if path.is_dir() => search(&path, 0, &mut found, skipped),
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

fn search(folder: &Path, depth: usize, found: &mut Vec<Source>, skipped: &mut Skipped) {
    if depth > MAX_DEPTH {
        let error = io::Error::other(format!(
            "folders are searched {MAX_DEPTH} levels deep; name this one"
        ));
        return found.push(unreadable(folder, &error));
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> = match entries {
        Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
        Err(error) => return found.push(unreadable(folder, &error)),
    };
    paths.sort_unstable();
    for path in paths {
        // Shells skip hidden files too. Most belong to programs, such as previews and version control.
        if is_hidden(&path) {
            skipped.no_images.push(path);
        // Links to folders are not followed, since they may form a loop.
        } else if path.is_dir() && !path.is_symlink() {
            search(&path, depth + 1, found, skipped);
        } else {
            match Content::of(&path) {
                Content::Photo => found.push(Source::File(path)),
                Content::Text => skipped.no_images.push(path),
                Content::Unknown => skipped.undecoded.push(path),
            }
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Source {
    Source::Nothing {
        name: path.display().to_string(),
        reason: error.to_string(),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The content of a file in a folder, according to its name and its first bytes.
enum Content {
    /// A photo in a supported format.
    Photo,
    /// Text or an empty file, without the name of an image.
    Text,
    /// Anything else, or unreadable.
    Unknown,
}

impl Content {
    fn of(path: &Path) -> Self {
        /// Enough for every signature, and to recognise text.
        const PREFIX: u64 = 512;
        // Opening a pipe or a socket would block.
        if !path.is_file() {
            return Self::Unknown;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_one_of = |known: &[&str]| {
            extension.is_some_and(|extension| known.iter().any(|known| extension.eq_ignore_ascii_case(known)))
        };
        if is_one_of(&EXTENSIONS) {
            return Self::Photo;
        }
        let mut bytes = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(PREFIX).read_to_end(&mut bytes));
        if read.is_err() {
            return Self::Unknown;
        }
        // A truncated header is still the header of a photo.
        match ImageHeader::read(&bytes, &DecodeLimits::default()) {
            Err(ImageError::Empty | ImageError::Unrecognized { .. }) => {
                if is_text(&bytes) && !is_one_of(&UNDECODED) {
                    Self::Text
                } else {
                    Self::Unknown
                }
            }
            _ => Self::Photo,
        }
    }
}

/// Whether these are the first bytes of UTF-8 text.
fn is_text(bytes: &[u8]) -> bool {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        // The last character may be cut off.
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.contains(|character: char| {
        character.is_control() && !matches!(character, '\n' | '\r' | '\t' | '\x0c')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_patterns_are_found_and_misses_are_reported() {
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
            "a file without an extension is recognised by its content"
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
            "a file given by name is taken whatever its extension"
        );
        assert_eq!(names(&["empty", "*.gif"]), ["nothing", "nothing"]);
        assert_eq!(names(&["missing.jpg"]), ["missing.jpg"]);
        assert!(Source::File(root.join("missing.jpg")).read().is_err());
    }

    fn files(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, bytes).expect("file");
        }
        folder
    }

    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF";

    #[test]
    fn only_files_that_may_be_images_are_named_when_they_are_skipped() {
        let long = "größe ".repeat(100);
        let folder = files(&[
            ("a.jpg", JPEG),
            ("README.md", b"# Photos\r\n\n\tby us\n"),
            ("LICENSE", long.as_bytes()),
            ("notes", &long.as_bytes()[..3]),
            ("empty", b""),
            (".DS_Store", b"\0\0\0\x01Bud1"),
            ("._a.jpg", b"\0\x05\x16\x07"),
            (".git/index", b"DIRC"),
            ("b.heic", b"\0\0\0\x18ftypheic\0\0\0\0"),
            ("c.heif", b""),
            ("d.svg", b"<svg/>"),
            ("e", b"\0\x01\x02"),
            ("latin1", b"gr\xf6\xdfe"),
        ]);
        let root = folder.path();
        std::os::unix::fs::symlink(root, root.join("round")).expect("link");
        let (sources, skipped) = expand(&[root.display().to_string()]);
        assert_eq!(sources, [Source::File(root.join("a.jpg"))]);
        let named = ["b.heic", "c.heif", "d.svg", "e", "latin1", "round"].map(|name| root.join(name));
        assert_eq!(skipped.undecoded, named);
        let passed = [
            ".DS_Store",
            "._a.jpg",
            ".git",
            "LICENSE",
            "README.md",
            "empty",
            "notes",
        ];
        assert_eq!(skipped.no_images, passed.map(|name| root.join(name)));
        let text = skipped.to_string();
        assert!(text.starts_with("skipped 6 files (not JPEG, PNG, WebP"), "{text}");
        assert!(text.contains("b.heic") && !text.contains("README"), "{text}");
        // A file given by name is taken, and is not reported as skipped.
        let (sources, skipped) =
            expand(&[root.join("b.heic"), root.into()].map(|path| path.display().to_string()));
        assert_eq!(sources[0], Source::File(root.join("b.heic")));
        assert_eq!(skipped.undecoded, named[1..]);
    }

    #[test]
    fn folders_that_are_too_deep_are_reported() {
        let nested = |levels: usize| format!("{}a.jpg", "d/".repeat(levels));
        let (last, beyond) = (nested(MAX_DEPTH), nested(MAX_DEPTH + 1));
        let folder = files(&[(&last, JPEG), (&beyond, JPEG)]);
        let root = folder.path();
        let (sources, _) = expand(&[root.display().to_string()]);
        let too_deep = root
            .join(&beyond)
            .parent()
            .expect("a folder")
            .display()
            .to_string();
        let expected = [
            Source::File(root.join(&last)),
            Source::Nothing {
                name: too_deep.clone(),
                reason: "folders are searched 16 levels deep; name this one".to_owned(),
            },
        ];
        assert_eq!(sources, expected);
        // Named, it is searched.
        assert_eq!(expand(&[too_deep]).0, [Source::File(root.join(&beyond))]);
    }

    #[test]
    fn a_file_is_found_once_whatever_its_names() {
        let folder = files(&[("a.jpg", JPEG), ("deep/b.jpg", JPEG), ("deep/x.heic", b"\0")]);
        let root = folder.path();
        std::os::unix::fs::symlink(root.join("deep/b.jpg"), root.join("link.jpg")).expect("link");
        std::os::unix::fs::symlink(root.join("deep"), root.join("folder")).expect("link");
        fs::hard_link(root.join("a.jpg"), root.join("hard.jpg")).expect("link");
        let found = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|argument| match *argument {
                "-" => "-".to_owned(),
                path => root.join(path).display().to_string(),
            });
            let (sources, skipped) = expand(&arguments.collect::<Vec<_>>());
            let prefix = format!("{}/", root.display());
            let names: Vec<String> = sources
                .iter()
                .map(|source| source.name().replace(&prefix, ""))
                .collect();
            (names.join(" "), skipped.undecoded.len())
        };
        for (arguments, names, skipped) in [
            (&["a.jpg", "a.jpg"][..], "a.jpg", 0),
            (&["deep/../a.jpg", "a.jpg"], "deep/../a.jpg", 0),
            (&["link.jpg", "deep/b.jpg"], "link.jpg", 0),
            (&["deep/b.jpg", "*.jpg"], "deep/b.jpg a.jpg hard.jpg", 0),
            (&["deep", "folder", "deep"], "deep/b.jpg", 1),
            (
                &["hard.jpg", "folder/b.jpg", "."],
                "hard.jpg folder/b.jpg ./a.jpg",
                2,
            ),
            (&["-", "a.jpg", "-"], "- a.jpg", 0),
            (&["no.jpg", "*.gif", "no.jpg", "*.gif"], "no.jpg *.gif", 0),
        ] {
            assert_eq!(found(arguments), (names.to_owned(), skipped), "{arguments:?}");
        }
        // Its photo was given before, so the folder is not empty.
        let (sources, _) = expand(&["deep/b.jpg", "deep"].map(|name| root.join(name).display().to_string()));
        assert_eq!(sources.len(), 1);
    }
}
