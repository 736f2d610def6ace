//! The API that loads and unloads models, as an operator uses it.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Call, Connection};
use crate::harness::photos;
use crate::harness::process::{Process, ocelli, run};
use crate::models::repository::{Shelf, maker};

/// A server of a model folder, and the address of its API.
pub(crate) async fn start(shelf: &Shelf, arguments: &[&str]) -> (Process, SocketAddr) {
    let explicit = ["--model-control", "explicit", "--admin-listen", "127.0.0.1:0"];
    let dir = [
        "--fake-image-time",
        "0s",
        "--model-dir",
        shelf.path().to_str().unwrap(),
    ];
    let mut process = Process::fake(&[&dir, &explicit, arguments].concat()).await;
    let admin = admin_of(&mut process).await;
    (process, admin)
}

/// The address of a process' API.
pub(crate) async fn admin_of(process: &mut Process) -> SocketAddr {
    let line = process.logs("listening for model control on").await;
    let address = line.split("http://").nth(1).unwrap();
    address.split('/').next().unwrap().parse().unwrap()
}

/// The response of the admin API, which is not part of the public API description.
async fn told(admin: SocketAddr, target: &str, body: &str) -> Answer {
    let call = Call::new(admin, Method::POST, target).body("application/json", body.to_owned());
    let mut connection = Connection::http1(admin).await;
    call.try_send_on(&mut connection).await.unwrap()
}

pub(crate) async fn change(admin: SocketAddr, what: &str) -> Answer {
    told(admin, &format!("/v2/repository/models/{what}"), "").await
}

async fn index(admin: SocketAddr) -> Value {
    told(admin, "/v2/repository/index", "").await.json()
}

async fn asked(process: &Process, model: &str) -> Answer {
    let call = process.post(&format!("/predict?model={model}"));
    call.form([("image", photos::DOG)]).send().await
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_on_request() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    shelf.put("b/1", ("b", "1", "b1"));
    shelf.put("b/2", ("b", "2", "b2"));
    let (process, admin) = start(&shelf, &["--load-model", "a"]).await;
    let standing = |name, version, state| json!({"name": name, "version": version, "state": state});
    let before = json!([
        standing("a", "1", "ready"),
        standing("b", "1", "unloaded"),
        standing("b", "2", "unloaded")
    ]);
    assert_eq!(index(admin).await, before);
    asked(&process, "b").await.refused(404, "unknown_model");
    let loaded = change(admin, "b/load").await;
    assert_eq!(loaded.status, 200, "{loaded:?}");
    assert_eq!(
        loaded.json(),
        json!([standing("b", "1", "ready"), standing("b", "2", "ready")])
    );
    assert_eq!(maker(&asked(&process, "b").await), "b2");
    let version = r#"{"parameters":{"version":"2"}}"#;
    let version = told(admin, "/v2/repository/models/b/unload", version).await;
    assert_eq!(
        version.json(),
        json!([standing("b", "1", "ready"), standing("b", "2", "unloaded")])
    );
    assert_eq!(maker(&asked(&process, "b").await), "b1");
    // Unloading an unloaded model succeeds.
    for _ in 0..2 {
        assert_eq!(change(admin, "b/unload").await.status, 200);
    }
    asked(&process, "b").await.refused(404, "unknown_model");
    assert_eq!(index(admin).await, before);
}

#[tokio::test]
async fn a_failed_load_reports_why_and_unloads_nothing() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    shelf.put("wrong", ("wrong", "1", "x"));
    std::fs::write(shelf.path().join("wrong/model.onnx"), "no graph").unwrap();
    let (process, admin) = start(&shelf, &["--load-model", "a"]).await;
    let refused = change(admin, "wrong/load").await;
    let text = refused.refused(422, "load_failed");
    assert!(text.contains("model.onnx"), "{text}");
    let shown = index(admin).await;
    assert_eq!(shown[1]["state"], "failed");
    assert!(
        change(admin, "none/load")
            .await
            .refused(404, "unknown_model")
            .contains("a, wrong")
    );
    change(admin, "none/unload").await.refused(404, "unknown_model");
    std::fs::write(shelf.path().join("a/model.onnx"), "broken").unwrap();
    assert!(
        change(admin, "a/load")
            .await
            .refused(422, "load_failed")
            .contains("model.onnx")
    );
    assert_eq!(maker(&asked(&process, "a").await), "old");
    let garbage = told(admin, "/v2/repository/models/a/load", "{").await;
    assert!(garbage.refused(400, "invalid_request").contains("parameters"));
    for public in ["/v2/repository/index", "/v2/repository/models/a/unload"] {
        process.post(public).send().await.refused(404, "unknown_route");
    }
}

#[tokio::test]
async fn sighup_reloads_only_loaded_models() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let (process, admin) = start(&shelf, &["--load-model", "*"]).await;
    shelf.put("a", ("a", "2", "new"));
    shelf.put("b", ("b", "1", "b"));
    process.signal("HUP");
    crate::eventually("it is reloaded", async || index(admin).await[0]["version"] == "2").await;
    assert_eq!(index(admin).await[1]["state"], "unloaded");
    assert_eq!(maker(&asked(&process, "a").await), "new");
}

#[tokio::test]
async fn options_that_do_not_go_together_are_refused() {
    let explicit = ["--model-control", "explicit"];
    let dir = ["--model-dir", "."];
    let admin = ["--admin-listen", "127.0.0.1:0"];
    let cases = [
        ([&explicit[..], &dir].concat(), "--admin-listen 127.0.0.1:5002"),
        ([&explicit[..], &admin].concat(), "--model-dir DIR"),
        ([&dir[..], &admin].concat(), "need --model-control explicit"),
        (
            [&dir[..], &["--load-model", "a"]].concat(),
            "need --model-control explicit",
        ),
    ];
    for (arguments, says) in cases {
        let command = [
            &["serve", "--engine", "fake", "--listen", "127.0.0.1:0"],
            &arguments[..],
        ]
        .concat();
        let output = run(ocelli(&command), b"").await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{arguments:?}: no {says:?} in {said}");
    }
}
