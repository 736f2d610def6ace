//! A package that is changed in its place, under the name and version that it has: the workers that serve it load it anew,
//! and no request is refused meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use crate::eventually;
use crate::harness::photos;
use crate::harness::process::{Process, ocelli};
use crate::jobs::over_redis::new_web;
use crate::models::repository::worker::{QUICK, asked, become_known, worker_of};
use crate::models::repository::{Shelf, maker};
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop};

/// Clients that send requests until they are stopped, all of which must be answered.
struct Askers {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<BTreeSet<String>>>,
}

impl Askers {
    fn start(web: &Process) -> Self {
        const CLIENTS: usize = 4;
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let call = web.post("/predict").form([("image", &photos::grey(1).bytes[..])]);
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut makers = BTreeSet::new();
                while !stop.load(Ordering::Acquire) {
                    let answer = call.clone().send().await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    makers.insert(maker(&answer));
                }
                makers
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, clients }
    }

    /// The models that answered.
    async fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Release);
        let mut makers = BTreeSet::new();
        for client in self.clients {
            makers.append(&mut client.await.unwrap());
        }
        makers
    }
}

/// The digests that the workers of model `a`, version 1, serve.
async fn digests(redis: &RedisServer) -> Vec<String> {
    let entries: Vec<String> = redis.command(&["HVALS", "ocelli:{@registry}:holders:a:1"]).await;
    // The first value is the time of Redis.
    entries.iter().map(|entry| entry[16..].to_owned()).collect()
}

fn makers(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|&maker| maker.to_owned()).collect()
}

#[tokio::test]
async fn the_only_worker_replaces_a_package_without_failing_a_request() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let worker = worker_of(&redis, shelf.path()).await;
    let web = new_web(&redis.url(), &[]).await;
    become_known(&web, &["a/1 ready"]).await;
    let old = digests(&redis).await;
    let askers = Askers::start(&web);
    shelf.put("a", ("a", "1", "new"));
    worker.signal("HUP");
    eventually("only the new one is announced", async || {
        let now = digests(&redis).await;
        now.len() == 1 && now != old
    })
    .await;
    assert_eq!(asked(&web, "/predict").await, "new");
    assert_eq!(askers.stop().await, makers(&["new", "old"]));
    assert_eq!(worker.get("/readyz").send().await.status, 200);
    worker.signal("TERM");
    assert_eq!(worker.ended().await.0, Some(0));
    assert_eq!(
        digests(&redis).await,
        [""; 0],
        "no other worker has to wait for the name"
    );
}

#[tokio::test]
async fn all_workers_replace_a_package_at_once_and_keep_serving() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(worker_of(&redis, shelf.path()).await);
    }
    let web = new_web(&redis.url(), &[]).await;
    become_known(&web, &["a/1 ready"]).await;
    let old = digests(&redis).await;
    assert_eq!(old.len(), 3);
    let askers = Askers::start(&web);
    shelf.put("a", ("a", "1", "new"));
    for worker in &workers {
        worker.signal("HUP");
    }
    eventually("all announce the new package, and none the old one", async || {
        let now = digests(&redis).await;
        now.len() == 3 && now.iter().all(|digest| *digest == now[0] && *digest != old[0])
    })
    .await;
    assert_eq!(asked(&web, "/predict").await, "new");
    assert_eq!(askers.stop().await, makers(&["new", "old"]));
}

#[tokio::test]
async fn a_worker_that_cannot_load_the_change_keeps_serving_the_old_package() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let (shelf, broken) = (Shelf::new(), Shelf::new());
    for shelf in [&shelf, &broken] {
        shelf.put("a", ("a", "1", "old"));
    }
    let first = worker_of(&redis, shelf.path()).await;
    let mut second = worker_of(&redis, broken.path()).await;
    let web = new_web(&redis.url(), &[]).await;
    become_known(&web, &["a/1 ready"]).await;
    let askers = Askers::start(&web);
    let distinct = async || {
        digests(&redis)
            .await
            .into_iter()
            .collect::<BTreeSet<String>>()
            .len()
    };
    shelf.put("a", ("a", "1", "new"));
    first.signal("HUP");
    eventually("one has followed", async || {
        digests(&redis).await.len() == 2 && distinct().await == 2
    })
    .await;
    std::fs::write(broken.path().join("a/model.onnx"), "broken").unwrap();
    second.signal("HUP");
    second.logs("could not be loaded").await;
    for maker in ["old", "new"] {
        let found = async || asked(&web, "/predict").await == maker;
        eventually(&format!("{maker} still answers"), found).await;
    }
    assert_eq!(distinct().await, 2);
    broken.put("a", ("a", "1", "new"));
    second.signal("HUP");
    eventually("the other has followed", async || {
        digests(&redis).await.len() == 2 && distinct().await == 1
    })
    .await;
    askers.stop().await;
}

#[tokio::test]
async fn a_sighup_during_startup_is_deferred() {
    let Some(binary) = Binary::redis() else { return };
    let mut redis = RedisServer::start(&binary, Options::default()).await;
    redis.stop(Stop::Kill).await;
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let mut command = ocelli(&["worker", "--listen", "127.0.0.1:0", "--redis", &redis.url()]);
    command
        .args(["--engine", "fake", "--model-dir"])
        .arg(shelf.path())
        .args(QUICK);
    let mut worker = Process::start_worker_early(command).await;
    worker.signal("HUP");
    redis.restart(Data::Lost).await;
    worker.logs("ready; computing").await;
    worker.logs("looked at the repository").await;
    let names: Vec<String> = redis.command(&["HKEYS", "ocelli:{@registry}:workers"]).await;
    assert_eq!(names.len(), 1, "{names:?}");
    let web = new_web(&redis.url(), &[]).await;
    become_known(&web, &["a/1 ready"]).await;
    assert_eq!(asked(&web, "/predict").await, "a");
}

#[tokio::test]
async fn a_web_process_ignores_sighup() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let mut web = new_web(&redis.url(), &[]).await;
    web.signal("HUP");
    web.logs("send it to the workers").await;
    assert_eq!(web.get("/livez").send().await.status, 200);
    web.signal("TERM");
    assert_eq!(web.ended().await.0, Some(0));
}
