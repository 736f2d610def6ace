//! The worker's side: fills the queues of this process from Redis, writes replies, and keeps leases and announcements alive.
//!
//! A process has one connection for commands and one heartbeat, for all of its models. Each model has a connection of its own
//! for reads that block, because a command that blocks holds up all that come after it on its connection.

mod heartbeat;
pub(crate) mod lease;
mod reader;
mod reply_writer;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::clock::RedisClock;
use super::connection::{Link, LinkError};
use super::keys::ModelKeys;
use super::needs::{Needs, Role};
use super::registry::{self, Announced};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::served_model::ServedModel;
use crate::queue::ModelQueue;
use heartbeat::Beating;
use lease::{Done, Leases};
use reader::QueueReader;
pub use state::WorkerSideConfig;
use state::{ModelState, ProcessState};

/// How long a model that leaves waits for a heartbeat in progress.
const LAST_BEAT: Duration = Duration::from_secs(1);

/// How long ago Redis may have answered the last read of a worker that counts as ready.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// The worker side of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisWorkers {
    process: Arc<ProcessState>,
}

/// One model of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisWorker {
    shared: Arc<ModelState>,
}

/// The tasks behind a [`RedisWorker`].
#[derive(Debug)]
pub struct WorkerTasks {
    shared: Arc<ModelState>,
    room: Arc<Notify>,
    done: mpsc::UnboundedReceiver<Done>,
}

impl RedisWorkers {
    pub fn new(config: WorkerSideConfig, link: Link, metrics: Arc<Metrics>) -> Self {
        let needs = Needs {
            role: Role::Worker,
            prefix: config.prefix.clone(),
        };
        Self {
            process: Arc::new(ProcessState {
                config,
                link,
                needs,
                clock: RedisClock::default(),
                metrics,
                models: Mutex::default(),
                heartbeat: tokio::sync::Mutex::default(),
                announcing: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// The handle of a model that Redis knows as `name`, and what has to run for it. `reader` is for commands that block
    /// for a second. `room` is notified when something was taken from `queue`.
    pub fn worker(
        &self,
        name: String,
        reader: Link,
        model: &Arc<ServedModel>,
        (queue, room): (ModelQueue, Arc<Notify>),
    ) -> (RedisWorker, WorkerTasks) {
        let (leases, done) = Leases::new();
        let shared = Arc::new(ModelState {
            process: Arc::clone(&self.process),
            name,
            keys: ModelKeys::new(&self.process.config.prefix, &model.id),
            reader,
            model: Arc::clone(model),
            queue,
            leases,
            last_read: Mutex::new(None),
            card: registry::encode_card(&model.card),
            conflict: Mutex::new(None),
            leaving: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            fed: CancellationToken::new(),
        });
        let tasks = WorkerTasks {
            shared: Arc::clone(&shared),
            room,
            done,
        };
        (RedisWorker { shared }, tasks)
    }
}

impl RedisWorker {
    /// Whether jobs reach this worker.
    ///
    /// # Errors
    /// [`Error::BrokerUnavailable`], or [`Error::NotReady`] where others serve another digest under the same name.
    pub fn ready(&self) -> Result<(), Error> {
        let shared = &self.shared;
        if let Some(trouble) = shared.link().trouble() {
            return Err(Error::BrokerUnavailable(trouble));
        }
        if shared.conflict.lock().is_some() {
            return Err(Error::NotReady(
                "others serve another digest under the same name and version",
            ));
        }
        let heard = *shared.last_read.lock();
        if heard.is_none_or(|heard| heard.elapsed() > READ_WITHIN) && shared.leases.len() == 0 {
            let trouble = shared.reader.trouble();
            let trouble = trouble.unwrap_or_else(|| "no answer to reading jobs".to_owned());
            return Err(Error::BrokerUnavailable(trouble));
        }
        shared.model.ready()
    }

    /// How long Redis has been out of reach; `None` while it is not.
    pub fn redis_down_for(&self) -> Option<Duration> {
        self.shared.link().down_for()
    }

    /// Jobs that this worker has taken and not answered.
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
    pub async fn withdraw(&self) -> Result<(), LinkError> {
        self.shared.withdraw().await
    }

    /// Announces that this worker leaves, so that web processes send it nothing new.
    pub async fn leave(&self) {
        self.shared.leaving.store(true, Ordering::Release);
        if let Err(error) = self.shared.announce().await {
            tracing::warn!(%error, "cannot announce that this worker leaves");
        }
    }

    /// Announces that this worker computes nothing more.
    pub async fn retire(&self) -> Result<(), LinkError> {
        self.shared.retired.store(true, Ordering::Release);
        self.shared.announce().await.map(drop)
    }

    /// Whether another live worker has the same package and stays.
    pub async fn is_replaced(&self) -> Result<bool, LinkError> {
        let shared = &self.shared;
        Ok(shared.process.live().await?.iter().any(|(name, other)| {
            *name != shared.name && other.model_id() == *shared.model.id && !other.leaving
        }))
    }

    /// How many jobs of the model wait or are being computed, by any worker.
    pub async fn depth(&self) -> Result<usize, LinkError> {
        self.shared.depth().await
    }

    /// Waits until no more jobs are taken and every one that was is answered.
    pub async fn finished(&self) {
        self.shared.fed.cancelled().await;
        self.shared.leases.none_left().await;
    }
}

impl WorkerTasks {
    /// Leases jobs until `stop_leasing`, answers what was leased until `stop`, and then takes this worker's name out of
    /// Redis.
    pub async fn run(self, stop_leasing: CancellationToken, stop: CancellationToken) {
        let Self { shared, room, done } = self;
        let reading = async {
            QueueReader::new(Arc::clone(&shared), room)
                .run(stop_leasing)
                .await;
            shared.fed.cancel();
        };
        let replying = reply_writer::run(&shared, done);
        let beating = Beating::new(&shared);
        tokio::select! {
            () = stop.cancelled() => {}
            ((), (), ()) = async { tokio::join!(reading, replying, beating.run()) } => {}
        }
        drop(beating);
        // A beat in progress may still announce this model; it must not come after the withdrawal.
        let _ = tokio::time::timeout(LAST_BEAT, shared.process.announcing.lock()).await;
        if let Err(error) = shared.sign_off().await {
            tracing::debug!(%error, "cannot delete the name of this worker; it expires");
        }
    }
}
