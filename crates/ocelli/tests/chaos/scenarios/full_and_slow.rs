//! A full or slow Redis.

use std::time::{Duration, Instant};

use super::outages::{back_in_time, refused_in_time};
use crate::jobs::Job;
use crate::processes::{Extras, pause};
use crate::setup::{Finished, Run, Setup};
use crate::store::Store;
use crate::support::proxy::Proxy;
use crate::support::redis::{Binary, Options};

/// Delay of each direction.
const WAY: Duration = Duration::from_millis(30);

/// Number of asynchronous jobs and their parts: more than the workers compute before Redis is full.
const JOBS: u8 = 4;
const PARTS: u8 = 60;

/// Deadline of such a job.
const JOB_TIME: Duration = Duration::from_secs(25);

/// A Redis with enough memory.
async fn roomy(redis: &Binary) -> Store {
    let options = Options::default()
        .set("maxmemory", "64mb")
        .set("maxmemory-policy", "noeviction");
    Store::one(redis, options).await
}

async fn limit(run: &mut Run, bytes: &str) {
    let server = run.store.server();
    server.command::<()>(&["CONFIG", "SET", "maxmemory", bytes]).await;
}

pub(crate) async fn full(redis: &Binary) -> Finished {
    let store = roomy(redis).await;
    let extras = Extras {
        web: ["--queue-bytes", "32MiB", "--max-job-bytes", "8MiB"]
            .map(str::to_owned)
            .to_vec(),
        ..Extras::default()
    };
    let setup = Setup {
        extras,
        ..Setup::default()
    };
    let mut run = Run::open_with("A Redis that is full (noeviction) for 5 s", store, setup).await;
    let full = Instant::now();
    // Less than an empty Redis needs.
    limit(&mut run, "100kb").await;
    pause(5.0).await;
    limit(&mut run, "64mb").await;
    let roomy = Instant::now();
    pause(3.0).await;
    let mut played = run.finish(&["broker_unavailable", "queue_full"]).await;
    let refused = played
        .counts
        .records
        .iter()
        .any(|record| record.is_refused("broker_unavailable"));
    played.must(refused, || "no request was refused".to_owned());
    refused_in_time(&mut played, full);
    back_in_time(&mut played, roomy);
    played
}

/// Redis is full, and the workers that compute the accepted jobs are killed one after the other.
pub(crate) async fn full_and_killed(redis: &Binary) -> Finished {
    let store = roomy(redis).await;
    let extras = Extras {
        web: [
            "--queue-bytes",
            "48MiB",
            "--max-job-bytes",
            "8MiB",
            "--job-ttl",
            "10s",
        ]
        .map(str::to_owned)
        .into(),
        ..Extras::default()
    };
    let setup = Setup {
        extras,
        ..Setup::default()
    };
    let title = "kill -9 of workers while Redis is full for 5 s, with asynchronous jobs";
    let mut run = Run::open_with(title, store, setup).await;
    let web = run.processes.webs[0].address;
    let latest = Instant::now() + JOB_TIME;
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(Job::submit(web, 1..=PARTS, JOB_TIME).await);
    }
    limit(&mut run, "100kb").await;
    for index in 0..3 {
        pause(1.5).await;
        run.processes.kill_worker(index).await;
    }
    pause(0.5).await;
    limit(&mut run, "64mb").await;
    let (mut answered, mut accepted) = (0, 0);
    for job in &jobs {
        answered += job.answered(web, latest).await;
        accepted += job.parts();
    }
    let mut played = run.finish(&["broker_unavailable", "queue_full"]).await;
    played.fact(
        answered == accepted,
        format!("{answered} of {accepted} parts of asynchronous jobs were answered"),
    );
    played
}

pub(crate) async fn slow(redis: &Binary) -> Finished {
    let mut store = Store::one(redis, Options::default()).await;
    let proxy = Proxy::start(store.server().address()).await;
    let setup = Setup {
        url: Some(store.server().url_at(proxy.address())),
        ..Setup::default()
    };
    let run = Run::open_with("A slow Redis: 30 ms each way", store, setup).await;
    proxy.delay(WAY, WAY);
    let slow = Instant::now();
    pause(5.0).await;
    // The processes need it for their shutdown.
    let mut played = run.finish(&[]).await;
    drop(proxy);
    let mut answers: Vec<_> = played
        .counts
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
