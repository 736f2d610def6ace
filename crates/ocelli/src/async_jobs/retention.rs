//! The jobs that a process keeps, and for how long. It has no clock: callers pass the time.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::Idempotency;
use crate::error::Error;
use crate::models::priority::Priority;
use crate::queue::job::{JobId, StoredSize};

/// Jobs with a limit on their images and results, each until its end.
#[derive(Debug)]
pub(super) struct Retention<T> {
    limit: StoredSize,
    size: StoredSize,
    jobs: HashMap<JobId, StoredJob<T>>,
    keys: HashMap<String, ([u8; 32], JobId)>,
    ends: BTreeSet<(Instant, JobId)>,
}

#[derive(Debug)]
struct StoredJob<T> {
    size: StoredSize,
    end: Instant,
    key: Option<String>,
    content: T,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    New,
    /// The job of an earlier request with the same key.
    Known(T),
}

impl<T: Clone> Retention<T> {
    pub(super) fn new(limit: StoredSize) -> Self {
        Self {
            limit,
            size: StoredSize { images: 0, bytes: 0 },
            jobs: HashMap::new(),
            keys: HashMap::new(),
            ends: BTreeSet::new(),
        }
    }

    pub(super) fn knows(&mut self, key: &str, now: Instant) -> bool {
        self.forget_old(now);
        self.keys.contains_key(key)
    }

    /// The job of an earlier request with the same key.
    pub(super) fn known(&mut self, idempotency: &Idempotency, now: Instant) -> Result<Option<T>, Error> {
        self.forget_old(now);
        let Some((fingerprint, id)) = self.keys.get(&idempotency.key) else {
            return Ok(None);
        };
        if *fingerprint != idempotency.fingerprint {
            return Err(Error::IdempotencyConflict);
        }
        Ok(self.jobs.get(id).map(|job| job.content.clone()))
    }

    /// Keeps a job until `end`, unless it is kept already.
    pub(super) fn enter(
        &mut self,
        (id, size, priority, content): (JobId, StoredSize, Priority, T),
        idempotency: Option<Idempotency>,
        end: Instant,
        now: Instant,
    ) -> Result<Entered<T>, Error> {
        self.forget_old(now);
        if let Some(idempotency) = &idempotency
            && let Some(known) = self.known(idempotency, now)?
        {
            return Ok(Entered::Known(known));
        }
        let all = self.size.plus(size);
        if !all.fits(self.limit.open_to(priority, self.size.images)) {
            let next = self.ends.first().map_or(end, |(end, _)| *end);
            return Err(Error::TooManyJobs {
                retry_after: next.saturating_duration_since(now),
            });
        }
        let key = idempotency.map(|Idempotency { key, fingerprint }| {
            self.keys.insert(key.clone(), (fingerprint, id));
            key
        });
        self.size = all;
        self.ends.insert((end, id));
        let job = StoredJob {
            size,
            end,
            key,
            content,
        };
        self.jobs.insert(id, job);
        Ok(Entered::New)
    }

    pub(super) fn get(&mut self, id: JobId, now: Instant) -> Option<T> {
        self.forget_old(now);
        self.jobs.get(&id).map(|job| job.content.clone())
    }

    pub(super) fn remove(&mut self, id: JobId, now: Instant) -> Option<T> {
        self.forget_old(now);
        self.forget(id)
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(&(end, id)) = self.ends.first()
            && end <= now
        {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: JobId) -> Option<T> {
        let job = self.jobs.remove(&id)?;
        self.ends.remove(&(job.end, id));
        self.size.images -= job.size.images;
        self.size.bytes -= job.size.bytes;
        if let Some(key) = job.key {
            self.keys.remove(&key);
        }
        Some(job.content)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn size(images: usize) -> StoredSize {
        StoredSize {
            images,
            bytes: images as u64,
        }
    }

    fn idempotency(key: &str, fingerprint: u8) -> Option<Idempotency> {
        Some(Idempotency {
            key: key.to_owned(),
            fingerprint: [fingerprint; 32],
        })
    }

    #[test]
    fn a_job_is_kept_until_its_end_or_its_removal_and_then_makes_room() {
        let now = Instant::now();
        let mut kept = Retention::new(size(3));
        let enter = |kept: &mut Retention<char>, id: u128, images, end, now| {
            kept.enter((JobId(id), size(images), Priority::Normal, 'x'), None, end, now)
        };
        assert_eq!(enter(&mut kept, 1, 2, now + 5 * SECOND, now), Ok(Entered::New));
        assert_eq!(enter(&mut kept, 2, 1, now + 2 * SECOND, now), Ok(Entered::New));
        let full = Err(Error::TooManyJobs { retry_after: SECOND });
        assert_eq!(enter(&mut kept, 3, 1, now + 9 * SECOND, now + SECOND), full);
        assert_eq!(kept.get(JobId(3), now), None, "what is refused is not kept");
        // The second one has ended.
        assert_eq!(
            enter(&mut kept, 3, 1, now + 9 * SECOND, now + 2 * SECOND),
            Ok(Entered::New)
        );
        assert_eq!(kept.get(JobId(2), now + 2 * SECOND), None);
        assert_eq!(kept.remove(JobId(1), now + 2 * SECOND), Some('x'));
        assert_eq!(kept.remove(JobId(1), now + 2 * SECOND), None);
        assert_eq!(
            enter(&mut kept, 4, 2, now + 9 * SECOND, now + 2 * SECOND),
            Ok(Entered::New)
        );
        assert_eq!(kept.get(JobId(3), now + 9 * SECOND), None);
        assert_eq!(kept.size, size(0));
    }

    #[test]
    fn results_are_bounded_in_bytes_too() {
        let now = Instant::now();
        let limit = StoredSize {
            images: 100,
            bytes: 10,
        };
        let mut kept = Retention::new(limit);
        let mut enter = |id: u128, bytes| {
            let size = StoredSize { images: 1, bytes };
            kept.enter((JobId(id), size, Priority::High, 'x'), None, now + SECOND, now)
        };
        assert_eq!(enter(1, 6), Ok(Entered::New));
        let full = Err(Error::TooManyJobs { retry_after: SECOND });
        assert_eq!(enter(2, 5), full);
        assert_eq!(enter(2, 4), Ok(Entered::New));
    }

    #[test]
    fn lower_priorities_leave_a_part_of_either_limit_free() {
        let now = Instant::now();
        for (images, bytes) in [(20, u64::MAX), (usize::MAX, 20)] {
            let mut kept = Retention::new(StoredSize { images, bytes });
            let mut ids = 0..;
            let counts = [Priority::Low, Priority::Normal, Priority::High].map(|priority| {
                let mut enter = || {
                    let job = (JobId(ids.next()?), size(1), priority, 'x');
                    kept.enter(job, None, now + SECOND, now).ok()
                };
                std::iter::from_fn(&mut enter).count()
            });
            assert_eq!(counts, [16, 2, 2]);
        }
        let mut kept = Retention::new(size(20));
        let all_bytes = StoredSize { images: 1, bytes: 20 };
        let job = (JobId(1), all_bytes, Priority::Low, 'x');
        assert_eq!(
            kept.enter(job, None, now + SECOND, now),
            Ok(Entered::New),
            "nothing else is kept"
        );
    }

    #[test]
    fn a_key_stands_for_one_request_while_its_job_is_kept() {
        let now = Instant::now();
        let mut kept = Retention::new(size(1));
        let mut enter = |id: u128, idempotency, now| {
            kept.enter(
                (JobId(id), size(1), Priority::Normal, id),
                idempotency,
                now + SECOND,
                now,
            )
        };
        assert_eq!(enter(1, idempotency("a", 1), now), Ok(Entered::New));
        assert_eq!(
            enter(2, idempotency("a", 1), now),
            Ok(Entered::Known(1)),
            "also where there is no room"
        );
        assert_eq!(
            enter(2, idempotency("a", 2), now),
            Err(Error::IdempotencyConflict)
        );
        assert!(matches!(
            enter(2, idempotency("b", 1), now),
            Err(Error::TooManyJobs { .. })
        ));
        assert_eq!(enter(2, idempotency("a", 2), now + SECOND), Ok(Entered::New));
        assert_eq!(kept.remove(JobId(2), now + SECOND), Some(2));
        assert!(kept.keys.is_empty());
    }
}
