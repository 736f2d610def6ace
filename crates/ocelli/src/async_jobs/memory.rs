//! Jobs of one process: it computes them in tasks of its own, and they end with it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::retention::{Entered, Retention};
use super::{
    Idempotency, JobTicket, JobView, JobsConfig, Sender, Snapshot, Submission, WebhookUrl, secret_id, webhook,
};
use crate::error::Error;
use crate::inference::{Infer, Request};
use crate::metrics::Metrics;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::OutputRequest;
use crate::queue::job::{JobId, Scored};

/// Keeps jobs in memory. Cheap to clone.
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
    /// Cancelled when nobody wants the job any more.
    unwanted: CancellationToken,
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
        // Decoding waits for its turn, so that only what shows at once can be said at once.
        if let [only] = images.as_slice() {
            shared.infer.decoders.look_at(only)?;
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
            // At the end nobody can ask any more, but somebody may be told.
            unwanted: match webhook {
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
            let unwanted = entry.unwanted.clone();
            let work = async {
                compute(&infer, &request, images, &entry).await;
                // Its permit is somebody else's now.
                drop(request);
                if let Some((url, sender)) = webhook {
                    tell(&entry, (&url, &sender), &infer.metrics, &stop).await;
                }
            };
            tokio::select! {
                () = unwanted.cancelled() => {}
                () = work => {}
            }
        });
        Ok(ticket)
    }

    /// Whether a key stands for a job.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.shared.kept.lock().knows(key, Instant::now())
    }

    /// The job that a key stands for.
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
        entry.ok_or(Error::UnknownJob)?.unwanted.cancel();
        Ok(())
    }

    /// Ends the jobs that nobody can ask for any more, and waits for those whose ends are to be told: they are computed,
    /// and their webhooks called once.
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

/// Calls the webhook of a job that has ended, until that succeeds or is given up. Once the process stops it is called once,
/// unless its receiver does not answer.
async fn tell(
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
                sender.paused(&receiver).await;
            }
        };
        let turn = tokio::select! {
            biased;
            () = stopped => {
                return tracing::warn!(job = %entry.ticket.id, "a webhook is not called: the process stops");
            }
            turn = sender.turn(&receiver) => turn,
            () = tokio::time::sleep_until(end) => return webhook::expired(url, metrics),
        };
        let body = match JobView::new(&entry.snapshot()).body() {
            Ok(body) => body,
            Err(error) => return tracing::error!(%error, "a job could not be written as JSON"),
        };
        let attempt = sender.call(turn, url, body).await;
        let Some(pause) = webhook::next(&attempt, tries, url, metrics) else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {
                return tracing::warn!(job = %entry.ticket.id, "a webhook is not called again: the process stops");
            }
        }
    }
}

/// Computes every image and notes what it came to, as soon as it has.
async fn compute(infer: &Infer, request: &Request, images: Vec<bytes::Bytes>, entry: &StoredJob) {
    let each = images.into_iter().enumerate().map(|(part, image)| async move {
        let result = infer.run_image(request, image).await;
        if let Some(place) = entry.results.lock().get_mut(part) {
            *place = Some(result);
        }
    });
    join_all(each).await;
}
