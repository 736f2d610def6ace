//! The broker across machines: jobs in streams of Redis or Valkey, workers in consumer groups.
//!
//! A web process adds a job with a script that bounds the model's queue, and reads replies from one stream of its own. A worker
//! leases jobs, renews its leases while it computes, writes the reply and then deletes the job. Another worker takes over the
//! jobs of one that died. So a job is computed at least once, and its request is answered once.
//!
//! A process has one connection for all commands that do not block, and one heartbeat, whatever the number of its models.
//!
//! `docs/scale-out.md` explains the design, its guarantees and their limits.

pub(crate) mod ack;
pub(crate) mod address;
pub(crate) mod admin;
pub(crate) mod async_jobs;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod entries;
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

pub use admin::{DeadLetter, QueueAdmin, QueueStatus};
pub use async_jobs::records::{JobRecords, Record};
pub use async_jobs::webhook_schedule::{DueWebhook, WebhookSchedule};
pub use connection::{Link, LinkError, Outage};
pub use consumer::lease::Lease;
pub use consumer::{RedisWorker, RedisWorkers, WorkerSideConfig, WorkerTasks};
pub use needs::{Needs, Role};
pub use producer::{RedisBroker, WebConfig, WebTasks, web};
pub use registry::Announcement;
pub use server::{Limits, ServerError, check};
pub use url::RedisUrl;
