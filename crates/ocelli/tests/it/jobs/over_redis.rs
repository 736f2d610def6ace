//! Asynchronous jobs over Redis, with real processes: every web process returns the jobs of the others.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use hyper::Method;
use ocelli::queue::wire::{JobHeader, ReplyKind, TensorHeader};
use serde_json::Value;

use crate::eventually;
use crate::harness::client::Call;
use crate::harness::photos::{self, Photo};
use crate::harness::process::{Process, ocelli};
use crate::harness::server::value;
use crate::jobs::{accepted, ask, job, shows, until, until_gone};
use crate::support::redis::{Binary, Cluster, Options, RedisServer};

/// A web process that may not know any model yet.
pub(crate) async fn new_web(url: &str, arguments: &[&str]) -> Process {
    let mut command = ocelli(&["web", "--listen", "127.0.0.1:0", "--redis", url]);
    command.args(arguments);
    Process::start(command).await
}

/// A web process that knows its model, even if the worker has gone.
pub(crate) async fn web(url: &str, arguments: &[&str]) -> Process {
    let web = new_web(url, arguments).await;
    eventually("the web process knows the model", async || {
        let models = web.get("/v1/models").send().await.ok();
        models["models"][0]["name"] == "efficientnet-lite0"
    })
    .await;
    web
}

/// A worker with the fake engine.
pub(crate) async fn worker(url: &str, arguments: &[&str]) -> Process {
    let mut command = ocelli(&["worker", "--listen", "127.0.0.1:0", "--redis", url]);
    command.args(["--engine", "fake"]);
    command.args(arguments);
    Process::start_worker(command).await
}

/// Two web processes that know the model, without a worker.
pub(crate) async fn webs_without_worker(url: &str, arguments: &[&str]) -> [Process; 2] {
    // It has no jobs, so it need not wait until the web processes notice its shutdown.
    let worker = worker(url, &["--drain-delay", "0s"]).await;
    let webs = [web(url, arguments).await, web(url, arguments).await];
    worker.signal("TERM");
    assert_eq!(worker.ended().await.0, Some(0));
    for web in &webs {
        misses_the_worker(web).await;
    }
    webs
}

pub(crate) async fn misses_the_worker(web: &Process) {
    eventually("the worker is missed", async || {
        web.get("/v1/models/efficientnet-lite0").send().await.ok()["state"] == "no_worker"
    })
    .await;
}

/// Retries a job until there is room: for a moment, admission still considers the queue full.
async fn accepted_in_the_end(call: &Call) -> String {
    let mut last = None;
    eventually("there is room", async || {
        let answer = call.clone().send().await;
        let accepted = answer.status != 429;
        last = Some(answer);
        accepted
    })
    .await;
    accepted(&last.unwrap())
}

async fn delete(web: &Process, job: &str) -> u16 {
    let call = Call::new(web.address, Method::DELETE, job);
    call.send().await.status.as_u16()
}

pub(crate) async fn metric(process: &Process, name: &str) -> f64 {
    value(process.get("/metrics").send().await.text(), name)
}

/// The keys of job records, without those of queues.
async fn job_keys(redis: &RedisServer) -> Vec<String> {
    let belongs = |key: &String| {
        [":job:", ":once:", "{@jobs}"]
            .iter()
            .any(|part| key.contains(part))
    };
    redis.keys().await.into_iter().filter(belongs).collect()
}

#[tokio::test]
async fn any_web_process_returns_a_job() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    hold_everywhere(&redis.url()).await;
    assert_eq!(redis.command::<usize>(&["ZCARD", "ocelli:{@jobs}:kept"]).await, 0);
    assert_eq!(
        redis
            .command::<Vec<String>>(&["HMGET", "ocelli:{@jobs}:sizes", "images", "bytes"])
            .await,
        ["0", "0"]
    );
}

#[tokio::test]
async fn any_web_process_returns_a_job_in_a_cluster() {
    let Some(binary) = Binary::redis() else { return };
    let cluster = Cluster::start(&binary, 3, 0, Options::default()).await;
    let urls = cluster.urls();
    let hosts: Vec<&str> = urls
        .iter()
        .map(|url| url.trim_start_matches("redis://").trim_end_matches('/'))
        .collect();
    hold_everywhere(&format!("redis+cluster://{}", hosts.join(","))).await;
}

/// Submits, reads, deletes and repeats, each at the web process that has not seen the job.
async fn hold_everywhere(url: &str) {
    let _worker = worker(url, &[]).await;
    let [here, there] = [web(url, &[]).await, web(url, &[]).await];
    let photos = [photos::dog(), photos::without_masks(), photos::grey(9)];
    let call = job(here.address, &photos).header("Idempotency-Key", "a");
    let answer = call.send().await;
    assert_eq!(answer.json()["durable"], true);
    let first = accepted(&answer);
    let done = until(there.address, &first, "done").await;
    for (part, photo) in [(0, &photos[0]), (2, &photos[2])] {
        assert_eq!(
            done["results"][part]["predictions"][0]["label"],
            photo.label(),
            "{done}"
        );
    }
    assert_eq!(done["results"][1]["code"], "invalid_image");
    assert_eq!(done["created"], answer.json()["created"]);
    assert_eq!(done["expires"], answer.json()["expires"]);
    assert_eq!(ask(here.address, &first).await.ok(), done);
    let again = job(there.address, &photos).header("Idempotency-Key", "a");
    assert_eq!(accepted(&again.send().await), first);
    let other = job(there.address, &photos[..1]).header("Idempotency-Key", "a");
    other.send().await.refused(422, "idempotency_conflict");
    // Invalid images are refused before a job is created.
    let broken = Photo::new(&photos::DOG[..photos::DOG.len() / 2]);
    job(here.address, &[broken])
        .send()
        .await
        .refused(400, "invalid_image");
    assert_eq!(delete(&there, &first).await, 204);
    ask(here.address, &first).await.refused(404, "unknown_job");
    assert_eq!(delete(&here, &first).await, 404);
    let once_more = job(there.address, &photos[..1]).header("Idempotency-Key", "a");
    let second = accepted(&once_more.send().await);
    assert_ne!(first, second);
    shows(&until(here.address, &second, "done").await, &photos[..1]);
    assert_eq!(delete(&here, &second).await, 204);
}

#[tokio::test]
async fn an_accepted_job_survives_its_web_process_and_waits_for_a_worker() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let [accepting, other] = webs_without_worker(&redis.url(), &[]).await;
    let photos = [photos::dog(), photos::grey(4)];
    let job = accepted(&job(accepting.address, &photos).send().await);
    accepting.signal("KILL");
    accepting.ended().await;
    assert_eq!(ask(other.address, &job).await.ok()["state"], "queued");
    let worker = worker(&redis.url(), &[]).await;
    let done = until(other.address, &job, "done").await;
    shows(&done, &photos);
    // Its labels survive the worker and the web process that knew the model.
    other.metric("ocelli_workers", |workers| workers == 1.0).await;
    worker.signal("KILL");
    worker.ended().await;
    misses_the_worker(&other).await;
    let newcomer = new_web(&redis.url(), &[]).await;
    let models = newcomer.get("/v1/models").send().await.ok();
    assert_eq!(models, serde_json::json!({ "models": [] }));
    assert_eq!(ask(newcomer.address, &job).await.ok(), done);
}

#[tokio::test]
async fn one_key_at_many_web_processes_creates_one_job() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = worker(&redis.url(), &[]).await;
    let webs = [web(&redis.url(), &[]).await, web(&redis.url(), &[]).await];
    let photos = [photos::grey(1)];
    let calls = (0..20).map(|index| {
        let call = job(webs[index % 2].address, &photos);
        call.header("Idempotency-Key", "the-same").send()
    });
    let mut ids = BTreeSet::new();
    for answer in join_all(calls).await {
        if answer.status == 409 {
            answer.refused(409, "idempotency_in_progress");
        } else {
            ids.insert(accepted(&answer));
        }
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let job = ids.pop_first().unwrap();
    shows(&until(webs[0].address, &job, "done").await, &photos);
    let mut jobs = 0.0;
    for web in &webs {
        jobs += metric(web, "ocelli_async_jobs_total").await;
    }
    assert_eq!(jobs, 1.0);
}

#[tokio::test]
async fn a_job_without_a_worker_fails_at_its_deadline_and_leaves_nothing() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let [web, other] = webs_without_worker(&redis.url(), &["--job-ttl", "3s"]).await;
    let call = job(web.address, &[photos::grey(2)]).header("X-Timeout-Ms", "1500");
    let job = accepted(&call.header("Idempotency-Key", "a").send().await);
    let failed = until(other.address, &job, "failed").await;
    assert_eq!(failed["results"][0]["code"], "deadline_exceeded");
    until_gone(other.address, &job).await;
    eventually("its keys are gone", async || job_keys(&redis).await.is_empty()).await;
    for key in redis.keys().await {
        let left: i64 = redis.command(&["PTTL", &key]).await;
        assert!(left > 0, "{key} stays for good");
    }
}

#[tokio::test]
async fn a_deleted_job_is_not_computed_and_a_late_reply_is_ignored() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let [web, other] = webs_without_worker(&redis.url(), &[]).await;
    let waiting = accepted(&job(web.address, &[photos::grey(2)]).send().await);
    assert_eq!(delete(&other, &waiting).await, 204);
    let late = accepted(&job(web.address, &[photos::grey(3)]).send().await);
    let worker = worker(&redis.url(), &["--fake-image-time", "2s", "--max-batch", "1"]).await;
    worker.metric("ocelli_leases", |leases| leases == 1.0).await;
    assert_eq!(delete(&other, &late).await, 204);
    worker
        .metric("ocelli_orphaned_replies_total", |replies| replies == 1.0)
        .await;
    for job in [&waiting, &late] {
        ask(web.address, job).await.refused(404, "unknown_job");
    }
    assert!(
        job_keys(&redis).await.iter().all(|key| key.contains("{@jobs}")),
        "{:?}",
        job_keys(&redis).await
    );
}

#[tokio::test]
async fn a_job_with_an_invalid_reply_address_affects_no_other() {
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    let worker = worker(&server.url(), &[]).await;
    let web = web(&server.url(), &[]).await;
    let digest = &photos::PACKAGE.card.digest()[..16];
    let stream = format!("ocelli:{{efficientnet-lite0}}:1:{digest}:jobs:normal");
    let now: Vec<String> = server.command(&["TIME"]).await;
    let now = format!("{}{:0>6}", now[0], now[1]);
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for (kind, part) in [
        (ReplyKind::Stream, 0),
        (ReplyKind::Record, 0),
        (ReplyKind::Record, u32::MAX),
    ] {
        let header = JobHeader {
            id: vec![1; 16],
            // A hash.
            reply_to: "ocelli:{@registry}:workers".to_owned(),
            timeout_us: 600_000_000,
            inputs: vec![TensorHeader {
                name: String::new(),
                kind: 0,
                shape: vec![224, 224, 3],
            }],
            reply_kind: kind as i32,
            part,
            ..JobHeader::default()
        };
        let mut add = redis::cmd("XADD");
        add.arg(&stream).arg("*").arg("j").arg(header.encode_frame());
        add.arg("t").arg(&now).arg("p").arg(vec![0_u8; 224 * 224 * 3]);
        let _: String = add.query_async(&mut connection).await.unwrap();
    }
    let job = accepted(&job(web.address, &[photos::grey(1)]).send().await);
    shows(&until(web.address, &job, "done").await, &[photos::grey(1)]);
    worker
        .metric("ocelli_refused_messages_total{what=\"reply_place\"}", |count| {
            count == 1.0
        })
        .await;
    worker
        .metric("ocelli_orphaned_replies_total", |count| count == 2.0)
        .await;
    eventually("the queue is empty", async || {
        server.command::<usize>(&["XLEN", &stream]).await == 0
    })
    .await;
}

#[tokio::test]
async fn an_image_that_crashes_every_worker_fails_alone() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let hung = worker(&redis.url(), &["--fake-hang-on", "66", "--lease", "1s"]).await;
    let web = web(&redis.url(), &[]).await;
    let photos = [photos::grey(66), photos::grey(5)];
    let job = accepted(&job(web.address, &photos).send().await);
    hung.metric("ocelli_leases", |leases| leases == 2.0).await;
    drop(hung);
    let mut crashes = 0;
    let done = loop {
        let mut worker = worker(&redis.url(), &["--fake-crash-on", "66", "--lease", "1s"]).await;
        let (mut crashed, mut last) = (false, Value::Null);
        eventually("it crashes, or the job is done", async || {
            crashed = worker.has_ended();
            last = ask(web.address, &job).await.ok();
            crashed || last["state"] == "done"
        })
        .await;
        if !crashed {
            break last;
        }
        crashes += 1;
    };
    assert_eq!(crashes, 3);
    assert_eq!(done["results"][0]["code"], "poisonous");
    let other = &done["results"][1]["predictions"][0]["label"];
    assert_eq!(other, photos[1].label());
}

#[tokio::test]
async fn a_part_is_answered_once_even_if_several_workers_answer_it() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let slow = ["--fake-image-time", "1s", "--lease", "1s"];
    let frozen = worker(&redis.url(), &slow).await;
    let web = web(&redis.url(), &[]).await;
    let photos = [photos::grey(1), photos::grey(2)];
    let job = accepted(&job(web.address, &photos).send().await);
    frozen.metric("ocelli_leases", |leases| leases > 0.0).await;
    frozen.signal("STOP");
    let other = worker(&redis.url(), &slow).await;
    let done = until(web.address, &job, "done").await;
    shows(&done, &photos);
    other.metric("ocelli_redelivered_total", |jobs| jobs >= 1.0).await;
    frozen.signal("CONT");
    frozen.metric("ocelli_leases", |leases| leases == 0.0).await;
    assert_eq!(ask(web.address, &job).await.ok(), done);
}

#[tokio::test]
async fn workers_rank_and_pool_so_that_only_the_requested_result_is_kept() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = worker(&redis.url(), &[]).await;
    let web = web(&redis.url(), &[]).await;
    let job = accepted(&job(web.address, &[photos::grey(1)]).send().await);
    until(web.address, &job, "done").await;
    let keys = job_keys(&redis).await;
    let record = keys.iter().find(|key| key.contains(":job:")).expect("a record");
    let reply: usize = redis.command(&["HSTRLEN", record, "part0"]).await;
    // The model has 1,000 classes, and the job requests five.
    assert!((1..200).contains(&reply), "{reply} bytes");
}

#[tokio::test]
async fn a_job_without_room_for_its_results_is_refused_before_it_is_queued() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let [web, other] = webs_without_worker(&redis.url(), &["--max-job-bytes", "3kB"]).await;
    let first = accepted(&job(web.address, &[photos::grey(1), photos::grey(2)]).send().await);
    let second = job(other.address, &[photos::grey(3)]);
    let answer = second.clone().send().await;
    let text = answer.refused(429, "too_many_jobs");
    assert!(text.contains("--max-job-bytes"), "{text}");
    let all_classes = Call::new(other.address, Method::POST, "/v1/jobs?top_k=1000");
    let photo = photos::grey(3);
    let never = all_classes.form([("image", &photo.bytes[..])]).send().await;
    assert!(never.refused(413, "too_large").contains("fewer classes"));
    assert_eq!(delete(&web, &first).await, 204);
    let second = accepted_in_the_end(&second).await;
    let _worker = worker(&redis.url(), &[]).await;
    until(web.address, &second, "done").await;
}

#[tokio::test]
async fn a_job_that_finds_no_room_leaves_nothing_behind() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let [web, other] =
        webs_without_worker(&redis.url(), &["--queue-jobs", "2", "--max-job-images", "4"]).await;
    let first = accepted(&job(web.address, &[photos::grey(1)]).send().await);
    let never = job(
        other.address,
        &[photos::grey(2), photos::grey(3), photos::grey(4)],
    );
    never.send().await.refused(413, "too_large");
    let two = [photos::grey(2), photos::grey(3)];
    let call = job(other.address, &two).header("Idempotency-Key", "a");
    call.clone().send().await.refused(429, "queue_full");
    let keys = job_keys(&redis).await;
    assert_eq!(keys.len(), 3, "one record, and the two that count: {keys:?}");
    let sizes: Vec<u64> = redis
        .command(&["HMGET", "ocelli:{@jobs}:sizes", "images", "bytes"])
        .await;
    assert_eq!(sizes[0], 1);
    assert!((1024..2048).contains(&sizes[1]), "five classes: {sizes:?}");
    assert_eq!(delete(&web, &first).await, 204);
    let second = accepted_in_the_end(&call).await;
    let _worker = worker(&redis.url(), &[]).await;
    shows(&until(web.address, &second, "done").await, &two);
    let third = accepted_in_the_end(&job(web.address, &two)).await;
    until(web.address, &third, "done").await;
    eventually("there is room in the queue, and not among the jobs", async || {
        let answer = job(web.address, &[photos::grey(1)]).send().await;
        answer.json()["code"] == "too_many_jobs"
    })
    .await;
}
