//! The broker across machines: jobs in streams of Redis or Valkey, workers in consumer groups.
//!
//! A web process admits a job with a script that bounds the model's queue, and hears replies on one stream of its own.
//! A worker leases jobs, renews its leases while it computes, writes the reply, and only then takes the job away; a job
//! whose worker died is leased by another one. So a job is computed at least once, and answered once, because the web
//! process answers a request once and forgets it.
//!
//! `docs/scale-out.md` explains the design, its guarantees and their limits.

pub(crate) mod admin;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod entries;
pub(crate) mod job_records;
pub mod keys;
pub(crate) mod needs;
pub(crate) mod notices;
pub(crate) mod producer;
pub(crate) mod queue_stats;
pub(crate) mod refusal;
pub(crate) mod registry;
pub(crate) mod scripts;
pub(crate) mod server;
mod socket;
pub(crate) mod startup;
pub(crate) mod url;
pub(crate) mod webhook_schedule;

pub use admin::{DeadLetter, QueueAdmin, QueueStatus};
pub use connection::{Link, LinkError, Outage};
pub use consumer::lease::{EntryAddress, Lease, ReplyTo};
pub use consumer::{RedisWorker, WorkerSideConfig, WorkerTasks, worker};
pub use job_records::{JobRecords, Record};
pub use needs::{Needs, Role};
pub use producer::{RedisBroker, WebConfig, WebTasks, web};
pub use registry::{Announcement, watch};
pub use server::{Limits, ServerError, check};
pub use url::{RedisUrl, TargetError};
pub use webhook_schedule::{DueWebhook, WebhookSchedule};
