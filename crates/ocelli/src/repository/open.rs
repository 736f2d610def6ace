//! Reading a package out of a repository.

use std::path::PathBuf;

use ocelli_vision::auto::{self, AutoError, Hints, Kind, Resolved};

use super::{Barred, Entry, Key};
use crate::model::IMAGENET;

/// Why a package of a repository cannot be served. Each text names the folder and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It must not be opened.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// It is broken, or does not say enough.
    #[error(transparent)]
    Auto(#[from] AutoError),
    /// The manifest has another name than the folder.
    #[error(
        "{path}: model.toml says name = \"{says}\", and the folder stands for \"{folder}\"; change one of them, for a \
         model of a repository is called what its folder is called, in small letters"
    )]
    Name {
        /// The package.
        path: PathBuf,
        /// The manifest's name.
        says: String,
        /// What the folder's name makes of it.
        folder: String,
    },
    /// The manifest has another version than the folder.
    #[error(
        "{path}: model.toml says version = \"{says}\", and the folder is called {folder}; change one of them, for a \
         numbered folder holds that version"
    )]
    Version {
        /// The package.
        path: PathBuf,
        /// The manifest's version.
        says: String,
        /// The folder's.
        folder: String,
    },
}

/// Reads the package of an entry, or makes one from what is there. Links may lead anywhere within the repository.
///
/// # Errors
/// [`OpenError`].
pub fn open(entry: &Entry) -> Result<Resolved, OpenError> {
    if let Err(reason) = &entry.fingerprint {
        return Err(reason.clone().into());
    }
    let Key { name, version } = &entry.key;
    let hints = Hints {
        name: Some(name.clone()),
        version: version.clone(),
        root: Some(entry.root.clone()),
        imagenet: Some(IMAGENET),
        ..Hints::default()
    };
    let resolved = auto::resolve(&entry.path, &hints)?;
    let manifest = &resolved.package.card.manifest;
    if resolved.kind == Kind::Package && manifest.name != *name {
        return Err(OpenError::Name {
            path: entry.path.clone(),
            says: manifest.name.clone(),
            folder: name.clone(),
        });
    }
    match version {
        Some(version) if manifest.version != *version => Err(OpenError::Version {
            path: entry.path.clone(),
            says: manifest.version.clone(),
            folder: version.clone(),
        }),
        _ => Ok(resolved),
    }
}
