//! Where the shared library may be. Nothing is loaded here.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// The name that every installation offers, apart from the version that may follow it.
const FILE_NAME: &str = "libonnxruntime.so";

/// Folders in which the system's loader looks. They are listed as well, because distributions install the library
/// under names with an unknown version in them.
const SYSTEM_FOLDERS: &[&str] = &["/usr/local/lib", "/usr/local/lib64", "/usr/lib64", "/usr/lib"];

/// Where to look for the library. All of it is passed in: this crate reads no environment variable, and nothing is
/// ever looked up relative to the working directory.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What the user chose (`OCELLI_ONNXRUNTIME`): a library, or the folder that holds it. It wins, and when it is
    /// wrong that is an error: nothing else is tried.
    pub explicit: Option<PathBuf>,
    /// Folders of this installation: the executable's own, and `../lib/ocelli` from there, where `make install` puts it.
    pub installed: Vec<PathBuf>,
    /// Whether to ask the system's loader, and to list its folders.
    pub system: bool,
    /// Folders under which Python environments lie: `<prefix>/lib/python3*/site-packages` and the like are searched.
    pub python_prefixes: Vec<PathBuf>,
}

impl Search {
    /// The usual search: `explicit`, beside `executable` or installed with it, in the system, in the active Python environment, in the
    /// one that `PATH` names, in the user's and in the system's.
    ///
    /// `env` looks up `VIRTUAL_ENV`, `CONDA_PREFIX`, `PATH` and `HOME`; relative entries are skipped.
    pub fn new(
        explicit: Option<PathBuf>,
        executable: Option<&Path>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        Self {
            explicit,
            installed: executable.map(installation).unwrap_or_default(),
            system: true,
            python_prefixes: python_prefixes(env),
        }
    }

    /// Every file that may be the library, in order of preference. Bare names are for the system's loader.
    pub(super) fn candidates(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = self
            .installed
            .iter()
            .filter_map(|folder| library_in(folder))
            .collect();
        if self.system {
            found.extend([PathBuf::from(FILE_NAME), PathBuf::from(format!("{FILE_NAME}.1"))]);
            let triplet = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
            found.extend(library_in(&triplet));
            found.extend(
                SYSTEM_FOLDERS
                    .iter()
                    .filter_map(|folder| library_in(Path::new(folder))),
            );
        }
        for folder in self
            .python_prefixes
            .iter()
            .flat_map(|prefix| site_packages(prefix))
        {
            found.extend(library_in(&folder.join("onnxruntime/capi")));
        }
        let mut seen = HashSet::new();
        found.retain(|candidate| seen.insert(candidate.clone()));
        found
    }
}

/// The folders in which an installation keeps the library.
fn installation(executable: &Path) -> Vec<PathBuf> {
    let Some(folder) = executable.parent() else {
        return Vec::new();
    };
    let library = folder.parent().map(|prefix| prefix.join("lib/ocelli"));
    std::iter::once(folder.to_path_buf()).chain(library).collect()
}

/// The file that `explicit` means: itself, or the library in it when it is a folder.
pub(super) fn explicit_file(explicit: &Path) -> Option<PathBuf> {
    if explicit.is_dir() {
        library_in(explicit)
    } else {
        explicit.is_file().then(|| explicit.to_path_buf())
    }
}

/// The library in `folder`: the name without a version when it is there, else the highest version.
fn library_in(folder: &Path) -> Option<PathBuf> {
    if !folder.is_absolute() {
        return None;
    }
    let names = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let best = names
        .filter_map(|name| Some((version_of(&name)?, name)))
        .filter(|(_, name)| folder.join(name).is_file())
        .max_by(|(one, _), (other, _)| one.cmp(other))?;
    Some(folder.join(best.1))
}

/// The sort key of a library's file name: no version comes after all versions. `None` for other files.
fn version_of(name: &str) -> Option<(bool, Vec<u64>)> {
    let rest = name.strip_prefix(FILE_NAME)?;
    if rest.is_empty() {
        return Some((true, Vec::new()));
    }
    let numbers: Option<Vec<u64>> = rest
        .strip_prefix('.')?
        .split('.')
        .map(|part| part.parse().ok())
        .collect();
    Some((false, numbers?))
}

fn python_prefixes(env: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(&env)
        .map(PathBuf::from)
        .collect();
    if let Some(path) = env("PATH") {
        prefixes.extend(python_on(&path));
    }
    if let Some(home) = env("HOME") {
        prefixes.push(Path::new(&home).join(".local"));
    }
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    prefixes.retain(|prefix| prefix.is_absolute());
    prefixes
}

/// The prefix of the first `python3` on `path`: the folder above its `bin`, both as named and with links resolved
/// (the first is the environment, the second its base). A pyenv shim covers all of pyenv's versions.
fn python_on(path: &OsStr) -> Vec<PathBuf> {
    let Some(python) = std::env::split_paths(path)
        .map(|folder| folder.join("python3"))
        .find(|file| file.is_file())
    else {
        return Vec::new();
    };
    let resolved = python.canonicalize().ok();
    let mut prefixes = Vec::new();
    for program in std::iter::once(&python).chain(&resolved) {
        let Some(folder) = program.parent() else { continue };
        let Some(prefix) = folder.parent() else { continue };
        if folder.ends_with("shims") {
            prefixes.extend(sorted_children(&prefix.join("versions"), |_| true));
        }
        prefixes.push(prefix.to_path_buf());
    }
    prefixes
}

/// The folders below a Python prefix that hold installed packages.
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for lib in ["lib", "lib64"].map(|name| prefix.join(name)) {
        // The newest Python first, by number: as text, 3.9 would come before 3.11.
        let mut versions = sorted_children(&lib, |name| name.starts_with("python3"));
        versions.sort_by_key(|folder| std::cmp::Reverse(minor_version(folder)));
        folders.extend(
            versions
                .iter()
                .flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name))),
        );
    }
    folders
}

fn minor_version(python: &Path) -> u64 {
    let name = python.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_prefix("python3.")
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(0)
}

fn sorted_children(folder: &Path, keep: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut children: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(&keep))
        .map(|entry| entry.path())
        .collect();
    children.sort();
    children
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[&str]) -> TempDir {
        let root = TempDir::new().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    /// What a search with these variables finds below `root`, relative to it.
    fn found(root: &Path, variables: &[(&str, &str)]) -> Vec<String> {
        let env = |name: &str| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(root.join(value).into_os_string())
        };
        let search = Search::new(None, Some(&root.join("bin/ocelli")), env);
        let relative = |path: PathBuf| Some(path.strip_prefix(root).ok()?.to_str()?.to_owned());
        search.candidates().into_iter().filter_map(relative).collect()
    }

    #[test]
    fn the_name_without_a_version_comes_first_and_then_the_highest_version() {
        let cases: [(&[&str], Option<&str>); 5] = [
            (
                &["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1"],
                Some("libonnxruntime.so.1.31.1"),
            ),
            (
                &["libonnxruntime.so.1.31.1", "libonnxruntime.so"],
                Some("libonnxruntime.so"),
            ),
            (
                &["libonnxruntime.so.1", "libonnxruntime.so.1.2"],
                Some("libonnxruntime.so.1.2"),
            ),
            (
                &[
                    "libonnxruntime_providers_shared.so",
                    "libonnxruntime.so.bak",
                    "libonnxruntime.so.1x",
                ],
                None,
            ),
            (&["libonnxruntime.so/a folder"], None),
        ];
        for (files, expected) in cases {
            let root = tree(files);
            assert_eq!(
                library_in(root.path()),
                expected.map(|name| root.path().join(name)),
                "{files:?}"
            );
        }
    }

    #[test]
    fn beside_the_executable_comes_first_and_then_python_environments() {
        let capi = "onnxruntime/capi/libonnxruntime.so.1.31.1";
        let files = [
            "bin/libonnxruntime.so".to_owned(),
            "lib/ocelli/libonnxruntime.so".to_owned(),
            format!("venv/lib/python3.9/site-packages/{capi}"),
            format!("venv/lib/python3.11/site-packages/{capi}"),
            format!("other/lib64/python3.12/dist-packages/{capi}"),
            "other/bin/python3".to_owned(),
            format!("home/.local/lib/python3.11/site-packages/{capi}"),
        ];
        let root = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let variables = [("VIRTUAL_ENV", "venv"), ("PATH", "other/bin"), ("HOME", "home")];
        let order = [&files[0], &files[1], &files[3], &files[2], &files[4], &files[6]];
        assert_eq!(found(root.path(), &variables), order.map(String::as_str));
        assert_eq!(found(root.path(), &[]), [files[0].as_str(), files[1].as_str()]);
    }

    #[test]
    fn a_pyenv_shim_stands_for_all_versions() {
        let library =
            "pyenv/versions/3.11.7/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.31.1";
        let root = tree(&["pyenv/shims/python3", library]);
        assert_eq!(found(root.path(), &[("PATH", "pyenv/shims")]), [library]);
    }

    #[test]
    fn nothing_is_relative_to_the_working_directory() {
        let relative = |_: &str| Some(OsString::from("."));
        let search = Search::new(None, Some(Path::new("ocelli")), relative);
        let bare = |path: &PathBuf| path.to_str().is_some_and(|name| name.starts_with(FILE_NAME));
        assert!(
            search
                .candidates()
                .iter()
                .all(|path| path.is_absolute() || bare(path)),
            "{search:?}"
        );
        assert!(
            search.python_prefixes.iter().all(|prefix| prefix.is_absolute()),
            "{search:?}"
        );
    }

    #[test]
    fn a_relative_folder_is_not_searched() {
        let root = tree(&["libonnxruntime.so"]);
        let up = "../".repeat(std::env::current_dir().unwrap().components().count() - 1);
        let relative = Path::new(&up).join(root.path().strip_prefix("/").unwrap());
        assert!(relative.join("libonnxruntime.so").is_file());
        assert_eq!(library_in(&relative), None);
        assert!(library_in(root.path()).is_some());
    }

    #[test]
    fn an_explicit_choice_is_a_file_or_a_folder_that_holds_one() {
        let root = tree(&["lib/libonnxruntime.so.1.31.1", "renamed.so", "empty/README"]);
        let at = |name: &str| root.path().join(name);
        assert_eq!(
            explicit_file(&at("lib")),
            Some(at("lib/libonnxruntime.so.1.31.1"))
        );
        assert_eq!(explicit_file(&at("renamed.so")), Some(at("renamed.so")));
        assert_eq!(explicit_file(&at("empty")), None);
        assert_eq!(explicit_file(&at("absent")), None);
    }
}
