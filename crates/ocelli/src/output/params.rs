//! Parses the parameters of a request for a model. Queries and the command line share them.

use ocelli_vision::{OutputSpec, Task};

use super::postprocess::{OutputKind, OutputRequest};
use crate::error::Error;
use crate::models::served_model::ServedModel;

/// Default number of classes in a response, the same as in the tutorial.
pub const DEFAULT_TOP_K: usize = 5;

/// The output parameters of a request, all optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputParams {
    /// `output`: name of the output [default: the first of the package].
    pub output: Option<String>,
    /// `top_k`: maximum number of classes.
    pub top_k: Option<String>,
    /// `threshold`: minimum probability of a class.
    pub threshold: Option<String>,
    /// `normalize`: whether to scale a vector to length 1.
    pub normalize: Option<String>,
}

impl OutputParams {
    /// A request for classes.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for an invalid parameter, or a model without classes.
    pub fn classes(&self, model: &ServedModel) -> Result<OutputRequest, Error> {
        let task = model.card.manifest.task;
        let (index, output) = self.find(model, |_| true)?;
        // A graph may return probabilities of classes without labels; then the task decides.
        if output.is_vector() && (task == Task::Embedding || index > 0) {
            let (name, output) = (&model.id.name, &output.name);
            return Err(Error::InvalidRequest(format!(
                "the output '{output}' of the model '{name}' is a feature vector, not classes; \
                 POST /v1/models/{name}/embed?output={output}"
            )));
        }
        if self.normalize.is_some() {
            return Err(Error::InvalidRequest(
                "'normalize' applies to feature vectors only; remove it from a request for classes"
                    .to_owned(),
            ));
        }
        let threshold = match &self.threshold {
            Some(text) => Some(threshold(text)?),
            None => model.threshold_of(index),
        };
        let classes = model.classes_of(index);
        // A multi-label model returns all classes above the threshold.
        let usual = match task {
            Task::Multilabel => classes,
            Task::Classification | Task::Embedding => DEFAULT_TOP_K,
        };
        let top_k = top_k(self.top_k.as_deref(), usual, classes)?;
        Ok(OutputRequest {
            output: index,
            form: OutputKind::Classes { top_k, threshold },
        })
    }

    /// A request for a feature vector.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for an invalid parameter, or a model without feature vectors.
    pub fn vector(&self, model: &ServedModel) -> Result<OutputRequest, Error> {
        let (index, output) = self.find(model, OutputSpec::is_vector)?;
        if !output.is_vector() {
            let (model, output) = (&model.id.name, &output.name);
            return Err(Error::InvalidRequest(format!(
                "the output '{output}' of the model '{model}' has classes, not a feature vector; \
                 POST /v1/models/{model}/predict"
            )));
        }
        if self.top_k.is_some() || self.threshold.is_some() {
            return Err(Error::InvalidRequest(
                "'top_k' and 'threshold' apply to classes only; remove them from a request for feature vectors"
                    .to_owned(),
            ));
        }
        let normalize = match self.normalize.as_deref() {
            None => output.normalize,
            Some("true") => true,
            Some("false") => false,
            Some(_) => {
                return Err(Error::InvalidRequest(
                    "normalize must be true or false".to_owned(),
                ));
            }
        };
        Ok(OutputRequest {
            output: index,
            form: OutputKind::Vector { normalize },
        })
    }

    /// A request for a vector or for classes, according to the model's task.
    ///
    /// # Errors
    /// As [`Self::vector`] and [`Self::classes`].
    pub fn by_task(&self, model: &ServedModel) -> Result<OutputRequest, Error> {
        match model.card.manifest.task {
            Task::Embedding => self.vector(model),
            Task::Classification | Task::Multilabel => self.classes(model),
        }
    }

    /// The output of that name. Without a name, the first that `suits`, or else the first.
    fn find<'a>(
        &self,
        model: &'a ServedModel,
        suits: impl Fn(&OutputSpec) -> bool,
    ) -> Result<(usize, &'a OutputSpec), Error> {
        let outputs = &model.card.manifest.outputs;
        let Some(name) = &self.output else {
            let index = outputs.iter().position(suits).unwrap_or(0);
            return Ok((index, model.output(index)?));
        };
        let named = outputs
            .iter()
            .enumerate()
            .find(|(_, output)| output.name == *name);
        named.ok_or_else(|| {
            let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
            let (model, names) = (&model.id.name, names.join(", "));
            Error::InvalidRequest(format!(
                "the model '{model}' has no output of that name; available: {names}"
            ))
        })
    }
}

/// The requested number of classes, or else `usual`.
///
/// # Errors
/// [`Error::InvalidRequest`] unless it is a whole number from 1 to the number of classes.
fn top_k(text: Option<&str>, usual: usize, classes: usize) -> Result<usize, Error> {
    let Some(text) = text else {
        return Ok(usual.min(classes));
    };
    text.parse()
        .ok()
        .filter(|top_k| (1..=classes).contains(top_k))
        .ok_or_else(|| {
            Error::InvalidRequest(format!(
                "top_k must be a whole number from 1 to {classes}, the number of classes"
            ))
        })
}

fn threshold(text: &str) -> Result<f32, Error> {
    let threshold = text
        .parse()
        .ok()
        .filter(|threshold| (0.0..=1.0).contains(threshold));
    threshold.ok_or_else(|| Error::InvalidRequest("threshold must be a number from 0 to 1".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_is_a_whole_number_within_the_classes() {
        assert_eq!(top_k(None, 5, 1000), Ok(5));
        assert_eq!(top_k(None, 5, 3), Ok(3), "a small model has no five classes");
        assert_eq!(top_k(Some("1000"), 5, 1000), Ok(1000));
        for bad in ["0", "1001", "abc", "-1", "1.5", "", "99999999999999999999999"] {
            assert_eq!(
                top_k(Some(bad), 5, 1000).unwrap_err().status().code,
                "invalid_request",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_threshold_is_a_probability() {
        assert_eq!(threshold("0.25"), Ok(0.25));
        assert_eq!((threshold("0"), threshold("1")), (Ok(0.0), Ok(1.0)));
        for bad in ["-0.1", "1.1", "NaN", "half", ""] {
            assert!(threshold(bad).is_err(), "{bad}");
        }
    }
}
