//! The binary, versioned form of jobs and replies in Redis.
//!
//! A message is a frame of three bytes and a Protocol Buffers message. Fields that a reader does not know are skipped and
//! missing ones are zero, so a web process and a worker of neighbouring releases understand each other. Where they cannot,
//! the frame shows it, and the fields that a refusal needs (`id`, `reply_to`) never change. Pixels are stored beside the
//! job's message, so that they are not copied into it.
//!
//! The rest of the program uses the types of [`super::job`].

pub(crate) mod record;

use std::time::Duration;

use prost::Message;

pub use record::{BadImage, JobRecord, QueuedPart, QueuedParts, WantMessage};

use super::job::{JobCost, JobError, JobId, Reply};
use crate::error::Cause;
use crate::models::priority::Priority;
use crate::output::postprocess::{Class, Output, Prediction};

/// The form that this release writes.
const VERSION: u8 = 3;

/// The oldest form that a reader must know in order to understand what this release writes.
const NEEDS: u8 = 2;

const JOB: u8 = b'J';
const REPLY: u8 = b'R';

/// The most characters of a cause that travel.
const CAUSE_LENGTH: usize = 250;

/// The job's message, without its pixels.
#[derive(Clone, PartialEq, Message)]
pub struct JobHeader {
    /// 16 bytes, big endian.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// The key where the reply goes.
    #[prost(string, tag = "2")]
    pub reply_to: String,
    /// Microseconds from submission, by Redis' clock, to the deadline. Of fixed length, so that a job that is submitted again
    /// is as long as before.
    #[prost(fixed64, tag = "3")]
    pub timeout_us: u64,
    /// 0 high, 1 normal, 2 low.
    #[prost(uint32, tag = "4")]
    pub priority: u32,
    // Tag 5 was the `traceparent` of form 2, which no reader used.
    /// The tensors of the payload, one after the other.
    #[prost(message, repeated, tag = "6")]
    pub inputs: Vec<TensorHeader>,
    /// Where the reply goes: see [`ReplyKind`].
    #[prost(enumeration = "ReplyKind", tag = "8")]
    pub reply_kind: i32,
    /// Which part of an asynchronous job this is.
    #[prost(uint32, tag = "9")]
    pub part: u32,
    /// The outputs that the job asks for, at least one, in the order of the reply.
    #[prost(message, repeated, tag = "10")]
    pub wants: Vec<WantMessage>,
    /// `X-Request-Id` of the request, for log lines.
    #[prost(string, tag = "11")]
    pub request_id: String,
}

/// What kind of place a reply goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ReplyKind {
    /// The stream of a web process that waits.
    Stream = 0,
    /// The record of an asynchronous job.
    Record = 1,
}

/// Type and shape of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorHeader {
    /// Its name in the model; nothing for the only one.
    #[prost(string, tag = "1")]
    pub name: String,
    /// See [`ElementKind`].
    #[prost(enumeration = "ElementKind", tag = "2")]
    pub kind: i32,
    /// The length of each axis; for pixels height, width, channels.
    #[prost(uint32, repeated, tag = "3")]
    pub shape: Vec<u32>,
}

/// The element types on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ElementKind {
    /// Unsigned 8-bit integers.
    U8 = 0,
    /// IEEE 754 single precision, little endian.
    F32 = 1,
}

#[derive(Clone, PartialEq, Message)]
struct ReplyMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    /// 0 for outputs.
    #[prost(enumeration = "ErrorKind", tag = "2")]
    error: i32,
    #[prost(uint64, tag = "4")]
    queue_ns: u64,
    #[prost(uint64, tag = "5")]
    fill_ns: u64,
    #[prost(uint64, tag = "6")]
    infer_ns: u64,
    #[prost(uint32, tag = "7")]
    batch_size: u32,
    #[prost(string, tag = "8")]
    worker: String,
    #[prost(message, repeated, tag = "9")]
    outputs: Vec<OutputMessage>,
    /// Why the engine failed, for the log of the web process.
    #[prost(string, tag = "10")]
    cause: String,
}

/// Classes, best first, or a feature vector.
#[derive(Clone, PartialEq, Message)]
struct OutputMessage {
    #[prost(enumeration = "OutputForm", tag = "1")]
    kind: i32,
    /// Indices of the classes among the output's labels.
    #[prost(uint32, repeated, tag = "2")]
    classes: Vec<u32>,
    /// The probability of each class, or the vector.
    #[prost(float, repeated, tag = "3")]
    numbers: Vec<f32>,
}

/// 0 is that of a message without a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum OutputForm {
    Unknown = 0,
    Classes = 1,
    Vector = 2,
}

/// An unknown number counts as a fault of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ErrorKind {
    None = 0,
    EngineFault = 1,
    DeadlinePassed = 2,
    Poisonous = 3,
    Incompatible = 4,
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("it is not a message of Ocelli: {0}")]
    Garbage(String),
    #[error(
        "it has form {version}, and this release knows forms up to {VERSION}; run the same release everywhere"
    )]
    Newer { version: u8 },
}

#[derive(Debug)]
pub struct Received {
    pub id: JobId,
    pub reply: Reply,
    pub worker: String,
}

impl JobHeader {
    pub fn encode_frame(&self) -> Vec<u8> {
        frame(JOB, self)
    }

    /// # Errors
    /// [`WireError`]; with [`WireError::Newer`] the fields that a refusal needs, where they can be read.
    pub fn decode_frame(bytes: &[u8]) -> Result<Self, (WireError, Option<Box<Self>>)> {
        let (body, newer) = unframe(JOB, bytes).map_err(|error| (error, None))?;
        let decoded = Self::decode(body).map_err(|error| WireError::Garbage(error.to_string()));
        match (decoded, newer) {
            (decoded, Some(error)) => Err((error, decoded.ok().map(Box::new))),
            (Ok(header), None) if header.id.len() == 16 => Ok(header),
            (Ok(_), None) => Err((
                WireError::Garbage("its id does not have 16 bytes".to_owned()),
                None,
            )),
            (Err(error), None) => Err((error, None)),
        }
    }

    /// 0 where the bytes are not an id.
    pub fn job_id(&self) -> JobId {
        JobId(<[u8; 16]>::try_from(self.id.as_slice()).map_or(0, u128::from_be_bytes))
    }

    /// An unknown priority counts as normal.
    pub fn job_priority(&self) -> Priority {
        Priority::ALL
            .get(self.priority as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// `worker` is the name of the worker that computed the reply.
pub fn encode_reply(id: JobId, reply: &Reply, worker: &str) -> Vec<u8> {
    let mut cause = String::new();
    let error = match &reply.result {
        Ok(_) => ErrorKind::None,
        Err(JobError::EngineFault(why)) => {
            cause = why.to_string().chars().take(CAUSE_LENGTH).collect();
            ErrorKind::EngineFault
        }
        Err(JobError::DeadlinePassed) => ErrorKind::DeadlinePassed,
        Err(JobError::Poisonous) => ErrorKind::Poisonous,
        Err(JobError::Incompatible) => ErrorKind::Incompatible,
    };
    let outputs = reply.result.iter().flatten().map(OutputMessage::from);
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let message = ReplyMessage {
        id: id.0.to_be_bytes().to_vec(),
        error: error as i32,
        queue_ns: nanoseconds(reply.cost.queue),
        fill_ns: nanoseconds(reply.cost.fill),
        infer_ns: nanoseconds(reply.cost.infer),
        batch_size: u32::try_from(reply.cost.batch_size).unwrap_or(u32::MAX),
        worker: worker.to_owned(),
        outputs: outputs.collect(),
        cause,
    };
    frame(REPLY, &message)
}

/// Reads a reply.
///
/// # Errors
/// [`WireError`], and the job that the reply is for, where that can be read, so that it can be failed.
pub fn decode_reply(bytes: &[u8]) -> Result<Received, (WireError, Option<JobId>)> {
    let garbage = |what: &str| (WireError::Garbage(what.to_owned()), None);
    let (body, newer) = unframe(REPLY, bytes).map_err(|error| (error, None))?;
    let message = ReplyMessage::decode(body);
    let id = message
        .as_ref()
        .ok()
        .and_then(|message| <[u8; 16]>::try_from(message.id.as_slice()).ok())
        .map(|id| JobId(u128::from_be_bytes(id)));
    if let Some(error) = newer {
        return Err((error, id));
    }
    let message = message.map_err(|error| garbage(&error.to_string()))?;
    let id = id.ok_or_else(|| garbage("the reply's id does not have 16 bytes"))?;
    let error = ErrorKind::try_from(message.error).unwrap_or(ErrorKind::EngineFault);
    let result = match error {
        ErrorKind::None => {
            let outputs = message.outputs.into_iter().map(Output::try_from);
            let outputs: Result<Vec<Output>, WireError> = outputs.collect();
            Ok(outputs.map_err(|error| (error, Some(id)))?)
        }
        ErrorKind::EngineFault => {
            let (worker, cause) = (&message.worker, &message.cause);
            Err(JobError::EngineFault(Cause::new(format!(
                "on worker {worker}: {cause}"
            ))))
        }
        ErrorKind::DeadlinePassed => Err(JobError::DeadlinePassed),
        ErrorKind::Poisonous => Err(JobError::Poisonous),
        ErrorKind::Incompatible => Err(JobError::Incompatible),
    };
    let cost = JobCost {
        queue: Duration::from_nanos(message.queue_ns),
        fill: Duration::from_nanos(message.fill_ns),
        infer: Duration::from_nanos(message.infer_ns),
        batch_size: message.batch_size as usize,
    };
    Ok(Received {
        id,
        reply: Reply { result, cost },
        worker: message.worker,
    })
}

impl From<&Output> for OutputMessage {
    fn from(output: &Output) -> Self {
        // No reader takes this number for a class. Only the tutorial's workers name classes, and they send JSON.
        let number = |class: &Class| class.index().map_or(u32::MAX, |index| index as u32);
        match output {
            Output::Classes(predictions) => Self {
                kind: OutputForm::Classes as i32,
                classes: predictions
                    .iter()
                    .map(|prediction| number(&prediction.class))
                    .collect(),
                numbers: predictions
                    .iter()
                    .map(|prediction| prediction.probability)
                    .collect(),
            },
            Output::Vector(vector) => Self {
                kind: OutputForm::Vector as i32,
                classes: Vec::new(),
                numbers: vector.clone(),
            },
        }
    }
}

impl TryFrom<OutputMessage> for Output {
    type Error = WireError;

    fn try_from(message: OutputMessage) -> Result<Self, WireError> {
        let OutputMessage {
            kind,
            classes,
            numbers,
        } = message;
        match OutputForm::try_from(kind) {
            Ok(OutputForm::Classes) if classes.len() == numbers.len() => {
                let predictions = classes.into_iter().zip(numbers);
                let predictions = predictions.map(|(class, probability)| Prediction {
                    class: Class::Index(class as usize),
                    probability,
                });
                Ok(Self::Classes(predictions.collect()))
            }
            Ok(OutputForm::Classes) => Err(WireError::Garbage(format!(
                "it has {} classes and {} probabilities",
                classes.len(),
                numbers.len()
            ))),
            Ok(OutputForm::Vector) => Ok(Self::Vector(numbers)),
            Ok(OutputForm::Unknown) | Err(_) => {
                Err(WireError::Garbage(format!("an output of kind {kind} is unknown")))
            }
        }
    }
}

fn frame(kind: u8, message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 + message.encoded_len());
    bytes.extend([kind, VERSION, NEEDS]);
    bytes.extend(message.encode_to_vec());
    bytes
}

/// The message in a frame, and why this release must not use it, if so.
fn unframe(kind: u8, bytes: &[u8]) -> Result<(&[u8], Option<WireError>), WireError> {
    match bytes {
        [first, version, needs, body @ ..] if *first == kind => {
            let newer = (*needs > VERSION).then_some(WireError::Newer { version: *version });
            Ok((body, newer))
        }
        _ => Err(WireError::Garbage("it has no frame".to_owned())),
    }
}

#[cfg(test)]
mod tests;
