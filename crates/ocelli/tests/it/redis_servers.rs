//! The servers of `support` are what other tests take them for.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop};

/// Long enough for an answer that should not come, short enough to wait for it.
const MOMENT: Duration = Duration::from_millis(300);

async fn connect(url: &str) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = Client::open(url).unwrap();
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap()
}

async fn ping(connection: &mut MultiplexedConnection) -> Result<String, RedisError> {
    redis::cmd("PING").query_async(connection).await
}

#[tokio::test]
async fn a_server_keeps_only_what_it_was_told_to_keep() {
    for binary in [Binary::redis(), Binary::valkey()].into_iter().flatten() {
        keeps_only_what_it_was_told_to_keep(&binary).await;
    }
}

async fn keeps_only_what_it_was_told_to_keep(binary: &Binary) {
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
    let server = RedisServer::start(&redis, Options::default()).await;
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
