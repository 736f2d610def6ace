//! Submits the images of asynchronous jobs, whose replies go into records.

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
    pub fn records(&self) -> JobRecords {
        JobRecords::new(self.shared.link.clone(), self.shared.config.prefix.clone())
    }

    pub fn due(&self) -> WebhookSchedule {
        WebhookSchedule::new(self.shared.link.clone(), self.shared.config.prefix.clone())
    }

    /// Queues a part of the job `id`, and returns its entry.
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

    /// Deletes parts from their queue. Parts that were computed already are no error.
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

    /// Keeps a model's card as long as there may be results to label, also without workers.
    pub async fn keep_card(&self, card: &ModelCard, keep: Duration) -> Result<(), LinkError> {
        registry::keep_card(&self.shared.link, &self.shared.config.prefix, card, keep).await
    }

    /// The card of a digest; `None` where there is none.
    pub async fn card(&self, digest: &str) -> Result<Option<ModelCard>, LinkError> {
        registry::card(&self.shared.link, &self.shared.config.prefix, digest).await
    }
}
