//! A worker process with many models: web processes follow what it loads and unloads.

use std::path::Path;

use serde_json::Value;

use crate::harness::photos;
use crate::harness::process::Process;
use crate::jobs::over_redis::{new_web, worker};
use crate::models::repository::{Shelf, maker, shown};
use crate::support::eventually;
use crate::support::redis::{Binary, Options, RedisServer};

pub(crate) const QUICK: [&str; 4] = ["--fake-image-time", "0s", "--drain-delay", "0s"];

pub(crate) async fn worker_of(redis: &RedisServer, shelf: &Path) -> Process {
    let shelf = ["--model-dir", shelf.to_str().unwrap()];
    worker(&redis.url(), &[&QUICK[..], &shelf].concat()).await
}

async fn models(web: &Process) -> Value {
    web.get("/v1/models").send().await.json()
}

pub(crate) async fn become_known(web: &Process, wanted: &[&str]) {
    eventually(&format!("the web process knows {wanted:?}"), async || {
        shown(&models(web).await) == wanted
    })
    .await;
}

pub(crate) async fn asked(web: &Process, target: &str) -> String {
    let answer = web.post(target).form([("image", photos::DOG)]).send().await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    maker(&answer)
}

#[tokio::test]
async fn web_processes_follow_the_loads_and_unloads_of_a_worker() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let shelf = Shelf::new();
    shelf.put("cats", ("cats", "1", "cat"));
    shelf.put("dogs/1", ("dogs", "1", "dog1"));
    shelf.put("dogs/2", ("dogs", "2", "dog2"));
    let worker = worker_of(&redis, shelf.path()).await;
    let web = new_web(&redis.url(), &[]).await;
    become_known(&web, &["cats/1 ready", "dogs/1 ready", "dogs/2 ready"]).await;
    for _ in 0..8 {
        assert_eq!(asked(&web, "/predict?model=dogs").await, "dog2", "the highest");
    }
    let old = web.post("/v1/models/dogs/versions/1/predict");
    let old = old.form([("image", photos::DOG)]).send().await.ok();
    assert_eq!(old["version"], "1");
    web.metric("ocelli_workers", |workers| workers == 1.0).await;

    shelf.put("dogs/3", ("dogs", "3", "dog3"));
    shelf.remove("cats");
    worker.signal("HUP");
    eventually("the new version is found", async || {
        asked(&web, "/predict?model=dogs").await == "dog3"
    })
    .await;
    become_known(
        &web,
        &["cats/1 no_worker", "dogs/1 ready", "dogs/2 ready", "dogs/3 ready"],
    )
    .await;
    assert_eq!(worker.get("/readyz").send().await.status, 200);
    worker.signal("TERM");
    assert_eq!(worker.ended().await.0, Some(0));
}
