//! Asynchronous jobs in Redis: their records, the limit on their number and size, and idempotency keys.
//!
//! Each of the three may be in another slot of a cluster, so no script uses two of them. [`crate::async_jobs`] decides the
//! order of the steps.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;

use crate::queue::job::{JobId, StoredSize};
use crate::queue::redis::connection::{Link, LinkError};
use crate::queue::redis::keys;
use crate::queue::redis::scripts::{
    IDEMPOTENCY_CLAIM, IDEMPOTENCY_RENEW, IDEMPOTENCY_SETTLE, QUOTA_ENTER, QUOTA_LEAVE, RECORD_CREATE,
    RECORD_QUEUED, RECORD_READ, RECORD_RENEW, RECORD_REPLY,
};
use crate::queue::wire::{JobRecord, QueuedParts};

/// Limits on numbers in records, so that a garbled one does not cost memory or time.
const MOST_PARTS: u32 = 1 << 20;

/// The year 2112 in microseconds: of Redis' clock, and of how long anything is kept.
const MOST_TIME_US: u64 = 1 << 52;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobRecords {
    link: Link,
    prefix: String,
}

#[derive(Debug)]
pub struct Record {
    pub asked: JobRecord,
    /// Microseconds of Redis' clock when the job was created.
    pub created_us: u64,
    /// The deadline, in microseconds of Redis' clock.
    pub deadline_us: u64,
    /// Microseconds of Redis' clock now.
    pub now_us: u64,
    pub queued: QueuedParts,
    /// Until the job is accepted no client knows its id, and the record soon expires.
    pub accepted: bool,
    /// The webhook to call when the job has ended, or nothing.
    pub webhook: String,
    pub replies: HashMap<u32, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue::redis) enum Noted {
    /// The job was deleted or has expired.
    Unwanted,
    Yes,
    /// It was the last one, and a webhook is to be called.
    Tell,
}

/// The name of a job in the set of stored jobs, with its size, which is given back when it expires.
fn kept_name(id: JobId, StoredSize { images, bytes }: StoredSize) -> String {
    format!("{id}:{images}:{bytes}")
}

impl JobRecords {
    pub(in crate::queue::redis) fn new(link: Link, prefix: String) -> Self {
        Self { link, prefix }
    }

    pub fn key(&self, id: JobId) -> String {
        keys::record(&self.prefix, id)
    }

    /// Creates the record of a job with `left` parts to compute within `life`, and returns the microseconds of Redis' clock.
    /// `webhook`, unless it is empty, is called when the job has ended. The record expires after `hold` unless it is renewed
    /// or accepted.
    pub async fn create(
        &self,
        id: JobId,
        asked: &JobRecord,
        (left, life, hold): (usize, Duration, Duration),
        webhook: &str,
    ) -> Result<u64, LinkError> {
        let mut script = RECORD_CREATE.call();
        script
            .key(self.key(id))
            .arg(asked.encode_frame())
            .arg(asked.parts)
            .arg(left)
            .arg(life.as_micros() as u64)
            .arg(hold.as_millis() as u64)
            .arg(webhook)
            .arg(asked.most_bytes);
        self.link.script(&script).await
    }

    /// Accepts a job whose parts are all queued, the step that decides. False if its record has expired.
    pub async fn accept(&self, id: JobId, queued: &QueuedParts, keep: Duration) -> Result<bool, LinkError> {
        let mut script = RECORD_QUEUED.call();
        script
            .key(self.key(id))
            .arg(queued.encode_to_vec())
            .arg(keep.as_millis() as u64);
        self.link.script(&script).await
    }

    /// Keeps the record of a job that is being accepted for `hold` from now on. False if it has expired.
    pub async fn renew(&self, id: JobId, hold: Duration) -> Result<bool, LinkError> {
        let mut script = RECORD_RENEW.call();
        script.key(self.key(id)).arg(hold.as_millis() as u64);
        self.link.script(&script).await
    }

    /// `None` where there is no record.
    ///
    /// # Errors
    /// [`LinkError`], also for a record that cannot be read.
    pub async fn read(&self, id: JobId) -> Result<Option<Record>, LinkError> {
        let script = RECORD_READ.key(self.key(id));
        let (now_us, fields): (u64, HashMap<String, Vec<u8>>) = self.link.script(&script).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let record = record(fields, now_us);
        record
            .map(Some)
            .ok_or_else(|| LinkError::Refused("cannot read the record of a job".to_owned()))
    }

    /// False where there is no record.
    pub async fn delete(&self, id: JobId) -> Result<bool, LinkError> {
        self.link.query(::redis::cmd("UNLINK").arg(self.key(id))).await
    }

    /// Counts a job of this size among the stored ones, unless all would be more than `most`, or more than `most_alone` where
    /// there is no other; then returns the time until the next one expires.
    pub async fn enter(
        &self,
        id: JobId,
        size: StoredSize,
        [most, most_alone]: [StoredSize; 2],
        keep: Duration,
    ) -> Result<Result<(), Duration>, LinkError> {
        let mut script = QUOTA_ENTER.call();
        script
            .key(keys::kept_jobs(&self.prefix))
            .key(keys::kept_sizes(&self.prefix))
            .arg(kept_name(id, size))
            .arg(size.images)
            .arg(size.bytes)
            .arg(most.images)
            .arg(most.bytes)
            .arg(most_alone.bytes)
            .arg(keep.as_millis() as u64);
        let wait: i64 = self.link.script(&script).await?;
        Ok(u64::try_from(wait).map_or(Ok(()), |wait| Err(Duration::from_millis(wait))))
    }

    /// Takes a job out of that count.
    pub async fn leave(&self, id: JobId, size: StoredSize) -> Result<(), LinkError> {
        let mut script = QUOTA_LEAVE.call();
        script
            .key(keys::kept_jobs(&self.prefix))
            .key(keys::kept_sizes(&self.prefix))
            .arg(kept_name(id, size))
            .arg(size.images)
            .arg(size.bytes);
        self.link.script(&script).await
    }

    /// Claims an idempotency key, or returns the claim that is there.
    pub async fn claim(&self, key: &str, claim: &str, hold: Duration) -> Result<Option<String>, LinkError> {
        let mut script = IDEMPOTENCY_CLAIM.call();
        script
            .key(keys::once(&self.prefix, key))
            .arg(claim)
            .arg(hold.as_millis() as u64);
        self.link.script(&script).await
    }

    /// The claim on an idempotency key.
    pub async fn claimed(&self, key: &str) -> Result<Option<String>, LinkError> {
        self.link
            .query(::redis::cmd("GET").arg(keys::once(&self.prefix, key)))
            .await
    }

    /// Extends a claim. False if it has expired.
    pub async fn renew_claim(&self, key: &str, claim: &str, hold: Duration) -> Result<bool, LinkError> {
        let mut script = IDEMPOTENCY_RENEW.call();
        script
            .key(keys::once(&self.prefix, key))
            .arg(claim)
            .arg(hold.as_millis() as u64);
        self.link.script(&script).await
    }

    /// Replaces a claim by one that is kept for longer. False if another request has claimed the key.
    pub async fn settle(
        &self,
        key: &str,
        (claim, settled): (&str, &str),
        keep: Duration,
    ) -> Result<bool, LinkError> {
        let mut script = IDEMPOTENCY_SETTLE.call();
        script
            .key(keys::once(&self.prefix, key))
            .arg(claim)
            .arg(settled)
            .arg(keep.as_millis() as u64);
        self.link.script(&script).await
    }

    /// Deletes a claim.
    pub async fn give_up(&self, key: &str, claim: &str) -> Result<(), LinkError> {
        let mut script = IDEMPOTENCY_SETTLE.call();
        script.key(keys::once(&self.prefix, key)).arg(claim);
        self.link.script(&script).await
    }
}

/// Stores the reply of a part in the record `key`.
pub(in crate::queue::redis) async fn note_reply(
    link: &Link,
    key: &str,
    part: u32,
    frame: &[u8],
) -> Result<Noted, LinkError> {
    let mut script = RECORD_REPLY.call();
    script.key(key).arg(part).arg(frame);
    let noted: i64 = link.script(&script).await?;
    Ok(match noted {
        0 => Noted::Yes,
        1 => Noted::Tell,
        _ => Noted::Unwanted,
    })
}

fn record(mut fields: HashMap<String, Vec<u8>>, now_us: u64) -> Option<Record> {
    let asked = JobRecord::decode_frame(&fields.remove("asked")?)
        .inspect_err(|error| tracing::warn!(%error, "cannot read the record of a job"))
        .ok()
        .filter(|asked| asked.parts <= MOST_PARTS && asked.keep_ms <= MOST_TIME_US / 1000)?;
    let mut number = |name: &str| -> Option<u64> {
        let number = String::from_utf8(fields.remove(name)?).ok()?.parse().ok()?;
        (number <= MOST_TIME_US).then_some(number)
    };
    let (created_us, deadline_us) = (number("created")?, number("deadline")?);
    let queued = fields.remove("queued");
    let webhook = fields.remove("webhook").unwrap_or_default();
    let replies = fields.into_iter().filter_map(|(name, value)| {
        let part = name.strip_prefix("part")?.parse().ok()?;
        Some((part, value))
    });
    Some(Record {
        asked,
        created_us,
        deadline_us,
        now_us,
        accepted: queued.is_some(),
        queued: QueuedParts::decode(queued.unwrap_or_default().as_slice()).unwrap_or_default(),
        webhook: String::from_utf8(webhook).unwrap_or_default(),
        replies: replies.collect(),
    })
}
