//! The web side: submits jobs, hears replies, knows who serves what, and notices what Redis has lost.

pub(crate) mod async_submit;
pub(crate) mod heartbeat;
pub(crate) mod pending;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connection::{Link, LinkError};
use super::consumer::ack::finish;
use super::consumer::lease::{EntryAddress, ReplyTo};
use super::entries;
use super::keys::{self, ModelKeys};
use super::scripts::SUBMIT;
use crate::compute::pool::Pool;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::admission::{AdmissionLimits, open_to};
use crate::models::catalog::Catalog;
use crate::models::model_id::ModelId;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::queue::job::{Job, JobCost, JobError, JobId, Reply};
use crate::queue::wire::{self, ElementKind, JobHeader, ReplyKind, TensorHeader, WantMessage};
use crate::queue::{ReplySender, retry_after};
use heartbeat::Heartbeat;
use pending::{Abandoned, PendingJobs, PreparedForm};

/// Jobs on their way to Redis at once. More would only wait for each other, prepared, in this process.
const MOST_SUBMITTING: usize = 16;

/// How long a depth that Redis named is taken for true at the door.
const DEPTH_COUNTS: Duration = Duration::from_millis(100);

/// Keys are kept this much longer than the jobs in them, for replies and for slow clocks.
const KEEP_LONGER: Duration = Duration::from_secs(60);

/// How long one read of replies waits for the first.
const BLOCK: Duration = Duration::from_secs(1);

/// Replies that one read takes.
const READ_REPLIES: usize = 64;

/// Between attempts to read replies while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(100);

/// What the web side is made from.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// What every key begins with.
    pub prefix: String,
    /// The name of this process, which no other has.
    pub name: String,
    /// The most jobs of a model in Redis, waiting and being computed, and the most bytes that they may hold.
    pub limits: AdmissionLimits,
    /// The most bytes of the results of asynchronous jobs, of all models.
    pub max_result_bytes: u64,
}

/// Submits jobs to workers anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisBroker {
    pub(super) shared: Arc<ProducerShared>,
    outbox: mpsc::UnboundedSender<Submission>,
}

/// What the handle and the tasks share.
#[derive(Debug)]
pub(crate) struct ProducerShared {
    pub(super) config: WebConfig,
    pub(super) link: Link,
    replies: Link,
    pub(super) catalog: Catalog,
    pub(super) waiting: PendingJobs,
    pub(super) metrics: Arc<Metrics>,
    /// Whether replies can arrive: this process' stream is there.
    pub(super) listening: AtomicBool,
    depths: Mutex<HashMap<Arc<ModelId>, Depth>>,
    submitting: AtomicUsize,
    suppliers: Pool,
    closed: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Depth {
    jobs: usize,
    at: Instant,
}

/// What the submitting task is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Submission {
    Job(JobId),
    /// Take jobs out of Redis that nobody waits for.
    Sweep,
}

/// The tasks behind a [`RedisBroker`].
#[derive(Debug)]
pub struct WebTasks {
    shared: Arc<ProducerShared>,
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
    let shared = Arc::new(ProducerShared {
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
                let retry_after = retry_after(model, jobs);
                Err(Error::QueueFull { retry_after })
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

impl ProducerShared {
    /// A job as it is submitted.
    pub(super) fn form(&self, job: Job, to: ReplyTo) -> PreparedForm {
        let (input, wants, most_reply) = self.ends_of(&job);
        let header = JobHeader {
            id: job.id.0.to_be_bytes().to_vec(),
            reply_to: to.key,
            // Set when it is sent. Anything but 0, which would not be written and so change the length.
            timeout_us: u64::MAX,
            priority: job.priority.index() as u32,
            trace: job.trace.as_deref().unwrap_or_default().to_owned(),
            inputs: vec![TensorHeader {
                name: String::new(),
                kind: ElementKind::U8 as i32,
                shape: input,
            }],
            wants,
            reply_kind: to.kind as i32,
            part: to.part,
        };
        PreparedForm {
            id: job.id,
            model: job.model,
            priority: job.priority,
            header,
            payload: Bytes::from(job.pixels),
            most_reply,
            deadline: job.deadline,
        }
    }

    /// Hands a job to the submitting task.
    pub(super) fn send(&self, outbox: &mpsc::UnboundedSender<Submission>, id: JobId) {
        self.submitting.fetch_add(1, Ordering::AcqRel);
        // Without its tasks the process has ended, and so has whoever waits.
        let _ = outbox.send(Submission::Job(id));
    }

    /// Height, width and channels of the image, the outcomes that the job asks for, and the most bytes of its reply.
    fn ends_of(&self, job: &Job) -> (Vec<u32>, Vec<WantMessage>, u64) {
        let models = self.catalog.all();
        let served = models.iter().find(|served| *served.id == *job.model);
        served.map_or_else(Default::default, |served| {
            let input = served.input();
            let wants = job.wants.iter().map(|want| WantMessage::new(served, want));
            (
                vec![input.height, input.width, 3],
                wants.collect(),
                job.wants.iter().map(|want| want.most_bytes(served)).sum(),
            )
        })
    }

    pub(super) fn keys(&self, model: &ModelId) -> ModelKeys {
        ModelKeys::new(&self.config.prefix, model)
    }

    pub(super) fn note_depth(&self, model: &Arc<ModelId>, jobs: usize) {
        let depth = Depth {
            jobs,
            at: Instant::now(),
        };
        self.depths.lock().insert(Arc::clone(model), depth);
    }

    /// Submits a job and notes what comes of it.
    async fn submit(&self, id: JobId) {
        let Some(form) = self.waiting.form(id) else {
            return;
        };
        match self.push(&form).await {
            Ok(Ok(entry)) => {
                if self.waiting.queued(id, &entry, Instant::now()).is_none() {
                    // Its waiter left while it was on its way.
                    let place = EntryAddress {
                        priority: form.priority,
                        entry,
                    };
                    self.take_out(Abandoned { form, place }).await;
                }
            }
            Ok(Err(depth)) => {
                let full = self.queue_full(&form.model, depth);
                self.waiting.failed(id, full);
            }
            Err(error) => self.waiting.failed(id, error.into()),
        }
    }

    /// The error for a queue of this depth.
    pub(super) fn queue_full(&self, model: &ModelId, depth: usize) -> Error {
        let models = self.catalog.all();
        let model = models.iter().find(|served| *served.id == *model);
        Error::QueueFull {
            retry_after: model.map_or(Duration::from_secs(1), |model| retry_after(model, depth)),
        }
    }

    /// The job's entry, or the depth of a queue that is full.
    pub(super) async fn push(&self, form: &PreparedForm) -> Result<Result<String, usize>, LinkError> {
        let keys = self.keys(&form.model);
        let left = form.deadline.saturating_duration_since(Instant::now());
        let mut header = form.header.clone();
        header.timeout_us = left.as_micros() as u64;
        let limits = self.config.limits;
        let open = |limit| open_to(limit, form.priority);
        let (code, depth, entry): (i64, usize, Option<String>) = {
            let mut script = SUBMIT.prepare_invoke();
            for key in keys.jobs.iter().chain([&keys.bytes, &keys.index]) {
                script.key(key);
            }
            script
                .arg(form.priority.index() + 1)
                .arg(open(limits.jobs as u64))
                .arg(open(limits.bytes))
                .arg(limits.bytes)
                .arg((left + KEEP_LONGER).as_millis() as u64)
                .arg(form.most_reply)
                .arg(header.encode_frame())
                .arg(&form.payload[..]);
            let answer: ::redis::Value = self.link.script(&script).await?;
            entries::submitted(&answer)
                .ok_or_else(|| LinkError::Refused("a submission has a strange answer".to_owned()))?
        };
        self.note_depth(&form.model, depth);
        Ok(match (code, entry) {
            (1, Some(entry)) => Ok(entry),
            _ => Err(depth),
        })
    }

    /// Removes what only this process needs. A Redis that is gone is not waited for.
    async fn sign_off(&self) -> Result<(), LinkError> {
        self.link.expect_up()?;
        let mut forget = ::redis::cmd("DEL");
        forget.arg(keys::replies(&self.config.prefix, &self.config.name));
        self.link.query(&forget).await
    }

    /// Takes a job out of its stream that nobody waits for. What fails is left to its deadline.
    async fn take_out(&self, abandoned: Abandoned) {
        let keys = self.keys(&abandoned.form.model);
        let EntryAddress { priority, entry } = &abandoned.place;
        let taken = finish(&self.link, &keys, *priority, [entry.as_str()].into_iter()).await;
        match taken {
            Ok(0) => {}
            Ok(_) => self.metrics.count_dropped(crate::metrics::DropReason::ClientGone),
            Err(error) => tracing::debug!(%error, "an abandoned job stays until its deadline"),
        }
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
async fn submit_all(shared: &ProducerShared, mut inbox: mpsc::UnboundedReceiver<Submission>) {
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

/// Reads replies as they come and hands them to whoever waits.
async fn listen(shared: &ProducerShared) {
    let link = &shared.replies;
    let key = keys::replies(&shared.config.prefix, &shared.config.name);
    let mut read_before: Vec<String> = Vec::new();
    loop {
        let mut read = ::redis::cmd("XREAD");
        read.arg("COUNT")
            .arg(READ_REPLIES)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(&key)
            // From the start: what was read is deleted, and no clock that jumps can hide a reply.
            .arg("0-0");
        let mut delete = ::redis::cmd("XDEL");
        delete.arg(&key).arg(&read_before);
        let answer = if read_before.is_empty() {
            link.query(&read).await
        } else {
            // Sent together and carried out in this order.
            let (deleted, answer) = tokio::join!(link.query::<i64>(&delete), link.query(&read));
            deleted.and(answer)
        };
        match answer {
            Ok(value) => {
                let read = entries::streams(value)
                    .into_iter()
                    .flat_map(|(_, entries)| entries);
                read_before = read.map(|entry| hear(shared, entry)).collect();
            }
            Err(error) => {
                tracing::debug!(%error, "replies cannot be read");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Hands a reply to its waiter, and names its entry.
fn hear(shared: &ProducerShared, mut entry: entries::StreamEntry) -> String {
    match wire::decode_reply(&entry.take("r").unwrap_or_default()) {
        Ok(received) => {
            if !shared.waiting.answer(received.id, received.reply) {
                shared.metrics.orphaned_replies.inc();
                tracing::debug!(job = %received.id, worker = received.worker, "nobody waits for a reply");
            }
        }
        Err((error, id)) => {
            shared.metrics.count_refused("reply");
            tracing::warn!(%error, entry = entry.id, "a reply cannot be read");
            if let Some(id) = id {
                let reply = Reply {
                    result: Err(JobError::Incompatible),
                    cost: JobCost::default(),
                };
                shared.waiting.answer(id, reply);
            }
        }
    }
    entry.id
}
