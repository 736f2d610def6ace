//! The models that this process answers for, as they are now.
//!
//! One process serves what it loaded, which changes as its operator likes; a web tier serves what live workers say they
//! do, which changes while it runs. Several versions of one name are there for two reasons. While workers are replaced
//! one by one, requests are shared among the versions by their instances, as their capacity is. Versions that one process
//! has side by side are meant to be: a name means the highest of them, and the others are *superseded*, to be asked for
//! by their version.

pub(crate) mod default;
pub(crate) mod names;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::served_model::ServedModel;
use crate::error::Error;
use crate::error::UnavailableReason;
use default::DefaultModel;

pub use names::{ModelRef, Names, by_version};

/// Models by name. Cheap to clone; all clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: Arc<RwLock<Arc<[Arc<ServedModel>]>>>,
    absent: Arc<RwLock<Arc<[Unavailable]>>>,
    names: Arc<Names>,
    vacancy: EmptyPolicy,
    /// The model of requests that name none, once that is settled.
    default: Arc<Mutex<Option<DefaultModel>>>,
}

/// What an empty catalog means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyPolicy {
    #[default]
    NoWorker,
    /// This process computes, and lacks what it should.
    Lacking,
    /// Models are loaded on request, and none was requested.
    Explicit,
}

/// A model that this process should have and cannot answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    pub name: String,
    /// Its version, where that is known without reading it.
    pub version: Option<String>,
    pub reason: UnavailableReason,
}

/// The answer to requests and probes while this process has no model.
const NO_MODEL: Error = Error::NotReady(
    "no model is loaded: put one into --model-dir and send SIGHUP, or load one over --admin-listen",
);

impl Catalog {
    pub fn new(models: Vec<Arc<ServedModel>>, names: Names) -> Self {
        Self {
            models: Arc::new(RwLock::new(models.into())),
            absent: Arc::default(),
            names: Arc::new(names),
            vacancy: EmptyPolicy::default(),
            default: Arc::default(),
        }
    }

    /// The same catalog, with this meaning while it is empty.
    pub fn with_vacancy(self, vacancy: EmptyPolicy) -> Self {
        Self { vacancy, ..self }
    }

    /// Says whether a model is there, where one should be in this process.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn occupied(&self) -> Result<(), Error> {
        match self.vacancy {
            EmptyPolicy::Lacking if self.all().is_empty() => Err(NO_MODEL),
            _ => Ok(()),
        }
    }

    pub fn all(&self) -> Arc<[Arc<ServedModel>]> {
        Arc::clone(&self.models.read())
    }

    /// Those that should be there and are not.
    pub fn absent(&self) -> Arc<[Unavailable]> {
        Arc::clone(&self.absent.read())
    }

    /// Replaces the models. Requests under way keep those that they have.
    pub fn set(&self, models: Vec<Arc<ServedModel>>) {
        *self.models.write() = models.into();
        self.update_default();
    }

    /// Keeps the default model from now on: a model that comes later does not become the default because of its name.
    pub fn settle_default(&self) {
        self.default.lock().get_or_insert_default();
        self.update_default();
    }

    fn update_default(&self) {
        if self.names.default_model().is_some() {
            return;
        }
        let mut default = self.default.lock();
        let notice = default.as_mut().and_then(|default| default.update(&self.all()));
        drop(default);
        if let Some(notice) = notice {
            notice.log();
        }
    }

    /// Whether a model is served that can answer now.
    pub fn answers(&self) -> bool {
        self.models.read().iter().any(|model| model.is_ready())
    }

    /// Replaces the list of those that are not there.
    pub fn set_absent(&self, absent: Vec<Unavailable>) {
        *self.absent.write() = absent.into();
    }

    /// The model of requests that name none: the operator's, or the settled one, or the first one.
    fn default_name(&self) -> Option<String> {
        if let Some(model) = self.names.default_model() {
            return Some(model.name);
        }
        let default = self.default.lock();
        let settled = default
            .as_ref()
            .and_then(DefaultModel::current)
            .map(str::to_owned);
        settled.or_else(|| self.models.read().first().map(|model| model.id.name.clone()))
    }

    /// Whether requests that name no model may reach this one.
    pub fn is_default(&self, model: &ServedModel) -> bool {
        match self.names.default_model() {
            Some(wanted) => wanted.means(&model.id) && (wanted.version.is_some() || !model.is_superseded()),
            None => self.default_name().as_ref() == Some(&model.id.name) && !model.is_superseded(),
        }
    }

    /// Warns of names that the operator gave and that lead to no model: requests for them are refused.
    pub fn warn_of_names_astray(&self) {
        for option in self.names.unresolved(&self.all()) {
            tracing::warn!(
                models = self.known(),
                "{option} leads to no model that is served; requests for it are refused until there is one"
            );
        }
    }

    pub fn known(&self) -> String {
        known(&self.all())
    }

    /// A model of that name or alias, or of the default one.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], [`Error::Unavailable`] for one that is loading or could not be loaded, and where there is no model
    /// at all [`Error::NoWorker`], or [`Error::NotReady`] in a process that computes itself.
    pub fn find(&self, name: Option<&str>) -> Result<Arc<ServedModel>, Error> {
        let said = || self.names.default_model();
        let first = || self.default_name().map(ModelRef::any_version);
        let wanted = match name {
            Some(name) => self.names.resolve(name),
            None => said()
                .or_else(first)
                .ok_or_else(|| self.missing(&ModelRef::any_version("any model".to_owned())))?,
        };
        self.find_one(&wanted)
    }

    /// The model of that name or alias in a version.
    pub fn find_version(&self, name: &str, version: &str) -> Result<Arc<ServedModel>, Error> {
        let wanted = |name| ModelRef {
            name,
            version: Some(version.to_owned()),
        };
        let stands_for = self.names.resolve(name);
        match stands_for.version {
            // The alias is of another version.
            Some(only) if only != version => Err(self.missing(&wanted(name.to_owned()))),
            _ => self.find_one(&wanted(stands_for.name)),
        }
    }

    fn find_one(&self, wanted: &ModelRef) -> Result<Arc<ServedModel>, Error> {
        let models = self.all();
        let named = models.iter().filter(|model| wanted.means(&model.id));
        let named: Vec<&Arc<ServedModel>> = named.collect();
        share(&named, |total| fastrand::usize(..total))
            .map_or_else(|| Err(self.missing(wanted)), |model| Ok(Arc::clone(model)))
    }

    fn missing(&self, wanted: &ModelRef) -> Error {
        let models = self.all();
        let shown = shortened(&wanted.to_string());
        // One whose version is not known may be the one that is wanted only where no other of its name is there.
        let is_served = models.iter().any(|model| model.id.name == wanted.name);
        let is_version = |absent: &Unavailable| match (&absent.version, &wanted.version) {
            (Some(one), Some(other)) => one == other,
            (None, Some(_)) => !is_served,
            (_, None) => true,
        };
        let is_it = |absent: &&Unavailable| absent.name == wanted.name && is_version(absent);
        if let Some(absent) = self.absent().iter().find(is_it) {
            let state = absent.reason.clone();
            return Error::Unavailable { name: shown, state };
        }
        if models.is_empty() {
            return match self.vacancy {
                EmptyPolicy::NoWorker => Error::NoWorker(shown),
                EmptyPolicy::Lacking | EmptyPolicy::Explicit => NO_MODEL,
            };
        }
        Error::UnknownModel {
            name: shown,
            known: known(&models),
        }
    }
}

/// One of several versions, each as often as it has instances: of those that are not superseded and stay, or else of the
/// next best that can answer.
fn share<'a>(
    versions: &[&'a Arc<ServedModel>],
    draw: impl FnOnce(usize) -> usize,
) -> Option<&'a Arc<ServedModel>> {
    if let &[only] = versions {
        return Some(only);
    }
    let rank = |model: &ServedModel| (model.is_superseded(), model.is_retiring());
    let ready = || versions.iter().copied().filter(|model| model.is_ready());
    let Some(best) = ready().map(|model| rank(model)).min() else {
        return versions.iter().copied().min_by_key(|model| rank(model));
    };
    let served: Vec<_> = ready().filter(|model| rank(model) == best).collect();
    let total = served.iter().map(|model| model.instances()).sum();
    if total == 0 {
        return served.first().copied();
    }
    let mut drawn = draw(total);
    served.into_iter().find(|model| {
        let instances = model.instances();
        let here = drawn < instances;
        drawn = drawn.saturating_sub(instances);
        here
    })
}

/// A name from a client, shortened for messages.
fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

fn known(models: &[Arc<ServedModel>]) -> String {
    let mut names: Vec<&str> = models.iter().map(|model| model.id.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::served_model;
    use crate::models::served_model::ServedModel;

    fn versions(instances: [usize; 2]) -> [Arc<ServedModel>; 2] {
        instances.map(|instances| {
            let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
            model.set_instances(instances);
            Arc::new(model)
        })
    }

    #[test]
    fn versions_share_requests_by_their_instances() {
        let [old, new] = versions([3, 1]);
        let drawn = |number| share(&[&old, &new], |_| number).expect("one of two");
        assert!((0..3).all(|number| Arc::ptr_eq(drawn(number), &old)));
        assert!(Arc::ptr_eq(drawn(3), &new));
    }

    #[test]
    fn a_version_without_instances_gets_nothing_while_another_has_some() {
        let [old, new] = versions([0, 2]);
        for number in 0..2 {
            let drawn = share(&[&old, &new], |total| {
                assert_eq!(total, 2);
                number
            });
            assert!(Arc::ptr_eq(drawn.expect("one of two"), &new));
        }
    }

    #[test]
    fn a_version_that_retires_gets_nothing_while_another_stays() {
        let [old, new] = versions([3, 1]);
        old.set_retiring(true);
        let drawn = share(&[&old, &new], |total| {
            assert_eq!(total, 1);
            0
        });
        assert!(Arc::ptr_eq(drawn.expect("one of two"), &new));
        new.set_instances(0);
        let drawn = share(&[&old, &new], |total| total - 1);
        assert!(Arc::ptr_eq(drawn.expect("it still answers"), &old));
    }

    #[test]
    fn an_empty_catalog_has_no_worker_and_a_full_one_names_what_it_has() {
        let catalog = Catalog::default();
        assert_eq!(catalog.find(Some("x")).unwrap_err().status().code, "no_worker");
        assert_eq!(catalog.find(None).unwrap_err().status().code, "no_worker");
        catalog.set(versions([1, 1]).into());
        let error = catalog.find(Some("x")).unwrap_err();
        assert_eq!(error.status().code, "unknown_model");
        assert!(error.to_string().contains("efficientnet-lite0"), "{error}");
        assert!(catalog.find(None).is_ok());
    }

    #[test]
    fn a_version_that_is_superseded_answers_only_where_no_other_can() {
        let [old, new] = versions([3, 1]);
        old.set_superseded(true);
        let drawn = share(&[&old, &new], |total| {
            assert_eq!(total, 1);
            0
        });
        assert!(Arc::ptr_eq(drawn.expect("one of two"), &new));
        new.set_retiring(true);
        let drawn = share(&[&old, &new], |_| 0);
        assert!(Arc::ptr_eq(drawn.expect("it still answers"), &new));
        new.set_instances(0);
        let drawn = share(&[&old, &new], |_| 0);
        assert!(Arc::ptr_eq(drawn.expect("better than nothing"), &old));
        old.set_instances(0);
        let chosen = share(&[&old, &new], |_| unreachable!("no model is ready"));
        assert!(Arc::ptr_eq(chosen.expect("one is chosen"), &new));
    }

    #[test]
    fn names_aliases_and_versions_lead_to_models() {
        let names = Names {
            default: Some("prod".to_owned()),
            aliases: [
                ("prod", "efficientnet-lite0/1"),
                ("old", "efficientnet-lite0/0"),
                ("x", "y"),
            ]
            .map(|(alias, model)| (alias.to_owned(), ModelRef::parse(model)))
            .into(),
        };
        let [one, _] = versions([1, 1]);
        let catalog = Catalog::new(vec![one], names);
        for name in [None, Some("prod"), Some("efficientnet-lite0")] {
            assert!(catalog.find(name).is_ok(), "{name:?}");
        }
        assert_eq!(catalog.default_name().as_deref(), Some("efficientnet-lite0"));
        assert!(catalog.find_version("prod", "1").is_ok());
        let one = catalog.find(None).expect("it is there");
        assert!(catalog.is_default(&one));
        one.set_superseded(true);
        assert!(catalog.is_default(&one), "its version is named");
        assert!(!Catalog::new(vec![one], Names::default()).is_default(&catalog.all()[0]));
        for (name, version) in [("prod", "2"), ("old", "1"), ("x", "1")] {
            let error = catalog.find_version(name, version).unwrap_err();
            assert_eq!(error.status().code, "unknown_model");
        }
    }

    #[test]
    fn a_default_names_a_version_and_what_leads_nowhere_is_known() {
        let [one, _] = versions([1, 1]);
        let names = |default: &str, alias: &str| Names {
            default: Some(default.to_owned()),
            aliases: [("prod".to_owned(), ModelRef::parse(alias))].into(),
        };
        let found = |names| Catalog::new(vec![Arc::clone(&one)], names).find(None).is_ok();
        let unresolved = |names: &Names| names.unresolved(&[Arc::clone(&one)]);
        let good = names("efficientnet-lite0/1", "efficientnet-lite0");
        assert_eq!(unresolved(&good), [""; 0]);
        assert!(found(good));
        let bad = names("efficientnet-lite0/2", "efficientnet/1");
        let options = [
            "--default-model efficientnet-lite0/2",
            "--alias prod=efficientnet/1",
        ];
        assert_eq!(unresolved(&bad), options);
        assert!(!found(bad));
    }

    #[test]
    fn an_unavailable_model_is_distinguished_from_an_unknown_one() {
        let catalog = Catalog::default();
        let failed = Unavailable {
            name: "bad".to_owned(),
            version: Some("2".to_owned()),
            reason: UnavailableReason::Failed("the moon is full".to_owned()),
        };
        catalog.set_absent(vec![failed]);
        let error = catalog.find(Some("bad")).unwrap_err();
        assert_eq!(error.status().code, "not_ready");
        assert!(error.to_string().contains("the moon is full"), "{error}");
        assert!(
            catalog
                .find_version("bad", "2")
                .unwrap_err()
                .to_string()
                .contains("moon")
        );
        let other = catalog.find_version("bad", "1").unwrap_err();
        assert!(!other.to_string().contains("moon"), "{other}");
    }

    #[test]
    fn a_package_of_unknown_version_that_failed_is_no_version_of_a_model_that_serves() {
        let catalog = Catalog::default();
        catalog.set_absent(vec![Unavailable {
            name: "efficientnet-lite0".to_owned(),
            version: None,
            reason: UnavailableReason::Failed("the moon is full".to_owned()),
        }]);
        let code = || {
            let error = catalog.find_version("efficientnet-lite0", "99").unwrap_err();
            error.status().code
        };
        assert_eq!(code(), "not_ready", "it may be that one");
        catalog.set(versions([1, 1]).into());
        assert_eq!(code(), "unknown_model");
    }
}
