//! The heartbeat of a web process: keeps its reply stream alive, follows the registry, and finds jobs that Redis lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::state::{ProducerState, Submission};
use crate::metrics::QueueStats;
use crate::models::model_id::ModelId;
use crate::models::served_model::ServedModel;
use crate::queue::redis::address::EntryAddress;
use crate::queue::redis::connection::LinkError;
use crate::queue::redis::keys;
use crate::queue::redis::needs::{Needs, Role};
use crate::queue::redis::queue_stats::look;
use crate::queue::redis::registry::{self, Announcement};

/// Between heartbeats.
const BEAT: Duration = Duration::from_millis(900);

/// Between heartbeats while Redis cannot be used, so that its return is noticed.
const BEAT_WITHOUT_REDIS: Duration = Duration::from_millis(200);

/// How long the reply stream outlives its process.
const REPLIES_LIVE: Duration = Duration::from_secs(30);

/// How long workers have to announce themselves again after an outage. They do so every second, once they are connected.
const MAY_BE_FORGOTTEN: Duration = Duration::from_secs(2);

/// The age from which on a heartbeat checks whether a job is still in its stream.
const LOOK_AFTER: Duration = Duration::from_millis(900);

/// Jobs of a model that one heartbeat checks.
const LOOK_FOR: usize = 512;

/// How long a model without workers is remembered: its name gets 503 `no_worker`, later 404 `unknown_model`.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The same where another package has its name and version now: until requests that found the old one are submitted.
const SUCCEEDED: Duration = Duration::from_secs(60);

/// Models that a web process knows at once: whoever writes to Redis may announce any number.
const MOST_MODELS: usize = 4096;

pub(crate) struct Heartbeat {
    needs: Needs,
    shared: Arc<ProducerState>,
    outbox: mpsc::UnboundedSender<Submission>,
    models: HashMap<Arc<ModelId>, Known>,
    /// Until then models without workers are kept, because Redis was away or emptied.
    patient_until: Instant,
}

struct Known {
    model: Arc<ServedModel>,
    last_served: Instant,
}

impl Heartbeat {
    pub(crate) fn new(shared: Arc<ProducerState>, outbox: mpsc::UnboundedSender<Submission>) -> Self {
        Self {
            needs: Needs {
                role: Role::Web,
                prefix: shared.config.prefix.clone(),
            },
            shared,
            outbox,
            models: HashMap::new(),
            patient_until: Instant::now(),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let beaten = self.beat().await;
            if let Err(error) = &beaten {
                tracing::debug!(%error, "a heartbeat failed");
                self.patient_until = Instant::now() + MAY_BE_FORGOTTEN;
            }
            let pause = if beaten.is_ok() { BEAT } else { BEAT_WITHOUT_REDIS };
            tokio::time::sleep(pause).await;
        }
    }

    async fn beat(&mut self) -> Result<(), LinkError> {
        self.needs.look_again(&self.shared.link).await;
        self.keep_replies().await?;
        self.learn().await?;
        self.shared.listening.store(true, Ordering::Release);
        self.look_for_lost().await
    }

    /// Renews the reply stream, or creates it.
    async fn keep_replies(&mut self) -> Result<(), LinkError> {
        let config = &self.shared.config;
        let key = keys::replies(&config.prefix, &config.name);
        let mut renew = ::redis::cmd("PEXPIRE");
        renew.arg(&key).arg(REPLIES_LIVE.as_millis() as u64);
        if self.shared.link.query::<i64>(&renew).await? == 1 {
            return Ok(());
        }
        self.patient_until = Instant::now() + MAY_BE_FORGOTTEN;
        let mut create = ::redis::cmd("XGROUP");
        // The group is not used; creating one creates an empty stream.
        create
            .arg("CREATE")
            .arg(&key)
            .arg("none")
            .arg("$")
            .arg("MKSTREAM");
        match self.shared.link.query::<()>(&create).await {
            Err(LinkError::Refused(text)) if text.contains("BUSYGROUP") => {}
            created => created?,
        }
        self.shared.link.query::<i64>(&renew).await.map(|_| ())
    }

    /// Updates the catalog from the registry.
    async fn learn(&mut self) -> Result<(), LinkError> {
        let shared = Arc::clone(&self.shared);
        let live = registry::watch(&shared.link, &shared.config.prefix).await?;
        let now = Instant::now();
        let mut by_model: HashMap<ModelId, Vec<Announcement>> = HashMap::new();
        let mut processes: Vec<&str> = live.iter().map(|(name, _)| registry::process_of(name)).collect();
        processes.sort_unstable();
        processes.dedup();
        shared.metrics.workers.set(processes.len() as i64);
        for (_, announcement) in live {
            by_model
                .entry(announcement.model_id())
                .or_default()
                .push(announcement);
        }
        // New models are published before others are marked as gone: one may replace the other.
        for (id, workers) in &by_model {
            if !self.models.contains_key(id) {
                self.add(id, workers, now).await?;
            }
        }
        self.publish();
        for (id, workers) in &by_model {
            if let Some(known) = self.models.get_mut(id) {
                known.note(workers, now);
            }
        }
        let patient = now < self.patient_until;
        for (id, known) in &mut self.models {
            if !by_model.contains_key(&**id) && known.model.is_ready() && !patient {
                tracing::warn!(
                    model = id.name,
                    version = id.version,
                    "the model has no workers any more"
                );
                known.model.set_instances(0);
            }
        }
        self.forget(now);
        self.publish();
        Ok(())
    }

    /// Adds a model.
    async fn add(&mut self, id: &ModelId, workers: &[Announcement], now: Instant) -> Result<(), LinkError> {
        let shared = &self.shared;
        let Some(card) = registry::card(&shared.link, &shared.config.prefix, &id.digest).await? else {
            return Ok(());
        };
        let manifest = &card.manifest;
        if (&manifest.name, &manifest.version) != (&id.name, &id.version) || self.models.len() >= MOST_MODELS
        {
            tracing::warn!(
                digest = id.digest,
                models = self.models.len(),
                "a model is ignored: its card has another name, or there are too many models"
            );
            return Ok(());
        }
        tracing::info!(
            model = id.name,
            version = id.version,
            digest = id.digest,
            "found workers of a new model"
        );
        let model = Arc::new(ServedModel::elsewhere(card));
        let mut known = Known {
            model,
            last_served: now,
        };
        known.note(workers, now);
        self.models.insert(Arc::clone(&known.model.id), known);
        Ok(())
    }

    fn publish(&self) {
        let mut models: Vec<Arc<ServedModel>> = self
            .models
            .values()
            .map(|known| Arc::clone(&known.model))
            .collect();
        models
            .sort_by(|one, other| (&one.id.name, &one.id.version).cmp(&(&other.id.name, &other.id.version)));
        self.shared.catalog.set(models);
    }

    /// Removes models that have had no workers for long.
    fn forget(&mut self, now: Instant) {
        let unserved = |known: &Known| now.saturating_duration_since(known.last_served);
        let served = self.models.values().filter(|known| unserved(known).is_zero());
        let served: HashSet<NameAndVersion> = served.map(|known| named(&known.model.id)).collect();
        self.models.retain(|id, known| {
            let succeeded = served.contains(&named(id));
            let remembered = unserved(known) < if succeeded { SUCCEEDED } else { REMEMBERED };
            // Metrics are by name and version; a successor keeps them.
            if !remembered && !succeeded {
                self.shared.metrics.forget_model(id);
            }
            remembered
        });
    }

    /// Finds jobs that are neither in their streams nor answered, and submits them again.
    async fn look_for_lost(&self) -> Result<(), LinkError> {
        let shared = &self.shared;
        let mut asked = shared.pending.queued_for(LOOK_AFTER, Instant::now(), LOOK_FOR);
        for known in self.models.values() {
            // The state of a queue is reported also if this process has no jobs in it.
            asked.entry(Arc::clone(&known.model.id)).or_default();
        }
        let mut failed = None;
        // While a package is replaced by another of its name and version, the figures are those of both.
        let mut all_stats: HashMap<NameAndVersion, (Arc<ModelId>, QueueStats)> = HashMap::new();
        let looks = asked.iter().map(|(model, jobs)| async move {
            let places: Vec<&EntryAddress> = jobs.iter().map(|(_, place)| place).collect();
            (
                model,
                jobs,
                look(&shared.link, &shared.keys(model), &places).await,
            )
        });
        // All models are asked about in one write.
        for (model, jobs, stats) in join_all(looks).await {
            match stats {
                Ok(stats) => {
                    shared.note_depth(model, stats.depth);
                    shared.pending.note_missing(jobs, &stats.missing);
                    let new = || (Arc::clone(model), QueueStats::default());
                    let (_, sum) = all_stats.entry(named(model)).or_insert_with(new);
                    sum.add(&stats);
                }
                // In a cluster the queues of other models may be on other nodes.
                Err(error) => failed = Some(error),
            }
        }
        for (model, stats) in all_stats.values() {
            shared.metrics.set_queue(model, stats);
        }
        let again = shared.pending.take_lost(LOOK_FOR);
        if !again.is_empty() {
            tracing::warn!(jobs = again.len(), "Redis lost jobs; they are submitted again");
            shared.metrics.resubmitted.inc_by(again.len() as u64);
        }
        for id in again {
            shared.send(&self.outbox, id);
        }
        failed.map_or(Ok(()), Err)
    }
}

/// A package replaces another one that has the same.
type NameAndVersion = (String, String);

fn named(model: &ModelId) -> NameAndVersion {
    (model.name.clone(), model.version.clone())
}

impl Known {
    /// Applies the announcements of the live workers of a model.
    fn note(&mut self, workers: &[Announcement], now: Instant) {
        self.last_served = now;
        // Workers that are leaving finish the jobs that are there. They get new ones only if no other worker has this package or
        // another version of it.
        let staying = workers.iter().filter(|worker| !worker.leaving);
        let instances: u32 = staying.map(|worker| worker.instances).sum();
        let leaving: u32 = workers.iter().map(|worker| worker.instances).sum();
        self.model.set_retiring(instances == 0);
        self.model
            .set_superseded(workers.iter().all(|worker| worker.superseded));
        let instances = if instances > 0 { instances } else { leaving.min(1) };
        self.model.set_instances(instances as usize);
        if let Some(mut runtime) = workers.iter().find_map(Announcement::runtime) {
            runtime.instances = workers.iter().map(|worker| worker.instances as usize).sum();
            self.model.set_runtime(runtime);
        }
    }
}
