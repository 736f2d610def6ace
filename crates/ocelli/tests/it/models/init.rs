//! `ocelli model init`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::Value;

use super::{ModelFolder, onnx, small};
use crate::harness::process::{ocelli, run, run_unread};

async fn digest(files: &ModelFolder, spec: &str) -> Value {
    let printed = files.prints(&["model", "show", "--json", spec]).await;
    serde_json::from_str::<Value>(&printed).unwrap()["digest"].clone()
}

#[tokio::test]
async fn the_written_package_is_the_same_model() {
    let files = ModelFolder::pets(&small());
    let printed = files
        .prints(&["model", "init", "pets", "--out", "mine/pets"])
        .await;
    assert!(printed.contains("linked    mine/pets/model.onnx"), "{printed}");
    assert!(printed.contains("written   mine/pets/labels.txt"), "{printed}");
    assert!(
        printed.contains("- onnx/model.onnx: the only ONNX file"),
        "{printed}"
    );
    assert_eq!(digest(&files, "mine/pets").await, digest(&files, "pets").await);
    let inode = |name: &str| fs::metadata(files.path(name)).unwrap().ino();
    assert_eq!(inode("mine/pets/model.onnx"), inode("pets/onnx/model.onnx"));
    assert_eq!(
        fs::read_to_string(files.path("mine/pets/labels.txt")).unwrap(),
        "cat\ndog\ncow\n"
    );
}

/// As in a model folder, whatever the name inside.
#[tokio::test]
async fn the_package_is_named_after_its_folder() {
    let files = ModelFolder::pets(&small());
    let name = async |spec: &str, out: &str| {
        files.prints(&["model", "init", spec, "--out", out]).await;
        let text = fs::read_to_string(files.path(out).join("model.toml")).unwrap();
        let named = ["name = ", "version = "].map(|key| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim_matches('"').to_owned()
        });
        named.join(" ")
    };
    assert_eq!(name("pets", "models/my-model").await, "my-model 1");
    assert_eq!(name("pets", "models/other/2").await, "other 2");
    assert_eq!(name("pets", "models/My Pets").await, "my-pets 1");
    assert_eq!(name("models/my-model", "copy").await, "copy 1");
    assert_eq!(name("models/other/2", "third").await, "third 2");
    let built_in = files.prints(&["model", "init", "--out", "lite"]).await;
    assert!(built_in.contains("lite/model.toml"), "{built_in}");
    let text = fs::read_to_string(files.path("lite/model.toml")).unwrap();
    assert!(text.contains("name = \"lite\""), "{text}");
}

#[tokio::test]
async fn external_weights_do_not_overwrite_files_of_the_package() {
    let mut graph = small().graph();
    graph
        .initializer
        .push(onnx::external("extra", "./labels.txt", 0, 8));
    let bytes = prost::Message::encode_to_vec(&onnx::model(graph));
    let files = ModelFolder::new(&[("net.onnx", &bytes), ("labels.txt", b"a\nb\ncc\n\n")]);
    let arguments = ["model", "init", "net.onnx", "--out", "mine"];
    let said = files.fails(&arguments).await;
    assert!(
        said.contains("labels.txt") && said.contains("another name"),
        "{said}"
    );
    assert!(!files.path("mine").exists());
}

#[tokio::test]
async fn existing_files_are_overwritten_only_with_force() {
    let files = ModelFolder::pets(&small());
    let init = ["model", "init", "pets", "--out", "mine/pets"];
    files.prints(&init).await;
    fs::write(files.path("mine/pets/model.toml"), "edited").unwrap();
    let error = files.fails(&init).await;
    assert!(
        error.contains("mine/pets/model.toml") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(files.path("mine/pets/model.toml")).unwrap(),
        "edited"
    );
    let printed = files.prints(&[&init[..], &["--force"]].concat()).await;
    assert!(printed.contains("kept      mine/pets/model.onnx"), "{printed}");
    assert_eq!(digest(&files, "mine/pets").await, digest(&files, "pets").await);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_and_names_the_file() {
    let files = ModelFolder::pets(&small());
    let init = |out: &'static str| {
        let init = ocelli(&["model", "init", "--out", out]);
        let mut command = Command::new("bash");
        // 1,024 bytes: less than the labels need.
        command
            .args(["-c", "ulimit -f 1; exec \"$@\"", "bash"])
            .arg(init.get_program())
            .args(init.get_args())
            .current_dir(files.path("."));
        command
    };
    let said = run(init("mine/new"), b"").await;
    let text = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(2), "{text}");
    for part in ["cannot write mine/new/labels.txt", "ulimit -f", "--out"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(!files.path("mine").exists());
    // Existing files are unchanged.
    fs::create_dir(files.path("old")).unwrap();
    fs::write(files.path("old/notes.txt"), "mine").unwrap();
    run(init("old"), b"").await;
    assert_eq!(fs::read_dir(files.path("old")).unwrap().count(), 1);
}

#[tokio::test]
async fn printed_commands_can_be_copied() {
    let files = ModelFolder::pets(&small());
    let printed = files.prints(&["model", "init", "pets", "--out", "my pets"]).await;
    assert!(
        printed.contains("Edit my pets/model.toml, then `ocelli model check 'my pets' PHOTO`"),
        "{printed}"
    );
    // One empty line before it, even without notes.
    let printed = files.prints(&["model", "init", "--out", "built-in"]).await;
    assert!(
        printed.contains("built-in/model.toml\n\nEdit built-in/model.toml"),
        "{printed}"
    );
}

/// Into its own folder, beside its source files.
#[tokio::test]
async fn a_folder_can_become_a_package() {
    let files = ModelFolder::new(&[("birds/model.onnx", &small().bytes())]);
    let arguments = [
        "model", "init", "birds", "--preset", "raw", "--out", "birds", "--force",
    ];
    let printed = files.prints(&arguments).await;
    assert!(printed.contains("kept      birds/model.onnx"), "{printed}");
    let printed = files.prints(&["model", "show", "birds"]).await;
    assert!(printed.contains("kind     package"), "{printed}");
}

#[tokio::test]
async fn external_weights_and_the_built_in_model_are_written_too() {
    let mut graph = small().graph();
    graph
        .initializer
        .push(onnx::external("extra", "parts/w.bin", 0, 8));
    let bytes = prost::Message::encode_to_vec(&onnx::model(graph));
    let files = ModelFolder::new(&[("net.onnx", &bytes), ("parts/w.bin", &[1; 8])]);
    files
        .prints(&["model", "init", "net.onnx", "--out", "mine/net"])
        .await;
    assert_eq!(fs::read(files.path("mine/net/parts/w.bin")).unwrap(), [1; 8]);
    assert_eq!(digest(&files, "mine/net").await, digest(&files, "net.onnx").await);
    files.prints(&["model", "init"]).await;
    assert_eq!(
        fs::read_to_string(files.path("efficientnet-lite0/labels.txt"))
            .unwrap()
            .lines()
            .count(),
        1000
    );
}

#[tokio::test]
async fn commands_act_and_stop_quietly_when_standard_output_is_closed() {
    let files = ModelFolder::pets(&small());
    for arguments in [
        &["model", "show", "pets"][..],
        &["model", "show", "pets", "--json"],
        &["model", "list"],
        &["model", "init", "pets", "--out", "mine/pets"],
    ] {
        let mut command = ocelli(arguments);
        command
            .current_dir(files.path(""))
            .env("HF_HOME", files.path("hub"));
        let output = run_unread(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !said.contains("ocelli: ") && output.status.code() == Some(0),
            "{arguments:?}: {said}"
        );
    }
    assert!(files.path("mine/pets/model.toml").exists(), "it acted first");
}
