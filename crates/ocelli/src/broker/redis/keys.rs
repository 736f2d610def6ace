//! The names of everything that Ocelli keeps in Redis. Nothing else is written there.
//!
//! The part in braces decides the slot of a key in a cluster: all keys of one model are in one slot, so that a script may
//! touch them together, and models spread over the nodes.

use crate::job::{ModelId, Priority};

/// Digits of a digest that keys carry: enough to tell packages apart, short enough to read.
const DIGEST_DIGITS: usize = 16;

/// The consumer group of every job stream.
pub const GROUP: &str = "workers";

/// The keys of one model under one digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelKeys {
    /// The job streams, by priority.
    pub jobs: [String; 3],
    /// The bytes that the jobs hold.
    pub bytes: String,
    /// How often each suspect has ended a worker that computed it alone.
    pub crashes: String,
    /// Jobs that were given up.
    pub dead: String,
}

impl ModelKeys {
    /// The keys of `model`, all beginning with `prefix`.
    #[must_use]
    pub fn new(prefix: &str, model: &ModelId) -> Self {
        let digest: String = model.digest.chars().take(DIGEST_DIGITS).collect();
        let base = format!("{prefix}:{{{}}}:{}:{digest}", model.name, model.version);
        Self {
            jobs: Priority::ALL.map(|priority| format!("{base}:jobs:{}", priority.name())),
            bytes: format!("{base}:bytes"),
            crashes: format!("{base}:crashes"),
            dead: format!("{base}:dead"),
        }
    }
}

/// The reply stream of one web process.
#[must_use]
pub fn replies(prefix: &str, web: &str) -> String {
    format!("{prefix}:replies:{web}")
}

/// The hash of live workers: their names and what they announce.
#[must_use]
pub fn workers(prefix: &str) -> String {
    format!("{prefix}:{{registry}}:workers")
}

/// Which digest a model's name and version stand for while a worker serves it.
#[must_use]
pub fn digest_of(prefix: &str, name: &str, version: &str) -> String {
    format!("{prefix}:{{registry}}:digest:{name}:{version}")
}

/// The card of the package with a digest.
#[must_use]
pub fn card(prefix: &str, digest: &str) -> String {
    format!("{prefix}:{{registry}}:card:{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(workers("ocelli"), "ocelli:{registry}:workers");
        assert_eq!(replies("ocelli", "web-1"), "ocelli:replies:web-1");
    }
}
