//! A model package: the folder that says what goes into a model and what comes out of it.
//!
//! Owns reading and checking a package. It does not open the graph: whether the ONNX file has the inputs,
//! outputs and class count that the manifest promises is checked by whoever loads it into an engine.

mod error;
mod manifest;

use std::{
    borrow::Cow,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

pub use error::PackageError;
pub use manifest::{Activation, Manifest, OutputSpec, Task};

const MANIFEST_FILE: &str = "model.toml";
const ONNX_FILE: &str = "model.onnx";
/// Limits of what is read from a package, in bytes. An ONNX file is a protobuf message, which ends at 2 GiB.
const MAX_TEXT_BYTES: u64 = 16 << 20;
const MAX_ONNX_BYTES: u64 = 2 << 30;

/// A package as it was read: checked, with its labels and its digest.
#[derive(Debug, Clone)]
pub struct ModelPackage {
    /// What it says of itself.
    pub card: ModelCard,
    /// `model.onnx`, unopened.
    pub onnx: Cow<'static, [u8]>,
}

/// A package without its weights: all that is needed to prepare images for the model and to name what comes out.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// `model.toml`.
    pub manifest: Manifest,
    /// The text of `model.toml`, from which [`ModelCard::restore`] makes the manifest again elsewhere.
    pub toml: String,
    /// Class names of each output, in the order of [`Manifest::outputs`]; empty where an output names no labels.
    /// A name may occur twice (`crane`), for the index identifies a class.
    pub labels: Vec<Vec<String>>,
    /// Lower-case hexadecimal SHA-256.
    digest: String,
}

impl ModelCard {
    /// Makes a card again from what another process says of a package that it holds. The digest cannot be checked
    /// without the weights.
    ///
    /// # Errors
    /// When the manifest is wrong.
    pub fn restore(toml: String, labels: Vec<Vec<String>>, digest: String) -> Result<Self, PackageError> {
        let manifest = Manifest::parse(&toml)?;
        Ok(Self {
            manifest,
            toml,
            labels,
            digest,
        })
    }

    /// SHA-256 over `model.toml`, the ONNX file and each output's labels, as 64 lower-case hexadecimal digits.
    /// Two digests under one name are two models.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl ModelPackage {
    /// Reads the folder `dir`.
    ///
    /// # Errors
    /// When a file is missing, too large or not UTF-8, or the manifest is wrong.
    pub fn load(dir: &Path) -> Result<Self, PackageError> {
        let toml = read_text(&dir.join(MANIFEST_FILE))?;
        let manifest = Manifest::parse(&toml)?;
        let onnx = read_limited(&dir.join(ONNX_FILE), MAX_ONNX_BYTES)?;
        let mut texts = Vec::with_capacity(manifest.outputs.len());
        for output in &manifest.outputs {
            texts.push(
                output
                    .labels
                    .as_ref()
                    .map(|name| read_text(&dir.join(name)))
                    .transpose()?,
            );
        }
        Ok(Self::assemble(toml, manifest, Cow::Owned(onnx), &texts))
    }

    /// Makes a package from its parts, as for one embedded in the binary; `labels` serves every output that names a file.
    ///
    /// # Errors
    /// When the manifest is wrong.
    pub fn from_parts(toml: &str, onnx: Cow<'static, [u8]>, labels: &str) -> Result<Self, PackageError> {
        let manifest = Manifest::parse(toml)?;
        let texts: Vec<Option<String>> = manifest
            .outputs
            .iter()
            .map(|output| output.labels.as_ref().map(|_| labels.to_owned()))
            .collect();
        Ok(Self::assemble(toml.to_owned(), manifest, onnx, &texts))
    }

    fn assemble(
        toml: String,
        manifest: Manifest,
        onnx: Cow<'static, [u8]>,
        texts: &[Option<String>],
    ) -> Self {
        let labels = texts
            .iter()
            .map(|text| text.as_deref().map(lines).unwrap_or_default())
            .collect();
        let label_bytes = texts
            .iter()
            .map(|text| text.as_deref().unwrap_or_default().as_bytes());
        let digest = digest([toml.as_bytes(), &onnx].into_iter().chain(label_bytes));
        let card = ModelCard {
            manifest,
            toml,
            labels,
            digest,
        };
        Self { card, onnx }
    }
}

/// Each part is preceded by its length, so that no byte can move from one part to the next unnoticed.
fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One label a line; the last line may lack its end. An empty line inside is a label too, for the index counts.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn read_text(path: &Path) -> Result<String, PackageError> {
    String::from_utf8(read_limited(path, MAX_TEXT_BYTES)?)
        .map_err(|_| PackageError::NotUtf8 { path: path.into() })
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, PackageError> {
    let failed = |source| PackageError::Read {
        path: PathBuf::from(path),
        source,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(failed)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PackageError::TooLarge {
            path: path.into(),
            limit,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
schema = 1
name = "tiny"
version = "1"
task = "classification"
license = "Apache-2.0"
source = "made up"
[input]
name = "image"
dtype = "uint8"
width = 8
height = 8
layout = "nhwc"
channels = "rgb"
resize = { policy = "stretch" }
interpolation = "bilinear"
[[output]]
name = "logits"
activation = "softmax"
labels = "labels.txt"
"#;

    fn package(toml: &str, onnx: &'static [u8], labels: &str) -> ModelPackage {
        ModelPackage::from_parts(toml, Cow::Borrowed(onnx), labels).unwrap()
    }

    fn folder(labels: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            (MANIFEST_FILE, TOML.as_bytes()),
            (ONNX_FILE, b"onnx"),
            ("labels.txt", labels),
        ] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_and_its_parts_are_the_same_package() {
        let folder = folder(b"crane\ncat\ncrane\n");
        let loaded = ModelPackage::load(folder.path()).unwrap();
        let made = package(TOML, b"onnx", "crane\ncat\ncrane\n");
        assert_eq!(loaded.card.labels, [["crane", "cat", "crane"]]);
        assert_eq!(loaded.card.manifest, made.card.manifest);
        assert_eq!(loaded.card.digest(), made.card.digest());
    }

    #[test]
    fn windows_line_ends_do_not_stick_to_labels() {
        assert_eq!(package(TOML, b"onnx", "cat\r\ndog").card.labels, [["cat", "dog"]]);
    }

    #[test]
    fn every_part_counts_for_the_digest_and_no_byte_moves_between_parts() {
        let digests = [
            package(TOML, b"onnx", "cat"),
            package(&format!("{TOML}\n"), b"onnx", "cat"),
            package(TOML, b"onny", "cat"),
            package(TOML, b"onnx", "cow"),
            package(TOML, b"onnxc", "at"),
        ]
        .map(|package| package.card.digest().to_owned());
        for (index, digest) in digests.iter().enumerate() {
            assert_eq!(digest.len(), 64);
            assert!(!digests[..index].contains(digest), "{index}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = folder(b"cat");
        fs::remove_file(folder.path().join("labels.txt")).unwrap();
        let error = ModelPackage::load(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("labels.txt") && error.contains("model.onnx"),
            "{error}"
        );
    }

    #[test]
    fn labels_in_another_encoding_are_refused() {
        let folder = folder(b"caf\xe9\n");
        assert!(matches!(
            ModelPackage::load(folder.path()),
            Err(PackageError::NotUtf8 { .. })
        ));
    }
}
