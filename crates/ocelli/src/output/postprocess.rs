//! Turns a model's output into classes or a feature vector.

use std::borrow::Cow;

use ocelli_engine::{EngineError, Tensor};
use ocelli_vision::{OutputSpec, PerImage, Pool, l2_normalize, rank};

use crate::error::Error;
use crate::models::served_model::ServedModel;

/// What to return for an image.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputRequest {
    /// Index of the output in the package.
    pub output: usize,
    pub form: OutputKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputKind {
    Classes {
        /// Maximum number of classes, at least 1.
        top_k: usize,
        /// Minimum probability.
        threshold: Option<f32>,
    },
    Vector {
        /// Scale to length 1 (L2).
        normalize: bool,
    },
}

/// The result for an image.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Best first.
    Classes(Vec<Prediction>),
    Vector(Vec<f32>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    pub class: Class,
    /// From 0 to 1.
    pub probability: f32,
}

/// A class of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Index among the output's labels.
    Index(usize),
    /// Label from a worker of the tutorial, which sends no index.
    Name(String),
}

impl Class {
    /// The label, or the number of a class without one.
    #[must_use]
    pub fn label<'a>(&'a self, labels: &'a [String]) -> Cow<'a, str> {
        match self {
            Self::Index(index) => labels
                .get(*index)
                .map_or_else(|| format!("class {index}").into(), |label| label.as_str().into()),
            Self::Name(name) => name.as_str().into(),
        }
    }

    /// Index among the output's labels, if known.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Index(index) => Some(*index),
            Self::Name(_) => None,
        }
    }
}

impl OutputRequest {
    /// Postprocesses `tensor`, the requested output of `model` for one image, with a batch axis of 1.
    ///
    /// # Errors
    /// [`Error::Internal`] when the numbers are not finite, or do not match the labels: then the worker runs another
    /// model than it announced.
    pub fn outcome(&self, model: &ServedModel, tensor: &Tensor) -> Result<Output, Error> {
        let output = model.output(self.output)?;
        let numbers = tensor
            .f32s()
            .filter(|numbers| numbers.iter().all(|number| number.is_finite()));
        let Some(numbers) = numbers else {
            let name = &output.name;
            return Err(Error::internal(format!(
                "the output '{name}' has values that are not finite numbers"
            )));
        };
        match self.form {
            OutputKind::Classes { top_k, threshold } => {
                let labels = model.labels_of(self.output);
                if !labels.is_empty() && numbers.len() != labels.len() {
                    let (scores, labels) = (numbers.len(), labels.len());
                    return Err(Error::internal(format!(
                        "the output '{}' has {scores} scores for {labels} labels",
                        output.name
                    )));
                }
                let best = rank(numbers, output.activation, top_k)
                    .into_iter()
                    .map(|(index, probability)| Prediction {
                        class: Class::Index(index),
                        probability,
                    })
                    .collect();
                Ok(Output::Classes(likely(best, threshold)))
            }
            OutputKind::Vector { normalize } => {
                let mut vector = pooled(output, tensor.row_shape(), numbers)
                    .map_err(|error| Error::internal(error.to_string()))?;
                if normalize {
                    l2_normalize(&mut vector);
                }
                Ok(Output::Vector(vector))
            }
        }
    }

    /// Maximum bytes of one image's result, in transit and in storage, with its envelope.
    #[must_use]
    pub fn most_bytes(&self, model: &ServedModel) -> u64 {
        /// For the phases, an error's text, the worker's name and the key of a reply.
        const ENVELOPE: usize = 1 << 10;
        let numbers = match self.form {
            // The size in memory, which exceeds that on the wire.
            OutputKind::Classes { top_k, .. } => {
                top_k.min(model.classes_of(self.output)) * size_of::<Prediction>()
            }
            OutputKind::Vector { .. } => model.vector_length(self.output) * size_of::<f32>(),
        };
        (numbers + ENVELOPE) as u64
    }

    /// Checks a result from another process: its kind, its classes, and that its numbers are finite. Truncates it to the
    /// requested number of classes.
    ///
    /// # Errors
    /// [`Error::Internal`] for an invalid result.
    pub fn check(&self, model: &ServedModel, outcome: Output) -> Result<Output, Error> {
        let trouble = match (self.form, outcome) {
            (OutputKind::Classes { top_k, threshold }, Output::Classes(mut predictions)) => {
                let classes = model.labels_of(self.output).len();
                let known = |class: &Class| class.index().is_none_or(|index| classes == 0 || index < classes);
                if predictions
                    .iter()
                    .all(|prediction| prediction.probability.is_finite() && known(&prediction.class))
                {
                    predictions.truncate(top_k);
                    return Ok(Output::Classes(likely(predictions, threshold)));
                }
                "unknown class or a probability that is not finite"
            }
            (OutputKind::Vector { .. }, Output::Vector(vector)) => {
                let length = model.known_vector_length(self.output);
                if length.is_some_and(|length| length != vector.len()) {
                    "a vector of another length than the model's"
                } else if vector.iter().all(|number| number.is_finite()) {
                    return Ok(Output::Vector(vector));
                } else {
                    "numbers that are not finite"
                }
            }
            (OutputKind::Classes { .. }, Output::Vector(_)) => "a vector instead of classes",
            (OutputKind::Vector { .. }, Output::Classes(_)) => "classes instead of a vector",
        };
        Err(Error::internal(format!(
            "a worker's reply cannot be used: {trouble}"
        )))
    }
}

/// The predictions that reach `threshold`.
fn likely(mut predictions: Vec<Prediction>, threshold: Option<f32>) -> Vec<Prediction> {
    if let Some(threshold) = threshold {
        predictions.retain(|prediction| prediction.probability >= threshold);
    }
    predictions
}

/// Length of an output's vector. `shape`, without the batch axis, is features, or tokens x features that the package
/// pools. Axes of length 1, as in a pooled feature map, are ignored.
///
/// # Errors
/// [`EngineError::Fault`] for any other shape.
pub fn vector_length(output: &OutputSpec, shape: &[usize]) -> Result<usize, EngineError> {
    match (PerImage::of_tensor(shape), output.pool) {
        (PerImage::Row(Some(features)), _) | (PerImage::Rows(features), Pool::First | Pool::Mean) => {
            Ok(features as usize)
        }
        _ => Err(EngineError::Fault(format!(
            "output `{}` has the shape {shape:?} per image, which is not a feature vector; for tokens x features set pool = \
             \"first\" or \"mean\" in a model.toml, or choose another output",
            output.name
        ))),
    }
}

/// Checks that an output of classes is one row of scores per image; `shape` has no batch axis.
///
/// # Errors
/// [`EngineError::Fault`] for several rows, and when the number of scores differs from `labels`, unless that is 0.
pub fn check_scores(output: &OutputSpec, shape: &[usize], labels: usize) -> Result<(), EngineError> {
    match PerImage::of_tensor(shape) {
        PerImage::Row(Some(scores)) if labels == 0 || scores == labels as u64 => Ok(()),
        PerImage::Row(_) => Err(EngineError::Fault(format!(
            "output `{}` has the shape {shape:?} per image, but there are {labels} labels; it needs one score per label",
            output.name
        ))),
        _ => Err(EngineError::Fault(format!(
            "output `{}` has the shape {shape:?} per image, which is not a row of scores; it looks like a map or like \
             detections",
            output.name
        ))),
    }
}

/// The vector of an output; see [`vector_length`].
fn pooled(output: &OutputSpec, shape: &[usize], numbers: &[f32]) -> Result<Vec<f32>, EngineError> {
    let features = vector_length(output, shape)?;
    let tokens = numbers.chunks_exact(features.max(1));
    match output.pool {
        Pool::None => Ok(numbers.to_vec()),
        Pool::First => Ok(tokens.take(1).flatten().copied().collect()),
        Pool::Mean => {
            let count = tokens.len() as f32;
            let mut sum = vec![0.0; features];
            for token in tokens {
                sum.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
            }
            sum.iter_mut().for_each(|sum| *sum /= count);
            Ok(sum)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ocelli_engine::{CostTable, TensorData};
    use ocelli_vision::Activation;

    use super::*;
    use crate::models::served_model::{self, Runtime};
    use crate::output::params::OutputParams;

    fn best(scores: Vec<f32>) -> Result<Output, Error> {
        let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        let tensor = Tensor::new([1, scores.len()], TensorData::F32(scores)).expect("shape");
        let want = OutputParams::default().classes(&model).expect("it has classes");
        want.outcome(&model, &tensor)
    }

    #[test]
    fn a_class_without_a_label_is_named_by_its_number() {
        let labels = ["cat".to_owned()];
        assert_eq!(Class::Index(0).label(&labels), "cat");
        assert_eq!(Class::Index(7).label(&[]), "class 7");
    }

    #[test]
    fn classes_are_sorted_and_wrong_numbers_of_scores_are_refused() {
        let mut scores = vec![0.0; 1000];
        (scores[7], scores[3]) = (9.0, 8.0);
        let Ok(Output::Classes(best_classes)) = best(scores.clone()) else {
            panic!("a score for each label")
        };
        let classes: Vec<&Class> = best_classes
            .iter()
            .take(2)
            .map(|prediction| &prediction.class)
            .collect();
        assert_eq!(classes, [&Class::Index(7), &Class::Index(3)]);
        scores[500] = f32::NAN;
        assert!(matches!(best(scores), Err(Error::Internal(_))));
        assert!(matches!(best(vec![0.0; 999]), Err(Error::Internal(_))));
    }

    #[test]
    fn tokens_are_pooled_as_the_package_specifies() {
        let vector = |pool, shape: &[usize]| {
            let output = OutputSpec {
                name: "tokens".to_owned(),
                activation: Activation::None,
                labels: None,
                labels_source: None,
                threshold: None,
                normalize: false,
                pool,
            };
            let numbers: Vec<f32> = (0..shape.iter().product())
                .map(|number: usize| number as f32)
                .collect();
            pooled(&output, shape, &numbers)
        };
        assert_eq!(vector(Pool::Mean, &[2, 3]), Ok(vec![1.5, 2.5, 3.5]));
        assert_eq!(vector(Pool::First, &[2, 3]), Ok(vec![0.0, 1.0, 2.0]));
        assert_eq!(vector(Pool::None, &[3]), Ok(vec![0.0, 1.0, 2.0]));
        assert_eq!(vector(Pool::None, &[3, 1, 1]), Ok(vec![0.0, 1.0, 2.0]));
        assert_eq!(vector(Pool::Mean, &[1, 3]), Ok(vec![0.0, 1.0, 2.0]));
        assert!(vector(Pool::None, &[2, 3]).is_err());
        assert!(vector(Pool::First, &[2, 3, 4]).is_err());
    }

    #[test]
    fn scores_must_be_one_row_with_one_score_per_label() {
        let output = OutputSpec {
            name: "scores".to_owned(),
            activation: Activation::Softmax,
            labels: None,
            labels_source: None,
            threshold: None,
            normalize: false,
            pool: Pool::None,
        };
        let checked =
            |shape: &[usize], labels| check_scores(&output, shape, labels).map_err(|error| error.to_string());
        for shape in [&[10][..], &[10, 1, 1], &[1, 10], &[1, 1, 10]] {
            assert_eq!(
                (checked(shape, 10), checked(shape, 0)),
                (Ok(()), Ok(())),
                "{shape:?}"
            );
            assert!(checked(shape, 9).unwrap_err().contains("9 labels"));
        }
        assert_eq!((checked(&[], 1), checked(&[1, 1], 1)), (Ok(()), Ok(())));
        for shape in [&[1, 8, 8][..], &[10, 49], &[21, 64, 64]] {
            assert!(
                checked(shape, 0).unwrap_err().contains("not a row of scores"),
                "{shape:?}"
            );
        }
    }

    #[test]
    fn invalid_results_from_another_process_are_refused() {
        let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        let want = |form| OutputRequest { output: 0, form };
        let classes = want(OutputKind::Classes {
            top_k: 2,
            threshold: Some(0.2),
        });
        let vector = want(OutputKind::Vector { normalize: false });
        let of = |pairs: &[(usize, f32)]| {
            let predictions = pairs.iter().map(|&(index, probability)| Prediction {
                class: Class::Index(index),
                probability,
            });
            Output::Classes(predictions.collect())
        };
        let some = of(&[(7, 0.5), (3, 0.1), (2, 0.1)]);
        assert_eq!(classes.check(&model, some.clone()), Ok(of(&[(7, 0.5)])));
        let numbers = Output::Vector(vec![1.0]);
        assert_eq!(vector.check(&model, numbers.clone()), Ok(numbers.clone()));
        assert!(matches!(vector.check(&model, some), Err(Error::Internal(_))));
        for bad in [numbers, of(&[(1000, 0.5)]), of(&[(7, f32::NAN)])] {
            let checked = classes.check(&model, bad.clone());
            assert!(matches!(checked, Err(Error::Internal(_))), "{bad:?}");
        }
        let table = CostTable::new([(1, Duration::from_millis(1))]);
        model.set_runtime(Runtime {
            engine: String::new(),
            engine_version: String::new(),
            instances: 1,
            threads_per_instance: 1,
            max_batch: 1,
            cost: table.expect("one entry"),
            vector_lengths: vec![2],
        });
        let (two, three) = (Output::Vector(vec![1.0; 2]), Output::Vector(vec![1.0; 3]));
        assert_eq!(vector.check(&model, two.clone()), Ok(two));
        assert!(matches!(vector.check(&model, three), Err(Error::Internal(_))));
        let infinite = Output::Vector(vec![f32::INFINITY; 2]);
        assert!(matches!(vector.check(&model, infinite), Err(Error::Internal(_))));
    }
}
