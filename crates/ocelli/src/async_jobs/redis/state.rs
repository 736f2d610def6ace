//! What accepting jobs, showing them and calling their webhooks share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reading::snapshot;
use crate::async_jobs::{JobsConfig, Snapshot};
use crate::error::Error;
use crate::inference::Infer;
use crate::models::served_model::ServedModel;
use crate::queue::job::JobId;
use crate::queue::redis::{JobRecords, Record, RedisBroker, WebhookSchedule};

#[derive(Debug)]
pub(crate) struct RedisJobsShared {
    pub(super) config: JobsConfig,
    pub(super) infer: Infer,
    pub(super) broker: RedisBroker,
    pub(super) records: JobRecords,
    pub(super) due: WebhookSchedule,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl RedisJobsShared {
    /// The job of a record.
    ///
    /// # Errors
    /// [`Error::Internal`] where its model's labels are lost, and [`Error::BrokerUnavailable`].
    pub(super) async fn snapshot(&self, id: JobId, record: &Record) -> Result<Snapshot, Error> {
        let model = self.model(record).await?;
        Ok(snapshot(id, record, model))
    }

    fn served(&self, digest: &str) -> Option<Arc<ServedModel>> {
        let models = self.infer.catalog.all();
        models.iter().find(|model| model.id.digest == digest).cloned()
    }

    /// The model of a job, also without workers.
    async fn model(&self, record: &Record) -> Result<Arc<ServedModel>, Error> {
        let digest = &record.asked.digest;
        if let Some(model) = self.served(digest) {
            return Ok(model);
        }
        let card = self.broker.card(digest).await?.ok_or_else(|| {
            Error::internal(format!(
                "Redis has lost the description of the job's model {digest}"
            ))
        })?;
        Ok(Arc::new(ServedModel::elsewhere(card)))
    }
}
