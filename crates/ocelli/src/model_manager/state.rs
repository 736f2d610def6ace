//! The models that a process has and should have, by key. Pure bookkeeping; every change is published to the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api::ModelStatus;
use super::engines::Resident;
use super::registration::Registration;
use crate::error::UnavailableReason;
use crate::models::catalog::{Catalog, Unavailable, by_version};
use crate::models::model_id::ModelId;
use crate::models::repository::{Entry, Fingerprint, Key};
use crate::models::served_model::ServedModel;
use crate::queue::ModelQueue;

/// Every model that is there, should be, or goes.
#[derive(Default)]
pub(super) struct ModelSlots(BTreeMap<Key, ModelSlot>);

#[derive(Default)]
pub(super) struct ModelSlot {
    /// Whether it was given at the start, and stays.
    given: bool,
    model: Option<Arc<ServedModel>>,
    resident: Option<Resident>,
    /// What the package that is loaded looks like.
    fingerprint: Option<Fingerprint>,
    reason: Option<UnavailableReason>,
}

impl ModelSlot {
    /// A model that was given and is not loaded yet.
    pub(super) fn given(model: Arc<ServedModel>) -> Self {
        Self {
            given: true,
            model: Some(model),
            ..Self::default()
        }
    }
}

impl ModelSlot {
    fn index(&self, key: &Key) -> impl Iterator<Item = ModelStatus> {
        let serving = self.model.as_ref().map(|model| ModelStatus {
            name: key.name.clone(),
            version: Some(model.id.version.clone()),
            state: model.state(),
            reason: None,
        });
        let absent = self.reason.as_ref().map(|reason| ModelStatus {
            name: key.name.clone(),
            version: key.version.clone(),
            state: reason.name(),
            reason: match reason {
                UnavailableReason::Failed(why) => Some(why.clone()),
                UnavailableReason::Loading | UnavailableReason::Unloading => None,
            },
        });
        serving.into_iter().chain(absent)
    }
}

impl ModelSlots {
    pub(super) fn insert(&mut self, key: Key, slot: ModelSlot) {
        self.0.insert(key, slot);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the model of this key was given at the start, so that it stays.
    pub(super) fn is_given(&self, key: &Key) -> bool {
        self.0.get(key).is_some_and(|slot| slot.given)
    }

    /// The fingerprints of the repository's loaded packages; `None` for those that could not be loaded, for example because a
    /// model from `--model` has their name.
    pub(super) fn fingerprints(&self) -> BTreeMap<Key, Option<Fingerprint>> {
        let slots = self
            .0
            .iter()
            .filter(|(_, slot)| !slot.given || slot.reason.is_some());
        slots
            .map(|(key, slot)| {
                let failed = matches!(slot.reason, Some(UnavailableReason::Failed(_)));
                (key.clone(), slot.fingerprint.clone().filter(|_| !failed))
            })
            .collect()
    }

    /// The other key that has a model of this name and version.
    pub(super) fn holder(&self, key: &Key, id: &ModelId) -> Option<Key> {
        let is_it = |model: &Arc<ServedModel>| model.id.name == id.name && model.id.version == id.version;
        let mut others = self.0.iter().filter(|(other, _)| *other != key);
        let holder = others.find(|(_, slot)| slot.model.as_ref().is_some_and(is_it));
        holder.map(|(other, _)| other.clone())
    }

    /// Whether requests find a model of this key.
    pub(super) fn serves(&self, key: &Key) -> bool {
        self.0.get(key).is_some_and(|slot| slot.model.is_some())
    }

    /// Whether this very package is loaded.
    pub(super) fn has(&self, key: &Key, id: &ModelId) -> bool {
        let resident = self.0.get(key).and_then(|slot| slot.resident.as_ref());
        resident.is_some_and(|resident| *resident.model.id == *id)
    }

    /// Notes what keeps a package from being loaded.
    pub(super) fn note(&mut self, key: &Key, reason: Option<UnavailableReason>, catalog: &Catalog) {
        self.0.entry(key.clone()).or_default().reason = reason;
        self.publish(catalog);
    }

    /// Notes that what is loaded is what the repository holds.
    pub(super) fn keep(&mut self, key: &Key, fingerprint: Option<Fingerprint>, catalog: &Catalog) {
        if let Some(slot) = self.0.get_mut(key) {
            slot.fingerprint = fingerprint;
            slot.reason = None;
        }
        self.publish(catalog);
    }

    /// Puts a model in its place, and gives back the one that had it.
    pub(super) fn fill(
        &mut self,
        key: &Key,
        resident: Resident,
        fingerprint: Option<Fingerprint>,
    ) -> Option<Resident> {
        let slot = self.0.entry(key.clone()).or_default();
        slot.model = Some(Arc::clone(&resident.model));
        slot.fingerprint = fingerprint;
        slot.reason = None;
        slot.resident.replace(resident)
    }

    /// Everything that is loaded, and whether it was given.
    pub(super) fn residents(&self) -> Vec<(Key, bool, Arc<ServedModel>, ModelQueue)> {
        let loaded = self.0.iter().filter_map(|(key, slot)| {
            let resident = slot.resident.as_ref()?;
            let (model, queue) = (Arc::clone(&resident.model), resident.queue.clone());
            Some((key.clone(), slot.given, model, queue))
        });
        loaded.collect()
    }

    pub(super) fn registration(&mut self, key: &Key, registration: Registration) {
        if let Some(resident) = self.0.get_mut(key).and_then(|slot| slot.resident.as_mut()) {
            resident.registration = Some(Arc::new(registration));
        }
    }

    pub(super) fn registrations(&self) -> impl Iterator<Item = &Arc<Registration>> {
        let residents = self.0.values().filter_map(|slot| slot.resident.as_ref());
        residents.filter_map(|resident| resident.registration.as_ref())
    }

    /// The keys, the versions of the models that are loaded, and whether they were given.
    pub(super) fn versions(&self) -> Vec<(Key, Option<String>, bool)> {
        let slots = self.0.iter().map(|(key, slot)| {
            let version = slot.model.as_ref().map(|model| model.id.version.clone());
            (key.clone(), version, slot.given)
        });
        slots.collect()
    }

    /// All models of the process, and those of the repository's `entries` that are not loaded.
    pub(super) fn index(&self, entries: &[Entry]) -> Vec<ModelStatus> {
        let here = self.0.iter().flat_map(|(key, slot)| slot.index(key));
        let others = entries.iter().filter(|entry| !self.0.contains_key(&entry.key));
        let others = others.map(|entry| ModelStatus {
            name: entry.key.name.clone(),
            version: entry.key.version.clone(),
            state: "unloaded",
            reason: None,
        });
        let mut index: Vec<ModelStatus> = here.chain(others).collect();
        index.sort_by(|one, other| {
            let version = |status: &ModelStatus| status.version.clone().unwrap_or_default();
            let versions = || by_version(&version(one), &version(other));
            one.name.cmp(&other.name).then_with(versions)
        });
        index
    }

    /// Takes a model out of its place, which stays until the model has ended.
    pub(super) fn empty(&mut self, key: &Key, catalog: &Catalog) -> Option<Resident> {
        let slot = self.0.get_mut(key)?;
        slot.model = None;
        slot.reason = Some(UnavailableReason::Unloading);
        let resident = slot.resident.take();
        self.publish(catalog);
        resident
    }

    /// Removes a model and its slot without publishing that, since another takes its place.
    pub(super) fn vacate(&mut self, key: &Key) -> Option<Resident> {
        self.0.remove(key)?.resident
    }

    /// Calls a model by another key from now on, and gives back the one that had it.
    pub(super) fn rename(&mut self, from: &Key, to: &Key) -> Option<Resident> {
        if from == to {
            return None;
        }
        let slot = self.0.remove(from)?;
        self.0.insert(to.clone(), slot)?.resident
    }

    pub(super) fn remove(&mut self, key: &Key, catalog: &Catalog) {
        self.0.remove(key);
        self.publish(catalog);
    }

    pub(super) fn take_all(&mut self) -> Vec<Resident> {
        self.0
            .values_mut()
            .filter_map(|slot| slot.resident.take())
            .collect()
    }

    /// Tells the catalog: what was given first, the rest by name and version.
    pub(super) fn publish(&self, catalog: &Catalog) {
        let served = self
            .0
            .values()
            .filter_map(|slot| Some((slot.given, slot.model.clone()?)));
        let mut served: Vec<(bool, Arc<ServedModel>)> = served.collect();
        served.sort_by(|(given, one), (other_given, other)| {
            let versions = || by_version(&one.id.version, &other.id.version);
            let names = || one.id.name.cmp(&other.id.name);
            other_given.cmp(given).then_with(names).then_with(versions)
        });
        let models: Vec<Arc<ServedModel>> = served.into_iter().map(|(_, model)| model).collect();
        supersede(&models);
        catalog.set(models);
        let absent = self.0.iter().filter_map(|(key, slot)| {
            Some(Unavailable {
                name: key.name.clone(),
                version: key.version.clone(),
                reason: slot.reason.clone()?,
            })
        });
        catalog.set_absent(absent.collect());
    }
}

/// Notes which versions are not meant by their names: all but the highest.
fn supersede(models: &[Arc<ServedModel>]) {
    for model in models {
        let higher = models.iter().any(|other| {
            other.id.name == model.id.name && by_version(&other.id.version, &model.id.version).is_gt()
        });
        model.set_superseded(higher);
    }
}
