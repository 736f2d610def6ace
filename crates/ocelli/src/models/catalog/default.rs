//! Which model answers requests that name none, where the operator named none either.
//!
//! The first choice stays, so that a model which comes later changes nothing for clients. Another one takes its place only
//! while it cannot answer, and for good once it is gone.

use std::sync::Arc;

use crate::models::served_model::ServedModel;

#[derive(Debug, Default)]
pub(super) struct DefaultModel {
    /// The first choice, as long as it exists.
    preferred: Option<String>,
    current: Option<String>,
    /// Whether the operator knows that there are several.
    reported: bool,
}

/// What an operator should know of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Several models can answer, and this one was chosen among them.
    Chosen(String),
    Changed {
        from: String,
        to: String,
    },
}

impl Notice {
    pub(super) fn log(&self) {
        match self {
            Self::Chosen(model) => tracing::warn!(
                model,
                "several models are served and --default-model is not set; requests that name no model go to this one"
            ),
            Self::Changed { from, to } => tracing::warn!(
                from,
                to,
                "the default model changed, because the model that was preferred came or went; --default-model sets one \
                 that does not change"
            ),
        }
    }
}

impl DefaultModel {
    pub(super) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Chooses among the models that are served now.
    pub(super) fn update(&mut self, models: &[Arc<ServedModel>]) -> Option<Notice> {
        let served: Vec<(&str, bool)> = models
            .iter()
            .map(|model| (model.id.name.as_str(), model.is_ready()))
            .collect();
        self.choose(&served)
    }

    /// The same for names and whether each can answer; a name may occur several times.
    fn choose(&mut self, served: &[(&str, bool)]) -> Option<Notice> {
        let exists = |name: &&str| served.iter().any(|(served, _)| served == name);
        let answers = |name: &&str| served.contains(&(*name, true));
        let (preferred, current) = (self.preferred.as_deref(), self.current.as_deref());
        let first_ready = served.iter().find(|(_, ready)| *ready).map(|(name, _)| *name);
        let chosen = preferred
            .filter(answers)
            .or(current.filter(answers))
            .or(first_ready)
            .or(current.filter(exists))
            .or(served.first().map(|(name, _)| *name))?
            .to_owned();
        if !preferred.as_ref().is_some_and(exists) {
            self.preferred = Some(chosen.clone());
        }
        let former = self.current.replace(chosen.clone());
        if let Some(from) = former.filter(|former| *former != chosen) {
            self.reported = true;
            return Some(Notice::Changed { from, to: chosen });
        }
        let several = served
            .iter()
            .any(|(name, ready)| *ready && first_ready.is_some_and(|first| first != *name));
        if !several || self.reported {
            return None;
        }
        self.reported = true;
        Some(Notice::Chosen(chosen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(from: &str, to: &str) -> Option<Notice> {
        Some(Notice::Changed {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    #[test]
    fn the_first_choice_stays_whatever_comes() {
        let mut default = DefaultModel::default();
        assert_eq!(default.choose(&[]), None);
        assert_eq!(default.current(), None);
        assert_eq!(default.choose(&[("plain", true)]), None);
        let both = [("aardvark", true), ("plain", true)];
        assert_eq!(default.choose(&both), Some(Notice::Chosen("plain".to_owned())));
        assert_eq!(default.choose(&both), None, "it is logged once");
        assert_eq!(default.choose(&[("aardvark", false), ("plain", true)]), None);
        assert_eq!(default.current(), Some("plain"));
    }

    #[test]
    fn a_model_that_cannot_answer_is_not_the_default_while_another_can() {
        let mut default = DefaultModel::default();
        default.choose(&[("aardvark", false), ("plain", true)]);
        assert_eq!(default.current(), Some("plain"));
        let gone = [("aardvark", true), ("plain", false)];
        assert_eq!(default.choose(&gone), changed("plain", "aardvark"));
        // The first choice is back.
        let both = [("aardvark", true), ("plain", true)];
        assert_eq!(default.choose(&both), changed("aardvark", "plain"));
        let neither = [("aardvark", false), ("plain", false)];
        assert_eq!(default.choose(&neither), None);
        assert_eq!(default.current(), Some("plain"), "it is the one to wait for");
    }

    #[test]
    fn a_model_that_is_gone_is_succeeded_for_good() {
        let mut default = DefaultModel::default();
        default.choose(&[("plain", true)]);
        assert_eq!(default.choose(&[]), None);
        assert_eq!(
            default.choose(&[("aardvark", true)]),
            changed("plain", "aardvark")
        );
        let both = [("aardvark", true), ("plain", true)];
        assert_eq!(default.choose(&both), None);
        assert_eq!(default.current(), Some("aardvark"));
    }

    #[test]
    fn one_ready_version_is_enough() {
        let mut default = DefaultModel::default();
        default.choose(&[("plain", false), ("plain", true)]);
        let versions = [("other", true), ("plain", false), ("plain", true)];
        assert_eq!(
            default.choose(&versions),
            Some(Notice::Chosen("plain".to_owned()))
        );
    }
}
