//! One `Idempotency-Key` creates one job, even if accepting it is slow, fails halfway, or finds the queue full.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;

use crate::eventually;
use crate::harness::client::{Answer, Call};
use crate::harness::photos::{self, Photo};
use crate::harness::process::Process;
use crate::harness::server::Setup;
use crate::jobs::over_redis::{metric, misses_the_worker, web, webs_without_worker, worker};
use crate::jobs::{accepted, job, shows, until};
use crate::support::proxy::{Proxy, Spring};
use crate::support::redis::{Binary, Options, RedisServer};

/// Redis, a web process behind a faulty network, another web process, and no worker.
struct Processes {
    redis: RedisServer,
    network: Proxy,
    slow: Process,
    other: Process,
}

impl Processes {
    /// `None` without a Redis.
    async fn start() -> Option<Self> {
        let binary = &Binary::redis()?;
        let redis = RedisServer::start(binary, Options::default()).await;
        let network = Proxy::start(redis.address()).await;
        let worker = worker(&redis.url(), &["--drain-delay", "0s"]).await;
        let slow = web(&redis.url_at(network.address()), &[]).await;
        let other = web(&redis.url(), &[]).await;
        worker.signal("TERM");
        assert_eq!(worker.ended().await.0, Some(0));
        misses_the_worker(&slow).await;
        misses_the_worker(&other).await;
        Some(Self {
            redis,
            network,
            slow,
            other,
        })
    }

    /// The first request, on its way to Redis for as long as the network stalls at `words`. Meanwhile its claim lapses and
    /// the same request is accepted by the other process; gives what the first was answered then, and the job of the other.
    async fn overtaken(&self, words: &'static [&'static str]) -> (Answer, String) {
        self.network.trap(words, Spring::Stall);
        let slow = Self::call(self.slow.address).spawn();
        self.network.sprung().await;
        self.claims_lapse().await;
        let winner = accepted(&Self::call(self.other.address).send().await);
        self.network.resume();
        let first = slow.await.unwrap();
        if first.status == 202 {
            assert_eq!(accepted(&first), winner);
        }
        (first, winner)
    }

    /// The response to the first request, whose connection to Redis is cut at `words`.
    async fn cut(&self, words: &'static [&'static str]) -> Answer {
        self.network.trap(words, Spring::Cut);
        let first = Self::call(self.slow.address).send().await;
        first.refused(503, "broker_unavailable");
        first
    }

    fn photos() -> [Photo; 2] {
        [photos::grey(1), photos::grey(2)]
    }

    fn call(address: SocketAddr) -> Call {
        job(address, &Self::photos()).header("Idempotency-Key", "a")
    }

    /// Removes unfinished claims of a slow or dead process, as their TTL would.
    async fn claims_lapse(&self) {
        for key in self.redis.keys().await {
            let job = key.starts_with("ocelli:job:");
            if job && self.redis.command(&["HEXISTS", &key, "queued"]).await {
                continue;
            }
            if job || key.starts_with("ocelli:once:") {
                self.redis.command::<i64>(&["DEL", &key]).await;
            }
        }
    }

    /// Checks that there is one job, whatever the first response was, and that it is computed.
    async fn has_one_job(&self, first: Answer) {
        let mut ids = vec![];
        if first.status == 202 {
            ids.push(accepted(&first));
        }
        for address in [self.slow.address, self.other.address] {
            ids.push(accepted(&self.repeated(address).await));
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
        let mut jobs = 0.0;
        for web in [&self.slow, &self.other] {
            jobs += metric(web, "ocelli_async_jobs_total").await;
        }
        assert_eq!(jobs, 1.0, "jobs that were accepted");
        let other = job(self.slow.address, &[photos::grey(9)]).header("Idempotency-Key", "a");
        other.send().await.refused(422, "idempotency_conflict");
        let _worker = worker(&self.redis.url(), &[]).await;
        shows(&until(self.other.address, &ids[0], "done").await, &Self::photos());
    }

    /// The response to a client that retries while it should.
    async fn repeated(&self, address: SocketAddr) -> Answer {
        let mut last = None;
        eventually("the request needs no retry", async || {
            let answer = Self::call(address).send().await;
            let again = matches!(answer.status.as_u16(), 409 | 503);
            if answer.status == 409 {
                self.claims_lapse().await;
            }
            last = Some(answer);
            !again
        })
        .await;
        last.unwrap()
    }

    /// Number of parts that wait for a worker.
    async fn queued(&self) -> usize {
        let keys = self.redis.keys().await;
        let stream = keys.iter().find(|key| key.ends_with("jobs:normal"));
        match stream {
            Some(stream) => self.redis.command(&["XLEN", stream]).await,
            None => 0,
        }
    }
}

#[tokio::test]
async fn a_slow_process_that_lost_its_claim_returns_the_other_job() {
    let Some(processes) = Processes::start().await else {
        return;
    };
    // By then, everything is decoded and nothing recorded.
    let (first, winner) = processes.overtaken(&["{@jobs}:kept"]).await;
    assert_eq!(
        accepted(&processes.repeated(processes.slow.address).await),
        winner
    );
    assert_eq!(processes.queued().await, 2, "the photos of one job");
    processes.has_one_job(first).await;
}

#[tokio::test]
async fn a_job_is_not_queued_before_its_key_is_settled() {
    let Some(processes) = Processes::start().await else {
        return;
    };
    let first = processes.cut(&["ocelli:once:", "accepted:"]).await;
    assert_eq!(processes.queued().await, 0, "the client was not told of a job");
    accepted(&processes.repeated(processes.other.address).await);
    assert_eq!(processes.queued().await, 2, "the photos of one job");
    processes.has_one_job(first).await;
}

#[tokio::test]
async fn a_job_whose_last_step_fails_is_not_created() {
    let Some(processes) = Processes::start().await else {
        return;
    };
    let last = include_str!("../../../src/queue/redis/lua/record_queued.lua");
    let last: &str = redis::Script::new(last).get_hash().to_owned().leak();
    let first = processes.cut(vec![last].leak()).await;
    processes.has_one_job(first).await;
}

#[tokio::test]
async fn a_half_queued_job_is_not_created() {
    let Some(processes) = Processes::start().await else {
        return;
    };
    let first = processes.cut(&["jobs:normal", "ocelli:job:"]).await;
    processes.has_one_job(first).await;
}

#[tokio::test]
async fn a_process_that_loses_its_record_while_queueing_creates_no_job() {
    let Some(processes) = Processes::start().await else {
        return;
    };
    let (first, _) = processes.overtaken(&["jobs:normal", "ocelli:job:"]).await;
    processes.has_one_job(first).await;
}

#[tokio::test]
async fn a_repeat_is_answered_over_redis_while_the_queue_is_full() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let arguments = ["--queue-jobs", "2", "--max-job-images", "2"];
    let webs = webs_without_worker(&redis.url(), &arguments).await;
    let first = accepted(&Processes::call(webs[0].address).send().await);
    let others = [photos::grey(3), photos::grey(4)];
    for web in &webs {
        eventually("it knows that the queue is full", async || {
            let answer = job(web.address, &others).send().await;
            answer.json()["code"] == "queue_full"
        })
        .await;
        assert_eq!(accepted(&Processes::call(web.address).send().await), first);
        let other = job(web.address, &others).header("Idempotency-Key", "a");
        other.send().await.refused(422, "idempotency_conflict");
    }
}

#[tokio::test]
async fn a_repeat_is_answered_in_one_process_while_it_is_full() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 3;
    let server = setup.start().await;
    let first = server.occupy().await;
    let call = Processes::call(server.address);
    let accepted_first = accepted(&call.clone().send().await);
    let others = job(server.address, &[photos::grey(3)]);
    others.clone().send().await.refused(429, "queue_full");
    assert_eq!(accepted(&call.clone().send().await), accepted_first);
    let other = others.header("Idempotency-Key", "a");
    other.send().await.refused(422, "idempotency_conflict");
    // A repeat has the same limits as any other request.
    let short = Call::new(server.address, Method::POST, "/v1/jobs").header("Idempotency-Key", "a");
    short.send().await.refused(400, "invalid_request");
    server.engine.release();
    first.await.unwrap();
    until(server.address, &accepted_first, "done").await;
    server.is_well().await;
}

/// The TTLs of claims and records, step by step.
#[tokio::test]
async fn claims_and_records_of_jobs_that_are_being_accepted_expire_unless_they_are_renewed() {
    use ocelli::queue::Broker;
    use ocelli::queue::job::JobId;
    use ocelli::queue::wire::{JobRecord, QueuedParts};

    use crate::queue::brokers::{Harness, Limits};

    const SHORT: Duration = Duration::from_secs(60);
    const LONG: Duration = Duration::from_secs(600);
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let harness = Harness::redis(&redis.url(), None, Limits::jobs(9, 1)).await;
    let Broker::Redis(broker) = &harness.broker else {
        panic!("it is over Redis");
    };
    let records = broker.records();
    let left = async |part: &str| -> i64 {
        let keys = redis.keys().await;
        let key = keys.iter().find(|key| key.contains(part)).unwrap();
        redis.command(&["PTTL", key]).await
    };
    let [short, long] = [SHORT, LONG].map(|time| time.as_millis() as i64);

    assert_eq!(records.claim("k", "mine", SHORT).await.unwrap(), None);
    let before = records.claim("k", "theirs", SHORT).await.unwrap();
    assert_eq!(before.as_deref(), Some("mine"));
    assert!(records.renew_claim("k", "mine", LONG).await.unwrap());
    assert!(left(":once:").await > short, "the claim was renewed");
    assert!(!records.renew_claim("k", "theirs", SHORT).await.unwrap());
    assert!(!records.settle("k", ("theirs", "x"), LONG).await.unwrap());
    records.give_up("k", "mine").await.unwrap();
    assert!(!records.renew_claim("k", "mine", LONG).await.unwrap());
    // It has not been claimed since.
    assert!(records.settle("k", ("mine", "settled"), LONG).await.unwrap());
    assert_eq!(records.claimed("k").await.unwrap().as_deref(), Some("settled"));

    let (id, asked) = (JobId(7), JobRecord::default());
    let queued = QueuedParts::default();
    records.create(id, &asked, (1, LONG, SHORT), "").await.unwrap();
    assert!(left(":job:").await <= short, "it soon expires");
    assert!(!records.read(id).await.unwrap().unwrap().accepted);
    assert!(records.renew(id, LONG).await.unwrap());
    assert!(left(":job:").await > short, "the record was renewed");
    assert!(records.accept(id, &queued, LONG * 2).await.unwrap());
    assert!(records.read(id).await.unwrap().unwrap().accepted);
    // A late renewal does not shorten the TTL of an accepted job.
    assert!(!records.renew(id, SHORT).await.unwrap());
    assert!(left(":job:").await > long);
    assert!(records.delete(id).await.unwrap());
    assert!(!records.renew(id, SHORT).await.unwrap());
    assert!(!records.accept(id, &queued, LONG).await.unwrap());
    assert!(records.read(id).await.unwrap().is_none());
}
