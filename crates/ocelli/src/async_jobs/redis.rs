//! Jobs in Redis: any web process accepts them, any worker computes them, and any web process shows them.
//!
//! Images are decoded before a job is accepted, so that an accepted job does not depend on the process that accepted it. Then a
//! record is created that soon expires, the idempotency key is settled, the parts are queued, and the last step accepts the
//! job: it succeeds only if the record is still there, and keeps it. After a failure all steps are undone; where that fails,
//! too, everything expires. So a key never stands for two accepted jobs: the record of a slow process has expired before
//! another request can claim the key.

pub(crate) mod claim;
pub(crate) mod idempotency;
pub(crate) mod reading;
mod state;
pub(crate) mod webhooks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Idempotency, JobTicket, JobsConfig, Snapshot, Submission, WebhookUrl, secret_id};
use crate::error::Error;
use crate::inference::Infer;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::queue::job::{Job, JobId, StoredSize};
use crate::queue::redis::{LinkError, RedisBroker};
use crate::queue::wire::{BadImage, JobRecord, QueuedParts, WantMessage};
use idempotency::{HOLD, Once, holding};
use state::RedisJobsShared;

/// How long after the deadline the webhook of a job is called that was not computed by then.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisJobs {
    shared: Arc<RedisJobsShared>,
}

struct Draft<'a> {
    id: JobId,
    model: &'a ServedModel,
    asked: JobRecord,
    webhook: String,
    receiver: String,
    /// Until its deadline.
    life: Duration,
    /// Until it is forgotten.
    keep: Duration,
}

/// The index of an image, and its job.
type Part = (u32, Job);

impl RedisJobs {
    pub(super) fn new(config: JobsConfig, infer: Infer, broker: RedisBroker) -> Self {
        Self {
            shared: Arc::new(RedisJobsShared {
                config,
                infer,
                records: broker.records(),
                due: broker.due(),
                broker,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Accepts a job in a task of its own, so that a client that leaves does not leave half a job behind.
    pub(super) async fn submit(&self, submission: Submission) -> Result<JobTicket, Error> {
        if self.shared.tasks.is_closed() {
            return Err(Error::NotReady("it is stopping"));
        }
        let shared = Arc::clone(&self.shared);
        let accepting = self
            .shared
            .tasks
            .spawn(async move { Box::pin(shared.submit(submission)).await });
        accepting
            .await
            .unwrap_or_else(|panic| Err(Error::internal(panic)))
    }

    pub(super) async fn get(&self, id: JobId) -> Result<Snapshot, Error> {
        let record = self.shared.records.read(id).await?;
        let record = record.filter(|record| record.accepted);
        self.shared.snapshot(id, &record.ok_or(Error::UnknownJob)?).await
    }

    pub(super) async fn knows(&self, key: &str) -> Result<bool, Error> {
        self.shared.knows(key).await
    }

    pub(super) async fn known(&self, idempotency: &Idempotency) -> Result<Option<JobTicket>, Error> {
        self.shared.known(idempotency).await
    }

    pub(super) async fn delete(&self, id: JobId) -> Result<(), Error> {
        let shared = &self.shared;
        let record = shared.records.read(id).await?.ok_or(Error::UnknownJob)?;
        // From here on the job is unknown and late replies are dropped. What remains after a failure expires.
        if !shared.records.delete(id).await? {
            return Err(Error::UnknownJob);
        }
        let asked = &record.asked;
        shared.broker.withdraw(&asked.model_id(), &record.queued).await?;
        shared.forget(id, asked, &record.webhook).await?;
        if !asked.once_key.is_empty() {
            shared.records.give_up(&asked.once_key, &asked.once_claim).await?;
        }
        Ok(())
    }

    /// Calls webhooks, if enabled, until [`RedisJobs::close`].
    pub(super) async fn run(&self) {
        if let Some(sender) = &self.shared.config.webhooks {
            webhooks::run(&self.shared, sender, &self.shared.stop).await;
        }
    }

    /// Calls no more webhooks, and waits for jobs that are being accepted.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl RedisJobsShared {
    async fn submit(&self, submission: Submission) -> Result<JobTicket, Error> {
        let id = secret_id()?;
        let Some(idempotency) = &submission.idempotency else {
            let accepted = self.accept(id, &submission, None).await?;
            return accepted.ok_or_else(|| {
                Error::BrokerUnavailable("accepting the job took too long and was undone".to_owned())
            });
        };
        let once = Once::new(id, idempotency);
        if let Some(known) = self.claim(&once, idempotency).await? {
            return Ok(known);
        }
        match self.accept(id, &submission, Some(&once)).await {
            Ok(Some(ticket)) => Ok(ticket),
            Ok(None) => {
                tracing::warn!("another request with the same idempotency key was faster");
                let winner = self.known(idempotency).await?;
                winner.ok_or(Error::IdempotencyInProgress)
            }
            Err(error) => {
                self.give_up(&once).await?;
                Err(error)
            }
        }
    }

    /// Decodes, counts, records and queues a job. `None` if another request with the same idempotency key was faster, or the
    /// record expired.
    async fn accept(
        &self,
        id: JobId,
        submission: &Submission,
        once: Option<&Once>,
    ) -> Result<Option<JobTicket>, Error> {
        let Submission { request, images, .. } = submission;
        let each = images
            .iter()
            .map(|image| self.infer.decoders.prepare(request.photo(image.clone())));
        let deadline = tokio::time::Instant::from_std(request.envelope.deadline.at);
        let decoding = tokio::time::timeout_at(deadline, join_all(each));
        let prepared = holding(decoding, || self.renew_claim(once)).await;
        let prepared = prepared.map_err(|_| request.envelope.deadline.exceeded())?;
        let life = request
            .envelope
            .deadline
            .at
            .saturating_duration_since(Instant::now());
        if life.is_zero() {
            return Err(request.envelope.deadline.exceeded());
        }
        let (jobs, bad) = sort(prepared)?;
        // In milliseconds, as in the record.
        let keep = Duration::from_millis((life + self.config.ttl).as_millis() as u64);
        let draft = Draft {
            id,
            model: &request.envelope.model,
            asked: record(submission, bad, keep, once),
            webhook: submission
                .webhook
                .as_ref()
                .map(WebhookUrl::to_string)
                .unwrap_or_default(),
            receiver: submission
                .webhook
                .as_ref()
                .map(|url| url.receiver().to_string())
                .unwrap_or_default(),
            life,
            keep,
        };
        let entered = self
            .records
            .enter(
                id,
                submission.size(),
                self.open_to(request.envelope.priority),
                keep,
            )
            .await?;
        entered.map_err(|retry_after| Error::TooManyJobs { retry_after })?;
        let mut queued = QueuedParts {
            priority: request.envelope.priority.index() as u32,
            entries: Vec::with_capacity(jobs.len()),
        };
        let accepted = self.record_and_queue(&draft, (jobs, once), &mut queued).await;
        if let Ok(Some(created_us)) = accepted {
            self.infer.metrics.async_jobs.inc();
            return Ok(Some(JobTicket::new(id, created_us, keep)));
        }
        if let Err(trouble) = self.undo(&draft, &queued).await {
            tracing::warn!(%trouble, "a job that was not accepted is left to expire");
        }
        accepted.map(|_| None)
    }

    /// Records and queues a job. Returns when it was created, or `None` where it was too late to accept it.
    async fn record_and_queue(
        &self,
        draft: &Draft<'_>,
        (jobs, once): (Vec<Part>, Option<&Once>),
        queued: &mut QueuedParts,
    ) -> Result<Option<u64>, Error> {
        let Draft { id, life, keep, .. } = *draft;
        self.broker.keep_card(&draft.model.card, keep).await?;
        let left = (jobs.len(), life, HOLD);
        let created_us = self
            .records
            .create(id, &draft.asked, left, &draft.webhook)
            .await?;
        // Before anything is queued, so that nothing is queued twice. From here on the key stands for this record.
        if let Some(once) = once
            && !self.settle(once, keep).await?
        {
            return Ok(None);
        }
        if !draft.webhook.is_empty() {
            // Before a reply can trigger the call. Where no part is to be computed, it is due now.
            let wait = if jobs.is_empty() {
                Duration::ZERO
            } else {
                life + AFTER_DEADLINE
            };
            self.due.enter(id, (wait, keep), &draft.receiver).await?;
        }
        let queueing = async {
            for (part, job) in jobs {
                queued.entries.push(self.broker.enqueue(job, id, part).await?);
            }
            Ok::<_, Error>(())
        };
        holding(queueing, || self.renew_record(id)).await?;
        let accepted = self.records.accept(id, queued, keep).await?;
        Ok(accepted.then_some(created_us))
    }

    /// Undoes the steps for a job. Its record goes first: if that fails, the job may have been accepted by a command whose answer
    /// was lost, and must stay complete.
    async fn undo(&self, draft: &Draft<'_>, queued: &QueuedParts) -> Result<(), LinkError> {
        self.forget(draft.id, &draft.asked, &draft.webhook).await?;
        self.broker.withdraw(&draft.model.id, queued).await
    }

    /// Deletes a job, except for its queued parts.
    async fn forget(&self, id: JobId, asked: &JobRecord, webhook: &str) -> Result<(), LinkError> {
        self.records.delete(id).await?;
        let size = StoredSize {
            images: asked.parts as usize,
            bytes: asked.most_bytes,
        };
        self.records.leave(id, size).await?;
        if !webhook.is_empty() {
            self.due.leave(id).await?;
        }
        Ok(())
    }

    /// The limits for a priority while other jobs are stored, and while there are none.
    fn open_to(&self, priority: Priority) -> [StoredSize; 2] {
        [1, 0].map(|images| self.config.limit.open_to(priority, images))
    }
}

/// Splits images that can be computed from bad ones.
///
/// # Errors
/// The error of an image where there is only one, and any error that is not the image's fault.
fn sort(prepared: Vec<Result<Job, Error>>) -> Result<(Vec<Part>, Vec<BadImage>), Error> {
    let alone = prepared.len() == 1;
    let (mut jobs, mut bad) = (Vec::with_capacity(prepared.len()), Vec::new());
    for (part, result) in (0..).zip(prepared) {
        match result {
            Ok(job) => jobs.push((part, job)),
            Err(Error::InvalidImage(error)) if !alone => bad.push(BadImage { part, error }),
            Err(error) => return Err(error),
        }
    }
    Ok((jobs, bad))
}

fn record(submission: &Submission, bad: Vec<BadImage>, keep: Duration, once: Option<&Once>) -> JobRecord {
    let Submission { request, images, .. } = submission;
    let model = &request.envelope.model.id;
    let want = WantMessage::new(&request.envelope.model, &request.want);
    JobRecord {
        model: model.name.clone(),
        version: model.version.clone(),
        digest: model.digest.clone(),
        top_k: want.top_k,
        want: Some(want),
        parts: images.len() as u32,
        timeout_ms: request.envelope.deadline.timeout.as_millis() as u64,
        keep_ms: keep.as_millis() as u64,
        bad,
        once_key: once.map(|once| once.key.clone()).unwrap_or_default(),
        once_claim: once.map(|once| once.settled.clone()).unwrap_or_default(),
        most_bytes: submission.size().bytes,
    }
}
