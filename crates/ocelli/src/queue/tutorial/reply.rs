//! A reply's text: `[{"label": "..", "probability": 0.9}, ..]`, best first.

use serde::{Deserialize, Serialize};

use crate::models::served_model::ServedModel;
use crate::output::postprocess::{Class, Prediction};

/// The longest text that is read, in bytes; 1,000 classes take about 60,000.
pub const MAX_REPLY_BYTES: usize = 1 << 20;

/// A class by its name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Named {
    pub label: String,
    /// How likely it is, 0 to 1.
    pub probability: f32,
}

impl Named {
    /// One of `model`'s classes.
    pub fn new(prediction: &Prediction, model: &ServedModel) -> Self {
        Self {
            label: prediction.class.label(model.labels_of(0)).into_owned(),
            probability: prediction.probability,
        }
    }
}

impl From<Named> for Prediction {
    fn from(Named { label, probability }: Named) -> Self {
        Self {
            class: Class::Name(label),
            probability,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// Not the JSON of a reply.
    #[error(
        "it is not a list of {{\"label\", \"probability\"}} as JSON ({0}): the model process must answer as the \
         tutorial's does"
    )]
    Unreadable(String),
    /// No class at all, which is how a worker of ours says that it could not compute the picture.
    #[error("it names no class: the model process could not compute the picture; its log says why")]
    Empty,
}

/// The reply as the tutorial's model process writes it. An empty one says that there is no answer, and lets the
/// tutorial's web process stop waiting, which has no other end.
pub fn encode_reply(predictions: &[Named]) -> String {
    serde_json::to_string(predictions).expect("strings and numbers can be written as JSON")
}

/// Reads what a model process set.
pub fn decode_reply(text: &[u8]) -> Result<Vec<Named>, BadReply> {
    if text.len() > MAX_REPLY_BYTES {
        return Err(BadReply::Unreadable(format!(
            "{} bytes, at most {MAX_REPLY_BYTES} are read",
            text.len()
        )));
    }
    let predictions: Vec<Named> =
        serde_json::from_slice(text).map_err(|error| BadReply::Unreadable(error.to_string()))?;
    if predictions.is_empty() {
        return Err(BadReply::Empty);
    }
    Ok(predictions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(label: &str, probability: f32) -> Named {
        Named {
            label: label.to_owned(),
            probability,
        }
    }

    #[test]
    fn replies_come_back_as_they_were() {
        let reply = [named("beagle", 0.9), named("n\u{e9} \"quoted\"", 1e-9)];
        let text = encode_reply(&reply);
        assert!(
            text.starts_with(r#"[{"label":"beagle","probability":0.9},"#),
            "{text}"
        );
        assert_eq!(decode_reply(text.as_bytes()).as_deref(), Ok(&reply[..]));
    }

    #[test]
    fn what_python_writes_is_read() {
        let text = br#"[{"label": "beagle", "probability": 0.7287700772285461}, {"label": "\u00e9", "probability": 1}]"#;
        let expected = [named("beagle", 0.728_770_1), named("\u{e9}", 1.0)];
        assert_eq!(decode_reply(text).as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        assert_eq!(decode_reply(b"[]"), Err(BadReply::Empty));
        assert_eq!(encode_reply(&[]), "[]");
        let long = vec![b' '; MAX_REPLY_BYTES + 1];
        for text in [
            &b""[..],
            b"{}",
            b"null",
            b"[1]",
            br#"[{"label": "a"}]"#,
            br#"[{"label": "a", "probability": NaN}]"#,
            br#"[{"label": "a", "probability": null}]"#,
            br#"[{"label": 1, "probability": 1}]"#,
            &long,
        ] {
            assert!(
                matches!(decode_reply(text), Err(BadReply::Unreadable(_))),
                "{text:?}"
            );
        }
    }
}
