//! Which model answers requests that name none, as models come and go.

use crate::eventually;
use crate::harness::photos;
use crate::harness::process::Process;
use crate::jobs::over_redis::new_web;
use crate::models::repository::worker::{asked, become_known, worker_of};
use crate::models::repository::{Shelf, maker, shown};
use crate::support::redis::{Binary, Options, RedisServer};

#[tokio::test]
async fn a_later_model_does_not_become_the_default() {
    let shelf = Shelf::new();
    shelf.put("plain", ("plain", "1", "plain"));
    let directory = shelf.path().to_str().unwrap();
    let mut process = Process::fake(&["--fake-image-time", "0s", "--model-dir", directory]).await;
    let asked = async || {
        let call = process.post("/predict").form([("image", photos::DOG)]);
        maker(&call.send().await)
    };
    assert_eq!(asked().await, "plain");
    shelf.put("aardvark", ("aardvark", "1", "aardvark"));
    process.signal("HUP");
    eventually("both are ready", async || {
        let models = shown(&process.get("/v1/models").send().await.ok());
        models == ["aardvark/1 ready", "plain/1 ready"]
    })
    .await;
    assert_eq!(asked().await, "plain");
    process.logs("--default-model is not set").await;
    shelf.remove("plain");
    process.signal("HUP");
    process.logs("the default model changed").await;
    let call = process.post("/predict").form([("image", photos::DOG)]);
    assert_eq!(maker(&call.send().await), "aardvark");
}

#[tokio::test]
async fn a_temporary_worker_does_not_change_the_default_model() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let mut web = new_web(&redis.url(), &[]).await;
    eventually("it is ready, for it takes asynchronous jobs", async || {
        web.get("/readyz").send().await.status == 200
    })
    .await;
    let unready = web.get("/readyz").send().await;
    assert!(unready.text().contains("no worker serves a model"), "{unready:?}");
    let [plain, other] = [Shelf::new(), Shelf::new()];
    plain.put("plain", ("plain", "1", "plain"));
    other.put("aardvark", ("aardvark", "1", "aardvark"));
    let first = worker_of(&redis, plain.path()).await;
    become_known(&web, &["plain/1 ready"]).await;
    assert_eq!(web.get("/readyz").send().await.text(), "ready\n");
    let second = worker_of(&redis, other.path()).await;
    become_known(&web, &["aardvark/1 ready", "plain/1 ready"]).await;
    assert_eq!(asked(&web, "/predict").await, "plain");
    web.logs("--default-model is not set").await;
    second.signal("TERM");
    assert_eq!(second.ended().await.0, Some(0));
    become_known(&web, &["aardvark/1 no_worker", "plain/1 ready"]).await;
    assert_eq!(asked(&web, "/predict").await, "plain");
    // Conversely, a model without a worker is replaced by one that answers.
    let second = worker_of(&redis, other.path()).await;
    become_known(&web, &["aardvark/1 ready", "plain/1 ready"]).await;
    first.signal("TERM");
    assert_eq!(first.ended().await.0, Some(0));
    become_known(&web, &["aardvark/1 ready", "plain/1 no_worker"]).await;
    web.logs("the default model changed").await;
    assert_eq!(asked(&web, "/predict").await, "aardvark");
    let _first = worker_of(&redis, plain.path()).await;
    eventually("it is back", async || asked(&web, "/predict").await == "plain").await;
    drop(second);
}
