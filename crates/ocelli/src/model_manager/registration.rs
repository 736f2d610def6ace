//! The models of a worker process, each as web processes see it: a worker with a name of its own, that comes and leaves
//! while the process goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::models::served_model::ServedModel;
use crate::queue::ModelQueue;
use crate::queue::redis::{Link, LinkError};
use crate::queue::transport::worker::{WorkerSide, WorkerTransport, WorkerWire};

/// How long the tasks may take to sign off.
const SIGN_OFF: Duration = Duration::from_secs(2);

pub(crate) struct Registrations {
    /// The name of the process.
    name: String,
    transport: WorkerTransport,
    /// Whether models come and go, so that each needs a name of its own.
    many: bool,
    taken: AtomicUsize,
    broken: CancellationToken,
    /// How long a model that leaves goes on taking jobs, so that web processes learn of it.
    delay: Duration,
}

pub(crate) struct Registration {
    pub(crate) side: WorkerSide,
    stops: Stops,
    tasks: Mutex<Option<JoinHandle<()>>>,
}

/// What ends the tasks of a registration: first the leasing of more jobs, and all of them once what was leased is answered.
#[derive(Clone, Default)]
struct Stops {
    leasing: CancellationToken,
    tasks: CancellationToken,
}

impl Registrations {
    /// None is taken yet. With `many`, each gets a name of its own.
    pub(crate) fn new(
        wire: WorkerWire,
        link: Link,
        metrics: Arc<Metrics>,
        (many, delay): (bool, Duration),
    ) -> Self {
        Self {
            name: wire.name().to_owned(),
            transport: wire.open(link, metrics),
            many,
            taken: AtomicUsize::new(0),
            broken: CancellationToken::new(),
            delay,
        }
    }

    /// How long a model that leaves goes on taking jobs.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// Tells the web processes of a model, and fills its queue from now on. `None` where `stop` came first; they know
    /// nothing of it then.
    pub(crate) async fn take(
        &self,
        model: &Arc<ServedModel>,
        queue: &ModelQueue,
        stop: &CancellationToken,
    ) -> Result<Option<Registration>, LinkError> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let name = if self.many {
            format!("{}/{number}", self.name)
        } else {
            self.name.clone()
        };
        let queue = (queue.clone(), queue.room().unwrap_or_default());
        let (side, tasks) = self.transport.worker(name, model, queue);
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            taken = side.take_name() => Some(taken),
        };
        match taken {
            Some(taken) => taken?,
            None => {
                side.give_name_back().await;
                return Ok(None);
            }
        }
        let stops = Stops::default();
        let (broken, until) = (self.broken.clone(), stops.clone());
        let tasks = tokio::spawn(async move {
            // Without them the model only looks alive.
            let guard = broken.drop_guard();
            tasks.run(until.leasing, until.tasks.clone()).await;
            if until.tasks.is_cancelled() {
                guard.disarm();
            }
        });
        Ok(Some(Registration {
            side,
            stops,
            tasks: Mutex::new(Some(tasks)),
        }))
    }

    /// Waits until the tasks of a registration end that should not.
    pub(crate) async fn broken(&self) {
        self.broken.cancelled().await;
    }
}

/// A dropped registration stops announcing its model.
impl Drop for Registration {
    fn drop(&mut self) {
        self.stops.leasing.cancel();
        self.stops.tasks.cancel();
    }
}

impl Registration {
    /// Goes on taking jobs until the web processes know and others go on, and finishes what was taken. Where Redis is gone
    /// and nothing is held, it waits for nothing.
    pub(crate) async fn leave(&self, delay: Duration) {
        let replaced = async {
            self.side.leave().await;
            sleep(delay).await;
            self.side.wait_for_replacement().await;
        };
        tokio::select! {
            () = replaced => {}
            () = self.side.cut_off() => {
                tracing::warn!("Redis cannot be reached and no job is held, so there is nothing to wait for");
            }
        }
        self.stops.leasing.cancel();
        self.side.finished().await;
    }

    pub(crate) async fn end(&self) {
        self.stops.leasing.cancel();
        self.stops.tasks.cancel();
        let tasks = self.tasks.lock().take();
        if let Some(tasks) = tasks
            && timeout(SIGN_OFF, tasks).await.is_err()
        {
            tracing::debug!("Redis did not hear that this worker has ended");
        }
    }
}
