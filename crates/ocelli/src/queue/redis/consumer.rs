//! The worker's side: fills the queue of this process from Redis, answers, and keeps its leases and its name alive.

pub(crate) mod ack;
pub(crate) mod lease;
pub(crate) mod reader;
pub(crate) mod reply_writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::clock::RedisClock;
use super::connection::{Link, LinkError};
use super::keys::{GROUP, ModelKeys};
use super::needs::{Needs, Role};
use super::queue_stats::look;
use super::registry::{self, Announced, Announcement, BatchCost};
use super::scripts::{RENEW, TIDY};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::served_model::ServedModel;
use crate::queue::ModelQueue;
use lease::{Done, EntryAddress, Leases};
use reader::QueueReader;

/// Between heartbeats, unless leases need renewing sooner.
const BEAT: Duration = Duration::from_secs(1);

/// Between looks for consumers that have ended.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// How long a worker may hear nothing from Redis, not even that there is nothing, and still count as ready.
const DEAF: Duration = Duration::from_secs(5);

/// How long the streams of a model are kept that no worker serves and no web process fills.
pub(super) const KEEP_STREAMS: Duration = Duration::from_secs(60);

/// What the worker's side is made from.
#[derive(Clone, Debug)]
pub struct WorkerSideConfig {
    /// What every key begins with.
    pub prefix: String,
    /// The name of this process, which no other has.
    pub name: String,
    /// How long a job is this worker's without a sign of life.
    pub lease: Duration,
    /// The most dead letters kept.
    pub dead_letters: usize,
    /// How long dead letters are kept.
    pub dead_ttl: Duration,
}

/// What a worker's tasks share, and what its role may ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisWorker {
    shared: Arc<ConsumerShared>,
}

#[derive(Debug)]
pub(crate) struct ConsumerShared {
    pub(super) config: WorkerSideConfig,
    pub(super) keys: ModelKeys,
    pub(super) link: Link,
    needs: Needs,
    /// What jobs are read over.
    reader: Link,
    pub(super) model: Arc<ServedModel>,
    pub(super) queue: ModelQueue,
    pub(super) metrics: Arc<Metrics>,
    pub(super) leases: Leases,
    pub(super) clock: RedisClock,
    /// When Redis last answered a read for jobs.
    pub(super) last_read: Mutex<Option<Instant>>,
    card: Vec<u8>,
    /// The digest that others serve under this model's name and version, where none of them serves this one.
    conflict: Mutex<Option<String>>,
    leaving: AtomicBool,
    retired: AtomicBool,
    /// Ends when no more jobs are leased.
    fed: CancellationToken,
}

/// The tasks behind a [`RedisWorker`].
#[derive(Debug)]
pub struct WorkerTasks {
    shared: Arc<ConsumerShared>,
    reader: Link,
    room: Arc<Notify>,
    done: mpsc::UnboundedReceiver<Done>,
}

/// The handle, and what has to run for it. `reader` must have patience for a second of blocking. `room` is told when
/// something was taken from `queue`.
#[must_use]
pub fn worker(
    config: WorkerSideConfig,
    (link, reader): (Link, Link),
    model: &Arc<ServedModel>,
    (queue, room): (ModelQueue, Arc<Notify>),
    metrics: Arc<Metrics>,
) -> (RedisWorker, WorkerTasks) {
    let (leases, done) = Leases::new();
    let shared = Arc::new(ConsumerShared {
        keys: ModelKeys::new(&config.prefix, &model.id),
        needs: Needs {
            role: Role::Worker,
            prefix: config.prefix.clone(),
        },
        reader: reader.clone(),
        card: registry::encode_card(&model.card),
        config,
        link,
        model: Arc::clone(model),
        queue,
        metrics,
        leases,
        clock: RedisClock::default(),
        last_read: Mutex::new(None),
        conflict: Mutex::new(None),
        leaving: AtomicBool::new(false),
        retired: AtomicBool::new(false),
        fed: CancellationToken::new(),
    });
    let tasks = WorkerTasks {
        shared: Arc::clone(&shared),
        reader,
        room,
        done,
    };
    (RedisWorker { shared }, tasks)
}

impl RedisWorker {
    /// Says whether jobs reach this worker.
    ///
    /// # Errors
    /// [`Error::BrokerUnavailable`], or [`Error::NotReady`] where others serve another digest under the same name.
    pub fn ready(&self) -> Result<(), Error> {
        if let Some(trouble) = self.shared.link.trouble() {
            return Err(Error::BrokerUnavailable(trouble));
        }
        if self.shared.conflict.lock().is_some() {
            return Err(Error::NotReady(
                "others serve another digest under the same name and version",
            ));
        }
        let heard = *self.shared.last_read.lock();
        if heard.is_none_or(|heard| heard.elapsed() > DEAF) && self.shared.leases.len() == 0 {
            let trouble = self.shared.reader.trouble();
            let trouble = trouble.unwrap_or_else(|| "no answer to reading jobs".to_owned());
            return Err(Error::BrokerUnavailable(trouble));
        }
        self.shared.model.ready()
    }

    /// How long Redis has been out of reach; `None` while it is not.
    #[must_use]
    pub fn redis_down_for(&self) -> Option<Duration> {
        self.shared.link.down_for()
    }

    /// Jobs that this worker has taken and not answered.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.shared.leases.len()
    }

    /// Publishes the model, once it is loaded.
    ///
    /// # Errors
    /// [`LinkError`], for a conflict too: others serve another digest under the same name and version.
    pub async fn announce(&self) -> Result<(), LinkError> {
        match self.shared.announce().await? {
            Announced::Yes => Ok(()),
            Announced::Conflict(digest) => Err(LinkError::Refused(self.shared.conflict_with(&digest))),
        }
    }

    /// Takes back what [`RedisWorker::announce`] published, for a worker whose tasks never ran.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn withdraw(&self) -> Result<(), LinkError> {
        self.shared.withdraw().await
    }

    /// Tells the web processes to send nothing new for this worker's sake.
    pub async fn leave(&self) {
        self.shared.leaving.store(true, Ordering::Release);
        if let Err(error) = self.shared.announce().await {
            tracing::warn!(%error, "the web processes could not be told that this worker leaves");
        }
    }

    /// Tells the web processes that nobody computes the model any more, as far as this worker knows.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn retire(&self) -> Result<(), LinkError> {
        self.shared.retired.store(true, Ordering::Release);
        self.shared.announce().await.map(|_| ())
    }

    /// Whether another live worker has the same package and stays.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn is_replaced(&self) -> Result<bool, LinkError> {
        let shared = &self.shared;
        let live = registry::watch(&shared.link, &shared.config.prefix).await?;
        Ok(live.iter().any(|(name, other)| {
            *name != shared.config.name && other.model_id() == *shared.model.id && !other.leaving
        }))
    }

    /// How many jobs of the model wait or are being computed, by whomever.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn depth(&self) -> Result<usize, LinkError> {
        self.shared.depth().await
    }

    /// Waits until no more jobs are taken and every one that was is answered.
    pub async fn finished(&self) {
        self.shared.fed.cancelled().await;
        self.shared.leases.none_left().await;
    }
}

impl ConsumerShared {
    async fn depth(&self) -> Result<usize, LinkError> {
        let standing = look(&self.link, &self.keys, &[]).await?;
        Ok(standing.depth)
    }

    fn announcement(&self) -> Announcement {
        let runtime = self.model.runtime();
        let mut announcement = Announcement {
            model: self.model.id.name.clone(),
            version: self.model.id.version.clone(),
            digest: self.model.id.digest.clone(),
            instances: if self.retired.load(Ordering::Acquire) {
                0
            } else {
                self.model.instances() as u32
            },
            leaving: self.leaving.load(Ordering::Acquire),
            leases: self.leases.len() as u32,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            superseded: self.model.is_superseded(),
            ..Announcement::default()
        };
        if let Some(runtime) = runtime {
            let cost = |(batch, time): (usize, Duration)| BatchCost {
                batch: batch as u32,
                nanoseconds: time.as_nanos() as u64,
            };
            announcement.costs = runtime.cost.entries().map(cost).collect();
            let lengths = runtime.vector_lengths.iter().map(|&length| length as u32);
            announcement.vector_lengths = lengths.collect();
            announcement.engine = runtime.engine;
            announcement.engine_version = runtime.engine_version;
            announcement.threads_per_instance = runtime.threads_per_instance as u32;
            announcement.max_batch = runtime.max_batch as u32;
        }
        announcement
    }

    async fn announce(&self) -> Result<Announced, LinkError> {
        let announced = registry::announce(
            &self.link,
            &self.config.prefix,
            &self.config.name,
            (&self.announcement(), &self.card),
            &self.clock,
        )
        .await?;
        *self.conflict.lock() = match &announced {
            Announced::Yes => None,
            Announced::Conflict(digest) => Some(digest.clone()),
        };
        Ok(announced)
    }

    fn conflict_with(&self, digest: &str) -> String {
        let own = &self.model.id;
        format!(
            "live workers serve {} version {} with digest {digest}, and this package has {}; give it another version in \
             model.toml, give those workers this package and reload them, or stop them first",
            own.name, own.version, own.digest
        )
    }

    /// Renews all leases, and marks those that are another worker's now.
    async fn renew(&self) -> Result<(), LinkError> {
        let places: Vec<EntryAddress> = self.leases.places(Instant::now());
        let mut script = RENEW.prepare_invoke();
        for key in &self.keys.jobs {
            script.key(key);
        }
        script
            .arg(GROUP)
            .arg(&self.config.name)
            .arg(KEEP_STREAMS.as_millis() as u64);
        for place in &places {
            script.arg(place.priority.index() + 1).arg(&place.entry);
        }
        let lost: Vec<usize> = self.link.script(&script).await?;
        for place in lost
            .into_iter()
            .filter_map(|position| places.get(position.checked_sub(1)?))
        {
            if self.leases.lose(place) {
                self.metrics.lost_leases.inc();
                tracing::warn!(
                    entry = place.entry,
                    "another worker has taken over a job of this one"
                );
            }
        }
        Ok(())
    }

    async fn beat(&self) -> Result<(), LinkError> {
        self.needs.look_again(&self.link).await;
        let known = self.conflict.lock().clone();
        let (renewed, announced) = (self.renew().await, self.announce().await);
        if let Ok(Announced::Conflict(digest)) = &announced
            && known.as_ref() != Some(digest)
        {
            tracing::error!("this worker gets no jobs: {}", self.conflict_with(digest));
        }
        renewed.and(announced.map(|_| ()))
    }

    /// Forgets consumers that have ended and left nothing: those of other workers that ended without a word, and this
    /// one's own once it has taken its name back.
    async fn tidy(&self) -> Result<(), LinkError> {
        let live = registry::watch(&self.link, &self.config.prefix).await?;
        let mut script = TIDY.prepare_invoke();
        for key in &self.keys.jobs {
            script.key(key);
        }
        script.arg(GROUP);
        for (worker, _) in &live {
            script.arg(worker);
        }
        let forgotten: i64 = self.link.script(&script).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "forgot consumers that have ended");
        }
        Ok(())
    }

    async fn withdraw(&self) -> Result<(), LinkError> {
        let (prefix, name) = (&self.config.prefix, &self.config.name);
        registry::withdraw(&self.link, prefix, name, &self.model.id).await
    }

    /// Removes this worker's name from Redis. Its consumers go too, unless they still have jobs, which others then claim.
    async fn sign_off(&self) -> Result<(), LinkError> {
        self.link.expect_up()?;
        self.withdraw().await?;
        self.tidy().await
    }
}

impl WorkerTasks {
    /// Leases jobs until `stop_leasing`, answers what was leased until `stop`, and then takes this worker's name out of
    /// Redis.
    pub async fn run(self, stop_leasing: CancellationToken, stop: CancellationToken) {
        let Self {
            shared,
            reader,
            room,
            done,
        } = self;
        let feeding = async {
            let feeder = QueueReader::new(Arc::clone(&shared), reader, room);
            feeder.run(stop_leasing).await;
            shared.fed.cancel();
        };
        let replying = reply_writer::run(&shared, done);
        let beating = beat(&shared);
        tokio::select! {
            () = stop.cancelled() => {}
            ((), (), ()) = async { tokio::join!(feeding, replying, beating) } => {}
        }
        if let Err(error) = shared.sign_off().await {
            tracing::debug!(%error, "this worker's name is left to expire");
        }
    }
}

/// Beats for ever, and tidies up now and then.
async fn beat(shared: &ConsumerShared) {
    let pause = BEAT.min(shared.config.lease / 3);
    let mut tidied = Instant::now();
    loop {
        let mut beaten = shared.beat().await;
        if beaten.is_ok() && tidied.elapsed() >= TIDY_EVERY {
            tidied = Instant::now();
            beaten = shared.tidy().await;
        }
        if let Err(error) = beaten {
            tracing::debug!(%error, "a heartbeat failed");
        }
        tokio::time::sleep(pause).await;
    }
}
