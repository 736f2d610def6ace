//! Outages, data loss and failovers of Redis.

use std::time::{Duration, Instant};

use crate::processes::pause;
use crate::setup::{Finished, Run};
use crate::store::Store;
use crate::support::redis::{Binary, Cluster, Data, Options, Sentinels, Stop};

const OUTAGE: Duration = Duration::from_secs(5);

/// Maximum time until a client is refused while the queue is unusable.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// Maximum time until there are correct answers after Redis is back.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// Maximum growth of a web process during an outage, in bytes: what its allocator keeps.
const MAY_GROW: u64 = 16 << 20;

/// A key in the slot of the model's streams.
const MODEL_KEY: &str = "{efficientnet-lite0}";

const UNAVAILABLE: &[&str] = &["broker_unavailable"];

pub(crate) async fn with_data(redis: &Binary) -> Finished {
    away("Redis gone for 5 s, back with its data", redis, Data::Kept).await
}

pub(crate) async fn without_data(redis: &Binary) -> Finished {
    away("Redis gone for 5 s, back without its data", redis, Data::Lost).await
}

async fn away(title: &'static str, redis: &Binary, data: Data) -> Finished {
    let store = Store::one(redis, Options::default().durable()).await;
    let mut run = Run::open(title, store).await;
    let before = run.processes.largest_web();
    let gone = Instant::now();
    run.store.server().stop(Stop::Kill).await;
    let mut largest = before;
    while gone.elapsed() < OUTAGE {
        largest = largest.max(run.processes.largest_web());
        pause(0.1).await;
    }
    let returning = Instant::now();
    run.store.server().restart(data).await;
    let back = Instant::now();
    pause(4.0).await;
    let mut played = run.finish(UNAVAILABLE).await;
    let meanwhile = played
        .counts
        .records
        .iter()
        .filter(|record| record.is_right() && record.sent > gone && record.ended < returning);
    let meanwhile = meanwhile.count();
    played.must(meanwhile == 0, || format!("{meanwhile} answers without a Redis"));
    refused_in_time(&mut played, gone);
    back_in_time(&mut played, back);
    let grown = largest.saturating_sub(before);
    played.fact(
        grown < MAY_GROW,
        format!(
            "a web process grew by {:.1} MiB meanwhile",
            grown as f64 / f64::from(1 << 20)
        ),
    );
    played
}

/// Connections stay open without answers, as when a machine hangs.
pub(crate) async fn silent(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let mut run = Run::open("Redis silent for 5 s", store).await;
    let gone = Instant::now();
    run.store.server().pause();
    pause(OUTAGE.as_secs_f64()).await;
    run.store.server().resume();
    let back = Instant::now();
    pause(3.0).await;
    let mut played = run.finish(UNAVAILABLE).await;
    refused_in_time(&mut played, gone);
    back_in_time(&mut played, back);
    played
}

pub(crate) async fn emptied(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let mut run = Run::open("FLUSHALL, three times", store).await;
    for _ in 0..3 {
        run.store.server().command::<()>(&["FLUSHALL"]).await;
        pause(2.5).await;
    }
    let again = run.processes.webs_sum("ocelli_resubmitted_total").await;
    let mut played = run.finish(&[]).await;
    played.fact(true, format!("{again} jobs were lost and submitted again"));
    played
}

pub(crate) async fn failover(redis: &Binary) -> Finished {
    let sentinels = Sentinels::start(redis, Options::default()).await;
    let mut run = Run::open(
        "Sentinel failover: the master is killed",
        Store::Sentinels(Box::new(sentinels)),
    )
    .await;
    let Store::Sentinels(sentinels) = &mut run.store else {
        unreachable!("it was made so");
    };
    let gone = Instant::now();
    sentinels.kill_master().await;
    let back = Instant::now();
    pause(4.0).await;
    handed_over(run, gone, back).await
}

pub(crate) async fn lost_node(redis: &Binary) -> Finished {
    let cluster = Cluster::start(redis, 3, 1, Options::default()).await;
    let mut run = Run::open(
        "A cluster loses the master of the model's slot",
        Store::Cluster(Box::new(cluster)),
    )
    .await;
    let Store::Cluster(cluster) = &mut run.store else {
        unreachable!("it was made so");
    };
    let owner = cluster.owner(MODEL_KEY).await;
    let gone = Instant::now();
    cluster.kill_node(owner).await;
    // All sentinels agree on the replica.
    cluster.owner(MODEL_KEY).await;
    let back = Instant::now();
    pause(4.0).await;
    handed_over(run, gone, back).await
}

async fn handed_over(run: Run, gone: Instant, back: Instant) -> Finished {
    let mut played = run.finish(UNAVAILABLE).await;
    let without = (back - gone).as_secs_f64();
    played.fact(true, format!("another server was in charge after {without:.1} s"));
    refused_in_time(&mut played, gone);
    back_in_time(&mut played, back);
    played
}

/// Checks how soon clients were refused, counted from their requests or from the loss of Redis.
pub(super) fn refused_in_time(played: &mut Finished, gone: Instant) {
    let refusals = played
        .counts
        .records
        .iter()
        .filter(|record| record.is_refused("broker_unavailable"));
    let slowest = refusals.map(|record| record.ended - record.sent.max(gone)).max();
    played.fact(
        slowest.is_none_or(|slowest| slowest < REFUSED_WITHIN),
        match slowest {
            Some(slowest) => format!(
                "503 within {} ms of the request or of the loss",
                slowest.as_millis()
            ),
            None => "no request was refused".to_owned(),
        },
    );
}

/// Checks how soon there were correct answers again.
pub(super) fn back_in_time(played: &mut Finished, back: Instant) {
    let first = played.counts.first_right_after(back);
    played.fact(
        first.is_some_and(|first| first < BACK_WITHIN),
        match first {
            Some(first) => format!(
                "correct answers again {} ms after Redis answered",
                first.as_millis()
            ),
            None => "no correct answer after the outage".to_owned(),
        },
    );
}
