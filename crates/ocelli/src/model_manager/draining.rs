//! Models that are closed to new requests and finish their jobs, by name.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

/// How many models of each name are leaving. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving(watch::Sender<BTreeMap<String, usize>>);

/// A model that is leaving, until this is dropped.
#[derive(Debug)]
pub(super) struct Left {
    leaving: Leaving,
    name: String,
}

impl Leaving {
    /// A model of this name begins to leave.
    pub(super) fn begin(&self, name: &str) -> Left {
        self.0
            .send_modify(|names| *names.entry(name.to_owned()).or_default() += 1);
        Left {
            leaving: self.clone(),
            name: name.to_owned(),
        }
    }

    /// The names of which models are leaving now.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.0.borrow().keys().cloned().collect()
    }

    /// Waits until no model of this name is leaving.
    pub(super) async fn gone(&self, name: &str) {
        // The sender is in `self`, so the channel stays open while this waits.
        let _ = self
            .0
            .subscribe()
            .wait_for(|names| !names.contains_key(name))
            .await;
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.leaving.0.send_modify(|names| {
            let left = names.get_mut(&self.name).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                names.remove(&self.name);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_name_is_free_once_all_of_its_models_have_left() {
        let leaving = Leaving::default();
        let models = [leaving.begin("a"), leaving.begin("a")];
        let gone = |name| leaving.gone(name).now_or_never().is_some();
        assert!(gone("b"), "others are not waited for");
        for model in models {
            assert!(!gone("a"));
            assert_eq!(leaving.names(), BTreeSet::from(["a".to_owned()]));
            drop(model);
        }
        assert!(gone("a"));
        assert!(leaving.names().is_empty());
    }
}
