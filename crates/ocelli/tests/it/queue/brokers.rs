//! The contract of every broker: one suite, run over memory and over each kind of Redis, with the test as the worker's
//! engines and as the request.

mod contract;
mod full;
mod harness;

pub(crate) use harness::{Harness, Limits};

use crate::support::redis::{Binary, Cluster, Options, RedisServer, Sentinels};

#[tokio::test]
async fn memory() {
    contract::hold(async |limits| Harness::memory(limits)).await;
}

#[tokio::test]
async fn redis() {
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    contract::hold(async |limits| Harness::redis(&server.url(), None, limits).await).await;
    contract::redis_holds(async |limits| Harness::redis(&server.url(), None, limits).await).await;
}

#[tokio::test]
async fn the_oldest_redis() {
    let Some(binary) = Binary::oldest_redis() else {
        return;
    };
    let server = RedisServer::start(&binary, Options::default()).await;
    assert!(server.info("redis_version").await.starts_with("6.2."));
    contract::hold(async |limits| Harness::redis(&server.url(), None, limits).await).await;
    contract::redis_holds(async |limits| Harness::redis(&server.url(), None, limits).await).await;
}

#[tokio::test]
async fn valkey() {
    let Some(binary) = Binary::valkey() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    contract::hold(async |limits| Harness::redis(&server.url(), None, limits).await).await;
    contract::redis_holds(async |limits| Harness::redis(&server.url(), None, limits).await).await;
}

#[tokio::test]
async fn redis_with_tls_and_a_password() {
    let Some(binary) = Binary::redis() else { return };
    let options = Options::default().tls().set("requirepass", "se:cret");
    let server = RedisServer::start(&binary, options).await;
    let authority = std::fs::read(server.authority()).unwrap();
    assert!(server.url().starts_with("rediss://"), "{}", server.url());
    contract::hold(async |limits| Harness::redis(&server.url(), Some(authority.clone()), limits).await).await;
}

#[tokio::test]
async fn sentinel() {
    let Some(binary) = Binary::redis() else { return };
    let sentinels = Sentinels::start(&binary, Options::default()).await;
    let hosts = hosts(&sentinels.urls());
    let url = format!("redis+sentinel://{hosts}/{}", Sentinels::MASTER);
    contract::hold(async |limits| Harness::redis(&url, None, limits).await).await;
}

#[tokio::test]
async fn a_failover_loses_no_job() {
    let Some(binary) = Binary::redis() else { return };
    let mut sentinels = Sentinels::start(&binary, Options::default()).await;
    let url = format!(
        "redis+sentinel://{}/{}",
        hosts(&sentinels.urls()),
        Sentinels::MASTER
    );
    let harness = Harness::redis(&url, None, contract::ROOMY).await;
    contract::a_dead_master_is_survived(harness, async || {
        sentinels.kill_master().await;
    })
    .await;
}

#[tokio::test]
async fn cluster() {
    let Some(binary) = Binary::redis() else { return };
    let cluster = Cluster::start(&binary, 3, 0, Options::default()).await;
    let url = format!("redis+cluster://{}", hosts(&cluster.urls()));
    contract::hold(async |limits| Harness::redis(&url, None, limits).await).await;
    contract::redis_holds(async |limits| Harness::redis(&url, None, limits).await).await;
}

/// The hosts of several URLs, as one URL names them.
fn hosts(urls: &[String]) -> String {
    let host = |url: &String| {
        url.trim_start_matches("redis://")
            .trim_end_matches('/')
            .to_owned()
    };
    urls.iter().map(host).collect::<Vec<_>>().join(",")
}
