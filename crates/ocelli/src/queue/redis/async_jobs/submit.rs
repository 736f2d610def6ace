//! Submitting without waiting for the answer: parts of asynchronous jobs, whose replies go into records.

use std::time::Duration;

use ocelli_vision::ModelCard;

use super::records::JobRecords;
use super::webhook_schedule::WebhookSchedule;
use crate::error::Error;
use crate::models::model_id::ModelId;
use crate::models::priority::Priority;
use crate::queue::job::{Job, JobId};
use crate::queue::queue_full;
use crate::queue::redis::ack::finish;
use crate::queue::redis::address::ReplyTo;
use crate::queue::redis::connection::LinkError;
use crate::queue::redis::producer::RedisBroker;
use crate::queue::redis::registry;
use crate::queue::wire::{QueuedPart, QueuedParts, ReplyKind};

impl RedisBroker {
    /// The records of asynchronous jobs.
    #[must_use]
    pub fn records(&self) -> JobRecords {
        JobRecords::new(self.shared.link.clone(), self.shared.config.prefix.clone())
    }

    /// The webhooks of asynchronous jobs.
    #[must_use]
    pub fn due(&self) -> WebhookSchedule {
        WebhookSchedule::new(self.shared.link.clone(), self.shared.config.prefix.clone())
    }

    /// Queues a part of the job with the record of `id`, and says where.
    ///
    /// # Errors
    /// [`Error::QueueFull`] and [`Error::BrokerUnavailable`].
    pub async fn enqueue(&self, job: Job, id: JobId, part: u32) -> Result<QueuedPart, Error> {
        let to = ReplyTo {
            kind: ReplyKind::Record,
            key: self.records().key(id),
            part,
        };
        let form = self.shared.form(job, to);
        match self.shared.push(&form).await {
            Ok(Ok(entry)) => Ok(QueuedPart { entry }),
            Ok(Err(depth)) => Err(queue_full(&form.envelope.model, depth)),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes parts out of their queue. What was computed already is not there any more, and that is no error.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn withdraw(&self, model: &ModelId, queued: &QueuedParts) -> Result<(), LinkError> {
        if queued.entries.is_empty() {
            return Ok(());
        }
        let keys = self.shared.keys(model);
        let priority = Priority::ALL.get(queued.priority as usize).copied();
        let entries = queued.entries.iter().map(|part| part.entry.as_str());
        finish(&self.shared.link, &keys, priority.unwrap_or_default(), entries).await?;
        Ok(())
    }

    /// Keeps a model's card for as long as there may be results to be labelled with it, workers or not.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn keep_card(&self, card: &ModelCard, keep: Duration) -> Result<(), LinkError> {
        registry::keep_card(&self.shared.link, &self.shared.config.prefix, card, keep).await
    }

    /// The card of a digest; `None` where nobody has kept it.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn card(&self, digest: &str) -> Result<Option<ModelCard>, LinkError> {
        registry::card(&self.shared.link, &self.shared.config.prefix, digest).await
    }
}
