//! The options of asynchronous jobs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::{duration, positive_duration};
use crate::async_jobs::WebhookHost;

#[derive(Debug, Args)]
#[command(next_help_heading = "Asynchronous jobs")]
pub struct JobArgs {
    /// Time to finish a job; X-Timeout-Ms can shorten it
    #[arg(long, env = "OCELLI_JOB_DEADLINE", default_value = "10m", value_parser = positive_duration)]
    pub job_deadline: Duration,
    /// Time to keep a job and its results after its deadline
    #[arg(long, env = "OCELLI_JOB_TTL", default_value = "1h", value_parser = duration)]
    pub job_ttl: Duration,
    /// Maximum number of images in stored jobs, queued or finished
    ///
    /// Further jobs are refused with 429. Low-priority jobs may fill 80 % of this and of --max-job-bytes, normal ones
    /// 90 %.
    #[arg(long, env = "OCELLI_MAX_JOB_IMAGES", default_value_t = NonZeroUsize::new(10_000).expect("not zero"))]
    pub max_job_images: NonZeroUsize,
    /// Maximum memory for the results of stored jobs
    ///
    /// Further jobs are refused with 429.
    #[arg(long, env = "OCELLI_MAX_JOB_BYTES", default_value = "128MiB")]
    pub max_job_bytes: ByteSize,
    /// Hosts that X-Webhook-Url may name, separated by commas [default: none; webhooks are off]
    ///
    /// example.com allows that host, *.example.com its subdomains; a port (example.com:8443) allows only that port.
    #[arg(
        long,
        env = "OCELLI_WEBHOOK_HOSTS",
        value_name = "HOST",
        value_delimiter = ',',
        requires = "webhook_secret_file"
    )]
    pub webhook_hosts: Vec<WebhookHost>,
    /// File with the key that signs webhooks, at least 16 bytes
    #[arg(long, env = "OCELLI_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Maximum number of concurrent webhook calls; further ones wait
    #[arg(long, env = "OCELLI_MAX_WEBHOOK_CALLS", default_value_t = NonZeroUsize::new(64).expect("not zero"))]
    pub max_webhook_calls: NonZeroUsize,
    /// Maximum number of concurrent webhook calls to one host and port
    #[arg(long, env = "OCELLI_MAX_WEBHOOK_CALLS_PER_HOST", default_value_t = NonZeroUsize::new(4).expect("not zero"))]
    pub max_webhook_calls_per_host: NonZeroUsize,
    /// Allow webhooks to private addresses
    #[arg(long, env = "OCELLI_WEBHOOK_ALLOW_PRIVATE")]
    pub webhook_allow_private: bool,
}
