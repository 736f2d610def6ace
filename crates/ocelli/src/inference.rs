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
use crate::queue::job::{Scored, scored};
use crate::queue::{Broker, ImageReply, waiter};
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
    pub model: Arc<ServedModel>,
    /// What is wanted of each image.
    pub want: OutputRequest,
    /// How soon, compared with other requests.
    pub priority: Priority,
    /// The trace that the request belongs to (the value of `traceparent`).
    pub trace: Option<Arc<str>>,
    /// When the answer comes too late.
    pub deadline: Deadline,
    /// Room for all images and their bytes.
    pub permit: Arc<Permit>,
    /// How long the body took to arrive.
    pub receive: Duration,
}

/// A point in time, and the wait that it stands for, which messages name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: Instant,
    /// How long the request was allowed to take.
    pub timeout: Duration,
}

impl Deadline {
    /// The deadline of a request whose headers ended at `start`.
    #[must_use]
    pub fn new(start: Instant, timeout: Duration) -> Self {
        Self {
            at: start + timeout,
            timeout,
        }
    }

    /// The error of a request that is not done by then.
    #[must_use]
    pub fn exceeded(&self) -> Error {
        Error::DeadlineExceeded(self.timeout)
    }
}

/// What a request needs of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// Its images, and the bytes that they hold.
    pub load: Load,
    /// How soon they are to be computed.
    pub priority: Priority,
    /// When the answer comes too late, where a client waits for it.
    pub deadline: Option<Deadline>,
}

impl Request {
    /// One of its images, to be decoded.
    #[must_use]
    pub fn photo(&self, bytes: Bytes) -> Photo {
        Photo {
            bytes,
            model: Arc::clone(&self.model),
            priority: self.priority,
            trace: self.trace.clone(),
            deadline: self.deadline.at,
            want: self.want.clone(),
            permit: Arc::clone(&self.permit),
        }
    }
}

impl Infer {
    /// Takes the room that a request for `model` needs, or refuses with an error that says when to come back.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::NoWorker`], [`Error::BrokerUnavailable`], and [`Error::Unloaded`] for a model that
    /// is on its way out.
    pub fn admit(&self, model: &ServedModel, needed: Needed) -> Result<Permit, Error> {
        self.broker
            .admit(model, needed.load.jobs, needed.priority)
            .map_err(|error| self.honest(model, error, needed))?;
        reachable(model, needed)?;
        self.enter(model, needed)
    }

    /// The same for images that may wait until a worker is there.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::NotReady`], [`Error::BrokerUnavailable`] and [`Error::Unloaded`].
    pub fn admit_later(&self, model: &ServedModel, needed: Needed) -> Result<Permit, Error> {
        self.broker
            .admit_later(model, needed.load.jobs, needed.priority)
            .map_err(|error| self.honest(model, error, needed))?;
        self.enter(model, needed)
    }

    /// Says what [`Infer::admit`] would say now, and takes no room: a request whose body has not arrived holds none.
    ///
    /// # Errors
    /// As [`Infer::admit`].
    pub fn check(&self, model: &ServedModel, needed: Needed) -> Result<(), Error> {
        self.broker
            .admit(model, needed.load.jobs, needed.priority)
            .map_err(|error| self.honest(model, error, needed))?;
        reachable(model, needed)?;
        self.check_room(model, needed)
    }

    /// Says what [`Infer::admit_later`] would say now, and takes no room.
    ///
    /// # Errors
    /// As [`Infer::admit_later`].
    pub fn check_later(&self, model: &ServedModel, needed: Needed) -> Result<(), Error> {
        self.broker
            .admit_later(model, needed.load.jobs, needed.priority)
            .map_err(|error| self.honest(model, error, needed))?;
        self.check_room(model, needed)
    }

    fn check_room(&self, model: &ServedModel, needed: Needed) -> Result<(), Error> {
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

    fn enter(&self, model: &ServedModel, needed: Needed) -> Result<Permit, Error> {
        self.admission
            .admit(needed.load.jobs, needed.load.bytes, needed.priority)
            .and_then(|permit| permit.with(model.door(), self.catalog.all().len()))
            .map_err(|full| self.refuse(model, full, needed))
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
        let deadline = tokio::time::Instant::from_std(request.deadline.at);
        match tokio::time::timeout_at(deadline, self.run_one(request, image)).await {
            // Who drops a late image looks at the clock before the timer does, and says nothing.
            Ok(Err(Error::Internal)) if request.deadline.at <= Instant::now() => {
                Err(request.deadline.exceeded())
            }
            Ok(result) => result,
            Err(_) => Err(request.deadline.exceeded()),
        }
    }

    async fn run_one(&self, request: &Request, bytes: Bytes) -> Result<Scored, Error> {
        request.model.ready()?;
        let photo = request.photo(bytes);
        let leaving = DropOnLeaving(Some(self));
        let (waiter, pending) = waiter();
        self.decoders.submit(photo, waiter);
        let answer = pending.await;
        leaving.stayed();
        let ImageReply { reply, prepare } = answer?;
        let mut scored = scored(&request.model, reply, &request.want, request.deadline.timeout)?;
        scored.phases.receive = request.receive;
        scored.phases.decode_wait = prepare.wait;
        scored.phases.decode = prepare.decode;
        self.metrics.count_image(&scored.phases);
        Ok(scored)
    }
}

/// Says whether the request can be answered before its deadline, as far as this process knows.
///
/// # Errors
/// [`Error::DeadlineUnreachable`].
fn reachable(model: &ServedModel, needed: Needed) -> Result<(), Error> {
    let Some(deadline) = needed.deadline else {
        return Ok(());
    };
    let images = needed.load.jobs;
    let ahead = prediction::ahead(model.door().images(), needed.priority, images);
    if ahead == 0 {
        return Ok(());
    }
    let Some(pace) = model.pace() else {
        return Ok(());
    };
    let left = deadline.at.saturating_duration_since(Instant::now());
    if pace.reaches(ahead, images, left) {
        return Ok(());
    }
    let predicted = pace.finish(ahead, images);
    Err(Error::DeadlineUnreachable {
        predicted,
        timeout: deadline.timeout,
        retry_after: predicted.saturating_sub(deadline.timeout),
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
