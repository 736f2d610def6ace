//! Faults of real processes over a real Redis, one at a time and without a clock. `make chaos` does the same under load,
//! and judges how long it takes.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::eventually;
use crate::harness::client::{Answer, Call};
use crate::harness::photos::{self, Photo};
use crate::harness::process::{Process, ocelli};
use crate::jobs::over_redis;
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop};

/// A grey that makes an engine crash or hang, if an option such as `--fake-crash-on` names it.
const MARKED: u8 = 66;

/// Redis, and a web process that has patience.
struct Processes {
    redis: RedisServer,
    web: Process,
}

impl Processes {
    /// Starts both, and a worker with these arguments.
    async fn start(binary: &Binary, worker_arguments: &[&str]) -> (Self, Process) {
        let redis = RedisServer::start(binary, Options::default().durable()).await;
        let worker = worker(&redis, worker_arguments).await;
        let patience = ["--deadline", "5m", "--max-deadline", "5m"];
        let web = over_redis::web(&redis.url(), &patience).await;
        (Self { redis, web }, worker)
    }

    fn photo(&self, photo: &Photo) -> Call {
        self.web.post("/predict").form([("image", &photo.bytes[..])])
    }

    /// Asks about a photo while the test goes on.
    fn ask(&self, level: u8) -> JoinHandle<Answer> {
        self.photo(&photos::grey(level)).spawn()
    }

    /// Photos are answered as they should be, and nothing of what came before is left.
    async fn is_well(&self) {
        let dog = photos::dog();
        assert_eq!(self.photo(&dog).send().await.best(), dog.label());
        self.is_empty().await;
    }

    /// Nothing is in the processes any more.
    async fn is_empty(&self) {
        self.web
            .metric("ocelli_admitted_images", |images| images == 0.0)
            .await;
        eventually("the queues are empty", async || {
            let mut jobs = 0;
            for key in self
                .redis
                .keys()
                .await
                .iter()
                .filter(|key| key.ends_with("jobs:normal"))
            {
                jobs += self.redis.command::<usize>(&["XLEN", key]).await;
            }
            jobs == 0
        })
        .await;
    }

    /// The key of the model's that ends so.
    async fn key(&self, end: &str) -> Option<String> {
        self.redis.keys().await.into_iter().find(|key| key.ends_with(end))
    }

    /// Waits until a photo is answered with this status and code.
    async fn answers(&self, status: u16, code: &str) -> Answer {
        let mut last = None;
        eventually(&format!("the answer is {status} {code}"), async || {
            let answer = self.photo(&photos::dog()).send().await;
            let is_so = answer.status == status && answer.json()["code"].as_str().unwrap_or_default() == code;
            last = Some(answer);
            is_so
        })
        .await;
        last.unwrap()
    }
}

/// A worker whose leases are short, and which goes on for long enough when it leaves that the web process knows.
async fn worker(redis: &RedisServer, arguments: &[&str]) -> Process {
    let url = redis.url();
    let mut command = ocelli(&["worker", "--listen", "127.0.0.1:0", "--redis", &url]);
    command
        .args(["--engine", "fake", "--lease", "1s"])
        .args(arguments);
    Process::start_worker(command).await
}

/// The argument that makes an engine do this at [`MARKED`].
fn at_marked(option: &str) -> [String; 2] {
    [option.to_owned(), MARKED.to_string()]
}

async fn marked_worker(redis: &RedisServer, option: &str) -> Process {
    let [option, byte] = at_marked(option);
    worker(redis, &[&option, &byte]).await
}

/// A processes whose only worker has a batch of one in its engine, which hangs.
async fn hung(binary: &Binary) -> (Processes, Process, JoinHandle<Answer>) {
    let [option, byte] = at_marked("--fake-hang-on");
    // Enough jobs are leased ahead of the one that hangs, whatever a batch was measured to cost.
    let (processes, worker) = Processes::start(binary, &[&option, &byte, "--max-batch", "4"]).await;
    let asked = processes.ask(MARKED);
    worker.metric("ocelli_leases", |leases| leases == 1.0).await;
    (processes, worker, asked)
}

#[tokio::test]
async fn a_job_whose_worker_is_killed_and_then_another_is_answered_by_a_third() {
    let Some(binary) = Binary::redis() else { return };
    let (processes, first, asked) = hung(&binary).await;
    let waiting = processes.ask(5);
    first.metric("ocelli_leases", |leases| leases == 2.0).await;
    drop(first);
    let second = marked_worker(&processes.redis, "--fake-crash-on").await;
    let (status, _) = second.ended().await;
    assert_eq!(status, None, "a signal ends it");
    let third = worker(&processes.redis, &[]).await;
    assert_eq!(asked.await.unwrap().best(), photos::grey(MARKED).label());
    assert_eq!(waiting.await.unwrap().best(), photos::grey(5).label());
    third.metric("ocelli_redelivered_total", |jobs| jobs >= 1.0).await;
    processes.is_well().await;
}

#[tokio::test]
async fn a_worker_that_was_frozen_learns_that_its_job_is_another_s() {
    let Some(binary) = Binary::redis() else { return };
    let (processes, frozen, asked) = hung(&binary).await;
    frozen.signal("STOP");
    let other = worker(&processes.redis, &[]).await;
    assert_eq!(asked.await.unwrap().best(), photos::grey(MARKED).label());
    frozen.signal("CONT");
    frozen
        .metric("ocelli_lost_leases_total", |leases| leases == 1.0)
        .await;
    processes
        .web
        .metric("ocelli_images_total", |images| images == 1.0)
        .await;
    other.metric("ocelli_redelivered_total", |jobs| jobs == 1.0).await;
    // Its engine still hangs, and would keep what it is given.
    drop(frozen);
    processes.is_well().await;
}

#[tokio::test]
async fn a_job_that_redis_loses_is_submitted_again() {
    let Some(binary) = Binary::redis() else { return };
    let (mut processes, lost, asked) = hung(&binary).await;
    processes.redis.restart(Data::Lost).await;
    drop(lost);
    let _other = worker(&processes.redis, &[]).await;
    assert_eq!(asked.await.unwrap().best(), photos::grey(MARKED).label());
    processes
        .web
        .metric("ocelli_resubmitted_total", |jobs| jobs >= 1.0)
        .await;
    processes.is_well().await;
}

#[tokio::test]
async fn without_redis_clients_get_503_until_it_is_back() {
    let Some(binary) = Binary::redis() else { return };
    let (mut processes, worker) = Processes::start(&binary, &[]).await;
    processes.redis.stop(Stop::Kill).await;
    let refused = processes.answers(503, "broker_unavailable").await;
    assert_eq!(refused.header("retry-after"), "1");
    for process in [&processes.web, &worker] {
        eventually("it is not ready", async || {
            process.get("/readyz").send().await.status == 503
        })
        .await;
        assert_eq!(
            process.get("/livez").send().await.status,
            200,
            "no restart is needed"
        );
    }
    processes.redis.restart(Data::Kept).await;
    processes.answers(200, "").await;
    eventually("the worker is ready", async || {
        worker.get("/readyz").send().await.status == 200
    })
    .await;
    processes.is_well().await;
}

#[tokio::test]
async fn when_the_last_worker_is_killed_clients_get_503_until_another_starts() {
    let Some(binary) = Binary::redis() else { return };
    let (processes, last) = Processes::start(&binary, &[]).await;
    drop(last);
    // Until it is missed, jobs are taken for it.
    let taken = processes.ask(7);
    processes
        .web
        .metric("ocelli_workers", |workers| workers == 0.0)
        .await;
    let refused = processes.answers(503, "no_worker").await;
    assert_eq!(refused.header("retry-after"), "1");
    let _next = worker(&processes.redis, &[]).await;
    assert_eq!(taken.await.unwrap().best(), photos::grey(7).label());
    processes.answers(200, "").await;
    processes.is_well().await;
}

#[tokio::test]
async fn a_photo_that_crashes_every_worker_becomes_a_dead_letter_and_the_others_are_answered() {
    let Some(binary) = Binary::redis() else { return };
    let (processes, first, poison) = hung(&binary).await;
    let neighbours: Vec<_> = (1..=3).map(|level| (level, processes.ask(level))).collect();
    first.metric("ocelli_leases", |leases| leases == 4.0).await;
    drop(first);
    let mut crashes = 0;
    let last = loop {
        let mut worker = marked_worker(&processes.redis, "--fake-crash-on").await;
        let mut crashed = false;
        eventually("it crashes, or there is an answer", async || {
            crashed = worker.has_ended();
            crashed || poison.is_finished()
        })
        .await;
        if !crashed {
            break worker;
        }
        crashes += 1;
    };
    assert_eq!(crashes, 3);
    poison.await.unwrap().refused(500, "poisonous");
    for (level, asked) in neighbours {
        assert_eq!(asked.await.unwrap().best(), photos::grey(level).label());
    }
    last.metric("ocelli_dead_letters_total", |letters| letters == 1.0)
        .await;
    let dead = processes.key(":dead").await.unwrap();
    assert_eq!(processes.redis.command::<usize>(&["XLEN", &dead]).await, 1);
    processes.is_well().await;
}

#[tokio::test]
async fn a_model_is_replaced_by_its_next_version_without_an_error() {
    let Some(binary) = Binary::redis() else { return };
    let (processes, old) = Processes::start(&binary, &[]).await;
    let next = next_version();
    let _new = worker(&processes.redis, &["--model", &next.path().display().to_string()]).await;
    let photo = photos::grey(9);
    let ask = async || {
        let call = processes.web.post("/v1/models/efficientnet-lite0/predict");
        let body = call.form([("image", &photo.bytes[..])]).send().await.ok();
        let label = body["results"][0]["predictions"][0]["label"].as_str().unwrap();
        let version = body["version"].as_str().unwrap().to_owned();
        let begins = if version == "2" { "new-" } else { "" };
        assert_eq!(label, format!("{begins}{}", photo.label()), "version {version}");
        version
    };
    eventually("the new version answers too", async || ask().await == "2").await;
    old.signal("TERM");
    let mut old = Some(old);
    eventually("the old version's worker has ended", async || {
        ask().await;
        old.as_mut().unwrap().has_ended()
    })
    .await;
    assert_eq!(old.take().unwrap().ended().await.0, Some(0));
    assert_eq!(ask().await, "2");
    processes.is_empty().await;
}

/// The built-in model's package as version 2, whose labels say so.
fn next_version() -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/efficientnet-lite0");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(from.join("model.onnx"), folder.path().join("model.onnx")).unwrap();
    let manifest = fs::read_to_string(from.join("model.toml")).unwrap();
    let manifest = manifest.replace("version = \"1\"", "version = \"2\"");
    fs::write(folder.path().join("model.toml"), manifest).unwrap();
    let labels = fs::read_to_string(from.join("labels.txt")).unwrap();
    let labels: Vec<String> = labels.lines().map(|label| format!("new-{label}\n")).collect();
    fs::write(folder.path().join("labels.txt"), labels.concat()).unwrap();
    folder
}

/// A worker that would wait for an hour, and its Redis, which has gone.
async fn without_redis(binary: &Binary, wire: &[&str], gone: impl AsyncFnOnce(&mut RedisServer)) -> Process {
    let mut redis = RedisServer::start(binary, Options::default()).await;
    let patience = ["--drain-delay", "1h", "--drain-timeout", "1h"];
    let worker = worker(&redis, &[&patience[..], wire].concat()).await;
    let readiness = async |wanted| {
        eventually("readiness is as it should be", async || {
            worker.get("/readyz").send().await.status == wanted
        })
        .await;
    };
    readiness(200).await;
    gone(&mut redis).await;
    readiness(503).await;
    worker.signal("TERM");
    let (status, log) = worker.ended().await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(
        log.iter().any(|line| line.contains("nothing to wait for")),
        "{log:?}"
    );
    redis.stop(Stop::Kill).await;
    Process::start_worker_early({
        let mut command = ocelli(&["worker", "--listen", "127.0.0.1:0", "--redis", &redis.url()]);
        command.args(["--engine", "fake"]).args(patience);
        command
    })
    .await
}

#[tokio::test]
async fn an_idle_worker_whose_redis_is_gone_or_hangs_waits_for_nothing_when_it_stops() {
    let Some(binary) = Binary::redis() else { return };
    let never_had_one = without_redis(&binary, &[], async |redis| redis.stop(Stop::Kill).await).await;
    never_had_one.signal("TERM");
    assert_eq!(never_had_one.ended().await.0, Some(0));
    without_redis(&binary, &[], async |redis| redis.pause()).await;
    let tutorial = ["--wire", "tutorial"];
    without_redis(&binary, &tutorial, async |redis| redis.stop(Stop::Kill).await).await;
}

#[tokio::test]
async fn a_web_process_whose_redis_is_gone_or_hangs_stops_too() {
    let Some(binary) = Binary::redis() else { return };
    for hangs in [false, true] {
        let mut redis = RedisServer::start(&binary, Options::default()).await;
        let web = over_redis::new_web(&redis.url(), &["--drain-timeout", "1h"]).await;
        if hangs {
            redis.pause();
        } else {
            redis.stop(Stop::Kill).await;
        }
        eventually("it misses Redis", async || {
            web.get("/readyz").send().await.status == 503
        })
        .await;
        web.signal("TERM");
        assert_eq!(web.ended().await.0, Some(0), "hangs: {hangs}");
    }
}

#[tokio::test]
async fn a_worker_that_holds_an_answer_waits_for_redis_and_says_so() {
    let Some(binary) = Binary::redis() else { return };
    let arguments = ["--fake-batch-time", "1s", "--drain-timeout", "1h"];
    let (mut processes, mut worker) = Processes::start(&binary, &arguments).await;
    let asked = processes.ask(5);
    worker.metric("ocelli_leases", |leases| leases == 1.0).await;
    processes.redis.stop(Stop::Kill).await;
    worker.signal("TERM");
    worker.logs("waits until Redis takes their replies").await;
    processes.redis.restart(Data::Kept).await;
    assert_eq!(asked.await.unwrap().best(), photos::grey(5).label());
    assert_eq!(worker.ended().await.0, Some(0));
}
