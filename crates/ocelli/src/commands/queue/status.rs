//! Formats the status of queues as a table or as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::shown_age;
use crate::models::priority::Priority;
use crate::queue::redis::QueueStatus;

/// Number of digits of a digest to show.
const DIGITS: usize = 12;

/// A header and one line per queue.
pub(super) fn table(queues: &[QueueStatus], prefix: &str) -> String {
    if queues.is_empty() {
        return format!("no queues with the prefix '{prefix}': no worker has served a model there yet\n");
    }
    let mut text = format!(
        "{:<32} {:<12} {:>8} {:>6} {:>6} {:>6} {:>9} {:>9} {:>9} {:>5}\n",
        "model", "digest", "workers", "high", "normal", "low", "in flight", "consumers", "oldest", "dead"
    );
    for queue in queues {
        let [high, normal, low] = queue.depth;
        let name = format!("{} {}", queue.model.name, queue.model.version);
        let digest = &queue.model.digest;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name:<32} {:<12} {:>8} {high:>6} {normal:>6} {low:>6} {:>9} {:>9} {:>9} {:>5}",
            digest.get(..DIGITS).unwrap_or(digest),
            queue.workers,
            queue.in_flight,
            queue.consumers,
            queue.oldest.map_or_else(|| "-".to_owned(), shown_age),
            queue.dead
        );
    }
    text
}

/// One JSON object per line and queue, with the time if there is one.
pub(super) fn json_lines(queues: &[QueueStatus], time: Option<&str>) -> String {
    let line = |queue: &QueueStatus| {
        let mut object = object(queue);
        if let (Some(time), Some(fields)) = (time, object.as_object_mut()) {
            fields.insert("time".to_owned(), time.into());
        }
        format!("{object}\n")
    };
    queues.iter().map(line).collect()
}

fn object(queue: &QueueStatus) -> Value {
    let depth: Map<String, Value> = Priority::ALL
        .into_iter()
        .map(|priority| (priority.name().to_owned(), queue.depth[priority.index()].into()))
        .collect();
    json!({
        "model": queue.model.name,
        "version": queue.model.version,
        "digest": queue.model.digest,
        "workers": queue.workers,
        "depth": depth,
        "in_flight": queue.in_flight,
        "consumers": queue.consumers,
        "oldest_seconds": queue.oldest.map(|age| age.as_secs_f64()),
        "dead": queue.dead,
    })
}
