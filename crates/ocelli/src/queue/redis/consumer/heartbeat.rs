//! The heartbeat of a worker process: renews the leases of all its models and announces them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::state::{ModelState, ProcessState};
use crate::queue::redis::connection::LinkError;
use crate::queue::redis::registry::Announced;

/// Between heartbeats, unless leases need renewing sooner.
const BEAT: Duration = Duration::from_secs(1);

/// Between searches for consumers of workers that have ended.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// A model whose tasks run. Dropping it ends its heartbeats.
pub(super) struct Beating(Arc<ModelState>);

impl Beating {
    pub(super) fn new(model: &Arc<ModelState>) -> Self {
        model.process.models.lock().push(Arc::clone(model));
        Self(Arc::clone(model))
    }

    /// Sends heartbeats for all models of the process until it is dropped. Each model runs this, one of them at a time does the
    /// work, and another goes on when that one has left.
    pub(super) async fn run(&self) {
        let process = &self.0.process;
        let _turn = process.heartbeat.lock().await;
        let pause = BEAT.min(process.config.lease / 3);
        let mut tidied = Instant::now();
        loop {
            let mut beaten = process.beat().await;
            if beaten.is_ok() && tidied.elapsed() >= TIDY_EVERY {
                tidied = Instant::now();
                beaten = process.tidy().await;
            }
            if let Err(error) = beaten {
                tracing::debug!(%error, "a heartbeat failed");
            }
            tokio::time::sleep(pause).await;
        }
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        let mut models = self.0.process.models.lock();
        models.retain(|model| !Arc::ptr_eq(model, &self.0));
    }
}

impl ProcessState {
    fn running(&self) -> Vec<Arc<ModelState>> {
        self.models.lock().clone()
    }

    /// Sends the commands of all models together: one write, whatever their number. One that fails keeps no other from
    /// being carried out; in a cluster they may be for different nodes.
    async fn beat(&self) -> Result<(), LinkError> {
        self.link.connect().await?;
        self.needs.look_again(&self.link).await;
        let models = self.running();
        let beats = models.iter().map(|model| async {
            let known = model.conflict.lock().clone();
            let (renewed, announced) = tokio::join!(model.renew(), model.announce());
            if let Ok(Announced::Conflict(digest)) = &announced
                && known.as_ref() != Some(digest)
            {
                tracing::error!("this worker gets no jobs: {}", model.conflict_with(digest));
            }
            renewed.and(announced.map(drop))
        });
        join_all(beats).await.into_iter().collect()
    }

    async fn tidy(&self) -> Result<(), LinkError> {
        let (models, live) = (self.running(), self.live().await?);
        let tidying = models.iter().map(|model| model.tidy(&live));
        join_all(tidying).await.into_iter().collect()
    }
}
