//! Jobs in Redis: any web process accepts them, any worker computes them, and any web process answers for them.
//!
//! Images are decoded before a job is accepted, so that an accepted job needs nothing of the process that accepted it.
//! Then a record is made, the parts are queued, and only then does the client hear of the job; whatever goes wrong until
//! then is undone, and where that fails too, everything has an end by itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use ring::digest::{SHA256, digest};
use tokio_util::task::TaskTracker;

use super::{Idempotency, JobsConfig, Snapshot, Submission, Ticket, secret_id};
use crate::broker::redis::{LinkError, Record, Records, RedisBroker};
use crate::broker::wire::{self, BadImage, JobRecord, QueuedParts};
use crate::error::Error;
use crate::infer::{Infer, Request, Scored, scored};
use crate::job::{Job, JobId};
use crate::model::ServedModel;

/// How long a claim on an idempotency key holds while its job is being accepted. Longer than that takes; short, for the
/// case that the process dies meanwhile.
const CLAIM_HOLDS: Duration = Duration::from_secs(60);

/// How often a key is claimed that stands for a job which is gone. Once is enough unless others claim it too.
const CLAIMS: u32 = 3;

/// Keeps jobs in Redis. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisJobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: JobsConfig,
    infer: Infer,
    broker: RedisBroker,
    records: Records,
    tasks: TaskTracker,
}

/// An image that can be computed, and which one it is.
type Part = (u32, Job);

/// What an idempotency key stands for, as Redis keeps it: `state:id:fingerprint`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    accepted: bool,
    id: JobId,
    fingerprint: [u8; 32],
}

impl RedisJobs {
    pub(super) fn new(config: JobsConfig, infer: Infer, broker: RedisBroker) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                infer,
                records: broker.records(),
                broker,
                tasks: TaskTracker::new(),
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
        let model = self.shared.model(&record).await?;
        Ok(snapshot(id, &record, model))
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
        shared.records.leave(id, asked.parts as usize).await?;
        if !asked.once_key.is_empty() {
            shared.records.give_up(&asked.once_key, &asked.once_claim).await?;
        }
        Ok(())
    }

    /// Waits until what is being accepted is.
    pub(super) async fn close(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
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
        let (jobs, bad) = sort(prepared.map_err(|_| request.deadline.exceeded())?)?;
        let life = request.deadline.at.saturating_duration_since(Instant::now());
        if life.is_zero() {
            return Err(request.deadline.exceeded());
        }
        // As precise as the record is.
        let keep = Duration::from_millis((life + self.config.ttl).as_millis() as u64);
        let asked = record(request, images.len(), bad, keep, once);
        let entered = self
            .records
            .enter(id, images.len(), self.config.max_images, keep)
            .await?;
        entered.map_err(|retry_after| Error::TooManyJobs { retry_after })?;
        let mut queued = QueuedParts {
            priority: request.priority.index() as u32,
            entries: Vec::with_capacity(jobs.len()),
        };
        match self.record_and_queue(id, (&asked, life), jobs, &mut queued).await {
            Ok(created_us) => {
                self.infer.metrics.async_jobs.inc();
                Ok(Ticket::new(id, created_us, keep))
            }
            Err(error) => {
                if let Err(trouble) = self.undo(id, request, images.len(), &queued).await {
                    tracing::warn!(%trouble, "a job that was not accepted is left to expire");
                }
                Err(error)
            }
        }
    }

    async fn record_and_queue(
        &self,
        id: JobId,
        (asked, life): (&JobRecord, Duration),
        jobs: Vec<Part>,
        queued: &mut QueuedParts,
    ) -> Result<u64, Error> {
        if let Some(model) = self.served(&asked.digest) {
            self.broker
                .keep_card(&model.card, Duration::from_millis(asked.keep_ms))
                .await?;
        }
        let created_us = self.records.create(id, asked, jobs.len(), life).await?;
        for (part, job) in jobs {
            queued.entries.push(self.broker.enqueue(job, id, part).await?);
        }
        self.records.note_queued(id, queued).await?;
        Ok(created_us)
    }

    async fn undo(
        &self,
        id: JobId,
        request: &Request,
        images: usize,
        queued: &QueuedParts,
    ) -> Result<(), LinkError> {
        self.broker.withdraw(&request.model.id, queued).await?;
        self.records.delete(id).await?;
        self.records.leave(id, images).await
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
    request: &Request,
    images: usize,
    bad: Vec<BadImage>,
    keep: Duration,
    once: Option<(&str, &Claim)>,
) -> JobRecord {
    let model = &request.model.id;
    JobRecord {
        model: model.name.clone(),
        version: model.version.clone(),
        digest: model.digest.clone(),
        top_k: request.top_k as u32,
        parts: images as u32,
        timeout_ms: request.deadline.timeout.as_millis() as u64,
        keep_ms: keep.as_millis() as u64,
        bad,
        once_key: once.map(|(key, _)| key.to_owned()).unwrap_or_default(),
        once_claim: once.map(|(_, claim)| claim.text()).unwrap_or_default(),
    }
}

fn ticket(id: JobId, record: &Record) -> Ticket {
    Ticket::new(id, record.created_us, Duration::from_millis(record.asked.keep_ms))
}

impl Ticket {
    fn new(id: JobId, created_us: u64, keep: Duration) -> Self {
        let created = SystemTime::UNIX_EPOCH + Duration::from_micros(created_us);
        Self {
            id,
            created,
            expires: created + keep,
        }
    }
}

/// What a record says of its job. Parts without a reply at the deadline never get one.
fn snapshot(id: JobId, record: &Record, model: Arc<ServedModel>) -> Snapshot {
    let timeout = Duration::from_millis(record.asked.timeout_ms);
    let late = record.now_us >= record.deadline_us;
    let result = |part| -> Option<Result<Scored, Error>> {
        if let Some(bad) = record.asked.bad.iter().find(|bad| bad.part == part) {
            return Some(Err(Error::InvalidImage(bad.error.clone())));
        }
        match record.replies.get(&part) {
            Some(frame) => Some(answer(frame, record, &model)),
            None => late.then_some(Err(Error::DeadlineExceeded(timeout))),
        }
    };
    Snapshot {
        ticket: ticket(id, record),
        results: (0..record.asked.parts).map(result).collect(),
        model,
    }
}

fn answer(frame: &[u8], record: &Record, model: &ServedModel) -> Result<Scored, Error> {
    let received = wire::decode_reply(frame).map_err(|error| {
        tracing::warn!(%error, "a worker's reply cannot be read");
        Error::Internal
    })?;
    let timeout = Duration::from_millis(record.asked.timeout_ms);
    scored(model, received.reply, record.asked.top_k as usize, timeout)
}

/// Keys of clients are not written down anywhere, and may have any form.
fn hashed(key: &str) -> String {
    hex(digest(&SHA256, key.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl Claim {
    fn text(&self) -> String {
        let state = if self.accepted { "accepted" } else { "pending" };
        format!("{state}:{}:{}", self.id, hex(&self.fingerprint))
    }

    fn parse(text: &str) -> Option<Self> {
        let (state, rest) = text.split_once(':')?;
        let (id, digits) = rest.split_once(':')?;
        let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
            return None;
        };
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        Some(Self {
            accepted: match state {
                "accepted" => true,
                "pending" => false,
                _ => return None,
            },
            id: JobId::parse(id)?,
            fingerprint: bytes?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ocelli_engine::{Tensor, TensorData};

    use super::*;
    use crate::job::{JobCost, Reply};
    use crate::jobs::State;
    use crate::model;

    #[test]
    fn a_claim_comes_back_as_it_was() {
        let claim = Claim {
            accepted: true,
            id: JobId(0xab),
            fingerprint: std::array::from_fn(|index| index as u8 * 8),
        };
        let pending = Claim {
            accepted: false,
            ..claim.clone()
        };
        for claim in [claim.clone(), pending] {
            assert_eq!(Claim::parse(&claim.text()), Some(claim));
        }
        let text = claim.text();
        for bad in [
            "",
            "accepted",
            "accepted::",
            &text[1..],
            &text[..text.len() - 2],
            &text.replace("00", "+0"),
        ] {
            assert_eq!(Claim::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn parts_without_a_reply_wait_until_the_deadline_and_not_longer() {
        let (model, _) = ServedModel::split(model::builtin().expect("it is valid"));
        let model = Arc::new(model);
        let scores = Tensor::new([1, 1000], TensorData::F32(vec![0.0; 1000])).expect("it fits");
        let reply = Reply {
            result: Ok(vec![scores]),
            cost: JobCost::default(),
        };
        let good = wire::encode_reply(JobId(1), &reply, "worker");
        let record = |now_us, replies: &[(u32, &[u8])]| Record {
            asked: JobRecord {
                parts: 3,
                top_k: 1,
                timeout_ms: 5,
                bad: vec![BadImage {
                    part: 1,
                    error: "bad".to_owned(),
                }],
                ..JobRecord::default()
            },
            created_us: 1_000,
            deadline_us: 6_000,
            now_us,
            queued: QueuedParts::default(),
            replies: replies
                .iter()
                .map(|(part, frame)| (*part, frame.to_vec()))
                .collect::<HashMap<_, _>>(),
        };
        let codes = |record: &Record| {
            let job = snapshot(JobId(1), record, Arc::clone(&model));
            let codes: Vec<&str> = job
                .results
                .iter()
                .map(|result| match result {
                    None => "none",
                    Some(Ok(_)) => "ok",
                    Some(Err(error)) => error.status().code,
                })
                .collect();
            (codes, State::of(&job.results))
        };
        let some = [(0, &good[..])];
        assert_eq!(
            codes(&record(5_999, &some)),
            (vec!["ok", "invalid_image", "none"], State::Running)
        );
        assert_eq!(
            codes(&record(6_000, &some)),
            (vec!["ok", "invalid_image", "deadline_exceeded"], State::Done)
        );
        assert_eq!(
            codes(&record(6_000, &[])),
            (
                vec!["deadline_exceeded", "invalid_image", "deadline_exceeded"],
                State::Failed
            )
        );
        let garbage = [(0, &b"garbage"[..]), (2, &good[..])];
        assert_eq!(
            codes(&record(1_000, &garbage)),
            (vec!["internal", "invalid_image", "ok"], State::Done)
        );
    }
}
