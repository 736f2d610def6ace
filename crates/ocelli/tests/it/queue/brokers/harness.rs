//! Both ends of a broker, without HTTP and without engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocelli::compute::pool::Pool;
use ocelli::metrics::Metrics;
use ocelli::models::admission::AdmissionLimits;
use ocelli::models::catalog::Catalog;
use ocelli::models::priority::Priority;
use ocelli::models::served_model::{Runtime, ServedModel};
use ocelli::output::postprocess::{Output, OutputKind, OutputRequest};
use ocelli::queue::job::{Job, JobCost, JobId, Reply};
use ocelli::queue::redis::{self, Link, RedisUrl, RedisWorker, RedisWorkers, WebConfig, WorkerSideConfig};
use ocelli::queue::{
    Broker, Deadline, Envelope, JobQueue, Leased, MemoryBroker, ModelQueue, Refill, ReplyReceiver, waiter,
};
use ocelli_engine::CostTable;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::harness::photos;
use crate::support::{PATIENCE, eventually};

/// How long a lease lives here. Short, so that tests need not wait; long enough for a machine that compiles meanwhile.
pub(crate) const LEASE: Duration = Duration::from_millis(1200);

/// How much a harness may hold.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) jobs: usize,
    /// Means something over Redis only; in one process, admission counts bytes.
    pub(crate) bytes: u64,
    /// Jobs that a worker leases ahead; means something over Redis only.
    pub(crate) ahead: usize,
}

impl Limits {
    /// Of jobs, with room for any number of bytes.
    pub(crate) const fn jobs(jobs: usize, ahead: usize) -> Self {
        Self {
            jobs,
            bytes: u64::MAX >> 16,
            ahead,
        }
    }
}

/// A broker with one worker.
pub(crate) struct Harness {
    pub(crate) broker: Broker,
    pub(crate) model: Arc<ServedModel>,
    pub(crate) worker: Worker,
    pub(crate) metrics: Arc<Metrics>,
    target: Option<(RedisUrl, String)>,
    limits: Limits,
    stop: CancellationToken,
}

/// The engines of a worker, in the hands of the test.
pub(crate) struct Worker {
    pub(crate) queue: ModelQueue,
    pub(crate) metrics: Arc<Metrics>,
    side: Option<RedisWorker>,
    tasks: Option<tokio::task::JoinHandle<()>>,
    stop_leasing: CancellationToken,
}

impl Harness {
    pub(crate) fn memory(limits: Limits) -> Self {
        let metrics = Arc::new(Metrics::default());
        let queues = JobQueue::new(Arc::clone(&metrics));
        let model = model(limits.ahead);
        let queue = queues.open(&model.id, limits.jobs, Refill::Pool(Pool::default()));
        Self {
            broker: Broker::Memory(MemoryBroker::new(queues)),
            worker: Worker {
                queue,
                metrics: Arc::clone(&metrics),
                side: None,
                tasks: None,
                stop_leasing: CancellationToken::new(),
            },
            model,
            metrics,
            target: None,
            limits,
            stop: CancellationToken::new(),
        }
    }

    /// Over the Redis of `url`, under a prefix that nobody else has.
    pub(crate) async fn redis(url: &str, authority: Option<Vec<u8>>, limits: Limits) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let target = RedisUrl::parse(url, authority).unwrap();
        let metrics = Arc::new(Metrics::default());
        let catalog = Catalog::default();
        let config = WebConfig {
            prefix: prefix.clone(),
            name: "web".to_owned(),
            limits: AdmissionLimits {
                jobs: limits.jobs,
                bytes: limits.bytes,
            },
            max_result_bytes: 1 << 20,
        };
        let (broker, tasks) = redis::web(
            config,
            links(&target, "web"),
            catalog.clone(),
            Pool::default(),
            Arc::clone(&metrics),
        );
        let stop = CancellationToken::new();
        tokio::spawn(tasks.run(stop.clone()));
        let broker = Broker::Redis(broker);
        let worker = start_worker(&target, &prefix, "worker-0", limits);
        eventually("the web side knows the worker", async || {
            catalog
                .find(None)
                .is_ok_and(|model| broker.admit(&model, 1, Priority::High).is_ok())
        })
        .await;
        let model = catalog.find(None).unwrap();
        Self {
            broker,
            model,
            worker,
            metrics,
            target: Some((target, prefix)),
            limits,
            stop,
        }
    }

    /// One more worker of the same model, over the same Redis.
    pub(crate) fn another_worker(&self, name: &str) -> Worker {
        let (target, prefix) = self.target.as_ref().expect("only Redis has several workers");
        start_worker(target, prefix, name, self.limits)
    }

    /// A job whose pixels all have this value, submitted.
    pub(crate) fn submit(&self, pixel: u8, priority: Priority, life: Duration) -> ReplyReceiver {
        let (waiter, pending) = waiter();
        let job = Job {
            id: JobId::random(),
            envelope: Envelope {
                request_id: format!("request-{pixel}").into(),
                model: Arc::clone(&self.model),
                priority,
                deadline: Deadline::new(Instant::now(), life),
            },
            wants: vec![OutputRequest {
                output: 0,
                form: OutputKind::Vector { normalize: false },
            }],
            pixels: vec![pixel; self.model.input().elements()],
        };
        self.broker.submit(job, waiter);
        pending
    }

    /// Submits jobs one after the other, each of them accepted before the next.
    pub(crate) async fn submit_all(&self, jobs: &[(u8, Priority)]) -> Vec<ReplyReceiver> {
        let mut pending = Vec::new();
        for (index, &(pixel, priority)) in jobs.iter().enumerate() {
            pending.push(self.submit(pixel, priority, LONG));
            eventually("the job is accepted", async || self.broker.depth() > index).await;
        }
        pending
    }

    /// A command to the Redis behind this.
    pub(crate) async fn command<T: ::redis::FromRedisValue>(&self, command: &::redis::Cmd) -> T {
        let (target, _) = self.target.as_ref().expect("only Redis takes commands");
        links(target, "test").0.query(command).await.unwrap()
    }

    pub(crate) fn prefix(&self) -> &str {
        self.target.as_ref().map_or("", |(_, prefix)| prefix)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) const LONG: Duration = Duration::from_secs(600);

impl Worker {
    /// Takes exactly `count` jobs, waiting for them.
    pub(crate) async fn lease(&self, count: usize) -> Vec<Leased> {
        let mut jobs = Vec::new();
        eventually(&format!("{count} jobs are there"), async || {
            jobs.extend(self.queue.lease(count - jobs.len()));
            jobs.len() == count
        })
        .await;
        jobs
    }

    /// Waits until `count` jobs have been fetched and wait for an engine.
    pub(crate) async fn fetched(&self, count: usize) {
        eventually(&format!("{count} jobs are fetched"), async || {
            self.queue.depth() == count
        })
        .await;
    }

    /// Ends this worker's tasks as a crash does: without a word to Redis.
    pub(crate) fn crash(&mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.abort();
        }
    }

    /// Leases no more.
    pub(crate) async fn stop_leasing(&self) {
        self.stop_leasing.cancel();
        if let Some(side) = &self.side {
            side.leave().await;
        }
    }

    /// Waits until it holds nothing, after [`Worker::stop_leasing`].
    pub(crate) async fn finished(&self) {
        let side = self.side.as_ref().expect("over memory there is nothing to leave");
        tokio::time::timeout(PATIENCE, side.finished()).await.unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.crash();
    }
}

/// What the test's engine makes of a job: a number that says which one it was.
pub(crate) fn compute(leased: Leased) {
    let pixel = f32::from(leased.job.pixels[0]);
    leased.complete(Reply {
        result: Ok(vec![Output::Vector(vec![pixel])]),
        cost: JobCost {
            batch_size: 3,
            infer: Duration::from_millis(7),
            ..JobCost::default()
        },
    });
}

fn start_worker(target: &RedisUrl, prefix: &str, name: &str, limits: Limits) -> Worker {
    let metrics = Arc::new(Metrics::default());
    let room = Arc::new(Notify::new());
    let model = model(limits.ahead);
    let queue = JobQueue::new(Arc::clone(&metrics));
    let queue = queue.open(&model.id, 1 << 10, Refill::Task(Arc::clone(&room)));
    let config = WorkerSideConfig {
        prefix: prefix.to_owned(),
        name: name.to_owned(),
        lease: LEASE,
        dead_letters: 10,
        dead_ttl: PATIENCE,
    };
    let (link, reader) = links(target, name);
    let workers = RedisWorkers::new(config, link, Arc::clone(&metrics));
    let (side, tasks) = workers.worker(name.to_owned(), reader, &model, (queue.clone(), room));
    let stop_leasing = CancellationToken::new();
    let tasks = tokio::spawn(tasks.run(stop_leasing.clone(), CancellationToken::new()));
    Worker {
        queue,
        metrics,
        side: Some(side),
        tasks: Some(tasks),
        stop_leasing,
    }
}

/// The built-in model, loaded as far as anybody can tell.
fn model(ahead: usize) -> Arc<ServedModel> {
    let (model, _) = ServedModel::split(photos::PACKAGE.clone());
    model.set_instances(1);
    model.set_runtime(Runtime {
        engine: "test".to_owned(),
        engine_version: "1".to_owned(),
        instances: 1,
        threads_per_instance: 1,
        max_batch: ahead,
        cost: CostTable::new([(1, Duration::from_millis(1))]).unwrap(),
        vector_lengths: vec![1],
    });
    Arc::new(model)
}

fn links(target: &RedisUrl, name: &str) -> (Link, Link) {
    let link = || Link::new(target.clone(), name.to_owned(), PATIENCE);
    (link(), link())
}
