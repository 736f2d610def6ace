//! What clients may call models: their own names, aliases, and versions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::models::model_id::ModelId;
use crate::models::served_model::ServedModel;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What is meant where none is named: an alias, or a model in any version or in one.
    pub default: Option<String>,
    /// What other names stand for. An alias goes before a model of the same name.
    pub aliases: BTreeMap<String, ModelRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    pub name: String,
    pub version: Option<String>,
}

impl Names {
    /// What a name stands for, an alias or not.
    #[must_use]
    pub fn resolve(&self, name: &str) -> ModelRef {
        let aliased = self.aliases.get(name).cloned();
        aliased.unwrap_or_else(|| ModelRef::any_version(name.to_owned()))
    }

    /// What requests mean that name none, where that was said.
    #[must_use]
    pub fn default_model(&self) -> Option<ModelRef> {
        let default = self.default.as_ref()?;
        let aliased = self.aliases.get(default).cloned();
        Some(aliased.unwrap_or_else(|| ModelRef::parse(default)))
    }

    /// The options that lead to none of these models, as an operator writes them.
    #[must_use]
    pub fn unresolved(&self, models: &[Arc<ServedModel>]) -> Vec<String> {
        let leads = |wanted: &ModelRef| models.iter().any(|model| wanted.means(&model.id));
        let default = self.default.iter().zip(self.default_model());
        let default = default
            .filter(|(_, model)| !leads(model))
            .map(|(name, _)| format!("--default-model {name}"));
        let aliases = self.aliases.iter().filter(|(_, model)| !leads(model));
        default
            .chain(aliases.map(|(alias, model)| format!("--alias {alias}={model}")))
            .collect()
    }
}

impl ModelRef {
    #[must_use]
    pub fn any_version(name: String) -> Self {
        Self { name, version: None }
    }

    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((name, version)) => Self {
                name: name.to_owned(),
                version: Some(version.to_owned()),
            },
            None => Self::any_version(text.to_owned()),
        }
    }

    /// Whether that is a model it stands for.
    #[must_use]
    pub fn means(&self, id: &ModelId) -> bool {
        self.name == id.name && self.version.as_ref().is_none_or(|version| *version == id.version)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Orders versions as people count: number by number, so that 10 comes after 9 and 1.10 after 1.9. What is no number
/// comes before what is one.
#[must_use]
pub fn by_version(one: &str, other: &str) -> Ordering {
    let parts =
        |version: &'_ str| -> Vec<Option<u64>> { version.split('.').map(|part| part.parse().ok()).collect() };
    parts(one).cmp(&parts(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_counted() {
        let ascending = ["alpha", "beta", "1", "1.9", "1.10", "2", "9", "10"];
        for pair in ascending.windows(2) {
            assert_eq!(by_version(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(by_version(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(by_version("1.0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn a_reference_names_a_version_or_leaves_it_open() {
        let id = |version: &str| ModelId {
            name: "lite".to_owned(),
            version: version.to_owned(),
            digest: String::new(),
        };
        let (open, fixed) = (ModelRef::parse("lite"), ModelRef::parse("lite/2"));
        assert!(open.means(&id("1")) && open.means(&id("2")));
        assert!(!fixed.means(&id("1")) && fixed.means(&id("2")));
        assert_eq!([open.to_string(), fixed.to_string()], ["lite", "lite/2"]);
        assert!(!ModelRef::parse("light").means(&id("1")));
    }
}
