//! Which webhooks are to be called, and when: in Redis, so that no call is lost with the process that would have made it.
//!
//! A webhook is called when its job's last reply comes, or else at the job's deadline. Who takes it has a while to be done
//! with it; then somebody else takes it.

use std::time::Duration;

use crate::queue::job::JobId;
use crate::queue::redis::connection::{Link, LinkError};
use crate::queue::redis::keys;
use crate::queue::redis::scripts::{WEBHOOK_AT, WEBHOOK_ENTER, WEBHOOK_LEAVE, WEBHOOK_TAKE};

/// The webhooks of all jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebhookSchedule {
    link: Link,
    prefix: String,
}

/// A webhook that is to be called now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueWebhook {
    pub id: JobId,
    /// How often it was called in vain.
    pub tries: u32,
    pub receiver: String,
}

impl WebhookSchedule {
    pub(in crate::queue::redis) fn new(link: Link, prefix: String) -> Self {
        Self { link, prefix }
    }

    /// Has a job's webhook called at `receiver` after `wait` if nothing else calls it sooner, and remembers it for `keep`.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn enter(
        &self,
        id: JobId,
        (wait, keep): (Duration, Duration),
        receiver: &str,
    ) -> Result<(), LinkError> {
        let mut script = WEBHOOK_ENTER.prepare_invoke();
        script
            .key(keys::due(&self.prefix))
            .key(keys::receivers(&self.prefix))
            .arg(id.to_string())
            .arg(wait.as_millis() as u64)
            .arg(keep.as_millis() as u64)
            .arg(receiver);
        self.link.script(&script).await
    }

    /// Has a job's webhook called after `wait`, if it has one that was not called.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn call_in(&self, id: JobId, wait: Duration) -> Result<(), LinkError> {
        self.move_all(0, &[(id, wait)]).await
    }

    /// The same for many jobs.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn postpone(&self, jobs: &[(JobId, Duration)]) -> Result<(), LinkError> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.move_all(0, jobs).await
    }

    /// Has a job's webhook, which was called in vain, called again after `wait`.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn call_again_in(&self, id: JobId, wait: Duration) -> Result<(), LinkError> {
        self.move_all(1, &[(id, wait)]).await
    }

    async fn move_all(&self, calls: u32, jobs: &[(JobId, Duration)]) -> Result<(), LinkError> {
        let mut script = WEBHOOK_AT.prepare_invoke();
        script
            .key(keys::due(&self.prefix))
            .key(keys::tries(&self.prefix))
            .arg(calls);
        for (id, wait) in jobs {
            script.arg(id.to_string()).arg(wait.as_millis() as u64);
        }
        self.link.script(&script).await
    }

    /// Takes up to `most` jobs whose webhooks are to be called now. Other processes take them after `hold`.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn take(&self, most: usize, hold: Duration) -> Result<Vec<DueWebhook>, LinkError> {
        let mut script = WEBHOOK_TAKE.prepare_invoke();
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

    /// Forgets a job's webhook.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn leave(&self, id: JobId) -> Result<(), LinkError> {
        let mut script = WEBHOOK_LEAVE.prepare_invoke();
        script
            .key(keys::due(&self.prefix))
            .key(keys::tries(&self.prefix))
            .key(keys::receivers(&self.prefix))
            .arg(id.to_string());
        self.link.script(&script).await
    }
}
