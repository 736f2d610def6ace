//! Jobs, their replies, and what these mean for a request.

use std::fmt;
use std::time::Duration;

use super::envelope::Envelope;
use crate::error::{Cause, Error};
use crate::models::admission::AdmissionLimits;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::{Output, OutputRequest};
use crate::output::timing::Phases;

/// 128 random bits, so that processes need not agree on ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

impl JobId {
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    /// The id that [`fmt::Display`] wrote: 32 hexadecimal digits, small letters.
    pub fn parse(text: &str) -> Option<Self> {
        let written = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        written.then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub envelope: Envelope,
    /// The outputs that the request asks for, in the order of the reply.
    pub wants: Vec<OutputRequest>,
    /// 8-bit RGB, packed rows, of the height and width that the model takes.
    pub pixels: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    /// One output for each [`OutputRequest`] of the job, or why there is none.
    pub result: Result<Vec<Output>, JobError>,
    pub cost: JobCost,
}

/// Why a job has no outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    #[error("the engine failed: {0}")]
    EngineFault(#[source] Cause),
    #[error("the deadline passed")]
    DeadlinePassed,
    /// Each worker that computed the job alone died.
    #[error("the job ends the processes that compute it")]
    Poisonous,
    /// The job has the form of another release, or a tensor of another shape.
    #[error("the worker cannot use the job")]
    Incompatible,
}

/// What a worker spent on a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCost {
    /// From submission until its batch was drawn.
    pub queue: Duration,
    pub fill: Duration,
    pub infer: Duration,
    /// How many jobs the batch had.
    pub batch_size: usize,
}

/// What an asynchronous job takes of the storage, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSize {
    pub images: usize,
    /// Bytes that their results may come to.
    pub bytes: u64,
}

impl StoredSize {
    /// How much of this limit a priority may use while `images` are stored: the same share as of a queue.
    pub fn open_to(self, priority: Priority, images: usize) -> Self {
        let limits = AdmissionLimits {
            jobs: self.images,
            bytes: self.bytes,
        };
        let open = limits.open_to(priority, images);
        Self {
            images: open.jobs,
            bytes: open.bytes,
        }
    }

    pub fn plus(self, more: Self) -> Self {
        Self {
            images: self.images.saturating_add(more.images),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    pub fn fits(self, limit: Self) -> bool {
        self.images <= limit.images && self.bytes <= limit.bytes
    }

    /// Refuses a job that would not fit even if it were the only one.
    pub fn check(self, job: Self) -> Result<(), Error> {
        if job.images > self.images {
            return Err(Error::TooLarge(format!(
                "the job has {} images, and all jobs of its priority together may have {}; send less at once, or raise \
                 --max-job-images",
                job.images, self.images
            )));
        }
        if job.bytes > self.bytes {
            return Err(Error::TooLarge(format!(
                "the results of the job may have {} bytes, and those of all jobs together {}; send less at once, ask for \
                 fewer classes, or raise --max-job-bytes",
                job.bytes, self.bytes
            )));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub outcome: Output,
    pub phases: Phases,
}

/// The result of an image that `want` was asked of. The phases are those of the worker.
///
/// # Errors
/// What the reply says went wrong, and [`Error::Internal`] for an outcome that is not what was wanted.
pub fn scored(
    model: &ServedModel,
    reply: Reply,
    want: &OutputRequest,
    timeout: Duration,
) -> Result<Scored, Error> {
    let outcomes = reply.result.map_err(|error| match error {
        JobError::DeadlinePassed => Error::DeadlineExceeded(timeout),
        JobError::EngineFault(cause) => Error::Internal(cause),
        JobError::Incompatible => Error::internal(error),
        JobError::Poisonous => Error::Poisonous,
    })?;
    let Ok([outcome]) = <[Output; 1]>::try_from(outcomes) else {
        return Err(Error::internal(
            "a worker's reply does not have exactly one output",
        ));
    };
    Ok(Scored::new(want.check(model, outcome)?, reply.cost))
}

impl Scored {
    fn new(outcome: Output, cost: JobCost) -> Self {
        let phases = Phases {
            queue: cost.queue,
            fill: cost.fill,
            infer: cost.infer,
            ..Phases::default()
        };
        Self { outcome, phases }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_not_otherwise() {
        for id in [JobId(0), JobId(u128::MAX), JobId::random()] {
            assert_eq!(JobId::parse(&id.to_string()), Some(id));
        }
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(JobId::parse(digits).is_some());
        let bad = [
            String::new(),
            digits[1..].to_owned(),
            format!("{digits}0"),
            digits.to_uppercase(),
            format!("+{}", &digits[1..]),
            format!("{}\u{e9}", &digits[2..]),
        ];
        for text in bad {
            assert_eq!(JobId::parse(&text), None, "{text}");
        }
    }
}
