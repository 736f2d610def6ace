//! Models in common layouts, through the real binary: how they are interpreted, reported and served.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use prost::Message as _;
use tempfile::TempDir;

use crate::harness::process::{ocelli, run};

mod bad;
mod check;
mod default_model;
mod hub;
mod init;
mod input_kinds;
mod loaders;
mod model_tasks;
#[path = "../../../ocelli-vision/src/graph/testing.rs"]
mod onnx;
mod output_heads;
mod outputs;
mod parity;
pub(crate) mod repository;
mod serve;
mod show;

use onnx::Small;

/// A model of three classes for pictures of 16 x 8 pixels, channels first. Class `c` scores `c` times the mean of the
/// first channel.
fn small() -> Small<'static> {
    Small {
        elem_type: onnx::FLOAT,
        input: &[0, 3, 8, 16],
        classes: 3,
        final_op: None,
    }
}

/// The same, ending in a softmax that the graph reader does not detect.
fn softmax_in_disguise() -> Vec<u8> {
    let mut graph = small().graph();
    graph.node.pop();
    graph.node.push(onnx::node("Softmax", "scores", "probabilities"));
    graph.node.push(onnx::node("Relu", "probabilities", "logits"));
    onnx::model(graph).encode_to_vec()
}

/// A folder of files in which to run the program.
struct ModelFolder {
    folder: TempDir,
}

impl ModelFolder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Self { folder }
    }

    /// A Hugging Face folder `pets` with three classes, prepared to values from 0 to 1.
    fn pets(model: &Small<'_>) -> Self {
        let config = br#"{"architectures": ["ViTForImageClassification"], "model_type": "vit",
                          "id2label": {"0": "cat", "1": "dog", "2": "cow"}}"#;
        let preprocessor = br#"{"image_processor_type": "ViTImageProcessorFast", "do_normalize": false,
                                "size": {"height": 8, "width": 16}}"#;
        Self::new(&[
            ("pets/config.json", config),
            ("pets/preprocessor_config.json", preprocessor),
            ("pets/onnx/model.onnx", &model.bytes()),
        ])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The exit status, standard output and standard error.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(arguments, None).await
    }

    /// The same with this ONNX Runtime.
    async fn run_with(&self, arguments: &[&str], library: Option<&Path>) -> (i32, String, String) {
        let mut command = ocelli(arguments);
        command.current_dir(self.folder.path());
        if let Some(library) = library {
            command.env("OCELLI_ONNXRUNTIME", library);
        }
        let Output {
            status,
            stdout,
            stderr,
        } = run(command, b"").await;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// The output of a command that must succeed.
    async fn prints(&self, arguments: &[&str]) -> String {
        let (status, printed, said) = self.run(arguments).await;
        assert_eq!(status, 0, "{arguments:?}: {said}");
        printed
    }

    /// The error of a command that cannot start, after its log.
    async fn fails(&self, arguments: &[&str]) -> String {
        let (status, printed, said) = self.run(arguments).await;
        assert_eq!((status, printed.as_str()), (2, ""), "{arguments:?}: {said}");
        let why = said.lines().skip_while(|line| !line.starts_with("ocelli: "));
        let why: Vec<&str> = why.collect();
        assert!(!why.is_empty(), "{said}");
        why.join("\n")
    }
}
