//! What a broker carries: jobs to workers and replies back.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::output::postprocess::{Outcome, Want};

/// Names what is served: the same name and version with another digest is another model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// The package's SHA-256, in hexadecimal.
    pub digest: String,
}

/// Names one job among all that are under way: 128 random bits, so that no two processes have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

impl JobId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    /// The id that [`fmt::Display`] wrote: 32 hexadecimal digits, small letters.
    #[must_use]
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

/// How soon a job is to be computed, compared with others that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Somebody waits who matters more.
    High,
    /// The usual.
    #[default]
    Normal,
    /// When there is time; yet it is never left for good.
    Low,
}

impl Priority {
    /// All of them, the first to go first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its name, as in `X-Priority` and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The priority of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }

    /// Its place in [`Priority::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One image to compute.
#[derive(Debug)]
pub struct Job {
    /// What everybody calls it.
    pub id: JobId,
    /// The model that the pixels were prepared for.
    pub model: Arc<ModelId>,
    /// How soon.
    pub priority: Priority,
    /// The trace that it belongs to (W3C Trace Context, the value of `traceparent`), for the worker's log.
    pub trace: Option<Arc<str>>,
    /// The outcomes that the request asks for, in the order of the reply.
    pub wants: Vec<Want>,
    /// 8-bit RGB, packed rows, of the height and width that the model takes.
    pub pixels: Vec<u8>,
    /// When nobody wants the answer any more.
    pub deadline: Instant,
}

/// What one job came to.
#[derive(Debug)]
pub struct Reply {
    /// One outcome for each [`Want`] of the job; or why there is none.
    pub result: Result<Vec<Outcome>, JobError>,
    /// What it took.
    pub cost: JobCost,
}

/// Why a job has no outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The engine failed on the job's batch.
    #[error("the engine failed")]
    EngineFault,
    /// The deadline passed before the job was computed.
    #[error("the deadline passed")]
    DeadlinePassed,
    /// Each worker that computed the job alone died of it.
    #[error("the job ends the processes that compute it")]
    Poisonous,
    /// The worker cannot use what it was sent: another release's form, or a tensor of another shape.
    #[error("the worker cannot use the job")]
    Incompatible,
}

/// What a worker spent on a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCost {
    /// Waiting, from submission until its batch was drawn.
    pub queue: Duration,
    /// Filling the batch.
    pub fill: Duration,
    /// Running the batch.
    pub infer: Duration,
    /// How many jobs the batch had.
    pub batch_size: usize,
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
