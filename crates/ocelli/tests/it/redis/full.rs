//! A Redis that takes no writes for a while: nothing that was accepted is lost, and what could not be answered is refused.

use crate::eventually;
use crate::harness::photos;
use crate::jobs::over_redis::{web, worker};
use crate::jobs::{accepted, job, shows, until};
use crate::support::redis::{Binary, Options, RedisServer};

/// A worker that computes one image after the other, and takes its time for each.
const SLOW: [&str; 6] = ["--fake-image-time", "300ms", "--max-batch", "1", "--lease", "1s"];

async fn set(redis: &RedisServer, name: &str, value: &str) {
    redis.command::<()>(&["CONFIG", "SET", name, value]).await;
}

/// Commands that were refused with this code so far.
async fn refused(redis: &RedisServer, code: &str) -> u64 {
    let field = redis.info(&format!("errorstat_{code}")).await;
    let count = field.strip_prefix("count=").unwrap_or("0");
    count.parse().unwrap()
}

#[tokio::test]
async fn a_redis_that_is_full_can_still_be_answered() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let worker = worker(&redis.url(), &SLOW).await;
    let web = web(&redis.url(), &[]).await;
    let photos: Vec<_> = (1..=4).map(photos::grey).collect();
    let waiting = web
        .post("/predict")
        .form([("image", &photos[3].bytes[..])])
        .spawn();
    worker.metric("ocelli_leases", |leases| leases > 0.0).await;
    let job = accepted(&job(web.address, &photos).send().await);
    set(&redis, "maxmemory", "1").await;
    let write = redis.try_command::<()>(&["SET", "x", "y"]).await;
    assert!(write.unwrap_err().to_string().contains("OOM"));
    shows(&until(web.address, &job, "done").await, &photos);
    assert_eq!(waiting.await.unwrap().best(), photos[3].label());
    worker.metric("ocelli_leases", |leases| leases == 0.0).await;
    set(&redis, "maxmemory", "0").await;
}

#[tokio::test]
async fn a_job_stays_until_its_reply_could_be_written() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let worker = worker(&redis.url(), &SLOW).await;
    let web = web(&redis.url(), &[]).await;
    let photos: Vec<_> = (1..=2).map(photos::grey).collect();
    let job = accepted(&job(web.address, &photos).send().await);
    worker.metric("ocelli_leases", |leases| leases == 2.0).await;
    // Every write is refused, and the reason is none of the job's.
    set(&redis, "min-replicas-to-write", "1").await;
    worker
        .metric("ocelli_batch_size_count", |batches| batches >= 2.0)
        .await;
    let before = refused(&redis, "NOREPLICAS").await;
    eventually("replies are refused", async || {
        refused(&redis, "NOREPLICAS").await > before + 3
    })
    .await;
    set(&redis, "min-replicas-to-write", "0").await;
    shows(&until(web.address, &job, "done").await, &photos);
}

#[tokio::test]
async fn nothing_is_accepted_that_could_not_be_answered() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = worker(&redis.url(), &[]).await;
    let web = web(&redis.url(), &[]).await;
    let photo = photos::grey(1);
    let used: u64 = redis.info("used_memory").await.parse().unwrap();
    // Room for the job, and not for what else Redis needs.
    set(&redis, "maxmemory", &(used + 900_000).to_string()).await;
    let predict = web.post("/predict").form([("image", &photo.bytes[..])]);
    let answer = predict.clone().send().await;
    answer.refused(503, "broker_unavailable");
    let answer = job(web.address, std::slice::from_ref(&photo)).send().await;
    answer.refused(503, "broker_unavailable");
    redis.command::<()>(&["SET", "x", "y"]).await;
    set(&redis, "maxmemory", &(used + (4 << 20)).to_string()).await;
    assert_eq!(predict.send().await.best(), photo.label());
    let job = accepted(&job(web.address, std::slice::from_ref(&photo)).send().await);
    shows(&until(web.address, &job, "done").await, &[photo]);
}
