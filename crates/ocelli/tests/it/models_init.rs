//! `ocelli model init`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::Value;

use super::{House, onnx, small};
use crate::process::{ocelli, run, run_unread};

async fn digest(house: &House, spec: &str) -> Value {
    let printed = house.prints(&["model", "show", "--json", spec]).await;
    serde_json::from_str::<Value>(&printed).unwrap()["digest"].clone()
}

#[tokio::test]
async fn what_is_written_is_the_same_model() {
    let house = House::pets(&small());
    let printed = house
        .prints(&["model", "init", "pets", "--out", "mine/pets"])
        .await;
    assert!(printed.contains("linked    mine/pets/model.onnx"), "{printed}");
    assert!(printed.contains("written   mine/pets/labels.txt"), "{printed}");
    assert!(
        printed.contains("- onnx/model.onnx: the only ONNX file"),
        "{printed}"
    );
    assert_eq!(digest(&house, "mine/pets").await, digest(&house, "pets").await);
    let inode = |name: &str| fs::metadata(house.path(name)).unwrap().ino();
    assert_eq!(inode("mine/pets/model.onnx"), inode("pets/onnx/model.onnx"));
    assert_eq!(
        fs::read_to_string(house.path("mine/pets/labels.txt")).unwrap(),
        "cat\ndog\ncow\n"
    );
}

/// As a repository of models wants it, whatever the name inside.
#[tokio::test]
async fn what_is_made_is_called_what_its_folder_is_called() {
    let house = House::pets(&small());
    let name = async |spec: &str, out: &str| {
        house.prints(&["model", "init", spec, "--out", out]).await;
        let text = fs::read_to_string(house.path(out).join("model.toml")).unwrap();
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
    let built_in = house.prints(&["model", "init", "--out", "lite"]).await;
    assert!(built_in.contains("lite/model.toml"), "{built_in}");
    let text = fs::read_to_string(house.path("lite/model.toml")).unwrap();
    assert!(text.contains("name = \"lite\""), "{text}");
}

#[tokio::test]
async fn weights_do_not_take_the_place_of_a_packages_files() {
    let mut graph = small().graph();
    graph
        .initializer
        .push(onnx::external("extra", "./labels.txt", 0, 8));
    let bytes = prost::Message::encode_to_vec(&onnx::model(graph));
    let house = House::new(&[("net.onnx", &bytes), ("labels.txt", b"a\nb\ncc\n\n")]);
    let arguments = ["model", "init", "net.onnx", "--out", "mine"];
    let said = house.fails(&arguments).await;
    assert!(
        said.contains("labels.txt") && said.contains("another name"),
        "{said}"
    );
    assert!(!house.path("mine").exists());
}

#[tokio::test]
async fn nothing_is_overwritten_unless_that_is_wanted() {
    let house = House::pets(&small());
    let init = ["model", "init", "pets", "--out", "mine/pets"];
    house.prints(&init).await;
    fs::write(house.path("mine/pets/model.toml"), "edited").unwrap();
    let error = house.fails(&init).await;
    assert!(
        error.contains("mine/pets/model.toml") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(house.path("mine/pets/model.toml")).unwrap(),
        "edited"
    );
    let printed = house.prints(&[&init[..], &["--force"]].concat()).await;
    assert!(printed.contains("kept      mine/pets/model.onnx"), "{printed}");
    assert_eq!(digest(&house, "mine/pets").await, digest(&house, "pets").await);
}

#[tokio::test]
async fn a_file_that_is_refused_leaves_nothing_and_is_named() {
    let house = House::pets(&small());
    let init = |out: &'static str| {
        let init = ocelli(&["model", "init", "--out", out]);
        let mut command = Command::new("bash");
        // 1,024 bytes: less than the labels have.
        command
            .args(["-c", "ulimit -f 1; exec \"$@\"", "bash"])
            .arg(init.get_program())
            .args(init.get_args())
            .current_dir(house.path("."));
        command
    };
    let said = run(init("mine/new"), b"").await;
    let text = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(2), "{text}");
    for part in ["mine/new/labels.txt cannot be written", "ulimit -f", "--out"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(!house.path("mine").exists());
    // What was there stays as it was.
    fs::create_dir(house.path("old")).unwrap();
    fs::write(house.path("old/notes.txt"), "mine").unwrap();
    run(init("old"), b"").await;
    assert_eq!(fs::read_dir(house.path("old")).unwrap().count(), 1);
}

#[tokio::test]
async fn printed_commands_can_be_copied() {
    let house = House::pets(&small());
    let printed = house.prints(&["model", "init", "pets", "--out", "my pets"]).await;
    assert!(
        printed.contains("Edit my pets/model.toml, then `ocelli model check 'my pets' PHOTO`"),
        "{printed}"
    );
    // One empty line in front of it, also where there are no notes.
    let printed = house.prints(&["model", "init", "--out", "built-in"]).await;
    assert!(
        printed.contains("built-in/model.toml\n\nEdit built-in/model.toml"),
        "{printed}"
    );
}

/// Into its own folder, beside what it is made of.
#[tokio::test]
async fn a_folder_can_become_a_package() {
    let house = House::new(&[("birds/model.onnx", &small().bytes())]);
    let arguments = [
        "model", "init", "birds", "--preset", "raw", "--out", "birds", "--force",
    ];
    let printed = house.prints(&arguments).await;
    assert!(printed.contains("kept      birds/model.onnx"), "{printed}");
    let printed = house.prints(&["model", "show", "birds"]).await;
    assert!(printed.contains("is       package"), "{printed}");
}

#[tokio::test]
async fn weights_beside_the_file_and_the_built_in_model_are_written_too() {
    let mut graph = small().graph();
    graph
        .initializer
        .push(onnx::external("extra", "parts/w.bin", 0, 8));
    let bytes = prost::Message::encode_to_vec(&onnx::model(graph));
    let house = House::new(&[("net.onnx", &bytes), ("parts/w.bin", &[1; 8])]);
    house
        .prints(&["model", "init", "net.onnx", "--out", "mine/net"])
        .await;
    assert_eq!(fs::read(house.path("mine/net/parts/w.bin")).unwrap(), [1; 8]);
    assert_eq!(digest(&house, "mine/net").await, digest(&house, "net.onnx").await);
    house.prints(&["model", "init"]).await;
    assert_eq!(
        fs::read_to_string(house.path("efficientnet-lite0/labels.txt"))
            .unwrap()
            .lines()
            .count(),
        1000
    );
}

#[tokio::test]
async fn commands_that_print_act_and_stop_quietly_where_nobody_reads() {
    let house = House::pets(&small());
    for arguments in [
        &["model", "show", "pets"][..],
        &["model", "show", "pets", "--json"],
        &["model", "list"],
        &["model", "init", "pets", "--out", "mine/pets"],
    ] {
        let mut command = ocelli(arguments);
        command
            .current_dir(house.path(""))
            .env("HF_HOME", house.path("hub"));
        let output = run_unread(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !said.contains("ocelli: ") && output.status.code() == Some(0),
            "{arguments:?}: {said}"
        );
    }
    assert!(house.path("mine/pets/model.toml").exists(), "it acted first");
}
