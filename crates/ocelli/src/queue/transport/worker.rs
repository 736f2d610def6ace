//! The worker side of a process, over Ocelli's own wire or the tutorial's, which has no registry of workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::served_model::ServedModel;
use crate::queue::ModelQueue;
use crate::queue::redis::startup::blocking;
use crate::queue::redis::{
    Link, LinkError, Needs, RedisWorker, RedisWorkers, Role, WorkerSideConfig, WorkerTasks,
};
use crate::queue::tutorial::{self, TutorialWorker, TutorialWorkerTasks};

/// How long to wait for a name that another digest has: its workers may just have ended.
const NAME_IS_FREE_WITHIN: Duration = Duration::from_secs(10);

/// Between polls of a state in Redis.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long web processes take to notice that a worker has retired: a heartbeat and some.
const WEBS_KNOW_WITHIN: Duration = Duration::from_millis(1200);

/// A stopping worker no longer waits for a Redis that has been down for this long. A lost connection to a running server is
/// back sooner.
const GONE_AFTER: Duration = Duration::from_millis(500);

/// Between checks whether the link is down, which send nothing.
const LOOK_FOR_REDIS: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub enum WorkerWire {
    Native(WorkerSideConfig),
    Tutorial {
        /// The name of this process, which no other has.
        name: String,
    },
}

/// The wire of a worker process and its one connection for commands.
pub(crate) enum WorkerTransport {
    Native(RedisWorkers, Link),
    Tutorial(Link, Arc<Metrics>),
}

/// One model of a worker process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum WorkerSide {
    Native(RedisWorker),
    Tutorial(TutorialWorker),
}

#[derive(Debug)]
pub(crate) enum SideTasks {
    Native(Box<WorkerTasks>),
    Tutorial(Box<TutorialWorkerTasks>),
}

impl WorkerWire {
    /// The name of this process, which no other has.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Native(config) => &config.name,
            Self::Tutorial { name } => name,
        }
    }

    /// The rights to check at the start; not for the tutorial's few commands.
    pub(crate) fn needs(&self) -> Option<Needs> {
        match self {
            Self::Native(config) => Some(Needs {
                role: Role::Worker,
                prefix: config.prefix.clone(),
            }),
            Self::Tutorial { .. } => None,
        }
    }

    /// The wire of this process, which all of its models share.
    pub(crate) fn open(self, link: Link, metrics: Arc<Metrics>) -> WorkerTransport {
        match self {
            Self::Native(config) => {
                WorkerTransport::Native(RedisWorkers::new(config, link.clone(), metrics), link)
            }
            Self::Tutorial { .. } => WorkerTransport::Tutorial(link, metrics),
        }
    }
}

impl WorkerTransport {
    /// The handle of a model that Redis knows as `name`, and what has to run for it.
    pub(crate) fn worker(
        &self,
        name: String,
        model: &Arc<ServedModel>,
        queue: (ModelQueue, Arc<Notify>),
    ) -> (WorkerSide, SideTasks) {
        match self {
            Self::Native(workers, link) => {
                let reader = blocking(link, &name);
                let (side, tasks) = workers.worker(name, reader, model, queue);
                (WorkerSide::Native(side), SideTasks::Native(Box::new(tasks)))
            }
            Self::Tutorial(link, metrics) => {
                tracing::warn!(
                    list = tutorial::QUEUE,
                    "--wire tutorial: jobs have no deadline and no limit, a job whose worker dies is lost, and web \
                     processes poll for replies; a model process of the tutorial beside this one deletes jobs unread; \
                     use it only until the web side is Ocelli's too"
                );
                let links = (link.clone(), blocking(link, &name));
                let (side, tasks) = tutorial::worker(links, model, queue, Arc::clone(metrics));
                (WorkerSide::Tutorial(side), SideTasks::Tutorial(Box::new(tasks)))
            }
        }
    }
}

impl WorkerSide {
    /// Whether jobs reach this worker.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn ready(&self) -> Result<(), Error> {
        match self {
            Self::Native(side) => side.ready(),
            Self::Tutorial(side) => side.ready(),
        }
    }

    /// Jobs that were taken and not answered.
    pub(crate) fn jobs(&self) -> usize {
        match self {
            Self::Native(side) => side.leases(),
            Self::Tutorial(side) => side.jobs(),
        }
    }

    /// Publishes the model, and waits for a while where other workers serve another digest under its name.
    ///
    /// # Errors
    /// [`LinkError`], when they stay.
    pub(crate) async fn take_name(&self) -> Result<(), LinkError> {
        let Self::Native(side) = self else {
            return Ok(());
        };
        let give_up = Instant::now() + NAME_IS_FREE_WITHIN;
        let mut waiting = false;
        loop {
            match side.announce().await {
                Err(LinkError::Refused(_)) if Instant::now() < give_up => {
                    if !waiting {
                        tracing::info!(
                            "the model cannot be registered yet, trying for {NAME_IS_FREE_WITHIN:?}"
                        );
                    }
                    waiting = true;
                }
                Err(LinkError::Down(_)) => {}
                announced => return announced,
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes back what [`WorkerSide::take_name`] may have published, for a worker that does not start.
    pub(crate) async fn give_name_back(&self) {
        if let Self::Native(side) = self
            && let Err(error) = side.withdraw().await
        {
            tracing::debug!(%error, "cannot delete the name of a worker; it expires");
        }
    }

    /// Announces that this worker leaves, so that web processes send it nothing new.
    pub(crate) async fn leave(&self) {
        if let Self::Native(side) = self {
            side.leave().await;
        }
    }

    /// Waits until another worker has the same package. Where there is none, this one retires, so that web processes send nothing
    /// more, and waits until the queue is empty.
    pub(crate) async fn wait_for_replacement(&self) {
        let Self::Native(side) = self else { return };
        if until(|| async { side.is_replaced().await.map(Some) }).await {
            return;
        }
        until(|| async { side.retire().await.map(|()| Some(true)) }).await;
        sleep(WEBS_KNOW_WITHIN).await;
        until(|| async {
            let done = side.is_replaced().await? || side.depth().await? == 0;
            Ok(done.then_some(true))
        })
        .await;
    }

    /// Waits until every job that was taken is answered, and no more are taken.
    pub(crate) async fn finished(&self) {
        match self {
            Self::Native(side) => tokio::select! {
                () = side.finished() => {}
                // Jobs of a read under way are leased and go to another worker.
                () = self.cut_off() => {}
            },
            // Jobs of a read under way are not in the list any more, so the read must end.
            Self::Tutorial(side) => side.finished().await,
        }
    }

    /// Waits until Redis is down and no job is held: then there is nothing to finish. Logs a warning while replies have to wait
    /// for Redis.
    pub(crate) async fn cut_off(&self) {
        let mut warned = false;
        loop {
            let (down_for, held) = match self {
                Self::Native(side) => (side.redis_down_for(), side.leases()),
                Self::Tutorial(side) => (side.redis_down_for(), side.held()),
            };
            if down_for.is_some_and(|time| time >= GONE_AFTER) {
                if held == 0 {
                    return;
                }
                if !warned {
                    warned = true;
                    tracing::warn!(
                        jobs = held,
                        "Redis cannot be reached, and this worker holds jobs; it waits until Redis takes their replies, \
                         until their deadlines pass, or until --drain-timeout is over"
                    );
                }
            }
            sleep(LOOK_FOR_REDIS).await;
        }
    }
}

/// Polls until there is an answer. Redis may be down for a while; the time of the drain bounds this.
async fn until<A: Future<Output = Result<Option<bool>, LinkError>>>(ask: impl Fn() -> A) -> bool {
    loop {
        match ask().await {
            Ok(Some(answer)) => return answer,
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "cannot check whether other workers serve this model"),
        }
        sleep(LOOK_AGAIN).await;
    }
}

impl SideTasks {
    /// Takes jobs until `stop_taking`, and answers what was taken until `stop`.
    pub(crate) async fn run(self, stop_taking: CancellationToken, stop: CancellationToken) {
        match self {
            Self::Native(tasks) => Box::pin(tasks.run(stop_taking, stop)).await,
            Self::Tutorial(tasks) => tasks.run(stop_taking, stop).await,
        }
    }
}
