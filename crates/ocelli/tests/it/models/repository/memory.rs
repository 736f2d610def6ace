//! Memory of a real engine stays flat over many loads and unloads.

use std::fs;
use std::path::Path;

use crate::harness::process::{Process, ocelli, onnxruntime};
use crate::models::repository::admin::{admin_of, change};

/// Loads and unloads until the allocator has reached its size.
const SETTLED: usize = 20;

/// Loads and unloads after that.
const MORE: usize = 100;

/// Maximum growth in bytes. Keeping a copy of the model each time would add 500 MB.
const GROWTH: u64 = 40 << 20;

/// The built-in model in a separate folder.
fn put_built_in(shelf: &Path) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/efficientnet-lite0");
    let folder = shelf.join("efficientnet-lite0");
    fs::create_dir(&folder).unwrap();
    for file in ["model.toml", "model.onnx", "labels.txt"] {
        fs::copy(package.join(file), folder.join(file)).unwrap();
    }
}

#[tokio::test]
async fn memory_stays_flat_over_a_hundred_loads_and_unloads() {
    let Some(library) = onnxruntime() else { return };
    let shelf = tempfile::tempdir().unwrap();
    put_built_in(shelf.path());
    let mut command = ocelli(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--max-batch",
        "1",
        "--instances",
        "1",
    ]);
    command
        .args([
            "--model-control",
            "explicit",
            "--admin-listen",
            "127.0.0.1:0",
            "--model-dir",
        ])
        .arg(shelf.path())
        .env("OCELLI_ONNXRUNTIME", library);
    let mut process = Process::start(command).await;
    let admin = admin_of(&mut process).await;
    let mut settled = 0;
    for cycle in 1..=SETTLED + MORE {
        for what in ["load", "unload"] {
            let answer = change(admin, &format!("efficientnet-lite0/{what}")).await;
            assert_eq!(answer.status, 200, "cycle {cycle}: {answer:?}");
        }
        if cycle == SETTLED {
            settled = process.memory("VmRSS");
        }
    }
    let (before, after) = (settled, process.memory("VmRSS"));
    assert!(
        after < before + GROWTH,
        "it grew from {before} to {after} bytes in {MORE} loads and unloads"
    );
}
