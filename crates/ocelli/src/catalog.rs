//! The models that this process answers for, as they are now.
//!
//! One process serves what it loaded; a web tier serves what live workers say they do, which changes while it runs. Several
//! versions of one name are there while workers are replaced one by one; requests are then shared among them by their
//! instances, as their capacity is.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::Error;
use crate::model::ServedModel;

/// Models by name. Cheap to clone; all clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: Arc<RwLock<Arc<[Arc<ServedModel>]>>>,
    /// The name that is meant when none is given; the first one where this is `None`.
    default: Option<Arc<str>>,
}

impl Catalog {
    /// A catalog that holds these models. A request that names none means `default`, or else the first.
    #[must_use]
    pub fn new(models: Vec<Arc<ServedModel>>, default: Option<String>) -> Self {
        Self {
            models: Arc::new(RwLock::new(models.into())),
            default: default.map(Into::into),
        }
    }

    /// All models, in their order.
    #[must_use]
    pub fn all(&self) -> Arc<[Arc<ServedModel>]> {
        Arc::clone(&self.models.read())
    }

    /// Replaces the models. Requests under way keep those that they have.
    pub fn set(&self, models: Vec<Arc<ServedModel>>) {
        *self.models.write() = models.into();
    }

    /// The name that a request means which names none.
    #[must_use]
    pub fn default_name(&self) -> Option<String> {
        match &self.default {
            Some(name) => Some(name.to_string()),
            None => self.models.read().first().map(|model| model.id.name.clone()),
        }
    }

    /// A model of that name, or of the default one.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], and [`Error::NoWorker`] where no model is known at all.
    pub fn find(&self, name: Option<&str>) -> Result<Arc<ServedModel>, Error> {
        let models = self.all();
        let default = self.default_name();
        let Some(name) = name.or(default.as_deref()) else {
            return Err(Error::NoWorker("any model".to_owned()));
        };
        let named: Vec<&Arc<ServedModel>> = models.iter().filter(|model| model.id.name == name).collect();
        match share(&named, |total| fastrand::usize(..total)) {
            Some(model) => Ok(Arc::clone(model)),
            None if models.is_empty() => Err(Error::NoWorker(shortened(name))),
            None => Err(Error::UnknownModel {
                name: shortened(name),
                known: known(&models),
            }),
        }
    }
}

/// One of several versions, each as often as it has instances; one that retires only where no other has any.
fn share<'a>(
    versions: &[&'a Arc<ServedModel>],
    draw: impl FnOnce(usize) -> usize,
) -> Option<&'a Arc<ServedModel>> {
    if let &[only] = versions {
        return Some(only);
    }
    let ready = versions.iter().copied().filter(|model| model.is_ready());
    let (retiring, mut served): (Vec<_>, Vec<_>) = ready.partition(|model| model.is_retiring());
    if served.is_empty() {
        served = retiring;
    }
    let total = served.iter().map(|model| model.instances()).sum();
    if total == 0 {
        return versions.first().copied();
    }
    let mut drawn = draw(total);
    served.into_iter().find(|model| {
        let instances = model.instances();
        let here = drawn < instances;
        drawn = drawn.saturating_sub(instances);
        here
    })
}

/// What a client made up, no longer than a message should be.
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
    use crate::model::{self, ServedModel};

    fn versions(instances: [usize; 2]) -> [Arc<ServedModel>; 2] {
        instances.map(|instances| {
            let (model, _) = ServedModel::split(model::builtin().expect("it is valid"));
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
}
