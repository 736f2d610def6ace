//! One idempotency key, one job: claims on keys, their renewal while a job is being accepted, and the answer to repeats.

use std::time::Duration;

use super::claim::{Claim, hashed};
use super::reading::ticket;
use super::state::RedisJobsShared;
use crate::async_jobs::{Idempotency, JobTicket};
use crate::error::Error;
use crate::queue::job::JobId;

/// How long a claim on an idempotency key, and the record of a job that is being accepted, last without being renewed. Longer
/// than usual outages of Redis; short, because a process that dies leaves them behind.
pub(super) const HOLD: Duration = Duration::from_secs(15);

/// Between renewals: two may fail.
const RENEW: Duration = Duration::from_secs(4);

/// How often to claim a key whose job is gone. Once is enough unless others claim it, too.
const CLAIMS: u32 = 3;

/// The claim of one request on its idempotency key.
#[derive(Debug)]
pub(super) struct Once {
    /// The hash of the client's key.
    pub(super) key: String,
    /// What the key stands for while the job is not recorded yet.
    claim: String,
    pub(super) settled: String,
}

impl Once {
    pub(super) fn new(id: JobId, idempotency: &Idempotency) -> Self {
        let text = |accepted| {
            let fingerprint = idempotency.fingerprint;
            Claim {
                accepted,
                id,
                fingerprint,
            }
            .text()
        };
        Self {
            key: hashed(&idempotency.key),
            claim: text(false),
            settled: text(true),
        }
    }
}

/// Calls `renew` now and then until `work` is done.
pub(super) async fn holding<T, F: Future<Output = ()>>(
    work: impl Future<Output = T>,
    renew: impl Fn() -> F,
) -> T {
    let renewing = async {
        loop {
            tokio::time::sleep(RENEW).await;
            renew().await;
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        never = renewing => never,
    }
}

impl RedisJobsShared {
    /// Claims a key, or returns the job that it stands for.
    pub(super) async fn claim(
        &self,
        once: &Once,
        idempotency: &Idempotency,
    ) -> Result<Option<JobTicket>, Error> {
        for _ in 0..CLAIMS {
            let Some(before) = self.records.claim(&once.key, &once.claim, HOLD).await? else {
                return Ok(None);
            };
            if let Some(known) = self.stands_for(&before, idempotency).await? {
                return Ok(Some(known));
            }
            self.records.give_up(&once.key, &before).await?;
        }
        Err(Error::IdempotencyInProgress)
    }

    /// Whether a key stands for an accepted job, of this request or another.
    pub(super) async fn knows(&self, key: &str) -> Result<bool, Error> {
        let claim = self.records.claimed(&hashed(key)).await?;
        Ok(claim
            .and_then(|text| Claim::parse(&text))
            .is_some_and(|claim| claim.accepted))
    }

    pub(super) async fn known(&self, idempotency: &Idempotency) -> Result<Option<JobTicket>, Error> {
        match self.records.claimed(&hashed(&idempotency.key)).await? {
            Some(claim) => self.stands_for(&claim, idempotency).await,
            None => Ok(None),
        }
    }

    /// The accepted job of a claim; `None` where its job is gone or was never accepted, or the claim cannot be read.
    async fn stands_for(&self, claim: &str, idempotency: &Idempotency) -> Result<Option<JobTicket>, Error> {
        let Some(claim) = Claim::parse(claim) else {
            return Ok(None);
        };
        if claim.fingerprint != idempotency.fingerprint {
            return Err(Error::IdempotencyConflict);
        }
        if !claim.accepted {
            return Err(Error::IdempotencyInProgress);
        }
        match self.records.read(claim.id).await? {
            Some(record) if record.accepted => Ok(Some(ticket(claim.id, &record))),
            Some(_) => Err(Error::IdempotencyInProgress),
            None => Ok(None),
        }
    }

    /// Makes the key stand for the job's record for `keep`. False if another request has claimed it.
    pub(super) async fn settle(&self, once: &Once, keep: Duration) -> Result<bool, Error> {
        let claims = (once.claim.as_str(), once.settled.as_str());
        Ok(self.records.settle(&once.key, claims, keep).await?)
    }

    /// Gives up a key, whichever claim is on it.
    pub(super) async fn give_up(&self, once: &Once) -> Result<(), Error> {
        self.records.give_up(&once.key, &once.settled).await?;
        self.records.give_up(&once.key, &once.claim).await?;
        Ok(())
    }

    pub(super) async fn renew_claim(&self, once: Option<&Once>) {
        if let Some(once) = once
            && let Err(error) = self.records.renew_claim(&once.key, &once.claim, HOLD).await
        {
            tracing::debug!(%error, "cannot renew a claim on an idempotency key");
        }
    }

    pub(super) async fn renew_record(&self, id: JobId) {
        if let Err(error) = self.records.renew(id, HOLD).await {
            tracing::debug!(%error, job = %id, "cannot renew the record of a job");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_claim_is_renewed_for_as_long_as_the_work_goes_on() {
        let renewals = Cell::new(0);
        let slow = tokio::time::sleep(HOLD * 10);
        let renew = async || renewals.set(renewals.get() + 1);
        holding(slow, renew).await;
        let wanted = HOLD.as_secs() * 10 / RENEW.as_secs();
        assert_eq!(renewals.get(), wanted);
        let quick = holding(async { 7 }, async || renewals.set(0)).await;
        assert_eq!((quick, renewals.get()), (7, wanted));
        assert!(RENEW * 3 < HOLD, "two renewals may fail");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_does_not_hold_the_work_up() {
        let work = tokio::time::sleep(RENEW * 2);
        let done = holding(work, async || std::future::pending().await);
        tokio::time::timeout(RENEW * 3, done)
            .await
            .expect("the work is done");
    }
}
