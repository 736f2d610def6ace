//! Reads the replies to this web process and answers the requests that wait for them.

use std::time::Duration;

use super::state::ProducerState;
use crate::queue::job::{JobCost, JobError, Reply};
use crate::queue::redis::{entries, keys};
use crate::queue::wire;

/// How long one read of replies waits for the first.
const BLOCK: Duration = Duration::from_secs(1);

/// Replies that one read takes.
const READ_REPLIES: usize = 64;

/// Between attempts to read replies while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads replies as they come and hands them to whoever waits.
pub(super) async fn listen(shared: &ProducerState) {
    let link = &shared.replies;
    let key = keys::replies(&shared.config.prefix, &shared.config.name);
    let mut read_before: Vec<String> = Vec::new();
    loop {
        let mut read = ::redis::cmd("XREAD");
        read.arg("COUNT")
            .arg(READ_REPLIES)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(&key)
            // From the start: what was read is deleted, and no clock that jumps can hide a reply.
            .arg("0-0");
        let mut delete = ::redis::cmd("XDEL");
        delete.arg(&key).arg(&read_before);
        let answer = if read_before.is_empty() {
            link.query(&read).await
        } else {
            // Sent together and carried out in this order.
            let (deleted, answer) = tokio::join!(link.query::<i64>(&delete), link.query(&read));
            deleted.and(answer)
        };
        match answer {
            Ok(value) => {
                let read = entries::streams(value)
                    .into_iter()
                    .flat_map(|(_, entries)| entries);
                read_before = read.map(|entry| hear(shared, entry)).collect();
            }
            Err(error) => {
                tracing::debug!(%error, "replies cannot be read");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Hands a reply to its waiter, and names its entry.
fn hear(shared: &ProducerState, mut entry: entries::StreamEntry) -> String {
    match wire::decode_reply(&entry.take("r").unwrap_or_default()) {
        Ok(received) => {
            if !shared.waiting.answer(received.id, received.reply) {
                shared.metrics.orphaned_replies.inc();
                tracing::debug!(job = %received.id, worker = received.worker, "nobody waits for a reply");
            }
        }
        Err((error, id)) => {
            shared.metrics.count_refused("reply");
            tracing::warn!(%error, entry = entry.id, "a reply cannot be read");
            if let Some(id) = id {
                let reply = Reply {
                    result: Err(JobError::Incompatible),
                    cost: JobCost::default(),
                };
                shared.waiting.answer(id, reply);
            }
        }
    }
    entry.id
}
