//! Reading a package out of a repository.

use ocelli_vision::PackageError;
use ocelli_vision::auto::{self, AutoError, Hints, Note, NoteKind, Resolved};

use super::{Barred, Entry, Key};
use crate::models::served_model::IMAGENET;

/// Why a package of a repository cannot be served. Each text names the folder and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Barred(#[from] Barred),
    /// It is broken, or does not say enough.
    #[error(transparent)]
    Auto(#[from] AutoError),
    #[error(transparent)]
    Name(#[from] PackageError),
}

/// Reads the package of an entry, or makes one from what is there. Links may lead anywhere within the repository.
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
    let mut resolved = auto::resolve(&entry.path, &hints)?;
    let manifest = &resolved.package.card.manifest;
    let inside = format!("{} {}", manifest.name, manifest.version);
    let package = resolved.package.renamed(name, version.as_deref())?;
    let manifest = &package.card.manifest;
    let served = format!("{} {}", manifest.name, manifest.version);
    if inside != served {
        resolved.notes.push(Note {
            kind: NoteKind::Read,
            text: format!("named {served} after its folder; model.toml says {inside}"),
        });
    }
    Ok(Resolved { package, ..resolved })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ocelli_vision::Format;

    use super::*;
    use crate::models::repository::scan::scan;

    #[test]
    fn models_in_other_formats_get_their_one_sentence() {
        for format in Format::all() {
            for pattern in format.files() {
                let name = pattern.replacen('*', "net", 1).replace('*', "1");
                let names = match format.is_paired() {
                    true => vec!["net.bin", name.as_str()],
                    false => vec![name.as_str()],
                };
                let repository = tempfile::tempdir().unwrap();
                for folder in ["flat", "numbered/1"] {
                    let folder = repository.path().join(folder);
                    fs::create_dir_all(&folder).unwrap();
                    for name in &names {
                        fs::write(folder.join(name), "x").unwrap();
                    }
                }
                let entries = scan(repository.path()).unwrap();
                assert_eq!(entries.len(), 2);
                for entry in &entries {
                    let said = open(entry).unwrap_err().to_string();
                    assert!(said.contains(&format!("{} {format}", names[0])), "{said}");
                }
            }
        }
    }
}
