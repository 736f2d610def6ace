//! The web side: submits jobs, reads replies, follows the registry of workers, and finds jobs that Redis has lost.

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

/// Jobs that are sent to Redis at once. More would only wait for each other, decoded, in this process.
const MOST_SUBMITTING: usize = 16;

/// How long admission relies on the last known depth of a queue.
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

/// The handle, and what has to run for it. `replies` is for commands that block for a second.
#[must_use]
pub fn web(
    config: WebConfig,
    (link, replies): (Link, Link),
    catalog: Catalog,
    decoders: Pool,
    metrics: Arc<Metrics>,
) -> (RedisBroker, WebTasks) {
    // Bounded by `wants` and by admission.
    let (outbox, inbox) = mpsc::unbounded_channel();
    let shared = Arc::new(ProducerState {
        config,
        link,
        replies,
        catalog,
        pending: PendingJobs::default(),
        metrics,
        listening: AtomicBool::new(false),
        depths: Mutex::default(),
        submitting: AtomicUsize::new(0),
        decoders,
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
    pub fn available(&self) -> Result<(), Error> {
        let trouble = self.trouble().or_else(|| self.shared.replies.trouble());
        let trouble = trouble.or_else(|| {
            let listening = self.shared.listening.load(Ordering::Acquire);
            (!listening).then(|| "the first heartbeat has not succeeded yet".to_owned())
        });
        trouble.map_or(Ok(()), |trouble| Err(Error::BrokerUnavailable(trouble)))
    }

    /// Why Redis cannot be used, if so.
    pub fn trouble(&self) -> Option<String> {
        self.shared.link.trouble()
    }

    /// See [`crate::queue::Broker::admit`].
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::NoWorker`] and [`Error::BrokerUnavailable`].
    pub fn admit(&self, model: &ServedModel, images: usize, priority: Priority) -> Result<(), Error> {
        self.available()?;
        model.ready()?;
        self.room(model, images, priority)
    }

    /// See [`crate::queue::Broker::admit_later`].
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

    pub fn wants(&self) -> bool {
        self.shared.submitting.load(Ordering::Acquire) < MOST_SUBMITTING
    }

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
        self.shared.pending.add(form, waiter);
        self.shared.send(&self.outbox, id);
    }

    /// Deletes jobs from Redis whose clients have left.
    pub fn drop_dead(&self) {
        let _ = self.outbox.send(Submission::Sweep);
    }

    /// How many jobs of all models were in Redis when their queues were last looked at.
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
            tracing::debug!(%error, "cannot delete the reply stream; it expires");
        }
    }
}

async fn submit_all(shared: &ProducerState, mut inbox: mpsc::UnboundedReceiver<Submission>) {
    let mut under_way = FuturesUnordered::new();
    let mut leaving = FuturesUnordered::new();
    loop {
        tokio::select! {
            message = inbox.recv(), if under_way.len() < MOST_SUBMITTING => match message {
                None => return,
                Some(Submission::Sweep) => {
                    let abandoned = shared.pending.take_abandoned().into_iter();
                    leaving.extend(abandoned.map(|abandoned| shared.take_out(abandoned)));
                }
                Some(Submission::Job(id)) => under_way.push(shared.submit(id)),
            },
            Some(()) = leaving.next() => {}
            Some(()) = under_way.next() => {
                shared.submitting.fetch_sub(1, Ordering::AcqRel);
                shared.decoders.call();
            }
        }
    }
}
