//! Models from the hub: downloaded by the real binary from a test hub.

mod cached;
mod faults;
mod refusals;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::photos;
use crate::harness::process::{Process, ocelli, onnxruntime, run};
use crate::support::hub::{Hub, sha256};

const REPOSITORY: &str = "someone/lite0";
const SPEC: &str = "hf:someone/lite0";

/// A hub with the built-in model as a package, and an empty cache.
struct TestHub {
    hub: Hub,
    home: TempDir,
    commit: String,
}

impl TestHub {
    async fn new() -> Self {
        Self::at(Hub::start().await)
    }

    fn at(hub: Hub) -> Self {
        let commit = hub.commit(REPOSITORY, package());
        Self {
            hub,
            home: tempfile::tempdir().unwrap(),
            commit,
        }
    }

    /// `ocelli` with this hub and this cache, without the user's settings.
    fn ocelli(&self, arguments: &[&str]) -> Command {
        let mut command = ocelli(arguments);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let upper = name.to_uppercase();
            if upper.starts_with("HF_") || upper.starts_with("HUGGING") || upper.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HOME", self.home.path());
        command
    }

    /// Pulls an existing model; returns the output.
    async fn pulls(&self, spec: &str) -> String {
        let (status, printed, said) = outcome(self.ocelli(&["model", "pull", spec])).await;
        assert_eq!(status, 0, "{said}");
        printed
    }

    /// Pulls a model that cannot be downloaded; returns the error.
    async fn refuses(&self, spec: &str) -> String {
        fails(self.ocelli(&["model", "pull", spec])).await
    }

    fn repository(&self) -> PathBuf {
        self.home.path().join("hub/models--someone--lite0")
    }

    fn snapshot(&self) -> PathBuf {
        self.repository().join("snapshots").join(&self.commit)
    }

    /// The names of the files among the blobs.
    fn blobs(&self) -> Vec<String> {
        names(&self.repository().join("blobs"))
    }

    /// The partial file of the model's graph.
    fn partial(&self) -> PathBuf {
        let name = format!("{}.incomplete", sha256(&graph()));
        self.repository().join("blobs").join(name)
    }

    fn asked_cdn(&self) -> Vec<crate::support::hub::Asked> {
        self.hub
            .asked()
            .into_iter()
            .filter(|asked| asked.of_cdn)
            .collect()
    }
}

/// The status, standard output and standard error.
async fn outcome(command: Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = run(command, b"").await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Runs a command that ends with status 2 and prints nothing; returns the error.
async fn fails(command: Command) -> String {
    let (status, printed, said) = outcome(command).await;
    assert_eq!((status, printed.as_str()), (2, ""), "{said}");
    let why = said.lines().last().unwrap();
    assert!(why.starts_with("ocelli: "), "{said}");
    why.to_owned()
}

fn built_in(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/efficientnet-lite0");
    fs::read(folder.join(name)).unwrap().into()
}

fn graph() -> Bytes {
    built_in("model.onnx")
}

fn package() -> [(&'static str, Bytes); 4] {
    [
        ("README.md", Bytes::from_static(b"# A model")),
        ("labels.txt", built_in("labels.txt")),
        ("model.onnx", graph()),
        ("model.toml", built_in("model.toml")),
    ]
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_package_is_downloaded_once_into_the_layout_of_python() {
    let test_hub = TestHub::new().await;
    let printed = test_hub.pulls(SPEC).await;
    for part in [
        SPEC,
        &test_hub.commit,
        "model.onnx",
        test_hub.snapshot().to_str().unwrap(),
        " downloaded",
    ] {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    assert_eq!(
        names(&test_hub.snapshot()),
        ["labels.txt", "model.onnx", "model.toml"]
    );
    assert_eq!(fs::read(test_hub.snapshot().join("model.onnx")).unwrap(), graph());
    let target = fs::read_link(test_hub.snapshot().join("model.onnx")).unwrap();
    assert_eq!(target, Path::new("../../blobs").join(sha256(&graph())));
    assert_eq!(
        fs::read_to_string(test_hub.repository().join("refs/main")).unwrap(),
        test_hub.commit
    );
    assert_eq!(test_hub.blobs().len(), 3);
    // Only the list is requested again.
    test_hub.hub.asked();
    let printed = test_hub.pulls(SPEC).await;
    assert!(printed.contains("already in the cache"), "{printed}");
    let asked = test_hub.hub.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0]
            .target
            .starts_with("/api/models/someone/lite0/revision/main"),
        "{asked:?}"
    );
    // A commit does not change, so nothing is requested.
    test_hub.pulls(&format!("{SPEC}@{}", test_hub.commit)).await;
    assert_eq!(test_hub.hub.count(), 0);
}

#[tokio::test]
async fn a_model_of_the_hub_is_served() {
    let Some(library) = onnxruntime() else { return };
    let test_hub = TestHub::new().await;
    let mut command = test_hub.ocelli(&["serve", "--listen", "127.0.0.1:0", "--model", SPEC]);
    command.env("OCELLI_ONNXRUNTIME", library);
    let mut process = Process::start(command).await;
    let answer = process
        .post("/predict")
        .form([("image", photos::DOG)])
        .send()
        .await;
    assert_eq!(answer.best(), "beagle");
    let said = process.logs("from the hub").await;
    assert!(
        said.contains(&test_hub.commit) && said.contains("model.onnx"),
        "{said}"
    );
}

/// The built-in model as Hugging Face's tools would have it: a configuration, a processor, and the graph in two forms,
/// here the same twice.
fn hugging_face_folder() -> [(&'static str, Bytes); 5] {
    let labels = String::from_utf8(built_in("labels.txt").to_vec()).unwrap();
    let names: BTreeMap<String, &str> = labels
        .lines()
        .enumerate()
        .map(|(index, label)| (index.to_string(), label))
        .collect();
    let config = json!({"architectures": ["SomeForImageClassification"], "id2label": names});
    let processor = json!({
        "image_processor_type": "ViTImageProcessor",
        "do_resize": true, "size": {"shortest_edge": 256}, "resample": 3,
        "do_center_crop": true, "crop_size": {"height": 224, "width": 224},
        "do_rescale": false, "do_normalize": false,
    });
    [
        ("config.json", config.to_string().into()),
        ("model.safetensors", Bytes::from_static(b"not wanted")),
        ("onnx/model.onnx", graph()),
        ("onnx/model_quantized.onnx", graph()),
        ("preprocessor_config.json", processor.to_string().into()),
    ]
}

#[tokio::test]
async fn a_hugging_face_model_is_served_from_its_best_file() {
    let test_hub = TestHub::new().await;
    let commit = test_hub.hub.commit("someone/Converted", hugging_face_folder());
    let printed = test_hub.pulls("hf:someone/Converted").await;
    for part in [
        "onnx/model_quantized.onnx: int8",
        "there are also onnx/model.onnx",
        "classification of 1000 classes, from a Hugging Face folder",
    ] {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    let snapshot = test_hub
        .home
        .path()
        .join("hub/models--someone--Converted/snapshots")
        .join(&commit);
    assert_eq!(
        names(&snapshot),
        ["config.json", "onnx", "preprocessor_config.json"]
    );
    assert_eq!(names(&snapshot.join("onnx")), ["model_quantized.onnx"]);
    // The other file is the same blob under another name.
    test_hub.hub.asked();
    let printed = test_hub.pulls("hf:someone/Converted#onnx/model.onnx").await;
    assert!(printed.contains("onnx/model.onnx: named"), "{printed}");
    assert!(test_hub.asked_cdn().is_empty());
    let Some(library) = onnxruntime() else { return };
    let mut command = test_hub.ocelli(&[
        "predict",
        "--model",
        "hf:someone/Converted",
        "--format",
        "jsonl",
        "-",
    ]);
    command.env("OCELLI_ONNXRUNTIME", library);
    let Output {
        status,
        stdout,
        stderr,
    } = run(command, photos::DOG).await;
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let answer: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(answer["predictions"][0]["label"], "beagle", "{answer}");
}

#[tokio::test]
async fn a_new_commit_reuses_unchanged_files_from_the_cache() {
    let test_hub = TestHub::new().await;
    test_hub.pulls(SPEC).await;
    let mut files = package();
    files[1].1 = Bytes::from(
        String::from_utf8(built_in("labels.txt").to_vec())
            .unwrap()
            .to_uppercase(),
    );
    let commit = test_hub.hub.commit(REPOSITORY, files);
    test_hub.hub.asked();
    let printed = test_hub.pulls(SPEC).await;
    assert!(printed.contains(&commit), "{printed}");
    assert!(test_hub.asked_cdn().is_empty(), "the graph was fetched again");
    assert_eq!(test_hub.blobs().len(), 4);
    // The old commit is still complete.
    test_hub.pulls(&format!("{SPEC}@{}", test_hub.commit)).await;
}

#[tokio::test]
async fn without_a_network_the_cache_is_used() {
    let test_hub = TestHub::new().await;
    let offline = |arguments: &[&str]| {
        let mut command = test_hub.ocelli(arguments);
        command.env("HF_HUB_OFFLINE", "1");
        command
    };
    let said = fails(offline(&["model", "pull", SPEC])).await;
    let cache = test_hub.home.path().join("hub");
    for part in [
        SPEC,
        cache.to_str().unwrap(),
        "HF_HUB_OFFLINE",
        "ocelli model pull",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    test_hub.pulls(SPEC).await;
    test_hub.hub.asked();
    let (status, printed, said) = outcome(offline(&["model", "pull", SPEC])).await;
    assert_eq!(status, 0, "{said}");
    assert!(
        printed.contains(&test_hub.commit) && said.contains("from the cache"),
        "{printed}{said}"
    );
    assert_eq!(test_hub.hub.count(), 0);
    // An unreachable hub is reported.
    let gone = Hub::start().await.endpoint().to_owned();
    for endpoint in [gone.as_str(), test_hub.hub.endpoint()] {
        test_hub.hub.faults(|faults| faults.refusal = Some((503, "")));
        let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
        command.env("HF_ENDPOINT", endpoint);
        let (status, printed, said) = outcome(command).await;
        assert_eq!(status, 0, "{said}");
        assert!(printed.contains(&test_hub.commit), "{printed}");
        assert!(said.contains("from the cache: the hub does not answer"), "{said}");
    }
}

#[tokio::test]
async fn a_cache_filled_by_python_serves_offline() {
    let test_hub = TestHub::new().await;
    test_hub.pulls(SPEC).await;
    fs::remove_dir_all(test_hub.repository().join(".ocelli")).unwrap();
    let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
    command.env("HF_HUB_OFFLINE", "1");
    let (status, printed, said) = outcome(command).await;
    assert_eq!(status, 0, "{said}");
    assert!(printed.contains("model.onnx"), "{printed}");
}
