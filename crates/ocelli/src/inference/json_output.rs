//! The results of images as JSON, with the names of their classes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::{Output, OutputRequest, Prediction};
use crate::queue::job::Scored;

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ImageAnswer<'a> {
    Predictions {
        /// Best first.
        predictions: Vec<LabelledPrediction<'a>>,
    },
    Embedding {
        embedding: Vector<'a>,
    },
    Failure {
        error: String,
        code: &'static str,
    },
}

/// A prediction with its label, as the versioned routes and the command line show it.
#[derive(Clone, Debug, Serialize)]
pub struct LabelledPrediction<'a> {
    pub label: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// 0 to 1.
    pub probability: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VectorEncoding {
    #[default]
    Float,
    /// The base64 of little-endian float32 values: exact, and half as long.
    Base64,
}

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
    #[must_use]
    pub fn new(
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
