//! The servers of `support` are what other tests take them for.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult, TlsCertificates};
use tokio::time::timeout;

use crate::support::redis::{Binary, Cluster, Data, Options, RedisServer, Sentinels, Stop};
use crate::{PATIENCE, eventually};

/// Long enough for an answer that should not come, short enough to wait for it.
const MOMENT: Duration = Duration::from_millis(300);

async fn connect(url: &str) -> MultiplexedConnection {
    connect_with(&Client::open(url).unwrap()).await.unwrap()
}

async fn connect_with(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<String> {
    redis::cmd("PING").query_async(connection).await
}

#[tokio::test]
async fn a_restarted_server_keeps_data_only_if_asked() {
    for binary in [Binary::redis(), Binary::valkey()].into_iter().flatten() {
        keeps_data_only_if_asked(&binary).await;
    }
}

async fn keeps_data_only_if_asked(binary: &Binary) {
    let mut server = RedisServer::start(binary, Options::default().durable()).await;
    let url = server.url();
    let version = server
        .info(&format!("{}_version", binary.name.trim_end_matches("-server")))
        .await;
    assert!(!version.is_empty(), "{} is something else", binary.path.display());
    server.command::<()>(&["SET", "a key", "a value"]).await;
    server.stop(Stop::Term).await;
    assert!(server.try_command::<()>(&["PING"]).await.is_err());
    server.restart(Data::Kept).await;
    assert_eq!(server.command::<String>(&["GET", "a key"]).await, "a value");
    assert_eq!(server.url(), url);
    // It still runs, and is killed.
    server.restart(Data::Kept).await;
    assert_eq!(server.keys().await, ["a key"]);
    server.restart(Data::Lost).await;
    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn a_server_has_the_settings_and_the_password_that_it_was_given() {
    let Some(redis) = Binary::redis() else { return };
    let options = Options::default()
        .set("requirepass", "a-secret")
        .set("maxmemory", "7mb")
        .set("maxmemory-policy", "noeviction");
    let server = RedisServer::start(&redis, options).await;
    assert_eq!(server.info("maxmemory").await, (7 << 20).to_string());
    let stranger = Client::open(format!("redis://{}", server.address())).unwrap();
    let mut stranger = stranger.get_multiplexed_async_connection().await.unwrap();
    assert_eq!(ping(&mut stranger).await.unwrap_err().code(), Some("NOAUTH"));
    assert_eq!(ping(&mut connect(&server.url()).await).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_paused_server_answers_when_it_goes_on() {
    let Some(redis) = Binary::redis() else { return };
    let mut server = RedisServer::start(&redis, Options::default()).await;
    let mut connection = connect(&server.url()).await;
    server.pause();
    let answer = tokio::spawn(async move { ping(&mut connection).await });
    tokio::pin!(answer);
    assert!(
        timeout(MOMENT, &mut answer).await.is_err(),
        "it answers in its sleep"
    );
    server.resume();
    assert_eq!(answer.await.unwrap().unwrap(), "PONG");
}

#[tokio::test]
async fn two_servers_are_two() {
    let Some(redis) = Binary::redis() else { return };
    let one = RedisServer::start(&redis, Options::default()).await;
    let two = RedisServer::start(&redis, Options::default()).await;
    one.command::<()>(&["SET", "a key", "1"]).await;
    assert!(two.keys().await.is_empty());
}

#[tokio::test]
async fn an_encrypted_server_is_trusted_by_who_knows_its_authority() {
    let Some(redis) = Binary::redis() else { return };
    let server = RedisServer::start(&redis, Options::default().tls()).await;
    server.command::<()>(&["SET", "a key", "a value"]).await;
    let trusting = |root_cert| {
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert,
        };
        Client::build_with_tls(server.url(), certificates).unwrap()
    };
    let authority = std::fs::read(server.authority()).unwrap();
    let mut connection = connect_with(&trusting(Some(authority))).await.unwrap();
    let mut get = redis::cmd("GET");
    let value: String = get.arg("a key").query_async(&mut connection).await.unwrap();
    assert_eq!(value, "a value");
    let stranger = connect_with(&trusting(None)).await.err().unwrap();
    assert!(stranger.to_string().contains("UnknownIssuer"), "{stranger}");
}

#[tokio::test]
async fn a_replica_is_promoted_when_the_master_dies() {
    for binary in [Binary::redis(), Binary::valkey()].into_iter().flatten() {
        let options = Options::default().set("requirepass", "a-secret");
        let mut sentinels = Sentinels::start(&binary, options).await;
        assert_eq!(sentinels.master().await, 0);
        assert_eq!(sentinels.urls().len(), 3);
        let master = sentinels.server(0);
        master.command::<()>(&["SET", "a key", "a value"]).await;
        assert_eq!(master.command::<u32>(&["WAIT", "1", "0"]).await, 1);
        // Two of three are enough.
        sentinels.sentinels()[2].pause();
        assert_eq!(sentinels.kill_master().await, 0);
        assert_eq!(sentinels.master().await, 1);
        assert_eq!(sentinels.server(1).keys().await, ["a key"]);
    }
}

#[tokio::test]
async fn a_cluster_spreads_its_keys_and_survives_a_master() {
    for binary in [Binary::redis(), Binary::valkey()].into_iter().flatten() {
        let mut cluster = Cluster::start(&binary, 3, 1, Options::default()).await;
        let keys = ["{a}", "{b}", "{c}"];
        let mut owners = Vec::new();
        for key in keys {
            cluster.command::<()>(key, &["SET", key, "a value"]).await;
            assert_eq!(cluster.command::<u32>(key, &["WAIT", "1", "0"]).await, 1);
            owners.push(cluster.owner(key).await);
        }
        owners.sort_unstable();
        assert_eq!(owners, [0, 1, 2]);
        let killed = cluster.owner(keys[0]).await;
        cluster.kill_node(killed).await;
        eventually("a replica takes over", async || {
            cluster.owner(keys[0]).await == killed + 3
        })
        .await;
        assert_eq!(
            cluster.command::<String>(keys[0], &["GET", keys[0]]).await,
            "a value"
        );
        assert!(!cluster.is_whole().await);
        cluster.restart_node(killed, Data::Lost).await;
        eventually("the node is one of them again", async || cluster.is_whole().await).await;
        assert_eq!(cluster.keys().await, keys);
        assert_eq!(cluster.owner(keys[0]).await, killed + 3);
    }
}

#[tokio::test]
async fn a_cluster_without_replicas_does_not_survive_a_master() {
    let Some(redis) = Binary::redis() else { return };
    let mut cluster = Cluster::start(&redis, 3, 0, Options::default()).await;
    assert_eq!(cluster.urls().len(), 3);
    cluster.kill_node(0).await;
    eventually("the others miss it", async || {
        cluster
            .node(1)
            .command::<String>(&["CLUSTER", "INFO"])
            .await
            .contains("cluster_state:fail")
    })
    .await;
}
