//! Loading the shared library, once in a process.
//!
//! `ort` keeps the library in a static of its own and takes the first one that loads; asked for another, it goes on
//! with the first and says nothing. So what is loaded is remembered here, under a lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use super::elf;
use super::locate::{Search, explicit_file};
use crate::EngineError;

/// How to get a library, at the end of every error about one.
const HINT: &str = "get one with `make build` (puts it beside the binary) or `pip install onnxruntime`, or set \
                    OCELLI_ONNXRUNTIME to the library's path";

#[derive(Clone, Debug)]
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) version: String,
    pub(super) environment: Environment,
    pub(super) passed_over: Vec<EngineError>,
}

static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// Finds and loads a library, or returns the one that is loaded.
pub(super) fn find(search: &Search) -> Result<Library, EngineError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match (&search.explicit, &*loaded) {
        (None, Some(library)) => return Ok(library.clone()),
        (Some(explicit), loaded) => find_explicit(explicit, loaded.as_ref())?,
        (None, None) => find_implicit(search)?,
    };
    *loaded = Some(library.clone());
    Ok(library)
}

fn find_explicit(explicit: &Path, loaded: Option<&Library>) -> Result<Library, EngineError> {
    let absolute = std::path::absolute(explicit).map_err(|error| unusable(explicit, error.to_string()))?;
    let Some(file) = explicit_file(&absolute) else {
        return Err(EngineError::LibraryMissing {
            library: "the ONNX Runtime library",
            searched: format!(
                "OCELLI_ONNXRUNTIME says {}, and there is none",
                explicit.display()
            ),
            hint: HINT.to_owned(),
        });
    };
    elf::check(&file).map_err(|reason| unusable(&file, reason))?;
    match loaded {
        None => load(&file),
        Some(library) if library.path == file => Ok(library.clone()),
        Some(library) => Err(unusable(
            &file,
            format!("this process already runs {}", library.path.display()),
        )),
    }
}

fn find_implicit(search: &Search) -> Result<Library, EngineError> {
    let mut passed_over = Vec::new();
    for candidate in search.candidates() {
        // A bare name is for the system's loader, which also knows whether it exists.
        let bare = !candidate.is_absolute();
        let attempt = match elf::check(&candidate) {
            Err(reason) if !bare => Err(unusable(&candidate, reason)),
            _ => load(&candidate),
        };
        match attempt {
            Ok(library) => {
                return Ok(Library {
                    passed_over,
                    ..library
                });
            }
            Err(EngineError::LibraryMissing { .. }) => {}
            Err(error) => passed_over.push(error),
        }
    }
    Err(passed_over.into_iter().next().unwrap_or_else(missing))
}

/// Loads `path`, lets `ort` check its version, and starts its environment.
fn load(path: &Path) -> Result<Library, EngineError> {
    // `ort` panics on a library that claims a version and then lacks its API. Nothing of ours is half changed then.
    let started = catch_unwind(AssertUnwindSafe(|| {
        let builder = ort::init_from(path).map_err(|error| refuse(path, &error))?;
        builder
            .with_name("ocelli")
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(path, error.message().to_owned()))
    }));
    let environment = started.unwrap_or_else(|_| {
        Err(unusable(
            path,
            "it lacks parts of the interface that its version has".to_owned(),
        ))
    })?;
    let path = mapped_path(path);
    let version = elf::symbol_version(&path).unwrap_or_else(|| format!("1.{} or newer", ort::MINOR_VERSION));
    Ok(Library {
        path,
        version,
        environment,
        passed_over: Vec::new(),
    })
}

/// Where the system's loader found a library of which only the bare name is known.
fn mapped_path(path: &Path) -> PathBuf {
    let Some(name) = path.to_str().filter(|_| !path.is_absolute()) else {
        return path.to_path_buf();
    };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let file = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .find(|file| {
            // The loader follows links, and the name they lead to has more of the version in it.
            file.rsplit('/')
                .next()
                .is_some_and(|found| found.starts_with(name))
        });
    file.map_or_else(|| path.to_path_buf(), PathBuf::from)
}

fn refuse(path: &Path, error: &ort::LoadDynamicError) -> EngineError {
    match error {
        ort::LoadDynamicError::Dlopen { error, .. }
            if !path.is_absolute() && error.to_string().contains("No such") =>
        {
            missing()
        }
        ort::LoadDynamicError::Dlopen { error, .. } => unusable(path, error.to_string()),
        ort::LoadDynamicError::MissingApi { .. } => unusable(path, "it is not ONNX Runtime".to_owned()),
        ort::LoadDynamicError::BadVersion { version_str, .. } => unusable(
            path,
            format!(
                "it is ONNX Runtime {version_str}, and 1.{} or newer is needed",
                ort::MINOR_VERSION
            ),
        ),
        ort::LoadDynamicError::InvalidVersionString => {
            unusable(path, "its version is not readable".to_owned())
        }
    }
}

fn unusable(path: &Path, reason: String) -> EngineError {
    EngineError::LibraryUnusable {
        path: path.display().to_string(),
        reason,
        hint: HINT.to_owned(),
    }
}

fn missing() -> EngineError {
    EngineError::LibraryMissing {
        library: "the ONNX Runtime library",
        searched: "beside the executable, in the system's paths and in Python's packages".to_owned(),
        hint: HINT.to_owned(),
    }
}
