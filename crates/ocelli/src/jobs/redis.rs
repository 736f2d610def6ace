//! Jobs in Redis: any web process accepts them, any worker computes them, and any web process answers for them.
//!
//! Images are decoded before a job is accepted, so that an accepted job needs nothing of the process that accepted it.
//! Then a record is made, the parts are queued, and only then does the client hear of the job; whatever goes wrong until
//! then is undone, and where that fails too, everything has an end by itself.

mod claim;
mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::claim::{Claim, hashed};
use self::reading::{snapshot, ticket};
use super::{Idempotency, JobsConfig, Snapshot, Submission, Ticket, WebhookUrl, courier, secret_id};
use crate::broker::redis::{Due, LinkError, Record, Records, RedisBroker};
use crate::broker::wire::{BadImage, JobRecord, QueuedParts, WantMessage};
use crate::error::Error;
use crate::infer::Infer;
use crate::job::{Job, JobId};
use crate::model::ServedModel;

/// How long a claim on an idempotency key holds while its job is being accepted. Longer than that takes; short, for the
/// case that the process dies meanwhile.
const CLAIM_HOLDS: Duration = Duration::from_secs(60);

/// How often a key is claimed that stands for a job which is gone. Once is enough unless others claim it too.
const CLAIMS: u32 = 3;

/// When the webhook of a job is called that was not computed by its deadline: surely after it.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// Keeps jobs in Redis. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisJobs {
    shared: Arc<Shared>,
}

/// What jobs and those who call webhooks share.
#[derive(Debug)]
pub(super) struct Shared {
    config: JobsConfig,
    pub(super) infer: Infer,
    broker: RedisBroker,
    pub(super) records: Records,
    pub(super) due: Due,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A job that is about to be accepted.
struct Draft<'a> {
    id: JobId,
    model: &'a ServedModel,
    asked: JobRecord,
    webhook: String,
    /// Until its deadline.
    life: Duration,
    /// Until it is forgotten.
    keep: Duration,
}

/// An image that can be computed, and which one it is.
type Part = (u32, Job);

impl RedisJobs {
    pub(super) fn new(config: JobsConfig, infer: Infer, broker: RedisBroker) -> Self {
        Self {
            shared: Arc::new(Shared {
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

    /// Accepts a job in a task of its own: a client that leaves meanwhile does not leave half a job behind.
    pub(super) async fn submit(&self, submission: Submission) -> Result<Ticket, Error> {
        if self.shared.tasks.is_closed() {
            return Err(Error::NotReady("it is stopping"));
        }
        let shared = Arc::clone(&self.shared);
        let accepting = self
            .shared
            .tasks
            .spawn(async move { shared.submit(submission).await });
        accepting.await.unwrap_or_else(|error| {
            tracing::error!(%error, "accepting a job panicked");
            Err(Error::Internal)
        })
    }

    pub(super) async fn get(&self, id: JobId) -> Result<Snapshot, Error> {
        let record = self.shared.records.read(id).await?.ok_or(Error::UnknownJob)?;
        self.shared.snapshot(id, &record).await
    }

    pub(super) async fn delete(&self, id: JobId) -> Result<(), Error> {
        let shared = &self.shared;
        let record = shared.records.read(id).await?.ok_or(Error::UnknownJob)?;
        // From here on the job is unknown, and late replies have nowhere to go. What follows has an end by itself.
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

    /// Calls webhooks, where that is on, until [`RedisJobs::close`].
    pub(super) async fn run(&self) {
        if let Some(sender) = &self.shared.config.webhooks {
            courier::run(&self.shared, sender, &self.shared.stop).await;
        }
    }

    /// Calls no more webhooks, and waits until what is being accepted is.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    /// The job of a record.
    ///
    /// # Errors
    /// [`Error::Internal`] where its model's labels are lost, and [`Error::BrokerUnavailable`].
    pub(super) async fn snapshot(&self, id: JobId, record: &Record) -> Result<Snapshot, Error> {
        let model = self.model(record).await?;
        Ok(snapshot(id, record, model))
    }

    async fn submit(&self, submission: Submission) -> Result<Ticket, Error> {
        let id = secret_id()?;
        let Some(idempotency) = &submission.idempotency else {
            return self.accept(id, &submission, None).await;
        };
        let key = hashed(&idempotency.key);
        let claim = Claim {
            accepted: false,
            id,
            fingerprint: idempotency.fingerprint,
        };
        if let Some(known) = self.claim(&key, &claim, idempotency).await? {
            return Ok(known);
        }
        let settled = Claim {
            accepted: true,
            ..claim.clone()
        };
        let accepted = self.accept(id, &submission, Some((&key, &settled))).await;
        let (claim, settled) = (claim.text(), settled.text());
        match &accepted {
            Ok(ticket) => {
                let keep = ticket.expires.duration_since(ticket.created).unwrap_or_default();
                if !self.records.settle(&key, (&claim, &settled), keep).await? {
                    tracing::warn!("accepting a job took so long that its idempotency key was lost");
                }
            }
            Err(_) => self.records.give_up(&key, &claim).await?,
        }
        accepted
    }

    /// Claims a key, or says which job it stands for already.
    async fn claim(
        &self,
        key: &str,
        claim: &Claim,
        idempotency: &Idempotency,
    ) -> Result<Option<Ticket>, Error> {
        for _ in 0..CLAIMS {
            let Some(before) = self.records.claim(key, &claim.text(), CLAIM_HOLDS).await? else {
                return Ok(None);
            };
            // What nobody can read stands for nothing, and gives way.
            if let Some(known) = Claim::parse(&before) {
                if known.fingerprint != idempotency.fingerprint {
                    return Err(Error::IdempotencyConflict);
                }
                if !known.accepted {
                    return Err(Error::IdempotencyInProgress);
                }
                if let Some(record) = self.records.read(known.id).await? {
                    return Ok(Some(ticket(known.id, &record)));
                }
            }
            self.records.give_up(key, &before).await?;
        }
        Err(Error::IdempotencyInProgress)
    }

    /// Decodes, counts, records and queues a job.
    async fn accept(
        &self,
        id: JobId,
        submission: &Submission,
        once: Option<(&str, &Claim)>,
    ) -> Result<Ticket, Error> {
        let Submission { request, images, .. } = submission;
        let each = images
            .iter()
            .map(|image| self.infer.decoders.prepare(request.photo(image.clone())));
        let deadline = tokio::time::Instant::from_std(request.deadline.at);
        let prepared = tokio::time::timeout_at(deadline, join_all(each)).await;
        let prepared = prepared.map_err(|_| request.deadline.exceeded())?;
        let life = request.deadline.at.saturating_duration_since(Instant::now());
        if life.is_zero() {
            return Err(request.deadline.exceeded());
        }
        let (jobs, bad) = sort(prepared)?;
        // As precise as the record is.
        let keep = Duration::from_millis((life + self.config.ttl).as_millis() as u64);
        let draft = Draft {
            id,
            model: &request.model,
            asked: record(submission, bad, keep, once),
            webhook: submission
                .webhook
                .as_ref()
                .map(WebhookUrl::to_string)
                .unwrap_or_default(),
            life,
            keep,
        };
        let entered = self
            .records
            .enter(id, images.len(), self.config.max_images, keep)
            .await?;
        entered.map_err(|retry_after| Error::TooManyJobs { retry_after })?;
        let mut queued = QueuedParts {
            priority: request.priority.index() as u32,
            entries: Vec::with_capacity(jobs.len()),
        };
        match self.record_and_queue(&draft, jobs, &mut queued).await {
            Ok(created_us) => {
                self.infer.metrics.async_jobs.inc();
                Ok(Ticket::new(id, created_us, keep))
            }
            Err(error) => {
                if let Err(trouble) = self.undo(&draft, &queued).await {
                    tracing::warn!(%trouble, "a job that was not accepted is left to expire");
                }
                Err(error)
            }
        }
    }

    async fn record_and_queue(
        &self,
        draft: &Draft<'_>,
        jobs: Vec<Part>,
        queued: &mut QueuedParts,
    ) -> Result<u64, Error> {
        let Draft { id, life, keep, .. } = *draft;
        self.broker.keep_card(&draft.model.card, keep).await?;
        let left = (jobs.len(), life);
        let created_us = self
            .records
            .create(id, &draft.asked, left, &draft.webhook)
            .await?;
        if !draft.webhook.is_empty() {
            // Before anybody can answer the job, and so have it called. Where nothing is to be computed, that is now.
            let wait = if jobs.is_empty() {
                Duration::ZERO
            } else {
                life + AFTER_DEADLINE
            };
            self.due.enter(id, wait, keep).await?;
        }
        for (part, job) in jobs {
            queued.entries.push(self.broker.enqueue(job, id, part).await?);
        }
        self.records.note_queued(id, queued).await?;
        Ok(created_us)
    }

    async fn undo(&self, draft: &Draft<'_>, queued: &QueuedParts) -> Result<(), LinkError> {
        self.broker.withdraw(&draft.model.id, queued).await?;
        self.forget(draft.id, &draft.asked, &draft.webhook).await
    }

    /// Forgets what is kept of a job beside its queued parts.
    async fn forget(&self, id: JobId, asked: &JobRecord, webhook: &str) -> Result<(), LinkError> {
        self.records.delete(id).await?;
        self.records.leave(id, asked.parts as usize).await?;
        if !webhook.is_empty() {
            self.due.leave(id).await?;
        }
        Ok(())
    }

    fn served(&self, digest: &str) -> Option<Arc<ServedModel>> {
        let models = self.infer.catalog.all();
        models.iter().find(|model| model.id.digest == digest).cloned()
    }

    /// The model of a job, whether or not anybody serves it now.
    async fn model(&self, record: &Record) -> Result<Arc<ServedModel>, Error> {
        let digest = &record.asked.digest;
        if let Some(model) = self.served(digest) {
            return Ok(model);
        }
        let card = self.broker.card(digest).await?.ok_or_else(|| {
            tracing::error!(
                digest,
                "the card of a job's model is lost, so its result cannot be labelled"
            );
            Error::Internal
        })?;
        Ok(Arc::new(ServedModel::elsewhere(card)))
    }
}

/// Images that can be computed, and those that are bad.
///
/// # Errors
/// The error of an image where there is only one, and any that is no fault of the image.
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

fn record(
    submission: &Submission,
    bad: Vec<BadImage>,
    keep: Duration,
    once: Option<(&str, &Claim)>,
) -> JobRecord {
    let Submission { request, images, .. } = submission;
    let model = &request.model.id;
    let want = WantMessage::new(&request.model, &request.want);
    JobRecord {
        model: model.name.clone(),
        version: model.version.clone(),
        digest: model.digest.clone(),
        top_k: want.top_k,
        want: Some(want),
        parts: images.len() as u32,
        timeout_ms: request.deadline.timeout.as_millis() as u64,
        keep_ms: keep.as_millis() as u64,
        bad,
        once_key: once.map(|(key, _)| key.to_owned()).unwrap_or_default(),
        once_claim: once.map(|(_, claim)| claim.text()).unwrap_or_default(),
    }
}
