//! The steps by which a process follows its repository.

use std::collections::{BTreeMap, BTreeSet};

use super::{Barred, Entry, Fingerprint, Key};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Load this package, in the place of the one of the same key, if there is one.
    Load(Entry),
    Unload(Key),
}

impl Step {
    pub fn key(&self) -> &Key {
        match self {
            Self::Load(entry) => &entry.key,
            Self::Unload(key) => key,
        }
    }
}

/// The way from what is `current` (`None` for what could not be loaded, which is tried again) to what is `wanted`: first
/// what is new, then what has changed, and last what goes, so that a version is there before the one that it replaces
/// leaves. A folder that cannot be read counts as unchanged.
#[must_use]
pub fn plan(current: &BTreeMap<Key, Option<Fingerprint>>, wanted: Vec<Entry>) -> Vec<Step> {
    let keys: BTreeSet<Key> = wanted.iter().map(|entry| entry.key.clone()).collect();
    let unreadable: BTreeSet<String> = wanted
        .iter()
        .filter(|entry| matches!(entry.fingerprint, Err(Barred::Unreadable(_))))
        .map(|entry| entry.key.name.clone())
        .collect();
    let (known, new): (Vec<Entry>, Vec<Entry>) = wanted
        .into_iter()
        .partition(|entry| current.contains_key(&entry.key));
    let changed = known.into_iter().filter(|entry| {
        let loaded = current.get(&entry.key).and_then(Option::as_ref);
        loaded.is_none() || loaded != entry.fingerprint.as_ref().ok()
    });
    let gone = current
        .keys()
        .filter(|key| !keys.contains(key) && !unreadable.contains(&key.name))
        .cloned();
    new.into_iter()
        .chain(changed)
        .map(Step::Load)
        .chain(gone.map(Step::Unload))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn key(name: &str) -> Key {
        Key {
            name: name.to_owned(),
            version: None,
        }
    }

    fn print(size: u64) -> Fingerprint {
        Fingerprint(vec![(PathBuf::from("model.onnx"), size, None)])
    }

    fn entry(name: &str, size: u64) -> Entry {
        Entry {
            key: key(name),
            path: PathBuf::from(name),
            root: PathBuf::new(),
            fingerprint: Ok(print(size)),
        }
    }

    fn steps(current: &[(&str, Option<u64>)], wanted: Vec<Entry>) -> String {
        let current = current.iter().map(|(name, size)| (key(name), size.map(print)));
        let steps = plan(&current.collect(), wanted);
        let text = |step: &Step| match step {
            Step::Load(entry) => format!("+{}", entry.key),
            Step::Unload(key) => format!("-{key}"),
        };
        steps.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_new_comes_first_and_what_goes_last() {
        let current = [("changed", Some(1)), ("gone", Some(1)), ("same", Some(1))];
        let wanted = vec![entry("changed", 2), entry("new", 1), entry("same", 1)];
        assert_eq!(steps(&current, wanted), "+new +changed -gone");
    }

    #[test]
    fn what_failed_is_tried_again_and_what_went_bad_is_looked_at() {
        assert_eq!(steps(&[("failed", None)], vec![entry("failed", 1)]), "+failed");
        let bad = Entry {
            fingerprint: Err(Barred::Refused("it leads out".to_owned())),
            ..entry("loaded", 1)
        };
        assert_eq!(steps(&[("loaded", Some(1))], vec![bad]), "+loaded");
        assert_eq!(steps(&[], Vec::new()), "");
    }

    #[test]
    fn nothing_goes_of_a_model_whose_folder_cannot_be_read() {
        let version = |version: &str| Key {
            version: Some(version.to_owned()),
            ..key("m")
        };
        let current = [version("1"), version("2"), key("gone")].map(|key| (key, Some(print(1))));
        let unreadable = Entry {
            fingerprint: Err(Barred::Unreadable("permission denied".to_owned())),
            ..entry("m", 1)
        };
        let steps = plan(&current.into(), vec![unreadable.clone()]);
        assert_eq!(steps, [Step::Load(unreadable), Step::Unload(key("gone"))]);
    }
}
