//! What images came to, with the names of their classes, as JSON shows it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::{Output, OutputRequest, Prediction};
use crate::queue::job::Scored;

/// What one image came to.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ImageAnswer<'a> {
    /// It was computed, to classes.
    Predictions {
        /// Best first.
        predictions: Vec<LabelledPrediction<'a>>,
    },
    /// It was computed, to a feature vector.
    Embedding { embedding: Vector<'a> },
    Failure {
        /// What is wrong and what to do.
        error: String,
        code: &'static str,
    },
}

/// A prediction with its label, as the versioned routes and the command line show it.
#[derive(Clone, Debug, Serialize)]
pub struct LabelledPrediction<'a> {
    pub label: Cow<'a, str>,
    /// The class's index, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The probability, 0 to 1.
    pub probability: f32,
}

/// How the numbers of a vector are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VectorEncoding {
    #[default]
    Float,
    /// As the base64 of their float32, little endian: exact, and half as long.
    Base64,
}

/// A feature vector as JSON shows it.
#[derive(Clone, Copy, Debug)]
pub struct Vector<'a> {
    numbers: &'a [f32],
    encoding: VectorEncoding,
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.encoding {
            VectorEncoding::Float => self.numbers.serialize(serializer),
            VectorEncoding::Base64 => {
                let bytes: Vec<u8> = self
                    .numbers
                    .iter()
                    .flat_map(|number| number.to_le_bytes())
                    .collect();
                serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
            }
        }
    }
}

impl<'a> ImageAnswer<'a> {
    /// The answer for one image of `model`, of which `want` was wanted.
    #[must_use]
    pub fn new(model: &'a ServedModel, want: &OutputRequest, result: &'a Result<Scored, Error>) -> Self {
        Self::encoded(model, want, result, VectorEncoding::Float)
    }

    /// The same with vectors in this encoding.
    #[must_use]
    pub fn encoded(
        model: &'a ServedModel,
        want: &OutputRequest,
        result: &'a Result<Scored, Error>,
        encoding: VectorEncoding,
    ) -> Self {
        match result.as_ref().map(|scored| &scored.outcome) {
            Ok(Output::Classes(predictions)) => Self::Predictions {
                predictions: labelled(model.labels_of(want.output), predictions),
            },
            Ok(Output::Vector(numbers)) => Self::Embedding {
                embedding: Vector { numbers, encoding },
            },
            Err(error) => Self::Failure {
                error: error.to_string(),
                code: error.status().code,
            },
        }
    }
}

#[must_use]
pub fn labelled<'a>(labels: &'a [String], predictions: &'a [Prediction]) -> Vec<LabelledPrediction<'a>> {
    predictions
        .iter()
        .map(|prediction| LabelledPrediction {
            label: prediction.class.label(labels),
            index: prediction.class.index(),
            probability: prediction.probability,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_in_base64_is_its_little_endian_bytes() {
        let json = |encoding| {
            let numbers = &[1.0, -2.5];
            serde_json::to_string(&Vector { numbers, encoding }).expect("it is JSON")
        };
        assert_eq!(json(VectorEncoding::Float), "[1.0,-2.5]");
        assert_eq!(json(VectorEncoding::Base64), r#""AACAPwAAIMA=""#);
    }
}
