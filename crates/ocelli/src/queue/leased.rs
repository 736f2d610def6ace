//! A job that a worker has taken, and where its reply goes.

use std::time::Instant;

use super::job::{Job, JobCost, JobError, Reply};
use super::redis::Lease;
use super::reply::ReplySender;
use super::tutorial::Ticket;
use crate::error::Error;
use crate::metrics::{DropReason, Metrics};

/// Dropping it without completing it gives the job up: a request of this process gets an error, and a lease of Redis runs out,
/// so that another worker takes the job.
#[derive(Debug)]
pub struct Leased {
    pub job: Job,
    pub submitted: Instant,
    receipt: Receipt,
}

/// Where the reply of a job goes.
#[derive(Debug)]
pub enum Receipt {
    /// To a request of this process.
    ReplySender(ReplySender),
    Lease(Lease),
    /// To the tutorial's web process.
    Ticket(Ticket),
}

impl Leased {
    pub fn new(job: Job, receipt: Receipt) -> Self {
        Self::submitted_at(Instant::now(), job, receipt)
    }

    /// `submitted` is by the clock of this process.
    pub fn submitted_at(submitted: Instant, job: Job, receipt: Receipt) -> Self {
        Self {
            job,
            submitted,
            receipt,
        }
    }

    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Why this job should not be computed, if so.
    pub fn dead(&self, now: Instant) -> Option<DropReason> {
        let gone = match &self.receipt {
            Receipt::ReplySender(waiter) => waiter.is_gone(),
            // The worker that has it now answers it, also after its deadline.
            Receipt::Lease(lease) if lease.is_lost() => return Some(DropReason::LeaseLost),
            // Neither reports clients that have left.
            Receipt::Lease(_) | Receipt::Ticket(_) => false,
        };
        DropReason::of(self.job.envelope.deadline.is_over(now), gone)
    }

    /// Returns the job if it should be computed; otherwise completes and counts it.
    #[must_use]
    pub fn unless_dead(self, now: Instant, metrics: &Metrics) -> Option<Self> {
        if self.dead(now).is_none() {
            return Some(self);
        }
        self.drop_undone(now, metrics);
        None
    }

    /// Drops a job that is dead, or that could not be answered before its deadline any more: counts it, and tells its waiter, if
    /// any.
    pub fn drop_undone(self, now: Instant, metrics: &Metrics) {
        let reason = self.dead(now).unwrap_or(DropReason::DeadlineUnreachable);
        metrics.count_dropped(reason);
        if reason == DropReason::LeaseLost {
            return;
        }
        let queue = now.saturating_duration_since(self.submitted);
        let cost = JobCost {
            queue,
            ..JobCost::default()
        };
        self.complete(Reply {
            result: Err(JobError::DeadlinePassed),
            cost,
        });
    }

    pub fn complete(self, reply: Reply) {
        match self.receipt {
            Receipt::ReplySender(waiter) => waiter.complete(reply),
            Receipt::Lease(lease) => lease.complete(reply),
            Receipt::Ticket(ticket) => ticket.complete(reply),
        }
    }

    /// Fails a job of this process. A lease is given up.
    pub fn refuse(self, error: Error) {
        match self.receipt {
            Receipt::ReplySender(waiter) => waiter.fail(error),
            Receipt::Lease(lease) => drop(lease),
            Receipt::Ticket(ticket) => drop(ticket),
        }
    }
}
