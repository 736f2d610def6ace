//! What images came to, with the names of their classes, as JSON shows it.

use serde::Serialize;

use crate::error::Error;
use crate::infer::Scored;
use crate::model::ServedModel;

/// What one image came to.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ImageAnswer<'a> {
    /// It was computed.
    Predictions {
        /// Best first.
        predictions: Vec<LabelledPrediction<'a>>,
    },
    /// It was not.
    Failure {
        /// What is wrong and what to do.
        error: String,
        /// Which error it is.
        code: &'static str,
    },
}

/// A prediction with its label, as the versioned routes and the command line show it.
#[derive(Clone, Debug, Serialize)]
pub struct LabelledPrediction<'a> {
    /// The class's name.
    pub label: &'a str,
    /// The class's index, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The probability, 0 to 1.
    pub probability: f32,
}

impl<'a> ImageAnswer<'a> {
    /// The answer for one image of `model`.
    #[must_use]
    pub fn new(model: &'a ServedModel, result: &'a Result<Scored, Error>) -> Self {
        match result {
            Ok(scored) => Self::Predictions {
                predictions: labelled(model, scored),
            },
            Err(error) => Self::Failure {
                error: error.to_string(),
                code: error.status().code,
            },
        }
    }
}

/// Adds labels to predictions.
#[must_use]
pub fn labelled<'a>(model: &'a ServedModel, scored: &'a Scored) -> Vec<LabelledPrediction<'a>> {
    scored
        .predictions
        .iter()
        .map(|prediction| LabelledPrediction {
            label: prediction.class.label(model),
            index: prediction.class.index(),
            probability: prediction.probability,
        })
        .collect()
}
