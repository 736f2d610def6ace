//! Listing, removing and completing the cache.

use std::fs;

use bytes::Bytes;
use serde_json::Value;

use super::{REPOSITORY, SPEC, TestHub, built_in, fails, graph, names, outcome, package};
use crate::support::hub::sha256;

impl TestHub {
    async fn list(&self) -> Vec<Value> {
        let (status, printed, said) = outcome(self.ocelli(&["model", "list", "--json"])).await;
        assert_eq!(status, 0, "{said}");
        let lines = printed.lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn removes(&self, spec: &str) -> String {
        let (status, printed, said) = outcome(self.ocelli(&["model", "remove", spec])).await;
        assert_eq!(status, 0, "{said}");
        printed
    }

    /// A second commit with other labels only.
    fn relabel(&self) -> String {
        let mut files = package();
        let labels = String::from_utf8(built_in("labels.txt").to_vec()).unwrap();
        files[1].1 = Bytes::from(labels.to_uppercase());
        self.hub.commit(REPOSITORY, files)
    }
}

#[tokio::test]
async fn cached_models_are_listed() {
    let test_hub = TestHub::new().await;
    let (status, printed, _) = outcome(test_hub.ocelli(&["model", "list"])).await;
    assert_eq!(status, 0);
    assert!(printed.contains("ocelli model pull"), "{printed}");
    assert!(test_hub.list().await.is_empty());
    test_hub.pulls(SPEC).await;
    let newer = test_hub.relabel();
    test_hub.pulls(SPEC).await;
    // Files of other tools are not servable models.
    let others = test_hub.home.path().join("hub");
    for other in [
        "datasets--a--b/snapshots",
        "models--a--b/snapshots/x",
        "models--c--d/blobs",
        "version.txt",
    ] {
        fs::create_dir_all(others.join(other)).unwrap();
    }
    let listed = test_hub.list().await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    let bytes: usize = package()[1..].iter().map(|(_, bytes)| bytes.len()).sum();
    for (commit, revisions) in [(&test_hub.commit, &[][..]), (&newer, &["main"])] {
        let found = listed.iter().find(|model| model["commit"] == **commit).unwrap();
        assert_eq!(found["model"], SPEC);
        assert_eq!(found["revisions"], serde_json::json!(revisions));
        assert_eq!(found["bytes"], bytes);
        assert_eq!(found["onnx"][0]["file"], "model.onnx");
        assert_eq!(found["onnx"][0]["bytes"], graph().len());
    }
    let (_, printed, _) = outcome(test_hub.ocelli(&["model", "list"])).await;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    assert!(
        lines[0].starts_with("model ") && lines[1].starts_with(SPEC),
        "{printed}"
    );
}

#[tokio::test]
async fn a_commit_is_removed_without_shared_files() {
    let test_hub = TestHub::new().await;
    test_hub.pulls(SPEC).await;
    let newer = test_hub.relabel();
    test_hub.pulls(SPEC).await;
    assert_eq!(test_hub.blobs().len(), 4);
    test_hub.removes(&format!("{SPEC}@{}", test_hub.commit)).await;
    assert_eq!(test_hub.blobs().len(), 3);
    assert!(!test_hub.snapshot().exists());
    // The newer commit is still complete.
    test_hub.hub.asked();
    test_hub.pulls(&format!("{SPEC}@{newer}")).await;
    assert_eq!(test_hub.hub.count(), 0);
    let printed = test_hub.removes(&format!("{SPEC}@main")).await;
    assert!(printed.contains("MiB freed"), "{printed}");
    assert!(!test_hub.repository().exists());
    let said = fails(test_hub.ocelli(&["model", "remove", SPEC])).await;
    assert!(
        said.contains(SPEC) && said.contains("ocelli model list"),
        "{said}"
    );
}

#[tokio::test]
async fn a_file_goes_alone() {
    let test_hub = TestHub::new().await;
    test_hub.pulls(SPEC).await;
    let printed = test_hub.removes(&format!("{SPEC}#model.onnx")).await;
    assert!(printed.contains("files: 1, commits: 0"), "{printed}");
    assert_eq!(names(&test_hub.snapshot()), ["labels.txt", "model.toml"]);
    assert!(!test_hub.blobs().contains(&sha256(&graph())));
    fails(test_hub.ocelli(&["model", "remove", &format!("{SPEC}#other.onnx")])).await;
    test_hub.pulls(SPEC).await;
}

/// A field of a message of Protocol Buffers that holds bytes, shorter than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    assert!(bytes.len() < 128);
    field.extend(bytes);
    field
}

/// A graph of one tensor, which is kept in the file `location`.
fn graph_with_weights_in(location: &str) -> Bytes {
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    // One float, stored externally.
    let kind = [1 << 3, 1, 2 << 3, 1, 14 << 3, 1];
    let tensor = [kind.to_vec(), field(8, b"w"), field(13, &entry)].concat();
    let output = field(12, &field(1, b"w"));
    let graph = [field(5, &tensor), output].concat();
    let version = [1 << 3, 8];
    let opset = field(8, &[2 << 3, 17]);
    [version.to_vec(), field(7, &graph), opset].concat().into()
}

#[tokio::test]
async fn external_weights_are_downloaded_with_the_graph() {
    let test_hub = TestHub::new().await;
    let weights = Bytes::from(vec![7; 4]);
    let files = |location| {
        [
            ("config.json", Bytes::from_static(b"{}")),
            ("onnx/model.onnx", graph_with_weights_in(location)),
            ("onnx/weights 0.bin", weights.clone()),
            ("onnx/other.bin", weights.clone()),
        ]
    };
    let commit = test_hub.hub.commit("someone/split", files("weights 0.bin"));
    test_hub.pulls("hf:someone/split").await;
    let snapshot = |commit: &str| {
        let repository = test_hub.home.path().join("hub/models--someone--split");
        repository.join("snapshots").join(commit)
    };
    assert_eq!(
        names(&snapshot(&commit).join("onnx")),
        ["model.onnx", "weights 0.bin"]
    );
    assert_eq!(
        fs::read(snapshot(&commit).join("onnx/weights 0.bin")).unwrap(),
        weights
    );
    test_hub.removes("hf:someone/split#onnx/model.onnx").await;
    assert_eq!(names(&snapshot(&commit).join("onnx")), [] as [&str; 0]);
    for (location, parts) in [
        (
            "../../../../../evil",
            ["onnx/model.onnx", "evil", "no file beside it"],
        ),
        ("/etc/passwd", ["onnx/model.onnx", "passwd", "no file beside it"]),
        (
            "missing.bin",
            ["someone/split", "onnx/missing.bin", "has no file"],
        ),
    ] {
        let commit = test_hub.hub.commit("someone/split", files(location));
        let said = test_hub.refuses("hf:someone/split").await;
        for part in parts {
            assert!(said.contains(part), "no {part} in {said}");
        }
        // A graph counts as cached only with all its files.
        assert!(!snapshot(&commit).join("onnx/model.onnx").exists());
    }
}
