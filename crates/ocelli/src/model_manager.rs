//! The models that a process has, from their packages to their engines: loaded, replaced and unloaded while it serves.
//!
//! One change is made at a time, and none before the process has what it starts with. The remaining jobs of a model that was
//! unloaded or replaced finish while other changes go on; only changes to models of its own name wait for them. A model that
//! takes the place of another is read, loaded and measured first, and in a worker process announced; then requests find it
//! instead of the old one, which finishes its jobs. A failed change leaves everything as it was, and is reported. When the
//! process stops, the current change is abandoned: a model that is not in its place by then is not published.

pub(crate) mod api;
pub(crate) mod draining;
pub(crate) mod engines;
pub(crate) mod reconcile;
pub(crate) mod registration;
pub(crate) mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ocelli_vision::ModelPackage;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::compute::pool::WorkSource;
use crate::compute::threads::Threads;
use crate::error::Error;
use crate::executor::Pace;
use crate::metrics::Metrics;
use crate::models::catalog::{Catalog, EmptyPolicy, Names};
use crate::models::repository::{Key, ScanError};
use crate::models::served_model::{ModelFile, ServedModel};
use crate::queue::redis::LinkError;
pub use api::ModelStatus;
use draining::Leaving;
use engines::{EngineRoom, StartError};
use registration::{Registration, Registrations};
use state::{ModelSlot, ModelSlots};

#[derive(Debug, Default)]
pub struct ModelSet {
    /// Packages that it was given and keeps.
    pub given: Vec<ModelPackage>,
    /// A folder of others, which may change.
    pub repository: Option<RepositoryConfig>,
    pub names: Names,
}

#[derive(Clone, Debug)]
pub struct RepositoryConfig {
    pub dir: PathBuf,
    pub selection: Selection,
    /// How long a model that is unloaded may take to finish its jobs.
    pub unload_within: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    All,
    /// The models of these names (`*` means all) at the start, and others on request.
    Named(Vec<String>),
}

impl From<ModelPackage> for ModelSet {
    fn from(package: ModelPackage) -> Self {
        Self {
            given: vec![package],
            ..Self::default()
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// A model that it was given cannot be loaded, or the system gives no threads.
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("--model-dir {0}: the folder holds no model; put a folder there for each, or remove the option")]
    Empty(PathBuf),
    #[error("--load-model {name}: {path} holds no model of this name")]
    Missing { path: PathBuf, name: String },
    /// Others go on serving another package under the name and version of one that was given.
    #[error(transparent)]
    Registration(#[from] LinkError),
    #[error(
        "--model-dir {path}: none of its {count} models could be loaded; the log has the reason for each"
    )]
    NoneLoaded { path: PathBuf, count: usize },
}

/// Where requests for the models come from.
pub(crate) enum Host {
    Here,
    Wire(Registrations),
}

/// All models of a process. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    shared: Arc<ManagerShared>,
}

struct ManagerShared {
    room: EngineRoom,
    host: Host,
    catalog: Catalog,
    repository: Option<RepositoryConfig>,
    capacity: usize,
    slots: Mutex<ModelSlots>,
    /// Packages that were given and are not loaded yet.
    waiting: Mutex<Vec<(Key, Arc<ServedModel>, ModelFile)>>,
    changing: tokio::sync::Mutex<()>,
    /// Models that finish their jobs. Their names do not change until they are done.
    leaving: Leaving,
    /// Cancelled when the process has what it starts with, so that changes may begin.
    started: CancellationToken,
    /// Cancelled when the process stops, under the lock of `slots`: nothing comes into them after that.
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Models {
    /// Nothing is loaded yet; what was given is in the catalog already.
    pub(crate) fn new(room: EngineRoom, host: Host, set: ModelSet, capacity: usize) -> Self {
        let mut slots = ModelSlots::default();
        let mut waiting = Vec::new();
        for package in set.given {
            let (model, file) = split(package, capacity);
            let key = Key {
                name: model.id.name.clone(),
                version: Some(model.id.version.clone()),
            };
            slots.insert(key.clone(), ModelSlot::given(Arc::clone(&model)));
            waiting.push((key, model, file));
        }
        let vacancy = match &set.repository {
            Some(repository) if repository.selection != Selection::All => EmptyPolicy::Explicit,
            _ => EmptyPolicy::Lacking,
        };
        let catalog = Catalog::new(Vec::new(), set.names).with_vacancy(vacancy);
        slots.publish(&catalog);
        Self {
            shared: Arc::new(ManagerShared {
                room,
                host,
                catalog,
                repository: set.repository,
                capacity,
                slots: Mutex::new(slots),
                waiting: Mutex::new(waiting),
                changing: tokio::sync::Mutex::default(),
                leaving: Leaving::default(),
                started: CancellationToken::new(),
                stopping: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.room.metrics)
    }

    /// How many models have a queue: those that are loaded, and that end what they have.
    pub fn queues(&self) -> usize {
        self.shared.room.queues.len()
    }

    /// Loads and measures everything, starts the pool, which does the work of `leading` too, and registers the models with web
    /// processes, if there are any. Changes are possible from then on.
    pub(crate) async fn start(&self, leading: Option<Arc<dyn WorkSource>>) -> Result<Threads, ModelsError> {
        let shared = &self.shared;
        let _changing = shared.changing.lock().await;
        let waiting = std::mem::take(&mut *shared.waiting.lock());
        for (key, model, file) in waiting {
            let resident = shared.open((model, file), Pace::AtOnce).await?;
            shared.slots.lock().fill(&key, resident, None);
        }
        if let Some(repository) = &shared.repository {
            let entries = shared.entries().await?;
            shared.load_all(repository, entries).await?;
        }
        shared.catalog.warn_of_names_astray();
        let threads = shared.room.run(leading).await.map_err(StartError::Thread)?;
        match &shared.host {
            Host::Here => shared.catalog.settle_default(),
            Host::Wire(registrations) => self.register_all(registrations).await?,
        }
        shared.started.cancel();
        Ok(threads)
    }

    /// Registers every model with the web processes. One of the repository whose name and version are taken is not served.
    async fn register_all(&self, registrations: &Registrations) -> Result<(), LinkError> {
        let shared = &self.shared;
        let residents = shared.slots.lock().residents();
        for (key, given, model, queue) in residents {
            match registrations.take(&model, &queue, &shared.stopping).await {
                Ok(Some(registration)) => shared.slots.lock().registration(&key, registration),
                Ok(None) => return Ok(()),
                Err(error) if given => return Err(error),
                Err(error) => {
                    let resident = shared.slots.lock().empty(&key, &shared.catalog);
                    if let Some(resident) = resident {
                        resident.close().await;
                    }
                    shared.failed(&key, error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Whether at least one model can compute jobs of web processes.
    pub(crate) fn ready(&self) -> Result<(), Error> {
        self.shared.catalog.occupied()?;
        let slots = self.shared.slots.lock();
        let mut states = slots
            .registrations()
            .map(|registration| registration.side.ready());
        match states.next() {
            Some(Err(_)) if states.any(|state| state.is_ok()) => Ok(()),
            Some(first) => first,
            None => Ok(()),
        }
    }

    /// Jobs that were taken for web processes and not answered.
    pub(crate) fn leases(&self) -> usize {
        let slots = self.shared.slots.lock();
        slots
            .registrations()
            .map(|registration| registration.side.jobs())
            .sum()
    }

    /// Waits until one of the models is cut off from its web processes for good.
    pub(crate) async fn broken(&self) {
        match &self.shared.host {
            Host::Here => std::future::pending().await,
            Host::Wire(registrations) => registrations.broken().await,
        }
    }

    /// Begins no more changes. One that is under way loads nothing more; it only lets what it has replaced end.
    pub(crate) fn stop_changing(&self) {
        let _slots = self.shared.slots.lock();
        self.shared.stopping.cancel();
    }

    /// Has all models leave their web processes, those that were being replaced included, and finish what was taken for
    /// them. Nothing changes from now on.
    pub(crate) async fn leave(&self, delay: Duration) {
        self.stop_changing();
        let leaving: Vec<Arc<Registration>> = self.shared.slots.lock().registrations().cloned().collect();
        let left = join_all(leaving.iter().map(|registration| registration.leave(delay)));
        tokio::join!(left, self.unchanging());
    }

    /// Waits until no change is under way any more.
    async fn unchanging(&self) {
        self.stop_changing();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Brings the process in line with its repository: loads what is new or has changed, unloads what is gone. A process
    /// that serves has its requests answered meanwhile.
    pub async fn rescan(&self) {
        let shared = Arc::clone(&self.shared);
        let rescanned = self.shared.tasks.spawn(async move { shared.rescan().await });
        if let Err(error) = rescanned.await {
            tracing::error!(%error, "looking at the repository panicked");
        }
    }

    /// Takes the models' names out of Redis, whatever they still do.
    pub(crate) async fn sign_off(&self) {
        let registrations: Vec<Arc<Registration>> =
            self.shared.slots.lock().registrations().cloned().collect();
        join_all(registrations.iter().map(|registration| registration.end())).await;
    }

    /// Ends all models once no change is under way.
    pub(crate) async fn close(&self) {
        self.unchanging().await;
        let residents = self.shared.slots.lock().take_all();
        for resident in residents {
            resident.close().await;
        }
    }
}

/// A package as what requests see and what is computed with. It has room for `capacity` images at a time, unless it says
/// otherwise itself.
fn split(package: ModelPackage, capacity: usize) -> (Arc<ServedModel>, ModelFile) {
    let own = package.card.manifest.run.queue_jobs;
    let (model, file) = ServedModel::split(package);
    let model = model.limited_to(own.map_or(capacity, |jobs| jobs as usize));
    (Arc::new(model), file)
}
