//! What is in a repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ocelli_vision::auto::model_name;

use super::{Barred, Entry, Fingerprint, Key};

const MANIFEST: &str = "model.toml";

/// Models and versions that one repository may hold.
const MOST_PACKAGES: usize = 1000;

const MOST_FILES: usize = 1000;

/// How deep folders in a package may lie.
const MOST_LEVELS: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(
        "--model-dir {path}: it cannot be read: {source}; name a folder that holds a folder for each model"
    )]
    Unreadable { path: PathBuf, source: io::Error },
    /// It has too many entries to be a repository.
    #[error("--model-dir {0}: it holds more than {MOST_PACKAGES} models; is it the right folder?")]
    TooMany(PathBuf),
    #[error(
        "--model-dir {0}: this is a single model, not a folder with a folder for each model; use --model {0}"
    )]
    Single(PathBuf),
}

/// All packages of a repository, by name and version.
pub fn scan(dir: &Path) -> Result<Vec<Entry>, ScanError> {
    if is_model(dir) {
        return Err(ScanError::Single(dir.to_owned()));
    }
    let unreadable = |source| ScanError::Unreadable {
        path: dir.to_owned(),
        source,
    };
    let root = dir.canonicalize().map_err(unreadable)?;
    let mut entries = Vec::new();
    let mut folders = folders(dir).map_err(unreadable)?;
    // If two folders would get the same name, the folder with exactly that name has it.
    folders.sort_by_cached_key(|(folder, _)| (model_name(folder) != *folder, folder.clone()));
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (folder, path) in folders {
        let name = model_name(&folder);
        if let Some(other) = taken.get(&name) {
            entries.push(barred(&root, &folder, &path, same_name(&path, &name, other)));
            continue;
        }
        match inside(&root, &path) {
            Ok(()) => entries.extend(packages(&root, &name, &path)),
            Err(reason) => entries.push(barred(&root, &name, &path, reason)),
        }
        taken.insert(name, folder);
        if entries.len() > MOST_PACKAGES {
            return Err(ScanError::TooMany(dir.to_owned()));
        }
    }
    entries.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(entries)
}

/// Whether this is a model for `--model`: a package, a Hugging Face, timm or Triton folder, an ONNX file or a folder that holds
/// one and no other folder.
fn is_model(path: &Path) -> bool {
    const DESCRIPTIONS: [&str; 3] = [MANIFEST, "config.pbtxt", "config.json"];
    let is_onnx =
        |path: &Path| path.is_file() && path.extension().is_some_and(|extension| extension == "onnx");
    if is_onnx(path) || DESCRIPTIONS.iter().any(|name| path.join(name).is_file()) {
        return true;
    }
    let Ok(items) = fs::read_dir(path) else {
        return false;
    };
    let paths: Vec<PathBuf> = items.flatten().map(|item| item.path()).collect();
    paths.iter().any(|path| is_onnx(path)) && !paths.iter().any(|path| path.is_dir())
}

/// The first model of a folder that is no model itself: one of its folders, or a version of one. The folder `onnx` of a
/// Hugging Face model is a part of it.
pub(crate) fn model_inside(dir: &Path) -> Option<PathBuf> {
    let inside = |dir: &Path| -> Vec<PathBuf> {
        let mut found = folders(dir).unwrap_or_default();
        found.retain(|(name, _)| name != "onnx");
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    };
    if is_model(dir) {
        return None;
    }
    inside(dir)
        .into_iter()
        .flat_map(|folder| [vec![folder.clone()], inside(&folder)].concat())
        .find(|path| is_model(path))
}

fn same_name(path: &Path, name: &str, other: &str) -> Barred {
    Barred::Refused(format!(
        "{}: its model would be called {name}, as that of the folder {other}: rename one of them",
        path.display()
    ))
}

/// A model whose packages cannot be listed.
fn barred(root: &Path, name: &str, path: &Path, reason: Barred) -> Entry {
    Entry {
        key: Key {
            name: name.to_owned(),
            version: None,
        },
        path: path.to_owned(),
        root: root.to_owned(),
        fingerprint: Err(reason),
    }
}

/// The packages of one model: its numbered folders, or the folder itself where it has none or says what it is.
fn packages(root: &Path, name: &str, path: &Path) -> Vec<Entry> {
    let entry = |version: Option<String>, path: &Path, shared: Option<&Path>| Entry {
        key: Key {
            name: name.to_owned(),
            version,
        },
        path: path.to_owned(),
        root: root.to_owned(),
        fingerprint: inside(root, path).and_then(|()| fingerprint(path, shared)),
    };
    let looked = folders(path).and_then(|folders| Ok((folders, path.join(MANIFEST).try_exists()?)));
    let (folders, has_manifest) = match looked {
        Ok(looked) => looked,
        // It went away while the repository was looked through.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![barred(root, name, path, unreadable(path, &error))],
    };
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let versions: Vec<Entry> = folders
        .into_iter()
        .filter(|(version, _)| is_number(version))
        .map(|(version, version_path)| entry(Some(version), &version_path, Some(path)))
        .collect();
    if versions.is_empty() || has_manifest {
        return vec![entry(None, path, None)];
    }
    versions
}

/// The folders in a folder that are not hidden, links to folders included.
fn folders(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for item in fs::read_dir(path)? {
        let item = item?;
        let path = item.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let is_folder = match fs::metadata(&path) {
            Ok(found) => found.is_dir(),
            // A link that leads nowhere is a mistake, which should be seen, and what cannot be looked at may be
            // a folder. Whatever else is not found went away just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.is_symlink(),
            Err(_) => !item.file_type()?.is_file(),
        };
        if is_folder {
            folders.push((name, path));
        }
    }
    Ok(folders)
}

/// Whether a path ends within the repository, once all links are followed.
fn inside(root: &Path, path: &Path) -> Result<(), Barred> {
    match path.canonicalize() {
        Ok(real) if real.starts_with(root) => Ok(()),
        Ok(real) => Err(Barred::Refused(format!(
            "{}: it leads out of the repository, to {}; copy the package into the repository",
            path.display(),
            real.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Barred::Refused(format!(
            "{}: it cannot be followed: {error}; remove it",
            path.display()
        ))),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Barred {
    Barred::Unreadable(format!(
        "{}: it cannot be looked through: {error}; let this process read it, or remove it; what was loaded from it stays",
        path.display()
    ))
}

/// What the files of a package look like, and those beside its version, as Triton's `config.pbtxt` is.
fn fingerprint(path: &Path, shared: Option<&Path>) -> Result<Fingerprint, Barred> {
    let mut files = Vec::new();
    let mut looked = collect(path, path, 0, &mut files);
    if let Some(shared) = shared {
        looked = looked.and_then(|()| collect(shared, shared, MOST_LEVELS, &mut files));
    }
    looked.map_err(Barred::Refused)?;
    files.sort();
    Ok(Fingerprint(files))
}

type File = (PathBuf, u64, Option<std::time::SystemTime>);

/// The files in a folder of the package `base`.
fn collect(base: &Path, folder: &Path, level: usize, files: &mut Vec<File>) -> Result<(), String> {
    let unreadable = |error: io::Error| {
        format!(
            "{}: it cannot be looked through: {error}; let this process read it, or remove it",
            folder.display()
        )
    };
    for item in fs::read_dir(folder).map_err(unreadable)? {
        let path = item.map_err(unreadable)?.path();
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            // It went away while the package was looked through, whose fingerprint is another one now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => continue,
            Err(error) => {
                return Err(format!(
                    "{}: it cannot be followed: {error}; put there what it should lead to, or remove it",
                    path.display()
                ));
            }
        };
        if found.is_dir() && level < MOST_LEVELS {
            collect(base, &path, level + 1, files)?;
        } else if found.is_file() {
            let name = path.strip_prefix(base).unwrap_or(&path).to_owned();
            files.push((name, found.len(), found.modified().ok()));
        }
        if files.len() > MOST_FILES {
            return Err(format!(
                "{}: it holds more than {MOST_FILES} files; keep only what belongs to the model",
                base.display()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn repository(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, "x").expect("written");
        }
        folder
    }

    fn keys(dir: &Path) -> Vec<String> {
        let entries = scan(dir).expect("it is a folder");
        let state = |entry: &Entry| if entry.fingerprint.is_ok() { "" } else { " (bad)" };
        entries
            .iter()
            .map(|entry| format!("{}{}", entry.key, state(entry)))
            .collect()
    }

    #[test]
    fn each_layout_is_known_and_what_is_no_model_is_passed_over() {
        let folder = repository(&[
            "flat/model.toml",
            "flat/2/notes.txt",
            "numbered/1/model.toml",
            "numbered/10/model.toml",
            "numbered/docs/readme.txt",
            "triton/config.pbtxt",
            "triton/1/model.onnx",
            "hub/config.json",
            "hub/onnx/model.onnx",
            ".git/config",
            "README.md",
        ]);
        let found = keys(folder.path());
        assert_eq!(found, ["flat", "hub", "numbered/1", "numbered/10", "triton/1"]);
    }

    #[test]
    fn models_are_called_as_clients_call_them_and_no_two_the_same() {
        let dir = repository(&["ResNet/1/model.onnx", "sp ace/model.onnx"]);
        assert_eq!(keys(dir.path()), ["resnet/1", "sp-ace"]);
        let dir = repository(&["CATS/1/model.onnx", "Cats/model.onnx", "cats/2/model.onnx"]);
        assert_eq!(keys(dir.path()), ["CATS (bad)", "Cats (bad)", "cats/2"]);
        let entries = scan(dir.path()).unwrap();
        let reasons: Vec<String> = entries[..2]
            .iter()
            .map(|entry| entry.fingerprint.clone().unwrap_err().to_string())
            .collect();
        for (reason, folder) in reasons.iter().zip(["CATS", "Cats"]) {
            assert!(
                reason.contains(folder) && reason.contains("the folder cats: rename"),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_link_that_leads_out_is_named_and_one_within_is_followed() {
        let outside = repository(&["model.toml"]);
        let folder = repository(&["..data/good/model.toml", "versions/1/model.toml"]);
        let link = |to: &Path, name: &str| symlink(to, folder.path().join(name)).expect("a link");
        link(Path::new("..data/good"), "good");
        link(outside.path(), "bad");
        link(outside.path(), "versions/2");
        link(Path::new("nowhere"), "lost");
        let found = keys(folder.path());
        assert_eq!(
            found,
            [
                "bad (bad)",
                "good",
                "lost (bad)",
                "versions/1",
                "versions/2 (bad)"
            ]
        );
        let entries = scan(folder.path()).expect("it is a folder");
        let reason = entries[0]
            .fingerprint
            .clone()
            .expect_err("it is outside")
            .to_string();
        assert!(
            reason.contains("bad") && reason.contains("copy the package"),
            "{reason}"
        );
    }

    #[test]
    fn a_link_in_a_package_that_leads_nowhere_is_named() {
        let folder = repository(&["m/1/model.toml", "m/1/deep/a.bin", "good/model.toml"]);
        symlink("gone.bin", folder.path().join("m/1/deep/weights.bin")).expect("a link");
        assert_eq!(keys(folder.path()), ["good", "m/1 (bad)"]);
        let entries = scan(folder.path()).expect("it is a folder");
        let reason = entries[1].fingerprint.clone().expect_err("a link").to_string();
        let named = reason.starts_with(&folder.path().join("m/1/deep/weights.bin").display().to_string());
        assert!(named && reason.contains("or remove it"), "{reason}");
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_gone() {
        let folder = repository(&["m/1/model.toml", "circle/1/model.toml", "file"]);
        let link = |to: &str, name: &str| {
            let name = folder.path().join(name);
            drop(fs::remove_dir_all(&name));
            symlink(to, name).expect("a link");
        };
        // Even root cannot follow links in a circle, or through a file.
        link("circle", "circle");
        link("../file/model.toml", "m/model.toml");
        link("file/below", "through");
        let entries = scan(folder.path()).expect("it is a folder");
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key.to_string(), entry.fingerprint.clone()))
            .collect();
        assert_eq!(found.len(), 3, "{found:?}");
        for ((name, fingerprint), expected) in found.iter().zip(["circle", "m", "through"]) {
            assert_eq!(name, expected);
            assert!(
                matches!(fingerprint, Err(Barred::Unreadable(_))),
                "{fingerprint:?}"
            );
        }
    }

    #[test]
    fn a_fingerprint_changes_with_any_file_and_with_nothing_else() {
        let folder = repository(&["m/model.toml", "m/onnx/model.onnx"]);
        let look = || scan(folder.path()).expect("a folder")[0].fingerprint.clone();
        let before = look();
        assert_eq!(look(), before);
        fs::write(folder.path().join("m/onnx/model.onnx"), "longer").expect("written");
        assert_ne!(look(), before);
        let changed = look();
        fs::remove_file(folder.path().join("m/model.toml")).expect("removed");
        assert_ne!(look(), changed);
    }

    #[test]
    fn a_repository_is_not_taken_for_a_single_model() {
        for (files, first) in [
            (&["b/model.toml", "a/notes.txt", "c/model.onnx"][..], Some("b")),
            (&["net/2/model.toml", "net/10/model.toml"], Some("net/10")),
            (&["onnx/model.onnx", "onnx/model_other.onnx"], None),
            (&["model.toml", "1/model.toml"], None),
            (&["photos/dog.jpg"], None),
            (&[], None),
        ] {
            let folder = repository(files);
            assert_eq!(
                model_inside(folder.path()),
                first.map(|first| folder.path().join(first)),
                "{files:?}"
            );
        }
    }

    #[test]
    fn a_single_model_is_not_taken_for_a_repository() {
        let single = "this is a single model";
        for (files, place, is_single) in [
            (&["model.toml", "model.onnx"][..], "", true),
            (&["model.toml", "docs/notes.txt"], "", true),
            (&["config.json", "onnx/model.onnx"], "", true),
            (&["config.pbtxt", "1/model.onnx"], "", true),
            (&["net.onnx", "labels.txt"], "", true),
            (&["net.onnx"], "net.onnx", true),
            (&["stray.onnx", "cats/model.onnx"], "", false),
            (&["labels.txt", "cats/model.toml"], "", false),
            (&["labels.txt"], "", false),
        ] {
            let folder = repository(files);
            let path = folder.path().join(place);
            match scan(&path) {
                Err(error) => {
                    let said = error.to_string();
                    assert!(is_single && said.contains(single), "{files:?}: {said}");
                    assert!(
                        said.ends_with(&format!("use --model {}", path.display())),
                        "{said}"
                    );
                }
                Ok(_) => assert!(!is_single, "{files:?}"),
            }
        }
    }

    #[test]
    fn a_repository_that_is_not_there_is_named() {
        let error = scan(Path::new("/nowhere/models"))
            .expect_err("it is not there")
            .to_string();
        assert!(error.contains("--model-dir /nowhere/models"), "{error}");
    }
}
