//! What is wanted of a model's output, and what the output comes to: classes, or a feature vector.

use std::borrow::Cow;

use ocelli_engine::{EngineError, Tensor};
use ocelli_vision::{OutputSpec, PerImage, Pool, l2_normalize, rank};

use crate::error::Error;
use crate::models::served_model::ServedModel;

/// What is wanted of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputRequest {
    /// Which of the model's outputs, by its place in the package.
    pub output: usize,
    pub form: OutputKind,
}

/// What an output is made into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputKind {
    Classes {
        /// The most of them, at least 1.
        top_k: usize,
        /// Those below this probability are left out.
        threshold: Option<f32>,
    },
    Vector {
        /// Scaled to length 1 (L2).
        normalize: bool,
    },
}

/// What an image came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The best classes, best first.
    Classes(Vec<Prediction>),
    Vector(Vec<f32>),
}

/// One class and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    pub class: Class,
    /// The probability, 0 to 1.
    pub probability: f32,
}

/// A class of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// By its place among the output's labels.
    Index(usize),
    /// By its name, where whoever computed the image says no more.
    Name(String),
}

impl Class {
    /// What people call it; its number where nobody has named it.
    #[must_use]
    pub fn label<'a>(&'a self, labels: &'a [String]) -> Cow<'a, str> {
        match self {
            Self::Index(index) => labels
                .get(*index)
                .map_or_else(|| format!("class {index}").into(), |label| label.as_str().into()),
            Self::Name(name) => name.as_str().into(),
        }
    }

    /// Its place among the output's labels, where that is known.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Index(index) => Some(*index),
            Self::Name(_) => None,
        }
    }
}

impl OutputRequest {
    /// What `tensor` comes to, which is the wanted output of `model` for one image, with a batch axis of 1.
    ///
    /// # Errors
    /// [`Error::Internal`] where the numbers are not finite, or not one for each label: whoever computed them has another
    /// model than it says.
    pub fn outcome(&self, model: &ServedModel, tensor: &Tensor) -> Result<Output, Error> {
        let output = model.output(self.output)?;
        let numbers = tensor
            .f32s()
            .filter(|numbers| numbers.iter().all(|number| number.is_finite()));
        let Some(numbers) = numbers else {
            tracing::error!(model = %model.id.name, output = output.name, "what the model says are not all finite numbers");
            return Err(Error::Internal);
        };
        match self.form {
            OutputKind::Classes { top_k, threshold } => {
                let labels = model.labels_of(self.output);
                if !labels.is_empty() && numbers.len() != labels.len() {
                    let (scores, labels) = (numbers.len(), labels.len());
                    tracing::error!(model = %model.id.name, output = output.name, scores, labels, "the model's scores are not one for each label");
                    return Err(Error::Internal);
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
                let mut vector = pooled(output, tensor.row_shape(), numbers).map_err(|error| {
                    tracing::error!(model = %model.id.name, %error, "an output cannot be answered");
                    Error::Internal
                })?;
                if normalize {
                    l2_normalize(&mut vector);
                }
                Ok(Output::Vector(vector))
            }
        }
    }

    /// The most bytes that the outcome of one image takes, on its way and where it is kept, with what stands beside it.
    #[must_use]
    pub fn most_bytes(&self, model: &ServedModel) -> u64 {
        /// For the phases, an error's text, the worker's name, and the key of a reply.
        const AROUND: usize = 1 << 10;
        let numbers = match self.form {
            // As large as in memory, which is more than on the wire.
            OutputKind::Classes { top_k, .. } => {
                top_k.min(model.classes_of(self.output)) * size_of::<Prediction>()
            }
            OutputKind::Vector { .. } => model.vector_length(self.output) * size_of::<f32>(),
        };
        (numbers + AROUND) as u64
    }

    /// Checks an outcome that another process computed: it has the wanted form, at most as many classes as wanted, only
    /// classes that the model has, and only finite numbers.
    ///
    /// # Errors
    /// [`Error::Internal`] for any other outcome.
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
                "it has a class that the model does not have, or a probability that is not finite"
            }
            (OutputKind::Vector { .. }, Output::Vector(vector)) => {
                let length = model.known_vector_length(self.output);
                if length.is_some_and(|length| length != vector.len()) {
                    "it has another number of features than the model gives"
                } else if vector.iter().all(|number| number.is_finite()) {
                    return Ok(Output::Vector(vector));
                } else {
                    "its numbers are not all finite"
                }
            }
            (OutputKind::Classes { .. }, Output::Vector(_)) => "it is a vector, and classes were wanted",
            (OutputKind::Vector { .. }, Output::Classes(_)) => "it has classes, and a vector was wanted",
        };
        tracing::error!(model = %model.id.name, trouble, "a reply cannot be used");
        Err(Error::Internal)
    }
}

/// Those of `predictions` that are not below `threshold`.
fn likely(mut predictions: Vec<Prediction>, threshold: Option<f32>) -> Vec<Prediction> {
    if let Some(threshold) = threshold {
        predictions.retain(|prediction| prediction.probability >= threshold);
    }
    predictions
}

/// How many numbers a vector of an output has, whose shape without the batch axis is `shape`: features, or tokens x features,
/// which become one as the package says. Axes of length 1, as of a pooled feature map, count for nothing.
///
/// # Errors
/// [`EngineError::Fault`] for any other shape.
pub fn vector_length(output: &OutputSpec, shape: &[usize]) -> Result<usize, EngineError> {
    match (PerImage::of_tensor(shape), output.pool) {
        (PerImage::Row(Some(features)), _) | (PerImage::Rows(features), Pool::First | Pool::Mean) => {
            Ok(features as usize)
        }
        _ => Err(EngineError::Fault(format!(
            "output `{}` gives {shape:?} for each image, which is no feature vector; set pool = \"first\" or \"mean\" in a \
             model.toml for one of tokens x features, or name another output",
            output.name
        ))),
    }
}

/// Checks that an output of classes gives one row of scores for each image, whose shape without the batch axis is `shape`.
///
/// # Errors
/// [`EngineError::Fault`] for several rows, and where the scores are not one for each of `labels`, unless there are none.
pub fn check_scores(output: &OutputSpec, shape: &[usize], labels: usize) -> Result<(), EngineError> {
    match PerImage::of_tensor(shape) {
        PerImage::Row(Some(scores)) if labels == 0 || scores == labels as u64 => Ok(()),
        PerImage::Row(_) => Err(EngineError::Fault(format!(
            "output `{}` gives {shape:?} for each image, and there are {labels} labels: it must be one score for each",
            output.name
        ))),
        _ => Err(EngineError::Fault(format!(
            "output `{}` gives {shape:?} for each image, which is no row of scores as a classifier gives it, but looks like a \
             map or like detections",
            output.name
        ))),
    }
}

/// One vector of an output: see [`vector_length`].
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
    fn a_class_without_a_name_is_called_by_its_number() {
        let labels = ["cat".to_owned()];
        assert_eq!(Class::Index(0).label(&labels), "cat");
        assert_eq!(Class::Index(7).label(&[]), "class 7");
    }

    #[test]
    fn the_best_come_first_and_what_is_no_score_for_each_label_is_refused() {
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
        assert_eq!(best(scores), Err(Error::Internal));
        assert_eq!(best(vec![0.0; 999]), Err(Error::Internal));
    }

    #[test]
    fn tokens_become_one_vector_as_the_package_says() {
        let vector = |pool, shape: &[usize]| {
            let output = OutputSpec {
                name: "tokens".to_owned(),
                activation: Activation::None,
                labels: None,
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
    fn scores_are_one_row_and_one_for_each_label() {
        let output = OutputSpec {
            name: "scores".to_owned(),
            activation: Activation::Softmax,
            labels: None,
            threshold: None,
            normalize: false,
            pool: Pool::None,
        };
        let said =
            |shape: &[usize], labels| check_scores(&output, shape, labels).map_err(|error| error.to_string());
        for shape in [&[10][..], &[10, 1, 1], &[1, 10], &[1, 1, 10]] {
            assert_eq!((said(shape, 10), said(shape, 0)), (Ok(()), Ok(())), "{shape:?}");
            assert!(said(shape, 9).unwrap_err().contains("9 labels"));
        }
        assert_eq!((said(&[], 1), said(&[1, 1], 1)), (Ok(()), Ok(())));
        for shape in [&[1, 8, 8][..], &[10, 49], &[21, 64, 64]] {
            assert!(
                said(shape, 0).unwrap_err().contains("no row of scores"),
                "{shape:?}"
            );
        }
    }

    #[test]
    fn only_an_outcome_of_the_wanted_form_is_taken_from_another_process() {
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
        assert_eq!(vector.check(&model, some), Err(Error::Internal));
        for bad in [numbers, of(&[(1000, 0.5)]), of(&[(7, f32::NAN)])] {
            assert_eq!(
                classes.check(&model, bad.clone()),
                Err(Error::Internal),
                "{bad:?}"
            );
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
        assert_eq!(vector.check(&model, three), Err(Error::Internal));
        let infinite = Output::Vector(vec![f32::INFINITY; 2]);
        assert_eq!(vector.check(&model, infinite), Err(Error::Internal));
    }
}
