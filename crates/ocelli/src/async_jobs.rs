//! Asynchronous jobs: images that are accepted now, computed in their turn, and asked about later.
//!
//! Owns what a job is, its states, and how long it is kept. Where it is kept is the store's business: in this process,
//! which forgets it when it ends, or in Redis, where any web process finds it. Images are computed on the one path
//! ([`crate::inference`]); forms, headers and status codes are those of [`crate::http`].

pub(crate) mod memory;
pub(crate) mod redis;
pub(crate) mod response;
pub(crate) mod retention;
pub(crate) mod webhook;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::Error;
use crate::inference::{Infer, Request};
use crate::models::served_model::ServedModel;
use crate::output::postprocess::OutputRequest;
use crate::queue::Broker;
use crate::queue::job::StoredSize;
use crate::queue::job::{JobId, Scored};

pub use memory::MemoryJobs;
pub use redis::RedisJobs;
pub use response::JobView;
pub use webhook::{
    CallLimits, OwnListeners, SIGNATURE, Secret, Sender, WebhookConfig, WebhookHost, WebhookUrl,
};

#[derive(Clone, Debug)]
pub struct JobsConfig {
    /// How long a job may take, from the end of the request's headers, unless the request allows less.
    pub deadline: Duration,
    /// How long a job and its result are kept after that.
    pub ttl: Duration,
    /// The most images of all jobs that are kept, and the most bytes of their results.
    pub limit: StoredSize,
    /// What calls webhooks; `None` where they are off.
    pub webhooks: Option<Sender>,
}

impl JobsConfig {
    /// The most webhooks that are called at once.
    #[must_use]
    pub fn webhook_calls(&self) -> usize {
        self.webhooks.as_ref().map_or(0, |sender| sender.limits().total)
    }
}

/// All asynchronous jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    config: JobsConfig,
    store: JobStore,
}

#[derive(Clone, Debug)]
enum JobStore {
    Memory(MemoryJobs),
    Redis(RedisJobs),
}

/// A job to be accepted.
#[derive(Debug)]
pub struct Submission {
    pub request: Request,
    /// With these images, at least one.
    pub images: Vec<Bytes>,
    /// What tells this request from others, where the client may send it again.
    pub idempotency: Option<Idempotency>,
    /// Who is told when the job has ended.
    pub webhook: Option<WebhookUrl>,
}

/// What tells a request from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// What the client calls it.
    pub key: String,
    /// A hash of all that it asks for.
    pub fingerprint: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTicket {
    /// Its id, which nobody can guess.
    pub id: JobId,
    pub created: SystemTime,
    pub expires: SystemTime,
}

/// A job as it is now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub ticket: JobTicket,
    /// What its images are computed with.
    pub model: Arc<ServedModel>,
    /// What is wanted of each.
    pub want: OutputRequest,
    /// What each image came to, in their order; `None` for those that are not computed yet.
    pub results: Vec<Option<Result<Scored, Error>>>,
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// No image has its result yet.
    Queued,
    Running,
    /// Every image has its result, and at least one was computed.
    Done,
    /// No image was computed, and none will be.
    Failed,
}

impl Submission {
    /// How much it counts among the jobs that are kept.
    fn size(&self) -> StoredSize {
        let images = self.images.len();
        StoredSize {
            images,
            bytes: images as u64 * self.request.want.most_bytes(&self.request.envelope.model),
        }
    }
}

impl JobState {
    /// The state of a job whose images came to `results`.
    #[must_use]
    pub fn of(results: &[Option<Result<Scored, Error>>]) -> Self {
        let answered = results.iter().flatten().count();
        if answered < results.len() {
            return if answered == 0 {
                Self::Queued
            } else {
                Self::Running
            };
        }
        if results.iter().flatten().any(Result::is_ok) {
            Self::Done
        } else {
            Self::Failed
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing changes any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl Jobs {
    /// No jobs yet, kept where `infer`'s broker is.
    #[must_use]
    pub fn new(config: JobsConfig, infer: &Infer) -> Self {
        let store = match &infer.broker {
            Broker::Memory(_) | Broker::Tutorial(_) => {
                JobStore::Memory(MemoryJobs::new(config.clone(), infer.clone()))
            }
            Broker::Redis(broker) => {
                JobStore::Redis(RedisJobs::new(config.clone(), infer.clone(), broker.clone()))
            }
        };
        Self { config, store }
    }

    #[must_use]
    pub fn config(&self) -> &JobsConfig {
        &self.config
    }

    /// The URL that a client wants to be called when its job has ended.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for one that is not called.
    pub fn webhook(&self, url: &str) -> Result<WebhookUrl, Error> {
        match &self.config.webhooks {
            Some(sender) => sender.url(url),
            None => Err(Error::InvalidRequest(
                "X-Webhook-Url: this server calls no webhooks; ask for the job with GET, or list hosts in --webhook-hosts"
                    .to_owned(),
            )),
        }
    }

    /// Whether an accepted job outlives this process.
    #[must_use]
    pub fn durable(&self) -> bool {
        match self.store {
            JobStore::Memory(_) => false,
            JobStore::Redis(_) => true,
        }
    }

    /// Accepts a job, or names the one that an earlier request with the same key was.
    ///
    /// # Errors
    /// [`Error::InvalidImage`] where there is one image only and it is bad, [`Error::TooManyJobs`], [`Error::TooLarge`] for
    /// a job that would not be kept even if it were the only one, [`Error::IdempotencyConflict`], [`Error::IdempotencyInProgress`], and whatever keeps images out.
    pub async fn submit(&self, submission: Submission) -> Result<JobTicket, Error> {
        let most = self.config.limit.open_to(submission.request.envelope.priority, 0);
        most.check(submission.size())?;
        match &self.store {
            JobStore::Memory(store) => store.submit(submission),
            JobStore::Redis(store) => store.submit(submission).await,
        }
    }

    /// Whether an idempotency key stands for an accepted job, so that a request with it needs no room.
    ///
    /// # Errors
    /// [`Error::BrokerUnavailable`].
    pub async fn knows(&self, key: &str) -> Result<bool, Error> {
        match &self.store {
            JobStore::Memory(store) => Ok(store.knows(key)),
            JobStore::Redis(store) => store.knows(key).await,
        }
    }

    /// The accepted job of an earlier request that was the same; `None` where there is none any more.
    ///
    /// # Errors
    /// [`Error::IdempotencyConflict`], [`Error::IdempotencyInProgress`] and [`Error::BrokerUnavailable`].
    pub async fn known(&self, idempotency: &Idempotency) -> Result<Option<JobTicket>, Error> {
        match &self.store {
            JobStore::Memory(store) => store.known(idempotency),
            JobStore::Redis(store) => store.known(idempotency).await,
        }
    }

    /// A job as it is now.
    ///
    /// # Errors
    /// [`Error::UnknownJob`].
    pub async fn get(&self, id: JobId) -> Result<Snapshot, Error> {
        match &self.store {
            JobStore::Memory(store) => store.get(id),
            JobStore::Redis(store) => store.get(id).await,
        }
    }

    /// Forgets a job. What is not computed yet never will be.
    ///
    /// # Errors
    /// [`Error::UnknownJob`].
    pub async fn delete(&self, id: JobId) -> Result<(), Error> {
        match &self.store {
            JobStore::Memory(store) => store.delete(id),
            JobStore::Redis(store) => store.delete(id).await,
        }
    }

    /// Does what is to be done for jobs beside requests, until [`Jobs::close`].
    pub async fn run(self) {
        match &self.store {
            // Each job has a task of its own.
            JobStore::Memory(_) => {}
            JobStore::Redis(store) => store.run().await,
        }
    }

    /// Takes no more jobs, and ends the tasks of those that this process has.
    pub async fn close(&self) {
        match &self.store {
            JobStore::Memory(store) => store.close().await,
            JobStore::Redis(store) => store.close().await,
        }
    }
}

/// An id that nobody can guess, since knowing it is all that it takes to read a job.
fn secret_id() -> Result<JobId, Error> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(JobId(u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::postprocess::Output;
    use crate::output::timing::Phases;

    #[test]
    fn a_job_is_as_far_as_its_images() {
        let good = || {
            Some(Ok(Scored {
                outcome: Output::Classes(Vec::new()),
                phases: Phases::default(),
            }))
        };
        let bad = || Some(Err(Error::internal("a bug")));
        for (results, state) in [
            (vec![None], JobState::Queued),
            (vec![None, None], JobState::Queued),
            (vec![good(), None], JobState::Running),
            (vec![None, bad()], JobState::Running),
            (vec![good()], JobState::Done),
            (vec![bad(), good()], JobState::Done),
            (vec![bad()], JobState::Failed),
            (vec![bad(), bad()], JobState::Failed),
        ] {
            assert_eq!(JobState::of(&results), state, "{results:?}");
            assert_eq!(state.is_final(), results.iter().all(Option::is_some));
        }
    }

    #[test]
    fn ids_differ() {
        assert_ne!(secret_id(), secret_id());
    }
}
