//! The web side: submits jobs, hears replies, knows who serves what, and notices what Redis has lost.

pub(crate) mod heartbeat;
pub(crate) mod pending;
mod replies;
pub(crate) mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::address::ReplyTo;
use super::connection::Link;
use super::keys;
use crate::compute::pool::Pool;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::admission::open_to;
use crate::models::catalog::Catalog;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::queue::job::Job;
use crate::queue::wire::ReplyKind;
use crate::queue::{ReplySender, queue_full};
use heartbeat::Heartbeat;
use pending::PendingJobs;
use replies::listen;
pub use state::WebConfig;
use state::{Depth, ProducerState, Submission};

/// Jobs on their way to Redis at once. More would only wait for each other, prepared, in this process.
const MOST_SUBMITTING: usize = 16;

/// How long a depth that Redis named is taken for true at the door.
const DEPTH_COUNTS: Duration = Duration::from_millis(100);

/// Submits jobs to workers anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisBroker {
    pub(super) shared: Arc<ProducerState>,
    outbox: mpsc::UnboundedSender<Submission>,
}

/// The tasks behind a [`RedisBroker`].
#[derive(Debug)]
pub struct WebTasks {
    shared: Arc<ProducerState>,
    inbox: mpsc::UnboundedReceiver<Submission>,
    outbox: mpsc::UnboundedSender<Submission>,
}

/// The handle, and what has to run for it. `replies` must have patience for a second of blocking.
#[must_use]
pub fn web(
    config: WebConfig,
    (link, replies): (Link, Link),
    catalog: Catalog,
    suppliers: Pool,
    metrics: Arc<Metrics>,
) -> (RedisBroker, WebTasks) {
    // Bounded by `wants` and by admission.
    let (outbox, inbox) = mpsc::unbounded_channel();
    let shared = Arc::new(ProducerState {
        config,
        link,
        replies,
        catalog,
        waiting: PendingJobs::default(),
        metrics,
        listening: AtomicBool::new(false),
        depths: Mutex::default(),
        submitting: AtomicUsize::new(0),
        suppliers,
        closed: AtomicBool::new(false),
    });
    let tasks = WebTasks {
        shared: Arc::clone(&shared),
        inbox,
        outbox: outbox.clone(),
    };
    (RedisBroker { shared, outbox }, tasks)
}

impl RedisBroker {
    /// Says whether Redis can be used.
    ///
    /// # Errors
    /// [`Error::BrokerUnavailable`].
    pub fn available(&self) -> Result<(), Error> {
        let trouble = self.trouble().or_else(|| self.shared.replies.trouble());
        let trouble = trouble.or_else(|| {
            let listening = self.shared.listening.load(Ordering::Acquire);
            (!listening).then(|| "this process is not known in Redis yet".to_owned())
        });
        trouble.map_or(Ok(()), |trouble| Err(Error::BrokerUnavailable(trouble)))
    }

    /// What keeps commands from Redis, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.link.trouble()
    }

    /// Says whether `images` more images of this priority would be taken for `model`, as far as is known.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::NoWorker`] and [`Error::BrokerUnavailable`].
    pub fn admit(&self, model: &ServedModel, images: usize, priority: Priority) -> Result<(), Error> {
        self.available()?;
        model.ready()?;
        self.room(model, images, priority)
    }

    /// The same for images that may wait until a worker is there.
    ///
    /// # Errors
    /// [`Error::QueueFull`] and [`Error::BrokerUnavailable`].
    pub fn admit_later(&self, model: &ServedModel, images: usize, priority: Priority) -> Result<(), Error> {
        self.available()?;
        self.room(model, images, priority)
    }

    fn room(&self, model: &ServedModel, images: usize, priority: Priority) -> Result<(), Error> {
        let most = open_to(self.shared.config.limits.jobs as u64, priority) as usize;
        let depth = self.shared.depths.lock().get(&model.id).copied();
        match depth {
            Some(Depth { jobs, at }) if at.elapsed() < DEPTH_COUNTS && jobs + images > most => {
                Err(queue_full(model, jobs))
            }
            _ => Ok(()),
        }
    }

    /// Whether another job may be made: as long as few are on their way.
    #[must_use]
    pub fn wants(&self) -> bool {
        self.shared.submitting.load(Ordering::Acquire) < MOST_SUBMITTING
    }

    /// Sends a job on its way.
    pub fn submit(&self, job: Job, waiter: ReplySender) {
        if self.shared.closed.load(Ordering::Acquire) {
            return waiter.fail(Error::NotReady("it is stopping"));
        }
        let to = ReplyTo {
            kind: ReplyKind::Stream,
            key: keys::replies(&self.shared.config.prefix, &self.shared.config.name),
            part: 0,
        };
        let form = self.shared.form(job, to);
        let id = form.id;
        self.shared.waiting.add(form, waiter);
        self.shared.send(&self.outbox, id);
    }

    /// Takes jobs out of Redis that nobody waits for.
    pub fn drop_dead(&self) {
        let _ = self.outbox.send(Submission::Sweep);
    }

    /// How many jobs of all models were in Redis when it was last asked.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shared.depths.lock().values().map(|depth| depth.jobs).sum()
    }

    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl WebTasks {
    /// Runs until `stop`, and leaves nothing of this process behind in Redis.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            shared,
            inbox,
            outbox,
        } = self;
        let submitting = submit_all(&shared, inbox);
        let listening = listen(&shared);
        let watching = Heartbeat::new(Arc::clone(&shared), outbox).run();
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(submitting, listening, watching); } => {}
        }
        if let Err(error) = shared.sign_off().await {
            tracing::debug!(%error, "the reply stream is left to expire");
        }
    }
}

/// Submits what is in the inbox, several at a time.
async fn submit_all(shared: &ProducerState, mut inbox: mpsc::UnboundedReceiver<Submission>) {
    let mut under_way = FuturesUnordered::new();
    let mut leaving = FuturesUnordered::new();
    loop {
        tokio::select! {
            message = inbox.recv(), if under_way.len() < MOST_SUBMITTING => match message {
                None => return,
                Some(Submission::Sweep) => {
                    let abandoned = shared.waiting.take_abandoned().into_iter();
                    leaving.extend(abandoned.map(|abandoned| shared.take_out(abandoned)));
                }
                Some(Submission::Job(id)) => under_way.push(shared.submit(id)),
            },
            Some(()) = leaving.next() => {}
            Some(()) = under_way.next() => {
                shared.submitting.fetch_sub(1, Ordering::AcqRel);
                shared.suppliers.call();
            }
        }
    }
}
