//! What an operator may ask of a process that serves: which models there are, load this one, unload that one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::reconcile::Departures;
use super::{ManagerShared, Models};
use crate::error::Error;
use crate::executor::Pace;
use crate::models::repository::{Entry, Key};

/// A model of the repository, loaded or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    pub name: String,
    /// Its version; `None` while that is not known.
    pub version: Option<String>,
    /// `ready`, `loading`, `unloading`, `failed` or `unloaded`.
    pub state: &'static str,
    pub reason: Option<String>,
}

/// The answer to every change while the process stops.
const STOPPING: Error = Error::NotReady("it is stopping");

impl Models {
    /// Everything that the process has, and that its repository holds.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] where the repository cannot be read.
    pub async fn index(&self) -> Result<Vec<ModelStatus>, Error> {
        let entries = self.shared.entries().await;
        let entries = entries.map_err(|error| Error::InvalidRequest(error.to_string()))?;
        Ok(self.shared.slots.lock().index(&entries))
    }

    /// Loads a model of the repository, or all of its versions. One that is loaded and has changed is replaced. Returns when
    /// requests find it.
    ///
    /// # Errors
    /// [`Error::NotInRepository`] and [`Error::LoadFailed`].
    pub async fn load(&self, name: &str, version: Option<&str>) -> Result<(), Error> {
        let (shared, target) = (Arc::clone(&self.shared), Target::new(name, version));
        // In a task of its own, so that a client that disconnects does not leave half a change.
        let changed = self
            .shared
            .tasks
            .spawn(async move { shared.load_target(&target).await });
        changed.await.unwrap_or_else(|panic| Err(Error::internal(panic)))
    }

    /// Unloads a model, or all of its versions. Returns when its jobs are answered and it is unloaded; at once for one that is
    /// not loaded.
    ///
    /// # Errors
    /// [`Error::NotInRepository`] for one that is neither loaded nor in the repository, and [`Error::InvalidRequest`] for one that
    /// does not come from the repository.
    pub async fn unload(&self, name: &str, version: Option<&str>) -> Result<(), Error> {
        let (shared, target) = (Arc::clone(&self.shared), Target::new(name, version));
        let changed = self
            .shared
            .tasks
            .spawn(async move { shared.unload_target(&target).await });
        changed.await.unwrap_or_else(|panic| Err(Error::internal(panic)))
    }
}

struct Target {
    name: String,
    version: Option<String>,
}

impl Target {
    fn new(name: &str, version: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            version: version.map(str::to_owned),
        }
    }

    fn is(&self, name: &str, version: Option<&str>) -> bool {
        self.name == name && self.version.as_deref().is_none_or(|own| version == Some(own))
    }

    fn missing(&self, known: impl Iterator<Item = String>) -> Error {
        let mut known: Vec<String> = known.collect();
        known.dedup();
        let version = self.version.as_ref().map(|version| format!("/{version}"));
        Error::NotInRepository {
            name: format!("{}{}", self.name, version.unwrap_or_default()),
            known: known.join(", "),
        }
    }
}

impl ManagerShared {
    async fn load_target(self: &Arc<Self>, target: &Target) -> Result<(), Error> {
        let mut leaving = Departures::default();
        let loaded = self.load_in_turn(target, &mut leaving).await;
        leaving.ended().await;
        loaded
    }

    async fn load_in_turn(self: &Arc<Self>, target: &Target, leaving: &mut Departures) -> Result<(), Error> {
        let _changing = self.turn_for(&target.name).await.ok_or(STOPPING)?;
        let entries = self
            .entries()
            .await
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
        let known = entries.iter().map(|entry| entry.key.to_string());
        let missing = target.missing(known);
        let there: BTreeSet<&Key> = entries.iter().map(|entry| &entry.key).collect();
        let going = self.slots.lock().fingerprints().into_keys();
        let going: BTreeSet<Key> = going.filter(|key| !there.contains(key)).collect();
        let named = entries.into_iter().filter(|entry| {
            let Key { name, version } = &entry.key;
            target.is(name, version.as_deref())
        });
        let named: Vec<Entry> = named.collect();
        if named.is_empty() {
            return Err(missing);
        }
        let mut failed = Ok(());
        for entry in named {
            let loaded = self.load(entry, Pace::Behind, &going, leaving).await;
            failed = failed.and(loaded.map_err(Error::LoadFailed));
        }
        failed
    }

    async fn unload_target(self: &Arc<Self>, target: &Target) -> Result<(), Error> {
        let changing = self.turn_for(&target.name).await.ok_or(STOPPING)?;
        let known = self.slots.lock().versions();
        let named = known
            .iter()
            .filter(|(key, version, _)| target.is(&key.name, version.as_deref().or(key.version.as_deref())));
        let named: Vec<&(Key, Option<String>, bool)> = named.collect();
        if named.is_empty() {
            return self.is_unloaded(target, &known).await;
        }
        if named.iter().any(|(_, _, given)| *given) {
            return Err(Error::InvalidRequest(format!(
                "{} was given with --model and stays; only models of --model-dir can be unloaded",
                target.name
            )));
        }
        let mut leaving = Departures::default();
        for (key, ..) in named {
            self.unload(key, &mut leaving);
        }
        drop(changing);
        leaving.ended().await;
        Ok(())
    }

    /// Whether a model that is not among the `present` ones is in the repository, and so counts as unloaded.
    async fn is_unloaded(
        &self,
        target: &Target,
        present: &[(Key, Option<String>, bool)],
    ) -> Result<(), Error> {
        let entries = self.entries().await;
        let entries = entries.map_err(|error| Error::InvalidRequest(error.to_string()))?;
        let mut keys = entries.iter().map(|entry| &entry.key);
        if keys.any(|key| target.is(&key.name, key.version.as_deref())) {
            return Ok(());
        }
        let known = present.iter().map(|(key, ..)| key);
        let known: BTreeSet<&Key> = known.chain(entries.iter().map(|entry| &entry.key)).collect();
        Err(target.missing(known.into_iter().map(Key::to_string)))
    }
}
