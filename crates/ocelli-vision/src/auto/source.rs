//! Recognises the kind of model at a path by the names of its files.

use std::{fs, path::Path};

use super::{
    AutoError, Hints, Kind, Note,
    files::{self, Folder},
    naming,
    triton::{CONFIG_FILE, Config},
    variant::choose_variant,
};
use crate::{FileError, Format, GraphError};

const MANIFEST_FILE: &str = "model.toml";
const ONNX_FILE: &str = "model.onnx";
/// In numbered folders of TensorFlow Serving, which are looked into to say what is there.
const SAVED_MODEL: &str = "saved_model.pb";
/// Names under which people keep labels beside a model, the first that is there.
pub const LABEL_FILES: [&str; 4] = ["labels.txt", "classes.txt", "labels.json", "class_indices.json"];

pub(super) enum Source {
    Package(Folder),
    /// Everything else, which a package has to be made of.
    Parts(Box<Parts>),
}

/// An ONNX file and the files around it.
pub(super) struct Parts {
    pub(super) folder: Folder,
    /// The ONNX file, relative to the folder.
    pub(super) onnx: String,
    pub(super) config: Option<String>,
    pub(super) preprocessor: Option<String>,
    /// `processor_config.json`, which transformers 5 writes instead of it for models of several kinds of input.
    pub(super) processor: Option<String>,
    pub(super) triton: Option<Config>,
    /// A file of labels, relative to the folder.
    pub(super) labels: Option<String>,
    pub(super) name: String,
    pub(super) version: String,
}

impl Parts {
    /// The kind of the folder, by its files.
    pub(super) fn kind(&self, is_timm: bool) -> Kind {
        let preprocessor = self.preprocessor.as_ref().or(self.processor.as_ref());
        match (&self.triton, &self.config, preprocessor) {
            (Some(_), ..) => Kind::Triton,
            _ if is_timm => Kind::Timm,
            (None, None, None) => Kind::Onnx,
            _ => Kind::HuggingFace,
        }
    }
}

/// Looks at what is at `path`.
pub(super) fn find(path: &Path, hints: &Hints, notes: &mut Vec<Note>) -> Result<Source, AutoError> {
    if !path.is_dir() {
        files::refuse_foreign(path)?;
    }
    let metadata = fs::metadata(path).map_err(|error| {
        let problem = format!("{error}; name a folder with a model, or an .onnx file");
        AutoError::unsuitable(path, problem)
    })?;
    if metadata.is_file() {
        return file(path, hints);
    }
    if !metadata.is_dir() {
        let problem = "is a pipe or a device: copy its content into a file, and name that file";
        return Err(AutoError::unsuitable(path, problem));
    }
    let has = |name: &str| path.join(name).exists();
    if has(MANIFEST_FILE) {
        return package(path, hints);
    }
    if has(CONFIG_FILE) {
        let version = latest_version(path, hints, Path::is_dir)?;
        return version.map_or_else(
            || {
                Err(AutoError::unsuitable(
                    path,
                    "has a config.pbtxt and no version: put the model into 1/model.onnx",
                ))
            },
            |version| triton(path, &version, hints, notes),
        );
    }
    if let Some((parent, version)) = version_of_triton(path) {
        return triton(parent, version, hints, notes);
    }
    let holds_model = |folder: &Path| {
        [MANIFEST_FILE, ONNX_FILE, SAVED_MODEL]
            .iter()
            .any(|name| folder.join(name).exists())
    };
    if !has("config.json")
        && !holds_model(path)
        && let Some(version) = latest_version(path, hints, holds_model)?
    {
        notes.push(Note::read(format!("version {version}, the latest folder")));
        let dir = path.join(&version);
        let hints = Hints {
            version: Some(version),
            ..hints.clone()
        };
        return find(&dir, &hints, notes);
    }
    folder(path, hints, notes)
}

/// An ONNX file, or the manifest of a package.
fn file(path: &Path, hints: &Hints) -> Result<Source, AutoError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| AutoError::unsuitable(path, "has a name that is not UTF-8: rename it"))?;
    if name == MANIFEST_FILE || (name == ONNX_FILE && dir.join(MANIFEST_FILE).exists()) {
        return package(dir, hints);
    }
    if let Some((parent, version)) = version_of_triton(dir) {
        let folder = Folder::open(parent, hints.root.as_deref())?;
        let mut parts = triton_parts(folder, version, hints)?;
        parts.onnx = format!("{version}/{name}");
        return Ok(Source::Parts(Box::new(parts)));
    }
    // Exporters put the files of a Hugging Face folder into a folder of their own.
    let above = dir.parent().filter(|above| {
        dir.file_name().is_some_and(|name| name == "onnx") && above.join("config.json").exists()
    });
    let (dir, onnx) = above.map_or((dir, name.to_owned()), |above| (above, format!("onnx/{name}")));
    parts(dir, onnx, hints, naming::of_path(path))
}

/// A folder of which one ONNX file is taken.
fn folder(path: &Path, hints: &Hints, notes: &mut Vec<Note>) -> Result<Source, AutoError> {
    let folder = Folder::open(path, hints.root.as_deref())?;
    let onnx = if let Some(wanted) = &hints.variant {
        let places = [wanted.clone(), format!("onnx/{wanted}")];
        let found = places.into_iter().find(|name| folder.has(name));
        found.map_or_else(|| Err(no_variant(&folder, wanted)), Ok)?
    } else {
        let names = folder.names()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let variant = choose_variant(&names).map_err(|problem| {
            // Some formats are folders.
            let of_folder = files::refuse_foreign(path).err();
            of_folder.unwrap_or_else(|| AutoError::unsuitable(path, problem))
        })?;
        notes.push(Note::read(format!("{}: {}", variant.name, variant.why)));
        variant.name
    };
    let name = naming::of_path(path);
    parts(path, onnx, hints, name)
}

fn no_variant(folder: &Folder, wanted: &str) -> AutoError {
    let names = folder.names().unwrap_or_default();
    let files: Vec<String> = names.into_iter().filter(|name| name.ends_with(".onnx")).collect();
    let files = match files.as_slice() {
        [] => "no ONNX file".to_owned(),
        files => files.join(", "),
    };
    AutoError::unsuitable(folder.dir(), format!("has no file {wanted}; it has {files}"))
}

fn parts(dir: &Path, onnx: String, hints: &Hints, name: String) -> Result<Source, AutoError> {
    let folder = Folder::open(dir, hints.root.as_deref())?;
    Ok(Source::Parts(Box::new(Parts {
        onnx,
        config: folder.text("config.json")?,
        preprocessor: folder.text("preprocessor_config.json")?,
        processor: folder.text("processor_config.json")?,
        triton: None,
        labels: LABEL_FILES
            .iter()
            .find(|name| folder.has(name))
            .map(|name| (*name).to_owned()),
        name: hints.name.clone().unwrap_or(name),
        version: hints.version.clone().unwrap_or_else(|| "1".to_owned()),
        folder,
    })))
}

/// A package says everything itself.
fn package(dir: &Path, hints: &Hints) -> Result<Source, AutoError> {
    if let Some(option) = hints.first_option() {
        return Err(AutoError::unsuitable(
            dir.join(MANIFEST_FILE),
            format!("says what {option} would: edit it, or leave {option} away"),
        ));
    }
    if let Some(variant) = hints.variant.as_deref().filter(|variant| *variant != ONNX_FILE) {
        return Err(AutoError::unsuitable(
            dir,
            format!("is a package, whose model is {ONNX_FILE}: leave #{variant} away"),
        ));
    }
    Folder::open(dir, hints.root.as_deref()).map(Source::Package)
}

/// The folder of a Triton model that `dir` is a version of.
fn version_of_triton(dir: &Path) -> Option<(&Path, &str)> {
    let version = dir.file_name()?.to_str().filter(|name| is_version(name))?;
    let parent = dir.parent()?;
    parent.join(CONFIG_FILE).exists().then_some((parent, version))
}

fn triton(dir: &Path, version: &str, hints: &Hints, notes: &mut Vec<Note>) -> Result<Source, AutoError> {
    let folder = Folder::open(dir, hints.root.as_deref())?;
    notes.push(Note::read(format!("version {version} of a Triton model")));
    triton_parts(folder, version, hints).map(|parts| Source::Parts(Box::new(parts)))
}

fn triton_parts(folder: Folder, version: &str, hints: &Hints) -> Result<Parts, AutoError> {
    refuse_version(&folder, version)?;
    let path = folder.path(CONFIG_FILE);
    let config = Config::parse(&path, &folder.text(CONFIG_FILE)?.unwrap_or_default())?;
    let name = naming::of_path(folder.dir());
    let onnx = format!("{version}/{}", config.model_file());
    let file = folder.path(&onnx);
    if !file.exists() {
        return Err(AutoError::unsuitable(
            file,
            "is missing: put the model there, or name its file in config.pbtxt (default_model_filename: \"..\")",
        ));
    }
    Ok(Parts {
        onnx,
        config: None,
        preprocessor: None,
        processor: None,
        labels: config.label_file().map(str::to_owned),
        triton: Some(config),
        name: hints.name.clone().unwrap_or(name),
        version: hints.version.clone().unwrap_or_else(|| version.to_owned()),
        folder,
    })
}

/// Refuses a version of a Triton model that is in another format, whatever its `config.pbtxt` says.
fn refuse_version(folder: &Folder, version: &str) -> Result<(), AutoError> {
    let version = Folder::open(&folder.path(version), Some(folder.root()))?;
    let names = version.names()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.iter().any(|name| name.ends_with(".onnx")) {
        return Ok(());
    }
    match Format::among(&names) {
        Some((name, format)) => Err(files::in_graph(&version.path(name), GraphError::Foreign(format))),
        None => Ok(()),
    }
}

/// The version asked for, or the highest of the folders named by numbers that `holds_model`.
fn latest_version(
    dir: &Path,
    hints: &Hints,
    holds_model: impl Fn(&Path) -> bool,
) -> Result<Option<String>, AutoError> {
    let entries = fs::read_dir(dir).map_err(|source| FileError::Read {
        path: dir.into(),
        source,
    })?;
    let versions = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_version(name) && holds_model(&dir.join(name)))
        .filter(|name| hints.version.as_ref().is_none_or(|wanted| wanted == name));
    Ok(versions.max_by_key(|name| name.parse::<u64>().unwrap_or(0)))
}

fn is_version(name: &str) -> bool {
    !name.is_empty() && name.len() < 20 && name.bytes().all(|byte| byte.is_ascii_digit())
}
