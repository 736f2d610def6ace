//! Loading the shared library, once in a process.
//!
//! `ort` keeps the library in a static of its own and takes the first one that loads; asked for another, it goes on
//! with the first, without an error. So what is loaded is remembered here, under a lock.

use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::{Environment, EnvironmentBuilder};
use ort::logging::LogLevel;

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

enum State {
    Empty,
    Loaded(Library),
    /// `ort` holds a library that turned out not to work, and cannot be made to let go of it.
    Broken(EngineError),
}

static STATE: Mutex<State> = Mutex::new(State::Empty);

/// Finds and loads a library, or returns the one that is loaded.
pub(super) fn find(search: &Search) -> Result<Library, EngineError> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    match &search.explicit {
        Some(explicit) => find_explicit(explicit, &mut state),
        None => find_implicit(search, &mut state),
    }
}

fn find_explicit(explicit: &Path, state: &mut State) -> Result<Library, EngineError> {
    let absolute = std::path::absolute(explicit).map_err(|error| unusable(explicit, error.to_string()))?;
    let Some(file) = explicit_file(&absolute) else {
        return Err(EngineError::LibraryMissing {
            library: "the ONNX Runtime library",
            searched: format!(
                "OCELLI_ONNXRUNTIME is {}, and there is no such file",
                explicit.display()
            ),
            hint: HINT.to_owned(),
        });
    };
    elf::check(&file).map_err(|reason| unusable(&file, reason))?;
    match state {
        State::Loaded(library) if library.path != file => Err(unusable(
            &file,
            format!("this process already runs {}", library.path.display()),
        )),
        _ => load(&file, state),
    }
}

fn find_implicit(search: &Search, state: &mut State) -> Result<Library, EngineError> {
    if let State::Loaded(library) = state {
        return Ok(library.clone());
    }
    let mut passed_over = Vec::new();
    for candidate in search.candidates() {
        // A bare name is for the system's loader, which also knows whether it exists.
        let attempt = match elf::check(&candidate) {
            Err(reason) if candidate.is_absolute() => Err(unusable(&candidate, reason)),
            _ => load(&candidate, state),
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
fn load(path: &Path, state: &mut State) -> Result<Library, EngineError> {
    match state {
        State::Loaded(library) => return Ok(library.clone()),
        State::Broken(error) => return Err(error.clone()),
        State::Empty => {}
    }
    let builder = catch_unwind(|| ort::init_from(path))
        .map_err(|_| unusable(path, "it reports no version".to_owned()))?
        .map_err(|error| refuse(path, &error))?;
    // From here on `ort` keeps this library. It panics when one claims a version and lacks its interface; nothing
    // of ours is half changed then.
    let started = catch_unwind(AssertUnwindSafe(|| start(builder)));
    let started = started.unwrap_or_else(|_| Err("it lacks the interface that its version has".to_owned()));
    let environment = started.map_err(|reason| {
        let error = unusable(path, reason);
        *state = State::Broken(error.clone());
        error
    })?;
    let path = mapped_path(path);
    let version = elf::symbol_version(&path).unwrap_or_else(|| format!("1.{} or newer", ort::MINOR_VERSION));
    let library = Library {
        path,
        version,
        environment,
        passed_over: Vec::new(),
    };
    *state = State::Loaded(library.clone());
    Ok(library)
}

fn start(builder: EnvironmentBuilder) -> Result<Environment, String> {
    let environment = builder
        .with_name("ocelli")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| error.message().to_owned())?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
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

/// The runtime's messages go to the log, never to standard error. All of it is detail: what matters to the caller
/// also comes back as an error, and most warnings are about hardware that is not used.
fn log(level: LogLevel, _category: &str, id: &str, location: &str, message: &str) {
    tracing::debug!(target: "onnxruntime", ?level, id, location, "{message}");
}

fn refuse(path: &Path, error: &LoadDynamicError) -> EngineError {
    let reason = match error {
        LoadDynamicError::Dlopen { error, .. } => {
            // The loader's own words are in the source; they begin with the name of the file that they are about.
            let words = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            let name = path.display().to_string();
            if !path.is_absolute()
                && words.starts_with(&format!("{name}: "))
                && words.contains("No such file")
            {
                return missing();
            }
            words
                .strip_prefix(&format!("{name}: "))
                .unwrap_or(&words)
                .to_owned()
        }
        LoadDynamicError::MissingApi { .. } => "it is not ONNX Runtime".to_owned(),
        LoadDynamicError::BadVersion { version_str, .. } => {
            format!(
                "it is ONNX Runtime {version_str}, and 1.{} or newer is needed",
                ort::MINOR_VERSION
            )
        }
        LoadDynamicError::InvalidVersionString => "its version is not readable".to_owned(),
    };
    unusable(path, reason)
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
