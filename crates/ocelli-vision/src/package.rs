//! A model package: the folder that describes a model's input and outputs.
//!
//! Owns reading and checking a package. Of the graph it reads only which other files belong to it. Whether the ONNX
//! file has the inputs, outputs and class count that the manifest promises is checked when it is loaded into an engine.

mod error;
mod external;
mod manifest;
mod missing;
mod output;
mod run;
mod write;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{FileError, Graph, files::Files};

pub use error::PackageError;
pub(crate) use external::ExternalData;
pub(crate) use external::read_external;
pub use manifest::{Manifest, Task};
pub use output::{Activation, OutputSpec, Pool};
pub use run::RunSpec;

const MANIFEST_FILE: &str = "model.toml";
const ONNX_FILE: &str = "model.onnx";
/// Limits of what is read from a package, in bytes. An ONNX file is a protobuf message, which ends at 2 GiB; larger
/// models keep their weights in external data.
pub(crate) const MAX_TEXT_BYTES: u64 = 16 << 20;
const MAX_ONNX_BYTES: u64 = 2 << 30;

/// A package as it was read: checked, with its labels and its digest.
#[derive(Debug, Clone)]
pub struct ModelPackage {
    /// The content of `model.toml`.
    pub card: ModelCard,
    /// `model.onnx`, unopened.
    pub onnx: Cow<'static, [u8]>,
    /// The files in which the ONNX file keeps weights, by the names that it uses; mostly none.
    pub external: Vec<ExternalData>,
    /// Where `onnx` was read, for messages; nowhere if it was made or is part of the program.
    pub origin: Option<PathBuf>,
    /// Where `model.toml` was read; `None` if the package was made of other files.
    pub stated_in: Option<PathBuf>,
}

/// A package without its weights: all that is needed to prepare images for the model and to interpret its outputs.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// `model.toml`.
    pub manifest: Manifest,
    /// The text of `model.toml`, from which [`ModelCard::restore`] makes the manifest again elsewhere.
    pub toml: String,
    /// Class names of each output, in the order of [`Manifest::outputs`]; empty where an output names no labels.
    /// A name may occur twice (`crane`), for the index identifies a class.
    pub labels: Vec<Vec<String>>,
    digest: String,
}

impl ModelCard {
    /// Makes a card from another process's description of its package. The digest cannot be checked without the
    /// weights.
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

    /// SHA-256 over `model.toml`, the ONNX file, each output's labels and the external data, as 64 lower-case
    /// hexadecimal digits.
    /// Two digests under one name are two models.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl ModelPackage {
    /// Reads the folder `dir`, and nothing outside it.
    ///
    /// # Errors
    /// When a file is missing, unreadable, too large, outside the folder or not what it should be, or the manifest is
    /// wrong.
    pub fn load(dir: &Path) -> Result<Self, PackageError> {
        Self::load_within(dir, dir)
    }

    /// Reads the folder `dir`, whose files may be links to others inside `root`, as in the cache of a hub.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_within(dir: &Path, root: &Path) -> Result<Self, PackageError> {
        let missing = |error: FileError| missing::explain(error, dir);
        let files = Files::within(root).map_err(missing)?;
        let text = |name: &str| files.read_text(&dir.join(name), MAX_TEXT_BYTES).map_err(missing);
        let toml = text(MANIFEST_FILE)?;
        let manifest = Manifest::parse(&toml).map_err(|error| error.within(dir))?;
        let path = dir.join(ONNX_FILE);
        let onnx = read_onnx(&files, &path).map_err(|error| match error {
            PackageError::File(error) => missing(error),
            error => error,
        })?;
        let graph = Graph::read(&onnx).map_err(|source| PackageError::Graph {
            path: path.clone(),
            source,
        })?;
        let texts = manifest
            .outputs
            .iter()
            .map(|output| output.labels.as_deref().map(text).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let external = read_external(&files, &path, &graph.external)?;
        Ok(Self::assemble(toml, manifest, Cow::Owned(onnx), external, &texts))
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
        Ok(Self::assemble(
            toml.to_owned(),
            manifest,
            onnx,
            Vec::new(),
            &texts,
        ))
    }

    /// Makes a package that is in no folder. Written into one, with [`Manifest::to_toml`] as `model.toml` and each
    /// output's labels one a line, it is read as the same package with the same digest.
    ///
    /// `labels` has one list for each output, empty where the output names no file. A label is one line: what would end
    /// a line within it becomes a space.
    ///
    /// # Errors
    /// When the manifest is wrong, or `labels` are not what it announces.
    pub fn build(
        manifest: Manifest,
        onnx: Cow<'static, [u8]>,
        external: Vec<ExternalData>,
        labels: &[Vec<String>],
    ) -> Result<Self, PackageError> {
        manifest.validate()?;
        let texts = label_texts(&manifest, labels)?;
        Ok(Self::assemble(
            manifest.to_toml(),
            manifest,
            onnx,
            external,
            &texts,
        ))
    }

    /// The same model under another name, and another version if one is given. A package that has both already stays as it is,
    /// to the byte of its `model.toml`.
    ///
    /// # Errors
    /// When no model may have the name or the version.
    pub fn renamed(self, name: &str, version: Option<&str>) -> Result<Self, PackageError> {
        let old = &self.card.manifest;
        let version = version.unwrap_or(&old.version);
        if old.name == name && old.version == version {
            return Ok(self);
        }
        let manifest = Manifest {
            name: name.to_owned(),
            version: version.to_owned(),
            ..old.clone()
        };
        let renamed = Self::build(manifest, self.onnx, self.external, &self.card.labels)?;
        Ok(Self {
            origin: self.origin,
            stated_in: self.stated_in,
            ..renamed
        })
    }

    fn assemble(
        toml: String,
        manifest: Manifest,
        onnx: Cow<'static, [u8]>,
        mut external: Vec<ExternalData>,
        texts: &[Option<String>],
    ) -> Self {
        let labels = texts
            .iter()
            .map(|text| text.as_deref().map(lines).unwrap_or_default())
            .collect();
        let label_bytes = texts
            .iter()
            .map(|text| text.as_deref().unwrap_or_default().as_bytes());
        // The digest does not depend on their order.
        external.sort_by(|left, right| left.name.cmp(&right.name));
        let external_bytes = external
            .iter()
            .flat_map(|file| [file.name.as_bytes(), &file.bytes]);
        let digest = digest(
            [toml.as_bytes(), &onnx]
                .into_iter()
                .chain(label_bytes)
                .chain(external_bytes),
        );
        let card = ModelCard {
            manifest,
            toml,
            labels,
            digest,
        };
        Self {
            card,
            onnx,
            external,
            origin: None,
            stated_in: None,
        }
    }
}

/// The ONNX file at `path`. Its head is looked at first, so that a large file of another kind is not read.
pub(crate) fn read_onnx(files: &Files, path: &Path) -> Result<Vec<u8>, PackageError> {
    /// Enough bytes to recognise the kind of a file.
    const HEAD: u64 = 4096;
    let head = files.read_head(path, HEAD, MAX_ONNX_BYTES)?;
    Graph::check_head(&head).map_err(|source| PackageError::Graph {
        path: path.into(),
        source,
    })?;
    Ok(files.read(path, MAX_ONNX_BYTES)?)
}

/// The text of each output's file of labels.
fn label_texts(manifest: &Manifest, labels: &[Vec<String>]) -> Result<Vec<Option<String>>, PackageError> {
    let wrong = |problem: String| PackageError::Invalid {
        key: "output.labels".into(),
        problem,
    };
    if labels.len() != manifest.outputs.len() {
        let (lists, outputs) = (labels.len(), manifest.outputs.len());
        return Err(wrong(format!(
            "has {lists} lists for {outputs} outputs: give one list for each"
        )));
    }
    let mut texts: Vec<Option<String>> = Vec::with_capacity(labels.len());
    for (output, labels) in manifest.outputs.iter().zip(labels) {
        let text = match (&output.labels, labels.is_empty()) {
            (None, true) => None,
            (Some(_), false) => Some(text_of(labels)),
            (Some(file), true) => {
                return Err(wrong(format!("is {file:?}, and there are no labels: give them")));
            }
            (None, false) => {
                let count = labels.len();
                return Err(wrong(format!(
                    "is missing, and there are {count} labels: name a file for them"
                )));
            }
        };
        let twin = manifest.outputs[..texts.len()]
            .iter()
            .position(|other| output.labels.is_some() && other.labels == output.labels);
        if twin.is_some_and(|twin| texts[twin] != text) {
            return Err(wrong(format!(
                "is {:?} for two lists: name a file for each",
                output.labels
            )));
        }
        if text
            .as_ref()
            .is_some_and(|text| text.len() as u64 > MAX_TEXT_BYTES)
        {
            return Err(wrong(format!(
                "has more than {MAX_TEXT_BYTES} bytes: give shorter labels"
            )));
        }
        texts.push(text);
    }
    Ok(texts)
}

/// A label as the line of a file that [`lines`] reads.
fn line(label: &str) -> String {
    let label = label.replace(['\r', '\n'], " ");
    format!("{}\n", label.trim())
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

/// One label a line; the last line may lack its end, and editors leave an empty one behind it. An empty line elsewhere is
/// a label too, for the index counts.
fn lines(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    labels.pop_if(|last| last.is_empty());
    labels
}

/// Labels as the text that [`lines`] reads.
fn text_of(labels: &[String]) -> String {
    let mut text: String = labels.iter().map(|label| line(label)).collect();
    // A last label without a name has to be more than the empty line that an editor leaves.
    if labels.last().is_some_and(|last| last.trim().is_empty()) {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
