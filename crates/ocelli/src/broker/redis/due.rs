//! Which webhooks are to be called, and when: in Redis, so that no call is lost with the process that would have made it.
//!
//! A webhook is called when its job's last reply comes, or else at the job's deadline. Who takes it has a while to be done
//! with it; then somebody else takes it.

use std::time::Duration;

use super::keys;
use super::link::{Link, LinkError};
use super::scripts::{DUE_AT, DUE_ENTER, DUE_LEAVE, DUE_TAKE};
use crate::job::JobId;

/// The webhooks of all jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Due {
    link: Link,
    prefix: String,
}

impl Due {
    pub(super) fn new(link: Link, prefix: String) -> Self {
        Self { link, prefix }
    }

    /// Has a job's webhook called after `wait` if nothing else calls it sooner, and remembers it for `keep`.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn enter(&self, id: JobId, wait: Duration, keep: Duration) -> Result<(), LinkError> {
        let mut script = DUE_ENTER.prepare_invoke();
        script
            .key(keys::due(&self.prefix))
            .arg(id.to_string())
            .arg(wait.as_millis() as u64)
            .arg(keep.as_millis() as u64);
        self.link.script(&script).await
    }

    /// Has a job's webhook called after `wait`, if it has one that was not called.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn call_in(&self, id: JobId, wait: Duration) -> Result<(), LinkError> {
        let mut script = DUE_AT.prepare_invoke();
        script
            .key(keys::due(&self.prefix))
            .arg(id.to_string())
            .arg(wait.as_millis() as u64);
        self.link.script(&script).await
    }

    /// Takes up to `most` jobs whose webhooks are to be called now, and says for the how manyth time each. Others take them
    /// after `hold`.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn take(&self, most: usize, hold: Duration) -> Result<Vec<(JobId, u32)>, LinkError> {
        let mut script = DUE_TAKE.prepare_invoke();
        script
            .key(keys::due(&self.prefix))
            .key(keys::tries(&self.prefix))
            .arg(most)
            .arg(hold.as_millis() as u64);
        let taken: Vec<(String, u32)> = self.link.script(&script).await?;
        let known = |(id, tries): (String, u32)| Some((JobId::parse(&id)?, tries));
        Ok(taken.into_iter().filter_map(known).collect())
    }

    /// Forgets a job's webhook.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn leave(&self, id: JobId) -> Result<(), LinkError> {
        let mut script = DUE_LEAVE.prepare_invoke();
        script
            .key(keys::due(&self.prefix))
            .key(keys::tries(&self.prefix))
            .arg(id.to_string());
        self.link.script(&script).await
    }
}
