//! Which files a graph keeps its weights in.

use std::path::Path;

use ocelli_vision::{Files, Graph};

use super::error::HubError;
use super::spec::RepoPath;

/// An ONNX file is a protobuf message, which ends at 2 GiB.
pub(super) const MAX_ONNX: u64 = 2 << 30;

/// The files, as paths within the repository, that the graph at `file` needs, which is `onnx` in the repository and within
/// the folder `root`.
pub(super) fn external(root: &Path, file: &Path, onnx: &RepoPath) -> Result<Vec<RepoPath>, HubError> {
    let bytes = Files::within(root)?.read(file, MAX_ONNX)?;
    let wrong = |problem: String| HubError::Graph {
        file: onnx.to_string(),
        path: file.to_owned(),
        problem,
    };
    let graph = Graph::read(&bytes).map_err(|error| wrong(error.to_string()))?;
    let path = |name: &str| {
        let path = onnx.beside(name.strip_prefix("./").unwrap_or(name));
        path.ok_or_else(|| {
            wrong(format!(
                "keeps weights in {name:?}, which is no file beside it: do not use this repository, or export the model \
                 again with its weights beside it or inside it"
            ))
        })
    };
    graph.external.iter().map(|file| path(&file.name)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_the_cache_is_read_and_nothing_that_is_too_large() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("models--a--b");
        fs::create_dir(&root).unwrap();
        let onnx = RepoPath::new("model.onnx").unwrap();
        let said = |name: &str| external(&root, &root.join(name), &onnx).unwrap_err().to_string();
        fs::write(home.path().join("secret"), "secret").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/dev/zero", root.join("endless")).unwrap();
        for name in ["out", "endless"] {
            let error = said(name);
            assert!(error.contains(name) && error.contains("outside"), "{error}");
        }
        fs::File::create(root.join("huge"))
            .unwrap()
            .set_len(MAX_ONNX + 1)
            .unwrap();
        assert!(said("huge").contains("at most"));
        fs::write(root.join("text"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
        let error = said("text");
        assert!(
            error.starts_with("model.onnx (") && error.contains("not an ONNX file"),
            "{error}"
        );
    }
}
