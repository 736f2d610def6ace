//! What web processes and workers log of a Redis that is not there, goes, and comes back.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::eventually;
use crate::harness::process::{Process, ocelli};
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop};

const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/efficientnet-lite0");

/// A folder of two models, so that a worker has six connections.
fn two_models() -> TempDir {
    let shelf = tempfile::tempdir().unwrap();
    for name in ["cats", "dogs"] {
        let folder = shelf.path().join(name);
        fs::create_dir(&folder).unwrap();
        for file in ["model.onnx", "labels.txt"] {
            fs::copy(format!("{BUILT_IN}/{file}"), folder.join(file)).unwrap();
        }
        let manifest = fs::read_to_string(format!("{BUILT_IN}/model.toml")).unwrap();
        let named = manifest.replace("name = \"efficientnet-lite0\"", &format!("name = \"{name}\""));
        assert_ne!(manifest, named);
        fs::write(folder.join("model.toml"), named).unwrap();
    }
    shelf
}

fn role(role: &str, url: &str) -> Command {
    let mut command = ocelli(&[role, "--log-level", "debug", "--listen", "127.0.0.1:0"]);
    command.args(["--redis", url]);
    command
}

/// The lines of the log that say `text` at another level than debug.
fn said<'a>(log: &'a [String], text: &str) -> Vec<&'a String> {
    log.iter()
        .filter(|line| line.contains(text) && !line.contains("DEBUG"))
        .collect()
}

/// Waits until this many links have tried in vain to connect, after `before` lines of the log. They say so at debug. A
/// connection that broke is not enough: one that comes back with the next attempt is no outage.
async fn links_are_down(process: &Process, links: usize, before: usize) {
    eventually("the links are down", async || {
        let log = process.log();
        let mut down: Vec<&str> = log[before..]
            .iter()
            .filter(|line| line.contains("cannot be reached: Connection refused"))
            .filter_map(|line| line.split("link=").nth(1))
            .collect();
        down.sort_unstable();
        down.dedup();
        down.len() >= links
    })
    .await;
}

async fn is_connected(process: &Process, times: usize) {
    eventually("it says that it is connected", async || {
        said(&process.log(), "connected to Redis").len() == times
    })
    .await;
}

#[tokio::test]
async fn an_outage_and_its_end_are_logged_once_by_each_process() {
    let Some(binary) = Binary::redis() else { return };
    let mut redis = RedisServer::start(&binary, Options::default()).await;
    let (url, at) = (redis.url(), format!("Redis at {}", redis.address()));
    redis.stop(Stop::Kill).await;

    let shelf = two_models();
    let mut worker = role("worker", &url);
    worker.args(["--engine", "fake", "--model-dir"]).arg(shelf.path());
    let worker = Process::start_worker_early(worker).await;
    let web = role("web", &url);
    let web = Process::start_early(web).await;
    for process in [&worker, &web] {
        links_are_down(process, 1, 0).await;
    }
    redis.restart(Data::Lost).await;
    for process in [&worker, &web] {
        is_connected(process, 1).await;
    }
    eventually("it is ready", async || {
        worker.get("/readyz").send().await.status == 200
    })
    .await;

    // The worker has a link for commands, and one for the reads of each model.
    let before = [&worker, &web].map(|process| process.log().len());
    redis.stop(Stop::Kill).await;
    links_are_down(&worker, 3, before[0]).await;
    links_are_down(&web, 2, before[1]).await;
    redis.restart(Data::Lost).await;
    for process in [&worker, &web] {
        is_connected(process, 2).await;
    }

    for process in [worker, web] {
        process.signal("TERM");
        let (status, log) = process.ended().await;
        assert_eq!(status, Some(0), "{log:#?}");
        let lost = said(&log, "cannot be reached");
        assert_eq!(lost.len(), 2, "{lost:#?}");
        for line in lost {
            for part in [
                "WARN",
                &at,
                "retrying every 0.5 s",
                "is it running? `redis-server --port",
                "--redis names another",
            ] {
                assert!(line.contains(part), "no {part:?} in {line}");
            }
        }
        let connected = said(&log, "connected to Redis");
        let [first, again] = connected[..] else {
            panic!("{connected:#?}");
        };
        assert!(
            first.contains(&format!("connected to {at} after ")) && !first.contains("link="),
            "{first}"
        );
        assert!(again.contains(&format!("connected to {at} again")), "{again}");
    }
}

#[tokio::test]
async fn a_redis_that_is_there_is_named_once() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let mut worker = role("worker", &redis.url());
    worker.args(["--engine", "fake"]);
    let worker = Process::start_worker(worker).await;
    let web = Process::start(role("web", &redis.url())).await;
    for process in [worker, web] {
        process.signal("TERM");
        let (_, log) = process.ended().await;
        let connected = said(&log, "connected to Redis");
        assert_eq!(connected.len(), 1, "{connected:#?}");
        let line = format!("connected to Redis at {}", redis.address());
        assert!(connected[0].ends_with(&line), "{connected:#?}");
    }
}

#[tokio::test]
async fn a_replica_is_not_announced_as_connected_again_and_again() {
    let Some(binary) = Binary::redis() else { return };
    let replica = RedisServer::start(&binary, Options::default().set("replicaof", "127.0.0.1 1")).await;
    let web = Process::start_early(role("web", &replica.url())).await;
    // Each attempt makes a connection, which works, and then is refused a write.
    eventually("it has tried several times", async || {
        let log = web.log();
        let connected = log
            .iter()
            .filter(|line| line.contains("DEBUG") && line.contains("connected to Redis"));
        connected.count() >= 4
    })
    .await;
    let log = web.log();
    assert_eq!(said(&log, "connected to Redis").len(), 1, "{log:#?}");
    let refused = said(&log, "READONLY");
    assert_eq!(refused.len(), 1, "{log:#?}");
    assert!(
        refused[0].contains("retrying") && !refused[0].contains("is it running"),
        "{refused:?}"
    );
}
