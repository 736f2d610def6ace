//! How a model's queue stands in Redis.

use std::time::Duration;

use super::address::EntryAddress;
use super::connection::{Link, LinkError};
use super::keys::{GROUP, ModelKeys};
use super::scripts::LOOK;
use crate::metrics::QueueStats;

/// Asks how a queue stands, and for some jobs whether they are in it.
pub(super) async fn look(
    link: &Link,
    keys: &ModelKeys,
    jobs: &[&EntryAddress],
) -> Result<QueueStats, LinkError> {
    let mut script = LOOK.prepare_invoke();
    for key in keys.jobs.iter().chain([&keys.dead, &keys.index]) {
        script.key(key);
    }
    script.arg(GROUP);
    for place in jobs {
        script.arg(place.stream()).arg(&place.entry);
    }
    let answer: Vec<u64> = link.script(&script).await?;
    let [depth, in_flight, oldest, dead, missing @ ..] = answer.as_slice() else {
        return Err(LinkError::Refused(
            "a look at a queue has a strange answer".to_owned(),
        ));
    };
    Ok(QueueStats {
        depth: *depth as usize,
        in_flight: *in_flight as usize,
        oldest: Duration::from_millis(*oldest),
        dead: *dead as usize,
        missing: missing
            .iter()
            .map(|position| (*position as usize).saturating_sub(1))
            .collect(),
    })
}
