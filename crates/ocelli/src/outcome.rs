//! What is wanted of a model's output, and what the output comes to: classes, or a feature vector.

use std::borrow::Cow;

use ocelli_engine::{Tensor, TensorData};
use ocelli_vision::{OutputSpec, Pool, l2_normalize, rank};

use crate::error::Error;
use crate::model::ServedModel;

/// What is wanted of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// Which of the model's outputs, by its place in the package.
    pub output: usize,
    /// In which form.
    pub form: Form,
}

/// What an output is made into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// The best classes.
    Classes {
        /// The most of them, at least 1.
        top_k: usize,
        /// Those below this probability are left out.
        threshold: Option<f32>,
    },
    /// The numbers themselves.
    Vector {
        /// Scaled to length 1 (L2).
        normalize: bool,
    },
}

/// What an image came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The best classes, best first.
    Classes(Vec<Prediction>),
    /// A feature vector.
    Vector(Vec<f32>),
}

/// One class and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Which class.
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

impl Want {
    /// What `tensor` comes to, which is the wanted output of `model` for one image, with a batch axis of 1.
    ///
    /// # Errors
    /// [`Error::Internal`] where the numbers are not finite, or not one for each label: whoever computed them has another
    /// model than it says.
    pub fn outcome(&self, model: &ServedModel, tensor: &Tensor) -> Result<Outcome, Error> {
        let output = model.output(self.output)?;
        let numbers = tensor
            .f32s()
            .filter(|numbers| numbers.iter().all(|number| number.is_finite()));
        let Some(numbers) = numbers else {
            tracing::error!(model = %model.id.name, output = output.name, "what the model says are not all finite numbers");
            return Err(Error::Internal);
        };
        match self.form {
            Form::Classes { top_k, threshold } => {
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
                Ok(Outcome::Classes(likely(best, threshold)))
            }
            Form::Vector { normalize } => {
                let mut vector = pooled(output, tensor.row_shape(), numbers)?;
                if normalize {
                    l2_normalize(&mut vector);
                }
                Ok(Outcome::Vector(vector))
            }
        }
    }

    /// What classes that are known already come to, best first.
    #[must_use]
    pub fn of_ranked(&self, mut predictions: Vec<Prediction>) -> Outcome {
        if let Form::Classes { top_k, threshold } = self.form {
            predictions.truncate(top_k);
            predictions = likely(predictions, threshold);
        }
        Outcome::Classes(predictions)
    }
}

/// An output of an image as it travels and is kept: one vector where the package says how its tokens become one, everything
/// else as it is. Whoever pools it again gets the same.
///
/// # Errors
/// [`Error::Internal`] for an output that the package says is pooled, and whose shape is none of tokens.
pub fn compact(output: &OutputSpec, tensor: Tensor) -> Result<Tensor, Error> {
    let numbers = match output.pool {
        Pool::None => None,
        Pool::First | Pool::Mean => tensor.f32s(),
    };
    let Some(numbers) = numbers else {
        return Ok(tensor);
    };
    let vector = pooled(output, tensor.row_shape(), numbers)?;
    Tensor::new([1, vector.len()], TensorData::F32(vector)).map_err(|error| {
        tracing::error!(output = output.name, %error, "a pooled output is no tensor");
        Error::Internal
    })
}

/// Those of `predictions` that are not below `threshold`.
fn likely(mut predictions: Vec<Prediction>, threshold: Option<f32>) -> Vec<Prediction> {
    if let Some(threshold) = threshold {
        predictions.retain(|prediction| prediction.probability >= threshold);
    }
    predictions
}

/// One vector of an output, whose shape without the batch axis is `shape`: features, or tokens x features, which
/// become one as the package says. Axes of length 1, as of a pooled feature map, count for nothing.
fn pooled(output: &OutputSpec, shape: &[usize], numbers: &[f32]) -> Result<Vec<f32>, Error> {
    let axes: Vec<usize> = shape.iter().copied().filter(|&axis| axis != 1).collect();
    let features = axes.last().copied().unwrap_or(1);
    let tokens = || numbers.chunks_exact(features);
    match (output.pool, axes.len()) {
        (Pool::None, 0 | 1) => Ok(numbers.to_vec()),
        (Pool::First, 0..=2) => Ok(tokens().next().unwrap_or_default().to_vec()),
        (Pool::Mean, 0..=2) => {
            let mut sum = vec![0.0; features];
            for token in tokens() {
                sum.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
            }
            let count = tokens().len() as f32;
            sum.iter_mut().for_each(|sum| *sum /= count);
            Ok(sum)
        }
        _ => {
            tracing::error!(
                output = output.name,
                ?shape,
                pool = ?output.pool,
                "the output is no feature vector; set pool = \"first\" or \"mean\" for one of tokens x features, or name another output"
            );
            Err(Error::Internal)
        }
    }
}

#[cfg(test)]
mod tests {
    use ocelli_vision::Activation;

    use super::*;
    use crate::model;
    use crate::wish::Wish;

    fn best(scores: Vec<f32>) -> Result<Outcome, Error> {
        let (model, _) = ServedModel::split(model::builtin().expect("it is valid"));
        let tensor = Tensor::new([1, scores.len()], TensorData::F32(scores)).expect("shape");
        let want = Wish::default().classes(&model).expect("it has classes");
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
        let Ok(Outcome::Classes(best_classes)) = best(scores.clone()) else {
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
        assert_eq!(vector(Pool::None, &[2, 3]), Err(Error::Internal));
        assert_eq!(vector(Pool::First, &[2, 3, 4]), Err(Error::Internal));
    }

    #[test]
    fn what_travels_is_one_vector_and_comes_to_the_same() {
        let output = |pool| OutputSpec {
            name: "tokens".to_owned(),
            activation: Activation::None,
            labels: None,
            threshold: None,
            normalize: false,
            pool,
        };
        let numbers: Vec<f32> = (0..197 * 8).map(|number| (number as f32).sin()).collect();
        let tensor = Tensor::new([1, 197, 8], TensorData::F32(numbers.clone())).expect("it fits");
        for pool in [Pool::First, Pool::Mean] {
            let output = output(pool);
            let compact = compact(&output, tensor.clone()).expect("tokens x features");
            assert_eq!(compact.shape(), [1, 8]);
            let there = compact.f32s().expect("numbers");
            assert_eq!(
                pooled(&output, compact.row_shape(), there),
                pooled(&output, &[197, 8], &numbers)
            );
        }
        let whole = compact(&output(Pool::None), tensor.clone());
        assert_eq!(whole, Ok(tensor));
        let cube = Tensor::new([1, 2, 2, 2], TensorData::F32(vec![0.0; 8])).expect("it fits");
        assert_eq!(compact(&output(Pool::Mean), cube), Err(Error::Internal));
    }
}
