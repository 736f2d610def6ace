//! The broker across machines: jobs in streams of Redis or Valkey, workers in consumer groups.
//!
//! A web process admits a job with a script that bounds the model's queue, and hears replies on one stream of its own.
//! A worker leases jobs, renews its leases while it computes, writes the reply, and only then takes the job away; a job
//! whose worker died is leased by another one. So a job is computed at least once, and answered once, because the web
//! process answers a request once and forgets it.
//!
//! `docs/scale-out.md` explains the design, its guarantees and their limits.

mod clock;
mod due;
mod entries;
mod feeder;
mod finish;
mod inspect;
pub mod keys;
mod later;
mod lease;
mod link;
mod needs;
mod notices;
mod records;
mod refusal;
mod registry;
mod replier;
mod scripts;
mod server;
mod standing;
mod target;
mod waiting;
mod watcher;
mod web;
mod worker;

pub use due::{Due, DueCall};
pub use inspect::{DeadLetter, Inspector, QueueStatus};
pub use lease::{Lease, Place, ReplyTo};
pub use link::{Link, LinkError, Outage};
pub use needs::{Needs, Role};
pub use records::{Record, Records};
pub use registry::{Announcement, watch};
pub use server::{Limits, ServerError, check};
pub use standing::Standing;
pub use target::{Target, TargetError};
pub use web::{RedisBroker, WebConfig, WebTasks, web};
pub use worker::{RedisWorker, WorkerSideConfig, WorkerTasks, worker};
