//! `ocelli model init`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use super::{House, onnx, small};

async fn digest(house: &House, spec: &str) -> Value {
    let printed = house.prints(&["model", "show", "--json", spec]).await;
    serde_json::from_str::<Value>(&printed).unwrap()["digest"].clone()
}

#[tokio::test]
async fn what_is_written_is_the_same_model() {
    let house = House::pets(&small());
    let printed = house.prints(&["model", "init", "pets", "--out", "mine"]).await;
    assert!(printed.contains("linked    mine/model.onnx"), "{printed}");
    assert!(printed.contains("written   mine/labels.txt"), "{printed}");
    assert!(
        printed.contains("- onnx/model.onnx: the only ONNX file"),
        "{printed}"
    );
    assert_eq!(digest(&house, "mine").await, digest(&house, "pets").await);
    let inode = |name: &str| fs::metadata(house.path(name)).unwrap().ino();
    assert_eq!(inode("mine/model.onnx"), inode("pets/onnx/model.onnx"));
    assert_eq!(
        fs::read_to_string(house.path("mine/labels.txt")).unwrap(),
        "cat\ndog\ncow\n"
    );
}

#[tokio::test]
async fn nothing_is_overwritten_unless_that_is_wanted() {
    let house = House::pets(&small());
    let init = ["model", "init", "pets", "--out", "mine"];
    house.prints(&init).await;
    fs::write(house.path("mine/model.toml"), "edited").unwrap();
    let error = house.fails(&init).await;
    assert!(
        error.contains("mine/model.toml") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(house.path("mine/model.toml")).unwrap(),
        "edited"
    );
    let printed = house.prints(&[&init[..], &["--force"]].concat()).await;
    assert!(printed.contains("kept      mine/model.onnx"), "{printed}");
    assert_eq!(digest(&house, "mine").await, digest(&house, "pets").await);
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
        .prints(&["model", "init", "net.onnx", "--out", "mine"])
        .await;
    assert_eq!(fs::read(house.path("mine/parts/w.bin")).unwrap(), [1; 8]);
    assert_eq!(digest(&house, "mine").await, digest(&house, "net.onnx").await);
    house.prints(&["model", "init"]).await;
    assert_eq!(
        fs::read_to_string(house.path("efficientnet-lite0/labels.txt"))
            .unwrap()
            .lines()
            .count(),
        1000
    );
}
