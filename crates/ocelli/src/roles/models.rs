//! The models that a process has, from their packages to their engines: loaded, replaced and unloaded while it serves.
//!
//! One change is made at a time. A model that takes the place of another is read, loaded and measured first; then requests
//! find it instead of the old one, which ends what it has. Whatever fails leaves everything as it was, and is shown.

mod slots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ocelli_vision::ModelPackage;
use ocelli_vision::auto::NoteKind;
use parking_lot::Mutex;
use tokio::task;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::slots::{Slot, Slots};
use super::engines::{EngineRoom, Resident, StartError};
use super::seats::{Seat, Seats};
use super::threads::Threads;
use crate::broker::Supplier;
use crate::broker::redis::LinkError;
use crate::catalog::{Catalog, Names, Reason};
use crate::crew::Work;
use crate::error::Error;
use crate::model::{ModelFile, ServedModel};
use crate::repository::{self, Entry, Fingerprint, Key, OpenError, ScanError, Step, plan, scan};
use crate::worker::Pace;

/// Which models a process has.
#[derive(Debug, Default)]
pub struct ModelSet {
    /// Packages that it was given and keeps.
    pub given: Vec<ModelPackage>,
    /// A folder of others, which may change.
    pub repository: Option<RepositoryConfig>,
    /// What clients may call them.
    pub names: Names,
}

/// How a repository is used.
#[derive(Clone, Debug)]
pub struct RepositoryConfig {
    /// The folder.
    pub dir: PathBuf,
    /// How long a model that is unloaded may take to end what it has.
    pub unload_within: Duration,
}

impl From<ModelPackage> for ModelSet {
    fn from(package: ModelPackage) -> Self {
        Self {
            given: vec![package],
            ..Self::default()
        }
    }
}

/// Why a process has no models.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// A model that it was given cannot be loaded, or the system gives no threads.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The repository cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// There is nothing to serve.
    #[error("--model-dir {0}: it holds no model; put a folder there for each, or leave the option out")]
    Empty(PathBuf),
    /// There is nothing that could be served.
    #[error("--model-dir {path}: none of its models could be loaded; the first of {count}: {first}")]
    NoneLoaded {
        /// The repository.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// What is wrong with the first.
        first: String,
    },
}

/// Why one model of a repository is not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path}: {error}")]
    Start { path: PathBuf, error: StartError },
    #[error("{path}: {error}")]
    Seat { path: PathBuf, error: LinkError },
    #[error("reading the package panicked: {0}")]
    Panicked(#[from] task::JoinError),
    #[error(
        "{path}: {name} version {version} is served from elsewhere already; give this one another version"
    )]
    Taken {
        path: PathBuf,
        name: String,
        version: String,
    },
}

/// Who asks for the models.
pub(super) enum Host {
    /// Requests of this process.
    Here,
    /// Web processes anywhere.
    Wire(Seats),
}

/// All models of a process. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    shared: Arc<Shared>,
}

struct Shared {
    room: EngineRoom,
    host: Host,
    catalog: Catalog,
    repository: Option<RepositoryConfig>,
    /// Jobs that a model may have at a time.
    capacity: usize,
    slots: Mutex<Slots>,
    /// Packages that were given and are not loaded yet.
    waiting: Mutex<Vec<(Key, Arc<ServedModel>, ModelFile)>>,
    /// Held while something changes.
    changing: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
}

impl Models {
    /// Nothing is loaded yet; what was given is in the catalog already.
    pub(super) fn new(room: EngineRoom, host: Host, set: ModelSet, capacity: usize) -> Self {
        let mut slots = Slots::default();
        let mut waiting = Vec::new();
        for package in set.given {
            let (model, file) = split(package, capacity);
            let key = Key {
                name: model.id.name.clone(),
                version: Some(model.id.version.clone()),
            };
            slots.insert(key.clone(), Slot::given(Arc::clone(&model)));
            waiting.push((key, model, file));
        }
        let catalog = Catalog::new(Vec::new(), set.names);
        slots.publish(&catalog);
        Self {
            shared: Arc::new(Shared {
                room,
                host,
                catalog,
                repository: set.repository,
                capacity,
                slots: Mutex::new(slots),
                waiting: Mutex::new(waiting),
                changing: tokio::sync::Mutex::default(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// What requests find.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// How many models have a queue: those that are loaded, and that end what they have.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.shared.room.queues.len()
    }

    /// Loads and measures everything, and starts the crew, which does the work of `leading` too.
    ///
    /// # Errors
    /// [`ModelsError`], where a model that was given cannot be loaded or no model can. Nothing is left running then.
    pub(super) async fn start(&self, leading: Option<Arc<dyn Work>>) -> Result<Threads, ModelsError> {
        let shared = &self.shared;
        let _changing = shared.changing.lock().await;
        let waiting = std::mem::take(&mut *shared.waiting.lock());
        for (key, model, file) in waiting {
            let resident = shared.open((model, file), Pace::AtOnce).await?;
            shared.slots.lock().fill(&key, resident, None);
        }
        if let Some(repository) = &shared.repository {
            let entries = scan(&repository.dir)?;
            shared.load_all(repository, entries).await?;
        }
        let threads = shared.room.run(leading).await.map_err(StartError::Thread)?;
        Ok(threads)
    }

    /// Tells web processes of every model, where they are the ones who ask.
    ///
    /// # Errors
    /// [`LinkError`], where others go on serving another package under the same name and version.
    pub(super) async fn take_seats(&self) -> Result<(), LinkError> {
        let shared = &self.shared;
        let Host::Wire(seats) = &shared.host else {
            return Ok(());
        };
        let _changing = shared.changing.lock().await;
        let residents = shared.slots.lock().residents();
        for (key, given, model, queue) in residents {
            match seats.take(&model, &queue).await {
                Ok(seat) => shared.slots.lock().seat(&key, seat),
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

    /// What keeps the models from computing what web processes ask for.
    ///
    /// # Errors
    /// What the first of them lacks.
    pub(super) fn ready(&self) -> Result<(), Error> {
        let slots = self.shared.slots.lock();
        slots.seats().try_for_each(|seat| seat.side.ready())
    }

    /// Jobs that were taken for web processes and not answered.
    pub(super) fn leases(&self) -> usize {
        let slots = self.shared.slots.lock();
        slots.seats().map(|seat| seat.side.jobs()).sum()
    }

    /// Waits until one of the models is cut off from its web processes for good.
    pub(super) async fn broken(&self) {
        match &self.shared.host {
            Host::Here => std::future::pending().await,
            Host::Wire(seats) => seats.broken().await,
        }
    }

    /// Has all models leave their web processes, and finish what was taken for them.
    pub(super) async fn leave(&self, delay: Duration) {
        let leaving: Vec<Arc<Seat>> = self.shared.slots.lock().seats().cloned().collect();
        join_all(leaving.iter().map(|seat| seat.leave(delay))).await;
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
    pub(super) async fn sign_off(&self) {
        let seats: Vec<Arc<Seat>> = self.shared.slots.lock().seats().cloned().collect();
        join_all(seats.iter().map(|seat| seat.end())).await;
    }

    /// Ends all models, once nobody waits for them any more.
    pub(super) async fn close(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let residents = self.shared.slots.lock().take_all();
        for resident in residents {
            resident.close().await;
        }
    }
}

impl Shared {
    async fn load_all(&self, repository: &RepositoryConfig, entries: Vec<Entry>) -> Result<(), ModelsError> {
        let path = || repository.dir.clone();
        let count = entries.len();
        if count == 0 && self.slots.lock().is_empty() {
            return Err(ModelsError::Empty(path()));
        }
        let mut first = None;
        for entry in entries {
            let failed = self.load(entry, Pace::AtOnce).await.err();
            first = first.or(failed);
        }
        match first {
            Some(first) if self.catalog.all().is_empty() => Err(ModelsError::NoneLoaded {
                path: path(),
                count,
                first,
            }),
            _ => Ok(()),
        }
    }

    async fn rescan(&self) {
        let Some(repository) = &self.repository else {
            tracing::warn!("there is no --model-dir to look at");
            return;
        };
        let _changing = self.changing.lock().await;
        let entries = match scan(&repository.dir) {
            Ok(entries) => entries,
            Err(error) => return tracing::error!(%error, "everything stays as it is"),
        };
        let steps = plan(&self.slots.lock().fingerprints(), entries);
        tracing::info!(changes = steps.len(), "looked at the repository");
        for step in steps {
            match step {
                // What is wrong is logged and shown.
                Step::Load(entry) => drop(self.load(entry, Pace::Behind).await),
                Step::Unload(key) => self.unload(&key).await,
            }
        }
    }

    /// Loads a package, in the place of the one of its key. Says what is wrong with it otherwise.
    async fn load(&self, entry: Entry, pace: Pace) -> Result<(), String> {
        let key = entry.key.clone();
        self.slots.lock().note(&key, Some(Reason::Loading), &self.catalog);
        match self.replace(&key, entry, pace).await {
            Ok(()) => {
                self.room.metrics.count_load("loaded");
                Ok(())
            }
            Err(error) => {
                let reason = error.to_string();
                self.failed(&key, reason.clone());
                Err(reason)
            }
        }
    }

    /// Notes that a package could not be loaded.
    fn failed(&self, key: &Key, reason: String) {
        self.room.metrics.count_load("failed");
        tracing::error!(model = %key, error = reason, "a model could not be loaded");
        self.slots
            .lock()
            .note(key, Some(Reason::Failed(reason)), &self.catalog);
    }

    async fn replace(&self, key: &Key, entry: Entry, pace: Pace) -> Result<(), LoadError> {
        let path = entry.path.clone();
        let fingerprint = entry.fingerprint.clone().ok();
        let resolved = task::spawn_blocking(move || repository::open(&entry)).await??;
        for note in &resolved.notes {
            match note.kind {
                NoteKind::Read => tracing::info!(model = %key, "{note}"),
                NoteKind::Guess | NoteKind::Warning => tracing::warn!(model = %key, "{note}"),
            }
        }
        let (model, file) = split(resolved.package, self.capacity);
        if self.slots.lock().is_taken(key, &model.id) {
            let (name, version) = (model.id.name.clone(), model.id.version.clone());
            return Err(LoadError::Taken { path, name, version });
        }
        if self.slots.lock().has(key, &model.id) {
            tracing::info!(model = %key, "the package is the same as before");
            self.slots.lock().keep(key, fingerprint, &self.catalog);
            return Ok(());
        }
        let started = Instant::now();
        let resident = match self.open((model, file), pace).await {
            Ok(resident) => resident,
            Err(error) => return Err(LoadError::Start { path, error }),
        };
        let id = Arc::clone(&resident.model.id);
        let resident = match (&self.host, pace) {
            (Host::Wire(seats), Pace::Behind) => self.seated(key, resident, seats).await,
            _ => Ok(resident),
        };
        let resident = resident.map_err(|error| LoadError::Seat { path, error })?;
        self.take_over(key, resident, fingerprint).await;
        self.room.metrics.set_load_time(&id, started.elapsed());
        Ok(())
    }

    async fn open(&self, model: (Arc<ServedModel>, ModelFile), pace: Pace) -> Result<Resident, StartError> {
        let supply = match &self.host {
            Host::Here => {
                let jobs = model.0.door().limits().jobs;
                (jobs, Supplier::Crew(self.room.crew.clone()))
            }
            // The one who fills it asks for less.
            Host::Wire(_) => (usize::MAX, Supplier::Task(Arc::default())),
        };
        self.room.open(model, supply, pace).await
    }

    /// Has web processes know of a model. They would refuse a package under the name and version of another, so that one
    /// has to leave first; until it has, nobody here computes the model.
    async fn seated(&self, key: &Key, mut resident: Resident, seats: &Seats) -> Result<Resident, LinkError> {
        let old = self
            .slots
            .lock()
            .same_version(key, &resident.model.id, &self.catalog);
        if let Some(old) = old {
            self.dismiss(old).await;
        }
        match seats.take(&resident.model, &resident.queue).await {
            Ok(seat) => {
                resident.seat = Some(Arc::new(seat));
                Ok(resident)
            }
            Err(error) => {
                resident.close().await;
                Err(error)
            }
        }
    }

    /// From now on requests find this one; the one before ends what it has.
    async fn take_over(&self, key: &Key, resident: Resident, fingerprint: Option<Fingerprint>) {
        let old = {
            let mut slots = self.slots.lock();
            let old = slots.fill(key, resident, fingerprint);
            slots.publish(&self.catalog);
            old
        };
        if let Some(old) = old {
            self.dismiss(old).await;
        }
    }

    async fn unload(&self, key: &Key) {
        let old = self.slots.lock().empty(key, &self.catalog);
        if let Some(old) = old {
            tracing::info!(model = %key, "unloading the model");
            self.dismiss(old).await;
        }
        self.slots.lock().remove(key, &self.catalog);
    }

    /// Waits until nobody needs a model that is not found any more, and ends it.
    async fn dismiss(&self, old: Resident) {
        let repository = self.repository.as_ref();
        let limit = repository.map_or(Duration::ZERO, |repository| repository.unload_within);
        let in_time = match (&self.host, &old.seat) {
            (Host::Wire(seats), Some(seat)) => {
                let delay = seats.delay();
                timeout(delay + limit, seat.leave(delay)).await.is_ok()
            }
            _ => {
                let model = Arc::clone(&old.model);
                model.door().close();
                let emptied = task::spawn_blocking(move || model.door().wait_until_empty(limit));
                emptied.await.unwrap_or(false)
            }
        };
        if !in_time {
            tracing::error!(
                model = old.model.id.name,
                version = old.model.id.version,
                ?limit,
                "not everything that the model had was answered in time; raise --drain-timeout to wait longer"
            );
        }
        old.close().await;
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
