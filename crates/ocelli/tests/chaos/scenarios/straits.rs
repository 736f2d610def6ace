//! Redis is there, and has no room or no time.

use std::time::{Duration, Instant};

use super::outages::{back_in_time, refused_in_time};
use crate::house::{Extras, pause};
use crate::stage::{Played, Setup, Stage};
use crate::store::Store;
use crate::support::proxy::Proxy;
use crate::support::redis::{Binary, Options};

/// What each way to Redis and back takes.
const WAY: Duration = Duration::from_millis(30);

pub(crate) async fn full(redis: &Binary) -> Played {
    let options = Options::default()
        .set("maxmemory", "64mb")
        .set("maxmemory-policy", "noeviction");
    let store = Store::one(redis, options).await;
    let extras = Extras {
        web: vec!["--queue-bytes".to_owned(), "32MiB".to_owned()],
        ..Extras::default()
    };
    let setup = Setup {
        extras,
        ..Setup::default()
    };
    let mut stage = Stage::open_with("A Redis that is full (noeviction) for 5 s", store, setup).await;
    let full = Instant::now();
    // Less than an empty Redis takes.
    let limit = async |stage: &mut Stage, bytes: &str| {
        let server = stage.store.server();
        server.command::<()>(&["CONFIG", "SET", "maxmemory", bytes]).await;
    };
    limit(&mut stage, "100kb").await;
    pause(5.0).await;
    limit(&mut stage, "64mb").await;
    let roomy = Instant::now();
    pause(3.0).await;
    let mut played = stage.finish(&["broker_unavailable", "queue_full"]).await;
    let refused = played
        .tally
        .records
        .iter()
        .any(|record| record.is_refused("broker_unavailable"));
    played.must(refused, || "nobody was refused".to_owned());
    refused_in_time(&mut played, full);
    back_in_time(&mut played, roomy);
    played
}

pub(crate) async fn slow(redis: &Binary) -> Played {
    let mut store = Store::one(redis, Options::default()).await;
    let proxy = Proxy::start(store.server().address()).await;
    let setup = Setup {
        url: Some(store.server().url_at(proxy.address())),
        ..Setup::default()
    };
    let stage = Stage::open_with("A slow Redis: 30 ms each way", store, setup).await;
    proxy.delay(WAY, WAY);
    let slow = Instant::now();
    pause(5.0).await;
    // The processes sign off through it.
    let mut played = stage.finish(&[]).await;
    drop(proxy);
    let mut answers: Vec<_> = played
        .tally
        .records
        .iter()
        .filter(|record| record.sent > slow)
        .collect();
    answers.sort_by_key(|record| record.took());
    let median = answers
        .get(answers.len() / 2)
        .map_or(Duration::ZERO, |record| record.took());
    played.fact(
        !median.is_zero(),
        format!("half of the answers took {} ms at most", median.as_millis()),
    );
    played
}
