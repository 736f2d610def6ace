//! The webhooks to be called and their times, in Redis, so that no call is lost with a process.
//!
//! A webhook is called when its job's last reply comes, or else at the job's deadline. A process that takes a call and does not
//! end it in time loses it to another process.

use std::time::Duration;

use crate::queue::job::JobId;
use crate::queue::redis::connection::{Link, LinkError};
use crate::queue::redis::keys;
use crate::queue::redis::scripts::{WEBHOOK_AT, WEBHOOK_ENTER, WEBHOOK_LEAVE, WEBHOOK_TAKE};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebhookSchedule {
    link: Link,
    prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueWebhook {
    pub id: JobId,
    /// How many calls have failed.
    pub tries: u32,
    pub receiver: String,
}

impl WebhookSchedule {
    pub(in crate::queue::redis) fn new(link: Link, prefix: String) -> Self {
        Self { link, prefix }
    }

    /// Schedules the webhook of a job at `receiver` in `wait`, unless it is called sooner, and keeps it for `keep`.
    pub async fn enter(
        &self,
        id: JobId,
        (wait, keep): (Duration, Duration),
        receiver: &str,
    ) -> Result<(), LinkError> {
        let mut script = WEBHOOK_ENTER.call();
        script
            .key(keys::due(&self.prefix))
            .key(keys::receivers(&self.prefix))
            .arg(id.to_string())
            .arg(wait.as_millis() as u64)
            .arg(keep.as_millis() as u64)
            .arg(receiver);
        self.link.script(&script).await
    }

    /// Moves the call of a job's webhook, if there is one, to `wait` from now.
    pub async fn call_in(&self, id: JobId, wait: Duration) -> Result<(), LinkError> {
        self.move_all(0, &[(id, wait)]).await
    }

    /// The same for many jobs.
    pub async fn postpone(&self, jobs: &[(JobId, Duration)]) -> Result<(), LinkError> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.move_all(0, jobs).await
    }

    /// Schedules another call in `wait` after one that failed.
    pub async fn call_again_in(&self, id: JobId, wait: Duration) -> Result<(), LinkError> {
        self.move_all(1, &[(id, wait)]).await
    }

    async fn move_all(&self, calls: u32, jobs: &[(JobId, Duration)]) -> Result<(), LinkError> {
        let mut script = WEBHOOK_AT.call();
        script
            .key(keys::due(&self.prefix))
            .key(keys::tries(&self.prefix))
            .arg(calls);
        for (id, wait) in jobs {
            script.arg(id.to_string()).arg(wait.as_millis() as u64);
        }
        self.link.script(&script).await
    }

    /// Takes up to `most` calls that are due. Other processes may take them after `hold`.
    pub async fn take(&self, most: usize, hold: Duration) -> Result<Vec<DueWebhook>, LinkError> {
        let mut script = WEBHOOK_TAKE.call();
        script
            .key(keys::due(&self.prefix))
            .key(keys::tries(&self.prefix))
            .key(keys::receivers(&self.prefix))
            .arg(most)
            .arg(hold.as_millis() as u64);
        let taken: Vec<(String, u32, String)> = self.link.script(&script).await?;
        let known = |(id, tries, receiver): (String, u32, String)| {
            Some(DueWebhook {
                id: JobId::parse(&id)?,
                tries,
                receiver,
            })
        };
        Ok(taken.into_iter().filter_map(known).collect())
    }

    /// Deletes the webhook of a job.
    pub async fn leave(&self, id: JobId) -> Result<(), LinkError> {
        let mut script = WEBHOOK_LEAVE.call();
        script
            .key(keys::due(&self.prefix))
            .key(keys::tries(&self.prefix))
            .key(keys::receivers(&self.prefix))
            .arg(id.to_string());
        self.link.script(&script).await
    }
}
