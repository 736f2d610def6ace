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
    /// Where prepared images wait for a worker.
    pub broker: Broker,
    pub metrics: Arc<Metrics>,
}

/// What to do with the images of one request.
#[derive(Debug)]
pub struct Request {
    pub envelope: Envelope,
    /// What is wanted of each image.
    pub want: OutputRequest,
    /// Room for all images and their bytes.
    pub permit: Arc<Permit>,
    /// How long the body took to arrive.
    pub receive: Duration,
}

/// What a request needs of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// Its images, and the bytes that they hold.
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
    /// One of its images, to be decoded.
    #[must_use]
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
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::NoWorker`], [`Error::NotReady`], [`Error::BrokerUnavailable`], and [`Error::Unloaded`]
    /// for a model that is being unloaded.
    pub fn admit(&self, model: &ServedModel, needed: Needed) -> Result<Permit, Error> {
        self.check_broker(model, needed)?;
        self.admission
            .admit(needed.load.jobs, needed.load.bytes, needed.priority)
            .and_then(|permit| permit.with(model.door(), self.catalog.all().len()))
            .map_err(|full| self.refuse(model, full, needed))
    }

    /// Whether [`Infer::admit`] would admit the request now. Takes no room: a request whose body has not arrived holds none.
    ///
    /// # Errors
    /// As [`Infer::admit`].
    pub fn check(&self, model: &ServedModel, needed: Needed) -> Result<(), Error> {
        self.check_broker(model, needed)?;
        let models = self.catalog.all().len();
        admission::check(
            &self.admission,
            model.door(),
            models,
            needed.load,
            needed.priority,
        )
        .map_err(|full| self.refuse(model, full, needed))
    }

    fn check_broker(&self, model: &ServedModel, needed: Needed) -> Result<(), Error> {
        let (jobs, priority) = (needed.load.jobs, needed.priority);
        match needed.without_worker {
            WithoutWorker::Refuse => self.broker.admit(model, jobs, priority),
            WithoutWorker::Wait => self.broker.admit_later(model, jobs, priority),
        }
        .map_err(|error| self.honest(model, error, needed))?;
        reachable(model, needed)
    }

    /// The error for a house that is full: its time is what is ahead in the queue.
    fn refuse(&self, model: &ServedModel, full: Full, needed: Needed) -> Error {
        if full.closed {
            return Error::Unloaded;
        }
        let ahead = model.estimate(full.load.jobs);
        let retry_after = ahead.unwrap_or(Duration::from_secs(1));
        self.honest(model, Error::QueueFull { retry_after }, needed)
    }

    /// The error, unless it invites a request back that will never fit.
    fn honest(&self, model: &ServedModel, error: Error, Needed { load, priority, .. }: Needed) -> Error {
        let (house, own) = (self.admission.limits(), model.door().limits());
        let models = self.catalog.all().len();
        match error {
            Error::QueueFull { .. } if !admission::fits_empty(house, own, models, load, priority) => {
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

    /// Computes one image of a request.
    ///
    /// # Errors
    /// Whatever can go wrong with it, and [`Error::DeadlineExceeded`].
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
        let leaving = DropOnLeaving(Some(self));
        let (waiter, pending) = waiter();
        self.decoders.submit(photo, waiter);
        let answer = pending.await;
        leaving.stayed();
        let ImageReply { reply, prepare } = answer?;
        let mut scored = scored(&envelope.model, reply, &request.want, envelope.deadline.timeout)?;
        scored.phases.receive = request.receive;
        scored.phases.decode_wait = prepare.wait;
        scored.phases.decode = prepare.decode;
        self.metrics.count_image(&scored.phases);
        Ok(scored)
    }
}

/// Says whether a request can be answered before its deadline, by what its model has to compute before it in this process.
/// One that may wait for a worker is not refused.
///
/// # Errors
/// [`Error::DeadlineUnreachable`].
fn reachable(model: &ServedModel, needed: Needed) -> Result<(), Error> {
    if needed.without_worker == WithoutWorker::Wait {
        return Ok(());
    }
    let images = needed.load.jobs;
    let ahead = prediction::ahead(model.door().images(), needed.priority, images);
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

/// Clears the queues when a request is dropped while it waits. Declared before what it waits with, so that by then the
/// photo counts as abandoned.
struct DropOnLeaving<'a>(Option<&'a Infer>);

impl DropOnLeaving<'_> {
    fn stayed(mut self) {
        self.0 = None;
    }
}

impl Drop for DropOnLeaving<'_> {
    fn drop(&mut self) {
        if let Some(infer) = self.0 {
            infer.decoders.drop_dead();
            infer.broker.drop_dead();
        }
    }
}
