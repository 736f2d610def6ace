//! The record of an asynchronous job in Redis, beside the replies of its parts.

use prost::Message;

use super::{WireError, frame, unframe};
use crate::models::model_id::ModelId;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::{OutputKind, OutputRequest};

const RECORD: u8 = b'A';

/// The request, and what labelling its replies takes.
#[derive(Clone, PartialEq, Message)]
pub struct JobRecord {
    #[prost(string, tag = "1")]
    pub model: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Predictions wanted for each image.
    #[prost(uint32, tag = "4")]
    pub top_k: u32,
    #[prost(uint32, tag = "5")]
    pub parts: u32,
    /// Milliseconds that the client allowed, for error messages.
    #[prost(uint64, tag = "6")]
    pub timeout_ms: u64,
    /// Milliseconds from its creation to its expiry.
    #[prost(uint64, tag = "7")]
    pub keep_ms: u64,
    /// Images that could not be decoded.
    #[prost(message, repeated, tag = "8")]
    pub bad: Vec<BadImage>,
    /// The idempotency key of this job, or nothing.
    #[prost(string, tag = "9")]
    pub once_key: String,
    /// The claim on that key.
    #[prost(string, tag = "10")]
    pub once_claim: String,
    /// The output asked of each image; classes of the first output where it is missing.
    #[prost(message, optional, tag = "11")]
    pub want: Option<WantMessage>,
    /// The most bytes that the replies of all images have.
    #[prost(uint64, tag = "12")]
    pub most_bytes: u64,
}

/// The output that a request asks for. Workers compute it, and web processes check replies against it.
#[derive(Clone, PartialEq, Message)]
pub struct WantMessage {
    #[prost(string, tag = "1")]
    pub output: String,
    /// The most classes; 0 for a feature vector.
    #[prost(uint32, tag = "2")]
    pub top_k: u32,
    /// Classes below this probability are left out.
    #[prost(float, optional, tag = "3")]
    pub threshold: Option<f32>,
    #[prost(bool, tag = "4")]
    pub normalize: bool,
}

/// An image that could not be decoded.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BadImage {
    #[prost(uint32, tag = "1")]
    pub part: u32,
    #[prost(string, tag = "2")]
    pub error: String,
}

/// Where the parts of a job are queued.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct QueuedParts {
    /// Their priority: 0 high, 1 normal, 2 low.
    #[prost(uint32, tag = "1")]
    pub priority: u32,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<QueuedPart>,
}

/// An entry of a stream.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct QueuedPart {
    #[prost(string, tag = "1")]
    pub entry: String,
}

impl WantMessage {
    pub fn new(model: &ServedModel, want: &OutputRequest) -> Self {
        let output = model.card.manifest.outputs.get(want.output);
        let output = output.map(|output| output.name.clone()).unwrap_or_default();
        match want.form {
            OutputKind::Classes { top_k, threshold } => Self {
                output,
                top_k: top_k as u32,
                threshold,
                normalize: false,
            },
            OutputKind::Vector { normalize } => Self {
                output,
                normalize,
                ..Self::default()
            },
        }
    }

    /// `None` where `model` has no such output: it may be another package than that of the request.
    pub fn want(&self, model: &ServedModel) -> Option<OutputRequest> {
        let outputs = &model.card.manifest.outputs;
        let output = outputs.iter().position(|output| output.name == self.output)?;
        let form = match self.top_k {
            0 => OutputKind::Vector {
                normalize: self.normalize,
            },
            top_k => OutputKind::Classes {
                top_k: top_k as usize,
                threshold: self.threshold,
            },
        };
        Some(OutputRequest { output, form })
    }
}

impl JobRecord {
    /// The output asked of each image. A record of a release that knew only classes has only their number.
    pub fn want(&self, model: &ServedModel) -> OutputRequest {
        let said = self.want.as_ref().and_then(|want| want.want(model));
        said.unwrap_or(OutputRequest {
            output: 0,
            form: OutputKind::Classes {
                top_k: self.top_k as usize,
                threshold: None,
            },
        })
    }

    pub fn model_id(&self) -> ModelId {
        ModelId {
            name: self.model.clone(),
            version: self.version.clone(),
            digest: self.digest.clone(),
        }
    }

    pub fn encode_frame(&self) -> Vec<u8> {
        frame(RECORD, self)
    }

    pub fn decode_frame(bytes: &[u8]) -> Result<Self, WireError> {
        let (body, newer) = unframe(RECORD, bytes)?;
        if let Some(error) = newer {
            return Err(error);
        }
        Self::decode(body).map_err(|error| WireError::Garbage(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this release wrote stays readable, so no byte of it may change unnoticed.
    #[test]
    fn a_record_has_the_bytes_that_it_always_had() {
        let record = JobRecord {
            model: "m".to_owned(),
            version: "1".to_owned(),
            digest: "ab".to_owned(),
            top_k: 5,
            parts: 2,
            timeout_ms: 1000,
            keep_ms: 2000,
            bad: vec![BadImage {
                part: 1,
                error: "it is empty".to_owned(),
            }],
            once_key: "k".to_owned(),
            once_claim: "c".to_owned(),
            want: None,
            most_bytes: 0,
        };
        let bytes = record.encode_frame();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        insta::assert_snapshot!(hex, @"4103020a016d1201311a0261622005280230e80738d00f420f0801120b697420697320656d7074794a016b520163");
        assert_eq!(JobRecord::decode_frame(&bytes), Ok(record));
        assert!(JobRecord::decode_frame(b"").is_err());
        assert!(
            JobRecord::decode_frame(b"R\x02\x02").is_err(),
            "a reply is no record"
        );
        let newer = JobRecord::decode_frame(b"A\x04\x04");
        assert_eq!(newer, Err(WireError::Newer { version: 4 }));
    }
}
