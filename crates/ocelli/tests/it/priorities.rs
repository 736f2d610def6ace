//! What `X-Priority` does under load, counted in batches and in the order of Redis' streams, not by the clock.

use futures_util::future::join_all;

use crate::eventually;
use crate::photos;
use crate::redis_jobs::{metric, web, worker};
use crate::server::{Server, Setup};
use crate::support::redis::{Binary, Options, RedisServer};

/// Images in a batch here.
const BATCH: usize = 4;

/// Many more than are prepared ahead.
const LOW: usize = 60;

/// Lets one batch through the gate, and waits until the next one is there.
async fn pass_one(server: &Server) {
    let before = server.engine.batches();
    server.engine.pass(1);
    eventually("the next batch runs", async || {
        server.engine.batches() == before + 1 && server.engine.at_gate() == 1
    })
    .await;
}

async fn waits_for_two_batches_at_most(cores: usize, engine_uses_cores: bool) {
    let mut setup = Setup::default();
    setup.pipeline.cores = cores;
    setup.engine_uses_cores = engine_uses_cores;
    setup.pipeline.worker.max_batch = Some(BATCH);
    let server = setup.start().await;
    let first = server.occupy().await;
    let photo = photos::grey(2);
    let low: Vec<_> = (0..LOW)
        .map(|_| server.photo(&photo).header("x-priority", "low").spawn())
        .collect();
    server.metric_is("ocelli_admitted_images", (LOW + 1) as f64).await;
    let high = server
        .photo(&photos::grey(3))
        .header("x-priority", "high")
        .spawn();
    server.metric_is("ocelli_admitted_images", (LOW + 2) as f64).await;
    // The batch that was running, one that may have been drawn meanwhile, and its own.
    for _ in 0..3 {
        pass_one(&server).await;
    }
    let answer = tokio::time::timeout(crate::PATIENCE, high).await;
    let answer = answer.expect("it is answered after three batches").unwrap();
    assert_eq!(answer.best(), photos::grey(3).label());
    assert_eq!(server.engine.batches(), 4, "no other batch was computed for it");
    server.engine.release();
    first.await.unwrap().ok();
    for answer in join_all(low).await {
        answer.unwrap().ok();
    }
    server.is_well().await;
}

#[tokio::test]
async fn high_waits_for_two_batches_of_low_at_most_where_engines_and_decoders_share_a_core() {
    waits_for_two_batches_at_most(1, true).await;
}

#[tokio::test]
async fn high_waits_for_two_batches_of_low_at_most_where_decoders_have_cores_left() {
    waits_for_two_batches_at_most(2, true).await;
}

#[tokio::test]
async fn high_waits_for_two_batches_of_low_at_most_where_engines_compute_elsewhere() {
    waits_for_two_batches_at_most(2, false).await;
}

/// What Redis says of a stream, from its text: how many entries it ever had, or the last one's id.
async fn info(redis: &RedisServer, stream: &str, field: &str) -> String {
    let script = format!(
        "local i = redis.call('XINFO', 'STREAM', '{stream}')
         for n = 1, #i, 2 do if i[n] == '{field}' then return tostring(i[n + 1]) end end"
    );
    redis.command(&["EVAL", &script, "0"]).await
}

#[tokio::test]
async fn a_web_process_submits_high_before_photos_of_low_that_wait_to_be_decoded() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let slow = ["--fake-batch-time", "300ms", "--max-batch", "4"];
    let _worker = worker(&redis.url(), &slow).await;
    let web = web(&redis.url(), &["--deadline", "60s"]).await;
    let photo = photos::grey(2);
    let ask = |priority: &str| {
        let call = web.post("/predict").header("x-priority", priority);
        call.form([("image", &photo.bytes[..])]).spawn()
    };
    // Nothing is submitted until all photos are there.
    redis.command::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let low: Vec<_> = (0..LOW).map(|_| ask("low")).collect();
    let admitted = async |count: usize| {
        eventually("all are admitted", async || {
            metric(&web, "ocelli_admitted_images").await == count as f64
        })
        .await;
    };
    admitted(LOW).await;
    let high = ask("high");
    admitted(LOW + 1).await;
    redis.command::<()>(&["CLIENT", "UNPAUSE"]).await;
    let keys = redis.keys().await;
    let stream = |priority: &str| {
        let end = format!(":jobs:{priority}");
        keys.iter()
            .find(|key| key.ends_with(&end))
            .expect("the worker made it")
    };
    let (low_jobs, high_jobs) = (stream("low"), stream("high"));
    eventually("all are submitted", async || {
        info(&redis, low_jobs, "entries-added").await == LOW.to_string()
            && info(&redis, high_jobs, "entries-added").await == "1"
    })
    .await;
    let after = format!("({}", info(&redis, high_jobs, "last-generated-id").await);
    let behind: Vec<redis::Value> = redis.command(&["XRANGE", low_jobs, &after, "+"]).await;
    // Sixteen jobs are on their way at once, so 44 of low come after it. Some of those may have been computed.
    assert!(behind.len() >= 20, "{} of {LOW} come after it", behind.len());
    assert_eq!(high.await.unwrap().status, 200);
    for answer in join_all(low).await {
        assert_eq!(answer.unwrap().status, 200);
    }
}
