//! Asynchronous jobs: images that are accepted now, computed in turn, and fetched later.
//!
//! A job is stored in this process, and lost when it ends, or in Redis, where every web process finds it.

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
    /// From the end of the request's headers, unless the request allows less.
    pub deadline: Duration,
    /// How long a job is kept after that.
    pub ttl: Duration,
    /// For the images of all jobs, and the bytes of their results.
    pub limit: StoredSize,
    /// `None` where webhooks are off.
    pub webhooks: Option<Sender>,
}

impl JobsConfig {
    #[must_use]
    pub fn webhook_calls(&self) -> usize {
        self.webhooks
            .as_ref()
            .map_or(0, |sender| sender.config().calls.total)
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

#[derive(Debug)]
pub struct Submission {
    pub request: Request,
    pub images: Vec<Bytes>,
    pub idempotency: Option<Idempotency>,
    pub webhook: Option<WebhookUrl>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub key: String,
    pub fingerprint: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTicket {
    /// Random, because everyone who knows it can read the job.
    pub id: JobId,
    pub created: SystemTime,
    pub expires: SystemTime,
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub ticket: JobTicket,
    pub model: Arc<ServedModel>,
    pub want: OutputRequest,
    /// The result of each image, in order; `None` until it is computed.
    pub results: Vec<Option<Result<Scored, Error>>>,
}

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
    /// Its share of the limit.
    fn size(&self) -> StoredSize {
        let images = self.images.len();
        StoredSize {
            images,
            bytes: images as u64 * self.request.want.most_bytes(&self.request.envelope.model),
        }
    }
}

impl JobState {
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

    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl Jobs {
    /// Jobs are stored where the broker of `infer` is.
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

    pub fn webhook(&self, url: &str) -> Result<WebhookUrl, Error> {
        match &self.config.webhooks {
            Some(sender) => sender.url(url),
            None => Err(Error::InvalidRequest(
                "X-Webhook-Url: this server calls no webhooks; poll the job with GET, or list hosts in --webhook-hosts"
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

    /// Accepts a job, or returns that of an earlier request with the same key.
    pub async fn submit(&self, submission: Submission) -> Result<JobTicket, Error> {
        let most = self.config.limit.open_to(submission.request.envelope.priority, 0);
        most.check(submission.size())?;
        match &self.store {
            JobStore::Memory(store) => store.submit(submission),
            JobStore::Redis(store) => store.submit(submission).await,
        }
    }

    /// Whether an idempotency key belongs to an accepted job, so that its request needs no room.
    pub async fn knows(&self, key: &str) -> Result<bool, Error> {
        match &self.store {
            JobStore::Memory(store) => Ok(store.knows(key)),
            JobStore::Redis(store) => store.knows(key).await,
        }
    }

    /// The accepted job of an earlier request with the same key, unless it was forgotten.
    pub async fn known(&self, idempotency: &Idempotency) -> Result<Option<JobTicket>, Error> {
        match &self.store {
            JobStore::Memory(store) => store.known(idempotency),
            JobStore::Redis(store) => store.known(idempotency).await,
        }
    }

    pub async fn get(&self, id: JobId) -> Result<Snapshot, Error> {
        match &self.store {
            JobStore::Memory(store) => store.get(id),
            JobStore::Redis(store) => store.get(id).await,
        }
    }

    /// Forgets a job, and cancels it.
    pub async fn delete(&self, id: JobId) -> Result<(), Error> {
        match &self.store {
            JobStore::Memory(store) => store.delete(id),
            JobStore::Redis(store) => store.delete(id).await,
        }
    }

    /// Runs the tasks that jobs need beside requests, until [`Jobs::close`].
    pub async fn run(self) {
        match &self.store {
            // Each job has a task of its own.
            JobStore::Memory(_) => {}
            JobStore::Redis(store) => store.run().await,
        }
    }

    /// Takes no more jobs, and ends the tasks of those in this process.
    pub async fn close(&self) {
        match &self.store {
            JobStore::Memory(store) => store.close().await,
            JobStore::Redis(store) => store.close().await,
        }
    }
}

/// Not [`JobId::random`], because everyone who knows the id can read the job.
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
    fn the_state_of_a_job_follows_from_its_images() {
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
