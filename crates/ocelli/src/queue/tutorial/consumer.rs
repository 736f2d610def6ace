//! The worker's side: takes jobs that the tutorial's web process pushed, and sets the replies that it polls for.
//!
//! A job is taken from the list before it is computed, so that no two workers compute it. A job whose worker dies is lost, and
//! its web process waits for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_vision::{Decoder, ImageError, InputSpec};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task;
use tokio_util::sync::CancellationToken;

use super::in_flight::{InFlight, Ticket, TicketResult};
use super::{BATCH_SIZE, BadJob, BadPicture, Named, QUEUE, TutorialJob, encode_reply, input};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::output::params::OutputParams;
use crate::output::postprocess::{Output, Prediction};
use crate::queue::job::{Job, JobId, Reply, scored};
use crate::queue::redis::{Link, LinkError};
use crate::queue::{Deadline, Envelope, Leased, ModelQueue, Receipt};

/// How long a reply is kept. The tutorial's web process asks four times a second.
const REPLY_TTL: Duration = Duration::from_secs(300);

/// How long a job may wait in this process. It has no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(60);

const BLOCK: Duration = Duration::from_secs(1);

/// How long ago Redis may have answered the last read of a worker that counts as ready.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Between attempts while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a reply is tried while Redis cannot be used: for a minute.
const ATTEMPTS: u32 = 240;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct TutorialWorker {
    shared: Arc<ConsumerShared>,
}

#[derive(Debug)]
struct ConsumerShared {
    link: Link,
    reader: Link,
    model: Arc<ServedModel>,
    queue: ModelQueue,
    metrics: Arc<Metrics>,
    tickets: InFlight,
    /// When Redis last answered a read for jobs.
    last_read: Mutex<Option<Instant>>,
}

/// The tasks behind a [`TutorialWorker`].
#[derive(Debug)]
pub struct TutorialWorkerTasks {
    taker: Taker,
    inbox: mpsc::UnboundedReceiver<TicketResult>,
}

#[derive(Debug)]
struct Taker {
    shared: Arc<ConsumerShared>,
    reader: Link,
    room: Arc<Notify>,
    answers: mpsc::UnboundedSender<TicketResult>,
    /// The last failure that was logged.
    trouble: Option<String>,
}

/// The handle, and what has to run for it. `reader` is for commands that block for a second. `room` is notified when
/// something was taken from `queue`.
#[must_use]
pub fn worker(
    (link, reader): (Link, Link),
    model: &Arc<ServedModel>,
    (queue, room): (ModelQueue, Arc<Notify>),
    metrics: Arc<Metrics>,
) -> (TutorialWorker, TutorialWorkerTasks) {
    // Bounded by the jobs that are taken.
    let (answers, inbox) = mpsc::unbounded_channel();
    let shared = Arc::new(ConsumerShared {
        link,
        reader: reader.clone(),
        model: Arc::clone(model),
        queue,
        metrics,
        tickets: InFlight::default(),
        last_read: Mutex::new(None),
    });
    let taker = Taker {
        shared: Arc::clone(&shared),
        reader,
        room,
        answers,
        trouble: None,
    };
    (TutorialWorker { shared }, TutorialWorkerTasks { taker, inbox })
}

impl TutorialWorker {
    /// Whether jobs reach this worker.
    ///
    /// # Errors
    /// [`Error::BrokerUnavailable`], or [`Error::NotReady`] while an engine is being rebuilt.
    pub fn ready(&self) -> Result<(), Error> {
        if let Some(trouble) = self.shared.reader.trouble() {
            return Err(Error::BrokerUnavailable(trouble));
        }
        let heard = *self.shared.last_read.lock();
        // A busy worker does not read.
        if heard.is_none_or(|heard| heard.elapsed() > READ_WITHIN) && self.shared.queue.depth() == 0 {
            return Err(Error::BrokerUnavailable("no answer to reading jobs".to_owned()));
        }
        self.shared.model.ready()
    }

    /// Jobs that this worker has taken and not answered.
    pub fn jobs(&self) -> usize {
        self.shared.tickets.count()
    }

    /// How long Redis has been out of reach; `None` while it is not.
    pub fn redis_down_for(&self) -> Option<Duration> {
        self.shared.reader.down_for()
    }

    /// The same without the read under way, for which [`TutorialWorker::finished`] waits, too.
    pub fn held(&self) -> usize {
        self.shared.tickets.count().saturating_sub(1)
    }

    /// Waits until no more jobs are taken and every job that was is answered.
    pub async fn finished(&self) {
        self.shared.tickets.none_left().await;
    }
}

impl TutorialWorkerTasks {
    /// Takes jobs until `stop_taking`, and answers what was taken until `stop`.
    pub async fn run(self, stop_taking: CancellationToken, stop: CancellationToken) {
        let Self { taker, inbox } = self;
        let shared = Arc::clone(&taker.shared);
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(taker.run(&stop_taking), answer_all(&shared, inbox)) } => {}
        }
    }
}

impl Taker {
    async fn run(mut self, stop: &CancellationToken) {
        // A read under way counts: it may bring jobs after `stop`.
        let _taking = self.shared.tickets.hold();
        while !stop.is_cancelled() {
            if !self.shared.queue.wants(Priority::default()) {
                tokio::select! {
                    () = self.room.notified() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            // Never dropped under way: jobs that Redis has handed out would be lost.
            match self.read().await {
                Ok(texts) => {
                    self.trouble = None;
                    for unpacked in unpack_all(texts, self.shared.model.input().clone()).await {
                        self.push(unpacked);
                    }
                }
                Err(error) => {
                    self.say(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Logs errors that the link does not.
    fn say(&mut self, error: &LinkError) {
        if error.is_logged() {
            return;
        }
        let trouble = error.to_string();
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(error = trouble, list = QUEUE, "cannot take jobs");
            self.trouble = Some(trouble);
        }
    }

    /// Waits for the first job, and takes more up to one batch for each instance.
    async fn read(&self) -> Result<Vec<Vec<u8>>, LinkError> {
        let mut wait = ::redis::cmd("BLPOP");
        wait.arg(QUEUE).arg(BLOCK.as_secs());
        let first: Option<(String, Vec<u8>)> = self.reader.query(&wait).await?;
        *self.shared.last_read.lock() = Some(Instant::now());
        let Some((_, first)) = first else {
            return Ok(Vec::new());
        };
        let mut texts = vec![first];
        let runtime = self.shared.model.runtime();
        let batches = runtime.map_or(1, |runtime| runtime.max_batch * runtime.instances);
        let more = batches.min(BATCH_SIZE).saturating_sub(1);
        if more > 0 {
            let mut pop = ::redis::cmd("LPOP");
            pop.arg(QUEUE).arg(more);
            match self.reader.query::<Option<Vec<Vec<u8>>>>(&pop).await {
                Ok(rest) => texts.extend(rest.into_iter().flatten()),
                // There is the first one.
                Err(error) => tracing::debug!(%error, "cannot take more jobs"),
            }
        }
        Ok(texts)
    }

    /// Queues a job, or answers one that cannot be computed, if it has an id.
    fn push(&self, unpacked: Result<TutorialJob, BadJob>) {
        let ticket = |id| Ticket::new(id, self.shared.tickets.hold(), self.answers.clone());
        match unpacked {
            Ok(TutorialJob { id, rgb }) => {
                let wants = match OutputParams::default().classes(&self.shared.model) {
                    Ok(want) => vec![want],
                    Err(error) => {
                        tracing::warn!(%error, id, "a job cannot be answered");
                        return drop(ticket(id));
                    }
                };
                let job = Job {
                    id: JobId::random(),
                    envelope: Envelope {
                        request_id: id.as_str().into(),
                        model: Arc::clone(&self.shared.model),
                        priority: Priority::Normal,
                        deadline: Deadline::new(Instant::now(), PATIENCE),
                    },
                    wants,
                    pixels: rgb,
                };
                let leased = Leased::new(job, Receipt::Ticket(ticket(id)));
                // The queue is larger than all jobs that are taken, so it is closed.
                if self.shared.queue.push(leased).is_err() {
                    tracing::warn!("gave up a job that was taken from the list, because the queue is closed");
                }
            }
            Err(error) => {
                self.shared.metrics.count_refused("garbage");
                tracing::warn!(%error, list = QUEUE, "refused an entry of the list that is not a job");
                if let BadJob::Picture { id, .. } = error {
                    drop(ticket(id));
                }
            }
        }
    }
}

/// Parses jobs and prepares their pictures for the model, on a blocking thread.
async fn unpack_all(texts: Vec<Vec<u8>>, spec: InputSpec) -> Vec<Result<TutorialJob, BadJob>> {
    if texts.is_empty() {
        return Vec::new();
    }
    let unpack_all = move || {
        let mut decoder = Decoder::new()?;
        let jobs = texts.iter().map(|text| unpack(text, &spec, &mut decoder));
        Ok::<_, ImageError>(jobs.collect())
    };
    let unreadable = |problem: String| vec![Err(BadJob::Unreadable(problem))];
    match task::spawn_blocking(unpack_all).await {
        Ok(Ok(jobs)) => jobs,
        Ok(Err(error)) => unreadable(error.to_string()),
        Err(panicked) => unreadable(panicked.to_string()),
    }
}

/// Parses a job and prepares its picture for the model. The picture is the whole photo, stretched; a package with a crop or
/// another size gets that of the stretched photo. (Of 100 photos the built-in model knew 82 with its own preparation, 79 so,
/// and 76 with the whole stretched photo.)
fn unpack(text: &[u8], spec: &InputSpec, decoder: &mut Decoder) -> Result<TutorialJob, BadJob> {
    let TutorialJob { id, rgb } = TutorialJob::decode(text)?;
    let size = (input().width, input().height);
    match decoder.prepare_pixels(&rgb, size, spec) {
        Ok(rgb) => Ok(TutorialJob { id, rgb }),
        Err(error) => {
            let problem = BadPicture::Unprepared(error);
            Err(BadJob::Picture { id, problem })
        }
    }
}

async fn answer_all(shared: &ConsumerShared, mut inbox: mpsc::UnboundedReceiver<TicketResult>) {
    while let Some(TicketResult { id, reply, held }) = inbox.recv().await {
        let text = encode_reply(&predictions(&shared.model, &id, reply));
        let mut set = ::redis::cmd("SET");
        set.arg(&id).arg(text).arg("EX").arg(REPLY_TTL.as_secs());
        if let Err(error) = insist(&shared.link, &set).await {
            tracing::error!(%error, id, "a reply is lost; its web process waits for ever");
        }
        drop(held);
    }
}

async fn insist(link: &Link, command: &::redis::Cmd) -> Result<(), LinkError> {
    let mut attempt = 1;
    loop {
        match link.query(command).await {
            Err(LinkError::Down(_)) if attempt < ATTEMPTS => {}
            answer => return answer,
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The best classes of a reply, as many as the tutorial shows.
fn classes(model: &ServedModel, reply: Reply) -> Result<Vec<Prediction>, String> {
    let said = |error: Error| error.to_string();
    let want = OutputParams::default().classes(model).map_err(said)?;
    match scored(model, reply, &want, PATIENCE).map_err(said)?.outcome {
        Output::Classes(predictions) => Ok(predictions),
        Output::Vector(_) => Err("the model has no classes".to_owned()),
    }
}

/// The classes of a reply; none where it failed, because the tutorial's wire has no errors.
fn predictions(model: &ServedModel, id: &str, reply: Option<Reply>) -> Vec<Named> {
    let ranked = match reply {
        Some(reply) => classes(model, reply),
        None => Err("it was refused or given up".to_owned()),
    };
    match ranked {
        Ok(ranked) => ranked
            .iter()
            .map(|prediction| Named::new(prediction, model))
            .collect(),
        Err(error) => {
            tracing::warn!(error, id, "a job failed; its web process gets no classes");
            Vec::new()
        }
    }
}
