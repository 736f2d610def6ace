//! What the tasks of a worker process share, and what those of each of its models share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::lease::Leases;
use crate::metrics::Metrics;
use crate::models::served_model::ServedModel;
use crate::queue::ModelQueue;
use crate::queue::redis::address::EntryAddress;
use crate::queue::redis::clock::RedisClock;
use crate::queue::redis::connection::{Link, LinkError};
use crate::queue::redis::keys::{GROUP, ModelKeys};
use crate::queue::redis::needs::Needs;
use crate::queue::redis::queue_stats::look;
use crate::queue::redis::registry::{self, Announced, Announcement, BatchCost};
use crate::queue::redis::scripts::{RENEW, TIDY};

/// How long the streams of a model are kept that no worker serves and no web process fills.
pub(super) const KEEP_STREAMS: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct WorkerSideConfig {
    /// What every key begins with.
    pub prefix: String,
    /// The name of this process, which no other has.
    pub name: String,
    /// How long a job stays with this worker without a sign of life.
    pub lease: Duration,
    /// The most dead letters kept.
    pub dead_letters: usize,
    /// How long dead letters are kept.
    pub dead_ttl: Duration,
}

/// One for all models of a process.
#[derive(Debug)]
pub(super) struct ProcessState {
    pub(super) config: WorkerSideConfig,
    /// For every command that does not block, of every model.
    pub(super) link: Link,
    pub(super) needs: Needs,
    pub(super) clock: RedisClock,
    pub(super) metrics: Arc<Metrics>,
    /// The models whose tasks run.
    pub(super) models: Mutex<Vec<Arc<ModelState>>>,
    /// Held by the task that sends the heartbeats of all of them.
    pub(super) heartbeat: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(super) struct ModelState {
    pub(super) process: Arc<ProcessState>,
    /// What Redis knows this model of this process as.
    pub(super) name: String,
    pub(super) keys: ModelKeys,
    /// For reads that block.
    pub(super) reader: Link,
    pub(super) model: Arc<ServedModel>,
    pub(super) queue: ModelQueue,
    pub(super) leases: Leases,
    /// When Redis last answered a read for jobs.
    pub(super) last_read: Mutex<Option<Instant>>,
    pub(super) card: Vec<u8>,
    /// The digest that others serve under this model's name and version, where none of them serves this one.
    pub(super) conflict: Mutex<Option<String>>,
    pub(super) leaving: AtomicBool,
    pub(super) retired: AtomicBool,
    /// Ends when no more jobs are leased.
    pub(super) fed: CancellationToken,
}

impl ModelState {
    pub(super) fn link(&self) -> &Link {
        &self.process.link
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.process.metrics
    }

    /// How many jobs of the model wait or are being computed, by any worker.
    pub(super) async fn depth(&self) -> Result<usize, LinkError> {
        look(self.link(), &self.keys, &[]).await.map(|stats| stats.depth)
    }

    fn announcement(&self) -> Announcement {
        let mut announcement = Announcement {
            model: self.model.id.name.clone(),
            version: self.model.id.version.clone(),
            digest: self.model.id.digest.clone(),
            instances: if self.retired.load(Ordering::Acquire) {
                0
            } else {
                self.model.instances() as u32
            },
            leaving: self.leaving.load(Ordering::Acquire),
            leases: self.leases.len() as u32,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            superseded: self.model.is_superseded(),
            ..Announcement::default()
        };
        if let Some(runtime) = self.model.runtime() {
            let cost = |(batch, time): (usize, Duration)| BatchCost {
                batch: batch as u32,
                nanoseconds: time.as_nanos() as u64,
            };
            announcement.costs = runtime.cost.entries().map(cost).collect();
            let lengths = runtime.vector_lengths.iter().map(|&length| length as u32);
            announcement.vector_lengths = lengths.collect();
            announcement.engine = runtime.engine;
            announcement.engine_version = runtime.engine_version;
            announcement.threads_per_instance = runtime.threads_per_instance as u32;
            announcement.max_batch = runtime.max_batch as u32;
        }
        announcement
    }

    pub(super) async fn announce(&self) -> Result<Announced, LinkError> {
        let announced = registry::announce(
            self.link(),
            &self.process.config.prefix,
            &self.name,
            (&self.announcement(), &self.card),
            &self.process.clock,
        )
        .await?;
        *self.conflict.lock() = match &announced {
            Announced::Yes => None,
            Announced::Conflict(digest) => Some(digest.clone()),
        };
        Ok(announced)
    }

    /// What [`Announced::Conflict`] means, and how to resolve it.
    pub(super) fn conflict_with(&self, digest: &str) -> String {
        let own = &self.model.id;
        format!(
            "live workers serve {} version {} with digest {digest}, and this package has {}; give it another version in \
             model.toml, give those workers this package and reload them, or stop them first",
            own.name, own.version, own.digest
        )
    }

    /// Renews all leases, and marks those that have passed to another worker.
    pub(super) async fn renew(&self) -> Result<(), LinkError> {
        let places: Vec<EntryAddress> = self.leases.places(Instant::now());
        let mut script = RENEW.call();
        for key in &self.keys.jobs {
            script.key(key);
        }
        script
            .arg(GROUP)
            .arg(&self.name)
            .arg(KEEP_STREAMS.as_millis() as u64);
        for place in &places {
            script.arg(place.priority.index() + 1).arg(&place.entry);
        }
        let lost: Vec<usize> = self.link().script(&script).await?;
        for place in lost
            .into_iter()
            .filter_map(|position| places.get(position.checked_sub(1)?))
        {
            if self.leases.lose(place) {
                self.metrics().lost_leases.inc();
                tracing::warn!(
                    model = self.model.id.name,
                    entry = place.entry,
                    "another worker took over a job of this one"
                );
            }
        }
        Ok(())
    }

    /// Deletes consumers without jobs whose workers are not `live`.
    pub(super) async fn tidy(&self, live: &[(String, Announcement)]) -> Result<(), LinkError> {
        let mut script = TIDY.call();
        for key in &self.keys.jobs {
            script.key(key);
        }
        script.arg(GROUP);
        for (worker, _) in live {
            script.arg(worker);
        }
        let forgotten: i64 = self.link().script(&script).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "deleted consumers of workers that have ended");
        }
        Ok(())
    }

    pub(super) async fn withdraw(&self) -> Result<(), LinkError> {
        let prefix = &self.process.config.prefix;
        registry::withdraw(self.link(), prefix, &self.name, &self.model.id).await
    }

    /// Removes this worker's name from Redis. Its consumers go too, unless they still have jobs, which others then claim.
    pub(super) async fn sign_off(&self) -> Result<(), LinkError> {
        self.link().expect_up()?;
        self.withdraw().await?;
        self.tidy(&self.process.live().await?).await
    }
}

impl ProcessState {
    /// The workers of all processes that are alive.
    pub(super) async fn live(&self) -> Result<Vec<(String, Announcement)>, LinkError> {
        registry::watch(&self.link, &self.config.prefix).await
    }
}
