//! Jobs in the memory of one process, each computed in a task of its own.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::retention::{Entered, Retention};
use super::{
    Idempotency, JobTicket, JobsConfig, Sender, Snapshot, Submission, WebhookUrl, secret_id, webhook,
};
use crate::error::Error;
use crate::inference::{Infer, Request};
use crate::metrics::Metrics;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::OutputRequest;
use crate::queue::job::{JobId, Scored};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryJobs {
    shared: Arc<MemoryJobsShared>,
}

#[derive(Debug)]
struct MemoryJobsShared {
    config: JobsConfig,
    infer: Infer,
    kept: Mutex<Retention<Arc<StoredJob>>>,
    tasks: TaskTracker,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

#[derive(Debug)]
struct StoredJob {
    ticket: JobTicket,
    model: Arc<ServedModel>,
    want: OutputRequest,
    end: Instant,
    results: Mutex<Vec<Option<Result<Scored, Error>>>>,
    cancelled: CancellationToken,
}

impl MemoryJobs {
    pub(super) fn new(config: JobsConfig, infer: Infer) -> Self {
        Self {
            shared: Arc::new(MemoryJobsShared {
                kept: Mutex::new(Retention::new(config.limit)),
                config,
                infer,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    pub(super) fn submit(&self, submission: Submission) -> Result<JobTicket, Error> {
        let shared = &self.shared;
        if shared.stop.is_cancelled() {
            return Err(Error::NotReady("it is stopping"));
        }
        let size = submission.size();
        let Submission {
            request,
            images,
            idempotency,
            webhook,
        } = submission;
        // The image is decoded later, so only its header is checked now.
        if let [only] = images.as_slice() {
            shared.infer.decoders.check_header(only)?;
        }
        let (now, created) = (Instant::now(), SystemTime::now());
        let left = request.envelope.deadline.at.saturating_duration_since(now) + shared.config.ttl;
        let entry = Arc::new(StoredJob {
            ticket: JobTicket {
                id: secret_id()?,
                created,
                expires: created + left,
            },
            model: Arc::clone(&request.envelope.model),
            want: request.want.clone(),
            end: now + left,
            results: Mutex::new(images.iter().map(|_| None).collect()),
            // When the process stops, only a job with a webhook can still deliver its result.
            cancelled: match webhook {
                Some(_) => CancellationToken::new(),
                None => shared.stop.child_token(),
            },
        });
        let job = (
            entry.ticket.id,
            size,
            request.envelope.priority,
            Arc::clone(&entry),
        );
        match shared.kept.lock().enter(job, idempotency, now + left, now)? {
            Entered::Known(known) => return Ok(known.ticket),
            Entered::New => {}
        }
        let ticket = entry.ticket;
        shared.infer.metrics.async_jobs.inc();
        let (infer, stop) = (shared.infer.clone(), shared.stop.clone());
        let webhook = webhook.zip(shared.config.webhooks.clone());
        shared.tasks.spawn(async move {
            let cancelled = entry.cancelled.clone();
            let work = async {
                compute(&infer, &request, images, &entry).await;
                // Frees its room in the queue.
                drop(request);
                if let Some((url, sender)) = webhook {
                    call_webhook(&entry, (&url, &sender), &infer.metrics, &stop).await;
                }
            };
            tokio::select! {
                () = cancelled.cancelled() => {}
                () = work => {}
            }
        });
        Ok(ticket)
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.shared.kept.lock().knows(key, Instant::now())
    }

    pub(super) fn known(&self, idempotency: &Idempotency) -> Result<Option<JobTicket>, Error> {
        let known = self.shared.kept.lock().known(idempotency, Instant::now())?;
        Ok(known.map(|entry| entry.ticket))
    }

    pub(super) fn get(&self, id: JobId) -> Result<Snapshot, Error> {
        let entry = self.shared.kept.lock().get(id, Instant::now());
        Ok(entry.ok_or(Error::UnknownJob)?.snapshot())
    }

    pub(super) fn delete(&self, id: JobId) -> Result<(), Error> {
        let entry = self.shared.kept.lock().remove(id, Instant::now());
        entry.ok_or(Error::UnknownJob)?.cancelled.cancel();
        Ok(())
    }

    /// Cancels the jobs without a webhook, whose results no client can fetch any more. The others are computed, and their
    /// webhooks called once.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl StoredJob {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            ticket: self.ticket,
            model: Arc::clone(&self.model),
            want: self.want.clone(),
            results: self.results.lock().clone(),
        }
    }
}

/// Calls the webhook of a job that has ended until a call succeeds or it gives up. When the process stops, one call is made,
/// unless the receiver is paused.
async fn call_webhook(
    entry: &StoredJob,
    (url, sender): (&WebhookUrl, &Sender),
    metrics: &Metrics,
    stop: &CancellationToken,
) {
    let receiver = url.receiver();
    let end = tokio::time::Instant::from_std(entry.end);
    for tries in 1.. {
        let stopped = async {
            stop.cancelled().await;
            if tries == 1 {
                sender.dispatcher.paused(&receiver).await;
            }
        };
        let turn = tokio::select! {
            biased;
            () = stopped => {
                return tracing::warn!(job = %entry.ticket.id, "webhook not called because the process stops");
            }
            turn = sender.dispatcher.turn(&receiver) => turn,
            () = tokio::time::sleep_until(end) => return webhook::expired(url, metrics),
        };
        let body = match entry.snapshot().webhook_body(tries) {
            Ok(body) => body,
            Err(error) => return tracing::error!(%error, "cannot write a job as JSON"),
        };
        let attempt = sender.call(turn, url, body).await;
        let Some(pause) = webhook::next(&attempt, tries, url, metrics) else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {
                return tracing::warn!(job = %entry.ticket.id, "webhook not retried because the process stops");
            }
        }
    }
}

/// Computes every image and stores each result as soon as it is there.
async fn compute(infer: &Infer, request: &Request, images: Vec<bytes::Bytes>, entry: &StoredJob) {
    let each = images.into_iter().enumerate().map(|(part, image)| async move {
        let result = infer.run_image(request, image).await;
        if let Some(place) = entry.results.lock().get_mut(part) {
            *place = Some(result);
        }
    });
    join_all(each).await;
}
