//! What the handle and the tasks of a web process share, and how a job is submitted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::pending::{Abandoned, PendingJobs, PreparedForm};
use crate::compute::pool::Pool;
use crate::metrics::{DropReason, Metrics};
use crate::models::admission::{AdmissionLimits, open_to};
use crate::models::catalog::Catalog;
use crate::models::model_id::ModelId;
use crate::queue::job::{Job, JobId};
use crate::queue::redis::ack::finish;
use crate::queue::redis::address::{EntryAddress, ReplyTo};
use crate::queue::redis::connection::{Link, LinkError};
use crate::queue::redis::entries;
use crate::queue::redis::keys::{self, ModelKeys};
use crate::queue::redis::scripts::SUBMIT;
use crate::queue::wire::{ElementKind, JobHeader, TensorHeader, WantMessage};
use crate::queue::{Envelope, queue_full};

/// How much longer than their jobs keys are kept, for replies and slow clocks.
const KEEP_LONGER: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct WebConfig {
    /// What every key begins with.
    pub prefix: String,
    /// The name of this process, which no other has.
    pub name: String,
    /// The most jobs of a model in Redis, waiting and being computed, and the most bytes that they may hold.
    pub limits: AdmissionLimits,
    /// The most bytes of the results of asynchronous jobs, of all models.
    pub max_result_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct ProducerState {
    pub(in crate::queue::redis) config: WebConfig,
    pub(in crate::queue::redis) link: Link,
    pub(super) replies: Link,
    pub(in crate::queue::redis) catalog: Catalog,
    pub(in crate::queue::redis) pending: PendingJobs,
    pub(in crate::queue::redis) metrics: Arc<Metrics>,
    /// Whether the reply stream of this process exists, so that replies can arrive.
    pub(in crate::queue::redis) listening: AtomicBool,
    pub(super) depths: Mutex<HashMap<Arc<ModelId>, Depth>>,
    pub(super) submitting: AtomicUsize,
    pub(super) decoders: Pool,
    pub(super) closed: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    pub(super) jobs: usize,
    pub(super) at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Submission {
    Job(JobId),
    /// Delete jobs whose clients have left.
    Sweep,
}

impl ProducerState {
    pub(in crate::queue::redis) fn form(&self, job: Job, to: ReplyTo) -> PreparedForm {
        let Envelope {
            request_id,
            model,
            priority,
            ..
        } = &job.envelope;
        let input = model.input();
        let header = JobHeader {
            id: job.id.0.to_be_bytes().to_vec(),
            reply_to: to.key,
            // Set when it is sent. Anything but 0, which would not be written and so change the length.
            timeout_us: u64::MAX,
            priority: priority.index() as u32,
            inputs: vec![TensorHeader {
                name: String::new(),
                kind: ElementKind::U8 as i32,
                shape: vec![input.height, input.width, 3],
            }],
            wants: job
                .wants
                .iter()
                .map(|want| WantMessage::new(model, want))
                .collect(),
            reply_kind: to.kind as i32,
            part: to.part,
            request_id: request_id.to_string(),
        };
        PreparedForm {
            id: job.id,
            header,
            payload: Bytes::from(job.pixels),
            most_reply: job.wants.iter().map(|want| want.most_bytes(model)).sum(),
            envelope: job.envelope,
        }
    }

    pub(in crate::queue::redis) fn send(&self, outbox: &mpsc::UnboundedSender<Submission>, id: JobId) {
        self.submitting.fetch_add(1, Ordering::AcqRel);
        // Without its tasks the process has ended, and its requests with it.
        let _ = outbox.send(Submission::Job(id));
    }

    pub(in crate::queue::redis) fn keys(&self, model: &ModelId) -> ModelKeys {
        ModelKeys::new(&self.config.prefix, model)
    }

    pub(in crate::queue::redis) fn note_depth(&self, model: &Arc<ModelId>, jobs: usize) {
        let depth = Depth {
            jobs,
            at: Instant::now(),
        };
        self.depths.lock().insert(Arc::clone(model), depth);
    }

    pub(super) async fn submit(&self, id: JobId) {
        let Some(form) = self.pending.form(id) else {
            return;
        };
        match self.push(&form).await {
            Ok(Ok(entry)) => {
                if self.pending.queued(id, &entry, Instant::now()).is_none() {
                    // Its client left meanwhile.
                    let place = EntryAddress {
                        priority: form.envelope.priority,
                        entry,
                    };
                    self.take_out(Abandoned { form, place }).await;
                }
            }
            Ok(Err(depth)) => {
                self.pending.failed(id, queue_full(&form.envelope.model, depth));
            }
            Err(error) => self.pending.failed(id, error.into()),
        }
    }

    /// Returns the job's entry, or the depth of a full queue.
    pub(in crate::queue::redis) async fn push(
        &self,
        form: &PreparedForm,
    ) -> Result<Result<String, usize>, LinkError> {
        let Envelope {
            model,
            priority,
            deadline,
            ..
        } = &form.envelope;
        let keys = self.keys(&model.id);
        let left = deadline.at.saturating_duration_since(Instant::now());
        let mut header = form.header.clone();
        header.timeout_us = left.as_micros() as u64;
        let limits = self.config.limits;
        let open = |limit| open_to(limit, *priority);
        let (code, depth, entry): (i64, usize, Option<String>) = {
            let mut script = SUBMIT.call();
            for key in keys.jobs.iter().chain([&keys.bytes, &keys.index]) {
                script.key(key);
            }
            script
                .arg(priority.index() + 1)
                .arg(open(limits.jobs as u64))
                .arg(open(limits.bytes))
                .arg(limits.bytes)
                .arg((left + KEEP_LONGER).as_millis() as u64)
                .arg(form.most_reply)
                .arg(header.encode_frame())
                .arg(&form.payload[..]);
            let answer: ::redis::Value = self.link.script(&script).await?;
            entries::submitted(&answer).ok_or_else(|| {
                LinkError::Refused("the script SUBMIT returned something else than it should".to_owned())
            })?
        };
        self.note_depth(&model.id, depth);
        Ok(match (code, entry) {
            (1, Some(entry)) => Ok(entry),
            _ => Err(depth),
        })
    }

    /// Deletes the reply stream, unless Redis is down.
    pub(super) async fn sign_off(&self) -> Result<(), LinkError> {
        self.link.expect_up()?;
        let mut forget = ::redis::cmd("DEL");
        forget.arg(keys::replies(&self.config.prefix, &self.config.name));
        self.link.query(&forget).await
    }

    /// Deletes a job whose client has left. If that fails, workers drop it at its deadline.
    pub(super) async fn take_out(&self, abandoned: Abandoned) {
        let keys = self.keys(&abandoned.form.envelope.model.id);
        let EntryAddress { priority, entry } = &abandoned.place;
        let taken = finish(&self.link, &keys, *priority, [entry.as_str()].into_iter()).await;
        match taken {
            Ok(0) => {}
            Ok(_) => self.metrics.count_dropped(DropReason::ClientGone),
            Err(error) => {
                tracing::debug!(%error, "cannot delete an abandoned job; it stays until its deadline");
            }
        }
    }
}
