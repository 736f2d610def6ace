//! Changes to the models of a process, one at a time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ocelli_vision::auto::NoteKind;
use tokio::sync::MutexGuard;
use tokio::task::{self, JoinHandle};
use tokio::time::timeout;

use super::engines::{Resident, StartError};
use super::registration::Registrations;
use super::{Host, ManagerShared, ModelsError, RepositoryConfig, Selection, split};
use crate::compute::loader_thread::BackgroundError;
use crate::error::UnavailableReason;
use crate::executor::Pace;
use crate::models::repository::{self, Entry, Fingerprint, Key, OpenError, Step, plan, scan};
use crate::models::served_model::{ModelFile, ServedModel};
use crate::queue::Refill;
use crate::queue::redis::LinkError;

/// Why one model of a repository is not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path}: {error}")]
    Start { path: PathBuf, error: StartError },
    #[error("{path}: {error}")]
    Registration { path: PathBuf, error: LinkError },
    #[error("{path}: the process is stopping")]
    Stopping { path: PathBuf },
    #[error("{path}: reading it failed: {error}")]
    Reading { path: PathBuf, error: BackgroundError },
    #[error(
        "{path}: {name} version {version} is served from elsewhere already; give this one another version"
    )]
    Taken {
        path: PathBuf,
        name: String,
        version: String,
    },
}

impl ManagerShared {
    pub(super) async fn load_all(
        self: &Arc<Self>,
        repository: &RepositoryConfig,
        mut entries: Vec<Entry>,
    ) -> Result<(), ModelsError> {
        let path = || repository.dir.clone();
        if let Selection::Named(names) = &repository.selection {
            let missing = names.iter().find(|name| {
                let name = name.as_str();
                name != "*" && !entries.iter().any(|entry| entry.key.name == name)
            });
            if let Some(name) = missing {
                let (path, name) = (path(), name.clone());
                return Err(ModelsError::Missing { path, name });
            }
            entries.retain(|entry| names.iter().any(|name| name == "*" || *name == entry.key.name));
        } else if entries.is_empty() && self.slots.lock().is_empty() {
            return Err(ModelsError::Empty(path()));
        }
        {
            // Requests for a model get "loading" until its turn comes.
            let mut slots = self.slots.lock();
            for Entry { key, .. } in &entries {
                if !slots.is_given(key) {
                    slots.note(key, Some(UnavailableReason::Loading), &self.catalog);
                }
            }
        }
        let count = entries.len();
        let (mut failed, mut leaving, going) = (false, Departures::default(), BTreeSet::new());
        for entry in entries {
            let loaded = self.load(entry, Pace::AtOnce, &going, &mut leaving);
            failed |= loaded.await.is_err();
        }
        if failed && self.catalog.all().is_empty() {
            return Err(ModelsError::NoneLoaded { path: path(), count });
        }
        Ok(())
    }

    pub(super) async fn entries(&self) -> Result<Vec<Entry>, ModelsError> {
        let Some(repository) = &self.repository else {
            return Ok(Vec::new());
        };
        let dir = repository.dir.clone();
        // Not on the loader thread, which may be busy with a load whose state is asked for here.
        let scanned = task::spawn_blocking(move || scan(&dir)).await;
        Ok(scanned.map_err(StartError::Panicked)??)
    }

    /// Brings the models in line with the repository. A name with a model that is still being unloaded is handled after that.
    pub(super) async fn rescan(self: &Arc<Self>) {
        let mut leaving = Departures::default();
        while let Some(later) = self.rescan_in_turn(&mut leaving).await
            && !later.is_empty()
        {
            tracing::info!(models = ?later, "looking again once these have ended what they had");
            let left = join_all(later.iter().map(|name| self.leaving.gone(name)));
            if self.unless_stopping(left).await.is_none() {
                break;
            }
        }
        leaving.ended().await;
    }

    /// The same for all names except those that it returns. `None` if nothing is left to do.
    async fn rescan_in_turn(self: &Arc<Self>, leaving: &mut Departures) -> Option<BTreeSet<String>> {
        let Some(repository) = &self.repository else {
            tracing::warn!("there is no --model-dir to look at");
            return None;
        };
        let _changing = self.turn().await?;
        let entries = match self.entries().await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, "everything stays as it is");
                return None;
            }
        };
        let later = self.leaving.names();
        let current = self.slots.lock().fingerprints();
        let mut steps = plan(&current, entries);
        steps.retain(|step| !later.contains(&step.key().name));
        if let Selection::Named(_) = repository.selection {
            // Other models are loaded and unloaded only on request.
            steps.retain(|step| matches!(step, Step::Load(entry) if current.contains_key(&entry.key)));
        }
        tracing::info!(changes = steps.len(), "looked at the repository");
        self.change(steps, leaving).await;
        self.catalog.warn_of_names_astray();
        Some(later)
    }

    /// The same as [`ManagerShared::turn`], once no model of this name is leaving.
    pub(super) async fn turn_for(&self, name: &str) -> Option<MutexGuard<'_, ()>> {
        loop {
            self.unless_stopping(self.leaving.gone(name)).await?;
            let turn = self.turn().await?;
            if !self.leaving.names().contains(name) {
                return Some(turn);
            }
        }
    }

    /// Waits until the process has what it starts with and nothing else changes. `None` where it stops.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let turn = async {
            self.started.cancelled().await;
            self.changing.lock().await
        };
        self.unless_stopping(turn).await
    }

    /// The result of some work; `None` if the process stops first.
    async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            result = work => Some(result),
        }
    }

    async fn change(self: &Arc<Self>, steps: Vec<Step>, leaving: &mut Departures) {
        let going = steps.iter().filter_map(|step| match step {
            Step::Load(_) => None,
            Step::Unload(key) => Some(key.clone()),
        });
        let going: BTreeSet<Key> = going.collect();
        let mut failed = Vec::new();
        for step in steps {
            if self.stopping.is_cancelled() {
                return;
            }
            match step {
                Step::Load(entry) => {
                    let key = entry.key.clone();
                    let loaded = self.load(entry, Pace::Behind, &going, leaving).await;
                    failed.extend(loaded.is_err().then_some(key));
                }
                Step::Unload(key) if self.slots.lock().serves(&key) && succeeds(&failed, &key) => {
                    tracing::warn!(model = %key, "it stays until the package that is to take its place can be loaded");
                }
                Step::Unload(key) => self.unload(&key, leaving),
            }
        }
    }

    /// Loads a package, in the place of the one of its key, or of the one of its name and version under a key that is
    /// `going`. Says what is wrong with it otherwise.
    pub(super) async fn load(
        self: &Arc<Self>,
        entry: Entry,
        pace: Pace,
        going: &BTreeSet<Key>,
        leaving: &mut Departures,
    ) -> Result<(), String> {
        let key = entry.key.clone();
        match self.replace((&key, entry), pace, going, leaving).await {
            Ok(()) => {
                self.room.metrics.count_load("loaded");
                Ok(())
            }
            Err(error @ LoadError::Stopping { .. }) => {
                tracing::info!(model = %key, "the model is not loaded: the process is stopping");
                Err(error.to_string())
            }
            Err(error) => {
                let reason = error.to_string();
                self.failed(&key, reason.clone());
                Err(reason)
            }
        }
    }

    pub(super) fn failed(&self, key: &Key, reason: String) {
        self.room.metrics.count_load("failed");
        tracing::error!(model = %key, error = reason, "a model could not be loaded");
        self.slots
            .lock()
            .note(key, Some(UnavailableReason::Failed(reason)), &self.catalog);
    }

    async fn replace(
        self: &Arc<Self>,
        (key, entry): (&Key, Entry),
        pace: Pace,
        going: &BTreeSet<Key>,
        leaving: &mut Departures,
    ) -> Result<(), LoadError> {
        let path = entry.path.clone();
        let stopping = || LoadError::Stopping { path: path.clone() };
        self.begin(key, &path)?;
        let fingerprint = entry.fingerprint.clone().ok();
        let started = Instant::now();
        let read = self.room.background.run(move || repository::open(&entry));
        let resolved = match self.unless_stopping(read).await.ok_or_else(stopping)? {
            Ok(resolved) => resolved?,
            Err(error) => return Err(LoadError::Reading { path, error }),
        };
        for note in &resolved.notes {
            match note.kind {
                NoteKind::Read => tracing::info!(model = %key, "{note}"),
                NoteKind::Guess | NoteKind::Warning => tracing::warn!(model = %key, "{note}"),
            }
        }
        let (model, file) = split(resolved.package, self.capacity);
        let place = match self.slots.lock().holder(key, &model.id) {
            None => key.clone(),
            // The package was moved within the repository.
            Some(other) if going.contains(&other) => other,
            Some(_) => {
                let (name, version) = (model.id.name.clone(), model.id.version.clone());
                return Err(LoadError::Taken { path, name, version });
            }
        };
        if self.slots.lock().has(&place, &model.id) {
            tracing::info!(model = %key, "the package is the same as before");
            let old = {
                let mut slots = self.slots.lock();
                let old = slots.rename(&place, key);
                slots.keep(key, fingerprint, &self.catalog);
                old
            };
            leaving.extend(old.map(|old| self.dismiss(old, None)));
            return Ok(());
        }
        let opened = self.unless_stopping(self.open((model, file), pace)).await;
        let resident = match opened.ok_or_else(stopping)? {
            Ok(resident) => resident,
            Err(error) => return Err(LoadError::Start { path, error }),
        };
        let id = Arc::clone(&resident.model.id);
        let resident = match (&self.host, pace) {
            (Host::Wire(registrations), Pace::Behind) => self.register(resident, registrations).await,
            _ => Ok(Some(resident)),
        };
        let resident = match resident {
            Ok(resident) => resident.ok_or_else(stopping)?,
            Err(error) => return Err(LoadError::Registration { path, error }),
        };
        match self.take_over((key, &place), resident, fingerprint) {
            Ok(old) => leaving.extend(old.into_iter().flatten().map(|old| self.dismiss(old, None))),
            Err(late) => {
                late.close().await;
                return Err(stopping());
            }
        }
        self.room.metrics.set_load_time(&id, started.elapsed());
        Ok(())
    }

    /// Notes that a package is being loaded, unless a model that was given has its place, and stays.
    fn begin(&self, key: &Key, path: &Path) -> Result<(), LoadError> {
        let mut slots = self.slots.lock();
        if slots.is_given(key) {
            return Err(LoadError::Taken {
                path: path.to_owned(),
                name: key.name.clone(),
                version: key.version.clone().unwrap_or_default(),
            });
        }
        slots.note(key, Some(UnavailableReason::Loading), &self.catalog);
        Ok(())
    }

    pub(super) async fn open(
        &self,
        model: (Arc<ServedModel>, ModelFile),
        pace: Pace,
    ) -> Result<Resident, StartError> {
        let supply = match &self.host {
            Host::Here => {
                let jobs = model.0.admission().limits().jobs;
                (jobs, Refill::Pool(self.room.pool.clone()))
            }
            // The reader that fills it limits itself.
            Host::Wire(_) => (usize::MAX, Refill::Task(Arc::default())),
        };
        self.room.open(model, supply, pace).await
    }

    /// Registers a model with the web processes while its predecessor still serves. `None` if the process stops.
    async fn register(
        &self,
        mut resident: Resident,
        registrations: &Registrations,
    ) -> Result<Option<Resident>, LinkError> {
        match registrations
            .take(&resident.model, &resident.queue, &self.stopping)
            .await
        {
            Ok(Some(registration)) => {
                resident.registration = Some(Arc::new(registration));
                Ok(Some(resident))
            }
            other => {
                resident.close().await;
                other.map(|_| None)
            }
        }
    }

    /// Makes requests find this model, unless the process stops. Returns the models that have to be closed: those that it
    /// replaced, or else itself.
    fn take_over(
        &self,
        (key, place): (&Key, &Key),
        resident: Resident,
        fingerprint: Option<Fingerprint>,
    ) -> Result<[Option<Resident>; 2], Resident> {
        let mut slots = self.slots.lock();
        if self.stopping.is_cancelled() {
            return Err(resident);
        }
        // Published only once the new model is in place.
        let moved = (key != place).then(|| slots.vacate(place)).flatten();
        let old = slots.fill(key, resident, fingerprint);
        slots.publish(&self.catalog);
        Ok([old, moved])
    }

    /// Lets requests find a model no more. Its key is free once the model has left.
    pub(super) fn unload(self: &Arc<Self>, key: &Key, leaving: &mut Departures) {
        if self.slots.lock().is_given(key) {
            // Only the package has gone that wanted its place.
            return self.slots.lock().note(key, None, &self.catalog);
        }
        let old = self.slots.lock().empty(key, &self.catalog);
        match old {
            Some(old) => {
                tracing::info!(model = %key, "unloading the model");
                leaving.extend([self.dismiss(old, Some(key.clone()))]);
            }
            None => self.slots.lock().remove(key, &self.catalog),
        }
    }

    /// Ends a model that requests do not find any more, once it is not needed, in a task of its own: that may take as long
    /// as a request does, and other models change meanwhile. Then nothing is left at `key`.
    fn dismiss(self: &Arc<Self>, old: Resident, key: Option<Key>) -> JoinHandle<()> {
        let shared = Arc::clone(self);
        let left = self.leaving.begin(&old.model.id.name);
        self.tasks.spawn(async move {
            shared.end(old).await;
            if let Some(key) = key {
                shared.slots.lock().remove(&key, &shared.catalog);
            }
            drop(left);
        })
    }

    /// Waits until a model is not needed any more, and closes it.
    async fn end(&self, old: Resident) {
        let repository = self.repository.as_ref();
        let limit = repository.map_or(Duration::ZERO, |repository| repository.unload_within);
        let in_time = match (&self.host, &old.registration) {
            (Host::Wire(registrations), Some(registration)) => {
                let delay = registrations.delay();
                timeout(delay + limit, registration.leave(delay)).await.is_ok()
            }
            _ => {
                let model = Arc::clone(&old.model);
                model.admission().close();
                let emptied = task::spawn_blocking(move || model.admission().wait_until_empty(limit));
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

/// Models that a change has dismissed, which end on their own whether or not they are waited for.
#[derive(Debug, Default)]
pub(super) struct Departures(Vec<JoinHandle<()>>);

impl Departures {
    fn extend(&mut self, tasks: impl IntoIterator<Item = JoinHandle<()>>) {
        self.0.extend(tasks);
    }

    /// Waits until all have ended. Call it without the lock on changes, so that other changes go on meanwhile.
    pub(super) async fn ended(self) {
        for ended in join_all(self.0).await {
            if let Err(error) = ended {
                tracing::error!(%error, "unloading a model panicked");
            }
        }
    }
}

/// Whether one of the keys whose packages could not be loaded is the other way to lay out the model of this key: a folder
/// of versions, or the package itself.
fn succeeds(failed: &[Key], key: &Key) -> bool {
    failed
        .iter()
        .any(|new| new.name == key.name && new.version.is_none() != key.version.is_none())
}
