//! Which files a graph keeps its weights in.

use std::fs;
use std::path::Path;

use ocelli_vision::Graph;

use super::cache::at;
use super::error::HubError;
use super::names::RepoPath;

/// The files, as paths within the repository, that the graph at `file` needs, which is `onnx` in the repository.
pub(super) fn external(file: &Path, onnx: &RepoPath) -> Result<Vec<RepoPath>, HubError> {
    let bytes = fs::read(file).map_err(at(file))?;
    let wrong = |problem: String| HubError::Graph {
        file: onnx.to_string(),
        problem,
    };
    let graph = Graph::read(&bytes).map_err(|error| wrong(error.to_string()))?;
    let path = |name: &str| {
        let path = onnx.beside(name.strip_prefix("./").unwrap_or(name));
        path.ok_or_else(|| {
            wrong(format!(
                "it keeps weights in {name:?}, which is no file beside it"
            ))
        })
    };
    graph.external.iter().map(|file| path(&file.name)).collect()
}
