//! The keys that Ocelli writes in Redis; it writes no others.
//!
//! The part in braces decides the slot of a key in a cluster: all keys of one model are in one slot, so that a script may use
//! them together, and models spread over the nodes. Tags of keys that belong to no model begin with `@`, which no model's name
//! does.

use crate::models::model_id::ModelId;
use crate::models::priority::Priority;
use crate::queue::job::JobId;

/// Digits of a digest that keys carry: enough to tell packages apart, short enough to read.
const DIGEST_DIGITS: usize = 16;

/// The consumer group of every job stream.
pub const GROUP: &str = "workers";

/// A model as keys name it, with the beginning of its digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelName {
    pub name: String,
    pub version: String,
    /// The first digits of its digest.
    pub digest: String,
}

impl ModelName {
    pub fn of(model: &ModelId) -> Self {
        Self {
            name: model.name.clone(),
            version: model.version.clone(),
            digest: model.digest.chars().take(DIGEST_DIGITS).collect(),
        }
    }

    /// The model that this key belongs to; `None` for other keys.
    pub fn in_key(prefix: &str, key: &str) -> Option<Self> {
        let rest = key.strip_prefix(prefix)?.strip_prefix(":{")?;
        let (name, rest) = rest.split_once("}:")?;
        if name.starts_with('@') {
            return None;
        }
        let (version, rest) = rest.split_once(':')?;
        let (digest, kind) = rest.split_once(':')?;
        let jobs = kind.starts_with("jobs:") || kind == "dead";
        jobs.then(|| Self {
            name: name.to_owned(),
            version: version.to_owned(),
            digest: digest.to_owned(),
        })
    }
}

/// The keys of one model under one digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelKeys {
    /// The job streams, by priority.
    pub jobs: [String; 3],
    /// The bytes that the jobs hold.
    pub bytes: String,
    /// The size of each job, by its stream and entry.
    pub index: String,
    /// How many workers each redelivered job has ended that computed it alone.
    pub crashes: String,
    /// Dead-lettered jobs.
    pub dead: String,
}

impl ModelKeys {
    pub fn new(prefix: &str, model: &ModelId) -> Self {
        Self::named(prefix, &ModelName::of(model))
    }

    pub fn named(prefix: &str, model: &ModelName) -> Self {
        let base = format!("{prefix}:{{{}}}:{}:{}", model.name, model.version, model.digest);
        Self {
            jobs: Priority::ALL.map(|priority| format!("{base}:jobs:{}", priority.name())),
            bytes: format!("{base}:bytes"),
            index: format!("{base}:index"),
            crashes: format!("{base}:crashes"),
            dead: format!("{base}:dead"),
        }
    }
}

/// The reply stream of one web process.
pub fn replies(prefix: &str, web: &str) -> String {
    format!("{prefix}:replies:{web}")
}

/// The hash of live workers: their names and what they announce.
pub fn workers(prefix: &str) -> String {
    format!("{prefix}:{{@registry}}:workers")
}

/// The hash of the workers of a model's name and version, and the digest that each serves.
pub fn holders(prefix: &str, name: &str, version: &str) -> String {
    format!("{prefix}:{{@registry}}:holders:{name}:{version}")
}

pub fn card(prefix: &str, digest: &str) -> String {
    format!("{prefix}:{{@registry}}:card:{digest}")
}

/// The record of an asynchronous job.
pub fn record(prefix: &str, id: JobId) -> String {
    format!("{prefix}:job:{{{id}}}")
}

/// The job whose record has this key.
pub fn job_of(record: &str) -> Option<JobId> {
    let (_, id) = record.rsplit_once('{')?;
    JobId::parse(id.strip_suffix('}')?)
}

/// The asynchronous jobs that are kept, by the time when they end.
pub fn kept_jobs(prefix: &str) -> String {
    format!("{prefix}:{{@jobs}}:kept")
}

/// The sum of their images and of the bytes that their results may have.
pub fn kept_sizes(prefix: &str) -> String {
    format!("{prefix}:{{@jobs}}:sizes")
}

/// Jobs whose webhooks are to be called, by the time of the next call.
pub fn due(prefix: &str) -> String {
    format!("{prefix}:{{@webhooks}}:due")
}

/// The receiver of each of them.
pub fn receivers(prefix: &str) -> String {
    format!("{prefix}:{{@webhooks}}:receivers")
}

/// How often each of them was called.
pub fn tries(prefix: &str) -> String {
    format!("{prefix}:{{@webhooks}}:tries")
}

/// The claim on an idempotency key.
pub fn once(prefix: &str, key: &str) -> String {
    format!("{prefix}:once:{key}")
}

/// The key on which a process checks which commands it may send.
pub fn probe(prefix: &str, process: &str) -> String {
    format!("{prefix}:probe:{process}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Names of packages, many of which look like parts of keys.
    fn name() -> impl Strategy<Value = String> {
        let ours = [
            "registry", "jobs", "webhooks", "workers", "holders", "card", "dead", "kept", "once", "job",
            "replies",
        ];
        prop_oneof![
            1 => prop::sample::select(ours.to_vec()).prop_map(str::to_owned),
            1 => "[a-z0-9][a-z0-9._-]{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn no_model_has_a_key_of_another_kind(
            (name, version) in (name(), name()),
            (other_name, other_version) in (name(), name()),
            digest in "[0-9a-f]{16}",
            (web, key) in (name(), "[!-~]{1,40}"),
        ) {
            let model = ModelName { name, version, digest };
            let keys = ModelKeys::named("ocelli", &model);
            let mut models: HashSet<String> = keys.jobs.iter().cloned().collect();
            for key in keys.jobs.iter().chain([&keys.dead]) {
                prop_assert_eq!(ModelName::in_key("ocelli", key), Some(model.clone()));
            }
            models.extend([keys.bytes, keys.index, keys.crashes, keys.dead]);
            let ours = [
                workers("ocelli"),
                holders("ocelli", &other_name, &other_version),
                holders("ocelli", &model.name, &model.version),
                card("ocelli", &model.digest),
                kept_jobs("ocelli"),
                kept_sizes("ocelli"),
                due("ocelli"),
                tries("ocelli"),
                receivers("ocelli"),
                replies("ocelli", &web),
                record("ocelli", JobId(7)),
                once("ocelli", &key),
            ];
            for key in ours {
                prop_assert!(!models.contains(&key), "{key}");
                prop_assert_eq!(ModelName::in_key("ocelli", &key), None, "{}", key);
            }
        }
    }

    #[test]
    fn a_model_s_keys_share_a_slot_and_name_what_they_hold() {
        let model = ModelId {
            name: "lite".to_owned(),
            version: "2".to_owned(),
            digest: "0123456789abcdef0123".to_owned(),
        };
        let keys = ModelKeys::new("ocelli", &model);
        assert_eq!(keys.jobs[0], "ocelli:{lite}:2:0123456789abcdef:jobs:high");
        assert_eq!(keys.jobs[2], "ocelli:{lite}:2:0123456789abcdef:jobs:low");
        assert_eq!(keys.dead, "ocelli:{lite}:2:0123456789abcdef:dead");
        for key in keys.jobs.iter().chain([&keys.dead]) {
            assert_eq!(ModelName::in_key("ocelli", key), Some(ModelName::of(&model)));
        }
        for other in [
            &keys.bytes,
            &keys.index,
            &workers("ocelli"),
            &holders("ocelli", "lite", "2"),
        ] {
            assert_eq!(ModelName::in_key("ocelli", other), None, "{other}");
        }
        assert_eq!(workers("ocelli"), "ocelli:{@registry}:workers");
        assert_eq!(replies("ocelli", "web-1"), "ocelli:replies:web-1");
        let record = record("ocelli", JobId(10));
        assert_eq!(record, "ocelli:job:{0000000000000000000000000000000a}");
        assert_eq!(job_of(&record), Some(JobId(10)));
        assert_eq!(job_of("ocelli:replies:web-1"), None);
    }
}
