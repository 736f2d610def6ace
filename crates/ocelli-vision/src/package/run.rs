//! The `[run]` table of `model.toml`: how this model is run, where it differs from the process's options.

use serde::Deserialize;

/// The most of anything that `[run]` counts, far beyond what helps.
const MAX_COUNT: u32 = 1024;
const MAX_DELAY_MS: u32 = 60_000;
const MAX_QUEUE_JOBS: u32 = 1 << 20;

/// The `[run]` table. The process's options apply to absent keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Batches computed at once, 1 to 1024.
    pub instances: Option<u32>,
    /// Threads that compute one batch, 1 to 1024.
    pub threads_per_instance: Option<u32>,
    /// The most images in a batch, 1 to 1024.
    pub max_batch: Option<u32>,
    /// How long a batch that is not full waits for more while the engine is idle, in milliseconds, at most a minute.
    pub max_delay_ms: Option<u32>,
    /// Jobs that may wait, 1 to 1,048,576.
    pub queue_jobs: Option<u32>,
}

impl RunSpec {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        let rules = [
            ("instances", self.instances, 1, MAX_COUNT),
            ("threads_per_instance", self.threads_per_instance, 1, MAX_COUNT),
            ("max_batch", self.max_batch, 1, MAX_COUNT),
            ("max_delay_ms", self.max_delay_ms, 0, MAX_DELAY_MS),
            ("queue_jobs", self.queue_jobs, 1, MAX_QUEUE_JOBS),
        ];
        for (key, value, least, most) in rules {
            if let Some(value) = value
                && !(least..=most).contains(&value)
            {
                let hint = format!("is {value}: it must be a whole number from {least} to {most}");
                return Err((key, hint));
            }
        }
        Ok(())
    }
}
