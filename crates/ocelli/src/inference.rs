//! The one path of an image: prepared, submitted, scored, labelled. Every protocol translates into it and out of it.

pub mod json_output;
pub mod preprocess;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::admission::{self, Admission, Full, Load, Permit};
use crate::models::catalog::Catalog;
use crate::models::prediction;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::OutputRequest;
pub use crate::queue::Deadline;
use crate::queue::job::{Scored, scored};
use crate::queue::{Broker, Envelope, ImageReply, waiter};
use preprocess::{Decoders, Photo};

/// Everything between a protocol and the worker.
#[derive(Clone, Debug)]
pub struct Infer {
    pub catalog: Catalog,
    pub admission: Arc<Admission>,
    pub decoders: Decoders,
    pub broker: Broker,
    pub metrics: Arc<Metrics>,
}

/// What the images of one request have in common.
#[derive(Debug)]
pub struct Request {
    pub envelope: Envelope,
    pub want: OutputRequest,
    /// Held until every image is done.
    pub permit: Arc<Permit>,
    pub receive: Duration,
}

/// What a request needs of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    pub load: Load,
    pub priority: Priority,
    pub deadline: Deadline,
    pub without_worker: WithoutWorker,
}

/// What happens to a request for a model that no worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutWorker {
    Refuse,
    /// Its images wait for a worker, outside of this process.
    Wait,
}

impl Request {
    pub fn photo(&self, bytes: Bytes) -> Photo {
        Photo {
            bytes,
            envelope: self.envelope.clone(),
            want: self.want.clone(),
            permit: Arc::clone(&self.permit),
        }
    }
}

impl Infer {
    /// Takes the room that a request for `model` needs, or refuses with an error that says when to come back.
    pub fn admit(&self, model: &ServedModel, needed: Needed) -> Result<Permit, Error> {
        self.check_queue(model, needed)?;
        self.admission
            .admit(needed.load.jobs, needed.load.bytes, needed.priority)
            .and_then(|permit| permit.with(model.admission(), self.catalog.all().len()))
            .map_err(|full| self.refuse(model, full, needed))
    }

    /// Whether [`Infer::admit`] would admit the request now. Takes no room: a request whose body has not arrived holds none.
    pub fn check(&self, model: &ServedModel, needed: Needed) -> Result<(), Error> {
        self.check_queue(model, needed)?;
        let models = self.catalog.all().len();
        admission::check(
            &self.admission,
            model.admission(),
            models,
            needed.load,
            needed.priority,
        )
        .map_err(|full| self.refuse(model, full, needed))
    }

    fn check_queue(&self, model: &ServedModel, needed: Needed) -> Result<(), Error> {
        let (jobs, priority) = (needed.load.jobs, needed.priority);
        match needed.without_worker {
            WithoutWorker::Refuse => self.broker.admit(model, jobs, priority),
            WithoutWorker::Wait => self.broker.admit_later(model, jobs, priority),
        }
        .map_err(|error| self.refusal(model, error, needed))?;
        reachable(model, needed)
    }

    /// The error of a full queue. The time to wait is what the queue ahead takes.
    fn refuse(&self, model: &ServedModel, full: Full, needed: Needed) -> Error {
        if full.closed {
            return Error::Unloaded;
        }
        let ahead = model.estimate(full.load.jobs);
        let retry_after = ahead.unwrap_or(Duration::from_secs(1));
        self.refusal(model, Error::QueueFull { retry_after }, needed)
    }

    /// The error, but [`Error::TooLarge`] for a request that would not fit into an empty queue either.
    fn refusal(&self, model: &ServedModel, error: Error, Needed { load, priority, .. }: Needed) -> Error {
        let (all, own) = (self.admission.limits(), model.admission().limits());
        let models = self.catalog.all().len();
        match error {
            Error::QueueFull { .. } if !admission::fits_empty(all, own, models, load, priority) => {
                let Load { jobs, bytes } = load;
                let priority = priority.name();
                Error::TooLarge(format!(
                    "the request needs room for {jobs} images and {bytes} bytes at once, more than the queue may hold of \
                     priority {priority} for one model; send less at once, or raise --queue-jobs and --queue-bytes"
                ))
            }
            error => error,
        }
    }

    /// Computes every image, each of which succeeds or fails alone. Dropping the future abandons them all.
    pub async fn run(&self, request: &Request, images: Vec<Bytes>) -> Vec<Result<Scored, Error>> {
        join_all(images.into_iter().map(|image| self.run_image(request, image))).await
    }

    pub async fn run_image(&self, request: &Request, image: Bytes) -> Result<Scored, Error> {
        let deadline = request.envelope.deadline;
        match tokio::time::timeout_at(deadline.at.into(), self.run_one(request, image)).await {
            // A late image may be dropped, without a reply, before this timer fires.
            Ok(Err(Error::Internal(_))) if deadline.is_over(Instant::now()) => Err(deadline.exceeded()),
            Ok(result) => result,
            Err(_) => Err(deadline.exceeded()),
        }
    }

    async fn run_one(&self, request: &Request, bytes: Bytes) -> Result<Scored, Error> {
        let envelope = &request.envelope;
        envelope.model.ready()?;
        let photo = request.photo(bytes);
        let on_drop = DropAbandoned(Some(self));
        let (waiter, pending) = waiter();
        self.decoders.submit(photo, waiter);
        let answer = pending.await;
        on_drop.disarm();
        let ImageReply { reply, prepare } = answer?;
        let mut scored = scored(&envelope.model, reply, &request.want, envelope.deadline.timeout)?;
        scored.phases.receive = request.receive;
        scored.phases.decode_wait = prepare.wait;
        scored.phases.decode = prepare.decode;
        self.metrics.count_image(&scored.phases);
        Ok(scored)
    }
}

/// Refuses a request that cannot be answered before its deadline, judged by the images in flight in this process.
fn reachable(model: &ServedModel, needed: Needed) -> Result<(), Error> {
    // Jobs that may wait for a worker have long deadlines.
    if needed.without_worker == WithoutWorker::Wait {
        return Ok(());
    }
    let images = needed.load.jobs;
    let ahead = prediction::ahead(model.admission().images(), needed.priority, images);
    if ahead == 0 {
        return Ok(());
    }
    let Some(pace) = model.pace() else {
        return Ok(());
    };
    let Deadline { at, timeout } = needed.deadline;
    if pace.reaches(ahead, images, at.saturating_duration_since(Instant::now())) {
        return Ok(());
    }
    let predicted = pace.finish(ahead, images);
    Err(Error::DeadlineUnreachable {
        predicted,
        timeout,
        retry_after: predicted.saturating_sub(timeout),
    })
}

/// Removes abandoned work from the queues when a request is dropped while it waits. Declared before the receiver, which is
/// dropped first and marks the photo as abandoned.
struct DropAbandoned<'a>(Option<&'a Infer>);

impl DropAbandoned<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for DropAbandoned<'_> {
    fn drop(&mut self) {
        if let Some(infer) = self.0 {
            infer.decoders.drop_dead();
            infer.broker.drop_dead();
        }
    }
}
