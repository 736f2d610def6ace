//! Jobs that this web process has submitted and that are not answered, with all that submitting them again takes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::Error;
use crate::models::model_id::ModelId;
use crate::queue::job::{JobId, Reply};
use crate::queue::redis::address::EntryAddress;
use crate::queue::wire::JobHeader;
use crate::queue::{Envelope, ReplySender};

/// How often in a row a job must be missing from its stream before it is submitted again. Once may mean that its reply is
/// on its way.
const MISSES: u32 = 2;

#[derive(Debug)]
struct Job {
    waiter: ReplySender,
    form: Arc<PreparedForm>,
    state: SubmissionState,
}

/// A job is submitted only while it is `Submitting`, and refused only if it has never been accepted.
#[derive(Debug)]
enum SubmissionState {
    /// Not accepted yet, or, with `again`, lost after it was accepted.
    Submitting { again: bool },
    /// In its stream, since then.
    Queued {
        entry: String,
        since: Instant,
        misses: u32,
    },
    /// Accepted once and no longer in its stream, to be submitted again.
    Lost,
}

#[derive(Debug)]
pub(crate) struct PreparedForm {
    pub(crate) id: JobId,
    pub(crate) envelope: Envelope,
    pub(crate) header: JobHeader,
    pub(crate) payload: Bytes,
    /// The most bytes of the reply, which the limits count.
    pub(crate) most_reply: u64,
}

#[derive(Debug, Default)]
pub(crate) struct PendingJobs {
    jobs: Mutex<HashMap<JobId, Job>>,
}

/// A queued job whose client has left.
#[derive(Debug)]
pub(crate) struct Abandoned {
    pub(crate) form: Arc<PreparedForm>,
    pub(crate) place: EntryAddress,
}

impl PendingJobs {
    pub(crate) fn add(&self, form: PreparedForm, waiter: ReplySender) {
        let id = form.id;
        let job = Job {
            waiter,
            form: Arc::new(form),
            state: SubmissionState::Submitting { again: false },
        };
        self.jobs.lock().insert(id, job);
    }

    /// A job to submit; `None` if its client has left or it is in its stream.
    pub(crate) fn form(&self, id: JobId) -> Option<Arc<PreparedForm>> {
        let jobs = self.jobs.lock();
        let job = jobs.get(&id)?;
        matches!(job.state, SubmissionState::Submitting { .. }).then(|| Arc::clone(&job.form))
    }

    /// Notes that a job is in its stream. `None` if its client has left, so that it should be deleted.
    pub(crate) fn queued(&self, id: JobId, entry: &str, now: Instant) -> Option<()> {
        let mut jobs = self.jobs.lock();
        let job = jobs.get_mut(&id)?;
        job.state = SubmissionState::Queued {
            entry: entry.to_owned(),
            since: now,
            misses: 0,
        };
        Some(())
    }

    /// Ends a job that could not be submitted. One that was accepted before is kept, to be submitted again.
    pub(crate) fn failed(&self, id: JobId, error: Error) {
        let mut jobs = self.jobs.lock();
        match jobs.get_mut(&id).map(|job| &mut job.state) {
            Some(SubmissionState::Submitting { again: false }) => {}
            Some(state @ SubmissionState::Submitting { again: true }) => {
                *state = SubmissionState::Lost;
                return;
            }
            Some(SubmissionState::Queued { .. } | SubmissionState::Lost) | None => return,
        }
        let job = jobs.remove(&id);
        drop(jobs);
        if let Some(job) = job {
            job.waiter.fail(error);
        }
    }

    /// Answers the request of a job. False if it has left.
    pub(crate) fn answer(&self, id: JobId, reply: Reply) -> bool {
        let job = self.jobs.lock().remove(&id);
        let Some(job) = job else { return false };
        let waited_for = !job.waiter.is_gone();
        job.waiter.complete(reply);
        waited_for
    }

    /// Removes jobs whose clients have left, and returns those that are in their streams.
    pub(crate) fn take_abandoned(&self) -> Vec<Abandoned> {
        let mut jobs = self.jobs.lock();
        let gone: Vec<JobId> = jobs
            .iter()
            .filter(|(_, job)| job.waiter.is_gone())
            .map(|(&id, _)| id)
            .collect();
        let taken = gone.into_iter().filter_map(|id| jobs.remove(&id));
        taken
            .filter_map(|job| match job.state {
                SubmissionState::Submitting { .. } | SubmissionState::Lost => None,
                SubmissionState::Queued { entry, .. } => Some(Abandoned {
                    place: EntryAddress {
                        priority: job.form.envelope.priority,
                        entry,
                    },
                    form: job.form,
                }),
            })
            .collect()
    }

    /// Jobs that have been in their streams for `age`, by model, at most `most` of each.
    pub(crate) fn queued_for(
        &self,
        age: Duration,
        now: Instant,
        most: usize,
    ) -> HashMap<Arc<ModelId>, Vec<(JobId, EntryAddress)>> {
        let mut by_model: HashMap<Arc<ModelId>, Vec<(JobId, EntryAddress)>> = HashMap::new();
        for (&id, job) in self.jobs.lock().iter() {
            if let SubmissionState::Queued { entry, since, .. } = &job.state
                && now.saturating_duration_since(*since) >= age
            {
                let list = by_model
                    .entry(Arc::clone(&job.form.envelope.model.id))
                    .or_default();
                if list.len() < most {
                    let place = EntryAddress {
                        priority: job.form.envelope.priority,
                        entry: entry.clone(),
                    };
                    list.push((id, place));
                }
            }
        }
        by_model
    }

    /// Notes which of the jobs `asked` about are missing. A job that is missing twice in a row is lost.
    pub(crate) fn note_missing(&self, asked: &[(JobId, EntryAddress)], missing: &[usize]) {
        let mut jobs = self.jobs.lock();
        for (index, (id, place)) in asked.iter().enumerate() {
            let Some(job) = jobs.get_mut(id) else { continue };
            let SubmissionState::Queued { entry, misses, .. } = &mut job.state else {
                continue;
            };
            if *entry != place.entry {
                continue;
            }
            // `missing` is sorted.
            *misses = if missing.binary_search(&index).is_ok() {
                *misses + 1
            } else {
                0
            };
            if *misses >= MISSES {
                job.state = SubmissionState::Lost;
            }
        }
    }

    /// Takes up to `most` lost jobs to be submitted again.
    pub(crate) fn take_lost(&self, most: usize) -> Vec<JobId> {
        let mut jobs = self.jobs.lock();
        let lost = jobs
            .iter_mut()
            .filter(|(_, job)| matches!(job.state, SubmissionState::Lost));
        lost.take(most)
            .map(|(&id, job)| {
                job.state = SubmissionState::Submitting { again: true };
                id
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::priority::Priority;
    use crate::queue::job::JobCost;
    use crate::queue::{Deadline, ReplyReceiver, tutorial, waiter};

    fn added(waiting: &PendingJobs, id: u128) -> ReplyReceiver {
        let (waiter, pending) = waiter();
        let form = PreparedForm {
            id: JobId(id),
            envelope: Envelope {
                request_id: "".into(),
                model: Arc::new(tutorial::model()),
                priority: Priority::Normal,
                deadline: Deadline::new(Instant::now(), Duration::ZERO),
            },
            header: JobHeader::default(),
            payload: Bytes::new(),
            most_reply: 0,
        };
        waiting.add(form, waiter);
        pending
    }

    fn reply() -> Reply {
        Reply {
            result: Ok(Vec::new()),
            cost: JobCost::default(),
        }
    }

    fn asked(waiting: &PendingJobs) -> Vec<(JobId, EntryAddress)> {
        let by_model = waiting.queued_for(Duration::ZERO, Instant::now(), 10);
        by_model.into_values().flatten().collect()
    }

    #[tokio::test]
    async fn a_second_reply_is_dropped() {
        let waiting = PendingJobs::default();
        let pending = added(&waiting, 1);
        assert!(waiting.answer(JobId(1), reply()));
        assert!(!waiting.answer(JobId(1), reply()), "it was answered before");
        assert!(pending.await.is_ok());
        assert!(waiting.form(JobId(1)).is_none());
    }

    #[tokio::test]
    async fn a_job_that_redis_lost_is_submitted_again_and_one_on_its_way_back_is_not() {
        let waiting = PendingJobs::default();
        let _pending = added(&waiting, 1);
        waiting.queued(JobId(1), "1-0", Instant::now()).expect("it waits");
        assert!(waiting.form(JobId(1)).is_none(), "it is where it should be");
        let jobs = asked(&waiting);
        for (missing, lost) in [(&[0][..], 0), (&[], 0), (&[0], 0), (&[0], 1)] {
            waiting.note_missing(&jobs, missing);
            let taken = waiting.take_lost(9);
            assert_eq!(
                taken.len(),
                lost,
                "its reply may be on its way, or it is there again"
            );
        }
        assert!(waiting.form(JobId(1)).is_some());
        assert!(
            asked(&waiting).is_empty(),
            "it is not asked about while it is submitted"
        );
        assert!(waiting.take_lost(9).is_empty(), "it is submitted once");
    }

    #[tokio::test]
    async fn what_was_never_accepted_fails_and_what_was_is_kept() {
        let waiting = PendingJobs::default();
        let (refused, kept) = (added(&waiting, 1), added(&waiting, 2));
        waiting.failed(JobId(1), Error::internal("a bug"));
        assert_eq!(refused.await.unwrap_err(), Error::internal("a bug"));
        waiting.queued(JobId(2), "2-0", Instant::now()).expect("it waits");
        waiting.failed(JobId(2), Error::internal("a bug"));
        let jobs = asked(&waiting);
        assert_eq!(jobs.len(), 1, "it is queued, whatever became of an older attempt");
        (0..MISSES).for_each(|_| waiting.note_missing(&jobs, &[0]));
        for _ in 0..2 {
            assert_eq!(waiting.take_lost(9), [JobId(2)]);
            waiting.failed(JobId(2), Error::internal("a bug"));
        }
        drop(kept);
    }

    #[tokio::test]
    async fn no_more_are_submitted_again_at_once_than_asked_for() {
        let waiting = PendingJobs::default();
        let _pending: Vec<ReplyReceiver> = (1..=3).map(|id| added(&waiting, id)).collect();
        for id in 1..=3 {
            waiting
                .queued(JobId(id), "1-0", Instant::now())
                .expect("it waits");
        }
        let jobs = asked(&waiting);
        (0..MISSES).for_each(|_| waiting.note_missing(&jobs, &[0, 1, 2]));
        assert_eq!([2, 2, 2].map(|most| waiting.take_lost(most).len()), [2, 1, 0]);
    }

    #[tokio::test]
    async fn abandoned_jobs_are_deleted_from_their_stream() {
        let waiting = PendingJobs::default();
        let (gone, stays) = (added(&waiting, 1), added(&waiting, 2));
        for (id, entry) in [(1, "1-0"), (2, "2-0")] {
            waiting.queued(JobId(id), entry, Instant::now()).expect("waits");
        }
        drop(gone);
        let abandoned = waiting.take_abandoned();
        assert_eq!(abandoned.len(), 1);
        assert_eq!(abandoned[0].place.entry, "1-0");
        assert_eq!(waiting.queued(JobId(1), "1-1", Instant::now()), None);
        drop(stays);
    }
}
