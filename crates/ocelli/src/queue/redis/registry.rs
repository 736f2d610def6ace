//! The registry of live workers: workers announce their models with every heartbeat, and web processes read it.
//!
//! A worker is one model of one process, called `process/number` where a process has many. Two packages under one name and
//! version have two digests, and users could not know which of them answered; so a worker with a new digest is refused while
//! other processes serve the name and version. The exception is a package that was changed in place, which processes reload
//! one after the other: a process that serves a name and version may announce a new digest for it, and any process may announce
//! a digest that is served. Until all have followed, both digests are served, each by its own streams, and web processes
//! share requests among them as among two versions.
//!
//! A worker stays registered while it sends heartbeats; after [`LIVE`] without one it counts as new. A worker that leaves
//! deletes its entry.

use std::time::{Duration, Instant};

use ::redis::Value;
use ocelli_engine::CostTable;
use ocelli_vision::ModelCard;
use prost::Message;

use super::clock::RedisClock;
use super::connection::{Link, LinkError};
use super::keys;
use super::scripts::{ANNOUNCE, WATCH};
use crate::models::model_id::ModelId;
use crate::models::served_model::Runtime;

/// How long a worker counts as live after its last heartbeat: three of them and some.
pub(super) const LIVE: Duration = Duration::from_millis(3500);

/// Maximum size of an announcement in bytes, and of each of its lists.
const MOST_BYTES: usize = 64 << 10;
const MOST_ENTRIES: usize = 64;

/// Maximum number of instances, threads, jobs and images in a batch: far above real values, and low enough that no sum or
/// product of them overflows.
const MOST_COUNT: u32 = 1 << 16;

/// Maximum number of features of an output, and maximum time of a batch.
const MOST_FEATURES: u32 = 1 << 24;
const LONGEST_BATCH: Duration = Duration::from_secs(3600);

#[derive(Clone, PartialEq, Message)]
pub struct Announcement {
    #[prost(string, tag = "1")]
    pub model: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Instances that can compute now.
    #[prost(uint32, tag = "4")]
    pub instances: u32,
    /// The worker finishes the jobs that are there; it should get no new ones.
    #[prost(bool, tag = "5")]
    pub leaving: bool,
    #[prost(string, tag = "6")]
    pub engine: String,
    #[prost(string, tag = "7")]
    pub engine_version: String,
    #[prost(uint32, tag = "8")]
    pub threads_per_instance: u32,
    /// The most images in a batch.
    #[prost(uint32, tag = "9")]
    pub max_batch: u32,
    #[prost(message, repeated, tag = "10")]
    pub costs: Vec<BatchCost>,
    /// Jobs that it has taken and not answered.
    #[prost(uint32, tag = "11")]
    pub leases: u32,
    #[prost(string, tag = "12")]
    pub release: String,
    /// The worker also serves a higher version of the same name.
    #[prost(bool, tag = "13")]
    pub superseded: bool,
    /// How many numbers a feature vector of each output has; 0 for an output of classes.
    #[prost(uint32, repeated, tag = "14")]
    pub vector_lengths: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct BatchCost {
    #[prost(uint32, tag = "1")]
    pub batch: u32,
    /// Nanoseconds.
    #[prost(uint64, tag = "2")]
    pub nanoseconds: u64,
}

#[derive(Clone, PartialEq, Message)]
struct CardMessage {
    #[prost(string, tag = "1")]
    toml: String,
    #[prost(message, repeated, tag = "2")]
    labels: Vec<Labels>,
}

#[derive(Clone, PartialEq, Message)]
struct Labels {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    Yes,
    /// Other processes serve this digest under the same name and version, and none the announced one.
    Conflict(String),
}

impl Announcement {
    pub fn model_id(&self) -> ModelId {
        ModelId {
            name: self.model.clone(),
            version: self.version.clone(),
            digest: self.digest.clone(),
        }
    }

    /// Reads an announcement whose numbers are plausible: other programs write to Redis too, and web processes calculate with them.
    fn decode_checked(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MOST_BYTES {
            return Err(format!("it has {} bytes, {MOST_BYTES} at most", bytes.len()));
        }
        let read = Self::decode(bytes).map_err(|error| error.to_string())?;
        let counts = [
            read.instances,
            read.threads_per_instance,
            read.max_batch,
            read.leases,
        ];
        let longest = LONGEST_BATCH.as_nanos() as u64;
        let costs = |cost: &BatchCost| (1..=MOST_COUNT).contains(&cost.batch) && cost.nanoseconds <= longest;
        let sensible = counts.iter().all(|&count| count <= MOST_COUNT)
            && read.costs.len() <= MOST_ENTRIES
            && read.costs.iter().all(costs)
            && read.vector_lengths.len() <= MOST_ENTRIES
            && read.vector_lengths.iter().all(|&length| length <= MOST_FEATURES);
        sensible
            .then_some(read)
            .ok_or_else(|| "a number in it exceeds its limit".to_owned())
    }

    /// `None` where its costs make no table.
    pub fn runtime(&self) -> Option<Runtime> {
        let costs = self
            .costs
            .iter()
            .map(|cost| (cost.batch as usize, Duration::from_nanos(cost.nanoseconds)));
        Some(Runtime {
            engine: self.engine.clone(),
            engine_version: self.engine_version.clone(),
            instances: self.instances as usize,
            threads_per_instance: self.threads_per_instance as usize,
            max_batch: self.max_batch as usize,
            cost: CostTable::new(costs)?,
            vector_lengths: self
                .vector_lengths
                .iter()
                .map(|&length| length as usize)
                .collect(),
        })
    }
}

pub(super) fn encode_card(card: &ModelCard) -> Vec<u8> {
    let labels = card.labels.iter().map(|names| Labels { names: names.clone() });
    CardMessage {
        toml: card.toml.clone(),
        labels: labels.collect(),
    }
    .encode_to_vec()
}

fn decode_card(bytes: &[u8], digest: &str) -> Result<ModelCard, String> {
    let message = CardMessage::decode(bytes).map_err(|error| error.to_string())?;
    let labels = message.labels.into_iter().map(|labels| labels.names).collect();
    ModelCard::restore(message.toml, labels, digest.to_owned()).map_err(|error| error.to_string())
}

/// Publishes an announcement and the card of its model, and sets the clock by the answer.
pub(super) async fn announce(
    link: &Link,
    prefix: &str,
    worker: &str,
    (announcement, card): (&Announcement, &[u8]),
    clock: &RedisClock,
) -> Result<Announced, LinkError> {
    let sent = Instant::now();
    let answer: Vec<Value> = link
        .script(
            ANNOUNCE
                .key(keys::workers(prefix))
                .key(keys::holders(prefix, &announcement.model, &announcement.version))
                .key(keys::card(prefix, &announcement.digest))
                .arg(worker)
                .arg(process_of(worker))
                .arg(&announcement.digest)
                .arg(announcement.encode_to_vec())
                .arg(card)
                .arg(LIVE.as_millis() as u64),
        )
        .await?;
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    match answer.as_slice() {
        [Value::Int(1), now] => {
            if let Ok(micros) = text(now).parse() {
                clock.set(sent, Instant::now(), micros);
            }
            Ok(Announced::Yes)
        }
        [_, digest] => Ok(Announced::Conflict(text(digest))),
        _ => Err(LinkError::Refused(
            "the script ANNOUNCE returned something else than it should".to_owned(),
        )),
    }
}

pub(super) async fn withdraw(
    link: &Link,
    prefix: &str,
    worker: &str,
    model: &ModelId,
) -> Result<(), LinkError> {
    for key in [
        keys::workers(prefix),
        keys::holders(prefix, &model.name, &model.version),
    ] {
        let _: i64 = link.query(::redis::cmd("HDEL").arg(key).arg(worker)).await?;
    }
    Ok(())
}

/// The process that a worker belongs to.
pub(super) fn process_of(worker: &str) -> &str {
    worker.split_once('/').map_or(worker, |(process, _)| process)
}

/// The live workers by name. Announcements that cannot be read are logged and skipped.
pub(crate) async fn watch(link: &Link, prefix: &str) -> Result<Vec<(String, Announcement)>, LinkError> {
    let pairs: Vec<(String, Vec<u8>)> = link
        .script(WATCH.key(keys::workers(prefix)).arg(LIVE.as_millis() as u64))
        .await?;
    let mut live = Vec::with_capacity(pairs.len());
    for (worker, bytes) in pairs {
        match Announcement::decode_checked(&bytes) {
            Ok(announcement) => live.push((worker, announcement)),
            Err(error) => tracing::warn!(worker, %error, "cannot read a worker's announcement"),
        }
    }
    Ok(live)
}

/// The card of a digest; `None` where there is none or it cannot be read, which is logged.
pub(super) async fn card(link: &Link, prefix: &str, digest: &str) -> Result<Option<ModelCard>, LinkError> {
    let bytes: Option<Vec<u8>> = link
        .query(::redis::cmd("GET").arg(keys::card(prefix, digest)))
        .await?;
    Ok(bytes.and_then(|bytes| {
        decode_card(&bytes, digest)
            .inspect_err(|error| tracing::warn!(digest, error, "cannot read a model's card"))
            .ok()
    }))
}

/// Keeps a card at least for `keep`. It is renewed for twice as long, so that not every job renews it.
pub(super) async fn keep_card(
    link: &Link,
    prefix: &str,
    card: &ModelCard,
    keep: Duration,
) -> Result<(), LinkError> {
    let key = keys::card(prefix, card.digest());
    let keep = keep.as_millis() as u64;
    let mut left = ::redis::cmd("PTTL");
    // Negative where there is none.
    let left: i64 = link.query(left.arg(&key)).await?;
    if u64::try_from(left).is_ok_and(|left| left >= keep) {
        return Ok(());
    }
    let mut set = ::redis::cmd("SET");
    set.arg(&key).arg(encode_card(card)).arg("PX").arg(keep * 2);
    link.query(&set).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::served_model;

    #[test]
    fn an_announcement_beyond_all_reason_is_not_read() {
        let cost = |batch, nanoseconds| BatchCost { batch, nanoseconds };
        let good = Announcement {
            instances: 2,
            max_batch: 8,
            costs: vec![cost(1, 5_000_000), cost(8, 30_000_000)],
            vector_lengths: vec![0, 1280],
            ..Announcement::default()
        };
        let read = Announcement::decode_checked(&good.encode_to_vec());
        assert_eq!(read, Ok(good.clone()));
        let change = |change: fn(&mut Announcement)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed.encode_to_vec()
        };
        for bytes in [
            change(|one| one.instances = u32::MAX),
            change(|one| one.max_batch = u32::MAX),
            change(|one| one.costs[0].batch = 0),
            change(|one| one.costs[1].nanoseconds = u64::MAX),
            change(|one| one.costs = vec![one.costs[0]; MOST_ENTRIES + 1]),
            change(|one| one.vector_lengths[1] = u32::MAX),
            change(|one| one.engine = "x".repeat(MOST_BYTES)),
            b"\xff\xff".to_vec(),
        ] {
            assert!(
                Announcement::decode_checked(&bytes).is_err(),
                "{} bytes",
                bytes.len()
            );
        }
    }

    #[test]
    fn a_card_comes_back_as_it_was() {
        let card = served_model::builtin().expect("it is valid").card;
        let back = decode_card(&encode_card(&card), card.digest()).expect("its own release");
        assert_eq!(back.manifest, card.manifest);
        assert_eq!(back.labels, card.labels);
        assert_eq!(back.digest(), card.digest());
        assert!(decode_card(b"\xff\xff", "x").is_err());
    }
}
