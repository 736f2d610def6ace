//! What becomes of changes, requests and jobs where nothing is to be served any more: the process stops, or its folder has
//! been emptied.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use ocelli::model_manager::Models;
use ocelli::queue::redis::{RedisUrl, WorkerSideConfig};
use ocelli::server::{ServeEnd, WorkerTier, WorkerTierConfig, WorkerWire, worker};
use ocelli_engine::{Fake, FakeCost};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::harness::client::Call;
use crate::harness::photos;
use crate::harness::server::Setup;
use crate::jobs::over_redis::new_web;
use crate::jobs::{accepted, ask, job, until};
use crate::models::repository::worker::{become_known, worker_of};
use crate::models::repository::{Shelf, maker, shown};
use crate::support::redis::{Binary, Options, RedisServer};
use crate::{PATIENCE, eventually};

fn rescan(models: &Models) -> JoinHandle<()> {
    let models = models.clone();
    tokio::spawn(async move { models.rescan().await })
}

#[tokio::test]
async fn a_stopping_server_loads_no_more_models() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let server = shelf.serve().await;
    server.engine.hold();
    for name in ["b", "c", "d"] {
        shelf.put(name, (name, "1", name));
    }
    let rescan = rescan(&server.models);
    server.held(1).await;
    let (engine, loads) = (server.engine.clone(), server.engine.loads());
    // The load hangs, and the shutdown does not wait for it.
    assert_eq!(server.stop().await, ServeEnd::Drained);
    rescan.await.unwrap();
    engine.release();
    assert_eq!(engine.loads(), loads);
}

#[tokio::test]
async fn a_stopping_worker_announces_no_more_models() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let fake = Fake::new(FakeCost::default());
    let engine = fake.control();
    let setup = Setup::default();
    let config = WorkerTierConfig {
        cores: 1,
        worker: setup.pipeline.worker,
        connections: setup.connections,
        drain: setup.drain,
        wire: WorkerWire::Native(WorkerSideConfig {
            prefix: "ocelli".to_owned(),
            name: "worker".to_owned(),
            lease: Duration::from_secs(3),
            dead_letters: 1,
            dead_ttl: PATIENCE,
        }),
    };
    let target = RedisUrl::parse(&redis.url(), None).unwrap();
    let tier = WorkerTier::new(config, &target, Arc::new(fake), shelf.set());
    let models = tier.models().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probes = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let working = tokio::spawn(worker(listener, tier, async { stopped.await.unwrap() }));
    eventually("the worker is ready", async || {
        Call::new(probes, Method::GET, "/readyz").send().await.status == 200
    })
    .await;
    engine.hold();
    for name in ["b", "c"] {
        shelf.put(name, (name, "1", name));
    }
    let rescan = rescan(&models);
    eventually("one is being loaded", async || engine.at_gate() == 1).await;
    stop.send("the test").unwrap();
    let ended = tokio::time::timeout(PATIENCE * 2, working).await;
    assert_eq!(ended.expect("it ends").unwrap().unwrap(), ServeEnd::Drained);
    rescan.await.unwrap();
    engine.release();
    let left: Vec<String> = redis.command(&["HKEYS", "ocelli:{@registry}:workers"]).await;
    assert_eq!(left, [""; 0]);
    assert_eq!(
        engine.loads(),
        2,
        "the model that it had and the one that was being loaded"
    );
}

#[tokio::test]
async fn an_emptied_folder_makes_a_server_unready() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let server = shelf.serve().await;
    shelf.remove("a");
    server.models.rescan().await;
    let ready = server.get("/readyz").send().await;
    let text = ready.refused(503, "not_ready");
    assert!(text.contains("--model-dir"), "{text}");
    for target in ["/predict", "/predict?model=a"] {
        let answer = server.post(target).form([("image", photos::DOG)]).send().await;
        let text = answer.refused(503, "not_ready");
        assert!(
            text.contains("no model is loaded") && !text.contains("worker"),
            "{text}"
        );
    }
    shelf.put("a", ("a", "1", "back"));
    server.models.rescan().await;
    assert_eq!(server.get("/readyz").send().await.status, 200);
    let answer = server
        .post("/predict")
        .form([("image", photos::DOG)])
        .send()
        .await;
    assert_eq!(maker(&answer), "back");
}

#[tokio::test]
async fn an_emptied_folder_makes_a_worker_unready() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let mut worker = worker_of(&redis, shelf.path()).await;
    let web = new_web(&redis.url(), &[]).await;
    become_known(&web, &["a/1 ready"]).await;
    shelf.remove("a");
    worker.signal("HUP");
    worker.logs("unloading the model").await;
    become_known(&web, &["a/1 no_worker"]).await;
    let text = worker.get("/readyz").send().await.refused(503, "not_ready");
    assert!(text.contains("no model is loaded"), "{text}");
    shelf.put("a", ("a", "1", "back"));
    worker.signal("HUP");
    eventually("the worker is ready again", async || {
        worker.get("/readyz").send().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_job_for_a_permanently_missing_model_ends() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let mut set = shelf.set();
    // Requests that are not answered at once are too late.
    set.repository.as_mut().unwrap().unload_within = Duration::ZERO;
    let mut setup = Setup {
        models: Some(set),
        engine_uses_cores: true,
        ..Setup::default()
    };
    setup.pipeline.worker.max_batch = Some(1);
    let server = setup.start().await;
    server.engine.hold_loaded();
    let photos: Vec<_> = (1..=40).map(photos::grey).collect();
    let waiting = accepted(&job(server.address, &photos).send().await);
    server.held(1).await;
    shelf.remove("a");
    let rescan = rescan(&server.models);
    eventually("the model goes", async || {
        shown(&server.get("/v1/models").send().await.ok()) == ["a/? unloading"]
    })
    .await;
    // Running batches end, and those that begin before the model leaves the pool.
    eventually("the model has gone", async || {
        server.engine.pass(1);
        rescan.is_finished()
    })
    .await;
    let done = until(server.address, &waiting, "done").await;
    let results = done["results"].as_array().unwrap();
    // Photos may be decoded in another order.
    let computed = results.iter().filter(|result| result["predictions"].is_array());
    assert!(computed.count() > 0, "none is computed: {done}");
    let refused = results.iter().filter(|result| result["error"].is_string());
    assert!(refused.count() > 0, "all are computed: {done}");
    assert_eq!(ask(server.address, &waiting).await.ok(), done);
    server.is_empty().await;
}

#[tokio::test]
async fn a_draining_model_does_not_delay_changes_to_others() {
    let shelf = Shelf::new();
    for name in ["a", "b", "c"] {
        shelf.put(name, (name, "1", name));
    }
    let server = shelf.serve().await;
    server.engine.hold();
    // The request is accepted, so the model stays until the response.
    let stuck = server
        .post("/predict?model=a")
        .form([("image", photos::DOG)])
        .spawn();
    server.held(1).await;
    let models = server.models.clone();
    let unloading = tokio::spawn(async move { models.unload("a", None).await });
    let states = async || shown(&server.get("/v1/models").send().await.ok());
    eventually("the model goes", async || {
        states().await.contains(&"a/? unloading".to_owned())
    })
    .await;
    let change = async |what| {
        tokio::time::timeout(PATIENCE, what)
            .await
            .expect("it is not held up")
    };
    change(server.models.unload("b", None)).await.unwrap();
    assert_eq!(states().await, ["c/1 ready", "a/? unloading"]);
    // A rescan changes the others at once, and this one after it has drained.
    shelf.remove("b");
    shelf.remove("c");
    let rescan = rescan(&server.models);
    eventually("the last one has gone, too", async || {
        states().await == ["a/? unloading"]
    })
    .await;
    assert!(!unloading.is_finished() && !rescan.is_finished());
    server.engine.release();
    assert_eq!(maker(&stuck.await.unwrap()), "a");
    unloading.await.unwrap().unwrap();
    rescan.await.unwrap();
    assert_eq!(states().await, ["a/1 ready"]);
}
