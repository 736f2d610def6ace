//! Jobs that this web process has pushed and whose replies it polls for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Error;
use crate::queue::ReplySender;

/// How long a reply is polled for after the job's deadline, to be deleted.
const KEEP_LOOKING: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct PendingReplies {
    jobs: Mutex<HashMap<String, PendingReply>>,
}

#[derive(Debug)]
struct PendingReply {
    /// `None` once it has failed.
    waiter: Option<ReplySender>,
    submitted: Instant,
    look_until: Instant,
}

#[derive(Debug)]
pub(super) struct Ended {
    pub(super) waiter: Option<ReplySender>,
    pub(super) submitted: Instant,
}

impl PendingReplies {
    pub(super) fn add(&self, id: String, waiter: ReplySender, deadline: Instant) {
        let job = PendingReply {
            waiter: Some(waiter),
            submitted: Instant::now(),
            look_until: deadline + KEEP_LOOKING,
        };
        self.jobs.lock().insert(id, job);
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.lock().len()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.jobs.lock().keys().cloned().collect()
    }

    pub(super) fn is_abandoned(&self, id: &str) -> bool {
        let jobs = self.jobs.lock();
        let waiter = jobs.get(id).and_then(|job| job.waiter.as_ref());
        waiter.is_none_or(ReplySender::is_gone)
    }

    /// Fails a job, and goes on polling for its reply, to delete it.
    pub(super) fn refuse(&self, id: &str, error: Error) {
        let waiter = self.jobs.lock().get_mut(id).and_then(|job| job.waiter.take());
        if let Some(waiter) = waiter {
            waiter.fail(error);
        }
    }

    pub(super) fn remove(&self, id: &str) -> Option<Ended> {
        let PendingReply {
            waiter, submitted, ..
        } = self.jobs.lock().remove(id)?;
        Some(Ended { waiter, submitted })
    }

    /// Jobs whose replies are no longer polled for.
    pub(super) fn expired(&self, now: Instant) -> Vec<String> {
        let jobs = self.jobs.lock();
        let expired = jobs.iter().filter(|(_, job)| job.look_until <= now);
        expired.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::waiter;

    #[tokio::test]
    async fn a_job_that_was_refused_is_still_looked_for_and_not_for_ever() {
        let asked = PendingReplies::default();
        let (waiter, pending) = waiter();
        let deadline = Instant::now() + Duration::from_secs(3600);
        asked.add("a".to_owned(), waiter, deadline);
        assert!(!asked.is_abandoned("a"));
        asked.refuse("a", Error::internal("a bug"));
        assert_eq!(pending.await.unwrap_err(), Error::internal("a bug"));
        assert!(asked.is_abandoned("a"));
        assert_eq!(asked.ids(), ["a"]);
        assert!(asked.expired(deadline).is_empty());
        assert_eq!(asked.expired(deadline + KEEP_LOOKING), ["a"]);
        assert!(asked.remove("a").expect("it was there").waiter.is_none());
        assert_eq!(asked.len(), 0);
    }

    #[test]
    fn a_job_whose_client_has_left_is_abandoned() {
        let asked = PendingReplies::default();
        let (waiter, pending) = waiter();
        asked.add("a".to_owned(), waiter, Instant::now());
        assert!(!asked.is_abandoned("a"));
        drop(pending);
        assert!(asked.is_abandoned("a"));
        assert!(asked.is_abandoned("unknown"));
    }
}
