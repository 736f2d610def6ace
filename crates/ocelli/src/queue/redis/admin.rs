//! Shows the queues in Redis and manages dead letters, for `ocelli queue`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::redis::{FromRedisValue, Value};

use super::connection::{Link, LinkError};
use super::entries::{self, StreamEntry};
use super::keys::{GROUP, ModelKeys, ModelName};
use super::registry::{self, Announcement};
use super::scripts::RETRY;
use crate::models::priority::Priority;
use crate::queue::job::JobId;
use crate::queue::wire::JobHeader;

/// How long the keys of a job that is queued again are kept after its deadline.
const KEEP: Duration = Duration::from_secs(60);

/// Dead letters that one listing reads.
const MOST_LISTED: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    pub model: ModelName,
    /// Jobs that wait or are being computed, by priority.
    pub depth: [usize; 3],
    /// Jobs that a worker has.
    pub in_flight: usize,
    /// The age of the oldest job.
    pub oldest: Option<Duration>,
    /// Live workers of the model.
    pub workers: usize,
    /// Consumers that have leased jobs, also of workers that have ended.
    pub consumers: usize,
    pub dead: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its entry, for `retry` and `drop`.
    pub entry: String,
    pub job: JobId,
    pub age: Duration,
    pub reason: String,
    pub worker: String,
    pub bytes: usize,
}

#[derive(Clone, Debug)]
pub struct QueueAdmin {
    link: Link,
    prefix: String,
}

impl QueueAdmin {
    pub fn new(link: Link, prefix: String) -> Self {
        Self { link, prefix }
    }

    /// All queues, by name.
    pub async fn status(&self) -> Result<Vec<QueueStatus>, LinkError> {
        let live = registry::watch(&self.link, &self.prefix).await?;
        let mut workers: BTreeMap<ModelName, usize> = BTreeMap::new();
        for announcement in live
            .iter()
            .map(|(_, announcement): &(String, Announcement)| announcement)
        {
            *workers
                .entry(ModelName::of(&announcement.model_id()))
                .or_default() += 1;
        }
        let mut models: BTreeSet<ModelName> = workers.keys().cloned().collect();
        models.extend(self.models().await?);
        let now = self.now().await?;
        let mut all = Vec::with_capacity(models.len());
        for model in models {
            let live = workers.get(&model).copied().unwrap_or_default();
            all.push(self.queue(model, live, now).await?);
        }
        Ok(all)
    }

    /// The dead letters of a model, oldest first; at most a thousand.
    pub async fn dead(&self, model: &ModelName) -> Result<Vec<DeadLetter>, LinkError> {
        let now = self.now().await?;
        let letters = self.dead_entries(model, "-", "+", MOST_LISTED).await?;
        Ok(letters.into_iter().map(|entry| letter(entry, now)).collect())
    }

    /// Queues a dead letter again. False where it is gone.
    pub async fn retry(&self, model: &ModelName, entry: &str) -> Result<bool, LinkError> {
        let Some(mut letter) = self.dead_entries(model, entry, entry, 1).await?.pop() else {
            return Ok(false);
        };
        let header = JobHeader::decode_frame(&letter.take("j").unwrap_or_default());
        let (priority, life) = header.map_or((Priority::default(), Duration::ZERO), |header| {
            (header.job_priority(), Duration::from_micros(header.timeout_us))
        });
        let keys = self.keys(model);
        let mut retry = RETRY.call();
        retry
            .key(&keys.dead)
            .key(&keys.jobs[priority.index()])
            .key(&keys.bytes)
            .key(&keys.index)
            .arg(entry)
            .arg(priority.index() + 1)
            .arg((life + KEEP).as_millis() as u64);
        let retried: i64 = self.link.script(&retry).await?;
        Ok(retried == 1)
    }

    /// Deletes a dead letter. False where it is gone.
    pub async fn drop_dead(&self, model: &ModelName, entry: &str) -> Result<bool, LinkError> {
        let deleted: i64 = self.ask("XDEL", &[&self.keys(model).dead, entry]).await?;
        Ok(deleted == 1)
    }

    fn keys(&self, model: &ModelName) -> ModelKeys {
        ModelKeys::named(&self.prefix, model)
    }

    async fn ask<T: FromRedisValue>(&self, command: &str, words: &[&str]) -> Result<T, LinkError> {
        let mut asked = ::redis::cmd(command);
        self.link.query(asked.arg(words)).await
    }

    /// Milliseconds of Redis' clock.
    async fn now(&self) -> Result<u64, LinkError> {
        let (seconds, micros): (u64, u64) = self.ask("TIME", &[]).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// The models that have keys.
    async fn models(&self) -> Result<BTreeSet<ModelName>, LinkError> {
        let pattern = format!("{}:{{*}}:*", self.prefix);
        let keys = if self.link.is_cluster() {
            // KEYS goes to every node; a cursor belongs to one.
            self.ask("KEYS", &[&pattern]).await?
        } else {
            self.scan(&pattern).await?
        };
        Ok(keys
            .iter()
            .filter_map(|key| ModelName::in_key(&self.prefix, key))
            .collect())
    }

    async fn scan(&self, pattern: &str) -> Result<Vec<String>, LinkError> {
        let mut keys = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let words = [cursor.as_str(), "MATCH", pattern, "COUNT", "1000"];
            let (next, found): (String, Vec<String>) = self.ask("SCAN", &words).await?;
            keys.extend(found);
            if next == "0" {
                return Ok(keys);
            }
            cursor = next;
        }
    }

    async fn queue(&self, model: ModelName, workers: usize, now: u64) -> Result<QueueStatus, LinkError> {
        let keys = self.keys(&model);
        let mut status = QueueStatus {
            model,
            depth: [0; 3],
            in_flight: 0,
            oldest: None,
            workers,
            consumers: 0,
            dead: self.ask("XLEN", &[&keys.dead]).await?,
        };
        let mut consumers = BTreeSet::new();
        for priority in Priority::ALL {
            let key = &keys.jobs[priority.index()];
            status.depth[priority.index()] = self.ask("XLEN", &[key]).await?;
            let first: Value = self.ask("XRANGE", &[key, "-", "+", "COUNT", "1"]).await?;
            let first = entries::entries(first).pop().map(|entry| age(&entry.id, now));
            status.oldest = status.oldest.max(first);
            // A stream without a group has no consumers and nothing in flight.
            match self.ask::<Vec<Value>>("XPENDING", &[key, GROUP]).await {
                Ok(summary) => {
                    status.in_flight += summary.first().map_or(0, number);
                    if let Some(Value::Array(holders)) = summary.get(3) {
                        consumers.extend(holders.iter().filter_map(name));
                    }
                }
                Err(LinkError::NoGroup) => {}
                Err(error) => return Err(error),
            }
        }
        status.consumers = consumers.len();
        Ok(status)
    }

    async fn dead_entries(
        &self,
        model: &ModelName,
        from: &str,
        to: &str,
        most: usize,
    ) -> Result<Vec<StreamEntry>, LinkError> {
        let most = most.to_string();
        let words = [
            self.keys(model).dead,
            from.to_owned(),
            to.to_owned(),
            "COUNT".to_owned(),
            most,
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(entries::entries(self.ask("XRANGE", &words).await?))
    }
}

fn letter(mut entry: StreamEntry, now: u64) -> DeadLetter {
    let header = JobHeader::decode_frame(&entry.take("j").unwrap_or_default());
    let mut text = |name| String::from_utf8_lossy(&entry.take(name).unwrap_or_default()).into_owned();
    DeadLetter {
        job: header.map_or(JobId(0), |header| header.job_id()),
        reason: text("reason"),
        worker: text("worker"),
        age: age(&entry.id, now),
        bytes: entry.take("p").unwrap_or_default().len(),
        entry: entry.id,
    }
}

/// The age of an entry, whose id begins with the time in milliseconds.
fn age(entry: &str, now: u64) -> Duration {
    let added = entry.split('-').next().and_then(|millis| millis.parse().ok());
    Duration::from_millis(now.saturating_sub(added.unwrap_or(now)))
}

fn number(value: &Value) -> usize {
    match value {
        Value::Int(number) => usize::try_from(*number).unwrap_or_default(),
        _ => 0,
    }
}

fn name(holder: &Value) -> Option<String> {
    match holder {
        Value::Array(parts) => match parts.first() {
            Some(Value::BulkString(name)) => String::from_utf8(name.clone()).ok(),
            _ => None,
        },
        _ => None,
    }
}
