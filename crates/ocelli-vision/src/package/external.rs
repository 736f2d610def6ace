//! Weights that an ONNX file keeps in files beside it.

use std::{
    fmt,
    path::{Component, Path},
    sync::Arc,
};

use crate::{ExternalFile, PackageError, files::Files};

/// The most bytes that all files of one model may have together: more than a server has memory to spare.
const MAX_BYTES: u64 = 16 << 30;

#[derive(Clone, PartialEq, Eq)]
pub struct ExternalData {
    /// Its name in the ONNX file (`location` of its tensors).
    pub name: String,
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for ExternalData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}

/// Reads the files that the ONNX file `onnx` wants, from its folder and from nowhere outside `files`.
///
/// All sizes are checked before the first file is read.
pub(crate) fn read_external(
    files: &Files,
    onnx: &Path,
    wanted: &[ExternalFile],
) -> Result<Vec<ExternalData>, PackageError> {
    let wrong = |file: &ExternalFile, problem: String| PackageError::External {
        onnx: onnx.into(),
        name: file.name.clone(),
        problem,
    };
    let folder = onnx.parent().unwrap_or(Path::new(""));
    let mut total = 0_u64;
    for file in wanted {
        if !is_inside(&file.name) {
            let problem =
                "which is outside its folder: export it again with its weights beside it or inside it";
            return Err(wrong(file, problem.into()));
        }
        let len = files.len(&folder.join(&file.name)).map_err(|error| {
            if error.is_missing() {
                let problem = "which is missing: put it beside the ONNX file under this very name, or export with the weights inside";
                wrong(file, problem.into())
            } else {
                error.into()
            }
        })?;
        if len < file.len {
            let problem = format!(
                "which has {len} bytes of the {} that it needs: it is cut off or of another model; copy or download it again",
                file.len
            );
            return Err(wrong(file, problem));
        }
        total = total.saturating_add(len);
        if total > MAX_BYTES {
            let problem =
                format!("and with it more than the {MAX_BYTES} bytes that are read: use a smaller model");
            return Err(wrong(file, problem));
        }
    }
    wanted
        .iter()
        .map(|file| {
            let bytes = files.read_shared(&folder.join(&file.name), file.len, MAX_BYTES)?;
            Ok(ExternalData {
                name: file.name.clone(),
                bytes,
            })
        })
        .collect()
}

/// Whether a name, as it is written, stays in the folder that it is relative to.
fn is_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0'])
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONNX: &str = "model.onnx";

    fn wanted(name: &str, len: u64) -> ExternalFile {
        ExternalFile {
            name: name.into(),
            len,
        }
    }

    fn read(files: &[ExternalFile]) -> Result<Vec<ExternalData>, PackageError> {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("in");
        fs::create_dir_all(inner.join("sub")).unwrap();
        for name in ["in/a", "in/sub/b", "secret"] {
            fs::write(folder.path().join(name), "1234").unwrap();
        }
        read_external(&Files::within(&inner).unwrap(), &inner.join(ONNX), files)
    }

    #[test]
    fn files_beside_and_below_are_read() {
        let read = read(&[wanted("a", 4), wanted("./sub/b", 1)]).unwrap();
        let names: Vec<&str> = read.iter().map(|file| &file.name[..]).collect();
        assert_eq!(names, ["a", "./sub/b"]);
        assert_eq!(
            (&read[0].bytes[..], &read[1].bytes[..]),
            (&b"1234"[..], &b"1"[..]),
            "as much as is needed"
        );
    }

    #[test]
    fn what_cannot_be_given_is_named_with_a_remedy() {
        for (file, text) in [
            (wanted("../secret", 1), "outside its folder"),
            (wanted("sub/../../secret", 1), "outside its folder"),
            (wanted("/etc/passwd", 1), "outside its folder"),
            (wanted("..\\secret", 1), "outside its folder"),
            (wanted("", 1), "outside its folder"),
            (wanted("c", 1), "is missing"),
            (wanted("a", 5), "has 4 bytes of the 5"),
            (wanted("sub", 1), "no file but a folder"),
        ] {
            let error = read(&[wanted("a", 4), file.clone()]).unwrap_err().to_string();
            let names = error.contains(&file.name) || error.contains(&format!("{:?}", file.name));
            assert!(names && error.contains(text), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn all_files_together_are_limited_before_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            // A hole: no disk holds it.
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_len(MAX_BYTES / 2 + 1).unwrap();
        }
        let files = Files::within(folder.path()).unwrap();
        let wanted = [wanted("a", 1), wanted("b", 1)];
        let error = read_external(&files, &folder.path().join(ONNX), &wanted).unwrap_err();
        assert!(error.to_string().contains("smaller model"), "{error}");
    }
}
