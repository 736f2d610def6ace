//! What `X-Priority` does under load, counted in batches and in the order of Redis' streams, not by the clock.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ocelli::queue::redis::{RedisUrl, WorkerSideConfig};
use ocelli::server::{DrainTimes, ServeEnd, WorkerTier, WorkerTierConfig, WorkerWire};
use ocelli_engine::fake::FakeControl;
use ocelli_engine::{Fake, FakeCost};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::eventually;
use crate::harness::photos;
use crate::harness::server::Setup;
use crate::jobs::over_redis::{metric, web, worker};
use crate::support::redis::{Binary, Options, RedisServer};

/// Images in a batch here.
const BATCH: usize = 4;

/// Many more than are prepared ahead.
const LOW: usize = 60;

/// Lets one batch through the gate, and waits until the next one is there.
async fn pass_one(engine: &FakeControl) {
    let before = engine.batches();
    engine.pass(1);
    eventually("the next batch runs", async || {
        engine.batches() == before + 1 && engine.at_gate() == 1
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
        pass_one(&server.engine).await;
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

/// A worker in this process, whose engine does what the test says.
struct GatedWorker {
    engine: FakeControl,
    stop: oneshot::Sender<&'static str>,
    working: JoinHandle<anyhow::Result<ServeEnd>>,
}

impl GatedWorker {
    async fn start(redis: &str) -> Self {
        let setup = Setup::default();
        let mut compute = setup.pipeline.worker;
        compute.max_batch = Some(BATCH);
        let config = WorkerTierConfig {
            cores: 2,
            worker: compute,
            connections: setup.connections,
            drain: DrainTimes {
                delay: Duration::ZERO,
                timeout: crate::PATIENCE,
            },
            wire: WorkerWire::Native(WorkerSideConfig {
                prefix: "ocelli".to_owned(),
                name: "gated".to_owned(),
                lease: crate::PATIENCE,
                dead_letters: 10,
                dead_ttl: crate::PATIENCE,
            }),
        };
        let fake = Fake::new(FakeCost::default());
        let engine = fake.control();
        let target = RedisUrl::parse(redis, None).unwrap();
        let tier = WorkerTier::new(config, &target, Arc::new(fake), photos::PACKAGE.clone());
        let probes = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or("the test is over") };
        Self {
            engine,
            stop,
            working: tokio::spawn(ocelli::server::worker(probes, tier, stopped)),
        }
    }

    async fn end(self) -> ServeEnd {
        self.engine.release();
        self.stop.send("the test").unwrap();
        self.working.await.unwrap().unwrap()
    }
}

/// An engine that a failed test left held would keep the process.
struct Released(FakeControl);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[tokio::test]
async fn high_waits_for_two_batches_of_low_at_most_over_redis() {
    /// Many more than the worker takes ahead; they wait in Redis.
    const MANY: usize = 300;
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let worker = GatedWorker::start(&redis.url()).await;
    let engine = worker.engine.clone();
    let _released = Released(engine.clone());
    let web = web(&redis.url(), &["--deadline", "5m", "--max-deadline", "5m"]).await;
    let ask = |photo: &photos::Photo, priority: &str| {
        let call = web.post("/predict").header("x-priority", priority);
        call.form([("image", &photo.bytes[..])])
    };
    engine.take_batch_sizes();
    let before = engine.batches();
    engine.hold();
    let first = ask(&photos::grey(1), "low").spawn();
    eventually("the first batch runs", async || engine.at_gate() == 1).await;
    let photo = photos::grey(2);
    let low: Vec<_> = (1..MANY).map(|_| ask(&photo, "low").spawn()).collect();
    let keys = redis.keys().await;
    let stream = |priority: &str| {
        let end = format!(":jobs:{priority}");
        keys.iter()
            .find(|key| key.ends_with(&end))
            .expect("the worker made it")
    };
    let added = async |priority: &str, count: usize| {
        eventually(&format!("{count} jobs of {priority} are in Redis"), async || {
            info(&redis, stream(priority), "entries-added").await == count.to_string()
        })
        .await;
    };
    added("low", MANY).await;
    let high = ask(&photos::grey(3), "high").spawn();
    added("high", 1).await;
    // The batch that was running, and one that is drawn before the worker has looked into Redis again.
    pass_one(&engine).await;
    eventually("the worker has the job", async || {
        let pending: (usize, redis::Value, redis::Value, redis::Value) =
            redis.command(&["XPENDING", stream("high"), "workers"]).await;
        pending.0 == 1
    })
    .await;
    pass_one(&engine).await;
    // Its own.
    pass_one(&engine).await;
    let answer = tokio::time::timeout(crate::PATIENCE, high).await;
    let answer = answer.expect("it is answered after three batches").unwrap();
    assert_eq!(answer.best(), photos::grey(3).label());
    assert_eq!(engine.batches() - before, 4, "no other batch was computed for it");
    engine.release();
    first.await.unwrap().ok();
    for answer in join_all(low).await {
        answer.unwrap().ok();
    }
    assert_eq!(worker.end().await, ServeEnd::Drained);
}

#[tokio::test]
async fn low_cannot_fill_the_queue_before_decoding() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 20;
    let server = setup.start().await;
    let first = server.occupy().await;
    let photo = photos::grey(2);
    let ask = |priority: &str| server.photo(&photo).header("x-priority", priority);
    let mut waiting = Vec::new();
    // One of normal priority is being computed.
    for (priority, until) in [("low", 16), ("normal", 18), ("high", 20)] {
        while waiting.len() + 1 < until {
            waiting.push(ask(priority).spawn());
            server
                .metric_is("ocelli_admitted_images", (waiting.len() + 1) as f64)
                .await;
        }
        ask(priority).send().await.refused(429, "queue_full");
    }
    server.engine.release();
    first.await.unwrap().ok();
    for answer in join_all(waiting).await {
        answer.unwrap().ok();
    }
    server.is_well().await;
}

#[tokio::test]
async fn low_cannot_fill_the_bytes_of_the_queue() {
    let pixels = photos::PACKAGE.card.manifest.input.elements() as u64;
    let mut setup = Setup::default();
    setup.pipeline.admission.bytes = 5 * pixels;
    let server = setup.start().await;
    let first = server.occupy().await;
    let photo = photos::grey(2);
    let ask = |priority: &str| server.photo(&photo).header("x-priority", priority);
    let low: Vec<_> = (0..3).map(|_| ask("low").spawn()).collect();
    server.metric_is("ocelli_admitted_images", 4.0).await;
    ask("low").send().await.refused(429, "queue_full");
    let high = ask("high").spawn();
    server.metric_is("ocelli_admitted_images", 5.0).await;
    server.engine.release();
    for answer in [first, high].into_iter().chain(low) {
        answer.await.unwrap().ok();
    }
    server.is_well().await;
}
