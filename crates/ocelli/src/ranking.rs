//! From what a model says of an image to the classes that are answered.

use ocelli_engine::Tensor;
use ocelli_vision::{Activation, sigmoid, softmax, top_k};

use crate::error::Error;
use crate::model::ServedModel;

/// How many predictions an answer has unless the request says otherwise, as the tutorial's has.
pub const DEFAULT_TOP_K: usize = 5;

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
    /// By its place among the model's labels.
    Index(usize),
    /// By its name, where whoever computed the image says no more.
    Name(String),
}

impl Class {
    /// What people call it; nothing where the model's labels do not say.
    #[must_use]
    pub fn label<'a>(&'a self, model: &'a ServedModel) -> &'a str {
        match self {
            Self::Index(index) => model.labels().get(*index).map_or("", String::as_str),
            Self::Name(name) => name,
        }
    }

    /// Its place among the model's labels, where that is known.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Index(index) => Some(*index),
            Self::Name(_) => None,
        }
    }
}

/// The best `most` classes of the model's first output, best first.
///
/// # Errors
/// [`Error::Internal`] where the scores are no numbers, or not one for each label: whoever computed them has another
/// model than it says.
pub fn rank(model: &ServedModel, outputs: &[Tensor], most: usize) -> Result<Vec<Prediction>, Error> {
    let scores = outputs.first().and_then(Tensor::f32s).map(<[f32]>::to_vec);
    let Some(mut scores) = scores.filter(|scores| scores.iter().all(|score| score.is_finite())) else {
        tracing::error!(model = %model.id.name, "the model's scores are not all finite numbers");
        return Err(Error::Internal);
    };
    if !model.labels().is_empty() && scores.len() != model.labels().len() {
        let (scores, labels) = (scores.len(), model.labels().len());
        tracing::error!(model = %model.id.name, scores, labels, "the model's scores are not one for each label");
        return Err(Error::Internal);
    }
    let output = model.card.manifest.outputs.first();
    match output.map(|output| output.activation) {
        Some(Activation::Softmax) => softmax(&mut scores),
        Some(Activation::Sigmoid) => sigmoid(&mut scores),
        Some(Activation::None) | None => {}
    }
    Ok(top_k(&scores, most)
        .into_iter()
        .map(|(index, probability)| Prediction {
            class: Class::Index(index),
            probability,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use ocelli_engine::TensorData;

    use super::*;
    use crate::model;

    fn ranked(scores: Vec<f32>) -> Result<Vec<Prediction>, Error> {
        let (model, _) = ServedModel::split(model::builtin().expect("it is valid"));
        let tensor = Tensor::new([1, scores.len()], TensorData::F32(scores)).expect("shape");
        rank(&model, &[tensor], 2)
    }

    #[test]
    fn the_best_come_first_and_what_is_no_score_for_each_label_is_refused() {
        let mut scores = vec![0.0; 1000];
        (scores[7], scores[3]) = (9.0, 8.0);
        let best = ranked(scores.clone()).expect("a score for each label");
        assert_eq!(best[0].class, Class::Index(7));
        assert_eq!(best[1].class, Class::Index(3));
        scores[500] = f32::NAN;
        assert_eq!(ranked(scores), Err(Error::Internal));
        assert_eq!(ranked(vec![0.0; 999]), Err(Error::Internal));
    }
}
